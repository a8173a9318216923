# SPDX-License-Identifier: Apache-2.0
"""From float networks to integers: close to float, equal to the numpy meaning, the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_networks import Network

import nybble
from nybble import ops
from nybble.convert import import_model
from nybble.graph import DType, Graph, Node, Port, Quantization, Rounding, Tensor, evaluate_outputs
from nybble.graph import constant as constant_tensor
from nybble.importers.onnx import import_onnx
from nybble.measure import digits
from nybble.quantize import Override, Range, Recipe
from nybble.quantize.apply import quantize_graph
from nybble.quantize.parameters import activation_parameters
from nybble.quantize.recipe import has_weights
from nybble.quantizing import prepare


def plain(net: Network) -> str:
    y = net.node("Relu", net.conv(net.input([1, 3, 10, 8]), (8, 3, 3, 3), pads=[1, 1, 1, 1]))
    y = net.conv(y, (6, 8, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0])
    return net.gemm(net.node("Flatten", net.node("Relu", y)), 6 * 5 * 4, 5)


def residual(net: Network) -> str:
    x = net.conv(net.input([1, 3, 8, 8]), (8, 3, 3, 3), pads=[1, 1, 1, 1], bias=False)
    x = net.node("Relu", net.batch_norm(x, 8))
    y = net.batch_norm(net.conv(x, (8, 8, 3, 3), pads=[1, 1, 1, 1], bias=False), 8)
    y = net.node("Relu", net.node("Add", x, y))
    return net.node("Sub", net.conv(y, (4, 8, 1, 1)), net.conv(x, (4, 8, 1, 1)))


def separable(net: Network) -> str:
    y = net.conv(net.input([1, 4, 9, 9]), (8, 2, 3, 3), group=2)
    y = net.node("Clip", net.batch_norm(y, 8), net.constant(0), net.constant(6))
    y = net.conv(y, (8, 1, 3, 3), group=8, pads=[1, 1, 1, 1])
    y = net.conv(net.node("LeakyRelu", y, alpha=0.1), (16, 8, 1, 1))
    y = net.node("Flatten", net.node("GlobalAveragePool", y))
    return net.gemm(y, 16, 4)


def attention(net: Network) -> str:
    """Squeeze and excitation, hard swish, concatenation, pools of both kinds."""
    x = net.conv(net.input([1, 3, 8, 8]), (8, 3, 3, 3), pads=[1, 1, 1, 1])
    x = net.node("HardSwish", x)
    s = net.node("Relu", net.conv(net.node("GlobalAveragePool", x), (4, 8, 1, 1)))
    s = net.node("HardSigmoid", net.conv(s, (8, 4, 1, 1)), alpha=1 / 6)
    y = net.node("Mul", x, s)
    y = net.node("Concat", y, net.node("Tanh", x), axis=1)
    y = net.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = net.node("AveragePool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    y = net.node("Resize", y, "", net.constant([1, 1, 2, 2]), mode="linear")
    return net.conv(net.node("Pad", y, net.integers(0, 0, 1, 1, 0, 0, 0, 0)), (5, 16, 3, 3))


def pools(net: Network) -> str:
    y = net.node("Relu", net.conv(net.input([1, 4, 10, 10]), (8, 4, 3, 3)))
    y = net.node("AveragePool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = net.node("MaxPool", net.conv(y, (8, 8, 1, 1)), kernel_shape=[2, 2])
    return net.gemm(net.node("Flatten", y), 8 * 9, 4)


def one_dimension(net: Network) -> str:
    y = net.node("Relu", net.conv(net.input([1, 4, 40]), (8, 4, 5), strides=[2]))
    y = net.node("Relu", net.conv(y, (8, 1, 3), group=8, pads=[1, 1]))
    return net.node("Sigmoid", net.gemm(net.node("Flatten", y), 8 * 18, 3))


NETWORKS: dict[str, Callable[[Network], str]] = {
    f.__name__: f for f in (plain, residual, separable, attention, pools, one_dimension)
}


def network(name: str, seed: int = 0) -> tuple[bytes, np.ndarray]:
    """(the model, 20 samples of its input)."""
    net = Network(seed)
    model = net.model(NETWORKS[name](net))
    shape = [d.dim_value for d in net.inputs[0].type.tensor_type.shape.dim][1:]
    return model, np.random.default_rng(seed + 100).normal(size=(20, *shape)).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_8_bits_are_close_to_float(name: str, seed: int) -> None:
    model, samples = network(name, seed)
    result = nybble.quantize(model, samples)
    assert result.comparison.outputs[0].snr_db > 30
    assert result.comparison.samples == len(samples)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "recipe",
    [Recipe(8), Recipe(4), Recipe(2), Recipe("ternary"), Recipe(4, granularity="tensor"),
     Recipe("ternary", granularity="tensor", method="clip")],
    ids=["8", "4", "2", "ternary", "4-tensor", "ternary-tensor"],
)  # fmt: skip
def test_core_equals_meaning(name: str, recipe: Recipe) -> None:
    model, samples = network(name)
    result = nybble.quantize(model, samples, recipe=recipe)
    for node in result.graph.nodes:
        if len(node.inputs) > 1 and has_weights(node):
            weights = result.graph.tensors[node.inputs[1]]
            assert recipe.weights != "ternary" or np.abs(weights.data).max() == 1
            assert len(weights.quantized.scale) == 1 or recipe.granularity == "channel"
    extremes = np.random.default_rng(1)
    for cpu in nybble.cpu_levels():
        session = nybble.load(result.model, cpu=cpu)
        port = session.inputs[0]
        cases = [extremes.integers(-128, 128, port.shape) for _ in range(6)]
        cases += [np.full(port.shape, -128), np.full(port.shape, 127)]
        cases.append(extremes.choice([-128, 127], port.shape))
        for case in cases:
            array = case.astype(np.int8)
            wanted = evaluate_outputs(result.graph, [array])
            found = session.run([array])
            assert all(np.array_equal(w, f) for w, f in zip(wanted, found, strict=True))


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"attention"}))
def test_16_bit_activations_are_closer_to_float(name: str) -> None:
    model, samples = network(name)
    snr = {
        bits: nybble.quantize(model, samples, recipe=Recipe(8, bits, method="nearest"))
        .comparison.outputs[0]
        .snr_db
        for bits in (8, 16)
    }
    assert snr[16] > snr[8] + 1
    learned = nybble.quantize(model, samples, activations=16)
    assert learned.comparison.outputs[0].snr_db > 35


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"attention"}))
def test_core_equals_meaning_in_16_bits(name: str) -> None:
    model, samples = network(name)
    result = nybble.quantize(model, samples, weights=4, activations=16)
    dtypes = {t.dtype for t in result.graph.tensors.values() if t.data is None}
    assert dtypes == {DType.INT16}
    assert all(getattr(n.op, "rounding", Rounding.SINGLE) is not Rounding.DOUBLE for n in result.graph.nodes)
    random = np.random.default_rng(1)
    for cpu in nybble.cpu_levels():
        session = nybble.load(result.model, cpu=cpu)
        shape = session.inputs[0].shape
        cases = [random.integers(-32768, 32768, shape) for _ in range(4)]
        cases += [np.full(shape, -32768), np.full(shape, 32767), random.choice([-32768, 32767], shape)]
        for case in cases:
            array = case.astype(np.int16)
            wanted = evaluate_outputs(result.graph, [array])
            found = session.run([array])
            assert all(np.array_equal(w, f) for w, f in zip(wanted, found, strict=True))


#: Networks of operators that int8 and int16 both have.
MIXED = {name: network(name) for name in ("plain", "residual", "separable", "pools", "one_dimension")}


@given(st.sampled_from(sorted(MIXED)), st.sampled_from([16, 8, 4]), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_core_equals_meaning_in_networks_of_8_and_16_bits(name: str, bits: int, seed: int) -> None:
    """Any of a network's operators in 16 bits, the others in fewer."""
    model, samples = MIXED[name]
    random = np.random.default_rng(seed)
    names = sorted({node.name for node in prepare(import_onnx(model), Recipe()).nodes})
    other = int(random.choice([8, 4])) if bits == 16 else 16
    overrides = tuple(Override(one, activations=other) for one in names if random.random() < 0.4)
    recipe = Recipe(int(random.choice([8, 4])), bits, method="nearest", overrides=overrides)
    result = nybble.quantize(model, samples[:4], recipe=recipe)
    graph = result.graph
    for node in graph.nodes:
        written = [graph.tensors[t].dtype for t in node.outputs]
        read = [graph.tensors[t].dtype for t in (node.inputs[:1] if has_weights(node) else node.inputs)]
        assert isinstance(node.op, ops.Quantize) or len({*written, *read}) == 1
    own = DType.INT16 if bits == 16 else DType.INT8
    assert {graph.tensors[port.tensor].dtype for port in graph.inputs} == {own}
    for cpu in (nybble.cpu_levels()[0], nybble.cpu_levels()[-1]):
        session = nybble.load(result.model, cpu=cpu)
        shape = session.inputs[0].shape
        for values in ((own.lowest, own.highest), np.arange(own.lowest, own.highest + 1)):
            x = random.choice(values, shape).astype(own.numpy)
            assert np.array_equal(session.run([x])[0], evaluate_outputs(graph, [x])[0])


