# SPDX-License-Identifier: Apache-2.0
"""Methods that choose integer weights: never worse than rounding to nearest where they claim so, exact and repeatable."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import DType, Graph, Node, Port, Tensor, constant, evaluate, evaluate_outputs, peak_bytes
from nybble.ops import Activation, Window
from nybble.quantize import Recipe, methods, observe
from nybble.quantize.adaround import descend, descend_each, refit
from nybble.quantize.apply import quantize_graph
from nybble.quantize.clip import Weighting, full_scales, search_scales
from nybble.quantize.gptq import gptq, inverse
from nybble.quantize.group_weights import grouped
from nybble.quantize.layer import Grid, LayerProblem, Moments, as_weights, by_group, input_rows, wanted_step
from nybble.quantize.methods import METHODS
from nybble.quantize.parameters import TERNARY, Level
from nybble.quantize.walk import spread

GRIDS: dict[Level, Grid] = {8: Grid(-127, 127), 4: Grid(-8, 7), 2: Grid(-2, 1), TERNARY: Grid(-1, 1)}
SAFE = Grid(-127, 127, 128)
any_grid = st.builds(replace, st.sampled_from([*GRIDS.values(), SAFE]), shared=st.booleans())


def random_problem(seed: int, groups: int = 2, outputs: int = 3, depth: int = 6) -> LayerProblem:
    """Correlated inputs of different strengths, wanted sums of weights that are a little off."""
    random = np.random.default_rng(seed)
    mix = random.normal(size=(depth, depth)) * np.exp(random.normal(size=depth))
    rows = np.rint(random.normal(size=(groups, 200, depth)) @ mix * 10).clip(-255, 255)
    weights = random.normal(size=(groups, outputs, depth)) * np.exp(random.normal(size=(groups, outputs, 1)))
    wanted = rows @ (weights * random.uniform(0.9, 1.1, weights.shape)).transpose(0, 2, 1) + 3
    moments = Moments(groups, outputs, depth, wanted_step(wanted))
    moments.add(rows, wanted)
    return moments.problem(weights, random.normal(size=(groups, outputs)), 1.0)


def layer_error(problem: LayerProblem, integers: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return problem.error(integers * scales[:, :, None])


@given(st.integers(0, 10**6), any_grid)
@settings(max_examples=60, deadline=None)
def test_no_method_is_worse_than_the_one_that_it_starts_from(seed: int, grid: Grid) -> None:
    grid = replace(grid, pair_sum=None)
    problem = random_problem(seed).damped(0.01)
    tolerance = 1e-9 * np.abs(problem.error(problem.weights)).sum()
    full = full_scales(problem.weights, grid.high, grid.shared)
    scales = search_scales(problem, grid, Weighting.GRAM)

    def against_weights(s: np.ndarray) -> np.ndarray:
        d = grid.nearest(problem.weights, s) * s[:, :, None] - problem.weights
        return grid.together(np.einsum("gok,gkl,gol->go", d, problem.gram, d))

    assert np.all(against_weights(scales) <= against_weights(full) * (1 + 1e-9))
    start = grid.nearest(problem.weights, scales)
    integers, learned = descend(problem, start, scales, grid)
    before, after = (layer_error(problem, q, s) for q, s in ((start, scales), (integers, learned)))
    assert np.all(grid.together(after) <= grid.together(before) + tolerance)
    assert integers.min() >= grid.low
    assert integers.max() <= grid.high
    assert np.array_equal(integers, np.rint(integers))


@given(
    st.integers(0, 10**6),
    st.sampled_from(sorted(METHODS)),
    any_grid,
    st.sampled_from([None, 16, 32]),
    st.integers(1, 4),
    st.integers(1, 40),
)
@settings(max_examples=100, deadline=None)
def test_every_method_keeps_to_the_levels_and_to_one_scale(
    seed: int, method: str, grid: Grid, size: int | None, outputs: int, depth: int
) -> None:
    """Random shapes, one group with a curvature or two without, parts of the samples or none."""
    groups = 1 + seed % 2
    problem = random_problem(seed, groups, outputs, depth)
    if seed % 3:
        folds = tuple(replace(random_problem(seed + i, groups, outputs, depth)) for i in (1, 2))
        problem = replace(problem, folds=folds)
    if groups == 1:
        problem = replace(problem, curvature=np.eye(outputs) + 0.5)
    solve = METHODS[method].solve
    size = None if grid.high == 127 else size
    found = solve(problem, grid) if size is None else grouped(solve, problem, grid, size)
    assert np.isin(found.integers, np.arange(grid.low, grid.high + 1)).all()
    assert grid.holds(found.integers).all()
    assert np.array_equal(found.scales, found.scales.astype(np.float32))
    assert (found.scales > 0).all()
    assert not grid.shared or len(set(found.scales.reshape(-1).tolist())) == 1


@given(st.integers(0, 10**6), st.sampled_from(sorted(GRIDS, key=str)))
@settings(max_examples=30, deadline=None)
def test_a_shared_scale_is_the_best_for_all_channels(seed: int, level: Level) -> None:
    """The least squared error of nearest weights of all candidates; fitted to the outputs, it is where theirs is least,
    and stays where that is not positive.
    """
    grid = replace(GRIDS[level], shared=True)
    problem = random_problem(seed).damped(0.01)
    w = problem.weights

    def lost(scale: float) -> float:
        return float(np.square(np.clip(np.floor(w / scale + 0.5), grid.low, grid.high) * scale - w).sum())

    found = search_scales(problem, grid, Weighting.NONE)
    tried = [float(np.float32(np.abs(w).max() / grid.high) * i / 40) for i in range(8, 41)]
    assert lost(float(found[0, 0])) <= min(map(lost, tried)) * (1 + 1e-5)
    q = grid.nearest(w, found)
    s = refit(problem, q, found, q @ problem.gram, grid)
    errors = [float(layer_error(problem, q, s * factor).sum()) for factor in (0.999, 1, 1.001)]
    if (q * problem.cross).sum() > 0:
        assert min(errors) == errors[1]
    else:
        assert (s == found).all()


def test_ternary_weights_are_found_again() -> None:
    """Sums of ternary weights, one scale for all of them, wanted from float weights that are a little off."""
    random = np.random.default_rng(0)
    exact = random.integers(-1, 2, (1, 6, 20)) * 0.3
    rows = random.integers(-50, 50, (1, 900, 20)).astype(np.float64)
    wanted = rows @ exact.transpose(0, 2, 1)
    moments = Moments(1, 6, 20, wanted_step(wanted))
    moments.add(rows, wanted)
    problem = moments.problem(exact + random.normal(size=exact.shape) * 0.02, np.zeros((1, 6)), 1.0)
    for shared in (False, True):
        solution = METHODS["adaround"].solve(problem, Grid(-1, 1, shared=shared))
        assert np.array_equal(solution.integers, np.rint(exact / 0.3))
        assert np.allclose(solution.scales, 0.3, rtol=5e-2)


@given(st.integers(0, 10**6), any_grid, st.integers(1, 3), st.integers(1, 4), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_descents_beside_each_other_end_where_each_does_alone(
    seed: int, grid: Grid, groups: int, outputs: int, depth: int
) -> None:
    """Bit for bit, wherever they start, also of parts that settle after different numbers of sweeps."""
    starts = []
    for i, share in enumerate((1.0, 0.7, 1.3, 1.0)):
        problem = random_problem(seed + i // 2, groups, outputs, depth).damped(0.01)
        scales = search_scales(problem, grid, Weighting.GRAM) * share
        starts.append((problem, grid.nearest(problem.weights, scales), scales))
    for start, (problem, *found) in zip(starts, descend_each(iter(starts), grid), strict=True):
        assert problem is start[0]
        assert all(map(np.array_equal, found, descend(*start, grid)))


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_coordinate_descent_ends_where_no_single_weight_can_move(seed: int) -> None:
    grid = GRIDS[2]
    problem = random_problem(seed, 1, 2, 4).damped(0.01)
    scales = search_scales(problem, grid, Weighting.GRAM)
    q, s = descend(problem, grid.nearest(problem.weights, scales), scales, grid, sweeps=100)
    found = layer_error(problem, q, s)
    for k, level in product(range(4), range(-2, 2)):
        moved = q.copy()
        moved[:, :, k] = level
        assert np.all(layer_error(problem, moved, s) >= found - 1e-6 * np.abs(found))


def test_two_bits_use_all_four_levels() -> None:
    weights = np.array([[[-2.0, -1.0, 0.0, 1.0]]])
    rows = np.random.default_rng(0).integers(-50, 50, (1, 300, 4)).astype(np.float64)
    moments = Moments(1, 1, 4, wanted_step(rows @ weights.transpose(0, 2, 1)))
    moments.add(rows, rows @ weights.transpose(0, 2, 1))
    solution = METHODS["adaround"].solve(moments.problem(weights, np.zeros((1, 1)), 1.0), GRIDS[2])
    assert solution.integers.tolist() == [[[-2, -1, 0, 1]]]
    assert solution.scales[0, 0] == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("seed", range(4))
def test_pairs_stay_within_their_bound(name: str, seed: int) -> None:
    problem = random_problem(seed, 2, 8, 7)
    integers = METHODS[name].solve(problem, SAFE).integers
    padded = np.zeros((2, 8, 8))
    padded[:, :, :7] = np.abs(integers)
    assert padded.reshape(2, 8, 4, 2).sum(axis=3).max() <= 128


def test_gptq_is_better_than_nearest_on_correlated_inputs() -> None:
    better = []
    for seed in range(20):
        problem = random_problem(seed, 1, 8, 16).damped(0.01)
        scales = search_scales(problem, GRIDS[4], Weighting.GRAM)
        nearest = layer_error(problem, GRIDS[4].nearest(problem.weights, scales), scales)
        better.append((layer_error(problem, gptq(problem, scales, GRIDS[4]), scales) < nearest).mean())
    assert np.mean(better) > 0.7


def test_inverse() -> None:
    gram = random_problem(3, 2, 1, 9).damped(0.01).gram
    assert np.allclose(gram @ inverse(gram), np.eye(9), atol=1e-6)


def test_moments_are_exact_in_any_order() -> None:
    random = np.random.default_rng(0)
    rows = random.integers(-255, 256, (1, 1000, 12)).astype(np.float64)
    wanted = random.normal(size=(1, 1000, 5))
    found = []
    for order in (np.arange(1000), random.permutation(1000)):
        moments = Moments(1, 5, 12, wanted_step(wanted))
        for part in np.array_split(order, 7):
            moments.add(rows[:, part], wanted[:, part])
        found.append(moments)
    assert np.array_equal(found[0].gram, found[1].gram)
    assert np.array_equal(found[0].cross, found[1].cross)


WINDOW = Window((3, 2), (2, 1), (1, 2), ((1, 0), (1, 1)))


@pytest.mark.parametrize(
    "op",
    [
        ops.Conv2d(WINDOW),
        ops.Conv2d(WINDOW, groups=2),
        ops.Conv2d(Window((1, 1))),
        ops.DepthwiseConv2d(WINDOW),
    ],
)
def test_rows_times_weights_are_the_operator(op: ops.Conv2d | ops.DepthwiseConv2d) -> None:
    random = np.random.default_rng(1)
    x = random.integers(-9, 9, (2, 7, 6, 4)).astype(np.float32)
    depthwise = isinstance(op, ops.DepthwiseConv2d)
    shape = (1, *op.window.size, 4) if depthwise else (6, *op.window.size, 4 // getattr(op, "groups", 1))
    weights = random.integers(-9, 9, shape).astype(np.float32)
    shaped = by_group(weights, op)
    assert np.array_equal(as_weights(shaped, op, shape), weights)
    y = input_rows(op, x, shaped.shape[2]) @ shaped.transpose(0, 2, 1)
    wanted = op.real([x, weights])[0]
    assert np.array_equal(y.transpose(1, 0, 2).reshape(wanted.shape), wanted)


def small_network(seed: int = 0, activation: Activation = Activation.RELU) -> Graph:
    """conv, depthwise, 1x1, a sum around it, mean, fully connected."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Tensor] = {}

    def weights(name: str, *shape: int) -> str:
        skewed = random.normal(size=shape) * np.exp(random.normal(size=shape[-1]))
        tensors[name] = constant(name, (skewed / np.sqrt(np.prod(shape[1:]))).astype(np.float32))
        return name

    def values(name: str, *shape: int) -> str:
        tensors[name] = Tensor(name, DType.FLOAT32, shape)
        return name

    same = ((1, 1), (1, 1))
    nodes = (
        Node(
            ops.Conv2d(Window((3, 3), padding=same), activation=activation),
            (values("x", 1, 8, 8, 3), weights("w1", 8, 3, 3, 3), weights("b1", 8)),
            (values("a", 1, 8, 8, 8),),
            "first",
        ),
        Node(
            ops.DepthwiseConv2d(Window((3, 3), padding=same), activation=activation),
            ("a", weights("w2", 1, 3, 3, 8), weights("b2", 8)),
            (values("b", 1, 8, 8, 8),),
            "depthwise",
        ),
        Node(
            ops.Conv2d(Window((1, 1))),
            ("b", weights("w3", 8, 1, 1, 8), weights("b3", 8)),
            (values("c", 1, 8, 8, 8),),
            "pointwise",
        ),
        Node(ops.Add(Activation.RELU), ("c", "b"), (values("d", 1, 8, 8, 8),), "sum"),
        Node(ops.Mean((1, 2), True), ("d",), (values("e", 1, 1, 1, 8),), "mean"),
        Node(ops.Reshape((1, 8)), ("e",), (values("f", 1, 8),), "flat"),
        Node(ops.FullyConnected(), ("f", weights("w4", 5, 8)), (values("y", 1, 5),), "last"),
    )
    return Graph(tensors, nodes, (Port("x", "x", True),), (Port("y", "y", True),), "small")


