# SPDX-License-Identifier: Apache-2.0
"""Requantization of one 8-bit tensor to another scale, zero point or type.

    y = clamp(requantize(x - zero_point_x, scale_x / scale_y) + zero_point_y)

Source: Requantize, tensorflow/lite/kernels/internal/reference/requantize.h (double rounding); the
multiplier in double from float32 scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..graph import Array, Rounding, Tensor
from .lookup import Lookup, domain
from .requantize import quantize_multiplier, requantize


@dataclass(frozen=True)
class Quantize(Lookup):
    """Requantize."""

    rounding: Rounding = field(default=Rounding.DOUBLE)

    def table(self, x: Tensor, y: Tensor) -> Array:
        multiplier, shift = quantize_multiplier(float(np.float64(x.scale) / np.float64(y.scale)))
        scaled = requantize(domain(x) - x.zero_point, multiplier, shift, self.rounding)
        return np.clip(scaled + y.zero_point, y.lowest, y.highest)

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [arrays[0]]
