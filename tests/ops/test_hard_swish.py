# SPDX-License-Identifier: Apache-2.0
"""HARD_SWISH."""

from __future__ import annotations

import pytest

from nybble import ops
from nybble.graph import Quantization
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_equals_oracle, assert_tables_equal_oracle


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_equals_the_oracle(dtype: CaseType) -> None:
    assert_equals_oracle("HARD_SWISH", dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_every_input_equals_the_oracle(dtype: str) -> None:
    assert_tables_equal_oracle("HARD_SWISH", dtype, drawing.rescalings(dtype), [{}])


@pytest.mark.parametrize(("dtype", "shift"), [("int8", 0), ("uint8", 128)])
def test_the_precision_of_the_scales_matters(dtype: str, shift: int) -> None:
    # One input where float32 and double quotients of the scales give different outputs.
    rescaling = (0.14834068715572357, -50 + shift, 0.30801284313201904, -6 + shift)
    assert_tables_equal_oracle("HARD_SWISH", dtype, [rescaling], [{}])


def test_an_output_scale_that_is_too_small_is_refused() -> None:
    x = drawing.tensor("x", (1,), Quantization.per_tensor(1.0, 0))
    y = drawing.tensor("y", (1,), Quantization.per_tensor(1 / 128, 0))
    with pytest.raises(ValueError, match=r"expected an output scale above 0\.0078125"):
        ops.HardSwish().lower([x], [y])
