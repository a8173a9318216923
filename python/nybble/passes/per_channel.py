# SPDX-License-Identifier: Apache-2.0
"""Scale and shift channels by a depthwise convolution of size 1 where no layer before can take it.

One weight per channel with a scale of its own is exact in any number of bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .. import ops
from ..graph import DType, Graph, Node, Tensor, constant
from ..ops import Window
from .absorb import fresh


def _depthwise(tensors: dict[str, Tensor], node: Node, scaled: set[str]) -> Node:
    if not isinstance(node.op, ops.Add | ops.Mul) or isinstance(node.op, ops.Sub):
        return node
    x, held = sorted((tensors[name] for name in node.inputs), key=lambda t: t.data is not None)
    if held.data is None or held.dtype is not DType.FLOAT32 or x.data is not None or len(x.shape) != 4:
        return node
    channels = x.shape[3]
    if x.name in scaled and isinstance(node.op, ops.Add):
        return node  # the shift of a normalization: folded into the convolution of its scale
    if held.size != channels or channels == 1 or held.shape[-1] != channels:
        return node
    values = held.data.reshape(-1)
    shape = (1, 1, 1, channels)
    weights, bias = values.reshape(shape), np.zeros(channels, np.float32)
    if isinstance(node.op, ops.Add):
        weights, bias = np.ones(shape, np.float32), values
    inputs = [x.name]
    for role, data in (("weights", weights), ("bias", bias)):
        name = fresh(tensors, f"{held.name}/{role}")
        tensors[name] = constant(name, np.ascontiguousarray(data))
        inputs.append(name)
    op = ops.DepthwiseConv2d(Window((1, 1)), node.op.activation)
    return replace(node, op=op, inputs=tuple(inputs))


def per_channel_to_depthwise(graph: Graph) -> Graph:
    """Replace products and sums of images with one constant per channel."""
    tensors = dict(graph.tensors)
    scaled: set[str] = set()
    nodes = []
    for node in graph.nodes:
        nodes.append(_depthwise(tensors, node, scaled))
        if nodes[-1] is not node:
            scaled.update(node.outputs)
    return graph.rebuilt(nodes, tensors)
