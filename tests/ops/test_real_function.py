# SPDX-License-Identifier: Apache-2.0
"""EXP, LOG, SQRT, ELU and GELU: tables in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from nybble import ops
from oracle import single_op

from . import drawing
from .equality import assert_tables_equal_oracle

OPTIONS_TABLES = {"EXP": "ExpOptions", "LOG": None, "SQRT": None, "ELU": None, "GELU": "GeluOptions"}


@pytest.mark.parametrize(
    ("op_name", "dtype", "options"),
    [
        ("EXP", "int8", {}),
        ("LOG", "int8", {}),
        ("ELU", "int8", {}),
        ("GELU", "int8", {"approximate": False}),
        ("GELU", "int8", {"approximate": True}),
        ("GELU", "uint8", {"approximate": False}),
        ("GELU", "uint8", {"approximate": True}),
    ],
)
def test_every_input_equals_the_oracle(
    op_name: str, dtype: str, options: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(single_op.OPTIONS_TABLES, op_name, OPTIONS_TABLES[op_name])
    assert_tables_equal_oracle(op_name, dtype, drawing.rescalings(dtype), [options])


def test_the_product_with_the_inverse_scale_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    # One input of each where a quotient by the scale gives another output.
    monkeypatch.setitem(single_op.OPTIONS_TABLES, "ELU", OPTIONS_TABLES["ELU"])
    scales = (0.0210921261459589, 0.07593165338039398), (0.0002469463797751814, 0.013170474208891392)
    assert_tables_equal_oracle("ELU", "int8", [(x, 0, y, 0) for x, y in scales], [{}])


def test_every_square_root_equals_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(single_op.OPTIONS_TABLES, "SQRT", OPTIONS_TABLES["SQRT"])
    # LiteRT refuses negative numbers, so the zero point is the lowest integer.
    rescalings = [(scale, -128, y_scale, zero) for scale, _, y_scale, zero in drawing.rescalings("int8")]
    assert_tables_equal_oracle("SQRT", "int8", rescalings, [{}])


@pytest.mark.parametrize(
    ("function", "at_two"),
    [
        (ops.Function.LOGISTIC, 0.8807970779778823),
        (ops.Function.TANH, 0.9640275800758169),
        (ops.Function.EXP, 7.38905609893065),
        (ops.Function.LOG, 0.6931471805599453),
        (ops.Function.SQRT, 1.4142135623730951),
        (ops.Function.ELU, 2.0),
        (ops.Function.GELU, 1.9544997361036416),
        (ops.Function.GELU_TANH, 1.954597694087775),
    ],
)
def test_the_real_meanings(function: ops.Function, at_two: float) -> None:
    [y] = ops.RealFunction(function).real([np.array([[2]], np.float32)])
    assert y.dtype == np.float32
    assert abs(y.item() - at_two) < 1e-6
