# SPDX-License-Identifier: Apache-2.0
"""Real arithmetic that is the same everywhere: exact where it says so, and close to the true numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble.ops import exact


def drawn(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Numbers of very different magnitudes, zeros among them."""
    random = np.random.default_rng(seed)
    values = random.normal(size=shape) * 10.0 ** random.integers(-6, 6, size=(*shape[:-1], 1))
    return np.where(random.random(shape) < 0.1, 0, values).astype(np.float32)


@given(st.integers(1, 2000), st.integers(0, 1 << 20))
def test_product_is_that_of_the_rounded_factors(k: int, seed: int) -> None:
    """Every element equals the rational sum of products of what grid() made of the factors; beyond 1024
    terms up to the rounding of the sum of its parts.
    """
    a, b = drawn((2, k), seed), drawn((2, k), seed + 1).T
    bits = exact.product_bits(k)
    (rows, re), (columns, ce) = exact.grid(a, bits[0], (1,)), exact.grid(b, bits[1], (0,))
    assert np.abs(rows).max(initial=0) <= 1 << bits[0]
    found = exact.exact_matmul(a, b)
    for i in range(2):
        for j in range(2):
            total = sum(int(x) * int(w) for x, w in zip(rows[i], columns[:, j], strict=True))
            scale = Fraction(2) ** int(re[i, 0] + ce[0, j])
            wanted = total * scale
            if k <= 1024:
                assert Fraction(float(found[i, j])) == wanted
            else:
                assert abs(Fraction(float(found[i, j])) - wanted) <= scale * Fraction(abs(total) + 1) / (
                    1 << 50
                )


@pytest.mark.parametrize("k", [1, 3, 27, 576, 1024, 1025, 5000])
def test_extreme_factors_are_exact(k: int) -> None:
    """The largest integers of the grid, all of one sign: no sum passes 2^53."""
    for signs in (np.ones(k), np.where(np.arange(k) % 2, 1, -1)):
        a = np.full((1, k), np.float32(2) - np.float32(2) ** -23) * signs
        found = exact.exact_matmul(a, np.full((k, 1), -1.0))
        bits = exact.product_bits(k)[0]
        nearest = Fraction(round(Fraction(float(abs(a[0, 0]))) * (1 << bits - 1)), 1 << bits - 1)
        assert Fraction(float(found[0, 0])) == -nearest * int(signs.sum())


def test_product_does_not_depend_on_rows_beside_it_or_on_order() -> None:
    a, b = drawn((64, 300), 0), drawn((20, 300), 1).T
    whole = exact.exact_matmul(a, b)
    order = np.random.default_rng(2).permutation(300)
    assert np.array_equal(exact.exact_matmul(a[:, order], b[order]), whole)
    for i in range(64):
        assert np.array_equal(exact.exact_matmul(a[i : i + 1], b)[0], whole[i])
    true = a.astype(np.float64) @ b.astype(np.float64)
    error = np.abs(whole - true) / (np.abs(a).max(1)[:, None] * np.abs(b).max(0))
    assert error.max() < 300 * 2.0**-21


def test_sum_is_exact() -> None:
    x = np.random.default_rng(0).integers(-(1 << 20), 1 << 20, (7, 300, 5)).astype(np.float32) / 1024
    assert np.array_equal(exact.exact_sum(x, (1,)), x.astype(np.float64).sum(axis=1, keepdims=True))
    assert np.array_equal(exact.exact_sum(x[:, ::-1], (1,)), exact.exact_sum(x, (1,)))
    assert exact.exact_sum(np.zeros((3, 0), np.float32), (1,)).tolist() == [[0.0]] * 3


def test_numbers_that_are_not_finite_stay_visible() -> None:
    for bad in (np.inf, np.nan):
        found = exact.exact_matmul(np.array([[1, bad], [1, 2]]), np.ones((2, 1)))
        assert not np.isfinite(found[0, 0])
        assert found[1, 0] == 3


FUNCTIONS: dict[str, tuple[Callable[[float], float], float, float]] = {
    "exp": (math.exp, -100, 88),
    "expm1": (math.expm1, -20, 20),
    "log": (math.log, 1e-30, 1e4),
    "tanh": (math.tanh, -12, 12),
    "erf": (math.erf, -5, 5),
    "erfc": (math.erfc, -5, 9),
    "softplus": (lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))), -80, 80),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_within_one_last_bit(name: str) -> None:
    """Rounded to float32; in float64 within 2^-40."""
    wanted, low, high = FUNCTIONS[name]
    random = np.random.default_rng(0)
    points = [np.linspace(low, high, 20001), np.array([0.0, -0.0, 0.5, -0.5, 1, 2, -2, low, high])]
    points.append(np.exp(random.uniform(-20, math.log(high), 4000)) * random.choice([-1, 1], 4000))
    x = np.concatenate(points).astype(np.float32).astype(np.float64)
    x = x[(x >= low) & (x <= high) & ((x != 0) | (name != "log"))]
    true = np.array([wanted(v) for v in x.tolist()])
    function = getattr(exact, name)
    assert np.all(np.abs(function(x) - true) <= 2.0**-40 * np.abs(true))
    single = exact.rounded_once(function)(x)
    last_bit = np.spacing(np.abs(true.astype(np.float32)))
    assert np.all(np.abs(single.astype(np.float64) - true) <= last_bit)
    different = single != true.astype(np.float32)
    assert different.mean() < 1e-3


def test_ends_of_the_functions() -> None:
    x = np.array([np.inf, -np.inf, 0, -1, 1e9, -1e9])
    with np.errstate(all="ignore"):
        assert exact.exp(x).tolist() == [math.inf, 0, 1, pytest.approx(math.exp(-1)), math.inf, 0]
        assert exact.tanh(x)[[0, 1, 2, 4, 5]].tolist() == [1, -1, 0, 1, -1]
        assert exact.log(x)[[0, 2, 4]].tolist() == [math.inf, -math.inf, pytest.approx(math.log(1e9))]
        assert np.isnan(exact.log(x)[[1, 3]]).all()
        assert exact.erf(x)[[0, 1, 2]].tolist() == [1, -1, 0]
        assert exact.erfc(x)[[0, 1, 2]].tolist() == [0, 2, 1]
        for name in FUNCTIONS:
            assert np.isnan(getattr(exact, name)(np.array([np.nan]))).all(), name
