# SPDX-License-Identifier: Apache-2.0
"""The reciprocal square root in fixed point.

x int8 of any shape -> int8 of the same shape. With c = x - zero_point_x:

    r = 2^20 / sqrt(c)                       from five Newton-Raphson steps in Q3.28
    y = clamp(requantize(r, 1 / (2^20 * sqrt(scale_x) * scale_y)) + zero_point_y)

and the highest integer where c <= 0; the reference stops at negative numbers.

Source: RsqrtEvalQuantized, tensorflow/lite/micro/kernels/elementwise.cc; GetInvSqrtQuantizedMultiplierExp,
tensorflow/lite/kernels/internal/common.h.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, Rounding, Tensor
from . import fixedpoint
from .lookup import Lookup, domain
from .requantize import quantize_multiplier, requantize, require_int8

_SHIFT = 20


@dataclass(frozen=True)
class Rsqrt(Lookup):
    """1 / sqrt(x)."""

    def table(self, x: Tensor, y: Tensor) -> Array:
        require_int8(x, y)
        scale = 1.0 / (math.sqrt(x.scale) * y.scale)
        multiplier, shift = quantize_multiplier(scale / (1 << _SHIFT))
        centred = domain(x) - x.zero_point
        roots = np.array([_root(int(c)) for c in centred.clip(1)])
        scaled = requantize(roots, multiplier, shift, Rounding.DOUBLE) + y.zero_point
        return np.where(centred > 0, np.clip(scaled, y.lowest, y.highest), y.highest)

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [(np.float32(1) / np.sqrt(arrays[0])).astype(np.float32)]


@functools.cache  # at most 255 values
def _root(value: int) -> int:
    """r of the formula."""
    return int(requantize(np.array(1), *_inverse_sqrt(value), Rounding.DOUBLE))


def _inverse_sqrt(value: int) -> tuple[int, int]:
    """(multiplier, shift) of 2^20 / sqrt(value) for 1 <= value < 2^29."""
    if value == 1:
        return fixedpoint.INT32_MAX, 31 - _SHIFT
    # As far left as an even number of bits allows below 2^29.
    pairs = (31 - value.bit_length()) // 2 - 1
    half = fixedpoint.divide_by_pot(np.int64(value << 2 * pairs >> 1), 1)
    root: fixedpoint.Int64 = np.array(1 << 28)
    for _ in range(5):
        square = fixedpoint.high_mul(root, root)
        cube = fixedpoint.multiply_by_pot(fixedpoint.high_mul(square, root), 6)
        rest = fixedpoint.high_mul(3 << 27, root) - fixedpoint.high_mul(half, cube)
        root = fixedpoint.multiply_by_pot(rest, 3)
    return int(fixedpoint.high_mul(root, 1518500250)), 31 + 11 - pairs - _SHIFT
