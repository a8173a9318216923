# SPDX-License-Identifier: Apache-2.0
"""Ranges of activations: every method over a stream, and integers of 4 and 2 bits on the core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nybble
from nybble import ops
from nybble.graph import DType, Graph, Node, Operator, Port, Quantization, Tensor, constant, evaluate_outputs
from nybble.ops import Function, Step, Window
from nybble.quantize import CALIBRATIONS, Override, Range, Recipe, observe
from nybble.quantize.activations import rounding_loss
from nybble.quantize.calibration import BINS, Histogram
from nybble.quantize.observe import CHOICES, chosen
from nybble.quantize.parameters import activation_parameters, quantized


def numbers(count: int, seed: int = 0) -> np.ndarray:
    """Bell-shaped, with outliers."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, 30)) * np.where(random.random((count, 30)) < 0.002, 40, 1)
    return values.astype(np.float32)


def watched(method: str, parts: Sequence[np.ndarray], percentile: float = 99.9) -> Range:
    found = CALIBRATIONS[method](percentile)
    for part in parts:
        found.update(part)
    return found.range(8)


@pytest.mark.parametrize("method", CALIBRATIONS)
def test_batches_do_not_change_a_range(method: str) -> None:
    x = numbers(100) * np.linspace(0.001, 5, 100, dtype=np.float32)[:, None]
    whole = watched(method, [x])
    assert watched(method, [x[:1], x[1:40], x[40:]]) == whole
    assert watched(method, np.split(x, 100)) == whole
    if method != "average":
        assert watched(method, [x[::-1]]) == whole


@pytest.mark.parametrize("method", CALIBRATIONS)
def test_ends_of_ranges(method: str) -> None:
    """Never wider than what was seen; nothing, zeros and one sign are ranges as well."""
    x = numbers(50)
    low, high = watched(method, [x])
    assert x.min() <= low < 0 < high <= x.max()
    low, high = watched(method, [np.abs(x)])
    assert 0 <= low <= high <= np.abs(x).max()
    assert watched(method, [np.zeros((3, 5), np.float32)]) == (0, 0)
    assert watched(method, [np.zeros((3, 0), np.float32)]) == (0, 0)
    for value in (1e-30, -1e30, 3.0):
        low, high = watched(method, [np.full((2, 3), value, np.float32)])
        assert min(low, 0) <= np.float32(value) <= max(high, 0) or method == "entropy"


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), st.integers(1, 5))
def test_histogram_counts_what_wide_bins_would(values: list[float], parts: int) -> None:
    x = np.array(values, np.float32)
    streamed = Histogram()
    for part in np.array_split(x, parts):
        streamed.update(part[None])
    if streamed.exponent is None:
        assert not x.any()
        return
    places = np.floor(x.astype(np.float64) / 2.0**streamed.exponent).astype(int) + BINS
    assert np.array_equal(streamed.counts, np.bincount(places, minlength=2 * BINS))
    assert np.abs(x).max() >= 2.0**streamed.exponent * BINS / 2


def test_percentile_leaves_as_many_numbers_outside_as_it_says() -> None:
    x = numbers(1000)
    for percentile in (100.0, 99.99, 99.0, 90.0):
        low, high = watched("percentile", [x], percentile)
        allowed = x.size * (100 - percentile) / 100
        assert (x > high).sum() <= allowed
        assert (x < low).sum() <= allowed
        width = 2.0 ** (np.frexp(np.abs(x).max())[1] - 11)
        assert (x > high - width).sum() >= allowed or high == x.max()
    assert watched("percentile", [x], 100.0) == (x.min(), x.max())


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("symmetric", [False, True])
def test_least_squared_error_is_less_than_that_of_the_extremes(bits: int, symmetric: bool) -> None:
    x = numbers(400)
    errors = {}
    for method in ("minmax", "mse", "percentile"):
        found = CALIBRATIONS[method](99.9)
        found.update(x)
        q = activation_parameters(found.range(bits, symmetric), bits, symmetric)
        integers = quantized(x, q, DType.INT8).astype(np.float64)
        assert integers.min() >= -(1 << (bits - 1))
        assert integers.max() < 1 << (bits - 1)
        assert not symmetric or q.single_zero_point == 0
        errors[method] = float(((integers - q.single_zero_point) * q.single_scale - x).__pow__(2).mean())
    assert errors["mse"] < errors["minmax"]
    assert errors["mse"] <= errors["percentile"] * 1.001


