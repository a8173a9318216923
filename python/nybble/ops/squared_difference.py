# SPDX-License-Identifier: Apache-2.0
"""Elementwise square of the difference of two tensors with scales of their own, with broadcasting.

x1, x2 int8, broadcast as numpy does -> int8:

    s1 = requantize((x1 - zero_point1) << 7, scale1 / (2 * max(scale1, scale2)))      |s1| < 2^15
    s2 = requantize((x2 - zero_point2) << 7, scale2 / (2 * max(scale1, scale2)))
    y  = clamp(requantize((s1 - s2)^2, (2 * max(scale1, scale2) / 2^7)^2 / scale_y) + zero_point_y)

Source: SquaredDifference, tensorflow/lite/kernels/squared_difference.cc (parameters in Prepare there).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..graph import Array, DType
from .add import Combination


@dataclass(frozen=True)
class SquaredDifference(Combination):
    """(x1 - x2)^2 with a fused activation."""

    left_shifts: ClassVar[Mapping[DType, int]] = {DType.INT8: 7}
    degree: ClassVar[int] = 2

    def combine(self, x1: Array, x2: Array) -> Array:
        difference: Array = x1 - x2
        return difference * difference
