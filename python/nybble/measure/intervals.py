# SPDX-License-Identifier: Apache-2.0
"""How far a count of right samples can be trusted: confidence intervals of shares, and of differences of
two shares that were counted on the same samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: The 0.975 quantile of the normal distribution: intervals hold the true share 95 times of 100.
Z95 = 1.959963984540054


def wilson(right: int, count: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a share, ``right`` of ``count``: (low, high), both in 0..1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927), 209-212. Raises ValueError unless
    0 <= right <= count and count > 0.
    """
    if not 0 <= right <= count or count == 0:
        raise ValueError(f"expected 0 <= right <= count and a count of at least 1, found {right} of {count}")
    share = right / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    # At the ends the score interval is exactly 0 or 1, which the subtraction misses by a rounding.
    low = 0.0 if right == 0 else (centre - half) / scale
    high = 1.0 if right == count else (centre + half) / scale
    return low, high


@dataclass(frozen=True)
class Paired:
    """Two classifiers on the same samples, counted in pairs.

    both: samples that both had right; lost: that only the first had right; gained: only the second;
    neither. low, high: the 95 % interval of ``difference``. p: of McNemar's exact test, how probable
    an imbalance of gained and lost at least as large is where the two are equally good.
    """

    both: int
    lost: int
    gained: int
    neither: int
    low: float
    high: float
    p: float

    @property
    def count(self) -> int:
        """Samples."""
        return self.both + self.lost + self.gained + self.neither

    @property
    def first(self) -> int:
        """Samples that the first had right."""
        return self.both + self.lost

    @property
    def second(self) -> int:
        """Samples that the second had right."""
        return self.both + self.gained

    @property
    def difference(self) -> float:
        """Share of the second minus share of the first: negative where the second is worse."""
        return (self.gained - self.lost) / self.count


def paired(first: npt.ArrayLike, second: npt.ArrayLike, z: float = Z95) -> Paired:
    """Compare what two classifiers had right, bool [N] each, on the same N samples.

    Raises ValueError for other shapes or no samples.
    """
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ValueError(f"expected two arrays [N] of at least one sample, found {a.shape} and {b.shape}")
    return paired_counts(
        int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum()), z
    )


def paired_counts(both: int, lost: int, gained: int, neither: int, z: float = Z95) -> Paired:
    """The same from the four counts of the table of pairs.

    The interval is method 10 of R. G. Newcombe, "Improved confidence intervals for the difference
    between binomial proportions based on paired data", Statistics in Medicine 17 (1998), 2635-2650:
    Wilson's intervals of both shares, squared and added with the correlation of the pairs. It holds
    for few samples and for none lost or gained, where the plain (Wald) interval has no width. The
    test is the exact form of Q. McNemar, Psychometrika 12 (1947), 153-157: binomial on lost and
    gained alone.
    """
    count = both + lost + gained + neither
    first, second = both + lost, both + gained
    (l1, u1), (l2, u2) = wilson(first, count, z), wilson(second, count, z)
    p1, p2 = first / count, second / count
    margins = first * (count - first) * second * (count - second)
    covariance: float = both * neither - lost * gained
    if covariance > 0:
        covariance = max(covariance - count / 2, 0)
    phi = covariance / math.sqrt(margins) if margins else 0.0

    def joined(x: float, y: float) -> float:
        return math.sqrt(max(x * x - 2 * phi * x * y + y * y, 0))

    # Newcombe's difference is first minus second; here a loss is negative.
    low = (p2 - p1) - joined(p2 - l2, u1 - p1)
    high = (p2 - p1) + joined(p1 - l1, u2 - p2)
    return Paired(both, lost, gained, neither, low, high, _mcnemar(lost, gained))


def _mcnemar(lost: int, gained: int) -> float:
    """Two-sided probability under a fair coin of at most min(lost, gained) of lost + gained."""
    tosses = lost + gained
    # In integers, so that thousands of disagreements do not overflow.
    ways = tail = 1
    for k in range(min(lost, gained)):
        ways = ways * (tosses - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << tosses))
