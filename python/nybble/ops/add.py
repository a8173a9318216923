# SPDX-License-Identifier: Apache-2.0
"""Elementwise sum and difference of two tensors with scales of their own, with broadcasting.

x1, x2 both int8 or both int16, broadcast as numpy does -> the same type; in int16 15 takes the place of 20:

    s1 = requantize((x1 - zero_point1) << 20, scale1 / (2 * max(scale1, scale2)))      |s1| < 2^28
    s2 = requantize((x2 - zero_point2) << 20, scale2 / (2 * max(scale1, scale2)))
    y  = clamp(requantize(s1 + s2, 2 * max(scale1, scale2) / (2^20 * scale_y)) + zero_point_y)

Where one step gives the same for all 65,536 pairs of int8 inputs, the file holds that as well, and the core computes

    y  = clamp((((x1 - zero_point1) * slope1 + (x2 - zero_point2) * slope2 + round) >> 28) + zero_point_y)

with slopes of about scale / scale_y * 2^28. The roundings on the way move a sum by some 2^-20 of a step, and
65,536 sums seldom come so close to the border between two steps; ties, which are rounded away from zero, want
slopes that are a trace too large. So there nearly always is such a form for slopes below 4.

Source: AddElementwise, tensorflow/lite/kernels/internal/reference/integer_ops/add.h; parameters:
PrepareGeneralOp in kernels/add.cc (doubles from float32 scales), kernels/sub.cc likewise.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Lowered, Operator, Rounding, Tensor
from .activation import Activation
from .requantize import (
    finish,
    output_fields,
    quantize_multiplier,
    requantize,
    require_activations,
    require_int8,
    require_reach,
)

#: Fraction bits of the sum in one step.
_LINEAR_BITS = 28

#: So far from the nearest slopes others are tried where those fail.
_NEIGHBOURS = 16


def broadcast_shape(inputs: Sequence[Tensor]) -> tuple[int, ...]:
    """The shape of an elementwise operator's output; ValueError where the inputs do not fit each other."""
    return tuple(np.broadcast_shapes(*(t.shape for t in inputs)))


def same_rank(inputs: Sequence[Tensor]) -> bool:
    """Whether an axis of samples in front of all computed inputs leaves broadcasting as it is."""
    rank = max(len(t.shape) for t in inputs)
    return all(t.data is not None or len(t.shape) == rank for t in inputs)


@dataclass(frozen=True)
class Combination(Operator):
    """Two tensors brought to one scale and combined element by element, with a fused activation."""

    activation: Activation = Activation.NONE
    rounding: Rounding = field(default=Rounding.DOUBLE)
    left_shifts: ClassVar[Mapping[DType, int]] = {DType.INT8: 20, DType.INT16: 15}
    degree: ClassVar[int] = 1
    """Power of the inputs in the result."""

    @abstractmethod
    def combine(self, x1: Array, x2: Array) -> Array:
        """The operator on two arrays of one scale."""

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        return [broadcast_shape(inputs[:2])]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self if same_rank(inputs) else None

    def _left_shift(self, inputs: Sequence[Tensor], output: Tensor) -> int:
        require_activations(*inputs[:2], output)
        if output.dtype not in self.left_shifts:
            require_int8(output)
        return self.left_shifts[output.dtype]

    def _constants(self, inputs: Sequence[Tensor], output: Tensor) -> tuple[tuple[int, int], ...]:
        left_shift = self._left_shift(inputs, output)
        twice = 2.0 * max(np.float64(inputs[0].scale), np.float64(inputs[1].scale))
        scale = (twice / (1 << left_shift)) ** self.degree
        multiplier, shift = quantize_multiplier(float(scale / np.float64(output.scale)))
        require_reach((1 << (output.dtype.bits + left_shift)) ** self.degree, multiplier, shift)
        return (
            quantize_multiplier(float(np.float64(inputs[0].scale) / twice)),
            quantize_multiplier(float(np.float64(inputs[1].scale) / twice)),
            (multiplier, shift),
        )

    def _linear(self, inputs: Sequence[Tensor], output: Tensor) -> Mapping[str, int] | None:
        """The operator in one step, the file's Linear; None where there is no such form."""
        return None

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        left_shift = self._left_shift(inputs, outputs[0])
        *operands, (multiplier, shift) = self._constants(inputs, outputs[0])
        scaled = [
            requantize((a.astype(np.int64) - t.zero_point) << left_shift, m, s, self.rounding)
            for a, t, (m, s) in zip(arrays, inputs, operands, strict=False)
        ]
        combined = self.combine(scaled[0], scaled[1])
        return [finish(requantize(combined, multiplier, shift, self.rounding), outputs[0], self.activation)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self.activation.real(self.combine(arrays[0], arrays[1]))]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        (m1, s1), (m2, s2), (m, s) = self._constants(inputs, outputs[0])
        return Lowered(
            self.name,
            {
                "left_shift": self._left_shift(inputs, outputs[0]),
                "zero_point1": inputs[0].zero_point,
                "multiplier1": m1,
                "shift1": s1,
                "zero_point2": inputs[1].zero_point,
                "multiplier2": m2,
                "shift2": s2,
                "multiplier": m,
                "shift": s,
                "output": output_fields(outputs[0], self.activation, self.rounding),
                "linear": self._linear(inputs, outputs[0]),
            },
            (0, 1),
        )


