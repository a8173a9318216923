# SPDX-License-Identifier: Apache-2.0
"""Merge reshapes and transpositions that follow one another; remove what changes nothing."""

from __future__ import annotations

from dataclasses import replace

from .. import ops
from ..graph import Graph, Node, Tensor
from .absorb import absorb


def _merge(tensors: dict[str, Tensor], node: Node, reader: Node) -> list[Node] | None:
    if isinstance(node.op, ops.Reshape) and isinstance(reader.op, ops.Reshape):
        return [replace(node, op=reader.op, outputs=reader.outputs)]
    if isinstance(node.op, ops.Transpose) and isinstance(reader.op, ops.Transpose):
        order = tuple(node.op.order[axis] for axis in reader.op.order)
        return [replace(node, op=ops.Transpose(order), outputs=reader.outputs)]
    return None


def _reshaping(graph: Graph, node: Node) -> Node:
    """A transposition that moves axes of size 1 only, as a reshape."""
    if not isinstance(node.op, ops.Transpose):
        return node
    shape = graph.tensors[node.inputs[0]].shape
    moving = [axis for axis in node.op.order if shape[axis] != 1]
    if moving != sorted(moving):
        return node
    return replace(node, op=ops.Reshape(graph.tensors[node.outputs[0]].shape))


def _is_identity(graph: Graph, node: Node) -> bool:
    if isinstance(node.op, ops.Affine):
        return node.op.clamp and node.op.linear
    same = graph.tensors[node.inputs[0]].shape == graph.tensors[node.outputs[0]].shape
    if isinstance(node.op, ops.Slice):
        return same and all(not isinstance(p, tuple) or p[2] == 1 for p in node.op.index)
    return same and isinstance(node.op, ops.Reshape | ops.BroadcastTo | ops.Pad)


def remove_identities(graph: Graph) -> Graph:
    """Merge and remove; an input that would itself become an output keeps its operator."""
    graph = graph.rebuilt(_reshaping(graph, node) for node in graph.nodes)
    graph = absorb(graph, _merge)
    instead: dict[str, str] = {}
    inputs = {port.tensor for port in graph.inputs}
    outputs = {port.tensor for port in graph.outputs}
    nodes = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(instead.get(name, name) for name in node.inputs))
        if _is_identity(graph, node) and not (node.inputs[0] in inputs and node.outputs[0] in outputs):
            instead[node.outputs[0]] = node.inputs[0]
        else:
            nodes.append(node)
    ports = [replace(port, tensor=instead.get(port.tensor, port.tensor)) for port in graph.outputs]
    return graph.rebuilt(nodes, outputs=ports)
