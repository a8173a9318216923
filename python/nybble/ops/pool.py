# SPDX-License-Identifier: Apache-2.0
"""Average and maximum over a sliding window; input and output share scale and zero point.

x int8 or int16 [batch, height, width, channels] -> the same type [batch, out_height, out_width, channels]. Positions
outside the image do not count. With n positions inside and S the sum of the raw integers:

    AverageRounding.AWAY: (S + n/2) / n for S > 0, (S - n/2) / n otherwise, divisions towards zero
    AverageRounding.UP:   floor((S + 128 n + n/2) / n) - 128, which is what uint8 networks compute before the shift to int8

Source: AveragePool and MaxPool, tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h and reference/pooling.h.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Operator, Tensor
from .activation import Activation
from .requantize import require_activations, require_int8
from .window import Window


class AverageRounding(enum.Enum):
    """How the division rounds; the values are names in nybble.fbs."""

    AWAY = "AWAY"
    UP = "UP"


@dataclass(frozen=True)
class _Pool2d(Operator):
    window: Window
    activation: Activation = Activation.NONE

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        x = inputs[0].shape
        if len(x) != 4:
            raise ValueError(f"expected an input of 4 dimensions, found {x}")
        return [(x[0], *self.window.output(x[1], x[2]), x[3])]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self

    def _images(self, x: Array) -> Array:
        """[images, height, width, channels] of x, which may have one more leading axis."""
        return x.reshape(-1, *x.shape[-3:])

    def _require_same(self, x: Tensor, y: Tensor) -> None:
        require_activations(x, y)
        if x.quantized != y.quantized:
            raise ValueError(f"expected equal scales of input and output, found {x.quantized}, {y.quantized}")

    def _fields(self, output: Tensor) -> dict[str, object]:
        low, high = self.activation.limits(output)
        return {"window": self.window.fields(), "minimum": low, "maximum": high}


@dataclass(frozen=True)
class AveragePool2d(_Pool2d):
    """Average over a window."""

    rounding: AverageRounding = AverageRounding.AWAY

    def _sums(self, x: Array) -> tuple[Array, Array]:
        """(sum over the window, number of positions in it), one position after the other."""
        wide = x.astype(np.float64 if x.dtype.kind == "f" else np.int64)
        inside = np.ones((1, *x.shape[1:3], 1), wide.dtype)
        totals = []
        for values in (wide, inside):
            total = np.zeros((len(values), *self.window.output(*x.shape[1:3]), values.shape[3]), wide.dtype)
            for _, _, tap in self.window.taps(values, 0):
                total += tap
            totals.append(total)
        return totals[0], totals[1]

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        self._require_same(inputs[0], outputs[0])
        total, count = self._sums(arrays[0])
        if self.rounding is AverageRounding.UP:
            mean = (total + 128 * count + count // 2) // count - 128
        else:
            mean = np.sign(total) * ((np.abs(total) + count // 2) // count)
        low, high = self.activation.limits(outputs[0])
        return [np.clip(mean, low, high).astype(outputs[0].dtype.numpy)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        total, count = self._sums(self._images(arrays[0]))
        return [self.activation.real((total / count).astype(np.float32))]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        self._require_same(inputs[0], outputs[0])
        if self.rounding is AverageRounding.UP:
            require_int8(inputs[0])
        return Lowered("AveragePool2d", {**self._fields(outputs[0]), "rounding": self.rounding.value})


@dataclass(frozen=True)
class MaxPool2d(_Pool2d):
    """Maximum over a window."""

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        self._require_same(inputs[0], outputs[0])
        low, high = self.activation.limits(outputs[0])
        largest = self.window.patches(arrays[0], inputs[0].dtype.lowest).max(axis=(3, 4))
        return [np.clip(largest, low, high).astype(outputs[0].dtype.numpy)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        taps = self.window.taps(self._images(arrays[0]), -np.inf)
        largest = next(taps)[2].copy()
        for _, _, tap in taps:
            np.maximum(largest, tap, out=largest)
        return [self.activation.real(largest)]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        self._require_same(inputs[0], outputs[0])
        return Lowered("MaxPool2d", self._fields(outputs[0]))
