# SPDX-License-Identifier: Apache-2.0
"""One layer's weights as a least-squares problem in integers.

For every output channel, with x the layer's input in the integer network (real numbers on its grid) and y
the sum before the activation that is wanted, the methods choose a scale s and integers q so that

    sum over samples and positions of (y - b - sum_k s q_k x_k)^2

is small. The bias b is free, hence only centred moments count: H = E[x x'] - E[x]E[x]' (the Gram matrix) and
c = E[x y] - E[x]E[y]; up to a constant the error is  s^2 q'Hq - 2 s q'c.  Moments are exact integer sums
(products of integers below 2^53 in float64), so they do not depend on the order in which BLAS adds, and
everything after them is elementwise float64 in a fixed order: equal inputs give equal bytes everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .. import ops
from ..graph import Array, Operator, ScaleGroups

Float64 = npt.NDArray[np.float64]

#: Wanted sums are taken in steps of their largest magnitude over this: 2^20 * 2^8 * 2^24 positions stay exact.
_FIXED_STEPS = float(1 << 20)
#: Bytes of weights whose groups are multiplied at a time: what is added to over and over stays near the core.
_CACHED = 1 << 18


def by_group(weights: Array, op: Operator) -> Float64:
    """Weights as [groups, outputs of a group, k], k counted as the rows of ``input_rows``."""
    if isinstance(op, ops.DepthwiseConv2d):
        return np.ascontiguousarray(weights.reshape(-1, weights.shape[3]).T[:, None], np.float64)
    groups = op.groups if isinstance(op, ops.Conv2d) else 1
    return weights.reshape(groups, weights.shape[0] // groups, -1).astype(np.float64)


def as_weights(values: Array, op: Operator, shape: tuple[int, ...]) -> Array:
    """The inverse of ``by_group``."""
    if isinstance(op, ops.DepthwiseConv2d):
        values = values[:, 0].T
    return np.ascontiguousarray(values.reshape(shape))


def input_rows(op: Operator, x: Array, depth: int) -> Array:
    """[groups, positions, k] of a layer's input [N, ...], zero where it is padded; ``depth``: k of its weights."""
    if isinstance(op, ops.FullyConnected):
        return x.reshape(1, -1, depth)
    assert isinstance(op, ops.Conv2d | ops.DepthwiseConv2d)
    taps = [tap for _, _, tap in op.window.taps(x, 0)]
    if isinstance(op, ops.DepthwiseConv2d):
        stacked = np.stack([t.transpose(3, 0, 1, 2) for t in taps], axis=-1)
        return stacked.reshape(x.shape[3], -1, len(taps))
    groups = op.groups
    per_group = x.shape[3] // groups
    if len(taps) == 1 and groups == 1:
        return np.ascontiguousarray(taps[0]).reshape(1, -1, per_group)
    shaped = [t.reshape(*t.shape[:3], groups, per_group) for t in taps]
    return np.stack(shaped, axis=-2).transpose(3, 0, 1, 2, 4, 5).reshape(groups, -1, len(taps) * per_group)


