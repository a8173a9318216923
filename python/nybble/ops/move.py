# SPDX-License-Identifier: Apache-2.0
"""Operators that only move elements: slices, transposes, broadcasts.

x of any type and shape -> y of the same type. Each is a view of its input, as numpy writes views:

    y[i0, i1, ...] = x.flat[offset + i0 * strides[0] + i1 * strides[1] + ...]      in elements

and the file holds just offset and strides (of either sign, or 0), read off the numpy view itself.
Source of each view: slice.h, strided_slice.h, transpose.h and broadcast_to.h in
tensorflow/lite/kernels/internal/reference.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Operator, Tensor


@dataclass(frozen=True)
class Move(Operator):
    """A strided view of the input."""

    @abstractmethod
    def view(self, x: Array) -> Array:
        """The elements of x as the output has them, not copied; ValueError where x does not fit."""

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        return [self.view(np.broadcast_to(np.int8(0), inputs[0].shape)).shape]

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        return [np.ascontiguousarray(self.view(arrays[0])).reshape(outputs[0].shape)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self.view(arrays[0])]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        if inputs[0].dtype is not outputs[0].dtype:
            raise ValueError(f"expected one type, found {inputs[0].dtype} and {outputs[0].dtype}")
        if outputs[0].size == 0:
            raise ValueError(f"expected elements, found the output shape {outputs[0].shape}")
        x = _footprint(inputs[0])
        y = self.view(x)
        offset = y.__array_interface__["data"][0] - x.__array_interface__["data"][0]
        return Lowered("Move", {"offset": offset, "strides": np.array(y.strides, np.int32)})


def _footprint(x: Tensor) -> npt.NDArray[np.int8]:
    """An array of x's shape with one byte per element, so that numpy's strides count elements."""
    if x.size > np.iinfo(np.int32).max:
        raise ValueError(f"expected fewer than 2^31 elements, found {x.shape}")
    return np.empty(x.shape, np.int8)


#: One axis of an index: (start, stop, step) as numpy's slices have them, a single position, which
#: drops the axis, or None for a new axis of size 1.
Part = tuple[int | None, int | None, int] | int | None


def runs(positions: Sequence[int]) -> list[tuple[int, int, int]]:
    """Positions as (first, step, count) of runs with one step each."""
    found: list[tuple[int, int, int]] = []
    for position in positions:
        if found:
            first, step, count = found[-1]
            if count == 1 or position == first + step * count:
                found[-1] = (first, position - first if count == 1 else step, count + 1)
                continue
        found.append((position, 1, 1))
    return found


@dataclass(frozen=True)
class Slice(Move):
    """numpy's basic indexing, with steps of either sign; axes beyond the index stay whole."""

    index: tuple[Part, ...]

    def view(self, x: Array) -> Array:
        parts = tuple(slice(*p) if isinstance(p, tuple) else p for p in self.index)
        try:
            return x[(*parts, ...)]
        except IndexError as error:
            raise ValueError(f"the index {self.index} does not fit an input {x.shape}") from error

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return Slice(((None, None, 1), *self.index))


@dataclass(frozen=True)
class Transpose(Move):
    """Axis i of the output is axis ``order[i]`` of the input."""

    order: tuple[int, ...]

    def view(self, x: Array) -> Array:
        if sorted(self.order) != list(range(x.ndim)):
            raise ValueError(f"the order {self.order} does not fit an input {x.shape}")
        return x.transpose(self.order)

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return Transpose((0, *(1 + axis for axis in self.order)))


@dataclass(frozen=True)
class BroadcastTo(Move):
    """The input repeated along axes of size 1 and along new leading axes."""

    shape: tuple[int, ...]

    def view(self, x: Array) -> Array:
        return np.broadcast_to(x, self.shape)
