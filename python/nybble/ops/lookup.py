# SPDX-License-Identifier: Apache-2.0
"""Every function of one 8-bit element is a table of 256 entries that the compiler computes.

x int8 or uint8 of any shape -> int8 or uint8 of the same shape: y = table[x], x read as an unsigned byte.
The subclasses say what the table holds; the device only looks it up.

x int16 -> int16, in networks that nybble quantizes itself: the table has an entry for each 128th integer from -32768 to
32768, zero among them, and a straight line lies between two:

    y = t[i] + ((t[i + 1] - t[i]) * (x & 127) + 64 >> 7)        i = 256 + (x >> 7)

Subclasses that a reference has in 16 bits follow it instead: logistic.py, piecewise_linear.py.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Lowered, Operator, Tensor


@dataclass(frozen=True)
class Lookup(Operator):
    """A function of one element."""

    @abstractmethod
    def table(self, x: Tensor, y: Tensor) -> Array:
        """Outputs (integers, clamped to what y may hold) for the inputs of ``domain``."""

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        return [inputs[0].shape]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self

    def _stored(self, x: Tensor, y: Tensor) -> Array:
        """The table as the file holds it."""
        if x.dtype is y.dtype is DType.INT16:
            return self.table(x, y).astype(np.int16)
        for tensor in (x, y):
            if not is_byte(tensor):
                raise ValueError(f"expected 8 bits for {tensor.name!r}, found {tensor.dtype.value.lower()}")
        entries = self.table(x, y).astype(y.dtype.numpy)
        # The table is indexed by the byte: an int8 input starts at 128.
        return np.roll(entries, 128) if x.dtype is DType.INT8 else entries

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        table = self._stored(inputs[0], outputs[0])
        if inputs[0].dtype is DType.INT16:
            return [along(table, arrays[0].astype(np.int64)).astype(np.int16)]
        return [table[arrays[0].view(np.uint8)]]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        return Lowered("Lookup", {"table": self._stored(inputs[0], outputs[0])})


def is_byte(tensor: Tensor) -> bool:
    """Whether a tensor's elements are bytes, which index a table."""
    return tensor.dtype in (DType.INT8, DType.UINT8)


def domain(x: Tensor) -> Array:
    """The integers that a table has entries for, ascending, int64: all 256 of an 8-bit tensor's type, every 128th of
    int16, 513 with the one behind the last.
    """
    step = 128 if x.dtype is DType.INT16 else 1
    return np.arange(x.dtype.lowest, x.dtype.highest + 2, step, dtype=np.int64)[: 513 if step > 1 else 256]


def along(table: npt.NDArray[np.int16], x: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A table of int16 at x from -32768 to 32767, on straight lines."""
    wide = table.astype(np.int64)
    entry = 256 + (x >> 7)
    result: npt.NDArray[np.int64] = wide[entry] + (((wide[entry + 1] - wide[entry]) * (x & 127) + 64) >> 7)
    return result
