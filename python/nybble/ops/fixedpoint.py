# SPDX-License-Identifier: Apache-2.0
"""gemmlowp's fixed-point numbers on int32, in numpy, for the tables that references fill by series.

A value with b integer bits is raw / 2^(31 - b). Source: gemmlowp fixedpoint/fixedpoint.h.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
_ONE_Q2 = 1 << 29


def high_mul(a: npt.ArrayLike, b: npt.ArrayLike) -> Int64:
    """SaturatingRoundingDoublingHighMul: round(a * b / 2^31), ties up; INT32_MIN squared saturates."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    result: Int64 = np.minimum((product + (1 << 30)) >> 31, INT32_MAX)
    return result


def divide_by_pot(x: npt.ArrayLike, exponent: int) -> Int64:
    """RoundingDivideByPOT: round(x / 2^exponent), ties away from zero."""
    value = np.asarray(x, np.int64)
    mask = (1 << exponent) - 1
    remainder = value & mask
    threshold = (mask >> 1) + (value < 0)
    result: Int64 = (value >> exponent) + (remainder > threshold)
    return result


def multiply_by_pot(x: npt.ArrayLike, exponent: int) -> Int64:
    """SaturatingRoundingMultiplyByPOT: a saturating left shift, a rounding right shift for exponent < 0."""
    if exponent < 0:
        return divide_by_pot(x, -exponent)
    result: Int64 = np.clip(np.asarray(x, np.int64) << exponent, INT32_MIN, INT32_MAX)
    return result


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
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
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


def _half_denominator_reciprocal(a: Int64) -> Int64:
    """2 / (1 + x) for x in [0, 1), raw with 2 integer bits: Newton-Raphson from 48/17 - 32/17 d."""
    half_denominator = (a + INT32_MAX + 1) >> 1  # RoundingHalfSum; both are >= 0
    x = 1515870810 + high_mul(half_denominator, -1010580540)
    for _ in range(3):
        product = high_mul(half_denominator, x)
        x = x + multiply_by_pot(high_mul(x, _ONE_Q2 - product), 2)
    return x


def one_over_one_plus_x(raw: npt.NDArray[Any]) -> Int64:
    """1 / (1 + x) for x in [0, 1), raw with 0 integer bits."""
    return multiply_by_pot(_half_denominator_reciprocal(np.asarray(raw, np.int64)), 1)


def _one_minus_x_over_one_plus_x(a: Int64) -> Int64:
    """(1 - x) / (1 + x) for x in [0, 1), raw with 0 integer bits."""
    return multiply_by_pot(_half_denominator_reciprocal(a) - _ONE_Q2, 2)


def logistic(raw: npt.NDArray[Any], integer_bits: int) -> Int64:
    """1 / (1 + exp(-x)) -> raw with 0 integer bits."""
    a = np.asarray(raw, np.int64)
    positive = one_over_one_plus_x(exp_on_negative_values(-np.abs(a), integer_bits))
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, INT32_MAX - positive))


def tanh(raw: npt.NDArray[Any], integer_bits: int) -> Int64:
    """tanh(x) -> raw with 0 integer bits."""
    a = np.asarray(raw, np.int64)
    # exp(-2 |x|): the same raw value with one more integer bit.
    positive = _one_minus_x_over_one_plus_x(exp_on_negative_values(-np.abs(a), integer_bits + 1))
    return np.where(a == 0, 0, np.where(a > 0, positive, -positive))


def scaled_input(x: npt.NDArray[Any], scale: float, integer_bits: int) -> tuple[Int64, int]:
    """(x * scale with ``integer_bits`` integer bits, radius); raw values hold for abs(x) <= radius.

    Source: CalculateInputRadius and QuantizeMultiplier, kernels/internal/quantization_util.cc.
    """
    mantissa, exponent = math.frexp(scale * (1 << (31 - integer_bits)))
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier //= 2
        exponent += 1
    limit = ((1 << integer_bits) - 1) << (31 - integer_bits)
    radius = limit >> exponent if exponent >= 0 else limit << -exponent
    inside = np.where(np.abs(x) <= radius, np.asarray(x, np.int64), 0)
    if exponent < 0:
        return divide_by_pot(high_mul(inside, multiplier), -exponent), radius
    return high_mul(inside << min(exponent, 31), multiplier), radius