@pytest.mark.parametrize("head", ["", "Softmax", "Relu"])
@pytest.mark.parametrize(("own", "other"), [(8, 16), (16, 8)])
def test_override_of_the_layer_that_writes_the_output(own: int, other: int, head: str) -> None:
    """Its bits are those that the override says, of the output as well, in the graph, the core and what it answers."""
    net = Network(5)
    y = net.node("Relu", net.conv(net.input([1, 3, 6, 6]), (8, 3, 3, 3)))
    y = net.gemm(net.node("Flatten", y), 8 * 16, 6)
    y = net.node(head, y) if head else y
    samples = np.random.default_rng(2).normal(size=(12, 3, 6, 6)).astype(np.float32)
    model = net.model(y)
    last = next(n for n in prepare(import_onnx(model), Recipe()).nodes if n.op.name == "FullyConnected")
    types = {8: np.int8, 16: np.int16}
    snr, written = {}, {}
    for name, overrides in {
        "none": (),
        "layer": (Override(last.name, "FullyConnected", activations=other),),
        "all": (Override(activations=other),),
    }.items():
        recipe = Recipe(8, own, overrides=overrides, method="nearest")
        result = nybble.quantize(model, samples, recipe=recipe)
        session = nybble.load(result.model)
        session.verify()
        layers = [layer for layer in session.layers() if layer.kind == "FullyConnected"]
        assert session.inputs[0].dtype == types[own]
        snr[name] = result.comparison.outputs[0].snr_db
        written[name] = (layers[-1].output.dtype, session.outputs[0].dtype)
    softmax = head == "Softmax"
    assert written == {
        "none": (types[own], types[own]),
        "layer": (types[other], types[own if softmax else other]),
        "all": (types[other], types[other]),
    }
    assert (snr["all"] > snr["none"]) == (other == 16)
    assert softmax or (snr["layer"] > snr["none"]) == (other == 16)


