# SPDX-License-Identifier: Apache-2.0
"""What a conversion made, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..compile.plan import plan_arena
from ..convert import convert, convert_graph, import_model
from ..emit import schema
from ..graph import faults_of
from ..passes import run_passes


@dataclass(frozen=True)
class Conversion:
    """A converted model.

    content: the .nyb file. arena_bytes: what the planner gave the activations; arena_lower_bound: the
    largest sum of bytes alive at one operator, which no plan can beat.
    """

    content: bytes
    source_bytes: int
    operators: int
    arena_bytes: int
    arena_lower_bound: int


def convert_file(
    source: Path,
    *,
    cut: bool = False,
    golden: bool | None = None,
    weight_bits: int | None = None,
    weights: str | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Conversion:
    """Convert a file without writing anything. Takes and raises what :func:`nybble.convert` does."""
    graph = import_model(source, cut=cut, shapes=shapes)
    content = convert_graph(graph, golden=golden, weight_bits=weight_bits, weights=weights)
    with faults_of(graph.name):
        compiled = run_passes(graph)
        plan = plan_arena(compiled)
    return Conversion(content, source.stat().st_size, len(compiled.nodes), plan.arena, plan.lower_bound)


def as_nyb(path: Path) -> Path | bytes:
    """What :func:`nybble.load` takes without converting: the path of a .nyb model, or converted bytes.

    For who loads one model more than once. Raises what :func:`nybble.convert` raises.
    """
    with path.open("rb") as file:
        head = file.read(8)
    return path if head[4:8] == schema.IDENTIFIER else convert(path)
