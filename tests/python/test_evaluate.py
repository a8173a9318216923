# SPDX-License-Identifier: Apache-2.0
"""Counting what is right: every kind of model and data, and what is said where they do not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import nybble
from nybble import ops
from nybble.cli import main
from nybble.convert import convert_graph
from nybble.graph import DType, Graph, Node, Port, Quantization, Tensor
from nybble.measure.evaluate import label_ranks
from nybble.measure.intervals import wilson


def cli(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def flatten(
    dtype: DType = DType.INT8,
    scale: float = 1 / 255,
    zero_point: int = -128,
    labels: Sequence[str] = (),
    preprocessing: Mapping[str, object] | None = None,
) -> Graph:
    """The identity from an image [1, 2, 2, 1] to 4 scores; float where dtype is FLOAT32."""
    quantization = None if dtype is DType.FLOAT32 else Quantization.per_tensor(scale, zero_point)
    tensors = {
        name: Tensor(name, dtype, shape, quantization)
        for name, shape in (("image", (1, 2, 2, 1)), ("scores", (1, 4)))
    }
    node = Node(ops.Reshape((1, 4)), ("image",), ("scores",), "flatten")
    return Graph(
        tensors,
        (node,),
        (Port("image", "image", True),),
        (Port("scores", "scores", True),),
        "flatten",
        tuple(labels),
        preprocessing or {},
    )


def samples(labels: Sequence[int]) -> np.ndarray[Any, Any]:
    """Images whose brightest pixel is at the label: 0.8 there, 0.2 elsewhere."""
    x = np.full((len(labels), 4), 0.2, np.float32)
    x[np.arange(len(labels)), labels] = 0.8
    return x.reshape(-1, 1, 2, 2, 1)


SHOWN = [0, 1, 2, 3, 3, 2]
LABELS = np.array([0, 1, 2, 3, 0, 1])


@pytest.mark.parametrize("graph", [flatten(), flatten(DType.FLOAT32)])
def test_counts(graph: Graph) -> None:
    result = nybble.evaluate(graph, samples(SHOWN), labels=LABELS, top=(1, 3))
    assert (result.right, result.samples, result.accuracy) == (4, 6, 4 / 6)
    assert result.interval == wilson(4, 6)
    assert result.predictions.tolist() == SHOWN
    # Label 0 of image 3: it is 0.8 at 3 and 0.2 at 0, 1, 2, so that 0 comes second.
    assert result.ranks.tolist() == [0, 0, 0, 0, 1, 2]
    assert result.right_in_top(2) == 5
    assert result.right_in_top(3) == 6
    confusion = result.confusion()
    assert confusion.tolist() == [[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert [(c.number, c.samples, c.right) for c in result.per_class()] == [
        (0, 2, 1),
        (1, 2, 1),
        (2, 1, 1),
        (3, 1, 1),
    ]
    assert result.mistakes() == [(0, 3, 1), (1, 2, 1)]
    assert "top-1: 4 of 6, 66.7 %" in str(result)


def test_the_integer_core_computes_quantized_models_and_numpy_float_ones(tmp_path: Path) -> None:
    path = tmp_path / "m.nyb"
    path.write_bytes(convert_graph(flatten()))
    x = samples(SHOWN)
    results = [
        nybble.evaluate(model, x, labels=LABELS)
        for model in (path, path.read_bytes(), nybble.load(path), flatten(), flatten(DType.FLOAT32))
    ]
    assert [r.how for r in results] == ["integer core"] * 4 + ["float32, numpy"]
    assert {r.right for r in results} == {4}
    assert results[0].model == "m.nyb"


def test_integers_of_the_model_count_as_their_floats_do() -> None:
    session = nybble.load(convert_graph(flatten()))
    x = samples(SHOWN)
    integers = session.inputs[0].quantize(x)
    assert nybble.evaluate(session, integers, labels=LABELS).right == 4
    with pytest.raises(TypeError, match="own int8, found uint8"):
        nybble.evaluate(session, integers.view(np.uint8), labels=LABELS)
    with pytest.raises(TypeError, match="expected samples of float32"):
        nybble.evaluate(flatten(DType.FLOAT32), integers, labels=LABELS)


def test_more_samples_than_run_at_a_time_keep_their_order() -> None:
    shown = np.random.default_rng(0).integers(0, 4, 150)
    result = nybble.evaluate(flatten(), samples(shown.tolist()), labels=shown)
    assert result.right == 150
    assert result.predictions.tolist() == shown.tolist()


def test_equal_scores_go_to_the_lower_class() -> None:
    scores = np.array([[5, 7, 7, 7], [5, 7, 7, 7], [1, 1, 1, 1]], np.float32)
    assert label_ranks(scores, np.array([1, 3, 0])).tolist() == [0, 2, 0]


def test_npz_holds_samples_and_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=samples(SHOWN), y=LABELS)
    assert nybble.evaluate(flatten(), tmp_path / "data.npz").right == 4
    np.savez(tmp_path / "none.npz", x=samples(SHOWN))
    with pytest.raises(ValueError, match="expected labels"):
        nybble.evaluate(flatten(), tmp_path / "none.npz")


def test_layout_of_the_source_network_is_kept_in_the_model() -> None:
    """A model from an NCHW network takes NCHW samples, like the network itself."""
    pytest.importorskip("onnx")
    from onnx_networks import Network

    net = Network()
    y = net.node("Relu", net.conv(net.input([1, 3, 10, 8]), (4, 3, 3, 3)))
    model = net.model(net.node("Flatten", net.node("GlobalAveragePool", y)))
    x = np.random.default_rng(0).normal(size=(8, 3, 10, 8)).astype(np.float32)
    labels = nybble.evaluate(model, x, labels=np.zeros(8, int)).predictions
    quantized = nybble.quantize(model, x)
    result = nybble.evaluate(quantized.model, x, labels=labels)
    assert result.how == "integer core"
    assert result.right == round(8 * (quantized.comparison.outputs[0].agreement or 0))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3, 0, 4], r"4 classes, 0\.\.3; 1 of 6 labels are outside, the first 4 \(sample 5\)"),
        ([0, 1, 2, 3, 0, -1], "the first -1"),
        ([0, 1], "a label for each of 6 samples, found 2"),
        ([0.0] * 6, "6 integer labels, found 6 of float64"),
        ([[0, 1]] * 6, "6 integer labels, found 12"),
    ],
)
def test_labels_that_do_not_fit(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nybble.evaluate(flatten(), samples(SHOWN), labels=labels)


def test_an_output_without_classes_needs_a_metric() -> None:
    tensors = {name: Tensor(name, DType.FLOAT32, shape) for name, shape in (("x", (1, 4)), ("y", (1, 2, 2)))}
    graph = Graph(
        tensors, (Node(ops.Reshape((1, 2, 2)), ("x",), ("y",)),), (Port("x", "x"),), (Port("y", "y"),)
    )
    x = samples(SHOWN).reshape(-1, 1, 4)
    with pytest.raises(ValueError, match="holds no scores of classes"):
        nybble.evaluate(graph, x, labels=LABELS)

    def error(outputs: Sequence[Any], labels: Any) -> float:
        return float(np.abs(outputs[0].reshape(6, 4) - labels).max())

    result = nybble.evaluate(graph, x, labels=x.reshape(6, 4), metric=error)
    assert result.metrics == {"error": 0}
    assert result.classes == 0


def test_metric_gets_real_outputs_beside_the_counts() -> None:
    def mean(outputs: Sequence[Any], labels: Any) -> dict[str, float]:
        assert labels is not None
        return {"mean": float(outputs[0].mean()), "count": float(len(labels))}

    result = nybble.evaluate(flatten(), samples(SHOWN), labels=LABELS, metric=mean)
    assert result.metrics["mean"] == pytest.approx(0.35, abs=0.01)
    assert result.right == 4
    assert nybble.evaluate(flatten(), samples(SHOWN), metric=lambda y, labels: 1.0).metrics == {"<lambda>": 1}


@pytest.mark.parametrize("top", [(), (0,)])
def test_wrong_top(top: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="k of top-k"):
        nybble.evaluate(flatten(), samples(SHOWN), labels=LABELS, top=top)


# Folders of images.


def picture(path: Path, label: int) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.full(4, 40, np.uint8)
    pixels[label] = 220
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels.reshape(2, 2)).save(path)


def folders(root: Path, names: Sequence[str]) -> Path:
    for label, name in zip(LABELS, range(6), strict=True):
        picture(root / names[label] / f"{name}.png", SHOWN[name])
    (root / ".hidden").write_text("")
    return root


ANIMALS = ("dog", "cat", "bird", "ant")


@pytest.mark.parametrize(
    ("names", "labels", "rule"),
    [
        (ANIMALS, ANIMALS, "names of classes"),
        (("0", "1", "2", "3"), (), "class numbers"),
        (("00", "01", "02", "03"), ANIMALS, "class numbers"),
        (("a", "b", "c", "d"), (), "folders in order of name"),
    ],
)
def test_folders(tmp_path: Path, names: Sequence[str], labels: Sequence[str], rule: str) -> None:
    result = nybble.evaluate(flatten(labels=labels), folders(tmp_path, names))
    assert (result.right, result.rule) == (4, rule)
    assert result.confusion()[0].tolist() == [1, 0, 0, 1]


def test_a_table_of_labels(tmp_path: Path) -> None:
    lines = ["file,class"]
    for i, (shown, label) in enumerate(zip(SHOWN, LABELS, strict=True)):
        picture(tmp_path / f"{i}.png", shown)
        lines.append(f"{i}.png, {label}")
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(lines) + "\n")
    assert nybble.evaluate(flatten(), tmp_path).right == 4
    table.write_text("\n".join([*lines, "missing.png,1"]))
    with pytest.raises(ValueError, match=r"labels\.csv:8: no image 'missing\.png'"):
        nybble.evaluate(flatten(), tmp_path)
    table.write_text("0.png\n")
    with pytest.raises(ValueError, match=r"labels\.csv:1: expected file,class, found 1 fields"):
        nybble.evaluate(flatten(), tmp_path)
    table.write_text("file,class\n")
    with pytest.raises(ValueError, match="found none"):
        nybble.evaluate(flatten(), tmp_path)


def test_pixels_of_a_float_network(tmp_path: Path) -> None:
    root = folders(tmp_path, "0123")
    with pytest.raises(ValueError, match=r"say what 0\.\.255 become, such as --pixels 0\.\.1"):
        nybble.evaluate(flatten(DType.FLOAT32), root)
    assert nybble.evaluate(flatten(DType.FLOAT32), root, pixels=(0, 1)).right == 4
    # Of a network that sees the negative only the labels of others are right.
    assert nybble.evaluate(flatten(DType.FLOAT32), root, pixels=(1, 0)).right < 4
    metadata: Mapping[str, object] = {"scale": [1 / 255], "offset": [0.0], "channels": "L"}
    assert nybble.evaluate(flatten(DType.FLOAT32, preprocessing=metadata), root).right == 4


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    root = folders(tmp_path / "data", ANIMALS)
    with pytest.raises(ValueError, match="'ant' is none of the 2 classes"):
        nybble.evaluate(flatten(labels=("dog", "cat")), root)
    picture(root / "eel/0.png", 0)
    with pytest.raises(ValueError, match=r"4 classes, the folders are 5 and the model names none"):
        nybble.evaluate(flatten(), root)
    (root / "eel/0.png").unlink()
    with pytest.raises(ValueError, match="eel: expected images of class 'eel', found nothing"):
        nybble.evaluate(flatten(), root)
    (root / "eel").rmdir()
    (root / "cat/notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=r"notes\.txt: expected an image"):
        nybble.evaluate(flatten(), root)
    (root / "loose.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"one folder of images per class, or images and labels\.csv"):
        nybble.evaluate(flatten(), root)
    (root / "labels.csv").write_bytes(b"\xff,0\n")
    with pytest.raises(ValueError, match=r"labels\.csv: expected lines file,class in UTF-8"):
        nybble.evaluate(flatten(), root)
    (root / "labels.csv").unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="found nothing"):
        nybble.evaluate(flatten(), tmp_path / "empty")
    with pytest.raises(ValueError, match="the folder has its own"):
        nybble.evaluate(flatten(), root / "dog", labels=[0])
    with pytest.raises(FileNotFoundError):
        nybble.evaluate(flatten(), tmp_path / "none")


# The command.


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.nyb"
    path.write_bytes(convert_graph(flatten(labels=ANIMALS)))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, x=samples(SHOWN), y=LABELS)
    return path


def test_command(model: Path, data: Path) -> None:
    output = cli("evaluate", model, "--data", data, "--top", "1,2").output
    assert "integer core, 6 samples" in output
    assert "  top-1  4 of 6, 66.7 %\n  top-2  5 of 6, 83.3 %\n" in output
    assert "95 % interval of the accuracy (Wilson): 30.0 to 90.3 %" in output
    output = cli("evaluate", model, "--data", data, "--top", "10").output
    assert "  top-10  not counted: there are only 4 classes\n" in output
    output = cli("evaluate", model, "--data", data, "--confusion").output
    assert "top-5" not in output  # which nobody asked for
    [row] = [line for line in output.splitlines() if " dog " in line]
    assert row.split() == ["0", "dog", "2", "1", "50.0%", "9.5", "to", "90.5", "%", "1", ".", ".", "1"]


def test_command_json(model: Path, data: Path) -> None:
    document = json.loads(cli("evaluate", model, "--data", data, "--confusion", "--json").output)
    assert document["computed"] == "integer core"
    assert (document["right"], document["samples"], document["top"]) == (4, 6, {"1": 4})
    assert document["interval95"] == pytest.approx(wilson(4, 6))
    assert document["per_class"][0] == {"class": 0, "name": "dog", "samples": 2, "right": 1}
    assert document["confusion"][0] == [1, 0, 0, 1]


def test_command_with_a_metric(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_metric.py").write_text("def spread(outputs, labels):\n    return outputs[0].max()\n")
    monkeypatch.chdir(tmp_path)
    output = cli("evaluate", model, "--data", data, "--metric", "own_metric:spread").output
    assert "  spread  0.8" in output
    failed = cli("evaluate", model, "--data", data, "--metric", "own_metric:nothing")
    assert failed.exit_code == 1
    assert "no attribute 'nothing'" in failed.output
    assert cli("evaluate", model, "--data", data, "--metric", "own_metric").exit_code == 2


@pytest.mark.parametrize(
    "options",
    [["--top", "0"], ["--top", "a"], ["--pixels", "1"], ["--pixels", "1..1"], ["--pixels", "0..nan"]],
)
def test_wrong_options(model: Path, data: Path, options: Sequence[str]) -> None:
    assert cli("evaluate", model, "--data", data, *options).exit_code == 2


def test_command_names_what_is_wrong(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", x=samples(SHOWN), y=LABELS + 1)
    result = cli("evaluate", model, "--data", tmp_path / "wrong.npz")
    assert result.exit_code == 1
    assert "m.nyb has 4 classes, 0..3; 1 of 6 labels are outside" in result.stderr
