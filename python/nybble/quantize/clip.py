# SPDX-License-Identifier: Apache-2.0
"""The scale of each channel's weights, or of all channels', by search: what is clipped against what is rounded.

Rounding to nearest with a scale below max |w| / highest clips the largest weights and rounds the others more
finely. Every channel, or all together, takes the candidate of the least error: of the weights themselves, of the weights
weighted by their inputs' second moments (H's diagonal), or of the layer's output (all of H). Source of the
idea: Banner et al., "Post training 4-bit quantization of convolutional networks for rapid-deployment", 2019.
"""

from __future__ import annotations

import enum

import numpy as np

from ..ops.exact import exact_matmul
from .layer import Float64, Grid, LayerProblem, weights_times


class Weighting(enum.Enum):
    """What the error of a rounded weight counts."""

    NONE = "mse"
    DIAGONAL = "diagonal"
    GRAM = "gram"


#: Candidates: these fractions of the scale that clips nothing; those above 1 for grids with a bound on pairs.
FRACTIONS = tuple(i / 40 for i in range(80, 7, -1))


def full_scales(weights: Float64, highest: int, shared: bool = False) -> Float64:
    """[g, o]: max |w| / highest as float32 numbers, 1 for channels of zeros; shared: the maximum is of all channels."""
    largest = np.abs(weights).max(axis=2, initial=0.0)
    if shared:
        largest = np.full_like(largest, largest.max(initial=0.0))
    scales = (largest / highest).astype(np.float32).astype(np.float64)
    return np.where(scales > 0, scales, 1.0)


def search_scales(problem: LayerProblem, grid: Grid, weighting: Weighting) -> Float64:
    """Scales [g, o], float32 numbers, of the least error of rounding to nearest among those that the grid allows."""
    if grid.scales is not None:
        return grid.scales
    w = problem.weights
    full = full_scales(w, grid.high, grid.shared)
    best, least = full, np.full(full.shape, np.inf)
    for fraction in FRACTIONS:
        if fraction > 1 and grid.pair_sum is None:
            continue
        scales = (full * fraction).astype(np.float32).astype(np.float64)
        integers = grid.nearest(w, scales)
        error = _error(problem, integers * scales[:, :, None] - w, weighting)
        error = grid.together(np.where(grid.holds(integers), error, np.inf))
        better = error < least
        best = np.where(better, scales, best)
        least = np.where(better, error, least)
    return best


def _error(problem: LayerProblem, difference: Float64, weighting: Weighting) -> Float64:
    if weighting is Weighting.NONE:
        return np.asarray((difference * difference).sum(axis=2))
    if weighting is Weighting.DIAGONAL:
        diagonal = np.einsum("gkk->gk", problem.gram)
        return np.asarray((difference * difference * diagonal[:, None]).sum(axis=2))
    if len(difference) == 1:
        # Squared errors are compared only: 21 bits do.
        product = exact_matmul(difference[0], problem.gram[0])[None]
    else:
        product = weights_times(difference, problem.gram)
    return np.asarray((product * difference).sum(axis=2))
