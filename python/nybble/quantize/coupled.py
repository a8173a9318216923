# SPDX-License-Identifier: Apache-2.0
"""Channels that make up for each other's errors: coordinate descent on what a layer's error costs the outputs.

With the channels' errors e_o = s_o q_o - t_o (t the wanted weights, H t = c) and the curvature F (curvature.py) the
outputs lose

    sum over channels o and p of F_op e_o' H e_p,

Fisher's information in Kronecker factors, as adaptive rounding takes it in Tseng et al., "Model-Preserving Adaptive
Rounding", 2025. Without F's other elements than the diagonal it is the sum of the channels' own errors, where descent
(adaround.py) has left it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .layer import Float64, Grid, LayerProblem, weights_times

Int64 = npt.NDArray[np.int64]

#: Share of the mean of F's diagonal that is added to it: what channels are worth alone.
_OWN = 0.1
#: Sweeps over all weights of a layer at most.
SWEEPS = 10


def descend_together(
    problem: LayerProblem, integers: Float64, scales: Float64, grid: Grid, sweeps: int = SWEEPS
) -> tuple[Float64, Float64]:
    """(integers [1, o, k], scales [1, o]) that cost the outputs no more than those given.

    problem: of one group, with a curvature, damped.
    """
    assert problem.curvature is not None
    gram, q, s = problem.gram[0], integers[0].copy(), scales[0].copy()
    outputs, depth = q.shape
    diagonal = np.einsum("kk->k", gram)
    curvature = problem.curvature + _OWN * np.einsum("oo->", problem.curvature) / outputs * np.eye(outputs)
    own = np.einsum("oo->o", curvature).copy()
    if not own.any():  # the outputs do not depend on the layer: nothing costs anything
        return integers, scales
    factors = grid.factors(integers.shape)
    product = weights_times(q[None], problem.gram)[0]
    slope = np.zeros_like(q)  # half the derivative by the real weights: F (s q H - c)
    apart = s[:, None] * product - problem.cross[0]
    for o in range(outputs):
        slope += curvature[:, o, None] * apart[o]
    for _ in range(sweeps):
        changed = False
        for k in range(depth):
            if diagonal[k] <= 0:
                continue
            best = q[:, k] - slope[:, k] / (own * diagonal[k] * s)
            new = grid.rounded(best, None if factors is None else factors[0, :, k])
            if grid.pair_sum is not None:
                partner = k ^ 1
                left = grid.pair_sum - (np.abs(q[:, partner]) if partner < depth else 0.0)
                new = np.clip(new, -left, left)
            moved = (new != q[:, k]).nonzero()[0]
            if len(moved):
                by = (new[moved] - q[moved, k]) * s[moved]
                moved, by = _accepted(moved, by, slope[moved, k], curvature, diagonal[k])
            if not len(moved):
                continue
            changed = True
            product[moved] += (new[moved] - q[moved, k])[:, None] * gram[k]
            q[moved, k] = new[moved]
            slope += (curvature[:, moved] * by).sum(axis=1)[:, None] * gram[k]
        if not changed:
            break
        (_refit_shared if grid.shared else _refit)(q, s, product, slope, curvature)
    return q[None], s[None]


def _accepted(
    moved: Int64, by: Float64, slope: Float64, curvature: Float64, strength: float
) -> tuple[Int64, Float64]:
    """(channels that move a weight of this k, by what): all that would alone, or the best of them where together they
    lose.
    """
    own = curvature[moved, moved]
    gains = -(2 * slope + own * strength * by) * by
    keep = gains > 0
    moved, by, slope, gains = moved[keep], by[keep], slope[keep], gains[keep]
    if len(moved) > 1:
        mutual = (curvature[moved[:, None], moved] * by).sum(axis=1)
        if float(((2 * slope + strength * mutual) * by).sum()) >= 0:
            best = int(gains.argmax())
            return moved[best : best + 1], by[best : best + 1]
    return moved, by


def _refit(q: Float64, s: Float64, product: Float64, slope: Float64, curvature: Float64) -> None:
    """Channel by channel the scale of the least cost for these integers, in float32; s and slope change."""
    for o in range(len(q)):
        below = float((product[o] * q[o]).sum())
        if below <= 0:
            continue
        found = float(np.float32(s[o] - float((q[o] * slope[o]).sum()) / (curvature[o, o] * below)))
        if found > 0 and found != s[o]:
            slope += curvature[:, o, None] * ((found - s[o]) * product[o])
            s[o] = found


def _refit_shared(q: Float64, s: Float64, product: Float64, slope: Float64, curvature: Float64) -> None:
    """_refit of one scale for all channels."""
    strength = np.zeros_like(q)  # half the second derivative by the scale: sum of q * (F q H)
    for o in range(len(q)):
        strength += curvature[:, o, None] * product[o]
    below = float((q * strength).sum())
    if below <= 0:
        return
    found = float(np.float32(s[0] - float((q * slope).sum()) / below))
    if found > 0:
        slope += (found - s[0]) * strength
        s[:] = found
