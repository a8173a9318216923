# SPDX-License-Identifier: Apache-2.0
"""Mean and sum over any set of axes.

x int8 or int16 of any shape -> the same type without the axes, or with 1 in their place. With n < 2^23
elements in each sum, n < 2^16 in int16:

    acc = sum(x) - n * zero_point_x                                          |acc| <= 255 n
    y   = clamp(requantize(acc, M) + zero_point_y)

Sum: M = scale_x / scale_y. Mean: the multiplier of scale_x / scale_y is shifted left by
floor(log2(n)) and divided by n with truncation, and its shift grows by as much.

Source: QuantizedMeanOrSum, tensorflow/lite/kernels/internal/reference/reduce.h; parameters:
PrepareMeanOrSum, tensorflow/lite/micro/kernels/reduce_common.cc. LiteRT's own SUM reads int8 as
uint8 (tensorflow/lite/kernels/reduce.cc) and is not followed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Lowered, Operator, Rounding, Tensor
from .activation import Activation
from .exact import exact_sum
from .requantize import (
    finish,
    output_fields,
    quantize_multiplier,
    requantize,
    require_activations,
    require_reach,
)

#: Fewer elements, of at most 255 or 2^15 less the zero point, fit an int32.
_COUNT_LIMITS = {DType.INT8: 1 << 23, DType.INT16: 1 << 16}


@dataclass(frozen=True)
class Sum(Operator):
    """Sum over ``axes`` (0 to rank - 1, each once). keep_dims: the axes remain with size 1."""

    axes: tuple[int, ...]
    keep_dims: bool = False
    rounding: Rounding = field(default=Rounding.DOUBLE)

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        shape = inputs[0].shape
        if len(set(self.axes) & set(range(len(shape)))) < len(self.axes):
            raise ValueError(f"expected different axes of {shape}, found {self.axes}")
        sizes = [1 if axis in self.axes else n for axis, n in enumerate(shape)]
        kept = range(len(shape)) if self.keep_dims else set(range(len(shape))) - set(self.axes)
        return [tuple(sizes[axis] for axis in sorted(kept))]

    def _count(self, x: Tensor) -> int:
        """Elements under each output."""
        count = math.prod(x.shape[axis] for axis in self.axes)
        limit = _COUNT_LIMITS[x.dtype]
        if not 0 < count < limit:
            raise ValueError(f"expected 1 to 2^{limit.bit_length() - 1} - 1 elements in a sum, found {count}")
        return count

    def _multiplier(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        return quantize_multiplier(float(np.float64(x.scale) / np.float64(y.scale)))

    def _constants(self, x: Tensor, y: Tensor) -> tuple[int, int, int]:
        """(bias, multiplier, shift)."""
        require_activations(x, y)
        count = self._count(x)
        multiplier, shift = self._multiplier(x, y)
        reach = 1 << 15 if x.dtype is DType.INT16 else 255
        require_reach(reach * count, multiplier, shift)
        return -count * x.zero_point, multiplier, shift

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        bias, multiplier, shift = self._constants(inputs[0], outputs[0])
        total = arrays[0].sum(axis=self.axes, dtype=np.int64, keepdims=self.keep_dims)
        scaled = requantize(np.asarray(total + bias), multiplier, shift, self.rounding)
        return [finish(scaled, outputs[0], Activation.NONE)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self._real_sum(arrays[0]).astype(np.float32)]

    def _real_sum(self, x: Array) -> npt.NDArray[np.float64]:
        total = exact_sum(x, self.axes)
        return total if self.keep_dims else total.squeeze(self.axes)

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return replace(self, axes=tuple(1 + axis for axis in self.axes))

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        bias, multiplier, shift = self._constants(inputs[0], outputs[0])
        return Lowered(
            self.name,
            {
                "axes": np.array(sorted(self.axes), np.uint32),
                "bias": bias,
                "multiplier": multiplier,
                "shift": shift,
                "output": output_fields(outputs[0], Activation.NONE, self.rounding),
            },
        )


@dataclass(frozen=True)
class Mean(Sum):
    """Mean over ``axes``."""

    def _multiplier(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        multiplier, shift = super()._multiplier(x, y)
        count = self._count(x)
        # The reference keeps its total right shift (shift - 31) within 31.
        more = min(count.bit_length() - 1, 62 - shift)
        return (multiplier << more) // count, shift + more

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        count = math.prod(arrays[0].shape[axis] for axis in self.axes)
        return [(self._real_sum(arrays[0]) / count).astype(np.float32)]
