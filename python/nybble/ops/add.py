# SPDX-License-Identifier: Apache-2.0
"""Elementwise sum and difference of two tensors with scales of their own, with broadcasting.

x1, x2 int8, broadcast as numpy does -> int8:

    s1 = requantize((x1 - zero_point1) << 20, scale1 / (2 * max(scale1, scale2)))      |s1| < 2^28
    s2 = requantize((x2 - zero_point2) << 20, scale2 / (2 * max(scale1, scale2)))
    y  = clamp(requantize(s1 + s2, 2 * max(scale1, scale2) / (2^20 * scale_y)) + zero_point_y)

Where one step gives the same for all 65,536 pairs of inputs (everywhere but where the scales are equal or a power
of two apart, so that ties are frequent and rounded away from zero), the file holds that as well, and the core computes

    y  = clamp(((x1 - zero_point1) * slope1 + (x2 - zero_point2) * slope2 + round) >> 28) + zero_point_y)

with slopes of scale / scale_y * 2^28: the roundings on the way move a sum by about 2^-20 of a step, and 65,536
sums come seldom so close to the border between two steps.

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

from ..graph import Array, Lowered, Operator, Rounding, Tensor
from .activation import Activation
from .requantize import (
    finish,
    output_fields,
    quantize_multiplier,
    requantize,
    require_int8,
    require_reach,
)

#: Fraction bits of the sum in one step.
_LINEAR_BITS = 28


def broadcast_shape(inputs: Sequence[Tensor]) -> tuple[int, ...]:
    """The shape of an elementwise operator's output; ValueError where the inputs do not fit each other."""
    return tuple(np.broadcast_shapes(*(t.shape for t in inputs)))


@dataclass(frozen=True)
class Combination(Operator):
    """Two tensors brought to one scale and combined element by element, with a fused activation."""

    activation: Activation = Activation.NONE
    rounding: Rounding = field(default=Rounding.DOUBLE)
    left_shift: ClassVar[int] = 20
    degree: ClassVar[int] = 1
    """Power of the inputs in the result."""

    @abstractmethod
    def combine(self, x1: Array, x2: Array) -> Array:
        """The operator on two arrays of one scale."""

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        return [broadcast_shape(inputs[:2])]

    def _constants(self, inputs: Sequence[Tensor], output: Tensor) -> tuple[tuple[int, int], ...]:
        twice = 2.0 * max(np.float64(inputs[0].scale), np.float64(inputs[1].scale))
        scale = (twice / (1 << self.left_shift)) ** self.degree
        multiplier, shift = quantize_multiplier(float(scale / np.float64(output.scale)))
        require_reach((1 << (8 + self.left_shift)) ** self.degree, multiplier, shift)
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
        require_int8(*inputs[:2], outputs[0])
        *operands, (multiplier, shift) = self._constants(inputs, outputs[0])
        scaled = [
            requantize((a.astype(np.int64) - t.zero_point) << self.left_shift, m, s, self.rounding)
            for a, t, (m, s) in zip(arrays, inputs, operands, strict=False)
        ]
        combined = self.combine(scaled[0], scaled[1])
        return [finish(requantize(combined, multiplier, shift, self.rounding), outputs[0], self.activation)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self.activation.real(self.combine(arrays[0], arrays[1]))]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        require_int8(*inputs[:2], outputs[0])
        (m1, s1), (m2, s2), (m, s) = self._constants(inputs, outputs[0])
        return Lowered(
            self.name,
            {
                "left_shift": self.left_shift,
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
        x1, x2 = np.arange(-128, 128)[:, None], np.arange(-128, 128)[None, :]
        y = self.integer([x1, x2], inputs, [output])[0].astype(np.int64)
        low, high = self.activation.limits(output)
        (m1, s1), (m2, s2), (m, s) = self._constants(inputs, output)
        common = math.ldexp(m, self.left_shift + _LINEAR_BITS - s)
        slope1 = round(math.ldexp(m1, -s1) * common)
        slope2 = round(math.ldexp(m2, -s2) * common) * self.sign
        if max(abs(slope1), abs(slope2)) >= 1 << 30:
            return None
        exact = (x1 - inputs[0].zero_point) * slope1 + (x2 - inputs[1].zero_point) * slope2
        # `round` is at least `first` and at most `last` for every pair; a clamped result bounds it from one side.
        first = ((y - output.zero_point) << _LINEAR_BITS) - exact
        last = first + (1 << _LINEAR_BITS) - 1
        half = 1 << (_LINEAR_BITS - 1)
        at_least = int(first[y > low].max(initial=0))
        at_most = int(last[y < high].min(initial=2 * half))
        if at_least > at_most:
            return None
        nearest = half if at_least <= half <= at_most else (at_least + at_most) // 2
        return {"slope1": slope1, "slope2": slope2, "round": nearest}


@dataclass(frozen=True)
class Sub(Add):
    """x1 - x2."""

    sign: ClassVar[int] = -1
