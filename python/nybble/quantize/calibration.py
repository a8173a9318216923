# SPDX-License-Identifier: Apache-2.0
"""From the numbers that an activation takes to the range that its integers cover: one row a method.

Every method takes numbers as they come and keeps a few of them or a histogram of integers, never the numbers: its
memory does not grow with the samples. Counts and extremes do not depend on the order of samples, nor on how many
come at a time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..graph import Array
from ..ops import exact
from .parameters import Range, activation_parameters

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

#: Bins of a histogram on each side of zero.
BINS = 2048
#: Numbers that are counted at a time.
_AT_ONCE = 1 << 16


class Calibration(ABC):
    """Watches one activation. options: what the recipe says about the method (percentile)."""

    def __init__(self, percentile: float = 99.99) -> None:
        self.percentile = percentile

    @abstractmethod
    def update(self, array: Array) -> None:
        """Take finite float32 numbers [samples, ...]."""

    @abstractmethod
    def range(self, bits: int, symmetric: bool = False) -> Range:
        """The range for integers of ``bits`` bits; symmetric: around a zero point of 0."""


class MinMax(Calibration):
    """The smallest and the largest number: nothing is clipped, and one outlier costs everyone precision."""

    def __init__(self, percentile: float = 99.99) -> None:
        super().__init__(percentile)
        self.seen: Range | None = None

    def update(self, array: Array) -> None:
        if array.size:
            seen = Range(float(array.min()), float(array.max()))
            self.seen = seen if self.seen is None else self.seen.union(seen)

    def range(self, bits: int, symmetric: bool = False) -> Range:
        return Range(0.0, 0.0) if self.seen is None else self.seen


class MovingAverage(MinMax):
    """The average of the samples' extremes, each sample counting 0.9 times as much as the one after it.

    Source: Jacob et al. 2018, section 3.1 (exponential moving averages), with a decay for some hundred samples;
    the order of samples counts here.
    """

    decay = 0.9

    def update(self, array: Array) -> None:
        if array.size == 0:
            return
        rows = array.reshape(len(array), -1).astype(np.float64)
        for low, high in zip(rows.min(axis=1).tolist(), rows.max(axis=1).tolist(), strict=True):
            old = Range(low, high) if self.seen is None else self.seen
            self.seen = Range(
                old.low + (low - old.low) * (1 - self.decay), old.high + (high - old.high) * (1 - self.decay)
            )


class Histogram(MinMax):
    """Counts of the numbers in bins of a power of two, 2048 on each side of zero.

    Where a number is beyond the last bin the bins become twice as wide, and neighbours are added: the counts are those
    of wide bins from the start.
    """

    def __init__(self, percentile: float = 99.99) -> None:
        super().__init__(percentile)
        self.counts: Int64 = np.zeros(2 * BINS, np.int64)
        self.exponent: int | None = None

    def update(self, array: Array) -> None:
        super().update(array)
        if self.seen is None or array.size == 0:
            return
        largest = max(-self.seen.low, self.seen.high)
        if largest > 0:
            self._widen(math.frexp(largest)[1] - (BINS.bit_length() - 1))
        # Nothing but zeros so far: any width will do, and the smallest can grow.
        exponent = -200 if self.exponent is None else self.exponent
        flat = array.reshape(-1)
        for first in range(0, flat.size, _AT_ONCE):
            part = flat[first : first + _AT_ONCE].astype(np.float64) * math.ldexp(1.0, -exponent)
            bins = np.floor(part, out=part).astype(np.int64) + BINS
            self.counts += np.bincount(bins, minlength=2 * BINS)

    def _widen(self, exponent: int) -> None:
        if self.exponent is None:
            self.exponent = exponent
        while self.exponent < exponent:
            half = self.counts.reshape(BINS, 2).sum(axis=1)
            self.counts = np.zeros(2 * BINS, np.int64)
            self.counts[BINS // 2 : BINS // 2 + BINS] = half
            self.exponent += 1

    def _filled(self) -> tuple[Float64, Int64]:
        """(centres, counts) of the bins that hold numbers."""
        places = np.flatnonzero(self.counts)
        width = math.ldexp(1.0, self.exponent or 0)
        # Most numbers of the bin at zero are zeros.
        centres = np.where(places == BINS, 0.0, (places - BINS + 0.5) * width)
        assert self.seen is not None
        return np.clip(centres, self.seen.low, self.seen.high), self.counts[places]

    def _clip(self, bits: int, symmetric: bool) -> Range:
        """The range of a method; only called where there are numbers other than zero."""
        raise NotImplementedError

    def range(self, bits: int, symmetric: bool = False) -> Range:
        if self.seen is None or self.exponent is None:
            return Range(0.0, 0.0)
        return self._clip(bits, symmetric)


class Percentile(Histogram):
    """Ends beyond which at most 100 - ``percentile`` % of the numbers lie, on either side."""

    def _clip(self, bits: int, symmetric: bool) -> Range:
        assert self.seen is not None
        total = int(self.counts.sum())
        # Parts per million keep the comparison in integers.
        allowed = total * (100_000_000 - round(self.percentile * 1_000_000)) // 100_000_000
        width = math.ldexp(1.0, self.exponent or 0)
        below = np.cumsum(self.counts)
        above = np.cumsum(self.counts[::-1])[::-1]
        low = (int(np.argmax(below > allowed)) - BINS) * width
        high = (int(2 * BINS - np.argmax(above[::-1] > allowed)) - BINS) * width
        return Range(max(low, self.seen.low), min(high, self.seen.high))


#: Ends that are tried, as parts of the largest number, and how often each end is sought while the other stays.
_STEPS = 80
_ROUNDS = 2


class SquaredError(Histogram):
    """The range whose integers have the least squared error over the histogram, zero point and clipping included.

    Each end is sought while the other stays, among 80 parts of its largest number, twice.
    Source: Nagel et al., "A White Paper on Neural Network Quantization", 2021, section 3.1 (MSE range setting).
    """

    def _clip(self, bits: int, symmetric: bool) -> Range:
        assert self.seen is not None
        values, counts = self._filled()
        low, high = min(self.seen.low, 0.0), max(self.seen.high, 0.0)
        parts = np.arange(1, _STEPS + 1) / _STEPS
        best = Range(low, high)
        if symmetric:
            return self._least([Range(low * p, high * p) for p in parts.tolist()], values, counts, bits, True)
        for _ in range(_ROUNDS):
            if high > 0:
                best = self._least(
                    [Range(best.low, high * p) for p in parts.tolist()], values, counts, bits, False
                )
            if low < 0:
                best = self._least(
                    [Range(low * p, best.high) for p in parts.tolist()], values, counts, bits, False
                )
        return best

    def _least(self, tried: list[Range], values: Float64, counts: Int64, bits: int, symmetric: bool) -> Range:
        """The widest of the ranges whose error is least."""
        parameters = [activation_parameters(r, bits, symmetric) for r in tried]
        scales = np.array([q.single_scale for q in parameters])[:, None]
        zero_points = np.array([q.single_zero_point for q in parameters])[:, None]
        half = 1 << (bits - 1)
        steps = np.clip(np.floor(values / scales + 0.5) + zero_points, -half, half - 1) - zero_points
        errors = exact.exact_sum(counts * (values - steps * scales) ** 2, (1,))[:, 0]
        return tried[int(np.flatnonzero(errors == errors.min())[-1])]


class Entropy(Histogram):
    """The clipping of magnitudes that loses least information: the divergence of Kullback and Leibler between the
    clipped distribution and its ``2^bits`` levels is least.

    Source: Migacz, "8-bit Inference with TensorRT", GTC 2017. Numbers of both signs share the levels.
    """

    #: Bins between two ends that are tried.
    step = 16

    def _clip(self, bits: int, symmetric: bool) -> Range:
        assert self.seen is not None
        folded = self.counts[BINS:] + self.counts[:BINS][::-1]
        # Zeros, exact after a rectifier, are exact in integers too and say nothing about the end.
        folded[0] = 0
        levels = (1 << (bits - 1)) if self.seen.low < 0 or symmetric else (1 << bits) - 1
        last = int(np.flatnonzero(folded)[-1]) + 1 if folded.any() else 1
        ends = [*range(max(levels, self.step), last, self.step), last]
        found = [self._divergence(folded, end, levels) for end in ends]
        least = min(found)
        end = max(e for e, d in zip(ends, found, strict=True) if d == least)
        limit = end * math.ldexp(1.0, self.exponent or 0)
        return Range(max(-limit, self.seen.low), min(limit, self.seen.high))

    @staticmethod
    def _divergence(counts: Int64, end: int, levels: int) -> float:
        clipped = counts[:end].copy()
        clipped[-1] += counts[end:].sum()
        level = np.minimum(np.arange(end) * levels // end, levels - 1)
        full = counts[:end] > 0
        totals = np.bincount(level, counts[:end], levels)
        spread = np.bincount(level, full, levels)
        q = np.where(full, (totals / np.maximum(spread, 1))[level], 0)
        total = float(counts[:end].sum())
        if total == 0:
            return math.inf
        p, q = clipped / clipped.sum(), q / total
        kept = (p > 0) & (q > 0)
        # What only the clipped distribution has costs as if it were spread thinly.
        missing = (p > 0) & (q == 0)
        terms = np.concatenate(
            [p[kept] * exact.log(p[kept] / q[kept]), p[missing] * exact.log(p[missing] * 1e9)]
        )
        return float(exact.exact_sum(terms, (0,))[0]) if terms.size else math.inf


CALIBRATIONS: Mapping[str, type[Calibration]] = {
    "minmax": MinMax,
    "average": MovingAverage,
    "percentile": Percentile,
    "mse": SquaredError,
    "entropy": Entropy,
}