def images(count: int = 12, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 1, 8, 8, 3)).astype(np.float32)


def quantized(graph: Graph, samples: np.ndarray, recipe: Recipe) -> Graph:
    return quantize_graph(graph, observe(graph, [samples]), recipe, [samples])


def output_error(graph: Graph, integer: Graph, samples: np.ndarray) -> float:
    total = 0.0
    x, y = integer.tensors["x"], integer.tensors["y"]
    for sample in samples:
        steps = np.floor(sample.astype(np.float64) / x.scale + 0.5) + x.zero_point
        found = evaluate_outputs(integer, [np.clip(steps, -128, 127).astype(np.int8)])[0]
        wanted = evaluate_outputs(graph, [sample], real=True)[0]
        total += float(((found.astype(np.float64) - y.zero_point) * y.scale - wanted).var())
    return total


@pytest.mark.parametrize("bits", [4, 2])
def test_learned_roundings_give_better_outputs_on_other_samples(bits: int) -> None:
    errors = {"nearest": 0.0, "clip": 0.0, "adaround": 0.0}
    for seed in range(4):
        graph = small_network(seed)
        for name in errors:
            integer = quantized(graph, images(), Recipe(bits, method=name))
            errors[name] += output_error(graph, integer, images(10, 6))
    assert errors["adaround"] < 0.7 * errors["nearest"]
    assert errors["clip"] < errors["nearest"]


