# SPDX-License-Identifier: Apache-2.0
"""The knapsack over layers against brute force."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble.quantize.search import Option, pareto_front, spread

OPTIONS = st.lists(st.builds(Option, st.integers(0, 40), st.integers(-5, 30)), min_size=1, max_size=3)
LAYERS = st.lists(OPTIONS, max_size=4)


def brute_force(layers: list[list[Option]]) -> list[tuple[int, int]]:
    """Every (cost, loss) that no selection beats."""
    found: list[tuple[int, int]] = []
    for cost, loss in sorted({(sum(o.cost for o in s), sum(o.loss for o in s)) for s in product(*layers)}):
        if not found or loss < found[-1][1]:
            found.append((cost, loss))
    return found


@given(LAYERS)
def test_front_is_that_of_brute_force(layers: list[list[Option]]) -> None:
    front = pareto_front(layers)
    assert list(zip(front.costs, front.losses, strict=True)) == brute_force(layers)
    for point in range(len(front)):
        taken = [options[i] for options, i in zip(layers, front.choices(point), strict=True)]
        assert sum(o.cost for o in taken) == front.costs[point]
        assert sum(o.loss for o in taken) == front.losses[point]


@given(LAYERS, st.integers(-1, 120))
def test_budget_gets_the_least_loss(layers: list[list[Option]], budget: int) -> None:
    front = pareto_front(layers)
    point = front.within(budget)
    allowed = [loss for cost, loss in brute_force(layers) if cost <= budget]
    if point is None:
        assert not allowed
    else:
        assert front.costs[point] <= budget
        assert front.losses[point] == min(allowed)


@given(LAYERS, st.integers(1, 9))
def test_spread_has_both_ends(layers: list[list[Option]], count: int) -> None:
    front = pareto_front(layers)
    points = spread(front, count)
    assert {0, len(front) - 1} <= set(points)
    assert len(points) <= max(count, 2)


def test_large_networks_are_solved() -> None:
    layers = [[Option(8 * i * b, (i * 7919) % 1009 * (8 - b)) for b in (8, 4, 2)] for i in range(1, 61)]
    front = pareto_front(layers)
    assert len(front) > 500
    assert (front.costs[0], front.costs[-1]) == (8 * 2 * 1830, 8 * 8 * 1830)


def test_first_option_wins_a_tie() -> None:
    assert pareto_front([[Option(1, 1), Option(1, 1)]] * 3).choices(0) == (0, 0, 0)


def test_layer_without_options() -> None:
    with pytest.raises(ValueError, match="layer 1"):
        pareto_front([[Option(1, 1)], []])