def by_position(y: Array, groups: int) -> Array:
    """Sums [N, ..., outputs] as [groups, positions, outputs of a group]."""
    return y.reshape(-1, groups, y.shape[-1] // groups).transpose(1, 0, 2)


@dataclass(frozen=True)
class Grid:
    """The integers that weights may take: low to high; pair_sum: what the magnitudes of weights 2i and 2i + 1 of a
    channel may reach together (255 times it fits int16), None for anything. groups, scales [g, o]:
    where runs of k have factors, these and the channels' scales, chosen before (group_weights.py); what methods call
    integers are then multiples of the factors. shared: all channels have one scale.
    """

    low: int
    high: int
    pair_sum: int | None = None
    groups: ScaleGroups | None = None
    scales: Float64 | None = None
    shared: bool = False

    def together(self, values: Float64) -> Float64:
        """What a channel's scale is chosen by: values [g, o] of each channel, or their sum where all share one."""
        return np.full_like(values, values.sum()) if self.shared else values

    def holds(self, integers: Float64) -> npt.NDArray[np.bool_]:
        """[g, o]: whether a channel's integers [g, o, k] keep pair_sum."""
        if self.pair_sum is None:
            return np.ones(integers.shape[:2], np.bool_)
        magnitudes = np.abs(integers)
        even, odd = magnitudes[:, :, ::2].copy(), magnitudes[:, :, 1::2]
        even[:, :, : odd.shape[2]] += odd
        return np.asarray(even.max(axis=2, initial=0.0) <= self.pair_sum)

    def nearest(self, weights: Float64, scales: Float64) -> Float64:
        """Integers [g, o, k] nearest to weights / scales, ties up; pair_sum is not looked after."""
        return self.rounded(weights / scales[:, :, None], self.factors(weights.shape))

    def factors(self, shape: tuple[int, ...]) -> Float64 | None:
        """Of every weight [g, o, k]; None without groups."""
        if self.groups is None:
            return None
        return self.groups.along(shape[2]).reshape(shape).astype(np.float64)

    def rounded(self, steps: Float64, factors: Float64 | None) -> Float64:
        """The nearest integers, or multiples of these factors, ties up."""
        nearest = np.floor((steps if factors is None else steps / factors) + 0.5)
        # np.clip costs several times as much for the few numbers of a step of descent.
        nearest = np.minimum(np.maximum(nearest, self.low), self.high)
        return np.asarray(nearest if factors is None else nearest * factors)


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """What a method chose: integers [g, o, k], their scales [g, o], the real bias [g, o], factors along k if any."""

    integers: Float64 | npt.NDArray[np.int8]
    scales: Float64
    bias: Float64
    groups: ScaleGroups | None = None


@dataclass(frozen=True, eq=False)
class LayerProblem:
    """weights [g, o, k]: the float ones. gram [g, k, k], cross [g, o, k]: H and c of the module's text.

    input_mean [g, k], wanted_mean [g, o]: for the bias. bias [g, o]: the float one. count: positions of all samples.
    folds: the problems of parts of the samples, none where there is but one sample. curvature [o, o]: what errors of
    two channels cost together (curvature.py), of layers of one group where it is known.
    """

    weights: Float64
    gram: Float64
    cross: Float64
    input_mean: Float64
    wanted_mean: Float64
    bias: Float64
    count: int = 0
    folds: tuple[LayerProblem, ...] = ()
    curvature: Float64 | None = None

    @staticmethod
    def of_weights(weights: Float64, bias: Float64) -> LayerProblem:
        """The problem of a layer of which no moments are known, for methods that look at weights alone."""
        groups, outputs, depth = weights.shape
        nothing = np.zeros((groups, 0, 0))
        means = np.zeros((groups, depth)), np.zeros((groups, outputs))
        return LayerProblem(weights, nothing, nothing, *means, bias)

    def damped(self, share: float, scarcity: float = 0.0) -> LayerProblem:
        """With a share of the mean of H's diagonal added to it, which holds the weights near the float ones.

        The fewer positions there are for each of a channel's weights, the less they say of other samples: ``scarcity``
        times weights over positions joins ``share``.
        """
        k = self.gram.shape[1]
        share += scarcity * k / max(self.count, 1)
        diagonal = np.einsum("gkk->gk", self.gram)
        added = share * diagonal.sum(axis=1) / k
        added = np.where(added > 0, added, 1.0)
        gram = self.gram + added[:, None, None] * np.eye(k)
        cross = self.cross + added[:, None, None] * self.weights
        return replace(self, gram=gram, cross=cross)

    def eased(self, share: float) -> LayerProblem:
        """Making up for ``share`` of what the layers before lost: what is wanted lies between what the float weights
        give on these inputs (0) and the float network's sums (1). The bias makes up for all of it.
        """
        if share == 1:
            return self
        own = weights_times(self.weights, self.gram)
        folds = tuple(fold.eased(share) for fold in self.folds)
        return replace(self, cross=own + share * (self.cross - own), folds=folds)

    def error(self, weights: Float64) -> Float64:
        """[g, o]: the error of real weights [g, o, k], up to a constant of the channel."""
        return np.asarray(((weights_times(weights, self.gram) - 2 * self.cross) * weights).sum(axis=2))

    def error_with(self, weights: Float64, bias: Float64) -> Float64:
        """[g, o]: the error of real weights [g, o, k] with this bias [g, o], up to the same constants."""
        return self.error(weights) + (self.best_bias(weights) - bias) ** 2

    def best_bias(self, weights: Float64) -> Float64:
        """[g, o]: the bias with which the mean of the outputs is the wanted one (bias correction)."""
        return np.asarray(self.wanted_mean - (weights * self.input_mean[:, None]).sum(axis=2))


def weights_times(weights: Float64, gram: Float64) -> Float64:
    """weights [g, o, k] times gram [g, k, k], added in the order of k."""
    result = np.zeros_like(weights)
    step = max(1, _CACHED // max(1, result[:1].nbytes))
    for first in range(0, len(result), step):
        w, h, sums = (a[first : first + step] for a in (weights, gram, result))
        for k in range(gram.shape[1]):
            sums += w[:, :, k, None] * h[:, None, k]
    return result


class Moments:
    """Sums for a LayerProblem, added piece by piece: exact, in any order."""

    def __init__(self, groups: int, outputs: int, depth: int, wanted_step: float) -> None:
        self.gram = np.zeros((groups, depth, depth))
        self.cross = np.zeros((groups, outputs, depth))
        self.inputs = np.zeros((groups, depth))
        self.wanted = np.zeros((groups, outputs))
        self.count = 0
        self.step = wanted_step

    def add(self, rows: Float64, wanted: Float64) -> None:
        """rows [g, positions, k]: integers, zero point subtracted; wanted [g, positions, o]: real."""
        fixed = np.floor(wanted / self.step + 0.5)
        self.gram += rows.transpose(0, 2, 1) @ rows
        self.cross += fixed.transpose(0, 2, 1) @ rows
        self.inputs += rows.sum(axis=1)
        self.wanted += fixed.sum(axis=1)
        self.count += rows.shape[1]

    def join(self, other: Moments) -> None:
        """Add the sums of other positions, taken in the same step."""
        self.gram += other.gram
        self.cross += other.cross
        self.inputs += other.inputs
        self.wanted += other.wanted
        self.count += other.count

    def problem(self, weights: Float64, bias: Float64, input_scale: float) -> LayerProblem:
        """The problem of weights [g, o, k] and bias [g, o]."""
        n, s, t = float(self.count), input_scale, self.step
        mean, wanted = self.inputs / n, self.wanted / n
        gram = (self.gram / n - mean[:, :, None] * mean[:, None]) * (s * s)
        cross = (self.cross / n - wanted[:, :, None] * mean[:, None]) * (s * t)
        return LayerProblem(weights, gram, cross, mean * s, wanted * t, bias, self.count)


def wanted_step(wanted: Array) -> float:
    """The step in which ``Moments`` takes sums of at most these magnitudes."""
    largest = float(np.abs(wanted).max(initial=0.0))
    return largest / _FIXED_STEPS if largest else 1.0
