# SPDX-License-Identifier: Apache-2.0
"""The range of every activation of a float graph, over samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..graph import Array, DType, Graph, QuantizationError, evaluate_batches


class Range(NamedTuple):
    """The smallest and the largest number seen."""

    low: float
    high: float

    def union(self, other: Range) -> Range:
        """The range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


def range_of(array: Array) -> Range:
    """The range of an array's elements."""
    return Range(float(array.min()), float(array.max()))


def observe(graph: Graph, samples: Sequence[Array]) -> dict[str, Range]:
    """Minimum and maximum of every float32 tensor that is computed, inputs included, by name.

    samples: per input an array [N, *shape]. The activations of some samples are held at a time
    (evaluate_batches).

    Raises QuantizationError where a tensor becomes infinite or not a number.
    """
    ranges: dict[str, Range] = {}
    for values in evaluate_batches(graph, samples):
        for name, array in values.items():
            if graph.tensors[name].dtype is not DType.FLOAT32:
                continue
            if not np.all(np.isfinite(array)):
                raise QuantizationError(f"{graph.name}: {name!r} is not finite on one of the samples")
            seen = range_of(array)
            ranges[name] = ranges[name].union(seen) if name in ranges else seen
    return ranges
