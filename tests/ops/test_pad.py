# SPDX-License-Identifier: Apache-2.0
"""PAD and PADV2."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import DType, Quantization, Tensor, constant
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_core_equals_meaning, assert_equals_oracle
from .hostile import assert_refused, single


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", ["PAD", "PADV2"])
def test_random_models(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


@settings(deadline=None)
@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from((DType.INT8, DType.INT16, DType.INT32, DType.INT64)))
    shape = data.draw(drawing.SHAPES)
    borders = st.lists(st.integers(0, 3), min_size=len(shape), max_size=len(shape)).map(tuple)
    op = ops.Pad(data.draw(borders), data.draw(borders))
    x = Tensor("x", dtype, shape)
    if data.draw(st.booleans()):
        x = Tensor("x", dtype, shape, Quantization.per_tensor(0.5, data.draw(drawing.ZERO_POINTS)))
    inputs = [x]
    if data.draw(st.booleans()):
        value = data.draw(st.integers(max(dtype.lowest, -(2**31)), min(dtype.highest, 2**31 - 1)))
        inputs.append(constant("value", np.array([value], dtype.numpy)))
    output = Tensor("y", dtype, op.shapes(inputs)[0], x.quantization)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    array = rng.integers(dtype.lowest, dtype.highest, shape, endpoint=True).astype(dtype.numpy)
    assert_core_equals_meaning(op, inputs, output, [array])


def test_borders_that_pass_the_output_are_refused() -> None:
    x, y = Tensor("x", DType.INT8, (2, 3)), Tensor("y", DType.INT8, (4, 5))
    graph = single(ops.Pad((1, 1), (1, 1)), [x], y)
    assert_refused(graph, "ends within the output", before=[3, 1])
    assert_refused(graph, "ends within the output", before=[1, 2**32 - 1])
    assert_refused(graph, "a border for each", before=[1])
    assert_refused(graph, "a border for each", before=[1, 1, 1])


def test_a_value_that_is_not_a_constant_number_is_refused() -> None:
    x, y = Tensor("x", DType.INT8, (2,)), Tensor("y", DType.INT8, (4,))
    with pytest.raises(ValueError, match="one constant number"):
        ops.Pad((1,), (1,)).lower([x, Tensor("value", DType.INT8, ())], [y])


@pytest.mark.parametrize(("before", "after"), [((1,), (1,)), ((1, 1), (1,)), ((0, -1), (0, 0))])
def test_wrong_borders_are_named(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="borders"):
        ops.Pad(before, after).shapes([Tensor("x", DType.INT8, (2, 3))])
