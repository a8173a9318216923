# SPDX-License-Identifier: Apache-2.0
"""The position of the largest element along an axis.

x int8 -> int32 or int64 without that axis: the smallest index among equal maxima, counted from 0.

Source: ArgMinMax, tensorflow/lite/kernels/internal/reference/arg_min_max.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Lowered, Operator, Tensor
from .requantize import require_int8


@dataclass(frozen=True)
class ArgMax(Operator):
    """``axis`` is 0 or more."""

    axis: int

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        x = inputs[0].shape
        if not 0 <= self.axis < len(x) or x[self.axis] == 0:
            raise ValueError(f"axis {self.axis} does not fit an input {x}")
        return [(*x[: self.axis], *x[self.axis + 1 :])]

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        self._require(inputs[0], outputs[0])
        return [np.asarray(arrays[0].argmax(axis=self.axis), outputs[0].dtype.numpy)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [np.asarray(arrays[0].argmax(axis=self.axis), np.float32)]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return ArgMax(self.axis + 1)

    def _require(self, x: Tensor, y: Tensor) -> None:
        require_int8(x)
        if y.dtype not in (DType.INT32, DType.INT64):
            found = y.dtype.value.lower()
            raise ValueError(f"expected int32 or int64 for {y.name!r}, found {found}")

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        self._require(inputs[0], outputs[0])
        return Lowered("ArgMax", {"axis": self.axis})
