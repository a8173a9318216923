# SPDX-License-Identifier: Apache-2.0
"""Operators on int8 beside operators on int16 in one network."""

from __future__ import annotations

from dataclasses import replace

from .. import ops
from ..graph import Graph, Node
from ..passes.absorb import fresh
from .recipe import Recipe, has_weights


def separate_widths(graph: Graph, recipe: Recipe) -> Graph:
    """Put a Quantize wherever an operator on int16 reads int8, or one on int8 reads int16.

    graph: float, its overrides' operators as the user knows them. An operator's own type is that of what it writes
    (Recipe.activation_bits); one that writes no activation has the recipe's. Readers of one type share the Quantize;
    constants are there once for each. The graph itself where all is of one type.
    """
    bits = recipe.activation_bits(graph)
    tensors = dict(graph.tensors)
    converted: dict[tuple[str, bool], str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        wide = bits.get(node.outputs[0], recipe.activations) == 16
        inputs = list(node.inputs)
        for i, name in enumerate(inputs):
            constant = i > 0 and has_weights(node)
            if (
                constant
                or name not in bits
                or (bits[name] == 16) == wide
                or isinstance(node.op, ops.Quantize)
            ):
                continue
            if (name, wide) not in converted:
                new = fresh(tensors, f"{name}/{'int16' if wide else 'int8'}")
                tensors[new] = replace(tensors[name], name=new)
                converted[name, wide] = new
                if tensors[name].data is None:
                    nodes.append(Node(ops.Quantize(), (name,), (new,), node.name))
            inputs[i] = converted[name, wide]
        nodes.append(replace(node, inputs=tuple(inputs)))
    return graph.rebuilt(nodes, tensors) if converted else graph
