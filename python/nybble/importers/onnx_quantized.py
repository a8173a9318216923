# SPDX-License-Identifier: Apache-2.0
"""Quantized networks of ONNX: QuantizeLinear and DequantizeLinear around real operators (QDQ), and the operators of
their own (QOperator), which are written as the former before anything else happens.

A tensor behind QuantizeLinear is an integer tensor of the graph; DequantizeLinear gives the same tensor again, to be
read as the real numbers that it stands for. onnx_integers.py then makes the operators between them integer ones.
Source: QuantizeLinear, DequantizeLinear, QLinearConv, QLinearMatMul in docs/Operators.md of the onnx package;
docs/ContribOperators.md of ONNX Runtime for those of com.microsoft.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..graph import Array, DType, ModelError, Quantization, Rounding
from .onnx_builder import Builder, Grid
from .onnx_node import OnnxNode, rule
from .refusal import Refusal

if TYPE_CHECKING:
    import onnx

#: Signed type and what is taken from unsigned integers to become it.
_WEIGHT_TYPES = {
    "int8": (DType.INT8, 0),
    "uint8": (DType.INT8, 128),
    "int4": (DType.INT4, 0),
    "uint4": (DType.INT4, 8),
    "int2": (DType.INT2, 0),
    "uint2": (DType.INT2, 2),
    "int32": (DType.INT32, 0),
}
_BITS_8 = "activations of other than 8 bits"


def _parameters(g: Builder, node: OnnxNode) -> tuple[Array, Array]:
    """(scales float32 [n], zero points of their own type [n])."""
    scales = g.array(node.inputs[1]).astype(np.float32).reshape(-1)
    if not np.all(np.isfinite(scales)) or np.any(scales <= 0):
        raise ModelError(f"{node.label}: expected finite scales above 0")
    if not node.input(2):
        return scales, np.zeros(scales.size, np.uint8)
    zero_points = g.array(node.inputs[2]).reshape(-1)
    if zero_points.size != scales.size:
        raise ModelError(f"{node.label}: {scales.size} scales but {zero_points.size} zero points")
    return scales, zero_points


@rule("QuantizeLinear")
def _quantize(g: Builder, node: OnnxNode) -> None:
    import onnx

    scales, zero_points = _parameters(g, node)
    kind = zero_points.dtype.name
    if not node.input(2) and node.get("output_dtype", 0):
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.get("output_dtype", 0))).name
    if kind not in ("int8", "uint8"):
        raise Refusal(f"{_BITS_8}: {kind}", "quantize activations to 8 bits")
    if scales.size != 1:
        raise Refusal("activations with several scales", "quantize activations per tensor")
    quantization = Quantization.per_tensor(float(scales[0]), int(zero_points[0]) - _WEIGHT_TYPES[kind][1])
    value = g.value(node.x)
    op = ops.Quantize(rounding=Rounding.SINGLE)
    y = g.emit(op, [value.tensor], node.y, node.label, DType.INT8, quantization)
    g.define(node.y, y, value.order)
    if kind == "uint8":
        g.unsigned.add(node.y)


@rule("DequantizeLinear")
def _dequantize(g: Builder, node: OnnxNode) -> None:
    scales, zero_points = _parameters(g, node)
    if node.get("block_size", 0) and (g.quantized or not g.is_constant(node.x)):
        raise Refusal("scales of blocks", "quantize weights per tensor or per channel, or weights alone")
    if g.is_constant(node.x):
        _dequantize_constant(g, node, scales, zero_points)
        return
    value = g.value(node.x)
    tensor = g.tensors[value.tensor]
    if scales.size != 1:
        raise Refusal("activations with several scales", "quantize activations per tensor")
    if tensor.dtype is DType.UINT8:  # an input
        given = Quantization.per_tensor(float(scales[0]), int(zero_points[0]))
    else:
        unsigned = 128 if zero_points.dtype == np.uint8 and node.input(2) else 0
        given = Quantization.per_tensor(float(scales[0]), int(zero_points[0]) - unsigned)
    if tensor.dtype not in (DType.INT8, DType.UINT8):
        raise Refusal(f"{_BITS_8}: {tensor.dtype.value.lower()}", "quantize activations to 8 bits")
    if tensor.quantization is None:
        g.quantize_input(value.tensor, given)
    elif tensor.quantization != given:
        raise Refusal("a scale other than that of the integers it reads", "export both with one scale")
    g.values[node.y] = value


def _dequantize_constant(g: Builder, node: OnnxNode, scales: Array, zero_points: Array) -> None:
    data = g.array(node.x)
    if data.dtype.name not in _WEIGHT_TYPES:
        raise Refusal(f"constants of {data.dtype.name}", "use 8, 4 or 2 bits, and int32 for biases")
    dtype, shift = _WEIGHT_TYPES[data.dtype.name]
    shape = [1] * data.ndim
    axis, block = int(node.get("axis", 1)), int(node.get("block_size", 0))
    if block:
        if not -data.ndim <= axis < data.ndim:
            raise ModelError(f"{node.label}: no axis {axis} in constants {data.shape}")
        shape = list(data.shape)
        shape[axis] = -(-shape[axis] // block)
        if scales.size != int(np.prod(shape)):
            raise ModelError(f"{node.label}: expected scales {shape} of blocks, found {scales.size} scales")
        given = range(data.shape[axis])
        scales, zero_points = (
            np.take(np.repeat(x.reshape(shape), block, axis), given, axis) for x in (scales, zero_points)
        )
        shape = list(data.shape)
    elif scales.size > 1:
        if not -data.ndim <= axis < data.ndim or data.shape[axis] != scales.size:
            raise ModelError(f"{node.label}: {scales.size} scales along axis {axis} of {data.shape}")
        shape[axis] = -1
    centred = data.astype(np.int64) - zero_points.astype(np.int64).reshape(shape)
    # Weights as float32 has them; biases, which have more bits, as they are.
    wide = np.float64 if dtype is DType.INT32 else np.float32
    g.constants[node.y] = np.asarray(centred.astype(wide) * scales.reshape(shape).astype(wide))
    if g.quantized:
        g.grids[node.y] = Grid(dtype, scales, zero_points.astype(np.int64) - shift)


def is_quantized(nodes: Sequence[onnx.NodeProto]) -> bool:
    """Whether activations are integers."""
    return any(node.op_type == "QuantizeLinear" for node in nodes)


# QOperator


@dataclass(frozen=True)
class _Form:
    """A real operator, where its operands (tensor, scale, zero point) begin, and where the result's (scale, zero
    point) are.
    """

    kind: str
    operands: tuple[int, ...]
    result: int
    bias: int | None = None


_FORMS = {
    "QLinearConv": _Form("Conv", (0, 3), 6, 8),
    "QLinearMatMul": _Form("MatMul", (0, 3), 6),
    "QGemm": _Form("Gemm", (0, 3), 7, 6),
    "QLinearAdd": _Form("Add", (0, 3), 6),
    "QLinearMul": _Form("Mul", (0, 3), 6),
    "QLinearAveragePool": _Form("AveragePool", (0,), 3),
    "QLinearGlobalAveragePool": _Form("GlobalAveragePool", (0,), 3),
    "QLinearReduceMean": _Form("ReduceMean", (0,), 3),
    "QLinearSigmoid": _Form("Sigmoid", (0,), 3),
    "QLinearLeakyRelu": _Form("LeakyRelu", (0,), 3),
    "QLinearSoftmax": _Form("Softmax", (0,), 3),
}
#: The axis of a constant second operand that counts the outputs.
_OUTPUT_AXIS = {"Conv": 0, "MatMul": 1, "Gemm": 1}


def expanded(protos: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes with QOperators written as DequantizeLinear, a real operator and QuantizeLinear."""
    result: list[onnx.NodeProto] = []
    for proto in protos:
        kind = proto.op_type
        if kind in _FORMS and len(proto.input) > _FORMS[kind].result:
            result += _expanded(proto, _FORMS[kind])
        elif kind == "QLinearConcat" and len(proto.input) >= 5:
            form = _Form("Concat", tuple(range(2, len(proto.input), 3)), 0)
            result += _expanded(proto, form)
        elif kind in ("QuantizeLinear", "DequantizeLinear") and proto.domain == "com.microsoft":
            copy = type(proto)()
            copy.CopyFrom(proto)
            copy.domain = ""
            result.append(copy)
        else:
            result.append(proto)
    return result


