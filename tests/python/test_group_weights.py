# SPDX-License-Identifier: Apache-2.0
"""Factors per group along k: the least error among those that are tried, sums that fit, the same bits everywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx")

from hypothesis import given
from hypothesis import strategies as st
from onnx_networks import Network

import nybble
from nybble.graph import evaluate_outputs
from nybble.quantize.clip import full_scales
from nybble.quantize.group_weights import group_weights
from nybble.quantize.group_weights import grouped as choose_groups
from nybble.quantize.layer import Grid, Moments
from nybble.quantize.methods import METHODS
from nybble.quantize.parameters import TERNARY, WEIGHT_TYPES, Float64, Level
from nybble.quantize.recipe import GROUP_SIZES, Recipe


def drawn_rows(seed: int, channels: int, k: int) -> Float64:
    """Weights with heavy tails, channels of any size."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.standard_t(3, (channels, k)) * rng.lognormal(0, 3, (channels, 1)))


def grid_of(level: Level) -> Grid:
    """The integers of a level."""
    return Grid(-1, 1) if level == TERNARY else Grid(WEIGHT_TYPES[level].lowest, WEIGHT_TYPES[level].highest)


def grouped(rows: Float64, bits: Level, size: int) -> Float64:
    """The real weights that the integers stand for."""
    values, scales, groups = group_weights(rows, grid_of(bits), size, np.ones(rows.shape))
    return np.asarray(scales[:, None] * groups.along(rows.shape[1]) * values)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 300),
    st.sampled_from([8, 4, 2, TERNARY]),
    st.sampled_from(GROUP_SIZES),
)
def test_each_group_loses_no_more_than_rounding_with_its_full_scale(
    seed: int, channels: int, k: int, bits: Level, size: int
) -> None:
    rows = drawn_rows(seed, channels, k)
    errors = np.square(grouped(rows, bits, size) - rows)
    highest = grid_of(bits).high
    finest = np.abs(rows).max(axis=1) / highest / 127
    for start in range(0, k, size):
        part = rows[:, start : start + size]
        step = np.abs(part).max(axis=1) / highest + finest
        bound = part.shape[1] * np.square(step / 2)
        assert (errors[:, start : start + size].sum(axis=1) <= bound * (1 + 1e-6)).all()


@pytest.mark.parametrize("bits", [4, 2, TERNARY])
def test_smaller_groups_lose_less(bits: Level) -> None:
    rows = drawn_rows(1, 64, 576)
    grid = grid_of(bits)
    scales = full_scales(rows[None], grid.high)
    plain = grid.nearest(rows[None], scales)[0] * scales[0][:, None]
    losses = [float(np.square(plain - rows).sum())]
    losses += [float(np.square(grouped(rows, bits, size) - rows).sum()) for size in (128, 64, 32, 16)]
    assert losses == sorted(losses, reverse=True)


def test_2_bits_have_four_levels_on_either_side() -> None:
    for side in (1, -1):
        rows = side * np.array([[-1.0, 2.0, 0.0, 1.0] * 4])
        assert np.abs(grouped(rows, 2, 16) - rows).max() <= 2 / 127


