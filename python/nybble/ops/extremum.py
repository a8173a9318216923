# SPDX-License-Identifier: Apache-2.0
"""Elementwise maximum and minimum of two tensors of one scale and zero point, with broadcasting.

x1, x2 both int8 or both int16, broadcast as numpy does -> the same type: y = max(x1, x2) or min(x1, x2) on the stored
integers.

Source: MaximumMinimumBroadcastSlow, tensorflow/lite/kernels/internal/reference/maximum_minimum.h.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Operator, Tensor
from .add import broadcast_shape, same_rank
from .requantize import require_activations


@dataclass(frozen=True)
class _Extremum(Operator):
    @abstractmethod
    def _choose(self, x1: Array, x2: Array) -> Array:
        """The larger or the smaller of two elements."""

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        return [broadcast_shape(inputs[:2])]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self if same_rank(inputs) else None

    def _require(self, *tensors: Tensor) -> None:
        require_activations(*tensors)
        if len({t.quantized for t in tensors}) > 1:
            found = ", ".join(str(t.quantized) for t in tensors)
            raise ValueError(f"expected equal scales of inputs and output, found {found}")

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        self._require(*inputs[:2], outputs[0])
        return [self._choose(arrays[0], arrays[1])]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self._choose(arrays[0], arrays[1])]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        self._require(*inputs[:2], outputs[0])
        return Lowered(self.name, {}, (0, 1))


@dataclass(frozen=True)
class Maximum(_Extremum):
    """max(x1, x2)."""

    def _choose(self, x1: Array, x2: Array) -> Array:
        return np.maximum(x1, x2)


@dataclass(frozen=True)
class Minimum(_Extremum):
    """min(x1, x2)."""

    def _choose(self, x1: Array, x2: Array) -> Array:
        return np.minimum(x1, x2)
