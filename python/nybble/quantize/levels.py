# SPDX-License-Identifier: Apache-2.0
"""Levels of layers: bits of weights (8, 4, 2, ternary), or of weights and activations in one word (w4a16)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ..graph import Graph
from ..ops import Quantize
from .parameters import Level
from .recipe import ACTIVATION_BITS, WEIGHT_LEVELS, Override, Recipe, has_weights
from .ties import KEEP_SCALE


def parts_of(level: Level) -> tuple[Level, int | None]:
    """(level of weights, bits of activations) of a level; None where it leaves activations to the recipe.

    Raises ValueError for what is no level.
    """
    found = re.fullmatch(r"w(\d|ternary)a(\d+)", level) if isinstance(level, str) else None
    weights: Level = level
    activations = None
    if found is not None:
        weights = int(found[1]) if found[1].isdigit() else found[1]
        activations = int(found[2])
    known = not isinstance(weights, bool) and weights in WEIGHT_LEVELS
    if not known or activations not in (None, *ACTIVATION_BITS):
        raise ValueError(
            f"expected levels of {', '.join(map(str, WEIGHT_LEVELS))}, or of weights and activations such as w4a16, "
            f"found {level!r}"
        )
    return weights, activations


def sorted_levels(levels: Iterable[Level], activations: int) -> tuple[Level, ...]:
    """The levels, those of the most bits first: of weights, then of activations. Where one names activations, all do;
    activations: of those that do not.

    Raises ValueError for what is no level, and where there is none.
    """
    found = {parts_of(level) for level in levels}
    if not found:
        raise ValueError("expected levels, found none")
    if any(bits is not None for _, bits in found):
        found = {(weights, activations if bits is None else bits) for weights, bits in found}
    order = sorted(found, key=lambda pair: (WEIGHT_LEVELS.index(pair[0]), -(pair[1] or 0)))
    return tuple(weights if bits is None else f"w{weights}a{bits}" for weights, bits in order)


def level_name(level: Level) -> str:
    """'W4', 'Wternary' or 'W4A16'."""
    weights, activations = parts_of(level)
    return f"W{weights}" + ("" if activations is None else f"A{activations}")


def without_levels(recipe: Recipe, levels: Sequence[Level]) -> Recipe:
    """A recipe with everything but what levels choose: the first level for all layers."""
    weights, activations = parts_of(levels[0])
    nothing: dict[str, None] = {"weights": None} | ({} if activations is None else {"activations": None})
    overrides = tuple(o for one in recipe.overrides if (o := replace(one, **nothing)).chooses)  # type: ignore[arg-type]
    own = recipe.activations if activations is None else activations
    return replace(
        recipe, weights=weights, activations=own, first=None, last=None, layers={}, overrides=overrides
    )


def with_levels(base: Recipe, graph: Graph, levels: Mapping[str, Level]) -> Recipe:
    """The recipe in which each layer of the float graph has its level; levels: by the layers' names, of all of them.

    Weights: those of ``base`` where they differ, and exceptions. Activations, of what a layer writes: those that most
    layers have, the more bits of two; exceptions as overrides, also for operators without weights, which have those of
    the layers that they read where these agree.
    """
    found = {name: parts_of(level) for name, level in levels.items()}
    kinds = {weights for weights, _ in found.values()}
    weights = next(iter(kinds)) if len(kinds) == 1 else base.weights
    layers = {name: one for name, (one, _) in found.items() if one != weights}
    result = replace(base, weights=weights, layers=layers)
    bits = [one for _, one in found.values() if one is not None]
    if not bits:
        return result
    own = max(bits, key=lambda one: (bits.count(one), one))
    return replace(result, activations=own, overrides=(*base.overrides, *_exceptions(graph, found, own)))


def _exceptions(graph: Graph, levels: Mapping[str, tuple[Level, int | None]], own: int) -> list[Override]:
    """An override for each operator whose activations are not of ``own`` bits, by name and type."""
    written: dict[str, int] = {}
    wanted: dict[tuple[str, str], int] = {}
    for node in graph.nodes:
        read = {written[name] for name in node.inputs if name in written}
        bits = levels[node.name][1] if has_weights(node) else read.pop() if len(read) == 1 else None
        bits = own if bits is None else bits
        written |= dict.fromkeys(node.outputs, bits)
        # What cannot rescale follows by itself (Recipe.activation_bits).
        if not isinstance(node.op, (*KEEP_SCALE, Quantize)):
            key = node.name, node.op.name
            wanted[key] = max(wanted.get(key, 0), bits)
    return [
        Override(re.sub(r"([*?[])", r"[\1]", name), kind, activations=bits)
        for (name, kind), bits in wanted.items()
        if bits != own
    ]
