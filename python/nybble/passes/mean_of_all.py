# SPDX-License-Identifier: Apache-2.0
"""Average a whole image by Mean: unlike a pool, it may have a scale of its own, and means are
small.
"""

from __future__ import annotations

from dataclasses import replace

from .. import ops
from ..graph import Graph, Node
from ..ops import Activation
from ..ops.window import NO_PADDING


def _mean(graph: Graph, node: Node) -> Node:
    pool = node.op
    if not isinstance(pool, ops.AveragePool2d) or pool.activation is not Activation.NONE:
        return node
    whole = graph.tensors[node.inputs[0]].shape[1:3] == pool.window.size
    if not whole or pool.window.padding != NO_PADDING:
        return node
    return replace(node, op=ops.Mean((1, 2), keep_dims=True))


def mean_of_all(graph: Graph) -> Graph:
    """Replace average pools over whole images by means."""
    return graph.rebuilt(_mean(graph, node) for node in graph.nodes)
