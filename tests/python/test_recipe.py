# SPDX-License-Identifier: Apache-2.0
"""The recipe as data: round trips, what overrides reach, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_calibration import network

from nybble.quantize import Override, Recipe

pytest.importorskip("yaml")

RECIPES = [
    Recipe(),
    Recipe(4, 2, first=8, last=8, layers={"a": 2}, group=64, calibration="mse", symmetric=True),
    Recipe(2, percentile=99.5),
    Recipe("ternary", first=8, last="ternary", layers={"a": "ternary"}, granularity="tensor"),
    Recipe(overrides=(Override(type="Conv2d", weights="ternary", granularity="tensor"),)),
    Recipe(
        overrides=(Override("conv*", weights=4), Override(type="Add", activations=4, calibration="entropy"))
    ),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_round_trips(recipe: Recipe, tmp_path: Path) -> None:
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(path) == recipe


def test_a_file_for_people(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "weights: 2\nactivations: 4\nfirst: 8\n"
        "overrides:\n  - type: DepthwiseConv2d\n    weights: 8\n  - {name: 'head/*', activations: 8}\n"
    )
    assert Recipe.from_yaml(path) == Recipe(
        2,
        4,
        first=8,
        overrides=(
            Override(type="DepthwiseConv2d", weights=8),
            Override("head/*", activations=8),
        ),
    )
    path.write_text("")
    assert Recipe.from_yaml(path) == Recipe()


WRONG: dict[str, tuple[Any, str]] = {
    "key": ({"weight": 4}, "unknown key 'weight'; there are weights, activations,"),
    "bits": ({"weights": 3}, "weights: expected weights of 8, 4 or 2 bits or ternary, found 3"),
    "text": ({"activations": "4"}, "activations: expected activations of 16, 8, 4 or 2 bits, found '4'"),
    "truth": ({"weights": True}, "found True"),
    "first": ({"first": 16}, "first: expected weights of"),
    "layer": ({"layers": {"a": 5}}, "layers: 'a': expected weights of"),
    "layers": ({"layers": [4]}, r"layers: expected names with bits, found \[4\]"),
    "name": ({"weights": "binary"}, "weights: expected weights of 8, 4 or 2 bits or ternary, found 'binary'"),
    "scales": ({"granularity": "row"}, "granularity: expected one of channel, tensor, found 'row'"),
    "no text": ({"granularity": ["row"]}, r"granularity: expected one of channel, tensor, found \['row'\]"),
    "its scales": (
        {"overrides": [{"granularity": 1}]},
        r"overrides\[0\]: granularity: expected one of channel, tensor, found 1",
    ),
    "group": ({"group": 8}, "group: expected 16, 32, 64 or 128 k, found 8"),
    "calibration": ({"calibration": "magic"}, "calibration: expected one of minmax, average, "),
    "percentile": ({"percentile": 20}, "percentile: expected more than 50"),
    "number": ({"percentile": "most"}, "percentile: expected a number"),
    "switch": ({"symmetric": "yes"}, "symmetric: expected true or false"),
    "list": ({"overrides": {"name": "a"}}, "overrides: expected a list"),
    "override": ({"overrides": [{"nam": "a"}]}, r"overrides\[0\]: unknown key 'nam'; there are name, type,"),
    "its bits": ({"overrides": [{"name": "a", "weights": 7}]}, r"overrides\[0\]: weights: expected"),
    "nothing": (
        {"overrides": [{"name": "a"}]},
        r"overrides\[0\]: expected weights, granularity, activations or ",
    ),
    "mixed groups": (
        {"overrides": [{"type": "Add", "activations": 16}], "group": 32},
        "group: expected none beside activations of 16",
    ),
    "wide groups": (
        {"activations": 16, "weights": 4, "group": 32},
        "group: expected none beside activations of 16",
    ),
    "pattern": ({"overrides": [{"name": 1, "weights": 4}]}, r"overrides\[0\]: name: expected a pattern"),
    "no recipe": ([4], "expected keys with values"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_named(case: str) -> None:
    values, message = WRONG[case]
    with pytest.raises(ValueError, match=rf"file\.yaml: .*{message}"):
        Recipe.from_dict(values, "file.yaml")


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for text, message in (
        (
            "weights: 4\nactivations: 8\nweights: 2\n",
            r"recipe\.yaml:3: .*'weights' again \(first in line 1\)",
        ),
        ("layers:\n  a: 4\n  a: 2\n", r"recipe\.yaml:3: .*'a' again"),
        ("overrides: [{type: Add, activations: 8, type: Mul}]\n", r"recipe\.yaml:1: .*'type' again"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            Recipe.from_yaml(path)
    path.write_text("overrides: &a [*a]\n")  # what holds itself is no endless search
    with pytest.raises(ValueError, match="expected keys with values"):
        Recipe.from_yaml(path)


def test_no_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("weights: [4")
    with pytest.raises(ValueError, match=r"recipe\.yaml: is no YAML"):
        Recipe.from_yaml(path)


def test_later_overrides_win_and_reach_what_they_fit() -> None:
    graph = network()
    layers = [n for n in graph.nodes if n.op.name in ("Conv2d", "DepthwiseConv2d", "FullyConnected")]
    overrides = (
        Override(type="*Conv2d", weights=2, granularity="tensor"),
        Override("Depth*", weights="ternary", granularity="channel"),
    )
    recipe = Recipe(8, first=4, layers={layers[-1].name: 4}, overrides=overrides)
    assert list(recipe.levels(graph).values()) == [2, "ternary", 8, 4]
    assert list(recipe.granularities(graph).values()) == ["tensor", "channel", "channel", "tensor"]
    for wrong in (Override("nothing", weights=4), Override(type="Add", weights=4)):
        with pytest.raises(ValueError, match=r"overrides\[0\]: no operator has a name like"):
            Recipe(overrides=(wrong,)).levels(graph)
    with pytest.raises(ValueError, match=r"overrides\[0\]: no operator has a name like"):
        Recipe(overrides=(Override(type="Add", granularity="tensor"),)).granularities(graph)
    with pytest.raises(ValueError, match=r"overrides\[0\]: no operator .* there are Conv2d 'Conv2d0'"):
        Recipe(overrides=(Override("nothing", activations=4),)).activation_bits(graph)


def test_tensors_of_one_scale_have_the_most_bits_of_any() -> None:
    graph = network()
    overrides = (Override(type="MaxPool2d", activations=4),)
    bits = Recipe(8, 2, overrides=overrides).activation_bits(graph)
    pooled = next(n for n in graph.nodes if n.op.name == "MaxPool2d")
    joined = next(n for n in graph.nodes if n.op.name == "Concat")
    first = graph.nodes[0]
    assert bits[pooled.inputs[0]] == bits[pooled.outputs[0]] == bits[joined.outputs[0]] == 4
    assert bits[first.inputs[0]] == 8
    assert bits[first.outputs[0]] == 2
    assert bits[graph.outputs[0].tensor] == 8


def test_bits_of_activations_in_mixed_networks() -> None:
    """What shares a scale has 16 bits where one asks for them; inputs have the recipe's, and outputs that no override
    names.
    """
    graph = network()
    pooled = next(n for n in graph.nodes if n.op.name == "MaxPool2d")
    first, ends = graph.nodes[0], (graph.nodes[0].inputs[0], graph.outputs[0].tensor)
    for own, other in ((8, 16), (4, 16), (16, 8), (16, 4)):
        for name in ("*", first.name):
            bits = Recipe(8, own, overrides=(Override(name, activations=other),)).activation_bits(graph)
            whole = max(own, 8)
            assert [bits[end] for end in ends] == [whole, max(other, 8) if name == "*" else whole]
            assert bits[first.outputs[0]] == other
            assert bits[pooled.inputs[0]] == bits[pooled.outputs[0]]
        assert set(Recipe(8, own).activation_bits(graph).values()) == {own, max(own, 8)}


def test_8_bits_in_a_network_of_16_reach_past_operators_that_pass_numbers_on() -> None:
    graph = network()
    pooled = next(n for n in graph.nodes if n.op.name == "MaxPool2d")
    joined = next(n for n in graph.nodes if n.op.name == "Concat")
    computed = tuple(
        Override(n.name, activations=8) for n in graph.nodes if n.op.name not in ("MaxPool2d", "Concat")
    )
    bits = Recipe(8, 16, overrides=computed).activation_bits(graph)
    assert bits[pooled.inputs[0]] == bits[pooled.outputs[0]] == bits[joined.outputs[0]] == 8
    again = (*computed, Override(type="MaxPool2d", activations=16))
    bits = Recipe(8, 16, overrides=again).activation_bits(graph)
    assert bits[pooled.inputs[0]] == bits[pooled.outputs[0]] == bits[joined.outputs[0]] == 16
