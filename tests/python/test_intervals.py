# SPDX-License-Identifier: Apache-2.0
"""Intervals of shares and paired differences, against published figures and by what they must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble.measure.intervals import Z95, paired, paired_counts, wilson

counts = st.integers(0, 400)


def test_wilson_equals_the_published_example() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


def test_wilson_solves_its_equation() -> None:
    # |share - p| = z sqrt(p (1 - p) / n) at both ends.
    for end in wilson(881, 1000):
        assert abs(0.881 - end) == pytest.approx(Z95 * np.sqrt(end * (1 - end) / 1000), rel=1e-12)


@given(counts, st.integers(1, 400))
def test_wilson_holds_the_share_within_0_and_1(right: int, count: int) -> None:
    right = min(right, count)
    low, high = wilson(right, count)
    assert 0 <= low <= right / count <= high <= 1
    assert wilson(count - right, count) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("right", "count"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_share(right: int, count: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= right <= count"):
        wilson(right, count)


def test_paired_equals_the_published_example() -> None:
    # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014), 2850-2875: 1, 1, 7, 12 pairs,
    # first minus second between -0.507 and -0.0256; the exact test gives 0.0703.
    result = paired_counts(1, 1, 7, 12)
    assert (-result.high, -result.low) == pytest.approx((-0.507, -0.0256), abs=5e-4)
    assert result.p == pytest.approx(0.0703, abs=5e-5)


@given(counts, counts, counts, counts)
def test_paired_is_symmetric_and_holds_the_difference(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    one, other = paired_counts(a, b, c, d), paired_counts(a, c, b, d)
    assert one.low - 1e-12 <= one.difference <= one.high + 1e-12
    assert -1 - 1e-12 <= one.low <= one.high <= 1 + 1e-12
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert 0 < one.p == other.p <= 1


def test_paired_counts_pairs() -> None:
    result = paired([True, True, False, False, True], [True, False, True, False, True])
    assert (result.both, result.lost, result.gained, result.neither) == (2, 1, 1, 1)
    assert (result.first, result.second, result.count, result.difference) == (3, 3, 5, 0)
    assert result.p == 1
    with pytest.raises(ValueError, match="expected two arrays"):
        paired([True], [True, False])


def test_equal_answers_have_an_interval_too() -> None:
    result = paired_counts(881, 0, 0, 119)
    assert result.low < 0 < result.high
    assert result.high == pytest.approx(-result.low)
    assert result.p == 1


def test_many_disagreements_do_not_overflow() -> None:
    assert paired_counts(0, 9000, 9000, 0).p == 1
    assert paired_counts(0, 0, 9000, 0).p == 0
