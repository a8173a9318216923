# SPDX-License-Identifier: Apache-2.0
"""Which tensors must have one scale: operators that only choose, move or average numbers cannot
rescale them.

Softmax, logistic and tanh have outputs whose scale is given. Such a tensor keeps it through pools
and moves; where it meets tensors of other scales, in a concatenation or a maximum, a Quantize comes
before.
"""

from __future__ import annotations

from dataclasses import replace

from .. import ops
from ..graph import DType, Graph, Node, Operator, Quantization
from ..passes.absorb import fresh

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


def given(op: Operator) -> Quantization | None:
    """The quantization that an operator's output always has, where the operator decides it."""
    if isinstance(op, ops.Softmax):
        return Quantization.per_tensor(1 / 256, -128)
    if isinstance(op, ops.Logistic | ops.Tanh):
        bits, zero_point = op.output
        return Quantization.per_tensor(2.0**-bits, zero_point)
    return None


def _given_tensors(graph: Graph) -> dict[str, Quantization]:
    """Tensors that hold nothing but the values of one operator with a given quantization."""
    found: dict[str, Quantization] = {}
    for node in graph.nodes:
        quantization = given(node.op)
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
    found = _given_tensors(graph)
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


def tied(graph: Graph) -> tuple[dict[str, str], dict[str, Quantization]]:
    """(for every float32 tensor the name of its group, the quantizations of groups that have a
    given one).
    """
    leader = {name: name for name, tensor in graph.tensors.items() if tensor.dtype is DType.FLOAT32}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for node in graph.nodes:
        if isinstance(node.op, (*_ONE_INPUT, *_SEVERAL_INPUTS)):
            members = [name for name in (*node.inputs, *node.outputs) if name in leader]
            for name in members[1:]:
                leader[find(name)] = find(members[0])
    groups = {name: find(name) for name in leader}
    fixed = {groups[name]: q for name, q in _given_tensors(graph).items() if name in groups}
    return groups, fixed