def test_constants_are_there_for_8_and_for_16_bits() -> None:
    net = Network()
    x, c = net.input([1, 4, 6, 6]), net.constant(net.random.normal(size=(1, 4, 6, 6)))
    y = net.node("Mul", net.node("Add", net.conv(x, (4, 4, 1, 1)), c), c)
    samples = np.random.default_rng(0).normal(size=(8, 4, 6, 6)).astype(np.float32)
    override = Override(type="Add", activations=16)
    result = nybble.quantize(net.model(y), samples, recipe=Recipe(method="nearest", overrides=(override,)))
    assert [n.op.name for n in result.graph.nodes] == ["Conv2d", "Quantize", "Add", "Quantize", "Mul"]
    added, multiplied = (result.graph.tensors[result.graph.nodes[i].inputs[1]] for i in (2, 4))
    assert (added.dtype, multiplied.dtype) == (DType.INT16, DType.INT8)
    assert added.data is not None
    assert multiplied.data is not None
    assert result.comparison.outputs[0].snr_db > 30


def test_digits_with_its_first_layers_in_16_bits() -> None:
    """The demo's network as a whole: learned weights, a table of layers, the same bytes again."""
    samples, test = digits.calibration_digits().inputs(digits.FLOAT_SHAPE)[:40], digits.test_digits()
    names = [node.name for node in prepare(import_model(digits.float_content()), Recipe()).nodes]
    recipe = Recipe(4, overrides=tuple(Override(name, activations=16) for name in names[:4]), method="gptq")
    result = nybble.quantize(
        digits.float_content(),
        samples,
        recipe=recipe,
        test=test.inputs(digits.FLOAT_SHAPE)[:100],
        labels=test.labels[:100],
    )
    session = nybble.load(result.model)
    session.verify()
    assert session.inputs[0].dtype == session.outputs[0].dtype == np.int8
    kinds = [t.dtype for t in result.graph.tensors.values() if t.data is None]
    assert {DType.INT8, DType.INT16} <= set(kinds)
    assert result.comparison.accuracies[1] > 0.95
    report = result.layers(limit=4)
    assert {layer.activation_bits for layer in report.layers} == {8, 16}
    assert (
        result.model
        == nybble.quantize(digits.float_content(), samples, recipe=recipe, test=samples[:1]).model
    )


