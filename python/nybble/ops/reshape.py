# SPDX-License-Identifier: Apache-2.0
"""The same elements under another shape (reshape, squeeze, expand dims, flatten)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Operator, Tensor


@dataclass(frozen=True)
class Reshape(Operator):
    """``shape`` is complete: importers resolve a -1."""

    shape: tuple[int, ...]

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        if int(np.prod(self.shape, dtype=np.int64)) != inputs[0].size:
            raise ValueError(f"{inputs[0].shape} cannot be reshaped to {self.shape}")
        return [self.shape]

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        return [arrays[0].reshape(self.shape)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [arrays[0].reshape(self.shape)]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return Reshape((-1, *self.shape))

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        if inputs[0].dtype is not outputs[0].dtype:
            raise ValueError(f"expected one type, found {inputs[0].dtype} and {outputs[0].dtype}")
        return Lowered("Reshape", {})
