# SPDX-License-Identifier: Apache-2.0
"""Several elementwise operators of one tensor in one table: silu, mish, gelu by its formula, and the like.

x int8 or uint8 of any shape -> the same shape. The real function is computed in float64 from the real value of every
possible x, rounded to float32 (so that a last bit of a C library does not count) and then to the nearest integer, ties
up:

    y = clamp(floor(f(scale_x * (x - zero_point_x)) / scale_y + 1/2) + zero_point_y)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, Operator, Tensor
from .lookup import Lookup, domain


@dataclass(frozen=True)
class Step:
    """One operator on earlier results: their numbers (0 is x, i + 1 the result of step i) or constants."""

    op: Operator
    inputs: tuple[int | float, ...]


@dataclass(frozen=True)
class Pointwise(Lookup):
    """The result of the last step."""

    steps: tuple[Step, ...]

    def _value(self, x: Array) -> Array:
        results = [x]
        for step in self.steps:
            given = [results[i] if isinstance(i, int) else np.asarray(i, x.dtype) for i in step.inputs]
            results.append(np.asarray(step.op.real(given)[0]))
        return results[-1]

    def table(self, x: Tensor, y: Tensor) -> Array:
        with np.errstate(all="ignore"):
            values = self._value(np.float64(x.scale) * (domain(x) - x.zero_point))
            single = np.nan_to_num(values.astype(np.float32).astype(np.float64), nan=0.0)
        steps = np.floor(single / np.float64(y.scale) + 0.5) + y.zero_point
        result: Array = np.clip(steps, y.lowest, y.highest).astype(np.int64)
        return result

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self._value(arrays[0]).astype(np.float32)]
