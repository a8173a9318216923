# SPDX-License-Identifier: Apache-2.0
"""Which tensors must have one scale: operators that only choose, move or average numbers cannot
rescale them.

Softmax, logistic and tanh have outputs whose scale is given. Such a tensor keeps it through pools
and moves; where it meets tensors of other scales, in a concatenation or a maximum, a Quantize comes
before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from .. import ops
from ..graph import DType, Graph, Node, Operator, Quantization
from ..passes.absorb import fresh
from .parameters import Range

_ONE_INPUT = (
    ops.MaxPool2d,
    ops.AveragePool2d,
    ops.Reshape,
    ops.Move,
    ops.Pad,
    ops.ResizeNearest,
    ops.ResizeBilinear,
)
_SEVERAL_INPUTS = (ops.Concat, ops.Pack, ops.Maximum, ops.Minimum)
#: Operators that cannot rescale: what they write has the scale of what they read.
KEEP_SCALE = (*_ONE_INPUT, *_SEVERAL_INPUTS)


def given(op: Operator, wide: bool = False) -> Quantization | None:
    """The quantization that an operator's output always has, where the operator decides it; wide: in int16."""
    if wide and isinstance(op, ops.Softmax | ops.Logistic | ops.Tanh):
        return Quantization.per_tensor(2.0**-15, 0)
    if isinstance(op, ops.Softmax):
        return Quantization.per_tensor(1 / 256, -128)
    if isinstance(op, ops.Logistic | ops.Tanh):
        bits, zero_point = op.output
        return Quantization.per_tensor(2.0**-bits, zero_point)
    return None


def _given_tensors(graph: Graph, wide: Collection[str]) -> dict[str, Quantization]:
    """Tensors that hold nothing but the values of one operator with a given quantization. wide: those in int16."""
    found: dict[str, Quantization] = {}
    for node in graph.nodes:
        quantization = given(node.op, node.outputs[0] in wide)
        if isinstance(node.op, _ONE_INPUT):
            quantization = found.get(node.inputs[0])
        elif isinstance(node.op, _SEVERAL_INPUTS):
            inputs = {found.get(name) for name in node.inputs}
            quantization = inputs.pop() if len(inputs) == 1 else None
        if quantization is not None:
            found.update(dict.fromkeys(node.outputs, quantization))
    return found


def separate_given(graph: Graph) -> Graph:
    """Put a Quantize wherever a tensor of a given scale meets others."""
    found = _given_tensors(graph, ())
    tensors = dict(graph.tensors)
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = list(node.inputs)
        if isinstance(node.op, _SEVERAL_INPUTS) and node.outputs[0] not in found:
            for i, name in enumerate(inputs):
                if name in found:
                    inputs[i] = fresh(tensors, f"{name}/rescaled")
                    tensors[inputs[i]] = replace(tensors[name], name=inputs[i])
                    nodes.append(Node(ops.Quantize(), (name,), (inputs[i],), node.name))
        nodes.append(replace(node, inputs=tuple(inputs)))
    return graph.rebuilt(nodes, tensors)


#: A tensor whose range is this many times smaller than another's keeps 4 of its 8 bits, or fewer.
_FAR_APART = 16.0


@dataclass(frozen=True)
class SharedScale:
    """An operator whose inputs have to share one scale, which is too coarse for some of them.

    ranges: of the inputs, by name, (low, high). In detectors boxes in pixels and scores from 0 to 1 meet so.
    """

    node: str
    ranges: Mapping[str, Range]

    @property
    def ratio(self) -> float:
        """How many times the largest range is that of the smallest."""
        widths = [width(seen) for seen in self.ranges.values()]
        return max(widths) / min(widths)

    def __str__(self) -> str:
        small = min(self.ranges, key=lambda name: width(self.ranges[name]))
        listed = ", ".join(f"{name!r} {low:.3g} to {high:.3g}" for name, (low, high) in self.ranges.items())
        return (
            f"warning: {self.node} joins tensors whose ranges differ {self.ratio:.0f} times under one scale: {listed}; "
            f"{small!r} keeps about {max(int(256 / self.ratio), 1)} of 256 levels. "
            "End the network before it: make its inputs outputs of their own, each gets its scale, and join them after"
        )


def width(seen: Range) -> float:
    """How far apart the ends of a range are, zero being in it."""
    return max(seen.high, 0.0) - min(seen.low, 0.0)


def shared_scales(graph: Graph, ranges: Mapping[str, Range]) -> tuple[SharedScale, ...]:
    """Operators that join tensors whose ranges differ 16 times and more; ranges: of every activation (observe)."""
    found = []
    for node in graph.nodes:
        if isinstance(node.op, ops.Concat | ops.Pack):
            joined = {
                name: ranges[name] for name in node.inputs if name in ranges and width(ranges[name]) > 0
            }
            shared = SharedScale(node.label, joined)
            if joined and shared.ratio >= _FAR_APART:
                found.append(shared)
    return tuple(found)


def tied(graph: Graph, wide: Collection[str] = ()) -> tuple[dict[str, str], dict[str, Quantization]]:
    """(for every float32 tensor the name of its group, the quantizations of groups that have a
    given one). wide: tensors in int16.
    """
    leader = {name: name for name, tensor in graph.tensors.items() if tensor.dtype is DType.FLOAT32}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for node in graph.nodes:
        if isinstance(node.op, KEEP_SCALE):
            members = [name for name in (*node.inputs, *node.outputs) if name in leader]
            for name in members[1:]:
                leader[find(name)] = find(members[0])
    groups = {name: find(name) for name in leader}
    fixed = {groups[name]: q for name, q in _given_tensors(graph, wide).items() if name in groups}
    return groups, fixed
