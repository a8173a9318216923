# SPDX-License-Identifier: Apache-2.0
"""MUL."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import Quantization, Rounding
from oracle.interpreters import oracle
from oracle.random_ops import Case
from oracle.random_ops import DType as CaseType
from oracle.single_op import OpSpec, TensorSpec, build

from . import drawing
from .equality import assert_cases_equal_oracle, assert_core_equals_meaning, assert_equals_oracle


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_equals_the_oracle(dtype: CaseType) -> None:
    assert_equals_oracle("MUL", dtype)


@pytest.mark.parametrize(("dtype", "zero_point", "result"), [("int8", 0, -32), ("uint8", 128, -31)])
def test_the_precision_of_the_scales_matters(dtype: str, zero_point: int, result: int) -> None:
    # 49 * -79 is near a tie: the quotient of the scales in double and in float32 give different outputs.
    scales = {"a": 0.20775094628334045, "b": 0.01242690347135067, "y": 0.31734105944633484}
    tensors = {name: TensorSpec((1,), dtype, scale, zero_point) for name, scale in scales.items()}
    model = build(tensors, [OpSpec("MUL", ("a", "b"), ("y",))], ("a", "b"), ("y",))
    inputs = [np.array([value + zero_point], dtype) for value in (49, -79)]
    assert_cases_equal_oracle([Case(model, inputs, dtype)])
    assert oracle(model, inputs)[0][0].tolist() == [result + zero_point]


@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    shapes = data.draw(drawing.broadcast_shapes())
    quantizations = [data.draw(drawing.QUANTIZATIONS) for _ in shapes]
    product = quantizations[0].single_scale * quantizations[1].single_scale
    y = Quantization.per_tensor(
        product * 2.0 ** data.draw(st.floats(-14, 24)), data.draw(drawing.ZERO_POINTS)
    )
    op = ops.Mul(
        data.draw(st.sampled_from(list(ops.Activation))),
        data.draw(st.sampled_from(list(Rounding))),
        data.draw(st.booleans()),
    )
    inputs = [
        drawing.tensor(name, shape, q) for name, shape, q in zip("ab", shapes, quantizations, strict=True)
    ]
    output = drawing.tensor("y", np.broadcast_shapes(*shapes), y)
    arrays = [data.draw(drawing.arrays(shape)) for shape in shapes]
    assert_core_equals_meaning(op, inputs, output, arrays)


def test_a_result_past_int32_is_refused() -> None:
    x = drawing.tensor("x", (1,), Quantization.per_tensor(1.0, 0))
    y = drawing.tensor("y", (1,), Quantization.per_tensor(2.0**-16, 0))
    with pytest.raises(ValueError, match="the output's scale is too small"):
        ops.Mul().lower([x, x], [y])