def test_operators_without_a_form_in_16_bits_are_named() -> None:
    net = Network()
    y = net.node("Resize", net.input([1, 3, 4, 4]), "", net.constant([1, 1, 2, 2]), mode="linear")
    samples = np.random.default_rng(0).normal(size=(4, 3, 4, 4)).astype(np.float32)
    model = net.model(y)
    with pytest.raises(nybble.QuantizationError, match=r"ResizeBilinear.*expected int8"):
        nybble.quantize(model, samples, activations=16)
    with pytest.raises(nybble.UnsupportedError, match=r"ResizeBilinear.*\n?.*expected int8"):
        nybble.quantize(model, samples, recipe=Recipe(activations=16, method="nearest"))
    override = Override(type="ResizeBilinear", activations=16)
    net = Network()
    y = net.conv(net.input([1, 3, 4, 4]), (3, 3, 1, 1))
    y = net.conv(net.node("Resize", y, "", net.constant([1, 1, 2, 2]), mode="linear"), (3, 3, 1, 1))
    with pytest.raises(nybble.QuantizationError, match=r"ResizeBilinear.*expected int8"):
        nybble.quantize(net.model(y), samples, recipe=Recipe(overrides=(override,)))


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_graph_is_integer_and_has_its_own_rounding(bits: int) -> None:
    model, samples = network("attention")
    graph = nybble.quantize(model, samples, recipe=Recipe(bits, method="nearest")).graph
    kind = {8: DType.INT8, 4: DType.INT4, 2: DType.INT2}[bits]
    highest = {8: 127, 4: 7, 2: 1}[bits]
    for node in graph.nodes:
        assert getattr(node.op, "rounding", Rounding.SINGLE) in (
            Rounding.SINGLE,
            ops.AverageRounding.UP,
        )
        if isinstance(node.op, ops.Conv2d | ops.DepthwiseConv2d):
            weights = graph.tensors[node.inputs[1]]
            assert weights.dtype is kind
            assert np.abs(weights.data).max() == highest
    assert not any(t.dtype is DType.FLOAT32 for t in graph.tensors.values())
    assert all(port.real for port in (*graph.inputs, *graph.outputs))


def test_equal_inputs_give_equal_bytes() -> None:
    model, samples = network("residual")
    assert nybble.quantize(model, samples).model == nybble.quantize(model, samples.copy()).model
    other = nybble.quantize(model, samples * 1.5)
    assert other.model != nybble.quantize(model, samples).model


