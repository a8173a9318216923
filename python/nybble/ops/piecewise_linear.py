# SPDX-License-Identifier: Apache-2.0
"""Functions that are linear on each side of zero: requantization, rectifiers, leaky rectifier, absolute value.

x int8, uint8 or int16 of any shape -> the same shape, for Quantize of any of these types. With c = x - zero_point_x,
clamped at last:

    Quantize, Relu: y = requantize(c, scale_x / scale_y) + zero_point_y
    LeakyRelu:      y = requantize(c, scale_x / scale_y) + zero_point_y              where c >= 0
                    y = requantize(c, scale_x * alpha / scale_y) + zero_point_y      where c < 0
    Abs:            y = requantize(abs(c), scale_x / scale_y) + zero_point_y

A table where both are bytes, else computed. Zero points in int16 are 0.

Source: Requantize, tensorflow/lite/kernels/internal/reference/requantize.h; QuantizedReluX,
tensorflow/lite/kernels/activations.cc; QuantizeLeakyRelu, kernels/internal/reference/leaky_relu.h;
AbsEvalQuantized, micro/kernels/elementwise.cc. TFLite Micro divides the scales in double, LiteRT in float32
(``single_precision``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Rounding, Tensor
from .activation import Activation
from .lookup import Lookup, domain, is_byte
from .requantize import (
    Int64,
    output_fields,
    quantize_multiplier,
    requantize,
    require_activations,
    require_reach,
)


@dataclass(frozen=True)
class PiecewiseLinear(Lookup):
    """slopes[0] * x where x >= 0, else slopes[1] * x, clamped."""

    rounding: Rounding = field(default=Rounding.DOUBLE, kw_only=True)
    single_precision: bool = field(default=False, kw_only=True)

    @property
    @abstractmethod
    def slopes(self) -> tuple[float, float]:
        """For x >= 0 and for x < 0."""

    @property
    def clamp(self) -> Activation:
        """Bounds of the result."""
        return Activation.NONE

    def _multiplier(self, slope: float, x: Tensor, y: Tensor) -> tuple[int, int, int]:
        """(multiplier, shift, sign) of scale_x * slope / scale_y.

        The rounding is symmetric in the signs of both factors: a negative one moves to the other.
        """
        real = np.float32 if self.single_precision else np.float64
        ratio = float(real(x.scale) * real(slope) / real(y.scale))
        return (*quantize_multiplier(abs(ratio)), -1 if ratio < 0 else 1)

    def _value(self, given: Int64, x: Tensor, y: Tensor) -> Int64:
        centred = given - x.zero_point
        parts = []
        for slope in self.slopes:
            multiplier, shift, sign = self._multiplier(slope, x, y)
            parts.append(requantize(sign * centred, multiplier, shift, self.rounding))
        scaled = np.where(centred >= 0, *parts) + y.zero_point
        result: Int64 = np.clip(scaled, *self.clamp.limits(y))
        return result

    def table(self, x: Tensor, y: Tensor) -> Array:
        return self._value(domain(x), x, y)

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        x, y = inputs[0], outputs[0]
        if is_byte(x) and is_byte(y):
            return super().integer(arrays, inputs, outputs)
        return [self._value(arrays[0].astype(np.int64), x, y).astype(y.dtype.numpy)]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        x, y = inputs[0], outputs[0]
        if is_byte(x) and is_byte(y):
            return super().lower(inputs, outputs)
        for tensor in (x, y):
            require_activations(tensor)
        fields: dict[str, object] = {"zero_point": x.zero_point}
        for prefix, slope in zip(("", "negative_"), self.slopes, strict=True):
            multiplier, shift, sign = self._multiplier(slope, x, y)
            require_reach(1 << x.dtype.bits, multiplier, shift)
            fields |= {f"{prefix}multiplier": sign * multiplier, f"{prefix}shift": shift}
        return Lowered("PiecewiseLinear", {**fields, "output": output_fields(y, self.clamp, self.rounding)})


@dataclass(frozen=True)
class Relu(PiecewiseLinear):
    """A clamp in the real domain."""

    activation: Activation = Activation.RELU

    @property
    def slopes(self) -> tuple[float, float]:
        return 1.0, 1.0

    @property
    def clamp(self) -> Activation:
        return self.activation

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self.activation.real(arrays[0])]


@dataclass(frozen=True)
class LeakyRelu(PiecewiseLinear):
    """x where x >= 0, else alpha * x."""

    alpha: float

    @property
    def slopes(self) -> tuple[float, float]:
        return 1.0, self.alpha

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [np.where(arrays[0] >= 0, arrays[0], np.float32(self.alpha) * arrays[0])]


@dataclass(frozen=True)
class Abs(PiecewiseLinear):
    """abs(x)."""

    @property
    def slopes(self) -> tuple[float, float]:
        return 1.0, -1.0

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [np.abs(arrays[0])]


@dataclass(frozen=True)
class Quantize(PiecewiseLinear):
    """The same numbers with another scale, zero point or type."""

    @property
    def slopes(self) -> tuple[float, float]:
        return 1.0, 1.0

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [arrays[0]]
