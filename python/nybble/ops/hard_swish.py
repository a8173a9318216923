# SPDX-License-Identifier: Apache-2.0
"""x * min(max(x + 3, 0), 6) / 6 in 16-bit fixed point.

x int8 or uint8 of any shape -> the same type and shape. In int16, with the multipliers of
``quantize_multiplier`` rounded to 16 bits:

    h = 128 * (x - zero_point_x)                              |h| < 2^15
    u = high_mul(h, scale_x / (128 * scale_y))                the multiplier without its shift s
    r = saturate(h * scale_x / 128 * 2^15 / 3)                Q0.15; doubled last
    p = trunc(((r + 2^15) >> 1) * u / 2^15)
    y = clamp(round(p / 2^s) + zero_point_y)                  s >= 0: scale_x / 128 < scale_y

Source: HardSwish, tensorflow/lite/kernels/internal/reference/hard_swish.h; parameters:
HardSwishPrepare, tensorflow/lite/micro/kernels/hard_swish_common.cc (quotients of scales in double
in the package of October 2026) and tensorflow/lite/kernels/activations.cc (float32:
``single_precision``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Tensor
from .fixedpoint import Int64, divide_by_pot
from .lookup import Lookup, domain
from .requantize import quantize_multiplier

_INT16_MIN, _INT16_MAX = -(1 << 15), (1 << 15) - 1


def _high_mul16(a: Int64, b: int) -> Int64:
    """SaturatingRoundingDoublingHighMul on int16: round(a * b / 2^15), ties up; b > -2^15."""
    return (a * b + (1 << 14)) >> 15


def _multiplier16(real: float) -> tuple[int, int]:
    """(m, e): real ~ m * 2^(e - 15); source: DownScaleInt32ToInt16Multiplier."""
    multiplier, shift = quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, _INT16_MAX), 31 - shift


@dataclass(frozen=True)
class HardSwish(Lookup):
    """Hard swish."""

    single_precision: bool = False

    def table(self, x: Tensor, y: Tensor) -> Array:
        if x.dtype is DType.INT16:
            [value] = self.real([np.float64(x.scale) * domain(x)])
            nearest: Array = np.floor(value.astype(np.float64) / y.scale + 0.5)
            return np.clip(nearest, y.lowest, y.highest)
        real = np.float32 if self.single_precision else np.float64
        fine_scale = real(1 / 128) * real(x.scale)
        output_multiplier, output_exponent = _multiplier16(float(fine_scale / real(y.scale)))
        if output_exponent > 0:
            raise ValueError(f"expected an output scale above {x.scale / 128:g}, found {y.scale:g}")
        gate_scale = real(np.float32(3 / 32768))
        gate_multiplier, gate_exponent = _multiplier16(float(fine_scale / gate_scale))

        fine = (domain(x) - x.zero_point) << 7
        gate = fine
        if gate_exponent > 0:
            gate = np.clip(gate << (gate_exponent - 1), _INT16_MIN, _INT16_MAX)
        gate = _high_mul16(gate, gate_multiplier)
        gate = (
            np.clip(gate << 1, _INT16_MIN, _INT16_MAX)
            if gate_exponent > 0
            else divide_by_pot(gate, -gate_exponent)
        )
        gate = (gate + (1 << 15)) >> 1

        product = gate * _high_mul16(fine, output_multiplier)
        product = np.sign(product) * (np.abs(product) >> 15)
        scaled = divide_by_pot(product, -output_exponent) + y.zero_point
        return np.clip(scaled, y.lowest, y.highest)

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        x = arrays[0]
        return [(x * np.clip(x + np.float32(3), 0, 6) / np.float32(6)).astype(np.float32)]