def test_fewer_bits_make_smaller_files() -> None:
    model, samples = network("residual")
    sizes = [nybble.quantize(model, samples, weights=bits).weight_bytes for bits in (8, 4, 2)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_weights_on_the_grid_stay_exact() -> None:
    """Weights that are integers times a scale lose nothing."""
    net = Network()
    values = net.random.integers(-1, 2, (8, 3, 3, 3)).astype(np.float32)
    values[:, 0, 0, 0] = 1
    scales = net.random.uniform(0.1, 1, (8, 1, 1, 1)).astype(np.float32)
    y = net.node("Conv", net.input([1, 3, 8, 8]), net.constant(values * scales))
    samples = np.random.default_rng(0).normal(size=(10, 3, 8, 8)).astype(np.float32)
    result = nybble.quantize(net.model(y), samples, weights=2)
    weights = result.graph.tensors[result.graph.nodes[0].inputs[1]].data
    assert np.array_equal(weights, values.transpose(0, 2, 3, 1))
    assert result.comparison.outputs[0].snr_db > 30


def test_recipe_chooses_bits_by_layer() -> None:
    model, samples = network("separable")
    names = [n.name for n in nybble.quantize(model, samples).graph.nodes if len(n.inputs) > 1]

    def bits(recipe: Recipe) -> list[int]:
        graph = nybble.quantize(model, samples, recipe=recipe).graph
        layers = [n for n in graph.nodes if len(n.inputs) > 1]
        return [graph.tensors[n.inputs[1]].dtype.bits for n in layers]

    assert bits(Recipe(4)) == [4, 4, 4, 4]
    assert bits(Recipe(2, first=8, last=8)) == [8, 2, 2, 8]
    assert bits(Recipe(4, last=8, layers={names[1]: 2, names[3]: 4})) == [4, 2, 4, 4]
    with pytest.raises(ValueError, match="no layer 'nothing'"):
        bits(Recipe(4, layers={"nothing": 8}))


@pytest.mark.parametrize("method", ["mse", "adaround"])
def test_digits_in_ternary_with_one_scale_per_layer(method: str) -> None:
    """The demo's network: every weight is -1, 0 or 1, a layer's scales are one, and the core computes what numpy does."""
    samples = digits.calibration_digits().inputs(digits.FLOAT_SHAPE)[:40]
    test = digits.test_digits()
    recipe = Recipe("ternary", first=8, method=method, granularity="tensor")
    result = nybble.quantize(
        digits.float_content(),
        samples,
        recipe=recipe,
        test=test.inputs(digits.FLOAT_SHAPE)[:100],
        labels=test.labels[:100],
    )
    layers = [node for node in result.graph.nodes if has_weights(node)]
    weights = [result.graph.tensors[node.inputs[1]] for node in layers]
    assert [len(w.quantized.scale) for w in weights] == [1] * len(layers)
    for w in weights[1:]:
        assert w.dtype is DType.INT2
        assert set(np.unique(w.data)) == {-1, 0, 1}
    session = nybble.load(result.model)
    session.verify()
    port = session.inputs[0]
    for image in test.inputs(digits.FLOAT_SHAPE)[:10]:
        x = port.quantize(image).reshape(port.shape)
        assert np.array_equal(session.run([x])[0], evaluate_outputs(result.graph, [x])[0])
    if method == "adaround":
        assert result.comparison.accuracies[1] > 0.8


@pytest.mark.parametrize("wrong", [3, 1, 32])
def test_wrong_bits_are_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="8, 4 or 2 bits or ternary"):
        Recipe(wrong)
    with pytest.raises(ValueError, match="activations of 16, 8, 4 or 2 bits"):
        Recipe(8, activations=wrong)


def test_npz_with_labels_and_destination(tmp_path: Path) -> None:
    model, samples = network("plain")
    (tmp_path / "net.onnx").write_bytes(model)
    graph = import_onnx(model)
    images = samples.transpose(0, 2, 3, 1)
    labels = np.array([evaluate_outputs(graph, [x[None]], real=True)[0].argmax() for x in images])
    np.savez(tmp_path / "data.npz", x=samples, y=labels)
    target = tmp_path / "net.nyb"
    result = nybble.quantize(tmp_path / "net.onnx", tmp_path / "data.npz", destination=target)
    assert target.read_bytes() == result.model
    assert result.comparison.accuracies == (1.0, result.comparison.outputs[0].agreement)
    assert "net.onnx" in str(result)
    assert "was 20 of 20, 100.0 %" in str(result)


