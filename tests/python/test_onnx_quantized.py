# SPDX-License-Identifier: Apache-2.0
"""Quantized networks of ONNX against ONNX Runtime's exact kernels, operator by operator.

Each integer operator gets the integers that ONNX Runtime computed before it. Where its result differs from ONNX
Runtime's, which rounds in float32, rational arithmetic decides: it has to be the nearest.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_networks import Network  # noqa: E402
from test_onnx_operators import OPERATORS, OPSETS, behind_an_image  # noqa: E402
from test_onnx_operators import SHAPE as IMAGE  # noqa: E402
from test_onnx_operators import run as run_float  # noqa: E402

import nybble  # noqa: E402
from nybble import UnsupportedError, ops  # noqa: E402
from nybble.convert import convert_graph  # noqa: E402
from nybble.graph import DType, Graph, Node, Rounding, Tensor, evaluate_outputs  # noqa: E402
from nybble.importers.onnx import import_onnx  # noqa: E402
from nybble.quantize import Recipe  # noqa: E402

SHARED = Path(os.environ.get("NYBBLE_SHARED", "../shared"))


def session_of(model: bytes, level: str = "ORT_DISABLE_ALL") -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.x64quantprecision", "1")
    return runtime.InferenceSession(model, options)


def in_layout(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """ONNX Runtime's integers in the graph's order of axes, as int8."""
    if array.dtype == np.uint8:
        array = (array ^ 128).view(np.int8)
    if array.ndim == 4 and array.transpose(0, 2, 3, 1).shape == tensor.shape:
        return array.transpose(0, 2, 3, 1)
    return array.reshape(tensor.shape)


def exact(node: Node, graph: Graph, arrays: list[np.ndarray], at: tuple[int, ...]) -> Fraction:
    """The real result of a node at one position, in steps of the output, before its clamp."""
    inputs, (output,) = graph.inputs_of(node), graph.outputs_of(node)
    scales = [Fraction(s) for s in map(float, inputs[0].quantized.scales)]
    centred = [a.astype(np.int64) - t.zero_point for a, t in zip(arrays, inputs, strict=False)]
    step = Fraction(output.scale)
    if isinstance(node.op, ops.Add):
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        pair = [int(np.broadcast_to(c, shape)[at]) for c in centred]
        second = Fraction(inputs[1].scale) * node.op.sign
        return (scales[0] * pair[0] + second * pair[1]) / step
    if isinstance(node.op, ops.Mul):
        pair = [int(np.broadcast_to(c, output.shape)[at]) for c in centred]
        return scales[0] * Fraction(inputs[1].scale) * pair[0] * pair[1] / step
    if isinstance(node.op, ops.Mean):
        rest = tuple(slice(None) if i in node.op.axes else n for i, n in enumerate(at))
        part = centred[0][rest] if node.op.keep_dims else centred[0].mean(axis=node.op.axes)[at]
        return scales[0] * Fraction(int(part.sum()), part.size) / step
    assert isinstance(node.op, ops.Conv2d | ops.DepthwiseConv2d | ops.FullyConnected)
    w = graph.tensors[node.inputs[1]]
    assert w.data is not None
    channel = at[-1]
    weights = w.data.astype(np.int64) - w.zero_point
    if isinstance(node.op, ops.FullyConnected):
        acc = int(centred[0].reshape(-1, w.shape[1])[at[0]] @ weights[channel])
    else:
        patch = node.op.window.patches(centred[0], 0)[at[:3]]
        if isinstance(node.op, ops.DepthwiseConv2d):
            acc = int((patch[..., channel] * weights[0, ..., channel]).sum())
        else:
            per_group = w.shape[0] // node.op.groups
            first = channel // per_group * w.shape[3]
            acc = int((patch[..., first : first + w.shape[3]] * weights[channel]).sum())
    if len(node.inputs) > 2:
        bias = graph.tensors[node.inputs[2]].data
        assert bias is not None
        acc += int(bias[channel])
    scale = w.quantized.scales
    return scales[0] * Fraction(float(scale[channel if scale.size > 1 else 0])) * acc / step


def compare_operators(model: onnx.ModelProto, x: np.ndarray) -> tuple[int, int]:
    """(elements compared, those in which nybble is nearer than ONNX Runtime)."""
    graph = import_onnx(model.SerializeToString())
    source = {n.input[0]: n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    wanted = sorted(set(source.values()))
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {info.name for info in copy.graph.output}
    copy.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in wanted if n not in known)
    found = dict(zip(wanted, session_of(copy.SerializeToString()).run(wanted, {"x": x}), strict=True))
    integers = {
        name: in_layout(found[q], graph.tensors[name]) for name, q in source.items() if name in graph.tensors
    }
    for port in graph.inputs:  # quantized behind a move in some files
        if port.tensor not in integers:
            first = next(iter(source.values()))
            integers[port.tensor] = in_layout(found[first], graph.tensors[port.tensor])
    elements = nearer = 0
    for node in graph.nodes:
        constants = {n: graph.tensors[n].data for n in node.inputs if graph.tensors[n].data is not None}
        output = node.outputs[0]
        arrays = [integers.get(n, constants.get(n)) for n in node.inputs]
        ours = node.op.integer(arrays, graph.inputs_of(node), graph.outputs_of(node))[0]
        if output not in integers:
            integers[output] = ours
            continue
        theirs = integers[output]
        elements += ours.size
        if isinstance(node.op, ops.Quantize | ops.Softmax):
            continue  # the softmax of integers is no rounded real one
        tensor = graph.tensors[output]
        assert np.count_nonzero(ours != theirs) <= max(ours.size // 20, 1)
        for at in zip(*np.nonzero(ours != theirs), strict=True):
            position = tuple(int(i) for i in at)
            real = exact(node, graph, arrays, position)
            low, high = -128, 127
            if hasattr(node.op, "activation"):
                low, high = node.op.activation.limits(tensor)
            real = min(max(real, Fraction(low - tensor.zero_point)), Fraction(high - tensor.zero_point))
            mine, other = (abs(int(a[position]) - tensor.zero_point - real) for a in (ours, theirs))
            assert mine <= other
            assert mine <= Fraction(1, 2)
            nearer += 1
    return elements, nearer


NETWORKS = (
    "ad01_qdq_s8s8",
    "ad01_qdq_u8s8",
    "kws_dscnn_qdq_s8s8",
    "kws_dscnn_qdq_u8s8",
    "resnet8_cifar10_qdq_s8s8",
    "resnet8_cifar10_qdq_s8s8_per_tensor",
    "resnet8_cifar10_qdq_u8s8",
    "vww_96_qdq_s8s8",
    "vww_96_qdq_u8s8",
    "mobilenet_v1_0.25_224_qdq_s8s8",
)


def shared_model(name: str) -> onnx.ModelProto:
    path = SHARED / "models" / "converted" / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"no {path}; NYBBLE_SHARED names the folder")
    return onnx.load(path)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operator_of_public_networks_is_the_nearest(name: str) -> None:
    model = shared_model(name)
    (info,) = model.graph.input
    for node in model.graph.node:
        for i, read in enumerate(node.input):
            if read == info.name:
                node.input[i] = "x"
    info.name = "x"
    graph = import_onnx(model.SerializeToString())
    tensor = graph.tensors[graph.inputs[0].tensor]
    q = np.random.default_rng(0).integers(-128, 128, size=tensor.shape)
    x = (tensor.scale * (q - tensor.zero_point)).astype(np.float32)
    elements, nearer = compare_operators(model, x)
    assert elements > 100
    assert nearer < elements / 1000


def test_operators_of_quantized_networks_are_those_of_qdq() -> None:
    """QOperator, as a whole: ONNX Runtime's own kernels. On a CPU without a byte dot product those for uint8 by int8
    saturate; what x64quantprecision asks for takes their place at the extended level only.
    """
    model = shared_model("resnet8_cifar10_qop_u8s8")
    graph = import_onnx(model.SerializeToString())
    session = nybble.load(convert_graph(graph, golden=False))
    port = session.inputs[0]
    x = np.random.default_rng(1).uniform(0, 255, size=port.shape).astype(np.float32)
    exact = session_of(model.SerializeToString(), "ORT_ENABLE_EXTENDED")
    (wanted,) = exact.run(None, {model.graph.input[0].name: x})
    steps = np.abs(np.asarray(session(x)).reshape(wanted.shape) - wanted) / session.outputs[0].scale
    assert np.rint(steps).max() <= 1


def quantized(net: Network, x: str, scale: float, zero_point: int, dtype: Any = np.int8) -> str:
    parameters = net.constant(scale), net.constant(zero_point, dtype)
    return str(net.node("DequantizeLinear", net.node("QuantizeLinear", x, *parameters), *parameters))


def weights(net: Network, shape: tuple[int, ...], axis: int | None, dtype: int = TensorProto.INT8) -> str:
    low, high = {TensorProto.INT8: (-128, 127), TensorProto.UINT8: (0, 255), TensorProto.INT4: (-8, 7),
                 TensorProto.UINT4: (0, 15), TensorProto.INT2: (-2, 1)}[dtype]  # fmt: skip
    values = net.random.integers(low, high + 1, size=shape)
    name = f"weights{len(net.constants)}"
    net.constants.append(numpy_helper.from_array(values.astype(helper.tensor_dtype_to_np_dtype(dtype)), name))
    zero = (low + high + 1) // 2
    count = 1 if axis is None else shape[axis]
    scales = net.random.uniform(0.5, 2, size=count) / (high - low) / np.sqrt(np.prod(shape[1:]))
    point = f"point{len(net.constants)}"
    points = np.full(count, zero).astype(helper.tensor_dtype_to_np_dtype(dtype))
    net.constants.append(numpy_helper.from_array(points.reshape(() if axis is None else (-1,)), point))
    held = scales.reshape(()) if axis is None else scales
    attributes = {} if axis is None else {"axis": axis}
    return str(net.node("DequantizeLinear", name, net.constant(held), point, **attributes))


def check(net: Network, y: str, shape: tuple[int, ...]) -> Graph:
    """Operator by operator as the oracle, and the C core as numpy; returns the graph."""
    model = onnx.load_model_from_string(net.model(y))
    x = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    elements, nearer = compare_operators(model, x)
    assert nearer <= elements // 20  # ties: ONNX Runtime takes them to even
    graph = import_onnx(model.SerializeToString())
    session = nybble.load(convert_graph(graph, golden=False))
    port = graph.tensors[graph.inputs[0].tensor]
    q = np.random.default_rng(6).integers(-128, 128, size=port.shape).astype(np.int8)
    (expected,) = evaluate_outputs(graph, [q])
    np.testing.assert_array_equal(np.asarray(session(q)).reshape(expected.shape), expected)
    return graph


SHAPE = (1, 4, 7, 6)
WEIGHT_TYPES = {
    "int8": (TensorProto.INT8, 17, DType.INT8),
    "uint8": (TensorProto.UINT8, 17, DType.INT8),
    "int4": (TensorProto.INT4, 21, DType.INT4),
    "uint4": (TensorProto.UINT4, 21, DType.INT4),
    "int2": (TensorProto.INT2, 25, DType.INT2),
}


@pytest.mark.parametrize("case", WEIGHT_TYPES)
@pytest.mark.parametrize("axis", [None, 0])
def test_convolution_with_weights_of_all_types(case: str, axis: int | None) -> None:
    dtype, opset, expected = WEIGHT_TYPES[case]
    net = Network(opset=opset)
    x = quantized(net, net.input(SHAPE), 0.02, 3)
    w = weights(net, (5, 4, 3, 3), axis, dtype)
    y = net.node("Relu", net.node("Conv", x, w, net.constant(net.random.normal(size=5)), pads=[1, 1, 0, 1]))
    model_y = quantized(net, y, 0.03, -128)
    graph = check(net, model_y, SHAPE)
    (node,) = graph.nodes
    assert graph.tensors[node.inputs[1]].dtype is expected
    assert node.op.activation is ops.Activation.RELU
    assert node.op.rounding is Rounding.SINGLE


def test_unsigned_activations_and_depthwise() -> None:
    net = Network()
    x = quantized(net, net.input(SHAPE), 0.02, 128, np.uint8)
    y = net.node("Conv", x, weights(net, (4, 1, 3, 3), 0), group=4)
    graph = check(net, quantized(net, y, 0.03, 100, np.uint8), SHAPE)
    assert [node.op.name for node in graph.nodes] == ["DepthwiseConv2d"]


def test_transposed_convolution() -> None:
    net = Network()
    x = quantized(net, net.input(SHAPE), 0.02, 0)
    y = net.node("ConvTranspose", x, weights(net, (4, 3, 4, 4), None), strides=[2, 2], pads=[1, 1, 1, 1])
    check(net, quantized(net, y, 0.03, 5), SHAPE)


@pytest.mark.parametrize("trans", [0, 1])
def test_gemm_with_a_quantized_bias(trans: int) -> None:
    net = Network()
    x = quantized(net, net.input([1, 12]), 0.02, 3)
    w = weights(net, (7, 12) if trans else (12, 7), 0 if trans else 1)
    scales = net.nodes[-1].input[1]
    steps = net.node("Mul", scales, net.constant(0.02))
    b = net.node(
        "DequantizeLinear", net.constant(net.random.integers(-900, 900, size=7), np.int32), steps, axis=0
    )
    graph = check(net, quantized(net, net.node("Gemm", x, w, b, transB=trans), 0.04, -3), (1, 12))
    assert [node.op.name for node in graph.nodes] == ["FullyConnected"]


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Max", "Concat"])
def test_two_operands(kind: str) -> None:
    net = Network()
    x = quantized(net, net.input(SHAPE), 0.02, 3)
    w = weights(net, (4, 4, 1, 1), 0)
    z = quantized(net, net.node("Conv", x, w), 0.013, -7)
    y = net.node(kind, x, z, **({"axis": 1} if kind == "Concat" else {}))
    check(net, quantized(net, y, 0.031, 11), SHAPE)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("GlobalAveragePool", {}),
        ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 1]}),
        ("MaxPool", {"kernel_shape": [2, 3], "pads": [1, 0, 0, 1]}),
        ("Transpose", {"perm": [0, 2, 1, 3]}),
        ("LeakyRelu", {"alpha": 0.1}),
        ("Sigmoid", {}),
        ("HardSwish", {}),
        ("Softmax", {"axis": 1}),
    ],
)
def test_one_operand_with_a_scale_of_its_own(kind: str, attributes: dict[str, Any]) -> None:
    net = Network()
    x = quantized(net, net.input(SHAPE), 0.02, 3)
    model_y = quantized(net, net.node(kind, x, **attributes), 0.011, -30)
    graph = import_onnx(net.model(model_y))
    images = "source_layout/x" in graph.metadata
    tensor = graph.tensors[graph.inputs[0].tensor]
    q = np.random.default_rng(3).integers(-128, 128, size=tensor.shape).astype(np.int8)
    real = (tensor.scale * (q - np.int64(tensor.zero_point))).astype(np.float32)
    (wanted,) = session_of(net.model(model_y)).run(
        None, {"x": real.transpose(0, 3, 1, 2) if images else real}
    )
    (found,) = evaluate_outputs(graph, [q])
    port = graph.outputs[0]
    if graph.metadata.get(f"source_layout/{port.name}") == "NCHW":
        found = found.transpose(0, 3, 1, 2)
    out = graph.tensors[port.tensor]
    steps = np.rint(wanted / np.float32(out.scale)) + out.zero_point
    assert np.abs(found.reshape(steps.shape) - steps).max() <= 1
    # A softmax is rounded to 1/256 before it gets the network's scale.
    assert np.mean(found.reshape(steps.shape) != steps) < (0.1 if kind == "Softmax" else 0.02)
    session = nybble.load(convert_graph(graph, golden=False))
    (expected,) = evaluate_outputs(graph, [q])
    np.testing.assert_array_equal(np.asarray(session(q)).reshape(expected.shape), expected)


#: Operators that have weights, which are quantized in other tests, and those that have no form in integers here.
WITH_WEIGHTS = ("conv", "gemm", "matmul", "transposed")
FLOAT_ONLY = ("log softmax", "ReduceMin", "tensor by its sum", "constant by tensor", "cast")
#: Rounded in the input's scale first (docs/onnx.md).
TWICE = ("average pool", "resize linear")


def steps_apart(model: bytes, x: np.ndarray) -> np.ndarray:
    """How many steps of the output the C core is from ONNX Runtime, element by element."""
    (wanted,) = session_of(model).run(None, {"x": x})
    graph = import_onnx(model)
    session = nybble.load(convert_graph(graph, golden=False))
    images = "source_layout/x" in graph.metadata
    found = np.asarray(session(x.transpose(0, 2, 3, 1) if images else x))
    if graph.metadata.get(f"source_layout/{graph.outputs[0].name}") == "NCHW":
        found = found.transpose(0, 3, 1, 2)
    assert found.shape == wanted.shape
    scale = session.outputs[0].scale if wanted.dtype == np.float32 else 1
    return np.abs(found.astype(np.float64) - wanted) / scale


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("name", [n for n in OPERATORS if not n.startswith((*WITH_WEIGHTS, *FLOAT_ONLY))])
def test_operator_between_roundings(name: str, dtype: Any) -> None:
    first, last, build = OPERATORS[name]
    x = np.random.default_rng(1).normal(size=IMAGE).astype(np.float32)
    shift = 128 if dtype is np.uint8 else 0
    compared = 0
    for opset in sorted({max(first, 13), min(last, OPSETS[-1], 25)}):
        reals = run_float(behind_an_image(name, opset), x)
        if reals is None:
            continue
        net = Network(seed=opset, opset=opset)
        image = net.node("MaxPool", net.input(IMAGE), kernel_shape=[1, 1])
        y = build(net, quantized(net, image, 0.03, shift, dtype))
        integers = name == "arg max"
        if not integers:
            low, high = min(float(reals.min()), 0), max(float(reals.max()), 0)
            scale = 0.03 if name.startswith(TWICE) else (high - low) / 255
            zero_point = int(np.clip(np.rint(-low / scale), 0, 255)) - 128 + shift
            y = quantized(net, y, scale, zero_point, dtype)
        apart = steps_apart(net.model(y, dtype=TensorProto.INT64 if integers else TensorProto.FLOAT), x)
        assert apart.max() < 1.01
        # A softmax is rounded to 1/256 first; a float32 constant that is no factor of a channel to 8 bits; means tie.
        often = name.startswith(("softmax", "resize linear", "sub", "average"))
        assert np.mean(apart > 0.5) < (0.5 if often else 0.05)
        compared += 1
    assert compared


class QOperator:
    """A network of one operator of integers between QuantizeLinear and DequantizeLinear."""

    def __init__(self, dtype: Any, opset: int) -> None:
        self.net = Network(opset=opset)
        self.dtype = dtype
        self.shift = 128 if dtype is np.uint8 else 0
        self.x = self.grid(0.02, 3)
        self.y = self.grid(0.03, 5)
        self.xq = str(self.net.node("QuantizeLinear", self.net.input(SHAPE), *self.x))

    def grid(self, scale: float, zero_point: int) -> tuple[str, str]:
        return self.net.constant(scale), self.net.constant(zero_point + self.shift, self.dtype)

    def integers(self, shape: tuple[int, ...], dtype: Any) -> str:
        low, high = (0, 256) if dtype is np.uint8 else (-128, 128)
        return self.net.constant(self.net.random.integers(low, high, size=shape), dtype)

    def weights(self, shape: tuple[int, ...], dtype: Any, outputs: int | None) -> tuple[str, str, str]:
        """Integers, scales and zero points, for each output where ``outputs`` says how many."""
        zero = 128 if dtype is np.uint8 else 0
        scales = 0.002 if outputs is None else self.net.random.uniform(0.001, 0.003, outputs)
        points = np.full(() if outputs is None else outputs, zero)
        return self.integers(shape, dtype), self.net.constant(scales), self.net.constant(points, dtype)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        y = str(self.net.node(kind, *inputs, **attributes))
        if kind not in ("QLinearConv", "QLinearMatMul", "Flatten"):
            self.net.nodes[-1].domain = "com.microsoft"
        return y

    def one(self, kind: str, **attributes: Any) -> str:
        if kind == "QLinearSoftmax":
            self.y = self.grid(1 / 256, -128)
        return self.node(kind, self.xq, *self.x, *self.y, **attributes)

    def two(self, kind: str, shape: tuple[int, ...]) -> str:
        other = self.grid(0.013, -7)
        return self.node(kind, self.xq, *self.x, self.integers(shape, self.dtype), *other, *self.y)

    def conv(
        self, dtype: Any, outputs: int | None, shape: tuple[int, ...] = (5, 4, 3, 3), **more: Any
    ) -> str:
        bias = self.net.constant(self.net.random.integers(-2000, 2000, size=shape[0]), np.int32)
        operands = self.weights(shape, dtype, outputs)
        return self.node("QLinearConv", self.xq, *self.x, *operands, *self.y, bias, pads=[1] * 4, **more)

    def matmul(self, dtype: Any, outputs: int | None) -> str:
        return self.node("QLinearMatMul", self.xq, *self.x, *self.weights((6, 5), dtype, outputs), *self.y)

    def gemm(self, turned: bool, outputs: int | None) -> str:
        flat = self.node("Flatten", self.xq)
        operands = self.weights((5, 168) if turned else (168, 5), np.int8, outputs)
        bias = self.net.constant(self.net.random.integers(-2000, 2000, size=5), np.int32)
        return self.node("QGemm", flat, *self.x, *operands, bias, *self.y, transB=int(turned))

    def concat(self) -> str:
        other = self.grid(0.02, 3)
        return self.node("QLinearConcat", *self.y, self.xq, *self.x, self.xq, *other, axis=1)

    def model(self, y: str) -> bytes:
        model = onnx.load_model_from_string(self.net.model(self.net.node("DequantizeLinear", y, *self.y)))
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return bytes(model.SerializeToString())


QOPERATORS: dict[str, Callable[[QOperator], str]] = {
    "sigmoid": lambda n: n.one("QLinearSigmoid"),
    "leaky relu": lambda n: n.one("QLinearLeakyRelu", alpha=0.1),
    "global average": lambda n: n.one("QLinearGlobalAveragePool"),
    "global average, channels last": lambda n: n.one("QLinearGlobalAveragePool", channels_last=1),
    "average": lambda n: n.one("QLinearAveragePool", kernel_shape=[2, 3], strides=[2, 1]),
    "average, channels last": lambda n: n.one("QLinearAveragePool", kernel_shape=[2, 2], channels_last=1),
    "softmax": lambda n: n.one("QLinearSoftmax", axis=-1, opset=13),
    "softmax of channels": lambda n: n.one("QLinearSoftmax", axis=1, opset=13),
    "softmax of all behind an axis": lambda n: n.one("QLinearSoftmax", axis=2, opset=11),
    "add": lambda n: n.two("QLinearAdd", (1, 4, 7, 6)),
    "add, channels": lambda n: n.two("QLinearAdd", (4, 1, 1)),
    "mul": lambda n: n.two("QLinearMul", (1, 4, 7, 6)),
    "mul, channels": lambda n: n.two("QLinearMul", (4, 1, 1)),
    "mul, one number": lambda n: n.two("QLinearMul", ()),
    "concat": QOperator.concat,
    "conv s8": lambda n: n.conv(np.int8, None),
    "conv s8 per channel": lambda n: n.conv(np.int8, 5),
    "conv u8": lambda n: n.conv(np.uint8, None),
    "conv u8 per channel": lambda n: n.conv(np.uint8, 5),
    "conv depthwise": lambda n: n.conv(np.int8, 4, (4, 1, 3, 3), group=4),
    "matmul s8": lambda n: n.matmul(np.int8, None),
    "matmul s8 per channel": lambda n: n.matmul(np.int8, 5),
    "matmul u8": lambda n: n.matmul(np.uint8, None),
    "gemm": lambda n: n.gemm(False, None),
    "gemm, turned, per channel": lambda n: n.gemm(True, 5),
}


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("name", QOPERATORS)
def test_operator_of_integers(name: str, dtype: Any) -> None:
    if " u8" in name and dtype is np.int8:
        pytest.skip("ONNX Runtime multiplies no int8 by uint8")
    x = np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)
    for opset in (11, 25):
        net = QOperator(dtype, opset)
        apart = steps_apart(net.model(QOPERATORS[name](net)), x)
        assert apart.max() < 1.01
        assert np.mean(apart > 0.5) < 0.2  # ties


def test_silu_with_nothing_rounded_between_is_one_table() -> None:
    net = Network()
    x = quantized(net, net.input(SHAPE), 0.02, 3)
    y = net.node("Mul", x, net.node("Sigmoid", x))
    graph = import_onnx(net.model(quantized(net, y, 0.02, -100)))
    assert [node.op.name for node in graph.nodes] == ["Pointwise"]


def test_islands_of_float32_are_named() -> None:
    net = Network()
    x = quantized(net, net.input(SHAPE), 0.02, 3)
    a = net.node("Conv", x, weights(net, (4, 4, 1, 1), 0))
    b = net.node("Conv", a, weights(net, (4, 4, 1, 1), 0))
    c = net.conv(quantized(net, b, 0.02, 0), (4, 4, 1, 1))
    with pytest.raises(UnsupportedError) as caught:
        import_onnx(net.model(quantized(net, c, 0.02, 0)))
    reasons = [b.reason for b in caught.value.blockers]
    assert any("computes in float32" in r for r in reasons)
    assert any("weights are float32" in r for r in reasons)


def test_weights_alone_give_a_float_network() -> None:
    net = Network()
    y = net.node("Conv", net.input(SHAPE), weights(net, (5, 4, 3, 3), 0))
    graph = import_onnx(net.model(y))
    assert all(t.dtype is DType.FLOAT32 for t in graph.tensors.values())


def block_weights(net: Network, shape: tuple[int, ...], axis: int, block: int, scales: int) -> Any:
    """Weights of 4 bits with scales and zero points for blocks along an axis."""
    low, high = -8, 7
    values = net.random.integers(low, high + 1, size=shape)
    kept = list(shape)
    kept[axis] = scales
    name = f"block{len(net.constants)}"
    zeros = net.random.integers(-2, 3, size=kept)
    for suffix, array in (("w", values), ("z", zeros)):
        net.constants.append(
            helper.make_tensor(f"{name}.{suffix}", TensorProto.INT4, array.shape, array.reshape(-1).tolist())
        )
    steps = net.constant(net.random.uniform(0.01, 0.1, size=kept))
    return net.node("DequantizeLinear", f"{name}.w", steps, f"{name}.z", axis=axis, block_size=block)


def test_blocks_of_weights_alone_give_a_float_network() -> None:
    net = Network(opset=21)
    y = net.node("Conv", net.input(SHAPE), block_weights(net, (5, 4, 3, 3), 1, 2, 2))
    y = net.node("MatMul", net.node("Flatten", y), block_weights(net, (100, 6), 0, 32, 4))
    model = net.model(y)
    samples = net.random.normal(size=(8, *SHAPE[1:])).astype(np.float32)
    graph = import_onnx(model)
    assert all(t.dtype is DType.FLOAT32 for t in graph.tensors.values())
    (found,) = evaluate_outputs(graph, [samples[:1].transpose(0, 2, 3, 1)], real=True)
    (expected,) = session_of(model).run(None, {"x": samples[:1]})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    fine = nybble.quantize(model, samples, recipe=Recipe(4, group=32))
    assert fine.comparison.outputs[0].snr_db > 15


def test_blocks_are_refused_where_activations_are_integers_and_where_scales_are_missing() -> None:
    net = Network(opset=21)
    x = quantized(net, net.input(SHAPE), 0.02, 3)
    y = net.node("Conv", x, block_weights(net, (5, 4, 3, 3), 1, 2, 2))
    with pytest.raises(UnsupportedError, match="scales of blocks"):
        import_onnx(net.model(quantized(net, y, 0.02, 0)))
    net = Network(opset=21)
    y = net.node("MatMul", net.input((1, 100)), block_weights(net, (100, 6), 0, 32, 3))
    with pytest.raises(nybble.ModelError, match=r"expected scales \[4, 6\] of blocks, found 18 scales"):
        import_onnx(net.model(y))


def test_dynamic_quantization_is_refused() -> None:
    net = Network()
    net.node("DynamicQuantizeLinear", net.input(SHAPE), outputs=3)
    with pytest.raises(UnsupportedError, match="while it runs"):
        import_onnx(net.model(f"{net.nodes[-1].output[0]}", dtype=TensorProto.UINT8))
