# SPDX-License-Identifier: Apache-2.0
"""Scales and zero points from ranges, and numbers on their grid. Every rounding is to nearest, ties
up.

Source of the scheme: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, sections 2.1 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Quantization

Float64 = npt.NDArray[np.float64]

#: What weights may be: all integers of so many bits, or TERNARY.
Level = int | str
#: Weights of -1, 0 and 1.
TERNARY = "ternary"
#: The type that holds the weights of each level.
WEIGHT_TYPES: Mapping[Level, DType] = {8: DType.INT8, 4: DType.INT4, 2: DType.INT2, TERNARY: DType.INT2}

#: A bias takes at most half of the accumulator's int32.
_BIAS_LIMIT = 1 << 30


class Range(NamedTuple):
    """The smallest and the largest number that integers cover."""

    low: float
    high: float

    def union(self, other: Range) -> Range:
        """The range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


def activation_parameters(seen: Range, bits: int = 8, symmetric: bool = False) -> Quantization:
    """int8, ``bits`` bits of it, or int16 for the range, extended to hold zero, which gets an integer of its own: 0
    where ``symmetric``, and in int16.
    """
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    held = None if bits >= 8 else bits
    symmetric = symmetric or bits == 16
    half = 1 << (bits - 1)
    scale = float(np.float32(max(-low, high) / (half - 1) if symmetric else (high - low) / (2 * half - 1)))
    if scale == 0:
        return Quantization.per_tensor(1.0, 0, held)
    zero_point = 0 if symmetric else int(np.floor(-half - low / scale + 0.5))
    return Quantization.per_tensor(scale, min(max(zero_point, -half), half - 1), held)


def level_text(level: Level) -> str:
    """'4 bits' or 'ternary'."""
    return level if isinstance(level, str) else f"{level} bits"


def quantized(values: Array, quantization: Quantization, dtype: DType) -> Array:
    """round(values / scale) + zero_point, clamped to the type, or to the levels of ``quantization.bits``."""
    steps = (
        np.floor(values.astype(np.float64) / quantization.single_scale + 0.5) + quantization.single_zero_point
    )
    kind = WEIGHT_TYPES.get(quantization.bits or 0, dtype)
    result: Array = np.clip(steps, kind.lowest, kind.highest).astype(dtype.numpy)
    return result


def smallest_scales(bias: Array, input_scale: float) -> Float64:
    """The scales [channels] of weights with which biases take half of the accumulator."""
    return np.abs(bias.astype(np.float64)) / (input_scale * _BIAS_LIMIT)


def scales_for_bias(
    scales: Float64, bias: Float64, input_scale: float, shared: bool = False
) -> npt.NDArray[np.float32]:
    """The scales [channels], larger where a bias would pass the accumulator in steps of input_scale * scale; shared:
    one for all channels. Infinite where float32 does not hold them.
    """
    largest = np.maximum(scales, smallest_scales(bias, input_scale))
    if shared:
        largest = np.full_like(largest, largest.max(initial=0.0))
    with np.errstate(over="ignore"):
        rounded: npt.NDArray[np.float32] = largest.astype(np.float32)
    rounded[rounded == 0] = 1
    return rounded


def quantized_bias(bias: Array, scales: Float64) -> Array:
    """int32 [channels] in steps of ``scales``."""
    return np.floor(bias.astype(np.float64) / scales + 0.5).astype(np.int32)
