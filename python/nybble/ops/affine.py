# SPDX-License-Identifier: Apache-2.0
"""A straight line between two bounds: what scalar products, sums and clamps amount to.

x int8 or uint8 of any shape -> the same shape; with real numbers, exactly:

    y = clamp(factor * x + offset, low, high)

as integers the nearest one, ties up. It covers arbitrary clips, hard sigmoids, and products and
sums with one constant; the table is computed in rational arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from ..graph import Array, Tensor
from .lookup import Lookup, domain


@dataclass(frozen=True)
class Affine(Lookup):
    """clamp(factor * x + offset, low, high); factor and offset finite, low <= high, either may be
    infinite.
    """

    factor: float = 1.0
    offset: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    @property
    def linear(self) -> bool:
        """Whether there are no bounds."""
        return self.low == -math.inf and self.high == math.inf

    @property
    def clamp(self) -> bool:
        """Whether there is nothing but bounds, as far as float32 can tell."""
        return np.float32(self.factor) == 1 and self.offset == 0

    def then(self, after: Affine) -> Affine:
        """``after`` of this; its factor is not 0."""
        ends = [after.factor * end + after.offset for end in (self.low, self.high)]
        low, high = (min(max(end, after.low), after.high) for end in sorted(ends))
        return Affine(after.factor * self.factor, after.factor * self.offset + after.offset, low, high)

    def table(self, x: Tensor, y: Tensor) -> Array:
        unit, half = Fraction(y.scale), Fraction(1, 2)
        slope, start = Fraction(self.factor) * Fraction(x.scale) / unit, Fraction(self.offset) / unit + half
        # Integers over one denominator are much faster than fractions.
        whole = math.lcm(slope.denominator, start.denominator)
        factor, offset = int(slope * whole), int(start * whole)
        # Rounding is monotone, so that the bounds may be rounded instead of what they bound.
        low, high = (
            end if math.isinf(end) else math.floor(Fraction(end) / unit + half)
            for end in (self.low, self.high)
        )
        limits = (y.lowest - y.zero_point, y.highest - y.zero_point)
        entries = [
            min(max(min(max((factor * centred + offset) // whole, low), high), limits[0]), limits[1])
            for centred in (domain(x) - x.zero_point).tolist()
        ]
        return np.array(entries, np.int64) + y.zero_point

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        y = arrays[0] * np.float32(self.factor) + np.float32(self.offset)
        return [np.clip(y, np.float32(self.low), np.float32(self.high))]
