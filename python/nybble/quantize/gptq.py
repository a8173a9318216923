# SPDX-License-Identifier: Apache-2.0
"""GPTQ: weights are rounded one after another, and those that are left make up for each error.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022:
with the Hessian H of the layer's error, rounding w_k by e changes the best remaining weights by
-e * inv(H)[k, rest] / inv(H)[k, k]. Weights whose inputs are strongest go first (activation order), and H's
diagonal is damped. The layer's wanted outputs replace the weights by the damped solution of H t = c.
"""

from __future__ import annotations

import numpy as np

from .layer import Float64, Grid, LayerProblem


def inverse(gram: Float64) -> Float64:
    """inv(gram) [g, k, k] of positive definite matrices, by elimination in a fixed order."""
    a = gram.copy()
    for k in range(a.shape[1]):
        # Sweep operator: after all k, a is the negative of the inverse (Goodnight 1979).
        pivot = a[:, k, k].copy()
        row = a[:, k] / pivot[:, None]
        a -= a[:, :, k, None] * row[:, None]
        a[:, k] = row
        a[:, :, k] = row
        a[:, k, k] = -1.0 / pivot
    return -a


def gptq(problem: LayerProblem, scales: Float64, grid: Grid) -> Float64:
    """Integers [g, o, k]; the problem must be damped."""
    gram = problem.gram
    groups, _, depth = problem.weights.shape
    order = np.argsort(-np.einsum("gkk->gk", gram), axis=1, kind="stable")
    taken = np.arange(groups)
    inv = inverse(gram)
    target = np.zeros_like(problem.weights)
    for k in range(depth):
        target += problem.cross[:, :, k, None] * inv[:, None, k]
    q = np.zeros_like(problem.weights)
    factors = grid.factors(q.shape)
    for k in order.T:
        pivot = inv[taken, k, k]
        wanted = target[taken, :, k]
        q[taken, :, k] = grid.rounded(wanted / scales, None if factors is None else factors[taken, :, k])
        error = (wanted - q[taken, :, k] * scales) / pivot[:, None]
        row = inv[taken, k].copy()
        target -= error[:, :, None] * row[:, None]
        inv -= row[:, :, None] * (row / pivot[:, None])[:, None]
    return q
