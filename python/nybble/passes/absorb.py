# SPDX-License-Identifier: Apache-2.0
"""The walk that fusing passes share: a node swallows the one that alone reads its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from ..graph import Graph, Node, Tensor

#: (tensors of the graph, which it may add to; a node; the only reader of its output) -> the nodes
#: to have instead, the last of which writes the reader's output; or None to leave both.
Rule = Callable[[dict[str, Tensor], Node, Node], "list[Node] | None"]


def absorb(graph: Graph, rule: Rule) -> Graph:
    """Apply a rule to every pair of a node and the only reader of its output, in order."""
    tensors = dict(graph.tensors)
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(port.tensor for port in graph.outputs)
    nodes: list[Node] = []
    writer: dict[str, int] = {}
    for node in graph.nodes:
        computed = [name for name in node.inputs if name and tensors[name].data is None]
        at = writer.get(computed[0]) if len(computed) == 1 else None
        merged = None
        if at is not None and readers[computed[0]] == 1:
            merged = rule(tensors, nodes[at], node)
        if merged is None:
            writer.update({name: len(nodes) for name in node.outputs})
            nodes.append(node)
        else:
            assert at is not None
            nodes[at] = merged[0]
            writer[merged[0].outputs[0]] = at
            for extra in merged[1:]:
                writer[extra.outputs[0]] = len(nodes)
                nodes.append(extra)
    return graph.rebuilt(nodes, tensors)


def fresh(tensors: Mapping[str, Tensor], name: str) -> str:
    """A name that no tensor has."""
    free, i = name, 0
    while free in tensors:
        i += 1
        free = f"{name}#{i}"
    return free
