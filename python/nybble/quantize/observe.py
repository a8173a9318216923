# SPDX-License-Identifier: Apache-2.0
"""The range of every activation of a float graph, over samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Array, DType, Graph, QuantizationError, evaluate_batches
from .calibration import CALIBRATIONS, Calibration
from .parameters import Range
from .recipe import Recipe


def observe(graph: Graph, samples: Sequence[Array], recipe: Recipe | None = None) -> dict[str, Range]:
    """The range of every float32 tensor that is computed, inputs included, by name.

    samples: per input an array [N, *shape]. recipe: says by which method, and for how many bits; minimum and maximum
    where it is None. The activations of some samples are held at a time (evaluate_batches).

    Raises QuantizationError where a tensor becomes infinite or not a number.
    """
    recipe = Recipe() if recipe is None else recipe
    methods, bits = recipe.calibrations(graph), recipe.activation_bits(graph)
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
    symmetric = recipe.symmetric or recipe.wide
    return {name: one.range(bits[name], symmetric) for name, one in watched.items()}
