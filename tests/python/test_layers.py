# SPDX-License-Identifier: Apache-2.0
"""The table of layers, its culprit, and the remedies: checked against networks whose faults are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx_networks import Network
from test_evaluate import cli

import nybble
from models.small import small_graph
from nybble.convert import convert_graph
from nybble.graph import evaluate
from nybble.measure.layers import LayerReport, _coarser, measure_layers
from nybble.measure.remedies import with_layers
from nybble.quantize import Recipe

KINDS = ("Conv2d", "Conv2d", "Mean", "Reshape", "FullyConnected", "Softmax")


def network(seed: int = 0) -> bytes:
    net = Network(seed)
    y = net.node("Relu", net.conv(net.input([1, 3, 10, 8]), (8, 3, 3, 3), pads=[1, 1, 1, 1]))
    y = net.node("Relu", net.conv(y, (8, 8, 3, 3), pads=[1, 1, 1, 1]))
    y = net.node("Flatten", net.node("GlobalAveragePool", y))
    return net.model(net.node("Softmax", net.gemm(y, 8, 5)))


@pytest.fixture(scope="module")
def x() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(24, 3, 10, 8)).astype(np.float32)


def plain(
    data: np.ndarray[Any, Any], weights: int, activations: int = 8, **measured_on: Any
) -> nybble.Quantized:
    """The network with weights rounded to nearest, which has something to mend."""
    recipe = Recipe(weights, activations, method="nearest")
    return nybble.quantize(network(), data, recipe=recipe, **measured_on)


def layer_names(quantized: nybble.Quantized) -> list[str]:
    return [n.name for n in quantized.graph.nodes if len(n.inputs) > 1]


# Session.run(replaced=...)


def test_replaced_tensors_reach_the_rest_of_the_network() -> None:
    session = nybble.load(convert_graph(small_graph()))
    image = np.zeros((1, 4, 4, 2), np.int8)
    features = np.arange(48, dtype=np.int8).reshape(1, 4, 4, 3)
    (plain,) = session.run([image])
    (scores,) = session.run([image], replaced={"features": features})
    assert scores.tolist() == [list(range(48))]
    assert np.array_equal(session.run([image])[0], plain)
    with pytest.raises(ValueError, match="no intermediate tensor 'other'"):
        session.run([image], replaced={"other": features})
    with pytest.raises(ValueError, match=r"expected int8 \(1, 4, 4, 3\), found int16"):
        session.run([image], replaced={"features": features.astype(np.int16)})
    with pytest.raises(ValueError, match="one sample"):
        session.run([np.zeros((2, 4, 4, 2), np.int8)], replaced={"features": features})


# The table.


def test_every_layer_is_measured(x: np.ndarray[Any, Any]) -> None:
    result = plain(x, 4)
    report = result.layers()
    assert report.samples == 24
    assert [one.kind for one in report.layers] == list(KINDS)
    assert [one.weight_bits for one in report.layers] == [4, 4, 0, 0, 4, 0]
    assert all(one.snr_db is not None and one.own_snr_db is not None for one in report.layers)
    # A layer's output holds its own error and those before it; the first layer has only its own and the input's.
    first = report.layers[0]
    assert first.own_snr_db == pytest.approx(first.snr_db, abs=0.5)
    assert report.layers[4].own_snr_db > report.layers[4].snr_db
    # 8 bits cost each layer less than 4 of them do.
    eight = plain(x, 8).layers()
    for a, b in zip(eight.layers, report.layers, strict=True):
        if a.weight_bits:
            assert a.own_snr_db > b.own_snr_db + 10
    assert eight.snr_db > report.snr_db + 10


def test_snr_is_that_of_the_tensors(x: np.ndarray[Any, Any]) -> None:
    result = plain(x, 4)
    session = nybble.load(result.model)
    layer = session.layers()[1]
    wanted, found = [], []
    for image in x.transpose(0, 2, 3, 1)[:, None]:
        wanted.append(evaluate(result.prepared, [image], real=True)[layer.output.name])
        integers = session.run([session.inputs[0].quantize(image)], dump=[layer.output.name])[-1]
        found.append(layer.output.dequantize(integers))
    a, b = np.float64(wanted), np.float64(found)
    snr = 10 * np.log10((a**2).sum() / ((a - b) ** 2).sum())
    assert result.layers().layers[1].snr_db == pytest.approx(snr, rel=1e-9)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_the_culprit_is_the_layer_with_the_fewest_bits(x: np.ndarray[Any, Any], bad: int) -> None:
    names = layer_names(plain(x, 8))
    result = nybble.quantize(network(), x, recipe=Recipe(8, layers={names[bad]: 2}, method="nearest"))
    report = result.layers()
    assert report.culprit is not None
    assert report.culprit.name == names[bad]
    remedies = result.remedies(report)
    best = remedies.tried[0]
    assert best.recipe.levels(result.prepared) == Recipe(8).levels(result.prepared)
    assert best.text == f"{names[bad]!r} at 8 bits"
    # What the table says that the layer costs is what mending it gains.
    assert report.culprit.gain_db == pytest.approx(best.gain_db, rel=0.2)
    assert best.bytes > 0


def test_one_bit_less_costs_most_where_the_scale_is_coarsest(x: np.ndarray[Any, Any]) -> None:
    """Calibrated on samples with one outlier, the input's layer has few integers left for the others."""
    wide = x.copy()
    wide[0] *= 30
    even, coarse = (plain(data, 8, test=x).layers() for data in (x, wide))
    assert all(one.coarser_db is not None and one.coarser_db <= 0.5 for one in even.layers)
    assert coarse.layers[1].coarser_db < even.layers[1].coarser_db
    assert even.layers[5].coarser_db == 0  # the scores are taken before it