def _expanded(proto: onnx.NodeProto, form: _Form) -> list[onnx.NodeProto]:
    helper: Any = importlib.import_module("onnx").helper
    given = list(proto.input)
    attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    label, y = proto.name or proto.output[0], proto.output[0]
    last = bool(attributes.pop("channels_last", 0))  # of pools: of four dimensions
    axis = _OUTPUT_AXIS.get(form.kind, 1)
    if attributes.get("transB", 0):
        axis = 0
    nodes, reals = [], []
    for number, at in enumerate(form.operands):
        reals.append(f"{y}/real{number}")
        nodes.append(
            helper.make_node(
                "DequantizeLinear", given[at : at + 3], reals[-1:], label, axis=axis if number else 1
            )
        )
    if form.bias is not None and len(given) > form.bias and given[form.bias]:
        scale, bias = f"{y}/bias_scale", f"{y}/bias"
        nodes.append(
            helper.make_node(
                "Mul", [given[form.operands[0] + 1], given[form.operands[1] + 1]], [scale], label
            )
        )
        nodes.append(helper.make_node("DequantizeLinear", [given[form.bias], scale], [bias], label, axis=0))
        reals.append(bias)
    result = given[form.result : form.result + 2]
    quantized = bool(result and result[0])
    inner = f"{y}/real" if quantized else y
    if last:
        first, pooled = f"{y}/channels_first", f"{y}/pooled"
        nodes += [
            helper.make_node("Transpose", reals, [first], label, perm=[0, 3, 1, 2]),
            helper.make_node(form.kind, [first], [pooled], label, **attributes),
            helper.make_node("Transpose", [pooled], [inner], label, perm=[0, 2, 3, 1]),
        ]
    else:
        nodes.append(helper.make_node(form.kind, reals, [inner], label, **attributes))
    if quantized:
        nodes.append(helper.make_node("QuantizeLinear", [inner, *result], [y], label))
    return nodes
