# SPDX-License-Identifier: Apache-2.0
"""The logistic function and the hyperbolic tangent: of int8 in gemmlowp's fixed point, of int16 by interpolation.

x int8 of any shape -> int8 of the same shape, saturating where abs(x - zero_point_x) reaches the
radius, floor(15 / p) with p the power of two above scale_x:

    v = scale_x * (x - zero_point_x)                         Q4.27
    Logistic: y = round(2^8 / (1 + exp(-v))) - 128           scale 1/256, zero point -128
    Tanh:     y = round(2^7 * tanh(v))                       scale 1/128, zero point 0

Both equal the rounded real function but for about one entry in 20 000, near ties. With a scale of 8
or more the radius is 0, and zero itself gives the lowest output.

Source: Logistic and Tanh, tensorflow/lite/kernels/internal/reference/integer_ops/{logistic,tanh}.h;
parameters: CalculateArithmeticOpDataLogistic, tensorflow/lite/micro/kernels/logistic_common.cc, and
tanh.cc likewise. Networks in uint8 have LiteRT's float32 tables instead: RealFunction.

x int16 -> int16, both zero points 0, the output's scale 2^-15. With t[i] ~ logistic(i / 24) in Q0.16, i = 0..255, a
straight line between them and s = scale_x * x in steps of 1/12288:

    Logistic: y = t(abs(s) / 512) / 2, for s < 0 one less that
    Tanh:     y = 2 * t(abs(s) / 256) - 1, with the sign of s

Source: the same functions' int16 overloads and, for the multiplier, the same Prepare.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Lowered, Tensor
from . import fixedpoint
from .exact import exp, rounded_once, tanh
from .lookup import Lookup, domain
from .requantize import require_activations, require_int8

_EXP, _TANH = rounded_once(exp), rounded_once(tanh)

_INTEGER_BITS = 4


def _steps() -> npt.NDArray[np.uint16]:
    """logistic(i / 24) in Q0.16, uint16 [256], each less half of what a straight line to the next one misses in its
    middle; the last one is 1.
    """
    value = 65536 / (1 + exp(-np.arange(513) / 48))
    here, middle, following = value[:-1:2], value[1::2], value[2::2]
    moved = np.floor(here - ((here + following) / 2 - middle) / 2 + 0.5)
    moved[-1] = 65535
    return moved.astype(np.uint16)


_STEPS = _steps()


def _wide_multiplier(scale: float, powers: tuple[int, ...]) -> tuple[int, int]:
    """(multiplier, shift): x * multiplier / 2^shift counts steps of 1/12288; a truncated multiplier of 15 bits.

    A scale within a thousandth of an octave of one of these powers of two is taken for it (CheckedLog2,
    kernels/internal/quantization_util.cc).
    """
    for power in powers:
        if abs(math.log2(scale) - power) < 1e-3:
            scale = 2.0**power
    multiplier, shift = scale * 12288.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    if not 1 <= shift <= 30:
        raise ValueError(f"expected an int16 input of a scale from 2^-29 to 1, found {scale:g}")
    return math.floor(multiplier), shift


@dataclass(frozen=True)
class _Sigmoid(Lookup):
    #: The output's fractional bits and zero point.
    output: ClassVar[tuple[int, int]]
    #: The table's value beyond its end.
    saturated: ClassVar[int]

    #: Exponents of scales for which the reference has a path of its own.
    powers: ClassVar[tuple[int, ...]]
    #: Bits of the distance from zero below a step of the table, in int16.
    step_bits: ClassVar[int]

    @abstractmethod
    def _interpolated(self, s: fixedpoint.Int64, result: fixedpoint.Int64) -> fixedpoint.Int64:
        """The output in int16 at s of the table's value with 16 + step_bits fraction bits."""

    def _wide(self, given: fixedpoint.Int64, x: Tensor) -> Array:
        multiplier, shift = _wide_multiplier(x.scale, self.powers)
        s = (given * multiplier + (1 << (shift - 1))) >> shift
        size, bits = np.abs(s), self.step_bits
        step = np.minimum(size >> bits, 254)
        below, above = _STEPS.astype(np.int64)[step], _STEPS.astype(np.int64)[step + 1]
        line = (below << bits) + (size & ((1 << bits) - 1)) * (above - below)
        result = np.where(size >> bits >= 255, self.saturated << bits, line)
        return self._interpolated(s, result).astype(np.int16)

    def _require_wide(self, x: Tensor, y: Tensor) -> None:
        require_activations(x, y)
        if y.scale != 2.0**-15:
            raise ValueError(f"expected the output scale 1/32768, found {y.quantized}")

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        if inputs[0].dtype is not DType.INT16:
            return super().integer(arrays, inputs, outputs)
        self._require_wide(inputs[0], outputs[0])
        return [self._wide(arrays[0].astype(np.int64), inputs[0])]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        if inputs[0].dtype is not DType.INT16:
            return super().lower(inputs, outputs)
        self._require_wide(inputs[0], outputs[0])
        multiplier, shift = _wide_multiplier(inputs[0].scale, self.powers)
        fields = {"multiplier": multiplier, "shift": shift, "tanh": isinstance(self, Tanh)}
        return Lowered("Sigmoid", {"table": _STEPS, **fields})

    @abstractmethod
    def _series(self, raw: fixedpoint.Int64) -> fixedpoint.Int64:
        """The function of a value with _INTEGER_BITS integer bits, with 0 integer bits."""

    def table(self, x: Tensor, y: Tensor) -> Array:
        require_int8(x, y)
        bits, zero_point = self.output
        if y.scale != 2.0**-bits or y.zero_point != zero_point:
            expected = f"the output scale 1/{1 << bits} and zero point {zero_point}"
            raise ValueError(f"expected {expected}, found {y.quantized}")
        centred = domain(x) - x.zero_point
        raw, radius = fixedpoint.scaled_input(centred, x.scale, _INTEGER_BITS)
        value = fixedpoint.divide_by_pot(self._series(raw), 31 - bits) + zero_point
        value = np.where(centred <= -radius, -128, np.where(centred >= radius, 127, value))
        return np.clip(value, -128, 127)


@dataclass(frozen=True)
class Logistic(_Sigmoid):
    """1 / (1 + exp(-x))."""

    output = (8, -128)
    saturated, step_bits, powers = 0xFFFE, 9, (-12,)

    def _interpolated(self, s: fixedpoint.Int64, result: fixedpoint.Int64) -> fixedpoint.Int64:
        return np.where(s >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10

    def _series(self, raw: fixedpoint.Int64) -> fixedpoint.Int64:
        return fixedpoint.logistic(raw, _INTEGER_BITS)

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [np.float32(1) / (np.float32(1) + _EXP(-arrays[0]))]


@dataclass(frozen=True)
class Tanh(_Sigmoid):
    """tanh(x)."""

    output = (7, 0)
    saturated, step_bits, powers = 0xFFFF, 8, (-12, -11)

    def _interpolated(self, s: fixedpoint.Int64, result: fixedpoint.Int64) -> fixedpoint.Int64:
        return np.where(s >= 0, result - (1 << 23) + (1 << 7), (1 << 23) - result + (1 << 7) - 1) >> 8

    def _series(self, raw: fixedpoint.Int64) -> fixedpoint.Int64:
        return fixedpoint.tanh(raw, _INTEGER_BITS)

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [_TANH(arrays[0])]
