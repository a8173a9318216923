# SPDX-License-Identifier: Apache-2.0
"""The one rounding formula equals the published two steps, and exact rational arithmetic for single rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble.graph import DType, Quantization, Rounding, Tensor
from nybble.ops.fixedpoint import divide_by_pot, high_mul
from nybble.ops.requantize import narrow_multiplier, quantize_multiplier, requantize
from nybble.ops.threshold import equal_requantization

EXTREMES = np.array(
    [0, 1, -1, 2, -2, 1 << 30, -(1 << 30), (1 << 31) - 1, -(1 << 31), -(1 << 31) + 1], np.int64
)
MULTIPLIERS = (1 << 30, (1 << 30) + 1, 3 << 29, (1 << 31) - 2, (1 << 31) - 1)


def accumulators(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    near = np.arange(-3000, 3000)
    return np.concatenate([EXTREMES, near, rng.integers(-(1 << 31), 1 << 31, 20_000)])


@pytest.mark.parametrize("shift", range(31, 63))
def test_double_rounding_equals_the_two_steps(shift: int) -> None:
    rng = np.random.default_rng(shift)
    acc = accumulators(shift)
    for m in (*MULTIPLIERS, *rng.integers(1 << 30, 1 << 31, 5)):
        wanted = divide_by_pot(high_mul(acc, int(m)), shift - 31)
        np.testing.assert_array_equal(requantize(acc, int(m), shift, Rounding.DOUBLE), wanted)


@pytest.mark.parametrize("left", range(1, 12))
def test_double_rounding_with_a_left_shift(left: int) -> None:
    acc = accumulators(left)
    acc = acc[np.abs(acc) < 1 << (31 - left)]
    for m in MULTIPLIERS:
        wanted = high_mul(acc << left, m)
        np.testing.assert_array_equal(requantize(acc, m, 31 - left, Rounding.DOUBLE), wanted)


@given(
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(0, (1 << 31) - 1),
    st.integers(1, 62),
)
def test_single_rounding_is_nearest_ties_up(acc: int, multiplier: int, shift: int) -> None:
    exact = Fraction(acc * multiplier, 1 << shift)
    nearest = (exact + Fraction(1, 2)).__floor__()
    assert int(requantize(np.array(acc), multiplier, shift, Rounding.SINGLE)) == nearest


@given(st.floats(1e-9, 0.4), st.integers(0, 60), st.integers(0, (1 << 60) - 1), st.integers(1, 31))
def test_wide_accumulators_round_to_nearest(real: float, length: int, magnitude: int, bits: int) -> None:
    acc = magnitude >> (60 - min(length, 62 - bits))
    try:
        m, s = narrow_multiplier(*quantize_multiplier(real), bits)
    except ValueError:
        return  # more than 2^(bits - 1)
    assert m < 1 << bits
    assert abs(Fraction(m, 1 << s) - Fraction(real)) <= Fraction(real) / (1 << (bits - 1))
    for value in (acc, -acc):
        nearest = (Fraction(value * m, 1 << s) + Fraction(1, 2)).__floor__()
        assert int(requantize(np.array(value), m, s, Rounding.SINGLE)) == nearest


@given(st.floats(1e-9, 1e6))
def test_multiplier_is_within_half_a_unit(real: float) -> None:
    m, s = quantize_multiplier(real)
    assert m == 0 or (1 << 30 <= m < 1 << 31)
    assert abs(Fraction(m, 1 << s) - Fraction(real)) <= Fraction(1, 1 << (s + 1))


@given(st.floats(1e-6, 0.5), st.integers(-128, 127), st.integers(1, 1 << 22))
def test_threshold_proof_holds_everywhere(scale: float, zero_point: int, reach: int) -> None:
    output = Tensor("y", DType.INT8, (1,), Quantization.per_tensor(0.1, zero_point))
    try:
        [m], [s], rounding = equal_requantization(np.array([scale]), np.array([reach]), output)
    except ValueError:
        return  # refused: nothing was claimed
    rng = np.random.default_rng(reach)
    acc = np.concatenate([np.arange(-2000, 2000), rng.integers(-reach, reach + 1, 4000)])
    acc = acc[np.abs(acc) <= reach]
    product = acc * scale
    whole = np.trunc(product)
    wanted = whole + np.where(np.abs(product - whole) >= 0.5, np.sign(product), 0)
    limits = (-128 - zero_point, 127 - zero_point)
    np.testing.assert_array_equal(np.clip(requantize(acc, m, s, rounding), *limits), np.clip(wanted, *limits))