@pytest.mark.parametrize("name", METHODS)
def test_order_of_samples_does_not_matter_to_layers(name: str) -> None:
    graph, samples = small_network(), images()
    found = [
        quantized(graph, s, Recipe(4, method=name)) for s in (samples, samples.copy(), samples[::-1].copy())
    ]
    first = [t.data for t in found[0].tensors.values() if t.data is not None]
    for other in found[1:]:
        data = [t.data for t in other.tensors.values() if t.data is not None]
        assert all(np.array_equal(a, b) for a, b in zip(first, data, strict=True))


def test_biases_make_the_means_right() -> None:
    """In the integer network every layer's outputs have the float network's mean, before the clamp."""
    graph, samples = small_network(1, Activation.NONE), images(20)
    integer = quantized(graph, samples, Recipe(4, method="clip"))
    means: dict[str, list[np.ndarray]] = {}
    x = integer.tensors["x"]
    for sample in samples:
        steps = np.floor(sample.astype(np.float64) / x.scale + 0.5) + x.zero_point
        found = evaluate(integer, [np.clip(steps, -128, 127).astype(np.int8)])
        wanted = evaluate(graph, [sample], real=True)
        for name in "abc":
            t = integer.tensors[name]
            off = (found[name].astype(np.float64) - t.zero_point) - wanted[name] / t.scale
            means.setdefault(name, []).append(off.mean(axis=(0, 1, 2)))
    for offsets in means.values():
        assert np.abs(np.mean(offsets, axis=0)).max() < 0.1


