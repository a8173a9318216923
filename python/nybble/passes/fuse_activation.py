# SPDX-License-Identifier: Apache-2.0
"""Let an operator clamp its own result: relu, relu6 and the like become its fused activation."""

from __future__ import annotations

from dataclasses import replace

from .. import ops
from ..graph import Graph, Node, Tensor
from ..ops import Activation
from .absorb import absorb
from .affine import activation_of

_CLAMPING = (ops.Conv2d, ops.DepthwiseConv2d, ops.FullyConnected, ops.Add, ops.Mul)


def _fuse(tensors: dict[str, Tensor], node: Node, reader: Node) -> list[Node] | None:
    if not isinstance(node.op, _CLAMPING) or not isinstance(reader.op, ops.Affine):
        return None
    activation = activation_of(reader.op)
    if node.op.activation is not Activation.NONE or activation is None or not reader.op.clamp:
        return None
    return [replace(node, op=replace(node.op, activation=activation), outputs=reader.outputs)]


def fuse_activation(graph: Graph) -> Graph:
    """Fuse clamps into the operators before them."""
    return absorb(graph, _fuse)
