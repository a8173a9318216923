# SPDX-License-Identifier: Apache-2.0
"""RSQRT."""

from __future__ import annotations

import numpy as np
import pytest

from nybble import ops
from nybble.graph import Quantization
from oracle import single_op

from . import drawing
from .equality import assert_tables_equal_oracle


def test_every_input_equals_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(single_op.OPTIONS_TABLES, "RSQRT", None)
    # The references refuse negative numbers, so the zero point is the lowest integer.
    rescalings = [(scale, -128, y_scale, zero) for scale, _, y_scale, zero in drawing.rescalings("int8")]
    assert_tables_equal_oracle("RSQRT", "int8", rescalings, [{}])


def test_numbers_below_zero_count_as_zero() -> None:
    x = drawing.tensor("x", (256,), Quantization.per_tensor(0.01, 0))
    y = drawing.tensor("y", (256,), Quantization.per_tensor(0.1, 0))
    table = ops.Rsqrt().table(x, y)
    assert np.unique(table[:129]).tolist() == [127]
    [real] = ops.Rsqrt().real([np.float32(0.01) * np.arange(1, 128, dtype=np.float32)])
    assert np.abs(table[129:] - np.clip(real / 0.1, -128, 127)).max() < 0.51
