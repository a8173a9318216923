# SPDX-License-Identifier: Apache-2.0
"""The logistic function and the hyperbolic tangent of int8 in gemmlowp's fixed point.

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
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..graph import Array, Tensor
from . import fixedpoint
from .exact import exp, rounded_once, tanh
from .lookup import Lookup, domain
from .requantize import require_int8

_EXP, _TANH = rounded_once(exp), rounded_once(tanh)

_INTEGER_BITS = 4


@dataclass(frozen=True)
class _Sigmoid(Lookup):
    #: The output's fractional bits and zero point.
    output: ClassVar[tuple[int, int]]

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

    def _series(self, raw: fixedpoint.Int64) -> fixedpoint.Int64:
        return fixedpoint.logistic(raw, _INTEGER_BITS)

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [np.float32(1) / (np.float32(1) + _EXP(-arrays[0]))]


@dataclass(frozen=True)
class Tanh(_Sigmoid):
    """tanh(x)."""

    output = (7, 0)

    def _series(self, raw: fixedpoint.Int64) -> fixedpoint.Int64:
        return fixedpoint.tanh(raw, _INTEGER_BITS)

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [_TANH(arrays[0])]
