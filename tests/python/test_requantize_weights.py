# SPDX-License-Identifier: Apache-2.0
"""Weights on coarser grids: the promised bounds, the same bits on every CPU, outputs that stay roughly right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import nybble
from nybble import ops
from nybble.cli import main
from nybble.compile import compile_graph
from nybble.convert import convert_graph
from nybble.graph import Array, DType, Graph, Node, Port, Quantization, Tensor, evaluate_outputs
from nybble.quantize.requantize_weights import SAFE_SUM, bound_sums, narrow_weights
from nybble.session import cpu_levels, load_nyb
from oracle.single_op import OpSpec, TensorSpec, build

Pass = Callable[[Graph], Graph]
NARROW: list[tuple[Pass, dict[str, int]]] = [
    (partial(narrow_weights, bits=4), {"weight_bits": 4}),
    (partial(narrow_weights, bits=2), {"weight_bits": 2}),
]
BOUND: list[tuple[Pass, dict[str, str]]] = [
    (partial(bound_sums, run=2), {"weights": "pair-safe"}),
    (partial(bound_sums, run=4), {"weights": "quad-safe"}),
]


def network(seed: int, *, weight_zero_point: int = 0, largest: int = 128) -> Graph:
    """Depthwise, 3x3 and grouped convolution, then a fully connected layer; weights of [-largest, largest)."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Tensor] = {}
    nodes: list[Node] = []

    def add(name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> str:
        tensors[name] = Tensor(name, DType.INT8, shape, Quantization.per_tensor(scale, zero_point))
        return name

    def layer(op: ops.Conv2d | ops.DepthwiseConv2d | ops.FullyConnected, shape: tuple[int, ...], axis: int,
              out: tuple[int, ...], x: str) -> str:  # fmt: skip
        i, channels = len(nodes), shape[axis]
        # A channel of zeros and one of a single value have no step of their own.
        values = rng.integers(-largest, largest, shape).astype(np.int8)
        np.moveaxis(values, axis, 0)[1] = weight_zero_point
        single = weight_zero_point != 0 or isinstance(op, ops.FullyConnected)
        scales = (0.01,) if single else tuple(float(s) for s in rng.uniform(0.005, 0.02, channels))
        q = Quantization(scales, (weight_zero_point,) * len(scales), None if single else axis)
        tensors[f"w{i}"] = Tensor(f"w{i}", DType.INT8, shape, q, values)
        bias = rng.integers(-2000, 2000, channels).astype(np.int32)
        tensors[f"b{i}"] = Tensor(f"b{i}", DType.INT32, (channels,), None, bias)
        # Outputs about a third of the way to the ends of int8.
        depth = values.size // channels
        scale = tensors[x].scale * 74 * 0.0125 * largest / 3**0.5 * depth**0.5 / 40
        nodes.append(Node(op, (x, f"w{i}", f"b{i}"), (add(f"y{i}", out, scale, -5 + i),), f"layer{i}"))
        return f"y{i}"

    around = ops.Window((3, 3), padding=((1, 1), (1, 1)))
    x = add("x", (1, 6, 6, 8), 0.02, 7)
    y = layer(ops.DepthwiseConv2d(around), (1, 3, 3, 8), 3, (1, 6, 6, 8), x)
    y = layer(ops.Conv2d(around), (12, 3, 3, 8), 0, (1, 6, 6, 12), y)
    y = layer(ops.Conv2d(ops.Window((1, 1)), groups=2), (6, 1, 1, 6), 0, (1, 6, 6, 6), y)
    y = layer(ops.FullyConnected(), (5, 216), 0, (1, 5), y)
    graph = Graph(tensors, tuple(nodes), (Port("x", "x"),), (Port(y, y),), "network")
    graph.check()
    return graph


def sample(seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-128, 128, (1, 6, 6, 8)).astype(np.int8)


@pytest.mark.parametrize(("change", "options"), NARROW + BOUND)
@pytest.mark.parametrize("zero_point", [0, 3])
def test_every_cpu_level_computes_what_numpy_computes(
    change: Pass, options: dict[str, int], zero_point: int
) -> None:
    graph = network(1, weight_zero_point=zero_point)
    wanted = evaluate_outputs(change(graph), [sample()])[0]
    model = convert_graph(graph, **options)  # type: ignore[arg-type]
    for cpu in cpu_levels():
        session = load_nyb(model, cpu=cpu)
        session.verify()
        np.testing.assert_array_equal(session.run([sample()])[0], wanted, cpu)


@pytest.mark.parametrize("bits", [4, 2])
def test_fewer_bits_for_all_but_depthwise(bits: int) -> None:
    narrowed = narrow_weights(network(2), bits)
    weights = [narrowed.inputs_of(node)[1] for node in narrowed.nodes]
    assert [w.dtype.bits for w in weights] == [8, bits, bits, bits]
    highest = (1 << (bits - 1)) - 1
    assert all(np.abs(w.data).max() == highest for w in weights[1:] if w.data is not None)
    layers = load_nyb(convert_graph(network(2), weight_bits=bits)).layers()
    assert [layer.weight_bits for layer in layers] == [8, bits, bits, bits]


@pytest.mark.parametrize("bits", [4, 2])
def test_the_step_of_fewer_bits_is_at_least_as_good_as_the_largest_weight_gives(bits: int) -> None:
    graph = network(3)
    highest = (1 << (bits - 1)) - 1
    for node, narrowed in zip(graph.nodes[1:], narrow_weights(graph, bits).nodes[1:], strict=True):
        before, after = graph.inputs_of(node)[1], narrow_weights(graph, bits).inputs_of(narrowed)[1]
        assert before.data is not None
        assert after.data is not None
        rows = before.data.reshape(len(before.data), -1).astype(float)
        scale = before.quantized.scales[:, None] * np.ones((len(rows), 1))
        ours = after.data.reshape(rows.shape) * after.quantized.scales[:, None] / scale
        step = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1) / highest
        plain = np.rint(rows / step) * step
        errors = [((rows - values) ** 2).sum(axis=1) for values in (ours, plain)]
        assert (errors[0] <= errors[1] * (1 + 1e-6)).all()