@dataclass(frozen=True)
class Add(Combination):
    """x1 + x2."""

    sign: ClassVar[int] = 1

    def combine(self, x1: Array, x2: Array) -> Array:
        return x1 + x2 if self.sign > 0 else x1 - x2

    def _linear(self, inputs: Sequence[Tensor], output: Tensor) -> Mapping[str, int] | None:
        if output.dtype is not DType.INT8:
            return None
        x1, x2 = np.arange(-128, 128)[:, None], np.arange(-128, 128)[None, :]
        y = self.integer([x1, x2], inputs, [output])[0].astype(np.int64)
        low, high = self.activation.limits(output)
        (m1, s1), (m2, s2), (m, s) = self._constants(inputs, output)
        common = math.ldexp(m, self._left_shift(inputs, output) + _LINEAR_BITS - s)
        slope1 = round(math.ldexp(m1, -s1) * common)
        slope2 = round(math.ldexp(m2, -s2) * common) * self.sign
        if max(abs(slope1), abs(slope2)) + _NEIGHBOURS >= 1 << 30:
            return None
        d1, d2 = x1 - inputs[0].zero_point, x2 - inputs[1].zero_point
        # `round` is at least `first` and at most `last` for every pair; a clamped result bounds it from one side.
        first = ((y - output.zero_point) << _LINEAR_BITS) - d1 * slope1 - d2 * slope2
        last = np.where(y < high, first + (1 << _LINEAR_BITS) - 1, 1 << _LINEAR_BITS)
        first = np.where(y > low, first, 0)
        change = np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
        if int(first.max()) <= int(last.min()):
            change = np.zeros(1, np.int64)
        # Bounds of `round` for all changes of the slopes; those of slope2 are looked at for each x1 first.
        least = np.stack([(first - d2 * c).max(axis=1) for c in change])
        most = np.stack([(last - d2 * c).min(axis=1) for c in change])
        at_least = np.stack([(least - d1[:, 0] * c).max(axis=1) for c in change])
        at_most = np.stack([(most - d1[:, 0] * c).min(axis=1) for c in change])
        room = at_most - at_least
        best = np.unravel_index(int(room.argmax()), room.shape)
        if room[best] < 0:
            return None
        return {
            "slope1": slope1 + int(change[best[0]]),
            "slope2": slope2 + int(change[best[1]]),
            "round": int(np.clip(1 << (_LINEAR_BITS - 1), at_least[best], at_most[best])),
        }


@dataclass(frozen=True)
class Sub(Add):
    """x1 - x2."""

    sign: ClassVar[int] = -1
