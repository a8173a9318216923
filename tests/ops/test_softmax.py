# SPDX-License-Identifier: Apache-2.0
"""SOFTMAX."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import Quantization
from oracle.random_ops import Case
from oracle.random_ops import DType as CaseType
from oracle.single_op import OpSpec, TensorSpec, build

from . import drawing
from .equality import assert_cases_equal_oracle, assert_core_equals_meaning, assert_equals_oracle
from .hostile import assert_refused, single

OUTPUT = Quantization.per_tensor(1 / 256, -128)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_equals_the_oracle(dtype: CaseType) -> None:
    assert_equals_oracle("SOFTMAX", dtype, 500)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_deep_rows_equal_the_oracle(dtype: str) -> None:
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(250):
        depth = int(rng.integers(1, 1500))
        scale = float(np.float32(2.0 ** rng.normal(-2, 2)))
        beta = float(np.float32(2.0 ** rng.normal(0, 1)))
        x = rng.integers(-128, 128, (3, depth))
        # The references abort where the sum reaches 512 times the largest term: here one input stands out.
        x[:, depth > 400 and int(rng.integers(depth))] = 127
        if depth > 400:
            scale = max(scale, 0.05)
        zero = 128 if dtype == "uint8" else 0
        tensors = {
            "x": TensorSpec((3, depth), dtype, scale, zero),
            "y": TensorSpec((3, depth), dtype, 1 / 256, zero - 128),
        }
        model = build(tensors, [OpSpec("SOFTMAX", ("x",), ("y",), {"beta": beta})], ("x",), ("y",))
        cases.append(Case(model, [(x + zero).astype(dtype)], f"depth {depth}, scale {scale}, beta {beta}"))
    assert_cases_equal_oracle(cases)


@pytest.mark.parametrize("scale", [2.0**-20, 1.0, 15.99, 16.0, 31.0, 32.0, 1e6, 1e9])
def test_extreme_scales_equal_the_oracle(scale: float) -> None:
    x = np.array([[127, 126, 125, 100, 0, -128], [-128, -128, -127, -128, -128, -128]], np.int8)
    tensors = {"x": TensorSpec(x.shape, "int8", scale), "y": TensorSpec(x.shape, "int8", 1 / 256, -128)}
    model = build(tensors, [OpSpec("SOFTMAX", ("x",), ("y",), {"beta": 1.0})], ("x",), ("y",))
    assert_cases_equal_oracle([Case(model, [x], f"scale {scale}")])


@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    shape = (*data.draw(drawing.SHAPES), data.draw(st.sampled_from((1, 2, 10, 300, 511, 512, 1500, 4095))))
    shape = shape[-2:]
    x = drawing.tensor("x", shape, data.draw(drawing.QUANTIZATIONS))
    op = ops.Softmax(2.0 ** data.draw(st.floats(-4, 4)))
    y = drawing.tensor("y", shape, OUTPUT)
    assert_core_equals_meaning(op, [x], y, [data.draw(drawing.arrays(shape))])


@pytest.mark.parametrize("depth", [512, 513, 1000, 2048, 4095])
def test_equal_inputs_share_the_whole(depth: int) -> None:
    # The references abort here. 256 / 512 rounds to 0 and to nothing more beyond.
    x = drawing.tensor("x", (1, depth), Quantization.per_tensor(0.1, 0))
    y = drawing.tensor("y", (1, depth), OUTPUT)
    array = np.full((1, depth), 5, np.int8)
    [found] = ops.Softmax().integer([array], [x], [y])
    assert np.unique(found).tolist() == [-128]
    assert_core_equals_meaning(ops.Softmax(), [x], y, [array])


def test_the_rows_are_near_the_true_function() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-128, 128, (200, 10)).astype(np.int8)
    x = drawing.tensor("x", values.shape, Quantization.per_tensor(0.05, 0))
    y = drawing.tensor("y", values.shape, OUTPUT)
    [found] = ops.Softmax(0.7).integer([values], [x], [y])
    [true] = ops.Softmax(0.7).real([np.float32(0.05) * values.astype(np.float32)])
    assert np.abs(found - np.clip(true * 256 - 128, -128, 127)).max() < 0.51


@pytest.mark.parametrize("shape", [(), (3, 0), (1, 4096)])
def test_a_row_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    x = drawing.tensor("x", shape, Quantization.per_tensor(0.1, 0))
    with pytest.raises(ValueError, match="expected 1 to 4095 elements along the last axis"):
        ops.Softmax().shapes([x])


def test_a_file_with_another_table_is_refused() -> None:
    x = drawing.tensor("x", (4,), Quantization.per_tensor(0.1, 0))
    graph = single(ops.Softmax(), [x], drawing.tensor("y", (4,), OUTPUT))
    assert_refused(graph, "a table of 256 int32", exponentials=np.zeros(255, np.int32))


def test_another_output_scale_is_refused() -> None:
    x = drawing.tensor("x", (4,), Quantization.per_tensor(0.1, 0))
    with pytest.raises(ValueError, match="expected the output scale 1/256 and zero point -128"):
        ops.Softmax().lower([x], [x])
