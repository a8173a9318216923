# SPDX-License-Identifier: Apache-2.0
"""Levels of weights and activations: as words, as recipes, and explored."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_networks import Network

import nybble
from nybble.cli import main
from nybble.graph import Graph, evaluate_outputs
from nybble.importers.onnx import import_onnx
from nybble.measure.explore import Exploration, explore
from nybble.passes import prepare_float
from nybble.quantize import Override, Recipe, read_samples
from nybble.quantize.levels import level_name, parts_of, sorted_levels, with_levels, without_levels
from nybble.quantize.recipe import has_weights
from nybble.quantize.ties import separate_given
from nybble.quantize.widths import separate_widths

LEVELS = ("w8a16", "w8a8", "w4a16", "w4a8")


def network(head: bool = True) -> bytes:
    """Operators that follow layers, a sum, and a name that is a pattern; head: a softmax."""
    net = Network(7)
    y = x = net.node("Relu", net.conv(net.input([1, 3, 6, 6]), (8, 3, 3, 3), pads=[1, 1, 1, 1]))
    net.nodes[0].name = "stem[0]*"
    y = net.node("HardSwish", net.conv(y, (8, 1, 3, 3), group=8, pads=[1, 1, 1, 1]))
    y = net.node("Add", net.conv(y, (8, 8, 1, 1)), x)
    y = net.gemm(net.node("Flatten", net.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])), 72, 5)
    return net.model(net.node("Softmax", y) if head else y)


def samples(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 6, 6)).astype(np.float32)


CALIBRATION = samples(16, 1)
QUICK = Recipe(method="nearest", calibration="minmax")


@cache
def graph() -> Graph:
    return separate_given(prepare_float(import_onnx(network(), name="net")))


def layers() -> dict[str, str]:
    return {node.name: node.outputs[0] for node in graph().nodes if has_weights(node)}


def test_words() -> None:
    assert [parts_of(one) for one in (8, "ternary", "w4a16", "wternarya8")] == [
        (8, None),
        ("ternary", None),
        (4, 16),
        ("ternary", 8),
    ]
    assert sorted_levels((2, "ternary", 8, 8), 8) == (8, 2, "ternary")
    assert sorted_levels(("w4a8", "w8a8", "w4a16", 8), 8) == ("w8a8", "w4a16", "w4a8")
    assert [level_name(one) for one in (4, "w4a16", "wternarya8")] == ["W4", "W4A16", "WternaryA8"]


@pytest.mark.parametrize("wrong", [3, True, "", "8", "w8", "a16", "w3a8", "w8a7", "w8a8x", "W8A8"])
def test_words_that_are_none(wrong: object) -> None:
    with pytest.raises(
        ValueError, match="expected levels of 8, 4, 2, ternary, or of weights and activations"
    ):
        sorted_levels((8, wrong), 8)  # type: ignore[arg-type]


def test_one_level_needs_no_exceptions() -> None:
    base = without_levels(Recipe(first=8, overrides=(Override(weights=2, activations=4),)), ("w8a16",))
    assert base == Recipe(8, 16)
    for activations in (16, 8, 4):
        recipe = with_levels(base, graph(), dict.fromkeys(layers(), f"w4a{activations}"))
        assert recipe == Recipe(4, activations)
    assert with_levels(base, graph(), dict.fromkeys(layers(), 4)) == Recipe(4, 16)


@given(st.lists(st.sampled_from(("w8a16", "w4a16", "w8a8", "w4a8")), min_size=4, max_size=4))
@settings(max_examples=40, deadline=None)
def test_layers_and_what_follows_them_have_their_bits(chosen: list[str]) -> None:
    levels = dict(zip(layers(), chosen, strict=True))
    recipe = Recipe.from_dict(json.loads(json.dumps(with_levels(Recipe(), graph(), levels).to_dict())))
    prepared = separate_widths(graph(), recipe)
    weights, bits = recipe.levels(prepared), recipe.activation_bits(prepared)
    found = {name: f"w{weights[output]}a{bits[output]}" for name, output in layers().items()}
    assert found == levels
    written = {node.op.name: bits[node.outputs[0]] for node in prepared.nodes}
    _, depthwise, pointwise, last = (parts_of(one)[1] for one in chosen)
    stem = parts_of(chosen[0])[1]
    assert written["HardSwish"] == depthwise
    assert written["Softmax"] == last
    assert written["Add"] == written["MaxPool2d"]
    if stem == pointwise:
        assert written["Add"] == stem
    # No more exceptions than operators: patterns of names fit no others.
    assert len(recipe.overrides) <= len(graph().nodes)


@cache
def explored() -> Exploration:
    return explore(network(), CALIBRATION, budget="bytes=80%", levels=LEVELS, candidates=4, recipe=QUICK)


def test_every_level_is_a_candidate_and_every_candidate_is_remade() -> None:
    found = explored()
    names = [c.name for c in found.candidates]
    assert {"W8A16", "W8A8", "W4A16", "W4A8", "W4A16 ends W8A16", "W4A8 ends W8A8"} <= set(names)
    assert len(names) == len(set(names))
    sizes = {}
    for candidate in found.candidates:
        result = nybble.quantize(network(), CALIBRATION, recipe=candidate.recipe)
        assert result.model == candidate.model
        session = nybble.load(candidate.model)
        assert candidate.activation_bytes == session.activation_bytes
        sizes[candidate.name] = session.activation_bytes
    assert sizes["W8A16"] == sizes["W4A16"] > sizes["W8A8"] == sizes["W4A8"]
    mixed = [c for c in found.candidates if len({parts_of(b)[1] for b in c.bits}) > 1]
    assert all(c.name.startswith("mixed") for c in mixed)
    assert "arena" in found.table()
    assert '<th class="n">arena</th>' in found.html()


def test_losses_of_layers_are_those_of_networks_with_the_layer_at_that_level() -> None:
    """Weights rounded to the nearest and whole ranges depend on no samples: a layer alone at a level is a network that
    quantize makes, whose divergence another formula measures.
    """
    model = network(head=False)
    reference = import_onnx(model, name="net")
    x, _ = read_samples(CALIBRATION, reference)
    wanted = np.array([evaluate_outputs(reference, s, real=True)[0] for s in zip(*x, strict=True)])
    wanted = wanted.reshape(len(CALIBRATION), -1).astype(np.float64)
    p = np.exp(wanted) / np.exp(wanted).sum(axis=-1, keepdims=True)
    y = wanted.argmax(axis=1)

    def divergence(recipe: Recipe) -> float:
        content = nybble.quantize(model, CALIBRATION, recipe=recipe).model
        scores = nybble.load(content)(x[0]).reshape(p.shape).astype(np.float64)
        q = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        return float((p * np.log(p / q)).sum(axis=-1).mean())

    found = explore(
        model, CALIBRATION, labels=y, budget="bytes=100%", levels=LEVELS, candidates=2, recipe=QUICK
    )
    prepared = separate_given(prepare_float(reference))
    names = [layer.name for layer in found.layers]
    highest = divergence(Recipe(8, 16, method="nearest", calibration="minmax"))
    assert found.candidates[0].name == "W8A16"
    for layer in found.layers:
        assert layer.loss["w8a16"] == 0
        assert layer.weight_bytes["w8a16"] == layer.weight_bytes["w8a8"] > layer.weight_bytes["w4a16"]
        for level in LEVELS[1:]:
            levels = dict.fromkeys(names, "w8a16") | {layer.name: level}
            alone = divergence(with_levels(QUICK, prepared, levels))
            assert layer.loss[level] == pytest.approx(alone - highest, abs=2e-6)
    assert sum(layer.loss["w8a8"] for layer in found.layers) > 0


def lasting(exploration: Exploration) -> object:
    document = exploration.document()
    for candidate in document["candidates"]:
        del candidate["latency_ns"], candidate["front"]
    return document


def test_processes_and_results_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = explore(
        network(),
        CALIBRATION,
        budget="bytes=80%",
        levels=LEVELS[::-1],
        candidates=4,
        recipe=QUICK,
        jobs=2,
        results=tmp_path,
    )
    assert lasting(again) == lasting(explored())

    def refuse(*_: object) -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr("nybble.measure.workers.try_work", refuse)
    monkeypatch.setattr("nybble.measure.task.observe", refuse)
    resumed = explore(
        network(),
        CALIBRATION,
        budget="bytes=80%",
        levels=LEVELS,
        candidates=4,
        recipe=QUICK,
        results=tmp_path,
    )
    assert resumed.document() == again.document()


def test_command(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(network())
    np.savez(tmp_path / "calib.npz", x=CALIBRATION)
    command = ["explore", str(tmp_path / "net.onnx"), "--data", str(tmp_path / "calib.npz")]
    (tmp_path / "recipe.yaml").write_text("method: nearest\ncalibration: minmax\n")
    command += ["--recipe", str(tmp_path / "recipe.yaml"), "--candidates", "2", "--budget", "latency=1s"]
    result = CliRunner().invoke(main, [*command, "--levels", "w8a8,w4a16"])
    assert result.exit_code == 0, result.output
    assert "W4A16" in result.output
    wrong = CliRunner().invoke(main, [*command, "--levels", "w8a8,w4a5"])
    assert wrong.exit_code == 2
    assert "expected levels of 8, 4, 2, ternary, or of weights and activations" in wrong.output


def test_budget_of_the_arena() -> None:
    found = explore(
        network(), CALIBRATION, budget="arena=80%", levels=("w8a16", "w8a8"), candidates=2, recipe=QUICK
    )
    whole = max(c.activation_bytes for c in found.candidates if c.name == "W8A16")
    assert found.chosen.activation_bytes <= 0.8 * whole < whole
    within = [c for c in found.candidates if c.activation_bytes <= 0.8 * whole]
    assert found.chosen.loss == min(c.loss for c in within)
    assert "arena=" in str(found.budget)


def test_every_budget_holds() -> None:
    several = explore(
        network(), CALIBRATION, budget="bytes=80%,arena=60%", levels=LEVELS, candidates=4, recipe=QUICK
    )
    whole = next(c for c in several.candidates if c.name == "W8A16")
    in_file = [c for c in several.candidates if c.file_bytes <= 0.8 * whole.file_bytes]
    within = [c for c in in_file if c.activation_bytes <= 0.6 * whole.activation_bytes]
    assert several.chosen in within
    assert several.chosen.loss == min(c.loss for c in within)
    assert len(within) < len(in_file)
    with pytest.raises(nybble.QuantizationError, match="no candidate meets the budget points=100,arena=1;"):
        explore(network(), CALIBRATION, budget="points=100,arena=1", levels=(8,), candidates=2, recipe=QUICK)


def test_one_level_goes_before_the_same_network_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations of 4 bits on the layer that writes the scores, which keep 8."""
    same = ("w8a8", "w8a8", "w8a8", "w8a4")
    monkeypatch.setattr(
        "nybble.measure.explore._Search.meet", lambda self, layers, budget: self.measure([same])
    )
    found = explore(
        network(), CALIBRATION, budget="bytes=100%", levels=("w8a8", "w8a4"), candidates=2, recipe=QUICK
    )
    other = next(c for c in found.candidates if c.bits == same)
    assert other.model == found.chosen.model
    assert found.chosen.name == "W8A8"
