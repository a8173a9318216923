# SPDX-License-Identifier: Apache-2.0
"""Arena planning: an offset for every activation such that tensors alive together never overlap.

Greedy placement (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5)
in several orders; the smallest arena wins, the first order on a tie. The lower bound is the largest sum of bytes alive
at one operator, which no plan can beat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..graph import Graph, Node
from ..ops import Add, Lookup, Maximum, Minimum, Mul, Reshape, Sub

ALIGNMENT = 64

#: Operators whose kernels may write over an input of the same size that nothing reads later.
IN_PLACE = (Add, Sub, Mul, Maximum, Minimum, Lookup, Reshape)


@dataclass(frozen=True)
class Plan:
    """Offsets in bytes, the arena's size, and the lower bound of any plan."""

    offsets: Mapping[str, int]
    arena: int
    lower_bound: int


@dataclass
class _Block:
    """One or more tensors that share bytes, alive from operator ``first`` to ``last`` inclusive."""

    tensors: list[str]
    size: int
    first: int
    last: int
    offset: int = 0


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _shared_input(graph: Graph, node: Node, index: int, last: Mapping[str, int]) -> str | None:
    """An input that dies at this node and that its output may overwrite."""
    if not isinstance(node.op, IN_PLACE):
        return None
    output = graph.tensors[node.outputs[0]]
    for name in node.inputs:
        tensor = graph.tensors[name] if name else None
        if (
            tensor is not None
            and tensor.data is None
            and last[name] == index
            and tensor.nbytes == output.nbytes
        ):
            return name
    return None


def _blocks(graph: Graph) -> list[_Block]:
    end = len(graph.nodes)
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in (*node.inputs, *node.outputs):
            if name:
                last[name] = index
    for port in graph.outputs:
        last[port.tensor] = end
    blocks: dict[str, _Block] = {}
    for port in graph.inputs:
        tensor = graph.tensors[port.tensor]
        blocks[tensor.name] = _Block([tensor.name], _aligned(tensor.nbytes), -1, last.get(tensor.name, -1))
    for index, node in enumerate(graph.nodes):
        shared = _shared_input(graph, node, index, last)
        for name in node.outputs:
            tensor = graph.tensors[name]
            if shared is not None:
                block = blocks[shared]
                block.tensors.append(name)
                block.last = max(block.last, last[name])
                blocks[name] = block
                shared = None
            else:
                blocks[name] = _Block([name], _aligned(tensor.nbytes), index, last[name])
    unique: list[_Block] = []
    for block in blocks.values():
        if block.tensors and block not in unique:
            unique.append(block)
    return unique


def _place(blocks: list[_Block]) -> int:
    """Give each block the lowest gap that holds it, the tightest among equals; returns the arena's size."""
    placed: list[_Block] = []
    for block in blocks:
        busy = sorted(
            (b.offset, b.offset + b.size) for b in placed if b.first <= block.last and block.first <= b.last
        )
        best: tuple[int, int] | None = None
        end = 0
        for low, high in busy:
            gap = low - end
            if gap >= block.size and (best is None or gap < best[0]):
                best = (gap, end)
            end = max(end, high)
        block.offset = best[1] if best is not None else end
        placed.append(block)
    return max((b.offset + b.size for b in blocks), default=0)


_Order = Callable[[_Block], tuple[int, ...]]
_ORDERS: tuple[_Order, ...] = (
    lambda b: (-b.size, b.first, b.last),
    lambda b: (-(b.last - b.first + 1) * b.size, b.first),
    lambda b: (b.first, -b.size),
    lambda b: (-b.last, -b.size),
    lambda b: (-(b.last - b.first), -b.size, b.first),
)


def plan_arena(graph: Graph) -> Plan:
    """Plan the arena of a graph that has passed its checks."""
    blocks = _blocks(graph)
    peak = max(
        (sum(b.size for b in blocks if b.first <= i <= b.last) for i in range(-1, len(graph.nodes) + 1)),
        default=0,
    )
    best_size, best = None, dict[str, int]()
    for order in _ORDERS:
        size = _place(sorted(blocks, key=order))
        if best_size is None or size < best_size:
            best_size = size
            best = {name: b.offset for b in blocks for name in b.tensors}
    return Plan(best, best_size or 0, peak)
