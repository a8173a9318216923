# SPDX-License-Identifier: Apache-2.0
"""Joining tensors along an axis that they have (concat) or along a new one (pack).

x0, x1, ... of one type and one quantization -> y of the same: the elements of the inputs one after
the other.

Source: Concatenation and ConcatenationWithScaling,
tensorflow/lite/kernels/internal/reference/concatenation.h; kernels/concatenation.cc, which refuses
int8 inputs with a scale other than the output's; kernels/pack.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Operator, Tensor
from .lookup import Lookup, domain


def _require_one_quantization(inputs: Sequence[Tensor], output: Tensor) -> None:
    for x in inputs:
        if x.dtype is not output.dtype or x.quantization != output.quantization:
            raise ValueError(
                f"expected the output's type and scale ({output.dtype}, {output.quantization}) "
                f"for {x.name!r}, found {x.dtype}, {x.quantization}"
            )


@dataclass(frozen=True)
class Concat(Operator):
    """Concatenation along ``axis`` (0 or more)."""

    axis: int

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        first = inputs[0].shape
        if not 0 <= self.axis < len(first):
            raise ValueError(f"axis {self.axis} does not fit an input {first}")
        shapes = [t.shape for t in inputs]
        outside = {(len(s), s[: self.axis], s[self.axis + 1 :]) for s in shapes}
        if len(outside) > 1:
            raise ValueError(f"expected shapes that differ in axis {self.axis} only, found {shapes}")
        total = sum(t.shape[self.axis] for t in inputs)
        return [(*first[: self.axis], total, *first[self.axis + 1 :])]

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        _require_one_quantization(inputs, outputs[0])
        return [np.concatenate(arrays, self.axis)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [np.concatenate(arrays, self.axis)]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return Concat(self.axis + 1) if all(t.data is None for t in inputs) else None

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        _require_one_quantization(inputs, outputs[0])
        return Lowered("Concat", {"axis": self.axis}, tuple(range(len(inputs))))


@dataclass(frozen=True)
class Pack(Operator):
    """Inputs of one shape stacked along a new axis ``axis`` (0 or more) of the output."""

    axis: int

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        first = inputs[0].shape
        if not 0 <= self.axis <= len(first):
            raise ValueError(f"the new axis {self.axis} does not fit inputs {first}")
        if any(t.shape != first for t in inputs):
            raise ValueError(f"expected equal shapes, found {[t.shape for t in inputs]}")
        return [(*first[: self.axis], len(inputs), *first[self.axis :])]

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        _require_one_quantization(inputs, outputs[0])
        return [np.stack(arrays, self.axis)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [np.stack(arrays, self.axis)]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return Pack(self.axis + 1) if all(t.data is None for t in inputs) else None

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        _require_one_quantization(inputs, outputs[0])
        return Lowered("Concat", {"axis": self.axis}, tuple(range(len(inputs))))


@dataclass(frozen=True)
class Rescale(Lookup):
    """One uint8 input of a concatenation brought to the output's scale in float32, as LiteRT does.

        y = clamp(round(x * r - zero_point_x * r) + zero_point_y)       r = scale_x * (1 / scale_y)

    Ties away from zero. x, y and zero points are uint8's, also when tensors are shifted to int8.
    """

    def table(self, x: Tensor, y: Tensor) -> Array:
        scale = np.float32(x.scale) * (np.float32(1.0) / np.float32(y.scale))
        bias = np.float32(x.dtype.lowest - x.zero_point) * scale
        scaled = (domain(x) - x.dtype.lowest).astype(np.float32) * scale + bias
        rounded = np.copysign(np.floor(np.abs(scaled.astype(np.float64)) + 0.5), scaled)
        shifted: Array = np.clip(rounded + y.zero_point, y.dtype.lowest, y.dtype.highest).astype(np.int64)
        return shifted

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [arrays[0]]
