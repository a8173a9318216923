# SPDX-License-Identifier: Apache-2.0
"""Where a model file puts its activations in the arena, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..emit.read import read_model
from ..graph import DType

_CONSTANT = (1 << 64) - 1


@dataclass(frozen=True)
class Place:
    """A tensor in the arena: bytes from ``offset``, alive from operator ``first`` to ``last`` inclusive; inputs
    from -1, outputs to the number of operators.
    """

    name: str
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """The activations' part of the arena in bytes, the number of operators, and every tensor's place."""

    arena: int
    operators: int
    places: tuple[Place, ...]


def read_plan(content: bytes) -> MemoryPlan:
    """The plan in a .nyb file. Raises ModelError where the file is corrupt."""
    model = read_model(content)
    operators = model["operators"]
    alive: dict[int, tuple[int, int]] = {}

    def touch(tensor: int, step: int) -> None:
        first, last = alive.get(tensor, (step, step))
        alive[tensor] = min(first, step), max(last, step)

    for field, step in (("inputs", -1), ("outputs", len(operators))):
        for port in model[field]:
            touch(port["tensor"], step)
    for step, operator in enumerate(operators):
        for tensor in (*operator["inputs"], *operator["outputs"]):
            touch(int(tensor), step)
    places = []
    for index, tensor in enumerate(model["tensors"]):
        if tensor["arena"] != _CONSTANT and index in alive:
            size = math.prod(map(int, tensor["shape"])) * DType(tensor["type"]).numpy.itemsize
            places.append(Place(tensor["name"], tensor["arena"], size, *alive[index]))
    return MemoryPlan(model["arena_size"], len(operators), tuple(places))
