# SPDX-License-Identifier: Apache-2.0
"""How weights become integers: one row a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .adaround import Descent, descend_each
from .clip import Weighting, full_scales, search_scales
from .coupled import descend_together
from .gptq import gptq
from .layer import Float64, Grid, IntegerLayer, LayerProblem

Solve = Callable[[LayerProblem, Grid], IntegerLayer]
#: The same of several problems of one shape.
SolveEach = Callable[[Iterable[LayerProblem], Grid], Iterator[IntegerLayer]]

#: Shares of H's diagonal of which one is added before weights are moved together.
SHARES = (0.001, 0.01, 0.1, 1.0, 10.0)
#: The share where there is but one sample, and this for each weight per position (LayerProblem.damped).
DAMPING = 0.01
SCARCITY = 0.1
#: Where descent starts: shares of the scale of the least error. The fewer weights a channel has, the harder it gets away
#: from a start, and the less one more costs.
STARTS = (1.0, 0.8, 1.25)
SHALLOW_STARTS = tuple(i / 20 for i in (20, *range(12, 20), *range(21, 26), 27, 30))
#: Weights of a channel up to which a layer is shallow.
SHALLOW = 64


@dataclass(frozen=True)
class Method:
    """A way from a layer's problem to integers.

    moments: whether it needs those of the samples. curvature: whether it looks at what errors cost the outputs.
    """

    solve: Solve
    about: str
    moments: bool = True
    curvature: bool = False


def _rounded(problem: LayerProblem, scales: Float64, grid: Grid, bias: bool) -> IntegerLayer:
    integers = grid.nearest(problem.weights, scales)
    values = integers * scales[:, :, None]
    return IntegerLayer(integers, scales, problem.best_bias(values) if bias else problem.bias)


def _nearest(problem: LayerProblem, grid: Grid) -> IntegerLayer:
    if grid.pair_sum is not None or grid.scales is not None:
        return _mse(problem, grid)
    return _rounded(problem, full_scales(problem.weights, grid.high, grid.shared), grid, bias=False)


def _mse(problem: LayerProblem, grid: Grid) -> IntegerLayer:
    return _rounded(problem, search_scales(problem, grid, Weighting.NONE), grid, bias=False)


def _clip(problem: LayerProblem, grid: Grid) -> IntegerLayer:
    return _rounded(problem, search_scales(problem, grid, Weighting.GRAM), grid, bias=True)


def _damped(problem: LayerProblem, grid: Grid, solve: SolveEach) -> LayerProblem:
    """The problem with the share of SHARES whose weights do best on samples that they were not solved on: on each
    part of the samples those of the other. solve: takes damped problems.
    """
    if len(problem.folds) < 2:
        return problem.damped(DAMPING, SCARCITY)
    solved = solve((seen.damped(share) for share in SHARES for seen in problem.folds), grid)
    errors = [
        float(other.error_with(found.integers * found.scales[:, :, None], found.bias).sum())
        for found, other in zip(solved, problem.folds[::-1] * len(SHARES), strict=True)
    ]
    return problem.damped(SHARES[int(np.argmin(np.add(errors[::2], errors[1::2])))])


def _gptq(problem: LayerProblem, grid: Grid) -> IntegerLayer:
    def each(problems: Iterable[LayerProblem], grid: Grid) -> Iterator[IntegerLayer]:
        return (_by_gptq(damped, grid) for damped in problems)

    return _by_gptq(_damped(problem, grid, each), grid)


def _by_gptq(damped: LayerProblem, grid: Grid) -> IntegerLayer:
    scales = search_scales(damped, grid, Weighting.GRAM)
    integers = gptq(damped, scales, grid)
    # Errors that were passed on may break a bound on pairs: such channels are rounded by themselves.
    integers = np.where(grid.holds(integers)[:, :, None], integers, grid.nearest(damped.weights, scales))
    return IntegerLayer(integers, scales, damped.best_bias(integers * scales[:, :, None]))


def _adaround(problem: LayerProblem, grid: Grid) -> IntegerLayer:
    damped = _damped(problem, grid, _from_one_start_each)
    scales = search_scales(damped, grid, Weighting.GRAM)
    # Descent ends in a minimum near its start: each channel, or all together, takes the best of several.
    shares = SHALLOW_STARTS if problem.weights.shape[2] <= SHALLOW else STARTS
    starts = [(grid.nearest(problem.weights, s), s) for s in (_float32(scales * share) for share in shares)]
    starts.append((gptq(damped, scales, grid), scales))
    best = np.full(scales.shape, np.inf)
    integers = starts[0][0]
    ends = descend_each([(damped, *start) for start in starts], grid)
    for (start, _), (_, found, refitted) in zip(starts, ends, strict=True):
        allowed = grid.holds(start)
        error = grid.together(np.where(allowed, damped.error(found * refitted[:, :, None]), np.inf))
        better = error < best
        best = np.where(better, error, best)
        scales = np.where(better, refitted, scales)
        integers = np.where(better[:, :, None], found, integers)
    if damped.curvature is not None:
        integers, scales = descend_together(damped, integers, scales, grid)
    return IntegerLayer(integers, scales, problem.best_bias(integers * scales[:, :, None]))


def _from_one_start_each(problems: Iterable[LayerProblem], grid: Grid) -> Iterator[IntegerLayer]:
    def start(damped: LayerProblem) -> Descent:
        scales = search_scales(damped, grid, Weighting.GRAM)
        return damped, grid.nearest(damped.weights, scales), scales

    for damped, integers, scales in descend_each(map(start, problems), grid):
        yield IntegerLayer(integers, scales, damped.best_bias(integers * scales[:, :, None]))


def _float32(scales: Float64) -> Float64:
    return scales.astype(np.float32).astype(np.float64)


METHODS: dict[str, Method] = {
    "nearest": Method(_nearest, "the largest weight sets the scale, rounding to nearest", moments=False),
    "mse": Method(_mse, "clips where that makes the weights' squared error least", moments=False),
    "clip": Method(_clip, "clips where that makes the outputs' squared error least; corrects biases"),
    "gptq": Method(_gptq, "GPTQ: later weights make up for the roundings of earlier ones; corrects biases"),
    "adaround": Method(
        _adaround,
        "roundings, scales and biases learned layer by layer, by what errors cost the outputs",
        curvature=True,
    ),
}
