# SPDX-License-Identifier: Apache-2.0
"""Every function of one 8-bit element is a table of 256 entries that the compiler computes.

x int8 or uint8 of any shape -> int8 or uint8 of the same shape: y = table[x], x read as an unsigned byte.
The subclasses say what the table holds; the device only looks it up. Those that have a form in 16 bits say so
(``is_byte``): in logistic.py and piecewise_linear.py.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import Array, DType, Lowered, Operator, Tensor


@dataclass(frozen=True)
class Lookup(Operator):
    """A function of one element."""

    @abstractmethod
    def table(self, x: Tensor, y: Tensor) -> Array:
        """Outputs (integers, clamped to what y may hold) for all 256 inputs from x's lowest to its highest."""

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        return [inputs[0].shape]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self

    def _bytes(self, x: Tensor, y: Tensor) -> Array:
        for tensor in (x, y):
            if not is_byte(tensor):
                raise ValueError(f"expected 8 bits for {tensor.name!r}, found {tensor.dtype.value.lower()}")
        entries = self.table(x, y).astype(y.dtype.numpy)
        # The table is indexed by the byte: an int8 input starts at 128.
        return np.roll(entries, 128) if x.dtype is DType.INT8 else entries

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        return [self._bytes(inputs[0], outputs[0])[arrays[0].view(np.uint8)]]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        return Lowered("Lookup", {"table": self._bytes(inputs[0], outputs[0])})


def is_byte(tensor: Tensor) -> bool:
    """Whether a tensor's elements are bytes, which index a table."""
    return tensor.dtype in (DType.INT8, DType.UINT8)


def domain(x: Tensor) -> Array:
    """All integers of an 8-bit tensor's type, ascending, int64 [256]."""
    return np.arange(x.dtype.lowest, x.dtype.highest + 1, dtype=np.int64)
