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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Operator, Tensor
from . import fixedpoint
from .exact import exact_sum, exp, log, rounded_once
from .requantize import require_int8

_EXP, _LOG = rounded_once(exp), rounded_once(log)
_DIFFERENCE_BITS = 5
_ACCUMULATION_BITS = 12

#: So many terms of 2^19 keep S within int32.
_MAX_DEPTH = 4095


@dataclass(frozen=True)
class Softmax(Operator):
    """Softmax with a factor on its input."""

    beta: float = 1.0

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        shape = inputs[0].shape
        if not shape or not 0 < shape[-1] <= _MAX_DEPTH:
            raise ValueError(f"expected 1 to {_MAX_DEPTH} elements along the last axis, found {shape}")
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

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        x = arrays[0] * np.float32(self.beta)
        e = _EXP(x - x.max(axis=-1, keepdims=True))
        return [(e / exact_sum(e, (-1,))).astype(np.float32)]

    def _require(self, x: Tensor, y: Tensor) -> None:
        require_int8(x, y)
        if y.scale != 1.0 / 256 or y.zero_point != -128:
            raise ValueError(f"expected the output scale 1/256 and zero point -128, found {y.quantized}")

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        self._require(inputs[0], outputs[0])
        return Lowered("Softmax", {"exponentials": self.exponentials(inputs[0])})


@dataclass(frozen=True)
class LogSoftmax(Operator):
    """The logarithm of a softmax over the last axis, on real numbers only.

    In 8 bits its far values would all be one: a network ends before it, and its order is that of its input.
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