@pytest.mark.parametrize("bits", [8, 4, 2, TERNARY])
def test_the_worst_sums_fit(bits: Level) -> None:
    """All weights and activations as large as they can be, at any depth that int32 holds at all."""
    for k in (1, 100, 4608, 25088):
        rows = np.ones((1, k))
        values, _, groups = group_weights(rows, grid_of(bits), 64, np.ones((1, k)))
        assert 255 * np.abs(values.astype(np.int64) * groups.along(k)).sum() < 1 << 30


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [4, 2, TERNARY])
def test_groups_never_make_a_channel_worse(method: str, bits: Level) -> None:
    rng = np.random.default_rng(5)
    weights, bias = drawn_rows(2, 6, 40).reshape(2, 3, 40), rng.normal(size=(2, 3))
    rows = np.floor(rng.normal(20, 30, (2, 500, 40)))
    moments = Moments(2, 3, 40, 1e-3)
    moments.add(rows, 0.1 * rows @ weights.transpose(0, 2, 1) + bias[:, None])
    problem = moments.problem(weights, bias, 0.1)
    grid = grid_of(bits)
    solve = METHODS[method].solve
    plain, fine = solve(problem, grid), choose_groups(solve, problem, grid, 16)
    assert fine.groups is not None
    assert fine.integers.min() >= grid.low
    assert fine.integers.max() <= grid.high
    assert np.array_equal(fine.integers, np.floor(fine.integers))
    factors = fine.groups.along(40).reshape(weights.shape)
    before, after = (
        problem.error(x.integers * f * x.scales[:, :, None]) for x, f in ((plain, 1), (fine, factors))
    )
    assert (after <= before).all()
    assert after.sum() < before.sum()


def network() -> tuple[bytes, np.ndarray]:
    """Convolutions of several depths, in groups of channels, depthwise, and a fully connected layer."""
    net = Network(3)
    y = net.node("Relu", net.conv(net.input([1, 3, 10, 8]), (12, 3, 3, 3), pads=[1, 1, 1, 1]))
    y = net.node("Relu", net.conv(y, (16, 12, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]))
    y = net.node("Relu", net.conv(y, (16, 1, 3, 3), group=16, pads=[1, 1, 1, 1]))
    y = net.node("Relu", net.conv(y, (18, 8, 3, 3), group=2, pads=[1, 1, 1, 1]))
    y = net.gemm(net.node("Flatten", y), 18 * 5 * 4, 5)
    return net.model(y), np.random.default_rng(4).normal(size=(20, 3, 10, 8)).astype(np.float32)


@pytest.mark.parametrize("recipe", [Recipe(4), Recipe(2), Recipe(TERNARY), Recipe(4, granularity="tensor")])
@pytest.mark.parametrize("size", GROUP_SIZES)
def test_core_equals_meaning(recipe: Recipe, size: int) -> None:
    model, samples = network()
    result = nybble.quantize(model, samples, recipe=replace(recipe, group=size, method="nearest"))
    weights = [result.graph.tensors[node.inputs[1]] for node in result.graph.nodes if len(node.inputs) > 2]
    assert [w.quantized.groups is not None for w in weights] == [True, True, False, True, True]
    random = np.random.default_rng(0)
    cases = [random.integers(-128, 128, (1, 10, 8, 3)).astype(np.int8) for _ in range(4)]
    cases += [np.full((1, 10, 8, 3), value, np.int8) for value in (-128, 127)]
    for cpu in nybble.cpu_levels():
        session = nybble.load(result.model, cpu=cpu)
        session.verify()
        for case in cases:
            (wanted,) = evaluate_outputs(result.graph, [case])
            assert np.array_equal(session.run([case])[0], wanted), cpu


def test_groups_are_nearer_to_float_and_counted_in_the_bytes() -> None:
    model, samples = network()
    plain, fine = (
        nybble.quantize(model, samples, recipe=Recipe(2, group=size, method="nearest")) for size in (None, 16)
    )
    assert fine.comparison.outputs[0].snr_db > plain.comparison.outputs[0].snr_db + 3
    # A byte for each group of a channel, channels in panels of 8: k is 27, 108, 72, 360; the depthwise one has none.
    factors = 16 * 2 + 16 * 7 + 2 * 16 * 5 + 8 * 23
    assert fine.weight_bytes - plain.weight_bytes == factors
    assert fine.model == nybble.quantize(model, samples, recipe=Recipe(2, group=16, method="nearest")).model


@pytest.mark.parametrize("wrong", [0, 8, 24, 256])
def test_other_sizes_are_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"group: expected 16, 32, 64 or 128 k, found {wrong}"):
        Recipe(4, group=wrong)
