# SPDX-License-Identifier: Apache-2.0
"""Write products and sums with one number, and clamps, as Affine: then they compose and fold."""

from __future__ import annotations

from dataclasses import replace

from .. import ops
from ..graph import DType, Graph, Node
from ..ops import Activation


def _affine(graph: Graph, node: Node) -> Node:
    if isinstance(node.op, ops.Relu):
        low, high = node.op.activation.value
        return replace(node, op=ops.Affine(low=low, high=high))
    if not isinstance(node.op, ops.Add | ops.Mul):  # Sub is an Add
        return node
    first, second = (graph.tensors[name] for name in node.inputs[:2])
    if first.data is not None and not isinstance(node.op, ops.Sub):
        first, second = second, first
    if (
        second.data is None
        or second.dtype is not DType.FLOAT32
        or second.size != 1
        or first.data is not None
        or len(first.shape) < len(second.shape)
    ):
        return node
    number = float(second.data.item())
    low, high = node.op.activation.value
    if isinstance(node.op, ops.Mul):
        if number == 0:
            return node
        op = ops.Affine(number, 0.0, low, high)
    else:
        op = ops.Affine(1.0, node.op.sign * number, low, high)
    return replace(node, op=op, inputs=(first.name,))


def scalars_to_affine(graph: Graph) -> Graph:
    """Replace Relu, and Add, Sub and Mul with one number, by Affine."""
    return graph.rebuilt(_affine(graph, node) for node in graph.nodes)


def unbound(op: ops.Affine) -> ops.Affine:
    """An Affine without its bounds."""
    return ops.Affine(op.factor, op.offset)


def activation_of(op: ops.Affine) -> Activation | None:
    """The fused activation with an Affine's bounds, if there is one."""
    return next((a for a in Activation if a.value == (op.low, op.high)), None)
