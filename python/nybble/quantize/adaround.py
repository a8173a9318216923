# SPDX-License-Identifier: Apache-2.0
"""Learned rounding, layer by layer, by coordinate descent.

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", 2020, section 3: a layer's
roundings should make its output, not its weights, come out right, which is a quadratic problem in integers.
They relax it and follow gradients; with exact moments (layer.py) coordinate descent solves the same problem
without any: one weight after another takes the integer, not only the two neighbours, that is best while the
others stay, and after each sweep every channel's scale, or that of all, takes its optimum, until nothing changes.
x comes from the integer network. Wanted outputs that are those of the float network on its own inputs make a layer
make up for what the layers before it lost (the asymmetric reconstruction of section 3.4); LayerProblem.eased says for
how much of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from .layer import Float64, Grid, LayerProblem, weights_times

#: Sweeps over all weights of a layer at most; most layers settle sooner.
SWEEPS = 20

#: Bytes of moments that stand side by side in one descent.
_BESIDE = 16 << 20

#: A problem, and the integers [g, o, k] and scales [g, o] where descent starts or ends.
Descent = tuple[LayerProblem, Float64, Float64]


def descend_each(starts: Iterable[Descent], grid: Grid) -> Iterator[Descent]:
    """What descend makes of each start, all of one shape. Several are groups of one descent, which has the same steps in
    fewer calls of numpy: on small layers these cost more than their work.
    """
    rest = iter(starts)
    for first in rest:
        room = _BESIDE // first[0].gram.nbytes if grid.groups is None and not grid.shared else 1
        part = [first, *islice(rest, max(room, 1) - 1)]
        problems, integers, scales = zip(*part, strict=True)
        gram, cross = (np.concatenate([getattr(p, name) for p in problems]) for name in ("gram", "cross"))
        beside = replace(problems[0], gram=gram, cross=cross)  # all that descent reads
        q, s = descend(beside, np.concatenate(integers), np.concatenate(scales), grid)
        yield from zip(problems, np.split(q, len(part)), np.split(s, len(part)), strict=True)


def descend(
    problem: LayerProblem, integers: Float64, scales: Float64, grid: Grid, sweeps: int = SWEEPS
) -> tuple[Float64, Float64]:
    """(integers [g, o, k], scales [g, o]) of no larger error than those given."""
    gram, cross = problem.gram, problem.cross
    diagonal = np.einsum("gkk->gk", gram)
    safe = np.where(diagonal > 0, diagonal, 1.0)
    free = (diagonal > 0).all(axis=0)
    q, s = integers.copy(), scales
    factors = grid.factors(q.shape)
    product = weights_times(q, gram)  # H q
    for _ in range(sweeps):
        changed = False
        wanted = cross / s[:, :, None]
        for k in range(q.shape[2]):
            # The derivative by q_k vanishes at q_k - (s H q - c)_k / (s H_kk).
            best = q[:, :, k] + (wanted[:, :, k] - product[:, :, k]) / safe[:, None, k]
            new = grid.rounded(best, None if factors is None else factors[:, :, k])
            if grid.pair_sum is not None:
                left = _left(q, k, grid.pair_sum)
                new = np.clip(new, -left, left)
            if not free[k]:
                new = np.where(diagonal[:, None, k] > 0, new, q[:, :, k])
            step = new - q[:, :, k]
            moved = step.nonzero()
            if len(moved[0]):
                changed = True
                q[:, :, k] = new
                product[moved] += step[moved][:, None] * gram[moved[0], k]
        before, s = s, refit(problem, q, s, product, grid)
        if not changed and np.array_equal(s, before):
            break
    return q, s


def _left(integers: Float64, k: int, pair_sum: int) -> Float64:
    """What the magnitude of weight k of each channel may be while its partner stays."""
    partner = k ^ 1
    if partner >= integers.shape[2]:
        return np.full(integers.shape[:2], float(pair_sum))
    return np.asarray(pair_sum - np.abs(integers[:, :, partner]))


def refit(problem: LayerProblem, integers: Float64, scales: Float64, product: Float64, grid: Grid) -> Float64:
    """The scale of the least error for these integers: q'c / q'Hq, in float32; the old one where it is not positive.

    product: H q. Of a scale that channels share numerator and denominator are sums over them.
    """
    above = grid.together((integers * problem.cross).sum(axis=2))
    below = grid.together((product * integers).sum(axis=2))
    usable = (above > 0) & (below > 0)
    found = np.where(usable, above / np.where(usable, below, 1.0), scales)
    return np.asarray(found.astype(np.float32), np.float64)