def test_samples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model, samples = network("plain")
    with pytest.raises(ValueError, match=r"expected samples of shape \(1, 3, 10, 8\)"):
        nybble.quantize(model, samples.transpose(0, 2, 3, 1))
    with pytest.raises(TypeError, match="expected float32"):
        nybble.quantize(model, (samples * 10).astype(np.int8))
    with pytest.raises(ValueError, match="at least one sample"):
        nybble.quantize(model, samples[:0])
    with pytest.raises(ValueError, match="finite"):
        nybble.quantize(model, samples * np.float32(np.inf))
    with pytest.raises(ValueError, match="no samples for input 'x'"):
        nybble.quantize(model, {"other": samples})
    with pytest.raises(ValueError, match="a label for each of 20 samples"):
        nybble.quantize(model, samples, labels=[1, 2])
    np.savez(tmp_path / "data.npz", images=samples)
    with pytest.raises(ValueError, match="expected arrays 'x', found 'images'"):
        nybble.quantize(model, tmp_path / "data.npz")
    (tmp_path / "wrong.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"wrong\.npz"):
        nybble.quantize(model, tmp_path / "wrong.npz")


def test_overflow_in_the_float_network_is_named() -> None:
    net = Network()
    model = net.model(net.node("Exp", net.node("Exp", net.input([1, 4]))))
    with (
        np.errstate(over="ignore"),
        pytest.raises(nybble.QuantizationError, match="not finite"),
    ):
        nybble.quantize(model, np.full((1, 4), 50, np.float32))


def test_several_inputs_by_order_and_by_name() -> None:
    net = Network()
    a, b = net.input([1, 6], "a"), net.input([1, 6], "b")
    model = net.model(net.node("Add", net.gemm(a, 6, 4), net.gemm(b, 6, 4)))
    random = np.random.default_rng(0)
    first, second = (random.normal(size=(8, 6)).astype(np.float32) for _ in range(2))
    by_order = nybble.quantize(model, [first, second])
    assert by_order.model == nybble.quantize(model, {"b": second, "a": first}).model
    assert by_order.comparison.outputs[0].snr_db > 30


ZEROS: dict[str, Callable[[Network, str, str], str]] = {
    "sum": lambda n, x, z: n.node("Add", x, z),
    "product of zeros": lambda n, x, z: n.node("Add", x, n.node("Mul", n.node("Tanh", x), z)),
    "layer of zeros": lambda n, x, z: n.node("Add", x, n.conv(z, (4, 4, 1, 1), bias=False)),
    "constant layer": lambda n, x, z: n.node("Add", n.conv(x, (4, 4, 1, 1)), n.conv(z, (4, 4, 1, 1))),
    "layer that is never above zero": lambda n, x, z: n.node(
        "Add",
        n.node("Mul", x, n.constant(1e-3)),
        n.node("Max", z, n.node("Relu", n.node("Neg", n.node("Abs", n.conv(x, (4, 4, 1, 1), bias=False))))),
    ),
}


@pytest.mark.parametrize("activations", [16, 8])
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("name", ZEROS)
def test_what_was_always_zero_in_16_bits(name: str, size: float, activations: int) -> None:
    """A scale far from the others' would make results pass int32."""
    net = Network()
    x, z = net.input([1, 4, 4, 4]), net.input([1, 4, 4, 4], "z")
    model = net.model(ZEROS[name](net, x, z))
    samples = (net.random.normal(size=(8, 4, 4, 4)) * size).astype(np.float32)
    recipe = Recipe(8, activations, overrides=(Override(type="Add", activations=16),))
    result = nybble.quantize(model, {"x": samples, "z": 0 * samples}, recipe=recipe)
    assert result.comparison.outputs[0].snr_db > (40 if activations == 16 else 30)


@pytest.mark.parametrize("kind", ["Add", "Conv"])
def test_scales_that_do_not_fit_are_named(kind: str) -> None:
    """In 8 bits the scale of zeros is 1."""
    net = Network()
    x, z = net.input([1, 4, 4, 4]), net.input([1, 4, 4, 4], "z")
    layer = net.node("Conv", z, net.constant(np.ones((4, 4, 1, 1))), net.constant([1e-12] * 4))
    model = net.model(net.node("Add", x, z if kind == "Add" else layer))
    samples = np.full((2, 4, 4, 4), 1e-12, np.float32)
    with pytest.raises(
        nybble.QuantizationError, match=rf"{kind}.* '.* too (small|large).*Calibrate on samples"
    ):
        nybble.quantize(model, {"x": samples, "z": 0 * samples})


def test_biases_beyond_float32_scales_are_named() -> None:
    net = Network()
    x = net.input([1, 4, 4, 4])
    y = net.node("Conv", x, net.constant(np.ones((2, 4, 1, 1))), net.constant([1e38, 1]))
    with pytest.raises(
        nybble.QuantizationError, match=r"'conv0\.0': expected .* biases up to 1e\+38 .* Calibrate"
    ):
        nybble.quantize(net.model(y), np.full((3, 4, 4, 4), 1e-30, np.float32))


def test_given_scales_meet_others_through_a_quantize() -> None:
    net = Network()
    x = net.input([1, 4, 6, 6])
    y = net.node("Concat", net.node("Sigmoid", x), net.conv(x, (4, 4, 1, 1)), axis=1)
    samples = np.random.default_rng(0).normal(size=(8, 4, 6, 6)).astype(np.float32)
    graph = nybble.quantize(net.model(y), samples).graph
    assert [n.op.name for n in graph.nodes] == ["Logistic", "Conv2d", "Quantize", "Concat"]
    net = Network()
    x = net.input([1, 4, 6, 6])
    y = net.node("Concat", net.node("Sigmoid", x), net.node("Sigmoid", net.node("Neg", x)), axis=1)
    graph = nybble.quantize(net.model(y), samples).graph
    assert "Quantize" not in [n.op.name for n in graph.nodes]
    assert graph.tensors[graph.outputs[0].tensor].scale == 1 / 256


def test_quantized_networks_are_sent_to_convert() -> None:
    quantization = Quantization.per_tensor(0.1, 0)
    tensors = {n: Tensor(n, DType.INT8, (1, 4), quantization) for n in ("x", "y")}
    node = Node(ops.Reshape((1, 4)), ("x",), ("y",))
    graph = Graph(tensors, (node,), (Port("x", "x"),), (Port("y", "y"),))
    with pytest.raises(nybble.QuantizationError, match=r"nybble\.convert"):
        nybble.quantize(graph, np.zeros((1, 4), np.float32))


def test_channels_without_weights_keep_their_bias() -> None:
    net = Network()
    weights = net.random.normal(size=(4, 3, 1, 1)).astype(np.float32)
    weights[2] = 0
    bias = np.array([0.1, -0.2, 0.7, 5000], np.float32)
    x = net.input([1, 3, 4, 4])
    y = net.node("Conv", x, net.constant(weights), net.constant(bias))
    samples = np.random.default_rng(0).normal(size=(4, 3, 4, 4)).astype(np.float32)
    result = nybble.quantize(net.model(y), samples)
    found = nybble.load(result.model)(samples.transpose(0, 2, 3, 1))
    scale = result.graph.tensors[result.graph.outputs[0].tensor].scale
    assert np.abs(found[..., 2] - bias[2]).max() <= scale


finite = st.floats(-1e6, 1e6, width=32)


@given(finite, finite)
def test_activation_parameters_hold_zero_and_the_range(a: float, b: float) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    q = activation_parameters(Range(min(a, b), max(a, b)))
    assert -128 <= q.single_zero_point <= 127
    if high - low > 1e-30:
        step = q.single_scale
        assert step * (-128 - q.single_zero_point) <= low + step * 0.51
        assert step * (127 - q.single_zero_point) >= high - step * 0.51


@given(
    st.lists(finite, min_size=1, max_size=12),
    st.sampled_from([8, 4, 2]),
    st.floats(2.0**-20, 1024, width=32),
    finite,
)
def test_weights_and_bias_are_nearest(
    values: list[float], bits: int, input_scale: float, added: float
) -> None:
    weights = np.array([values], np.float32)
    bias = np.array([added], np.float32)
    tensors = {
        "w": constant_tensor("w", weights),
        "b": constant_tensor("b", bias),
        "x": Tensor("x", DType.FLOAT32, (1, len(values))),
        "y": Tensor("y", DType.FLOAT32, (1, 1)),
    }
    node = Node(ops.FullyConnected(), ("x", "w", "b"), ("y",), "layer")
    float_graph = Graph(tensors, (node,), (Port("x", "x", True),), (Port("y", "y", True),), "small")
    ranges = {"x": Range(0, 255 * input_scale), "y": Range(-1e12, 1e12)}
    graph = quantize_graph(float_graph, ranges, Recipe(bits, method="nearest"))
    x, w, *rest = graph.inputs_of(graph.nodes[0])
    scale = Fraction(w.scale)
    integers = w.data[0].tolist()
    assert scale > 0
    assert max(abs(i) for i in integers) <= {8: 127, 4: 7, 2: 1}[bits]
    for value, integer in zip(weights[0].tolist(), integers, strict=True):
        # The scale is rounded to float32, so the ends may lie outside by as much.
        assert abs(Fraction(value) - integer * scale) <= scale / 2 + abs(Fraction(value)) / 2**22
    step = Fraction(x.scale) * scale
    integer = int(rest[0].data[0]) if rest else 0
    assert abs(integer) <= 2**30 + 2**7
    assert abs(Fraction(float(bias[0])) - integer * step) <= step * Fraction(51, 100)


@given(
    st.floats(-50, 50).filter(lambda f: abs(f) > 1e-3),
    st.floats(-50, 50),
    st.floats(2.0**-10, 4, width=32),
    st.integers(-128, 127),
    st.floats(2.0**-10, 4, width=32),
    st.integers(-128, 127),
)
def test_affine_table_is_nearest(
    factor: float, offset: float, sx: float, zx: int, sy: float, zy: int
) -> None:
    x = Tensor("x", DType.INT8, (256,), Quantization.per_tensor(sx, zx))
    y = Tensor("y", DType.INT8, (256,), Quantization.per_tensor(sy, zy))
    op = ops.Affine(factor, offset, -20.0, 30.0)
    inputs = np.arange(-128, 128, dtype=np.int8)
    found = op.integer([inputs], [x], [y])[0]
    for q, r in zip(inputs.tolist(), found.tolist(), strict=True):
        real = Fraction(factor) * Fraction(x.scale) * (q - zx) + Fraction(offset)
        real = min(max(real, Fraction(-20)), Fraction(30))
        nearest = (real / Fraction(y.scale) + Fraction(1, 2)).__floor__() + zy
        assert r == min(max(nearest, -128), 127)


@given(st.lists(st.tuples(st.floats(-3, 3).filter(lambda f: abs(f) > 0.01), st.floats(-3, 3),
                          st.floats(-9, 0), st.floats(0, 9)), min_size=2, max_size=4))  # fmt: skip
def test_affines_compose(steps: list[tuple[float, float, float, float]]) -> None:
    x = np.linspace(-5, 5, 41, dtype=np.float32)
    one_by_one, composed = x, ops.Affine()
    for step in steps:
        op = ops.Affine(*step)
        one_by_one = op.real([one_by_one])[0]
        composed = composed.then(op)
    assert np.allclose(composed.real([x])[0], one_by_one, rtol=1e-4, atol=1e-4)


def test_fully_connected_of_a_graph_without_bias() -> None:
    weights = constant_tensor("w", np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32))
    tensors = {
        "w": weights,
        "x": Tensor("x", DType.FLOAT32, (1, 7)),
        "y": Tensor("y", DType.FLOAT32, (1, 5)),
    }
    node = Node(ops.FullyConnected(), ("x", "w"), ("y",), "layer")
    graph = Graph(tensors, (node,), (Port("x", "x", True),), (Port("y", "y", True),), "small")
    samples = np.random.default_rng(1).normal(size=(9, 7)).astype(np.float32)
    assert nybble.quantize(graph, samples).comparison.outputs[0].snr_db > 30
