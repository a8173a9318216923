# SPDX-License-Identifier: Apache-2.0
"""Weights with a factor per group along k: real = scale[channel] * factor[channel, group] * integer.

Scales of their own for short runs of weights lose less than one scale per channel (Dai et al., "VS-Quant: Per-vector
Scaled Quantization for Accurate Low-Precision Neural Network Inference", 2021, which has integer factors too). Here a
factor may be negative as well: it turns the range of the integers, which reaches further below 0, towards the larger
weights, and gives 2 bits four levels instead of three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..graph import ScaleGroups
from .clip import full_scales
from .layer import Float64, Grid, IntegerLayer, LayerProblem

#: Steps that are tried for a group: this many fractions of the one that clips nothing, with both signs.
_FRACTIONS = 32
#: The least share of the strongest input's moment that an error counts.
_LEAST = 0.01
#: Weights that are searched at a time.
_AT_ONCE = 1 << 17


def _factor_limit(grid: Grid, k: int) -> int:
    """The largest factor with which k products of any weights and activations stay below 2^30: the other half of the
    accumulator is the bias's.
    """
    return min(max(((1 << 30) - 1) // (255 * k * max(-grid.low, grid.high)), 1), 127)


def _searched(
    weights: Float64, counts: Float64, scales: Float64, limit: int, grid: Grid
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Integers [size, channels, groups] and factors [channels, groups] of least squared error.

    weights, counts: like the integers; counts: what squared errors count. scales: of the channels. Errors are added
    along the first axis, in this order on every machine.
    """
    largest = np.abs(weights).max(axis=0, initial=0.0) / (grid.high * scales[:, None])
    best = np.full(largest.shape, np.inf)
    values = np.zeros(weights.shape, np.int8)
    factors = np.ones(largest.shape, np.int8)
    tried = None
    for part in range(_FRACTIONS, 0, -1):
        magnitudes = np.clip(np.ceil(largest * (part / _FRACTIONS)), 1, limit)
        if tried is not None and np.array_equal(magnitudes, tried):
            continue
        tried = magnitudes
        for factor in (magnitudes, -magnitudes):
            steps = scales[:, None] * factor
            integers = np.clip(np.floor(weights / steps + 0.5), grid.low, grid.high)
            errors = (np.square(integers * steps - weights) * counts).sum(axis=0)
            better = errors < best
            best = np.where(better, errors, best)
            factors = np.where(better, factor, factors).astype(np.int8)
            values = np.where(better, integers, values).astype(np.int8)
    return values, factors


def _by_group(rows: Float64, size: int) -> Float64:
    """[channels, k], zeros behind, as [size, channels, groups]."""
    channels, k = rows.shape
    groups = -(-k // size)
    padded = np.zeros((channels, groups * size))
    padded[:, :k] = rows
    return np.ascontiguousarray(padded.reshape(channels, groups, size).transpose(2, 0, 1))


def group_weights(
    weights: Float64, grid: Grid, size: int, counts: Float64
) -> tuple[Float64, Float64, ScaleGroups]:
    """Integers [channels, k], scales [channels] and factors for weights [channels, k], k as it is packed.

    grid: the integers. size: k per group. counts [channels, k]: what the squared error of each weight counts. A
    channel's scale, a float32 number, is that with which the largest factor clips nothing, of all channels where they
    share one; each group then takes the factor and the integers of the least error.
    """
    channels, k = weights.shape
    limit = _factor_limit(grid, k)
    scales = full_scales(weights[None], grid.high * limit, grid.shared)[0]
    integers = np.empty(weights.shape)
    factors = np.empty((channels, -(-k // size)), np.int8)
    block = max(_AT_ONCE // k, 1)
    for i in range(0, channels, block):
        rows = slice(i, i + block)
        found, factors[rows] = _searched(
            _by_group(weights[rows], size), _by_group(counts[rows], size), scales[rows], limit, grid
        )
        integers[rows] = found.transpose(1, 2, 0).reshape(found.shape[1], -1)[:, :k]
    return integers, scales, ScaleGroups(size, factors)


def _fine(grid: Grid, problem: LayerProblem, size: int) -> Grid:
    """The grid with factors, chosen by the weights and, where moments are known, by what each input carries: H's
    diagonal.
    """
    weights = problem.weights
    groups, outputs, k = weights.shape
    counts = np.ones((groups, k))
    if problem.gram.shape[1] == k:
        diagonal = np.einsum("gkk->gk", problem.gram)
        counts = np.maximum(diagonal, _LEAST * diagonal.max(axis=1, keepdims=True))
    by_output = np.broadcast_to(counts[:, None], weights.shape).reshape(-1, k)
    _, scales, found = group_weights(weights.reshape(-1, k), grid, size, by_output)
    return replace(grid, groups=found, scales=scales.reshape(groups, outputs))


def grouped(
    solve: Callable[[LayerProblem, Grid], IntegerLayer],
    problem: LayerProblem,
    grid: Grid,
    size: int,
) -> IntegerLayer:
    """A method's choice on a grid with factors; of each channel, without where that has the smaller error, of all
    together where they share a scale.
    """
    fine_grid = _fine(grid, problem, size)
    plain, fine = solve(problem, grid), solve(problem, fine_grid)
    factors = fine_grid.factors(problem.weights.shape)
    assert factors is not None
    assert fine_grid.groups is not None

    def error(solution: IntegerLayer) -> Float64:
        values = solution.integers * solution.scales[:, :, None]
        if problem.gram.shape[1]:
            return problem.error(values)
        return np.asarray(np.square(values - problem.weights).sum(axis=2))

    better = grid.together(error(fine)) < grid.together(error(plain))
    integers = np.where(better[:, :, None], fine.integers / factors, plain.integers)
    scales = np.where(better, fine.scales, plain.scales)
    kept = np.where(better.reshape(-1, 1), fine_grid.groups.factors, 1).astype(np.int8)
    return IntegerLayer(integers, scales, np.where(better, fine.bias, plain.bias), ScaleGroups(size, kept))