def test_layers_without_samples_are_rounded_to_nearest() -> None:
    graph = small_network()
    ranges = observe(graph, [images()])
    found = quantize_graph(graph, ranges, Recipe(4, method="adaround"))
    wanted = quantize_graph(graph, ranges, Recipe(4, method="nearest"))
    for name, tensor in wanted.tensors.items():
        assert tensor.data is None or np.array_equal(tensor.data, found.tensors[name].data)


def test_as_many_samples_as_memory_holds_are_looked_at() -> None:
    graph, samples = small_network(), images(12)
    (all_of_them,) = spread(graph, [samples])
    assert np.array_equal(all_of_them, samples)
    per_sample = 2 * peak_bytes(graph, [port.tensor for port in graph.outputs])
    (some,) = spread(graph, [samples], 5 * per_sample)
    assert np.array_equal(some, samples[[0, 3, 6, 9]])
    assert np.array_equal(spread(graph, [samples], 0)[0], samples[:1])


def test_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="method: expected one of nearest, mse"):
        Recipe(4, method="magic")
    assert replace(Recipe(4), method="mse").method == "mse"


@pytest.mark.parametrize(
    ("positions", "noise", "least", "most"), [(4000, 0.0, 0.0, 0.01), (4, 20.0, 1.0, 10.0)]
)
def test_damping_is_chosen_on_samples_that_were_not_solved_on(
    positions: int, noise: float, least: float, most: float
) -> None:
    """Many positions are trusted, a few noisy ones are not: the weights then stay near the float ones."""
    random = np.random.default_rng(2)
    weights = random.normal(size=(1, 6, 10))
    true = weights * random.uniform(0.5, 1.5, weights.shape) if not noise else weights
    whole, folds = Moments(1, 6, 10, 1e-3), []
    for _ in range(2):
        fold = Moments(1, 6, 10, 1e-3)
        rows = np.rint(random.normal(size=(1, positions, 10)) * 20)
        fold.add(rows, rows @ true.transpose(0, 2, 1) + noise * random.normal(size=(1, positions, 6)))
        whole.join(fold)
        folds.append(fold.problem(weights, np.zeros((1, 6)), 1.0))
    problem = replace(whole.problem(weights, np.zeros((1, 6)), 1.0), folds=tuple(folds))
    damped = methods._damped(problem, GRIDS[8], methods._from_one_start_each)
    diagonal = np.einsum("gkk->gk", problem.gram)
    share = float((np.einsum("gkk->gk", damped.gram) - diagonal)[0, 0] / diagonal.mean())
    assert 0.99 * least <= share <= 1.01 * most
