# SPDX-License-Identifier: Apache-2.0
"""From a checked integer graph to what the file stores: packed weights, certificates, an arena plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..graph import Blocker, Graph, Node, UnsupportedError
from ..ops.weights import Weights
from .pack import depthwise_layout, gemm_layout, weight_fields
from .plan import Plan, plan_arena

__all__ = ["Compiled", "CompiledNode", "Plan", "compile_graph"]


@dataclass(frozen=True)
class CompiledNode:
    """One operator of the file: union member, fields, run-time inputs and outputs by name."""

    node: Node
    kind: str
    fields: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Compiled:
    """A graph, its operators as the file stores them, and its arena plan."""

    graph: Graph
    nodes: tuple[CompiledNode, ...]
    plan: Plan


def compile_graph(graph: Graph) -> Compiled:
    """Lower, pack and plan; UnsupportedError lists every operator that has no integer form."""
    blockers = []
    nodes = []
    for node in graph.nodes:
        try:
            lowered = node.op.lower(graph.inputs_of(node), graph.outputs_of(node))
            fields = dict(lowered.fields)
            weights = fields.get("weights")
            if isinstance(weights, Weights):
                choose = depthwise_layout if lowered.kind == "DepthwiseConv2d" else gemm_layout
                fields["weights"] = weight_fields(weights, choose(weights.bits))
        except ValueError as error:
            blockers.append(Blocker(node.label, str(error), ""))
            continue
        inputs = tuple(node.inputs[i] for i in lowered.inputs)
        nodes.append(CompiledNode(node, lowered.kind, fields, inputs, node.outputs))
    if blockers:
        raise UnsupportedError(graph.name, blockers)
    return Compiled(graph, tuple(nodes), plan_arena(graph))
