# SPDX-License-Identifier: Apache-2.0
"""RELU, RELU6, RELU_N1_TO_1, LEAKY_RELU and ABS."""

from __future__ import annotations

import numpy as np
import pytest

from nybble import ops
from nybble.graph import DType, Quantization, Tensor
from oracle import single_op
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_equals_oracle, assert_tables_equal_oracle
from .hostile import assert_refused, single

OPERATORS = ("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU")
ALPHAS = (0.0, 0.01, 0.1, 0.2, 0.3, 0.7, 1.0, 1.5, -0.1, -2.0)


def _options(op_name: str) -> list[dict[str, float]]:
    return [{"alpha": alpha} for alpha in ALPHAS] if op_name == "LEAKY_RELU" else [{}]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", OPERATORS)
def test_equals_the_oracle(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", OPERATORS)
def test_every_input_equals_the_oracle(op_name: str, dtype: str) -> None:
    assert_tables_equal_oracle(op_name, dtype, drawing.rescalings(dtype), _options(op_name))


def test_every_input_of_abs_equals_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(single_op.OPTIONS_TABLES, "ABS", "AbsOptions")
    assert_tables_equal_oracle("ABS", "int8", drawing.rescalings("int8"), [{}])


@pytest.mark.parametrize(
    ("op_name", "dtype", "rescaling"),
    [
        # Each has one input where float32 and double quotients of the scales give different outputs.
        ("RELU", "int8", (0.043227680027484894, -1, 0.026261184364557266, -68)),
        ("RELU", "uint8", (0.043227680027484894, 127, 0.026261184364557266, 60)),
        ("RELU_N1_TO_1", "int8", (0.005245475098490715, 97, 0.0014283453347161412, 28)),
        ("RELU_N1_TO_1", "uint8", (0.005245475098490715, 225, 0.0014283453347161412, 156)),
        ("LEAKY_RELU", "int8", (0.08579430729150772, -95, 0.14049537479877472, -75)),
        ("LEAKY_RELU", "uint8", (0.08579430729150772, 33, 0.14049537479877472, 53)),
    ],
)
def test_the_precision_of_the_scales_matters(
    op_name: str, dtype: str, rescaling: tuple[float, int, float, int]
) -> None:
    assert_tables_equal_oracle(op_name, dtype, [rescaling], [{"alpha": 0.2}] if "LEAKY" in op_name else [{}])


def test_the_real_meanings() -> None:
    x = np.array([-7, -0.5, 0, 0.5, 7], np.float32)
    assert ops.Relu().real([x])[0].tolist() == [0, 0, 0, 0.5, 7]
    assert ops.Relu(ops.Activation.RELU6).real([x])[0].tolist() == [0, 0, 0, 0.5, 6]
    assert ops.LeakyRelu(0.5).real([x])[0].tolist() == [-3.5, -0.25, 0, 0.5, 7]
    assert ops.Abs().real([x])[0].tolist() == [7, 0.5, 0, 0.5, 7]


def test_a_file_with_another_table_is_refused() -> None:
    x = drawing.tensor("x", (4,), Quantization.per_tensor(0.1, 0))
    graph = single(ops.Relu(), [x], drawing.tensor("y", (4,), x.quantized))
    assert_refused(graph, "a table of 256 bytes", table=np.zeros(255, np.uint8))


def test_other_than_8_bits_is_refused() -> None:
    wide = Tensor("x", DType.INT32, (1,), Quantization.per_tensor(1.0, 0))
    with pytest.raises(ValueError, match="expected int8 for 'x', found int32"):
        ops.Relu().lower([wide], [wide])
