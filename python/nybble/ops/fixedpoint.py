# SPDX-License-Identifier: Apache-2.0
"""gemmlowp's fixed-point numbers on int32, in numpy, for the tables that references fill by fixed-point series.

A value with b integer bits is raw / 2^(31 - b). Source: gemmlowp fixedpoint/fixedpoint.h.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


def high_mul(a: npt.ArrayLike, b: npt.ArrayLike) -> Int64:
    """SaturatingRoundingDoublingHighMul: round(a * b / 2^31), ties up; INT32_MIN squared saturates."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.minimum((product + (1 << 30)) >> 31, INT32_MAX)


def divide_by_pot(x: npt.ArrayLike, exponent: int) -> Int64:
    """RoundingDivideByPOT: round(x / 2^exponent), ties away from zero."""
    value = np.asarray(x, np.int64)
    mask = (1 << exponent) - 1
    remainder = value & mask
    threshold = (mask >> 1) + (value < 0)
    result: Int64 = (value >> exponent) + (remainder > threshold)
    return result


def multiply_by_pot(x: npt.ArrayLike, exponent: int) -> Int64:
    """SaturatingRoundingMultiplyByPOT: a saturating left shift, or a rounding right shift for exponent < 0."""
    if exponent < 0:
        return divide_by_pot(x, -exponent)
    return np.clip(np.asarray(x, np.int64) << exponent, INT32_MIN, INT32_MAX)


def _exp_between_negative_quarter_and_zero(a: Int64) -> Int64:
    """exp(x) for x in [-1/4, 0), raw with 0 integer bits: a 4-term Taylor series around -1/8."""
    constant_term, third = 1895147668, 715827883
    x = a + (1 << 28)
    x2 = high_mul(x, x)
    x3 = high_mul(x2, x)
    x4 = high_mul(x2, x2)
    x4_over_4 = divide_by_pot(x4, 2)
    rest = divide_by_pot(high_mul(x4_over_4 + x3, third) + x2, 1)
    return constant_term + high_mul(constant_term, x + rest)


#: exp(-2^e) in Q0.31 for e = -2 .. 4, the barrel shifter of exp_on_negative_values.
_EXP_STEPS = (
    (-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308),
    (2, 39332535), (3, 720401), (4, 242),
)


def exp_on_negative_values(raw: npt.NDArray[Any], integer_bits: int) -> Int64:
    """exp(x) for x <= 0 with ``integer_bits`` integer bits -> raw with 0 integer bits."""
    a = np.asarray(raw, np.int64)
    fractional_bits = 31 - integer_bits
    quarter = 1 << (fractional_bits - 2)
    modulo = (a & (quarter - 1)) - quarter
    result = _exp_between_negative_quarter_and_zero(multiply_by_pot(modulo, integer_bits))
    remainder = modulo - a
    for exponent, step in _EXP_STEPS:
        if integer_bits > exponent:
            bit = 1 << (fractional_bits + exponent)
            result = np.where(remainder & bit, high_mul(result, step), result)
    if integer_bits > 5:
        result = np.where(a < -(1 << (36 - integer_bits)), 0, result)
    return np.where(a == 0, INT32_MAX, result)


def one_over_one_plus_x(raw: npt.NDArray[Any]) -> Int64:
    """1 / (1 + x) for x in [0, 1), raw with 0 integer bits: three Newton-Raphson steps from 48/17 - 32/17 d."""
    a = np.asarray(raw, np.int64)
    half_denominator = (a + INT32_MAX + 1) >> 1  # RoundingHalfSum; both are >= 0
    x = 1515870810 + high_mul(half_denominator, -1010580540)
    one = 1 << 29
    for _ in range(3):
        product = high_mul(half_denominator, x)
        x = x + multiply_by_pot(high_mul(x, one - product), 2)
    return multiply_by_pot(x, 1)
