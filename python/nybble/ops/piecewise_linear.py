# SPDX-License-Identifier: Apache-2.0
"""Functions that are linear on each side of zero: rectifiers, leaky rectifier, absolute value.

x int8 or uint8 of any shape -> the same type and shape. With c = x - zero_point_x, clamped at last:

    Relu:      y = requantize(c, scale_x / scale_y) + zero_point_y
    LeakyRelu: y = requantize(c, scale_x / scale_y) + zero_point_y              where c >= 0
               y = requantize(c, scale_x * alpha / scale_y) + zero_point_y      where c < 0
    Abs:       y = requantize(abs(c), scale_x / scale_y) + zero_point_y

Source: QuantizedReluX, tensorflow/lite/kernels/activations.cc; QuantizeLeakyRelu,
kernels/internal/reference/leaky_relu.h; AbsEvalQuantized, micro/kernels/elementwise.cc. TFLite
Micro divides the scales in double, LiteRT in float32 (``single_precision``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..graph import Array, Rounding, Tensor
from .activation import Activation
from .lookup import Lookup, domain
from .requantize import Int64, quantize_multiplier, requantize


@dataclass(frozen=True)
class _PiecewiseLinear(Lookup):
    rounding: Rounding = field(default=Rounding.DOUBLE, kw_only=True)
    single_precision: bool = field(default=False, kw_only=True)

    def _scaled(self, centred: Int64, slope: float, x: Tensor, y: Tensor) -> Int64:
        """requantize(centred, scale_x * slope / scale_y) + zero_point_y, not yet clamped."""
        real = np.float32 if self.single_precision else np.float64
        ratio = float(real(x.scale) * real(slope) / real(y.scale))
        # The rounding is symmetric in the signs of both factors: a negative one moves to the other.
        multiplier, shift = quantize_multiplier(abs(ratio))
        sign = -1 if ratio < 0 else 1
        return requantize(sign * centred, multiplier, shift, self.rounding) + y.zero_point


@dataclass(frozen=True)
class Relu(_PiecewiseLinear):
    """A clamp in the real domain."""

    activation: Activation = Activation.RELU

    def table(self, x: Tensor, y: Tensor) -> Array:
        scaled = self._scaled(domain(x) - x.zero_point, 1.0, x, y)
        return np.clip(scaled, *self.activation.limits(y))

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self.activation.real(arrays[0])]


@dataclass(frozen=True)
class LeakyRelu(_PiecewiseLinear):
    """x where x >= 0, else alpha * x."""

    alpha: float

    def table(self, x: Tensor, y: Tensor) -> Array:
        centred = domain(x) - x.zero_point
        scaled = np.where(
            centred >= 0, self._scaled(centred, 1.0, x, y), self._scaled(centred, self.alpha, x, y)
        )
        return np.clip(scaled, y.lowest, y.highest)

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [np.where(arrays[0] >= 0, arrays[0], np.float32(self.alpha) * arrays[0])]


@dataclass(frozen=True)
class Abs(_PiecewiseLinear):
    """abs(x)."""

    def table(self, x: Tensor, y: Tensor) -> Array:
        scaled = self._scaled(np.abs(domain(x) - x.zero_point), 1.0, x, y)
        return np.clip(scaled, y.lowest, y.highest)

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [np.abs(arrays[0])]
