# SPDX-License-Identifier: Apache-2.0
"""Elementwise sum and difference of two tensors with scales of their own, with broadcasting.

x1, x2 int8, broadcast as numpy does -> int8:

    s1 = requantize((x1 - zero_point1) << 20, scale1 / (2 * max(scale1, scale2)))      |s1| < 2^28
    s2 = requantize((x2 - zero_point2) << 20, scale2 / (2 * max(scale1, scale2)))
    y  = clamp(requantize(s1 + s2, 2 * max(scale1, scale2) / (2^20 * scale_y)) + zero_point_y)

Source: AddElementwise, tensorflow/lite/kernels/internal/reference/integer_ops/add.h; parameters:
PrepareGeneralOp in kernels/add.cc (doubles from float32 scales), kernels/sub.cc likewise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
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
            },
            (0, 1),
        )


@dataclass(frozen=True)
class Add(Combination):
    """x1 + x2."""

    sign: ClassVar[int] = 1

    def combine(self, x1: Array, x2: Array) -> Array:
        return x1 + x2 if self.sign > 0 else x1 - x2


@dataclass(frozen=True)
class Sub(Add):
    """x1 - x2."""

    sign: ClassVar[int] = -1
