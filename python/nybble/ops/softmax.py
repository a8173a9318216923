# SPDX-License-Identifier: Apache-2.0
"""Softmax over the last axis in fixed point.

x int8 [..., depth] -> int8 [..., depth] with scale 1/256 and zero point -128. With d = x - max(x) in
-255..0 and

    e[d] = exp(beta * scale_x * d)            Q0.31, from gemmlowp's series; a table in the file
    S    = sum of round(e / 2^12)             Q12.19
    y    = round(e / S * 256) - 128           by a Newton-Raphson reciprocal of S in Q0.31

Source: Softmax, tensorflow/lite/kernels/internal/reference/softmax.h; parameters:
PreprocessSoftmaxScaling and CalculateInputRadius, kernels/internal/quantization_util.cc. The reference
aborts where S reaches 512 (so many equal inputs); here the formula goes on to depth 4095.

x int16 [..., depth] -> int16 [..., depth] with scale 2^-15, both zero points 0, by two tables of 512 steps and a
straight line in each, t(x) in Q0.15:

    e = exp(d)                               d in steps of 10/65535 down to -10, further ones as that
    S = sum of e                             Q16.15
    y = round(e * (1 / (1 + x)) / 2^...)     S = (1 + x) * 2^n with x in [0, 1)

Source: SoftmaxInt16, reference/softmax.h; the tables: LUTPopulate of int16, kernels/internal/common.h, in
float32 (tensorflow/lite/micro/kernels/softmax_common.cc; LiteRT's are made in double).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Lowered, Operator, Rounding, Tensor
from . import fixedpoint
from .exact import Float32, exact_sum, exp, log, round_away, rounded_once
from .lookup import along
from .requantize import quantize_multiplier, requantize, require_activations, require_reach

_EXP, _LOG = rounded_once(exp), rounded_once(log)
_DIFFERENCE_BITS = 5
_ACCUMULATION_BITS = 12

#: So many terms of 2^19, in int16 of 2^15, keep S within int32.
_MAX_DEPTHS = {DType.INT8: 4095, DType.INT16: 65535}

_WIDE_STEPS = 512


def _wide_table(function: Callable[[Float32], Float32], low: float, high: float) -> npt.NDArray[np.int16]:
    """function(low .. high) as int16 [513] of Q0.15, every step in float32: each entry moved by half of what a straight
    line to the next one misses in its middle, ties away from zero.
    """
    step = np.float32((np.float32(high) - np.float32(low)) / np.float32(_WIDE_STEPS))
    unit = np.float32(32768)
    at = np.float32(low) + np.arange(_WIDE_STEPS, dtype=np.float32) * step
    following = np.float32(low) + np.arange(1, _WIDE_STEPS + 1, dtype=np.float32) * step
    sample = round_away(function(at) * unit)
    line = round_away((function(following) * unit + sample) / np.float32(2))
    middle = round_away(function(at + step / np.float32(2)) * unit)
    moved = sample - round_away((line - middle) / np.float32(2))
    last = round_away(function(np.array([high], np.float32)) * unit)
    table: npt.NDArray[np.int16] = np.clip(np.concatenate([moved, last]), -32768, 32767).astype(np.int16)
    return table


@cache
def _exponentials() -> npt.NDArray[np.int16]:
    return _wide_table(_EXP, -10.0, 0.0)


@cache
def _reciprocals() -> npt.NDArray[np.int16]:
    return _wide_table(lambda x: np.float32(1) / (np.float32(1) + x), 0.0, 1.0)


@dataclass(frozen=True)
class Softmax(Operator):
    """Softmax with a factor on its input."""

    beta: float = 1.0

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        shape = inputs[0].shape
        most = _MAX_DEPTHS.get(inputs[0].dtype, min(_MAX_DEPTHS.values()))
        if not shape or not 0 < shape[-1] <= most:
            raise ValueError(f"expected 1 to {most} elements along the last axis, found {shape}")
        return [shape]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self

    def exponentials(self, x: Tensor) -> npt.NDArray[np.int32]:
        """e[d] for d = -255 .. 0, int32 [256]."""
        d = np.arange(-255, 1, dtype=np.int64)
        raw, radius = fixedpoint.scaled_input(d, self.beta * x.scale, _DIFFERENCE_BITS)
        e = fixedpoint.exp_on_negative_values(raw, _DIFFERENCE_BITS)
        return np.where(d < -radius, 0, e).astype(np.int32)

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        self._require(inputs[0], outputs[0])
        x = arrays[0].astype(np.int64)
        if inputs[0].dtype is DType.INT16:
            return [self._wide(x, inputs[0])]
        e = self.exponentials(inputs[0]).astype(np.int64)[x - x.max(axis=-1, keepdims=True) + 255]
        total = fixedpoint.divide_by_pot(e, _ACCUMULATION_BITS).sum(axis=-1, keepdims=True)
        headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)  # leading zeros of 32 bits
        reciprocal = fixedpoint.one_over_one_plus_x((total << headroom) - (1 << 31))
        y = fixedpoint.high_mul(reciprocal, e)
        exponent = _ACCUMULATION_BITS - headroom + 31 - 8
        result = np.empty_like(y)
        for value in np.unique(exponent):
            where = np.broadcast_to(exponent == value, y.shape)
            result[where] = fixedpoint.divide_by_pot(y[where], int(value))
        return [np.clip(result - 128, -128, 127).astype(np.int8)]

    def _wide_multiplier(self, x: Tensor) -> tuple[int, int]:
        return quantize_multiplier(
            float(np.float64(x.scale) * np.float64(np.float32(self.beta)) / (10.0 / 65535.0))
        )

    def _wide(self, x: Array, tensor: Tensor) -> Array:
        distance = requantize(
            x - x.max(axis=-1, keepdims=True), *self._wide_multiplier(tensor), Rounding.DOUBLE
        )
        e = along(_exponentials(), np.clip(distance + 32767, -32768, 32767))
        total = e.sum(axis=-1, keepdims=True)
        headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)  # leading zeros of 32 bits
        normal = ((total << (headroom - 1)) + (1 << 13)) >> 14
        reciprocal = along(_reciprocals(), np.clip(normal - (1 << 15) - (1 << 16), -32768, 32767))
        shift = 31 - headroom
        y = (e * reciprocal + (np.int64(1) << (shift - 1))) >> shift
        result: Array = np.clip(y, 0, 32767).astype(np.int16)
        return result

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        x = arrays[0] * np.float32(self.beta)
        e = _EXP(x - x.max(axis=-1, keepdims=True))
        return [(e / exact_sum(e, (-1,))).astype(np.float32)]

    def _require(self, x: Tensor, y: Tensor) -> None:
        require_activations(x, y)
        if x.dtype is DType.INT16:
            if y.scale != 2.0**-15:
                raise ValueError(f"expected the output scale 1/32768, found {y.quantized}")
            return
        if y.scale != 1.0 / 256 or y.zero_point != -128:
            raise ValueError(f"expected the output scale 1/256 and zero point -128, found {y.quantized}")

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        self._require(inputs[0], outputs[0])
        if inputs[0].dtype is DType.INT16:
            multiplier, shift = self._wide_multiplier(inputs[0])
            require_reach(1 << 16, multiplier, shift)
            tables = {"exponentials": _exponentials(), "reciprocals": _reciprocals()}
            return Lowered("Softmax", {**tables, "multiplier": multiplier, "shift": shift})
        return Lowered("Softmax", {"exponentials": self.exponentials(inputs[0])})


@dataclass(frozen=True)
class LogSoftmax(Operator):
    """The logarithm of a softmax over the last axis, on real numbers only.

    The quantizer splits it into operators that have an integer form (passes/split_log_softmax.py).
    """

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        return [inputs[0].shape]

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        raise ValueError("log softmax has no integer form: end the network before it, or use softmax")

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        shifted = arrays[0] - arrays[0].max(axis=-1, keepdims=True)
        return [shifted - _LOG(exact_sum(_EXP(shifted), (-1,)))]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        raise ValueError("log softmax has no integer form: end the network before it, or use softmax")
