# SPDX-License-Identifier: Apache-2.0
"""QUANTIZE from integers to integers, and at the border of a network; DEQUANTIZE at the border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import DType, Quantization, Rounding, Tensor
from oracle.random_ops import Case
from oracle.random_ops import DType as CaseType
from oracle.single_op import OpSpec, TensorSpec, build

from . import drawing
from .equality import (
    assert_cases_equal_oracle,
    assert_core_equals_meaning,
    assert_equals_oracle,
    assert_tables_equal_oracle,
)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_equals_the_oracle(dtype: CaseType) -> None:
    assert_equals_oracle("QUANTIZE", dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_every_input_equals_the_oracle(dtype: str) -> None:
    assert_tables_equal_oracle("QUANTIZE", dtype, drawing.rescalings(dtype), [{}])


@pytest.mark.parametrize(("dtype", "shift"), [("int8", 0), ("uint8", 128)])
def test_the_precision_of_the_scales_matters(dtype: str, shift: int) -> None:
    # One input where float32 and double quotients of the scales give different outputs.
    rescaling = (0.043227680027484894, -1 + shift, 0.026261184364557266, -68 + shift)
    assert_tables_equal_oracle("QUANTIZE", dtype, [rescaling], [{}])


@pytest.mark.parametrize(("source", "result"), [("int8", "uint8"), ("uint8", "int8")])
def test_every_input_of_the_other_sign_equals_the_oracle(source: str, result: str) -> None:
    limits = np.iinfo(source)
    every = np.arange(limits.min, limits.max + 1).astype(source)
    shift = 128 if result == "uint8" else -128
    cases = []
    for x_scale, x_zero_point, y_scale, y_zero_point in drawing.rescalings(source):
        tensors = {
            "x": TensorSpec((256,), source, x_scale, x_zero_point),
            "y": TensorSpec((256,), result, y_scale, y_zero_point + shift),
        }
        model = build(tensors, [OpSpec("QUANTIZE", ("x",), ("y",))], ("x",), ("y",))
        cases.append(Case(model, [every], str(tensors)))
    assert_cases_equal_oracle(cases)


@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    shape = data.draw(drawing.SHAPES)
    types = st.sampled_from((DType.INT8, DType.UINT8))
    source, result = data.draw(types), data.draw(types)
    x_q = data.draw(drawing.QUANTIZATIONS)
    y_q = Quantization.per_tensor(
        x_q.single_scale * 2.0 ** data.draw(st.floats(-12, 12)), data.draw(drawing.ZERO_POINTS)
    )
    x, y = Tensor("x", source, shape, x_q), Tensor("y", result, shape, y_q)
    op = ops.Quantize(rounding=data.draw(st.sampled_from(list(Rounding))))
    array = data.draw(drawing.arrays(shape)).view(source.numpy)
    assert_core_equals_meaning(op, [x], y, [array])
