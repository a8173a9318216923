# SPDX-License-Identifier: Apache-2.0
"""Remove operators whose results nobody reads, such as the parts of a split that are not used."""

from __future__ import annotations

from ..graph import Graph, Node


def remove_unread(graph: Graph) -> Graph:
    """Keep the nodes that the outputs depend on."""
    read = {port.tensor for port in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if read.intersection(node.outputs):
            read.update(node.inputs)
            kept.append(node)
    return graph.rebuilt(reversed(kept))
