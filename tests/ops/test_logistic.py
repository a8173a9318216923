# SPDX-License-Identifier: Apache-2.0
"""LOGISTIC and TANH: fixed point in int8, float32 in uint8."""

from __future__ import annotations

import numpy as np
import pytest

from nybble import ops
from nybble.graph import Quantization, evaluate_outputs
from nybble.importers.tflite import import_tflite
from nybble.passes import run_passes
from oracle.interpreters import EngineRefused, oracle_many
from oracle.random_ops import DType as CaseType
from oracle.random_ops import random_case

from . import drawing
from .equality import assert_equals_oracle, assert_tables_equal_oracle

OUTPUTS = {
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("LOGISTIC", "uint8"): (1 / 256, 0),
    ("TANH", "int8"): (1 / 128, 0),
    ("TANH", "uint8"): (1 / 128, 128),
}


@pytest.mark.parametrize(
    ("op_name", "dtype"), [("LOGISTIC", "int8"), ("LOGISTIC", "uint8"), ("TANH", "int8")]
)
def test_equals_the_oracle(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


def test_tanh_in_uint8_equals_the_oracle_but_for_its_library() -> None:
    # LiteRT fills the table with the C library's tanhf, which may be off by its last bit (glibc 2.36: for a
    # third of all arguments). Where that decides a tie, its output is that of the neighbouring float32.
    cases = [random_case("TANH", np.random.default_rng(seed), "uint8") for seed in range(250)]
    answers = oracle_many([(case.model_bytes, case.inputs) for case in cases])
    by_library = 0
    for case, answer in zip(cases, answers, strict=True):
        assert not isinstance(answer, EngineRefused)
        graph = run_passes(import_tflite(case.model_bytes))
        [found], [wanted] = evaluate_outputs(graph, case.inputs), answer[0]
        x = graph.tensors[graph.inputs[0].tensor]
        off = found != wanted
        real = np.float32(x.scale) * (case.inputs[0][off].astype(np.float32) - np.float32(x.zero_point))
        rounded = np.tanh(real.astype(np.float64)).astype(np.float32)
        neighbours = [np.nextafter(rounded, np.float32(end)) for end in (-2, 2)]
        outputs = [np.floor(np.float64(n) * 128 + 0.5) + 128 for n in neighbours]
        assert np.all((wanted[off] == outputs[0]) | (wanted[off] == outputs[1])), case.description
        by_library += int(off.any())
    assert by_library <= 2


@pytest.mark.parametrize(("op_name", "dtype"), OUTPUTS)
def test_every_input_equals_the_oracle(op_name: str, dtype: str) -> None:
    output = OUTPUTS[op_name, dtype]
    assert_tables_equal_oracle(op_name, dtype, drawing.rescalings(dtype, output=output), [{}])


@pytest.mark.parametrize("scale", [2.0**-26, 2.0**-10, 3.99, 4.0, 7.99, 8.0, 100.0, 1e9])
@pytest.mark.parametrize("op_name", ["LOGISTIC", "TANH"])
def test_extreme_scales_equal_the_oracle(op_name: str, scale: float) -> None:
    rescalings = [(scale, z, *OUTPUTS[op_name, "int8"]) for z in (-128, -1, 0, 127)]
    assert_tables_equal_oracle(op_name, "int8", rescalings, [{}])


@pytest.mark.parametrize("op", [ops.Logistic(), ops.Tanh()])
def test_the_series_is_the_rounded_function_but_for_near_ties(op: ops.Logistic | ops.Tanh) -> None:
    bits, zero_point = op.output
    y = drawing.tensor("y", (256,), Quantization.per_tensor(2.0**-bits, zero_point))
    off = 0
    for scale, z, *_ in drawing.rescalings("int8"):
        x = drawing.tensor("x", (256,), Quantization.per_tensor(scale, z))
        real = scale * (np.arange(-128, 128) - z)
        true = 1 / (1 + np.exp(-real)) if isinstance(op, ops.Logistic) else np.tanh(real)
        steps = true * 2.0**bits + zero_point
        difference = np.abs(op.table(x, y) - np.clip(steps, -128, 127))
        assert difference.max() < 0.5 + 2e-4
        off += int((difference > 0.5).sum())
    assert off <= 300 * 256 // 10_000


def test_another_output_scale_is_refused() -> None:
    x = drawing.tensor("x", (1,), Quantization.per_tensor(0.1, 0))
    with pytest.raises(ValueError, match="expected the output scale 1/256 and zero point -128"):
        ops.Logistic().lower([x], [x])
