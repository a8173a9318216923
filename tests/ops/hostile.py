# SPDX-License-Identifier: Apache-2.0
"""Model files whose operators state what no compiler would write: the C core must refuse them at the door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from nybble.compile import compile_graph
from nybble.emit import emit_nyb
from nybble.graph import Graph, ModelError, Node, Operator, Port, Tensor
from nybble.session import load_nyb


def single(op: Operator, inputs: Sequence[Tensor], output: Tensor) -> Graph:
    """A graph of one operator."""
    node = Node(op, tuple(t.name for t in inputs), (output.name,))
    ports = tuple(Port(t.name, t.name) for t in inputs if t.data is None)
    graph = Graph({t.name: t for t in (*inputs, output)}, (node,), ports, (Port(output.name, output.name),))
    graph.check()
    return graph


def changed(graph: Graph, *, inputs: Sequence[str] | None = None, **fields: Any) -> bytes:
    """The graph's file with these fields, or the inputs, of its one operator replaced; the hash is right."""
    compiled = compile_graph(graph)
    [node] = compiled.nodes
    node = replace(node, fields={**node.fields, **fields}, inputs=tuple(inputs or node.inputs))
    return emit_nyb(replace(compiled, nodes=(node,)), "test")


def assert_refused(graph: Graph, expected: str, **changes: Any) -> None:
    """Raise AssertionError unless the graph is taken as it is, and refused with ``expected`` once changed."""
    load_nyb(changed(graph))
    with pytest.raises(ModelError, match=expected):
        load_nyb(changed(graph, **changes))