@pytest.mark.parametrize(("run", "member"), [(2, "pair"), (4, "quad")])
@pytest.mark.parametrize("zero_point", [0, -9])
def test_sums_of_neighbours_stay_within_16_bits(run: int, member: str, zero_point: int) -> None:
    graph = network(4, weight_zero_point=zero_point)
    before = [node.fields["weights"]["certificate"][member] for node in compile_graph(graph).nodes]
    after = [
        node.fields["weights"]["certificate"][member] for node in compile_graph(bound_sums(graph, run)).nodes
    ]
    assert all(found > SAFE_SUM for found in before)
    # No more is given away than rounding asks for.
    assert all(SAFE_SUM - 2 * run <= found <= SAFE_SUM for found in after)


def test_weights_within_the_bound_stay() -> None:
    graph = network(5, largest=32)
    bounded = bound_sums(graph, 4)
    for node, kept in zip(graph.nodes, bounded.nodes, strict=True):
        for before, after in zip(graph.inputs_of(node)[1:], bounded.inputs_of(kept)[1:], strict=True):
            assert before.data is not None
            assert after.data is not None
            np.testing.assert_array_equal(after.data, before.data)
    np.testing.assert_array_equal(
        evaluate_outputs(bounded, [sample()])[0], evaluate_outputs(graph, [sample()])[0]
    )


@pytest.mark.parametrize(
    ("change", "noise"), [(NARROW[0][0], 0.1), (NARROW[1][0], 0.5), (BOUND[0][0], 0.04), (BOUND[1][0], 0.04)]
)
def test_outputs_stay_roughly_right(change: Pass, noise: float) -> None:
    graph = network(6)
    # Layer by layer: steps of difference grow with depth.
    for node in range(len(graph.nodes)):
        inputs = [t for t in graph.inputs_of(graph.nodes[node]) if t.data is None]
        part = graph.rebuilt(
            graph.nodes[node : node + 1],
            inputs=[Port(inputs[0].name, "x")],
            outputs=[Port(graph.nodes[node].outputs[0], "y")],
        )
        x = np.random.default_rng(node).integers(-128, 128, inputs[0].shape).astype(np.int8)
        wanted = evaluate_outputs(part, [x])[0].astype(int)
        found = evaluate_outputs(change(part), [x])[0].astype(int)
        assert np.std(found - wanted) <= noise * np.std(wanted), part.nodes[0].name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 3}, "expected weights of 4 or 2 bits, found 3"),
        ({"weights": "safe"}, "expected weights of pair-safe or quad-safe, found 'safe'"),
        ({"weight_bits": 4, "weights": "pair-safe"}, "4 bits are pair-safe already"),
    ],
)
def test_options_that_do_not_exist_or_contradict(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert_graph(network(7), **options)  # type: ignore[arg-type]


def dense_tflite(path: Path) -> Path:
    """int8 [1, 16] -> int8 [1, 4] with full-range weights."""
    values = np.random.default_rng(8).integers(-127, 128, (4, 16)).astype(np.int8)
    tensors = {
        "x": TensorSpec((1, 16), "int8", 0.05, 3),
        "w": TensorSpec((4, 16), "int8", 0.01, 0, data=values),
        "b": TensorSpec((4,), "int32", 0.0005, 0, data=np.arange(4)),
        "y": TensorSpec((1, 4), "int8", 0.5, -1),
    }
    path.write_bytes(build(tensors, [OpSpec("FULLY_CONNECTED", ("x", "w", "b"), ("y",))], ("x",), ("y",)))
    return path


@pytest.mark.parametrize(
    ("arguments", "options"),
    [(["--weight-bits", "4"], NARROW[0][1]), (["--weights", "pair-safe"], BOUND[0][1])],
)
def test_command_line(tmp_path: Path, arguments: list[str], options: dict[str, int]) -> None:
    source = dense_tflite(tmp_path / "dense.tflite")
    result = CliRunner().invoke(main, ["convert", str(source), *arguments])
    assert result.exit_code == 0, result.output
    content = source.with_suffix(".nyb").read_bytes()
    assert content == nybble.convert(source, **options)  # type: ignore[arg-type]
    assert content != nybble.convert(source)


def test_command_line_refuses_both(tmp_path: Path) -> None:
    source = dense_tflite(tmp_path / "dense.tflite")
    both = ["--weight-bits", "2", "--weights", "quad-safe"]
    result = CliRunner().invoke(main, ["convert", str(source), *both])
    assert result.exit_code == 2
    assert "2 bits are quad-safe already" in result.output
    assert not source.with_suffix(".nyb").exists()
