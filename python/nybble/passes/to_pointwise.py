# SPDX-License-Identifier: Apache-2.0
"""Where paths of elementwise operators part from one tensor and meet again, they are one function of one element: one
table. Silu is x * sigmoid(x), gelu x * (1 + erf(x / sqrt 2)) / 2, mish x * tanh(softplus(x)), however they are written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .. import ops
from ..graph import DType, Graph, Node, Tensor
from ..ops import Step
from .remove_unread import remove_unread

_BINARY = (ops.Add, ops.Mul, ops.Maximum, ops.Minimum)  # Sub is an Add
#: So many operators are written as one.
_LIMIT = 16


@dataclass(frozen=True)
class _Path:
    """What computes a tensor from ``root`` alone; joined: paths have met in it."""

    root: str
    steps: tuple[Step, ...] = ()
    joined: bool = False


def _scalar(tensor: Tensor) -> float | None:
    if tensor.data is None or tensor.size != 1 or tensor.dtype is not DType.FLOAT32:
        return None
    return float(tensor.data.item())


def _extended(graph: Graph, node: Node, paths: dict[str, _Path]) -> _Path | None:
    """The path to a node's output, None where it is not elementwise on one tensor."""
    if not isinstance(node.op, (ops.Lookup, *_BINARY)) or isinstance(node.op, ops.Quantize):
        return None
    operands = [graph.tensors[name] for name in node.inputs]
    given = [_scalar(t) for t in operands]
    computed = [paths.get(t.name, _Path(t.name)) for t, c in zip(operands, given, strict=True) if c is None]
    if any(t.data is not None for t, c in zip(operands, given, strict=True) if c is None):
        return None
    if len({p.root for p in computed}) != 1:
        return None
    root = computed[0].root
    if graph.tensors[root].shape != graph.tensors[node.outputs[0]].shape:
        return None
    steps: list[Step] = []
    ends: list[int | float] = []
    waiting = iter(computed)
    for constant in given:
        if constant is not None:
            ends.append(constant)
            continue
        number = {0: 0}
        for i, step in enumerate(next(waiting).steps, 1):
            moved = Step(step.op, tuple(number[n] if isinstance(n, int) else n for n in step.inputs))
            if moved not in steps:
                steps.append(moved)
            number[i] = steps.index(moved) + 1
        ends.append(number[max(number)])
    steps.append(Step(node.op, tuple(ends)))
    joined = len(computed) > 1 or any(p.joined for p in computed)
    return _Path(root, tuple(steps), joined) if len(steps) <= _LIMIT else None


def to_pointwise(graph: Graph) -> Graph:
    """Replace elementwise operators whose paths meet by one Pointwise."""
    paths: dict[str, _Path] = {}
    nodes = []
    for node in graph.nodes:
        path = _extended(graph, node, paths)
        if path is not None:
            paths[node.outputs[0]] = path
            if path.joined:
                node = replace(node, op=ops.Pointwise(path.steps), inputs=(path.root,))
        nodes.append(node)
    return remove_unread(graph.rebuilt(nodes))
