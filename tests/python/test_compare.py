# SPDX-License-Identifier: Apache-2.0
"""Any two models on the same samples: equal ones are equal, others differ by what numpy finds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx_networks import Network
from test_evaluate import cli, flatten, samples

import nybble
from nybble.convert import convert_graph
from nybble.graph import DType, evaluate_outputs
from nybble.importers.onnx import import_onnx
from nybble.measure.compare import Tally, ratio_db
from nybble.measure.intervals import paired


def network() -> bytes:
    net = Network()
    y = net.node("Relu", net.conv(net.input([1, 3, 10, 8]), (8, 3, 3, 3)))
    return net.model(net.gemm(net.node("Flatten", net.node("GlobalAveragePool", y)), 8, 5))


@pytest.fixture(scope="module")
def model() -> bytes:
    return network()


@pytest.fixture(scope="module")
def x() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(70, 3, 10, 8)).astype(np.float32)


def test_a_model_equals_itself(model: bytes, x: np.ndarray[Any, Any]) -> None:
    quantized = nybble.quantize(model, x[:8]).model
    for one in (model, quantized):
        result = nybble.compare(one, one, x[:8])
        [output] = result.outputs
        assert (output.snr_db, output.cosine, output.largest, output.agreement) == (math.inf, 1, 0, 1)
        assert result.document()["outputs"][0]["equal"]


def test_figures_are_those_of_numpy(model: bytes, x: np.ndarray[Any, Any]) -> None:
    quantized = nybble.quantize(model, x[:8], weights=4).model
    graph = import_onnx(model)
    images = x.transpose(0, 2, 3, 1)
    wanted = np.stack([evaluate_outputs(graph, [image[None]], real=True)[0] for image in images])
    found = nybble.load(quantized)(images)
    labels = np.random.default_rng(1).integers(0, 5, len(x))
    result = nybble.compare(model, quantized, x, labels)
    [output] = result.outputs
    noise = float(((wanted - found.reshape(wanted.shape)).astype(np.float64) ** 2).sum())
    assert output.snr_db == pytest.approx(
        10 * np.log10((wanted.astype(np.float64) ** 2).sum() / noise), rel=1e-6
    )
    cosine = float((wanted.reshape(-1) @ found.reshape(-1)) / np.linalg.norm(wanted) / np.linalg.norm(found))
    assert output.cosine == pytest.approx(cosine, abs=1e-6)
    assert output.largest == pytest.approx(np.abs(wanted.reshape(-1) - found.reshape(-1)).max(), abs=1e-6)
    a, b = (y.reshape(len(x), -1).argmax(axis=1) for y in (wanted, found))
    assert (output.same, output.count) == ((a == b).sum(), len(x))
    assert result.paired == paired(a == labels, b == labels)
    assert result.accuracies == ((a == labels).mean(), (b == labels).mean())
    assert (result.first_how, result.second_how) == ("float32, numpy", "integer core")


def test_two_quantized_models(model: bytes, x: np.ndarray[Any, Any]) -> None:
    eight, four = (nybble.quantize(model, x[:8], weights=bits) for bits in (8, 4))
    between = nybble.compare(eight.model, four.model, x[:8]).outputs[0].snr_db
    assert between == pytest.approx(four.comparison.outputs[0].snr_db, abs=3)
    assert between < eight.comparison.outputs[0].snr_db - 5


def test_integers_of_one_are_real_numbers_to_the_other() -> None:
    x = samples([0, 1, 2, 3])
    session = nybble.load(convert_graph(flatten()))
    other = nybble.load(convert_graph(flatten(DType.INT8, 1 / 100, -100)))
    integers = session.inputs[0].quantize(x)
    for pair in ((session, flatten(DType.FLOAT32)), (flatten(DType.FLOAT32), session)):
        [output] = nybble.compare(*pair, integers).outputs
        assert output.snr_db == math.inf
    [output] = nybble.compare(session, other, integers).outputs
    assert 0 < output.largest <= 0.5 / 100 + 1e-6


def test_labels_that_are_no_classes(model: bytes, x: np.ndarray[Any, Any], tmp_path: Path) -> None:
    quantized = nybble.quantize(model, x[:8]).model
    np.savez(tmp_path / "data.npz", x=x[:8], y=np.linspace(0, 1, 8))
    assert nybble.compare(model, quantized, tmp_path / "data.npz").paired is None
    with pytest.raises(ValueError, match="8 integer labels"):
        nybble.compare(model, quantized, x[:8], np.linspace(0, 1, 8))
    with pytest.raises(ValueError, match="8 of 8 labels are outside"):
        nybble.compare(model, quantized, x[:8], np.full(8, 5))


def test_models_that_do_not_fit(model: bytes, x: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ValueError, match="expected samples of shape"):
        nybble.compare(model, flatten(), x)
    net = Network()
    y = net.node("Relu", net.input([1, 3, 10, 8]))
    with pytest.raises(ValueError, match="expected outputs of equal size"):
        nybble.compare(model, net.model(y), x)


def test_ratio_at_its_ends() -> None:
    assert ratio_db(0, 0) == math.inf
    assert ratio_db(0, 1) == -math.inf
    assert ratio_db(100, 1) == pytest.approx(20)
    tally = Tally()
    tally.add(np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32))
    assert (tally.snr_db, tally.cosine, tally.largest) == (-math.inf, 0, 1)


def test_command(model: bytes, x: np.ndarray[Any, Any], tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model)
    data = tmp_path / "data.npz"
    np.savez(data, x=x, y=np.arange(len(x)) % 5)
    four = nybble.quantize(model, x, weights=4, destination=tmp_path / "net.nyb")
    output = cli("compare", tmp_path / "net.onnx", tmp_path / "net.nyb", "--data", data).output
    assert "net.nyb (integer core) against net.onnx (float32, numpy), 70 samples" in output
    assert f"SNR {four.comparison.outputs[0].snr_db:.1f} dB, cosine 0.9" in output
    assert "points, 95 % interval" in output
    document = json.loads(
        cli("compare", tmp_path / "net.onnx", tmp_path / "net.nyb", "--data", data, "--json").output
    )
    assert document["outputs"][0]["snr_db"] == pytest.approx(four.comparison.outputs[0].snr_db)
    assert document["accuracy"]["lost"] + document["accuracy"]["gained"] >= 0