IMAGE = (1, 6, 5, 4)
W = Window((3, 3), padding=((1, 1), (1, 1)))


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def network() -> Graph:
    """Every kind of operator that writes an activation, between two convolutions."""
    tensors: dict[str, Tensor] = {"x": Tensor("x", DType.FLOAT32, IMAGE)}
    nodes: list[Node] = []

    def add(op: Operator, *inputs: str | np.ndarray) -> str:
        names = []
        for i, one in enumerate(inputs):
            name = one if isinstance(one, str) else f"constant {len(nodes)}.{i}"
            if not isinstance(one, str):
                tensors[name] = constant(name, one)
            names.append(name)
        [shape] = op.shapes([tensors[n] for n in names])
        out = f"y{len(nodes)}"
        tensors[out] = Tensor(out, DType.FLOAT32, shape)
        nodes.append(Node(op, tuple(names), (out,), f"{op.name}{len(nodes)}"))
        return out

    y = add(ops.Conv2d(W, activation=ops.Activation.RELU6), "x", drawn(4, 3, 3, 4), drawn(4))
    a = add(ops.DepthwiseConv2d(W), y, drawn(1, 3, 3, 4))
    b = add(ops.Add(), y, a)
    c = add(ops.Mul(activation=ops.Activation.RELU), b, a)
    d = add(ops.HardSwish(), c)
    e = add(ops.RealFunction(Function.GELU), d)
    f = add(ops.LeakyRelu(0.1), add(ops.Sub(), e, a))
    g = add(ops.Pointwise((Step(ops.Logistic(), (0,)), Step(ops.Mul(), (0, 1)))), f)
    h = add(ops.Affine(0.5, 0.1, -1, 1), g)
    pooled = [add(ops.MaxPool2d(W), h), add(ops.AveragePool2d(W), h)]
    i = add(ops.Concat(3), *pooled)
    j = add(ops.ResizeBilinear((6, 5)), add(ops.ResizeNearest((12, 10)), i))
    k = add(ops.Softmax(), j)
    m = add(ops.Maximum(), add(ops.Quantize(), k), j)
    n = add(ops.Mean((1, 2), True), m)
    p = add(ops.SquaredDifference(), m, n)
    r = add(ops.FullyConnected(True), p, drawn(6, 8), drawn(6))
    out = add(ops.Conv2d(Window((1, 1))), r, drawn(3, 1, 1, 6))
    return Graph(tensors, tuple(nodes), (Port("x", "x", True),), (Port(out, "y", True),), "network")


@pytest.mark.parametrize("bits", [4, 2])
def test_few_levels_hold_on_the_core(bits: int) -> None:
    """No activation leaves its levels whatever the input, and the core equals the meaning on every CPU level."""
    graph = network()
    samples = np.random.default_rng(0).normal(size=(20, *IMAGE[1:])).astype(np.float32)
    result = nybble.quantize(graph, samples, recipe=Recipe(8, bits))
    half = 1 << (bits - 1)
    whole = [t for t in result.graph.tensors.values() if t.data is None and t.quantized.bits is None]
    few = [t for t in result.graph.tensors.values() if t.data is None and t.quantized.bits == bits]
    assert {"x", result.graph.outputs[0].tensor} <= {t.name for t in whole}
    assert len(few) > len(whole)
    random = np.random.default_rng(1)
    cases = [random.choice([-128, 127], IMAGE), random.integers(-128, 128, IMAGE), np.full(IMAGE, 127)]
    for case in cases:
        x = case.astype(np.int8)
        values = nybble.graph.evaluate(result.graph, [x])
        for tensor in few:
            array = values[tensor.name]
            assert -half <= array.min() <= array.max() < half, tensor.name
        wanted = evaluate_outputs(result.graph, [x])
        for cpu in nybble.cpu_levels():
            found = nybble.load(result.model, cpu=cpu).run([x])
            assert np.array_equal(found[0], wanted[0]), cpu


