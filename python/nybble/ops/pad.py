# SPDX-License-Identifier: Apache-2.0
"""Constant borders around a tensor.

x of any integer type -> y of the same type with ``before[i]`` and ``after[i]`` more elements on
either side of axis i. They hold the output's zero point (0 where there is no quantization), or the
integer of the second input, a constant.

Source: Prepare and Eval, tensorflow/lite/kernels/pad.cc; PadImpl, kernels/internal/reference/pad.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Operator, Tensor


@dataclass(frozen=True)
class Pad(Operator):
    """Pad. A second input, if there is one, holds the border's value as stored (PADV2)."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        x = inputs[0].shape
        borders = f"borders {self.before} and {self.after}"
        if not len(self.before) == len(self.after) == len(x):
            raise ValueError(f"{borders} do not fit an input {x}")
        if min((*self.before, *self.after), default=0) < 0:
            raise ValueError(f"expected borders of at least 0, found {borders}")
        return [tuple(b + n + a for b, n, a in zip(self.before, x, self.after, strict=True))]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return Pad((0, *self.before), (0, *self.after))

    def _padded(self, x: Array, value: float) -> Array:
        borders = list(zip(self.before, x.shape, self.after, strict=True))
        y = np.full([b + n + a for b, n, a in borders], value, x.dtype)
        y[tuple(slice(b, b + n) for b, n, _ in borders)] = x
        return y

    def _value(self, inputs: Sequence[Tensor], output: Tensor) -> int:
        if len(inputs) == 1:
            return 0 if output.quantization is None else output.zero_point
        data = inputs[1].data
        if data is None or data.size != 1:
            raise ValueError(f"expected one constant number to pad with, found {inputs[1].name!r}")
        return int(data.item())

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        return [self._padded(arrays[0], self._value(inputs, outputs[0]))]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self._padded(arrays[0], float(arrays[1].item()) if len(arrays) > 1 else 0.0)]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        if inputs[0].dtype is not outputs[0].dtype:
            raise ValueError(f"expected one type, found {inputs[0].dtype} and {outputs[0].dtype}")
        value = self._value(inputs, outputs[0])
        return Lowered("Pad", {"before": np.array(self.before, np.uint32), "value": value})
