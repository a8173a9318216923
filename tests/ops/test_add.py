# SPDX-License-Identifier: Apache-2.0
"""ADD and SUB."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import Quantization, Rounding
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_core_equals_meaning, assert_equals_oracle


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", ["ADD", "SUB"])
def test_equals_the_oracle(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    shapes = data.draw(drawing.broadcast_shapes())
    quantizations = [data.draw(drawing.QUANTIZATIONS) for _ in shapes]
    largest = max(q.single_scale for q in quantizations)
    y = Quantization.per_tensor(
        largest * 2.0 ** data.draw(st.floats(-10, 10)), data.draw(drawing.ZERO_POINTS)
    )
    kind = data.draw(st.sampled_from((ops.Add, ops.Sub)))
    op = kind(data.draw(st.sampled_from(list(ops.Activation))), data.draw(st.sampled_from(list(Rounding))))
    inputs = [
        drawing.tensor(name, shape, q) for name, shape, q in zip("ab", shapes, quantizations, strict=True)
    ]
    output = drawing.tensor("y", np.broadcast_shapes(*shapes), y)
    arrays = [data.draw(drawing.arrays(shape)) for shape in shapes]
    assert_core_equals_meaning(op, inputs, output, arrays)


def test_a_result_past_int32_is_refused() -> None:
    x = drawing.tensor("x", (1,), Quantization.per_tensor(1.0, 0))
    y = drawing.tensor("y", (1,), Quantization.per_tensor(2.0**-24, 0))
    with pytest.raises(ValueError, match="the output's scale is too small"):
        ops.Add().lower([x, x], [y])
