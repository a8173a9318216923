# SPDX-License-Identifier: Apache-2.0
"""What errors of channels cost the outputs: gradients against differences, and descent on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_methods import GRIDS, any_grid, images, random_problem, small_network

from nybble import ops
from nybble.graph import Node, constant, evaluate_batches
from nybble.ops import Activation
from nybble.quantize.adaround import descend
from nybble.quantize.clip import Weighting, search_scales
from nybble.quantize.coupled import descend_together
from nybble.quantize.curvature import backward, curvatures, reachable
from nybble.quantize.layer import Grid, LayerProblem


@pytest.mark.parametrize("activation", [Activation.NONE, Activation.RELU])
def test_gradients_are_the_limits_of_differences(activation: Activation) -> None:
    """Moving a layer's bias moves the outputs by the sum of its gradients."""
    graph, samples = small_network(3, activation), images(6)
    (values,) = evaluate_batches(graph, [samples])
    start = np.random.default_rng(1).normal(size=values["y"].shape).astype(np.float32)
    found = {
        node.outputs[0]: gradient
        for node, gradient in backward(graph, values, {"y": start}, reachable(graph, {"y"}))
    }
    # The products of the layers are rounded to 2^-22 of their largest, and relu bends within the step here and there.
    step = 2.0**-6 if activation is Activation.NONE else 2.0**-9
    for output, bias in (("a", "b1"), ("b", "b2"), ("c", "b3")):
        data = graph.tensors[bias].data
        assert data is not None
        for channel in range(0, 8, 3):
            moved = data.copy()
            moved[channel] += np.float32(step)
            other = graph.rebuilt(graph.nodes, dict(graph.tensors) | {bias: constant(bias, moved)})
            (after,) = evaluate_batches(other, [samples])
            change = ((after["y"] - values["y"]) * start).sum(axis=(1, 2)) / step
            gradient = found[output][..., channel].reshape(len(samples), -1).sum(axis=1)
            assert np.allclose(change, gradient, rtol=0.05, atol=0.02), (output, channel)


def test_layers_before_an_operator_without_a_gradient_have_no_curvature() -> None:
    graph = small_network()
    assert curvatures(graph, [images()]).keys() == {"a", "c", "y"}
    nodes = list(graph.nodes)
    nodes[3] = Node(ops.Maximum(), nodes[3].inputs, nodes[3].outputs, "largest")
    assert curvatures(graph.rebuilt(nodes), [images()]).keys() == {"y"}


def test_curvature_is_symmetric_and_has_no_negative_cost() -> None:
    for found in curvatures(small_network(), [images()]).values():
        assert np.array_equal(found, found.T)
        assert np.linalg.eigvalsh(found).min() >= -1e-6 * np.trace(found)


def curved(seed: int, outputs: int = 6) -> LayerProblem:
    """A damped problem whose channels cost together what a few directions see."""
    factor = np.random.default_rng(seed).normal(size=(outputs, 2))
    return replace(random_problem(seed, 1, outputs, 8).damped(0.01), curvature=factor @ factor.T)


def cost(problem: LayerProblem, integers: np.ndarray, scales: np.ndarray) -> float:
    """F_op e_o' H e_p up to a constant, with the share of the diagonal that descent adds."""
    f = problem.curvature
    assert f is not None
    f = f + 0.1 * np.trace(f) / len(f) * np.eye(len(f))
    w = (integers * scales[:, :, None])[0]
    cross = w @ problem.cross[0].T
    return float((f * (w @ problem.gram[0] @ w.T - cross - cross.T)).sum())


@given(st.integers(0, 10**6), any_grid)
@settings(max_examples=60, deadline=None)
def test_channels_together_cost_no_more(seed: int, grid: Grid) -> None:
    problem = curved(seed)
    scales = search_scales(problem, grid, Weighting.GRAM)
    start, s = descend(problem, grid.nearest(problem.weights, scales), scales, grid)
    integers, learned = descend_together(problem, start, s, grid)
    before, after = cost(problem, start, s), cost(problem, integers, learned)
    assert after <= before + 1e-9 * abs(before)
    assert integers.min() >= grid.low
    assert integers.max() <= grid.high
    assert np.array_equal(integers, np.rint(integers))
    assert np.array_equal(learned, learned.astype(np.float32))
    assert grid.holds(integers)[grid.holds(start)].all()
    assert not grid.shared or len(np.unique(learned)) == 1


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_shared_scale_ends_where_its_cost_is_least(seed: int) -> None:
    problem, grid = curved(seed), replace(GRIDS[4], shared=True)
    scales = search_scales(problem, grid, Weighting.GRAM)
    q, s = descend_together(problem, grid.nearest(problem.weights, scales), scales, grid, sweeps=50)
    costs = [cost(problem, q, s * factor) for factor in (0.999, 1, 1.001)]
    assert min(costs) == costs[1]


def test_channels_make_up_for_each_other() -> None:
    gained = []
    for seed in range(10):
        problem = curved(seed)
        scales = search_scales(problem, GRIDS[2], Weighting.GRAM)
        alone = descend(problem, GRIDS[2].nearest(problem.weights, scales), scales, GRIDS[2])
        together = descend_together(problem, *alone, GRIDS[2])
        # What no weights could lose: those that solve H t = c.
        best = np.linalg.solve(problem.gram[0], problem.cross[0].T).T[None]
        least = cost(problem, best, np.ones((1, 6)))
        gained.append((cost(problem, *together) - least) / (cost(problem, *alone) - least))
    assert np.mean(gained) < 0.7


def test_one_channel_is_left_where_descent_left_it() -> None:
    problem = replace(random_problem(5, 1, 1, 8).damped(0.01), curvature=np.ones((1, 1)))
    scales = search_scales(problem, GRIDS[4], Weighting.GRAM)
    q, s = descend(problem, GRIDS[4].nearest(problem.weights, scales), scales, GRIDS[4])
    together, _ = descend_together(problem, q, s, GRIDS[4])
    assert np.array_equal(together, q)


def test_what_the_outputs_do_not_see_is_left_as_it_is() -> None:
    """Behind weights of zero every error is free, and no division by that is made."""
    problem = replace(curved(1), curvature=np.zeros((6, 6)))
    scales = search_scales(problem, GRIDS[4], Weighting.GRAM)
    start = GRIDS[4].nearest(problem.weights, scales)
    with np.errstate(all="raise"):
        integers, found = descend_together(problem, start, scales, GRIDS[4])
    assert np.array_equal(integers, start)
    assert np.array_equal(found, scales)
