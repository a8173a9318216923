# SPDX-License-Identifier: Apache-2.0
"""What every operator provides: shape rule, meaning on integers, meaning on reals, and its form in the file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .graph import Tensor

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Lowered:
    """An operator as the file stores it: a member of the Options union, its fields, and its run-time inputs.

    ``fields`` maps names of nybble.fbs to numbers, enumerator names, nested mappings, numpy arrays (which
    become spans of the data section) and :class:`~nybble.ops.weights.Weights` (which the compiler packs).
    ``inputs`` are the positions of the node's inputs that remain tensors at run time.
    """

    kind: str
    fields: Mapping[str, Any]
    inputs: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Operator(ABC):
    """Attributes of one operator. Subclasses are frozen dataclasses in ``nybble.ops``."""

    @property
    def name(self) -> str:
        """The operator's name, as tables and errors show it."""
        return type(self).__name__

    @abstractmethod
    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        """Shapes of the outputs; raises ValueError where the inputs do not fit the operator."""

    @abstractmethod
    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        """The meaning: exact integers in, exact integers out. The C core and every variant equal it."""

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        """The meaning before quantization, in float32."""
        raise NotImplementedError(f"{self.name} has no meaning on real numbers")

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        """An operator whose ``real`` takes many samples at once; None where there is none.

        Every input that is not a constant then is [samples, *shape], and the results hold the elements of
        [samples, *shape] in this order.
        """
        return None

    @abstractmethod
    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        """The operator as the file stores it; raises ValueError with the reason where it cannot be."""

    def macs(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
        """Multiply-accumulates of one invocation; 0 for operators that have none."""
        return 0
