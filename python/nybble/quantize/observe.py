# SPDX-License-Identifier: Apache-2.0
"""The range of every activation of a float graph, over samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..graph import Array, DType, Graph, QuantizationError, evaluate_batches
from .activations import rounding_loss
from .calibration import CALIBRATIONS, Calibration
from .parameters import Range
from .recipe import Recipe

#: Calibrations of which one is chosen where a recipe leaves it open.
CHOICES = ("minmax", "mse")
#: Samples that are looked at for that.
SAMPLES = 128


def observe(graph: Graph, samples: Sequence[Array], recipe: Recipe | None = None) -> dict[str, Range]:
    """The range of every float32 tensor that is computed, inputs included, by name.

    samples: per input an array [N, *shape]. recipe: says by which method, and for how many bits; minimum and maximum
    where it is None, and the method that ``chosen`` finds where it leaves that open. The activations of some samples are
    held at a time (evaluate_batches).

    Raises QuantizationError where a tensor becomes infinite or not a number.
    """
    recipe = Recipe(calibration="minmax") if recipe is None else recipe
    return _observed(graph, samples, recipe, chosen(graph, samples, recipe))


def chosen(graph: Graph, samples: Sequence[Array], recipe: Recipe) -> str:
    """The calibration of activations of 8 bits where the recipe leaves it open: that of CHOICES with which rounded
    activations cost the outputs least on samples that ranges are not of, on each half of at most SAMPLES, evenly spread,
    those of the other half. The first where there is one sample, and for 16 bits.
    """
    some = [array[:: -(-len(array) // SAMPLES)] for array in samples]
    wide = set(recipe.activation_bits(graph).values()) == {16}
    if recipe.calibration is not None or wide or len(some[0]) < 2:
        return CHOICES[0]
    losses = []
    for row in CHOICES:
        parts = []
        for half in (0, 1):
            ranges = _observed(graph, [array[half::2] for array in some], recipe, row)
            parts.append(rounding_loss(graph, ranges, recipe, [array[1 - half :: 2] for array in some]))
        losses.append(math.fsum(parts))
    return CHOICES[losses.index(min(losses))]


def _observed(graph: Graph, samples: Sequence[Array], recipe: Recipe, whole: str) -> dict[str, Range]:
    """observe; whole: the calibration of activations of 8 and more bits where the recipe leaves it open."""
    methods, bits = recipe.calibrations(graph, whole), recipe.activation_bits(graph)
    watched: dict[str, Calibration] = {
        name: CALIBRATIONS[methods[name]](recipe.percentile)
        for name, tensor in graph.tensors.items()
        if tensor.data is None and tensor.dtype is DType.FLOAT32
    }
    for values in evaluate_batches(graph, samples):
        for name, array in values.items():
            if name not in watched:
                continue
            if not np.all(np.isfinite(array)):
                raise QuantizationError(f"{graph.name}: {name!r} is not finite on one of the samples")
            watched[name].update(array)
    return {
        name: one.range(bits[name], recipe.symmetric or bits[name] == 16) for name, one in watched.items()
    }
