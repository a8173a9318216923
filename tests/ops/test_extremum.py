# SPDX-License-Identifier: Apache-2.0
"""MAXIMUM and MINIMUM."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import Quantization
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_core_equals_meaning, assert_equals_oracle


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", ["MAXIMUM", "MINIMUM"])
def test_equals_the_oracle(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    shapes = data.draw(drawing.broadcast_shapes())
    q = data.draw(drawing.QUANTIZATIONS)
    op = data.draw(st.sampled_from((ops.Maximum(), ops.Minimum())))
    inputs = [drawing.tensor(name, shape, q) for name, shape in zip("ab", shapes, strict=True)]
    output = drawing.tensor("y", np.broadcast_shapes(*shapes), q)
    arrays = [data.draw(drawing.arrays(shape)) for shape in shapes]
    assert_core_equals_meaning(op, inputs, output, arrays)


def test_unequal_scales_are_refused() -> None:
    x = drawing.tensor("x", (1,), Quantization.per_tensor(1.0, 0))
    y = drawing.tensor("y", (1,), Quantization.per_tensor(1.0, 1))
    with pytest.raises(ValueError, match="expected equal scales of inputs and output"):
        ops.Maximum().lower([x, x], [y])
