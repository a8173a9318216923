# SPDX-License-Identifier: Apache-2.0
"""Real arithmetic whose result does not depend on the machine: what quantization computes from.

BLAS adds in an order that changes with threads and processor, and the exponential of numpy with its vector
instructions. Here sums and products are sums of integers, which have one value in any order; everything else is
made of + - * / and sqrt, which IEEE 754 rounds in one way. docs/adr/0011-deterministic-quantization.md.

A number on the grid is an integer n of at most ``bits`` bits (as float64) with x ~ n * 2^exponent, the exponent
chosen by the largest magnitude that shares it. A float64 holds integers up to 2^53: a product of a matrix of ``a``
bits and one of ``b`` bits over k terms is exact where a + b + log2(k) <= 53, fused or not, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..graph import Array

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

#: Bits of a float64's mantissa.
_EXACT = 53
#: Terms in one exact sum of products; longer ones are made of several, added one after the other.
_TERMS = 1024
#: Exponents stay where their powers of two, and products of two of them, are normal numbers.
_SMALLEST = -500
#: Elements that a function of one element works on at a time, so that what it needs stays in the cache.
_AT_ONCE = 1 << 15


def grid(x: Array, bits: int, axes: tuple[int, ...]) -> tuple[Float64, npt.NDArray[np.int64]]:
    """(integers of at most ``bits`` bits, exponents) of x; elements along ``axes`` share an exponent.

    The exponents have x's rank, 1 along the axes. Rounds to the nearest, ties to even: the error is at most
    2^-bits of the largest magnitude. Infinite elements stay so.
    """
    largest = np.abs(x).max(axis=axes, keepdims=True, initial=0)
    largest = np.where(np.isfinite(largest), largest, 0).astype(np.float64)
    exponent = np.maximum(np.frexp(largest)[1].astype(np.int64) - bits, _SMALLEST)
    integers = x * np.ldexp(1.0, -exponent)
    return np.rint(integers, out=integers), exponent


def product_bits(terms: int) -> tuple[int, int]:
    """Bits of the two factors for ``terms`` products in a sum: 21 and 22, more for less than 1024 terms."""
    total = _EXACT - math.ceil(math.log2(max(min(terms, _TERMS), 1)))
    return total // 2, total - total // 2


def integer_product(a: Float64, b: Float64) -> Float64:
    """a [m, k] times b [k, n], integers with the bits of ``product_bits(k)``, the parts of 1024 terms exact."""
    k = a.shape[1]
    if k <= _TERMS:
        return a @ b
    total = a[:, :_TERMS] @ b[:_TERMS]
    for first in range(_TERMS, k, _TERMS):
        total += a[:, first : first + _TERMS] @ b[first : first + _TERMS]
    return total


def exact_matmul(a: Array, b: Array) -> Float64:
    """a [m, k] times b [k, n] in float64, the same bits on every machine and for any number of threads.

    Rows of a and columns of b are rounded to integers of 21 bits or more relative to their largest magnitude
    (``product_bits``); products and sums of those are exact.
    """
    bits = product_bits(a.shape[1])
    rows, row_exponents = grid(a, bits[0], (1,))
    columns, column_exponents = grid(b, bits[1], (0,))
    return np.asarray(integer_product(rows, columns) * np.ldexp(1.0, row_exponents + column_exponents))


def exact_sum(x: Array, axes: tuple[int, ...]) -> Float64:
    """The sum over ``axes``, which stay with size 1: of integers with 53 - log2(terms) bits relative to the largest."""
    terms = math.prod(x.shape[axis] for axis in axes)
    integers, exponent = grid(x, _EXACT - math.ceil(math.log2(max(terms, 1))), axes)
    return np.asarray(integers.sum(axis=axes, keepdims=True) * np.ldexp(1.0, exponent))


def rounded_once(function: Callable[[Float64], Float64]) -> Callable[[Array], Float32]:
    """A function of doubles as one of any real elements that rounds to float32 at the end."""

    def apply(x: Array) -> Float32:
        flat = x.reshape(-1)
        result = np.empty(flat.size, np.float32)
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            for first in range(0, flat.size, _AT_ONCE):
                part = slice(first, first + _AT_ONCE)
                result[part] = function(flat[part].astype(np.float64))
        return result.reshape(x.shape)

    return apply


def round_away(x: Float32) -> Float32:
    """C's roundf(): to the nearest integer, ties away from zero."""
    whole = np.trunc(x)
    return np.where(np.abs(x - whole) >= np.float32(0.5), whole + np.sign(x), whole)


