# SPDX-License-Identifier: Apache-2.0
"""Elementwise product of two tensors with scales of their own, with broadcasting.

x1, x2 both int8 or both int16, broadcast as numpy does -> the same type:

    p = (x1 - zero_point1) * (x2 - zero_point2)                              |p| <= 255^2, 2^30 in int16
    y = clamp(requantize(p, scale1 * scale2 / scale_y) + zero_point_y)

Source: MulElementwise, tensorflow/lite/kernels/internal/reference/integer_ops/mul.h. The real
multiplier is computed in double (CalculateOpDataMul, tensorflow/lite/micro/kernels/mul_common.cc),
for uint8 networks in float32 (Prepare, tensorflow/lite/kernels/mul.cc: ``single_precision``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Lowered, Operator, Rounding, Tensor
from .activation import Activation
from .add import broadcast_shape, same_rank
from .requantize import (
    finish,
    output_fields,
    quantize_multiplier,
    requantize,
    require_activations,
    require_reach,
)


@dataclass(frozen=True)
class Mul(Operator):
    """x1 * x2 with a fused activation."""

    activation: Activation = Activation.NONE
    rounding: Rounding = field(default=Rounding.DOUBLE)
    single_precision: bool = False

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        return [broadcast_shape(inputs[:2])]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self if same_rank(inputs) else None

    def _multiplier(self, inputs: Sequence[Tensor], output: Tensor) -> tuple[int, int]:
        real = np.float32 if self.single_precision else np.float64
        ratio = real(inputs[0].scale) * real(inputs[1].scale) / real(output.scale)
        multiplier, shift = quantize_multiplier(float(ratio))
        require_reach(
            1 << 2 * (output.dtype.bits - 1) if output.dtype is DType.INT16 else 255 * 255, multiplier, shift
        )
        return multiplier, shift

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        require_activations(*inputs[:2], outputs[0])
        multiplier, shift = self._multiplier(inputs, outputs[0])
        x1, x2 = (a.astype(np.int64) - t.zero_point for a, t in zip(arrays, inputs, strict=True))
        scaled = requantize(x1 * x2, multiplier, shift, self.rounding)
        return [finish(scaled, outputs[0], self.activation)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self.activation.real(arrays[0] * arrays[1])]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        require_activations(*inputs[:2], outputs[0])
        multiplier, shift = self._multiplier(inputs, outputs[0])
        return Lowered(
            "Mul",
            {
                "zero_point1": inputs[0].zero_point,
                "zero_point2": inputs[1].zero_point,
                "multiplier": multiplier,
                "shift": shift,
                "output": output_fields(outputs[0], self.activation, self.rounding),
            },
            (0, 1),
        )
