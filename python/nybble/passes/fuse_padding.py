# SPDX-License-Identifier: Apache-2.0
"""Let a convolution pad for itself: a border of zeros (or, in integers, of the zero point) before it becomes part
of its window."""

from __future__ import annotations

from dataclasses import replace

from .. import ops
from ..graph import Graph, Node, Tensor
from .absorb import absorb


def _fuse(tensors: dict[str, Tensor], node: Node, reader: Node) -> list[Node] | None:
    pad = node.op
    if not isinstance(pad, ops.Pad) or not isinstance(reader.op, ops.Conv2d | ops.DepthwiseConv2d):
        return None
    if len(node.inputs) > 1 or any(pad.before[i] or pad.after[i] for i in (0, 3)):
        return None
    if tensors[node.inputs[0]].quantization != tensors[node.outputs[0]].quantization:
        return None  # another zero point would border the image
    window = reader.op.window
    (top, bottom), (left, right) = window.padding
    padding = (
        (top + pad.before[1], bottom + pad.after[1]),
        (left + pad.before[2], right + pad.after[2]),
    )
    op = replace(reader.op, window=replace(window, padding=padding))
    return [replace(reader, op=op, inputs=(node.inputs[0], *reader.inputs[1:]))]


def fuse_padding(graph: Graph) -> Graph:
    """Fuse borders of zeros into convolutions, the same bits."""
    return absorb(graph, _fuse)
