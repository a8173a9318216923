# SPDX-License-Identifier: Apache-2.0
"""Activations' quantizations, and what rounding them alone costs the outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .. import ops
from ..graph import Array, DType, Graph, Quantization, evaluate_batches
from .parameters import Range, activation_parameters, quantized
from .recipe import Recipe
from .ties import tied, width

#: Bytes of the activations that are held at a time; rounding them takes several times as many.
_BATCH_BYTES = 16 << 20


def activation_quantizations(
    graph: Graph, ranges: Mapping[str, Range], recipe: Recipe
) -> dict[str, tuple[DType, Quantization]]:
    """int8 or int16, and the quantization, of every float32 tensor with a range, by name: tensors that share a scale
    cover all their ranges.
    """
    bits = recipe.activation_bits(graph)
    groups, fixed = tied(graph, {name for name, found in bits.items() if found == 16})
    together: dict[str, Range] = {}
    for name, group in groups.items():
        data = graph.tensors[name].data
        seen = (
            ranges.get(name)
            if data is None
            else Range(float(data.min()), float(data.max()))
            if data.size
            else None
        )
        if seen is not None:
            together[group] = together[group].union(seen) if group in together else seen
    if 16 in bits.values():
        together |= _of_zeros(graph, groups, together)
    levels = {groups[name]: found for name, found in bits.items()}
    parameters = {
        group: activation_parameters(seen, levels[group], recipe.symmetric)
        for group, seen in together.items()
    } | fixed
    return {
        name: (DType.INT16 if bits[name] == 16 else DType.INT8, parameters[group])
        for name, group in groups.items()
        if group in parameters
    }


def _of_zeros(graph: Graph, groups: Mapping[str, str], seen: Mapping[str, Range]) -> dict[str, Range]:
    """Ranges for the groups of which nothing but zeros was seen. groups: as of tied; seen: of all groups.

    Any scale is exact for zeros, but one far from the others' makes results pass int32, and int16 is near to that. So
    they have the widest range of what they are computed from, and the narrowest of all where they come from outside.
    """
    activations = {name: group for name, group in groups.items() if graph.tensors[name].data is None}
    empty = {group for group, found in seen.items() if found.low >= 0 >= found.high}
    known = {g: seen[g] for g in activations.values() if g in seen and g not in empty}
    if not known:
        return {}
    narrowest = min(known.values(), key=width)
    for node in graph.nodes:
        read = [known[activations[n]] for n in node.inputs if activations.get(n) in known]
        for name in node.outputs:
            if read and activations.get(name) in empty:
                known.setdefault(activations[name], max(read, key=width))
    return {group: known.get(group, narrowest) for group in empty}


def rounding_loss(
    graph: Graph, ranges: Mapping[str, Range], recipe: Recipe, samples: Sequence[Array]
) -> float:
    """The squared error of the outputs, before a final Softmax, where every activation of the float network is rounded
    to its integers and the weights are not. samples: per input float32 [N, *shape].
    """
    parameters = activation_quantizations(graph, ranges, recipe)

    def rounded(name: str, array: Array) -> Array:
        if name not in parameters:
            return array
        dtype, found = parameters[name]
        steps = quantized(array, found, dtype).astype(np.float64) - found.single_zero_point
        return np.asarray(steps * found.single_scale, np.float32)

    producers = graph.producers()
    names = []
    for port in graph.outputs:
        node = producers.get(port.tensor)
        softmax = node is not None and isinstance(node.op, ops.Softmax)
        names.append(node.inputs[0] if node is not None and softmax else port.tensor)
    exact = evaluate_batches(graph, samples, keep=names, memory=_BATCH_BYTES)
    ours = evaluate_batches(graph, samples, keep=names, memory=_BATCH_BYTES, through=rounded)
    losses = []
    for wanted, found in zip(exact, ours, strict=True):
        for name in names:
            difference = (found[name].astype(np.float64) - wanted[name]).reshape(-1)
            losses.append(math.fsum(difference * difference))
    return math.fsum(losses)