@pytest.mark.parametrize("zero_point", [-128, 0, 3, 127])
def test_coarser_integers_are_at_even_distances(zero_point: int) -> None:
    port = nybble.Port("y", (256,), np.dtype(np.int8), 0.1, zero_point, True)
    integers = np.arange(-128, 128, dtype=np.int8)
    coarser = _coarser(port, (-128, 127), integers).astype(int)
    assert not ((coarser - zero_point) % 2).any()
    assert np.abs(coarser - integers).max() <= 1
    assert coarser[zero_point + 128] == zero_point


def test_activations_of_few_bits_keep_their_levels(x: np.ndarray[Any, Any]) -> None:
    report = plain(x, 8, activations=4).layers()
    assert [one.activation_bits for one in report.layers] == [4, 4, 4, 4, 8, 8]
    assert report.layers[1].saturation > 0  # calibration by squared error cuts outliers
    # One bit less hurts more than it does with 8 bits.
    whole = plain(x, 8).layers()
    assert report.snr_db < whole.snr_db - 10
    assert all(one.own_snr_db < 35 for one in report.layers[:2])


def test_saturated_outputs_are_counted(x: np.ndarray[Any, Any]) -> None:
    """Calibrated on samples a third as large, the layers cut what the others reach."""
    narrow = plain(x / 3, 8, test=x)
    wide = plain(x, 8, test=x)
    assert wide.layers().layers[0].saturation == 0
    assert narrow.layers().layers[1].saturation > 0.01


def test_without_errors_nothing_costs(x: np.ndarray[Any, Any]) -> None:
    net = Network()
    model = net.model(net.node("MaxPool", net.input([1, 3, 10, 8]), kernel_shape=[2, 2], strides=[2, 2]))
    report = nybble.quantize(model, x).layers()
    assert [one.own_snr_db for one in report.layers] == [math.inf]
    assert [one.gain_db for one in report.layers] == [0]
    assert report.culprit is None


def test_samples_and_seconds_bound_the_report(x: np.ndarray[Any, Any]) -> None:
    result = plain(x, 4)
    assert result.layers(limit=5).samples == 5
    assert result.layers(seconds=0).samples == 1
    remedies = result.remedies(LayerReport((), 0, 0.0), seconds=0)
    assert remedies.tried == ()
    assert result.remedies(result.layers(limit=2), seconds=-1).untried > 0


def test_networks_that_do_not_belong_together(x: np.ndarray[Any, Any]) -> None:
    session = nybble.load(plain(x, 8).model)
    net = Network()
    a, b = net.input([1, 6], "a"), net.input([1, 6], "b")
    other = nybble.import_model(net.model(net.node("Add", a, b)))
    with pytest.raises(ValueError, match="expected a network of 1 inputs and 1 outputs, found 2 and 1"):
        measure_layers(other, session, [x])
    net = Network()
    other = nybble.import_model(net.model(net.node("Tanh", net.input([1, 3, 10, 8]))))
    with pytest.raises(ValueError, match="writes no tensor"):
        measure_layers(other, session, [x])


def test_recipes_keep_what_they_do_not_change() -> None:
    recipe = with_layers(Recipe(4, first=8, layers={"a": 2, "b": 2}), ["b", "c"], 8)
    assert (recipe.weights, recipe.first, recipe.layers) == (4, 8, {"a": 2, "b": 8, "c": 8})


def test_reports_as_json(x: np.ndarray[Any, Any]) -> None:
    result = nybble.quantize(
        network(), x, recipe=Recipe(2, method="nearest"), test=x, labels=np.zeros(24, int)
    )
    report = result.layers()
    document = json.loads(json.dumps(report.document(), allow_nan=False))
    assert document["layers"][0]["weight_bits"] == 2
    assert document["culprit"] == report.culprit.index if report.culprit else None
    remedies = json.loads(json.dumps(result.remedies(report).document(), allow_nan=False))
    assert remedies["remedies"][0]["right"] is not None


def test_command(x: np.ndarray[Any, Any], tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(network())
    np.savez(tmp_path / "data.npz", x=x, y=np.zeros(24, int))
    arguments = (
        "quantize",
        tmp_path / "net.onnx",
        "--data",
        tmp_path / "data.npz",
        "--weights",
        "2",
        "--method",
        "nearest",
        "--force",
    )
    output = cli(*arguments, "--explain").output
    assert "measured on the integer core against float32, 24 samples" in output
    lines = output.splitlines()
    head = next(i for i, line in enumerate(lines) if "own SNR" in line)
    assert [line.split()[1] for line in lines[head + 1 : head + 7]] == list(KINDS)
    assert "culprit: layer " in output
    assert "all layers at 8 bits" in output
    assert "own SNR" not in cli(*arguments, "--no-layers").output