#: ln 2 as a number of 32 bits, whose small multiples are exact, and the rest.
_LN2_HIGH = math.ldexp(2977044471, -32)
_LN2_LOW = 1.9082149292705877e-10
#: exp() overflows above and vanishes below.
_EXP_LIMIT = 750.0


def _horner(x: Float64, coefficients: list[float]) -> Float64:
    """The polynomial with ``coefficients``, the constant first."""
    result = np.full(x.shape, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result *= x
        result += coefficient
    return result


def _expm1_series(x: Float64, terms: int) -> Float64:
    """exp(x) - 1 by its Taylor series."""
    return x * _horner(x, [1 / math.factorial(n) for n in range(1, terms + 1)])


def exp(x: Float64) -> Float64:
    """exp(x): 2^k * exp(r) with abs(r) <= ln(2) / 2 and 14 terms of the series of exp(r)."""
    x = np.clip(x, -_EXP_LIMIT, _EXP_LIMIT)
    k = np.rint(x * 1.4426950408889634)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    # Not a number has no exponent.
    whole = np.where(np.isnan(k), 0, k).astype(np.int64)
    return np.ldexp(1 + _expm1_series(r, 14), whole)


def expm1(x: Float64) -> Float64:
    """exp(x) - 1, by the series alone where abs(x) < 1/2."""
    return np.where(np.abs(x) < 0.5, _expm1_series(np.clip(x, -0.5, 0.5), 17), exp(x) - 1)


def _two_atanh(s: Float64, terms: int) -> Float64:
    """2 * (s + s^3 / 3 + s^5 / 5 + ...) = log((1 + s) / (1 - s))."""
    return 2 * s * _horner(s * s, [1 / (2 * n + 1) for n in range(terms)])


def log(x: Float64) -> Float64:
    """log(x): e * ln(2) + log(m) with x = m * 2^e and m from sqrt(1/2) to sqrt(2); -inf at 0, nan below."""
    m, e = np.frexp(x)
    low = m < math.sqrt(0.5)
    m, e = np.where(low, 2 * m, m), np.where(low, e - 1, e).astype(np.float64)
    result = e * _LN2_HIGH + (e * _LN2_LOW + _two_atanh((m - 1) / (m + 1), 12))
    return np.select([x > 0, x == 0], [np.where(np.isinf(x), np.inf, result), -np.inf], np.nan)


def softplus(x: Float64) -> Float64:
    """log(1 + exp(x)) = max(x, 0) + log(1 + t) with t = exp(-abs(x)) and log(1 + t) = 2 atanh(t / (2 + t))."""
    t = exp(-np.abs(x))
    return np.maximum(x, 0) + _two_atanh(t / (2 + t), 18)


def tanh(x: Float64) -> Float64:
    """tanh(x) = d / (d + 2) with d = exp(2 x) - 1."""
    d = expm1(2 * np.clip(x, -20, 20))
    return d / (d + 2)


def _erf_series(x: Float64) -> Float64:
    """erf(x) for abs(x) <= 2: 2 / sqrt(pi) * exp(-x^2) * sum of 2^n x^(2n + 1) / (2n + 1)!!, DLMF 7.6.2."""
    coefficients = [1.0]
    for n in range(1, 36):
        coefficients.append(coefficients[-1] * 2 / (2 * n + 1))
    return 2 / math.sqrt(math.pi) * x * exp(-x * x) * _horner(x * x, coefficients)


def _erfc_fraction(x: Float64) -> Float64:
    """erfc(x) for x >= 2: exp(-x^2) / sqrt(pi) / (x + 1/2 / (x + 1 / (x + 3/2 / ...))), DLMF 7.9.1."""
    rest = x
    for n in range(60, 0, -1):
        rest = x + n / 2 / rest
    return exp(-x * x) / math.sqrt(math.pi) / rest


def erfc(x: Float64) -> Float64:
    """1 - erf(x)."""
    far = _erfc_fraction(np.maximum(np.abs(x), 2))
    return np.where(np.abs(x) <= 2, 1 - _erf_series(np.clip(x, -2, 2)), np.where(x > 0, far, 2 - far))


def erf(x: Float64) -> Float64:
    """The error function."""
    far = np.copysign(1 - _erfc_fraction(np.maximum(np.abs(x), 2)), x)
    return np.where(np.abs(x) <= 2, _erf_series(np.clip(x, -2, 2)), far)
