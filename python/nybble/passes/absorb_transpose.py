# SPDX-License-Identifier: Apache-2.0
"""Flatten an image without transposing it: the columns of the weights behind are put into its order
instead.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from .. import ops
from ..graph import Graph, Node
from .absorb import fresh


def _source(graph: Graph, node: Node) -> Node | None:
    """The transposition before a fully connected layer and the reshape between them, if it can be
    dropped.
    """
    producers = graph.producers()
    flatten = producers.get(node.inputs[0])
    if flatten is None or not isinstance(flatten.op, ops.Reshape):
        return None
    transpose = producers.get(flatten.inputs[0])
    if transpose is None or not isinstance(transpose.op, ops.Transpose) or transpose.op.order[0] != 0:
        return None
    readers = Counter(name for n in graph.nodes for name in n.inputs)
    readers.update(port.tensor for port in graph.outputs)
    if readers[flatten.outputs[0]] != 1 or readers[transpose.outputs[0]] != 1:
        return None
    shape = graph.tensors[transpose.outputs[0]].shape
    rows = graph.tensors[flatten.outputs[0]].shape
    return transpose if rows == (shape[0], int(np.prod(shape[1:]))) else None


def absorb_transpose(graph: Graph) -> Graph:
    """Drop transpositions before flattened fully connected layers."""
    tensors = dict(graph.tensors)
    nodes = {node.outputs[0]: node for node in graph.nodes}
    for node in graph.nodes:
        if not isinstance(node.op, ops.FullyConnected):
            continue
        weights, transpose = graph.tensors[node.inputs[1]], _source(graph, node)
        if (
            transpose is None
            or weights.data is None
            or weights.shape[1] != graph.tensors[node.inputs[0]].shape[-1]
        ):
            continue
        assert isinstance(transpose.op, ops.Transpose)
        shape = graph.tensors[transpose.outputs[0]].shape
        columns = np.arange(weights.shape[1]).reshape(1, *shape[1:])
        back = columns.transpose(np.argsort(transpose.op.order)).reshape(-1)
        name = fresh(tensors, f"{weights.name}/columns")
        tensors[name] = replace(weights, name=name, data=np.ascontiguousarray(weights.data[:, back]))
        nodes[node.outputs[0]] = replace(node, inputs=(node.inputs[0], name, *node.inputs[2:]))
        flatten = nodes[node.inputs[0]]
        nodes[node.inputs[0]] = replace(flatten, inputs=transpose.inputs)
        del nodes[transpose.outputs[0]]
    return graph.rebuilt(nodes.values(), tensors)
