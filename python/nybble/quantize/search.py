# SPDX-License-Identifier: Apache-2.0
"""Which level for which layer: the multiple-choice knapsack, solved exactly for every budget at once.

Each layer takes one of its options; costs and losses add up. The states that nothing beats in both are
kept layer by layer (Nemhauser and Ullmann, "Discrete Dynamic Programming and Capital Allocation", 1969;
with classes of options: Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004, chapter 11). Costs
and losses are integers, so the answer is exact and the same everywhere. There are never more states than
different costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


class Option(NamedTuple):
    """What a layer costs and loses at one level."""

    cost: int
    loss: int


@dataclass(frozen=True, eq=False)
class Front:
    """Every selection that no other beats in cost and loss: int64 [points], costs rising, losses falling.

    steps: per layer the (option taken, point of the layer before) of each of its points.
    """

    costs: Int64
    losses: Int64
    steps: tuple[tuple[Int64, Int64], ...]

    def __len__(self) -> int:
        return len(self.costs)

    def choices(self, point: int) -> tuple[int, ...]:
        """The option of each layer at a point."""
        found = []
        for options, before in reversed(self.steps):
            found.append(int(options[point]))
            point = int(before[point])
        return tuple(reversed(found))

    def within(self, budget: int) -> int | None:
        """The point of the least loss whose cost is at most ``budget``; None where there is none."""
        return int(np.searchsorted(self.costs, budget, side="right")) - 1 if budget >= self.costs[0] else None


def pareto_front(layers: Sequence[Sequence[Option]]) -> Front:
    """The exact front of selections of one option per layer; the first option wins a tie.

    Raises ValueError where a layer has no options.
    """
    costs, losses = np.zeros(1, np.int64), np.zeros(1, np.int64)
    steps: list[tuple[Int64, Int64]] = []
    for number, options in enumerate(layers):
        if not options:
            raise ValueError(f"layer {number}: expected at least one option")
        added = np.array(options, np.int64)
        all_costs = (added[:, :1] + costs).reshape(-1)
        all_losses = (added[:, 1:] + losses).reshape(-1)
        order = np.lexsort((all_losses, all_costs))
        falling = all_losses[order]
        least = np.minimum.accumulate(falling)
        keep = order[np.concatenate(([True], falling[1:] < least[:-1]))]
        steps.append((keep // len(costs), keep % len(costs)))
        costs, losses = all_costs[keep], all_losses[keep]
    return Front(costs, losses, tuple(steps))


def spread(front: Front, count: int) -> list[int]:
    """At most ``count`` points of a front, the cheapest and the best among them, evenly spaced in cost."""
    if count < 2 or len(front) <= 2:
        return sorted({0, len(front) - 1})
    wanted = np.linspace(front.costs[0], front.costs[-1], count)
    return sorted({int(np.searchsorted(front.costs, cost, side="right")) - 1 for cost in wanted})
