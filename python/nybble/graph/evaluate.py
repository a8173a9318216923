# SPDX-License-Identifier: Apache-2.0
"""Run a graph in numpy: the meaning that the C core is proven against, and the float network before quantization."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .graph import Graph, Node
from .operator import Array


def evaluate(graph: Graph, inputs: Sequence[Array], *, real: bool = False) -> dict[str, Array]:
    """Every tensor that the graph computes, by name.

    inputs: one array per graph input, of its shape. real: compute the float network (Operator.real)
    instead of the integer one.
    """
    return dict(_walk(graph, inputs, real))


def evaluate_outputs(graph: Graph, inputs: Sequence[Array], *, real: bool = False) -> list[Array]:
    """The graph's outputs only."""
    values = evaluate(graph, inputs, real=real)
    return [values[port.tensor] for port in graph.outputs]


def _walk(graph: Graph, inputs: Sequence[Array], real: bool) -> dict[str, Array]:
    values: dict[str, Array] = {n: t.data for n, t in graph.tensors.items() if t.data is not None}
    if len(inputs) != len(graph.inputs):
        raise ValueError(f"expected {len(graph.inputs)} inputs, found {len(inputs)}")
    for port, array in zip(graph.inputs, inputs, strict=True):
        values[port.tensor] = array
    meaning: Callable[[Node], list[Array]] = (
        (lambda node: list(node.op.real([values[n] for n in node.inputs if n])))
        if real
        else lambda node: node.op.integer(
            [values[n] for n in node.inputs if n], graph.inputs_of(node), graph.outputs_of(node)
        )
    )
    for node in graph.nodes:
        values.update(zip(node.outputs, meaning(node), strict=True))
    return values
