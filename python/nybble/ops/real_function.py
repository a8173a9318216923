# SPDX-License-Identifier: Apache-2.0
"""Real functions of one element, rounded once.

x int8 or uint8 of any shape -> the same type and shape, every step in float32:

    y = clamp(round(f(scale_x * (x - zero_point_x)) * (1 / scale_y)) + zero_point_y)

with ties away from zero. exp, log, tanh and erfc are evaluated in double and rounded, which is what
a correctly rounded float32 library gives; LiteRT's own table depends on the C library beneath it (with
glibc 2.36, whose tanhf is off by its last bit in a third of all arguments, about one table of tanh in
10 000 differs in one entry). The square root divides by scale_y and truncates instead.

Source: LUTPopulate, tensorflow/lite/kernels/internal/common.h; SqrtEvalQuantized,
tensorflow/lite/kernels/elementwise.cc; the functions: activations.cc, elementwise.cc and exp.cc
beside it, internal/reference/gelu.h below, tensorflow/lite/micro/kernels/elu.cc.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import Array, Tensor
from . import exact
from .exact import Float32, round_away, rounded_once
from .lookup import Lookup, domain

_ONE, _HALF = np.float32(1), np.float32(0.5)


class Function(enum.Enum):
    """The functions; GELU by the error function, GELU_TANH by its approximation."""

    LOGISTIC = "LOGISTIC"
    TANH = "TANH"
    EXP = "EXP"
    LOG = "LOG"
    SQRT = "SQRT"
    ELU = "ELU"
    GELU = "GELU"
    GELU_TANH = "GELU_TANH"
    ERF = "ERF"
    SOFTPLUS = "SOFTPLUS"
    RECIPROCAL = "RECIPROCAL"


_EXP = rounded_once(exact.exp)
_LOG = rounded_once(exact.log)
_TANH = rounded_once(exact.tanh)
_ERFC = rounded_once(exact.erfc)


def _gelu_tanh(x: Float32) -> Float32:
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return _HALF * x * (_ONE + _TANH(inner))


def _reciprocal(x: Float32) -> Float32:
    with np.errstate(divide="ignore"):
        return _ONE / x


_FUNCTIONS: Mapping[Function, Callable[[Float32], Float32]] = {
    Function.LOGISTIC: lambda x: _ONE / (_ONE + _EXP(-x)),
    Function.TANH: _TANH,
    Function.EXP: _EXP,
    # The references stop at numbers for which these are not defined; here they count as zero.
    Function.LOG: lambda x: _LOG(np.maximum(x, 0)),
    Function.SQRT: lambda x: np.sqrt(np.maximum(x, 0)),
    Function.ELU: lambda x: np.where(x < 0, _EXP(x) - _ONE, x),
    Function.GELU: lambda x: _HALF * x * _ERFC(x * np.float32(-math.sqrt(0.5))),
    Function.GELU_TANH: _gelu_tanh,
    # Of ONNX alone: no reference of TensorFlow Lite.
    Function.ERF: rounded_once(exact.erf),
    Function.SOFTPLUS: rounded_once(exact.softplus),
    Function.RECIPROCAL: _reciprocal,
}


@dataclass(frozen=True)
class RealFunction(Lookup):
    """One of the functions."""

    function: Function

    @property
    def name(self) -> str:
        return self.function.name.lower()

    def table(self, x: Tensor, y: Tensor) -> Array:
        scale, zero_point = np.float32(y.scale), np.float32(y.zero_point)
        inputs = np.float32(x.scale) * (domain(x) - x.zero_point).astype(np.float32)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            values = _FUNCTIONS[self.function](inputs)
            truncated = self.function is Function.SQRT
            steps = np.trunc(values / scale) if truncated else round_away(values * (_ONE / scale))
        result: Array = np.clip(steps + zero_point, y.lowest, y.highest)
        return result

    def real(self, arrays: Sequence[Array]) -> list[Float32]:
        return [_FUNCTIONS[self.function](arrays[0])]