def test_levels_by_layer_and_by_calibration() -> None:
    graph = network()
    samples = np.random.default_rng(0).normal(size=(20, *IMAGE[1:])).astype(np.float32)
    overrides = (
        Override(type="*Conv2d", activations=4, calibration="percentile"),
        Override(name="DepthwiseConv2d*", activations=2, calibration="mse"),
    )
    result = nybble.quantize(graph, samples, recipe=Recipe(overrides=overrides))
    bits = {n.op.name: result.graph.tensors[n.outputs[0]].quantized.bits for n in result.graph.nodes[:3]}
    assert bits == {"Conv2d": 4, "DepthwiseConv2d": 2, "Add": None}
    costs = result.layers().layers
    assert [one.activation_bits for one in costs[:3]] == [4, 2, 8]
    assert costs[1].saturation > 0.01


def test_symmetric_activations_have_no_zero_point() -> None:
    result = nybble.quantize(network(), drawn(8, *IMAGE[1:]), recipe=Recipe(symmetric=True))
    given = {"Softmax"}
    written = {n.outputs[0] for n in result.graph.nodes if n.op.name in given}
    for tensor in result.graph.tensors.values():
        if tensor.data is None and tensor.name not in written:
            assert tensor.zero_point == 0


_PROGRAM = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import test_calibration as t
print(t.digest())
"""


def digest() -> str:
    """Of the models that every calibration gives."""
    import hashlib

    found = hashlib.sha256()
    samples = drawn(12, *IMAGE[1:])
    for calibration in CALIBRATIONS:
        recipe = Recipe(4, 4, calibration=calibration, first=8)
        found.update(nybble.quantize(network(), samples, recipe=recipe).model)
    return found.hexdigest()


@pytest.mark.parametrize(
    "machine",
    [
        {"OPENBLAS_NUM_THREADS": "2"},
        {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 ASIMDHP SVE"},
    ],
)
def test_other_machines_write_the_same_bytes(machine: dict[str, str]) -> None:
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(Path(__file__).parent)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **machine},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip() == digest(), found.stderr


def test_levels_are_part_of_the_quantization() -> None:
    q = Quantization.per_tensor(0.5, -2, 2)
    tensor = Tensor("x", DType.INT8, (1,), q)
    assert (tensor.lowest, tensor.highest) == (-2, 1)
    assert ops.Activation.RELU6.limits(tensor) == (-2, 1)
    assert (Tensor("x", DType.INT8, (1,)).lowest, Tensor("x", DType.INT8, (1,)).highest) == (-128, 127)


def test_ranges_far_apart_under_one_scale_are_named() -> None:
    """Boxes in pixels beside scores: the operator, the tensor that suffers, and what to do."""
    graph = detector(300.0)
    x = drawn(10, *IMAGE[1:])
    result = nybble.quantize(graph, x)
    (found,) = result.warnings
    assert found.ratio > 16
    assert "Concat 'joined' joins" in str(found)
    assert "'scores/rescaled' keeps about" in str(found)
    assert "outputs of their own" in str(result)
    assert nybble.quantize(detector(1.0), x).warnings == ()


def detector(size: float) -> Graph:
    weights = [(drawn(4, 1, 1, 4) * np.float32(factor)) for factor in (size, 1)]
    names = ("boxes", "logits", "scores", "out")
    shapes = ((1, 6, 5, 4), (1, 6, 5, 4), (1, 6, 5, 4), (1, 6, 5, 8))
    tensors = {n: Tensor(n, DType.FLOAT32, s) for n, s in zip(names, shapes, strict=True)}
    tensors |= {"x": Tensor("x", DType.FLOAT32, IMAGE)}
    tensors |= {f"w{i}": constant(f"w{i}", w) for i, w in enumerate(weights)}
    conv = ops.Conv2d(Window((1, 1)))
    nodes = (
        Node(conv, ("x", "w0"), ("boxes",), "boxes"),
        Node(conv, ("x", "w1"), ("logits",), "logits"),
        Node(ops.Logistic(), ("logits",), ("scores",), "scores"),
        Node(ops.Concat(3), ("boxes", "scores"), ("out",), "joined"),
    )
    return Graph(tensors, nodes, (Port("x", "x", True),), (Port("out", "y", True),), "detector")


def test_the_command_takes_a_recipe(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("yaml")
    from click.testing import CliRunner
    from onnx_networks import Network

    from nybble.cli import main

    net = Network()
    y = net.node("Relu", net.conv(net.input([1, 3, 8, 8]), (4, 3, 3, 3)))
    (tmp_path / "net.onnx").write_bytes(net.model(net.conv(y, (2, 4, 1, 1))))
    np.savez(tmp_path / "x.npz", x=drawn(8, 3, 8, 8))
    (tmp_path / "recipe.yaml").write_text("weights: 4\nactivations: 2\ncalibration: entropy\n")
    start = ["quantize", str(tmp_path / "net.onnx"), "--data", str(tmp_path / "x.npz"), "--no-layers"]
    start += ["-o", str(tmp_path / "net.nyb"), "--force"]
    models = []
    for options in ([], ["--activations", "8"], ["--calibration", "percentile", "--percentile", "99"]):
        done = CliRunner().invoke(main, [*start, "--recipe", str(tmp_path / "recipe.yaml"), *options])
        assert done.exit_code == 0, done.output
        models.append((tmp_path / "net.nyb").read_bytes())
    assert len(set(models)) == 3
    (tmp_path / "recipe.yaml").write_text("wheights: 4\n")
    done = CliRunner().invoke(main, [*start, "--recipe", str(tmp_path / "recipe.yaml")])
    assert done.exit_code == 1
    assert "recipe.yaml: unknown key 'wheights'; there are weights, activations" in done.output


def identity(size: int = 4) -> Graph:
    """y = x."""
    tensors = {
        "x": Tensor("x", DType.FLOAT32, (1, size)),
        "w": constant("w", np.eye(size, dtype=np.float32)),
        "y": Tensor("y", DType.FLOAT32, (1, size)),
    }
    node = Node(ops.FullyConnected(), ("x", "w"), ("y",), "same")
    return Graph(tensors, (node,), (Port("x", "x", True),), (Port("y", "y", True),), "identity")


def test_loss_of_rounded_activations() -> None:
    """Input and output are rounded, one after the other, and what is out of range is clipped; weights are not."""
    x = np.random.default_rng(0).normal(size=(7, 1, 4)).astype(np.float32)
    ranges = {"x": Range(-1.5, 1.5), "y": Range(-0.75, 2.0)}
    y = x.astype(np.float64)
    for low, high in ranges.values():
        scale = float(np.float32((high - low) / 255))
        zero = np.floor(-128 - low / scale + 0.5)
        y = (np.clip(np.floor(y / scale + 0.5) + zero, -128, 127) - zero) * scale
    assert rounding_loss(identity(), ranges, Recipe(), [x]) == pytest.approx(
        float(((y - x) ** 2).sum()), rel=1e-5
    )


@pytest.mark.parametrize("row", CHOICES)
def test_calibration_is_chosen_on_samples_that_ranges_are_not_of(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).normal(size=(12, 1, 400)).astype(np.float32)
    x[1::2] *= 10
    seen = []

    def loss(graph: Graph, ranges: dict[str, Range], recipe: Recipe, samples: Sequence[np.ndarray]) -> float:
        seen.append((ranges["x"].high > 10, float(samples[0].max()) > 10))
        clipped = ranges["x"].high < x[int(ranges["x"].high > 10) :: 2].max()
        return float(clipped == (row == "minmax"))

    monkeypatch.setattr(sys.modules[chosen.__module__], "rounding_loss", loss)
    assert chosen(identity(400), [x], Recipe()) == row
    assert sorted(seen) == [(False, True)] * 2 + [(True, False)] * 2
    ranges = observe(identity(400), [x], Recipe())
    assert ranges == observe(identity(400), [x], Recipe(calibration=row))
    assert chosen(identity(400), [x[:1]], Recipe()) == "minmax"
