# SPDX-License-Identifier: Apache-2.0
"""Recognize x * clamp(x / 6 + 1/2, 0, 1), however it is written, as HardSwish: one table instead of
a product.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .. import ops
from ..graph import Graph, Node
from ..ops import Activation
from .absorb import fresh


def _gain(gate: ops.Affine) -> float | None:
    """k where the gate is k * clamp(x / 6 + 1/2, 0, 1) up to float32's precision, else None."""
    k = 6 * gate.factor
    same = np.isclose([gate.offset, gate.low, gate.high], [k / 2, 0, k], rtol=1e-6, atol=0)
    return k if k > 0 and same.all() else None


def to_hard_swish(graph: Graph) -> Graph:
    """Replace products of a tensor and its hard sigmoid by HardSwish and, where it is not 1, a
    factor.
    """
    producers = graph.producers()
    tensors = dict(graph.tensors)
    nodes: list[Node] = []
    for node in graph.nodes:
        gain = None
        if isinstance(node.op, ops.Mul) and node.op.activation is Activation.NONE:
            for x, gated in (node.inputs, node.inputs[::-1]):
                gate = producers.get(gated)
                if gate is not None and isinstance(gate.op, ops.Affine) and gate.inputs == (x,):
                    gain = _gain(gate.op)
                    break
        if gain is None:
            nodes.append(node)
        elif np.float32(gain) == 1:
            nodes.append(replace(node, op=ops.HardSwish(), inputs=(x,)))
        else:
            name = fresh(tensors, f"{node.outputs[0]}/hard_swish")
            tensors[name] = replace(tensors[node.outputs[0]], name=name)
            nodes.append(replace(node, op=ops.HardSwish(), inputs=(x,), outputs=(name,)))
            nodes.append(replace(node, op=ops.Affine(gain), inputs=(name,)))
    return _without_unread(graph.rebuilt(nodes, tensors))


def _without_unread(graph: Graph) -> Graph:
    """Drop nodes whose results nothing reads."""
    read = {port.tensor for port in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(name in read for name in node.outputs):
            kept.append(node)
            read.update(node.inputs)
    return graph.rebuilt(reversed(kept))
