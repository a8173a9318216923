# SPDX-License-Identifier: Apache-2.0
"""Weights with a factor per group along k: real = scale[channel] * factor[channel, group] * integer.

Scales of their own for short runs of weights lose less than one scale per channel (Dai et al., "VS-Quant: Per-vector
Scaled Quantization for Accurate Low-Precision Neural Network Inference", 2021, which has integer factors too). Here a
factor may be negative as well: it turns the range of the integers, which reaches further below 0, towards the larger
weights, and gives 2 bits four levels instead of three.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..graph import ScaleGroups
from .parameters import WEIGHT_TYPES, Float64

#: Steps that are tried for a group: this many fractions of the one that clips nothing, with both signs.
_FRACTIONS = 32
#: Weights that are searched at a time.
_AT_ONCE = 1 << 17


def _factor_limit(bits: int, k: int) -> int:
    """The largest factor with which k products of any weights and activations stay below 2^30: the other half of the
    accumulator is the bias's.
    """
    return min(max(((1 << 30) - 1) // (255 * k << (bits - 1)), 1), 127)


def _searched(
    weights: Float64, scales: Float64, limit: int, bits: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Integers [size, channels, groups] and factors [channels, groups] of least squared error.

    weights: like the integers; scales: of the channels. Errors are added along the first axis, in this order on every
    machine.
    """
    lowest, highest = WEIGHT_TYPES[bits].lowest, WEIGHT_TYPES[bits].highest
    largest = np.abs(weights).max(axis=0, initial=0.0) / (highest * scales[:, None])
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
            integers = np.clip(np.floor(weights / steps + 0.5), lowest, highest)
            errors = np.square(integers * steps - weights).sum(axis=0)
            better = errors < best
            best = np.where(better, errors, best)
            factors = np.where(better, factor, factors).astype(np.int8)
            values = np.where(better, integers, values).astype(np.int8)
    return values, factors


def group_weights(
    weights: Float64, bits: int, size: int, smallest: Float64
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], ScaleGroups]:
    """Integers [channels, k], scales [channels] and factors for weights [channels, k], k as it is packed.

    bits: 8, 4 or 2. size: k per group. smallest: lower bounds of the scales, for the biases. A
    channel's scale is that with which the largest factor clips nothing; each group then takes the factor and the
    integers of least squared error.
    """
    channels, k = weights.shape
    groups = -(-k // size)
    limit = _factor_limit(bits, k)
    scales = np.abs(weights).max(axis=1, initial=0.0) / (WEIGHT_TYPES[bits].highest * limit)
    scales = np.maximum(scales, smallest).astype(np.float32)
    scales[scales == 0] = 1
    padded = np.zeros((channels, groups * size))
    padded[:, :k] = weights
    values = np.empty(padded.shape, np.int8)
    factors = np.empty((channels, groups), np.int8)
    block = max(_AT_ONCE // padded.shape[1], 1)
    for i in range(0, channels, block):
        part = padded[i : i + block].reshape(-1, groups, size).transpose(2, 0, 1)
        steps = scales[i : i + block].astype(np.float64)
        found, factors[i : i + block] = _searched(np.ascontiguousarray(part), steps, limit, bits)
        values[i : i + block] = found.transpose(1, 2, 0).reshape(-1, groups * size)
    return np.ascontiguousarray(values[:, :k]), scales, ScaleGroups(size, factors)
