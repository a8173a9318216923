# SPDX-License-Identifier: Apache-2.0
"""Networks made on the spot: the same random integers as int8 .tflite, QDQ .onnx in three forms, and float.

Chains of convolutions, depthwise convolutions and a fully connected layer. Every activation is a relu's, so
that zero points are at the end of the range and all forms hold the same real numbers: 0..255 in uint8,
-128..127 in int8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """kind: conv or depthwise. weights: int8 [outputs, kh, kw, inputs] or [channels, kh, kw, 1]; scale: of each output."""

    kind: str
    weights: Array
    scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int32]
    stride: int
    #: Scale of the output.
    output: float


@dataclass(frozen=True)
class Made:
    """A chain of layers on square images. size: pixels along each side; scale: of the input."""

    size: int
    channels: int
    scale: float
    layers: tuple[Layer, ...]

    def shapes(self) -> list[tuple[int, int]]:
        """(size, channels) of the input and of every layer's output, SAME padding."""
        result = [(self.size, self.channels)]
        for layer in self.layers:
            result.append((-(-result[-1][0] // layer.stride), len(layer.weights)))
        return result


def chain(size: int, channels: int, *kinds: tuple[str, int, int, int], seed: int = 0) -> Made:
    """A network of (kind, kernel, outputs, stride) with random weights, activations filling their range."""
    rng = np.random.default_rng(seed)
    scale, layers = 1 / 64, []
    made = Made(size, channels, scale, ())
    for kind, kernel, outputs, stride in kinds:
        inputs = 1 if kind == "depthwise" else channels
        weights = rng.integers(-127, 128, (outputs, kernel, kernel, inputs)).astype(np.int8)
        scales = rng.uniform(0.002, 0.008, outputs).astype(np.float32)
        output = float(np.float32(scale * 80 * 73 * 0.005 * (kernel * kernel * inputs) ** 0.5 / 80))
        bias = rng.integers(-1000, 1000, outputs).astype(np.int32)
        layers.append(Layer(kind, weights, scales, bias, stride, output))
        scale, channels = output, outputs
    return Made(made.size, made.channels, made.scale, tuple(layers))


#: Small networks of the two families that matter.
NETWORKS = {
    "made_mobile": chain(
        64, 3, ("conv", 3, 16, 2), ("depthwise", 3, 16, 1), ("conv", 1, 32, 1), ("depthwise", 3, 32, 2),
        ("conv", 1, 64, 1), ("depthwise", 3, 64, 2), ("conv", 1, 128, 1), ("conv", 1, 128, 1),
    ),
    "made_residual": chain(
        32, 3, ("conv", 3, 32, 1), ("conv", 3, 32, 1), ("conv", 3, 64, 2), ("conv", 3, 64, 1), ("conv", 1, 128, 2)
    ),
}  # fmt: skip


def write(made: Made, folder: Path) -> None:
    """Write every form of a network into its folder. Raises ImportError without the packages of the extra bench."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in (
        ("int8.tflite", tflite(made, integer=True)),
        ("float.tflite", tflite(made, integer=False)),
        ("float.onnx", onnx_float(made)),
        *((f"{form}.onnx", onnx_qdq(made, form)) for form in ("u8s8", "u8u8", "s8s8")),
    ):
        (folder / file).write_bytes(content)


def tflite(made: Made, *, integer: bool) -> bytes:
    """The .tflite: int8 with scales per channel, or float32 of the same real weights."""
    from tests.oracle.single_op import OpSpec, TensorSpec, build

    shapes = made.shapes()
    scales = [made.scale, *(layer.output for layer in made.layers)]

    def activation(i: int) -> TensorSpec:
        size, channels = shapes[i]
        shape = (1, size, size, channels)
        return TensorSpec(shape, "int8", scales[i], -128) if integer else TensorSpec(shape, "float32")

    tensors, operators = {"t0": activation(0)}, []
    for i, layer in enumerate(made.layers):
        depthwise = layer.kind == "depthwise"
        weights = layer.weights.transpose(3, 1, 2, 0) if depthwise else layer.weights
        axis = 3 if depthwise else 0
        if integer:
            tensors[f"w{i}"] = TensorSpec(
                weights.shape, "int8", tuple(layer.scale.tolist()), 0, axis, weights
            )
            steps = tuple((layer.scale * np.float32(scales[i])).tolist())
            tensors[f"b{i}"] = TensorSpec(layer.bias.shape, "int32", steps, 0, 0, layer.bias)
        else:
            real, bias = _real(layer, scales[i])
            real = real.transpose(3, 1, 2, 0) if depthwise else real
            tensors[f"w{i}"] = TensorSpec(real.shape, "float32", data=real)
            tensors[f"b{i}"] = TensorSpec(bias.shape, "float32", data=bias)
        tensors[f"t{i + 1}"] = activation(i + 1)
        options: dict[str, Any] = {
            "padding": "SAME",
            "stride_h": layer.stride,
            "stride_w": layer.stride,
            "dilation_h_factor": 1,
            "dilation_w_factor": 1,
            "fused_activation_function": "RELU",
        }
        if depthwise:
            options["depth_multiplier"] = 1
        operators.append(
            OpSpec(
                "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
                (f"t{i}", f"w{i}", f"b{i}"),
                (f"t{i + 1}",),
                options,
                version=3 if integer else 1,
            )
        )
    return build(tensors, operators, ("t0",), (f"t{len(made.layers)}",))


def _real(layer: Layer, scale: float) -> tuple[Array, Array]:
    weights = layer.weights * layer.scale[:, None, None, None]
    return weights.astype(np.float32), (layer.bias * layer.scale * np.float32(scale)).astype(np.float32)


def _convolution(made: Made, i: int, inputs: Sequence[str], output: str) -> Any:
    from onnx import helper

    layer, size = made.layers[i], made.shapes()[i][0]
    kernel = layer.weights.shape[1]
    # SAME: the border is as even as it can be, the rest below and to the right.
    total = max((made.shapes()[i + 1][0] - 1) * layer.stride + kernel - size, 0)
    before = total // 2
    return helper.make_node(
        "Conv",
        list(inputs),
        [output],
        strides=[layer.stride] * 2,
        kernel_shape=[kernel] * 2,
        pads=[before, before, total - before, total - before],
        group=len(layer.weights) if layer.kind == "depthwise" else 1,
    )


def _onnx(made: Made, nodes: list[Any], constants: dict[str, Array], dtype: Any) -> bytes:
    from onnx import helper, numpy_helper

    shapes = made.shapes()
    ports = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [1, c, n, n])
        for name, (n, c) in (("x", shapes[0]), ("y", shapes[-1]))
    ]
    held = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "made", ports[:1], ports[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def onnx_float(made: Made) -> bytes:
    """The .onnx in float32."""
    from onnx import helper

    constants: dict[str, Array] = {}
    nodes, x, scale = [], "x", made.scale
    for i, layer in enumerate(made.layers):
        weights, bias = _real(layer, scale)
        constants |= {f"w{i}": np.ascontiguousarray(weights.transpose(0, 3, 1, 2)), f"b{i}": bias}
        y = "y" if i + 1 == len(made.layers) else f"t{i + 1}"
        nodes.append(_convolution(made, i, (x, f"w{i}", f"b{i}"), f"c{i}"))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [y]))
        x, scale = y, layer.output
    return _onnx(made, nodes, constants, np.float32)


def onnx_qdq(made: Made, form: str) -> bytes:
    """The .onnx with QuantizeLinear and DequantizeLinear. form: types of activations and weights, such as u8s8.

    Clamping to the type is the relu.
    """
    from onnx import helper

    activations, zero = (np.uint8, 0) if form[0] == "u" else (np.int8, -128)
    constants: dict[str, Array] = {
        "zero": np.array(zero, activations),
        "s0": np.array(made.scale, np.float32),
    }
    nodes, x, scale = [], "x", made.scale
    for i, layer in enumerate(made.layers):
        weights = np.ascontiguousarray(layer.weights.transpose(0, 3, 1, 2))
        zeros = np.zeros(len(weights), np.int8)
        if form[2] == "u":
            weights, zeros = (weights.view(np.uint8) ^ 128), np.full(len(weights), 128, np.uint8)
        constants |= {
            f"w{i}": weights,
            f"wz{i}": zeros,
            f"ws{i}": layer.scale,
            f"b{i}": layer.bias,
            f"bz{i}": np.zeros(len(weights), np.int32),
            f"bs{i}": layer.scale * np.float32(scale),
            f"s{i + 1}": np.array(layer.output, np.float32),
        }
        y = "y" if i + 1 == len(made.layers) else f"t{i + 1}"
        nodes += [
            helper.make_node("DequantizeLinear", [x, f"s{i}", "zero"], [f"x{i}"]),
            helper.make_node("DequantizeLinear", [f"w{i}", f"ws{i}", f"wz{i}"], [f"rw{i}"], axis=0),
            helper.make_node("DequantizeLinear", [f"b{i}", f"bs{i}", f"bz{i}"], [f"rb{i}"], axis=0),
            _convolution(made, i, (f"x{i}", f"rw{i}", f"rb{i}"), f"c{i}"),
            helper.make_node("QuantizeLinear", [f"c{i}", f"s{i + 1}", "zero"], [y]),
        ]
        x, scale = y, layer.output
    return _onnx(made, nodes, constants, activations)
