# SPDX-License-Identifier: Apache-2.0
"""One rule per operator of ONNX: what it becomes in the graph.

Source of each meaning: docs/Operators.md and docs/Changelog.md of the onnx package, by opset
version.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..graph import Array, DType, ModelError, Operator, Tensor
from ..ops import Activation, AverageRounding, Window
from .onnx_builder import Builder
from .refusal import Refusal


@dataclass(frozen=True)
class OnnxNode:
    """One node of the file; absent inputs are ''."""

    kind: str
    label: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    @property
    def x(self) -> str:
        """The first input."""
        return self.inputs[0]

    @property
    def y(self) -> str:
        """The first output."""
        return self.outputs[0]

    def input(self, i: int) -> str:
        """Input i, '' where it is absent."""
        return self.inputs[i] if i < len(self.inputs) else ""

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)


Rule = Callable[[Builder, OnnxNode], None]
RULES: dict[str, Rule] = {}


def _rule(*kinds: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for kind in kinds:
            RULES[kind] = function
        return function

    return register


def _axis(node: OnnxNode, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ModelError(f"{node.label}: expected an axis of {rank} dimensions, found {axis}")
    return axis % rank


def _axes(g: Builder, node: OnnxNode, rank: int) -> tuple[int, ...] | None:
    """The axes of a node, an input in newer opsets and an attribute in older ones; None where not
    given.
    """
    given = g.integers(node.input(1)) if node.input(1) else node.get("axes", None)
    return None if given is None else tuple(sorted({_axis(node, int(a), rank) for a in given}))


def _unary(g: Builder, node: OnnxNode, op: Operator) -> None:
    value = g.value(node.x)
    g.define(node.y, g.emit(op, [value.tensor], node.y, node.label), value.order)


# Windows


def _pairs(values: Sequence[int]) -> tuple[int, int]:
    """(height, width) of one or two numbers."""
    return (1, int(values[0])) if len(values) == 1 else (int(values[0]), int(values[1]))


def _window(g: Builder, node: OnnxNode, size: Sequence[int]) -> Window:
    rank = len(g.shape(node.x))
    space = rank - 2
    ones = [1] * space
    strides, dilations = node.get("strides", ones), node.get("dilations", ones)
    pads = node.get("pads", [0] * (2 * space))
    if (
        not len(size) == len(strides) == len(dilations) == space
        or len(pads) != 2 * space
        or space not in (1, 2)
    ):
        raise Refusal(
            f"a window {list(size)} over an input of {rank} dimensions",
            "use 1 or 2 dimensions of space",
        )
    if min(pads) < 0:
        raise Refusal("negative padding", "slice the input instead")
    extent = _pairs(g.shape(node.x)[2:]) if space == 2 else (1, g.shape(node.x)[2])
    kernel, stride, dilation = _pairs(size), _pairs(strides), _pairs(dilations)
    if space == 1:
        stride, dilation = (1, stride[1]), (1, dilation[1])
    auto = node.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        padding = ops.same_padding(extent, kernel, stride, dilation)
        if auto == "SAME_LOWER":
            padding = (padding[0][::-1], padding[1][::-1])
    elif auto == "VALID":
        padding = ops.window.NO_PADDING
    else:
        ends = [(int(pads[i]), int(pads[space + i])) for i in range(space)]
        padding = (ends[0], ends[1]) if space == 2 else ((0, 0), ends[0])
    if node.get("ceil_mode", 0):
        padding = _ceiled(extent, kernel, stride, dilation, padding)
    return Window(kernel, stride, dilation, padding)


def _ceiled(
    extent: tuple[int, int],
    size: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: ops.window.Padding,
) -> ops.window.Padding:
    """More padding at the ends, so that the last window counts too, unless it would begin beyond
    the input.
    """
    result = []
    for n, k, s, d, (before, after) in zip(extent, size, stride, dilation, padding, strict=True):
        reach = d * (k - 1) + 1
        count = -(-(n + before + after - reach) // s) + 1
        if (count - 1) * s >= n + before:
            count -= 1
        result.append((before, max(after, (count - 1) * s + reach - n - before)))
    return result[0], result[1]


@_rule("Conv")
def _conv(g: Builder, node: OnnxNode) -> None:
    weights = g.array(node.inputs[1]).astype(np.float32)
    rank, groups = weights.ndim, int(node.get("group", 1))
    channels = g.shape(node.x)[1]
    if rank != len(g.shape(node.x)) or weights.shape[1] * groups != channels or weights.shape[0] % groups:
        raise ModelError(f"{node.label}: weights {weights.shape} do not fit an input {g.shape(node.x)}")
    window = _window(g, node, node.get("kernel_shape", weights.shape[2:]))
    if window.size != _pairs(weights.shape[2:]):
        raise ModelError(f"{node.label}: weights {weights.shape} do not fit a window {window.size}")
    weights = weights.reshape(*weights.shape[:2], *window.size)
    op: Operator
    if groups == channels == weights.shape[0] and groups > 1:
        op, held = ops.DepthwiseConv2d(window), weights.transpose(1, 2, 3, 0)
    else:
        op, held = ops.Conv2d(window, groups), weights.transpose(0, 2, 3, 1)
    inputs = [g.image(node.x, node.label), g.add_constant(node.inputs[1], held)]
    if node.input(2):
        inputs.append(g.add_constant(node.inputs[2], g.array(node.inputs[2]).reshape(-1)))
    g.define_image(node.y, g.emit(op, inputs, node.y, node.label), rank, node.label)


@_rule("MaxPool", "AveragePool")
def _pool(g: Builder, node: OnnxNode) -> None:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Refusal("the positions of maxima", "use the first output only")
    window = _window(g, node, node.get("kernel_shape", ()))
    tensor, rank = g.image(node.x, node.label), len(g.shape(node.x))
    op: Operator = ops.MaxPool2d(window)
    if node.kind == "AveragePool":
        if node.get("count_include_pad", 0) and window.padding != ops.window.NO_PADDING:
            if node.get("ceil_mode", 0):
                raise Refusal("count_include_pad with ceil_mode", "pad explicitly")
            (top, bottom), (left, right) = window.padding
            pad = ops.Pad((0, top, left, 0), (0, bottom, right, 0))
            tensor = g.emit(pad, [tensor], f"{node.y}/padded", node.label)
            window = Window(window.size, window.stride, window.dilation)
        op = ops.AveragePool2d(window, Activation.NONE, AverageRounding.UP)
    g.define_image(node.y, g.emit(op, [tensor], node.y, node.label), rank, node.label)


@_rule("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(g: Builder, node: OnnxNode) -> None:
    tensor, rank = g.image(node.x, node.label), len(g.shape(node.x))
    shape = g.tensors[tensor].shape
    op: Operator = ops.MaxPool2d(Window((shape[1], shape[2])))
    if node.kind == "GlobalAveragePool":
        op = ops.Mean((1, 2), keep_dims=True)
    g.define_image(node.y, g.emit(op, [tensor], node.y, node.label), rank, node.label)


# Products


def _fully_connected(
    g: Builder, node: OnnxNode, x: str, weights: Array, bias: Array | None, name: str
) -> str:
    inputs = [x, g.add_constant(node.inputs[1], weights)]
    if bias is not None:
        inputs.append(g.add_constant(node.inputs[2], bias))
    keep = len(g.tensors[x].shape) != 2
    return g.emit(ops.FullyConnected(keep_dimensions=keep), inputs, name, node.label)


@_rule("Gemm")
def _gemm(g: Builder, node: OnnxNode) -> None:
    if node.get("transA", 0):
        raise Refusal("transA", "transpose the input before")
    weights = g.array(node.inputs[1]).astype(np.float32)
    weights = (weights if node.get("transB", 0) else weights.T) * np.float32(node.get("alpha", 1.0))
    shape = g.shape(node.x)
    if len(shape) != 2 or weights.ndim != 2 or weights.shape[1] != shape[1]:
        raise ModelError(f"{node.label}: weights {weights.shape} do not fit an input {shape}")
    bias = None
    if node.input(2):
        added = g.array(node.inputs[2]).astype(np.float32) * np.float32(node.get("beta", 1.0))
        if math.prod(added.shape[:-1]) != 1:
            raise Refusal(f"a bias {added.shape} for each row", "use a bias for each column")
        bias = np.broadcast_to(added.reshape(-1), (weights.shape[0],))
    x = g.plain(node.x, node.label)
    g.define(node.y, _fully_connected(g, node, x, weights, bias, node.y))


@_rule("MatMul")
def _matmul(g: Builder, node: OnnxNode) -> None:
    if g.is_constant(node.x) or not g.is_constant(node.inputs[1]):
        raise Refusal(
            "a product other than with a constant on the right",
            "only weights can be multiplied with",
        )
    weights = g.array(node.inputs[1])
    rank = len(g.shape(node.x))
    if weights.ndim != 2:
        raise Refusal(f"a constant {weights.shape} of {weights.ndim} dimensions", "use a matrix")
    order = g.value(node.x).order
    if order[-1] != rank - 1:
        order = tuple(range(rank))
    x = g.in_order(node.x, order, node.label)
    if g.shape(node.x)[-1] != weights.shape[0]:
        raise ModelError(f"{node.label}: weights {weights.shape} do not fit an input {g.shape(node.x)}")
    g.define(node.y, _fully_connected(g, node, x, weights.T, None, node.y), order)


# Elementwise


def _binary(g: Builder, node: OnnxNode, op: Operator, names: Sequence[str], output: str) -> None:
    operands, order = g.aligned(names, node.label)
    g.define(output, g.emit(op, operands, output, node.label), order)


def _by_constant(g: Builder, node: OnnxNode, op: Operator, x: str, value: Array, output: str) -> None:
    """op(x, value) with a value that is not a tensor of the network."""
    name = f"{output}/operand"
    g.constants[name] = np.asarray(value, np.float32)
    _binary(g, node, op, [x, name], output)


@_rule("Add", "Mul", "Sum")
def _add_mul(g: Builder, node: OnnxNode) -> None:
    op = ops.Mul() if node.kind == "Mul" else ops.Add()
    if len(node.inputs) == 1:
        g.values[node.y] = g.value(node.x)
        return
    # A constant comes second.
    names = sorted(node.inputs, key=g.is_constant)
    total = names[0]
    for i, name in enumerate(names[1:], 2):
        output = node.y if i == len(names) else f"{node.y}/sum{i}"
        _binary(g, node, op, [total, name], output)
        total = output


@_rule("Sub")
def _sub(g: Builder, node: OnnxNode) -> None:
    x, y = node.inputs
    if g.is_constant(y):
        _by_constant(g, node, ops.Add(), x, -g.array(y), node.y)
    elif g.is_constant(x):
        _negate(g, node, y, f"{node.y}/negated")
        _by_constant(g, node, ops.Add(), f"{node.y}/negated", g.array(x), node.y)
    else:
        _binary(g, node, ops.Sub(), [x, y], node.y)


@_rule("Div")
def _div(g: Builder, node: OnnxNode) -> None:
    divisor = g.array(node.inputs[1]).astype(np.float64)
    if not np.all(divisor):
        raise Refusal("a division by zero", "")
    _by_constant(g, node, ops.Mul(), node.x, 1 / divisor, node.y)


def _negate(g: Builder, node: OnnxNode, x: str, output: str) -> None:
    value = g.value(x)
    g.define(output, g.emit(ops.Affine(-1.0), [value.tensor], output, node.label), value.order)


@_rule("Neg")
def _neg(g: Builder, node: OnnxNode) -> None:
    _negate(g, node, node.x, node.y)


@_rule("Pow")
def _pow(g: Builder, node: OnnxNode) -> None:
    exponent = g.array(node.inputs[1])
    if np.all(exponent == 2):
        _binary(g, node, ops.Mul(), [node.x, node.x], node.y)
    elif np.all(exponent == 0.5):
        _unary(g, node, ops.RealFunction(ops.Function.SQRT))
    else:
        raise Refusal(f"the exponent {exponent.reshape(-1)[:4].tolist()}", "only 2 and 0.5 are taken")


@_rule("Max", "Min")
def _extremum(g: Builder, node: OnnxNode) -> None:
    # A constant comes second.
    names = sorted(node.inputs, key=g.is_constant)
    if len(names) != 2:
        raise Refusal(f"{len(names)} inputs", "use two")
    if g.is_constant(names[1]) and g.array(names[1]).size == 1:
        bound = float(g.array(names[1]).item())
        low, high = (bound, math.inf) if node.kind == "Max" else (-math.inf, bound)
        _unary(g, OnnxNode(**{**vars(node), "inputs": (names[0],)}), ops.Affine(low=low, high=high))
        return
    _binary(g, node, ops.Maximum() if node.kind == "Max" else ops.Minimum(), names, node.y)


@_rule("BatchNormalization")
def _batch_normalization(g: Builder, node: OnnxNode) -> None:
    scale, shift, mean, variance = (g.array(name).astype(np.float64) for name in node.inputs[1:5])
    shape = (-1, *(1,) * (len(g.shape(node.x)) - 2))
    factor = scale / np.sqrt(variance + node.get("epsilon", 1e-5))
    scaled = f"{node.y}/scaled"
    _by_constant(g, node, ops.Mul(), node.x, factor.reshape(shape), scaled)
    _by_constant(g, node, ops.Add(), scaled, (shift - mean * factor).reshape(shape), node.y)


@_rule("Relu")
def _relu(g: Builder, node: OnnxNode) -> None:
    _unary(g, node, ops.Relu())


@_rule("Clip")
def _clip(g: Builder, node: OnnxNode) -> None:
    low, high = float(node.get("min", -math.inf)), float(node.get("max", math.inf))
    if node.input(1):
        low = float(g.array(node.input(1)).item())
    if node.input(2):
        high = float(g.array(node.input(2)).item())
    _unary(g, node, ops.Affine(low=low, high=high))


@_rule("LeakyRelu")
def _leaky_relu(g: Builder, node: OnnxNode) -> None:
    _unary(g, node, ops.LeakyRelu(float(node.get("alpha", 0.01))))


@_rule("PRelu")
def _prelu(g: Builder, node: OnnxNode) -> None:
    slopes = np.unique(g.array(node.inputs[1]))
    if slopes.size != 1:
        raise Refusal("a slope for each channel", "use one slope for the layer")
    _unary(g, node, ops.LeakyRelu(float(slopes[0])))


@_rule("HardSigmoid")
def _hard_sigmoid(g: Builder, node: OnnxNode) -> None:
    factor, offset = float(node.get("alpha", 0.2)), float(node.get("beta", 0.5))
    _unary(g, node, ops.Affine(factor, offset, 0.0, 1.0))


@_rule("HardSwish", "Sigmoid", "Tanh", "Abs")
def _function(g: Builder, node: OnnxNode) -> None:
    kinds: Mapping[str, Callable[[], Operator]] = {
        "HardSwish": ops.HardSwish,
        "Sigmoid": ops.Logistic,
        "Tanh": ops.Tanh,
        "Abs": ops.Abs,
    }
    _unary(g, node, kinds[node.kind]())


@_rule("Exp", "Log", "Sqrt", "Elu", "Gelu")
def _real_function(g: Builder, node: OnnxNode) -> None:
    if node.kind == "Elu" and node.get("alpha", 1.0) != 1.0:
        raise Refusal("an alpha other than 1", "")
    function = ops.Function[node.kind.upper()]
    if node.kind == "Gelu" and node.text("approximate", "none") == "tanh":
        function = ops.Function.GELU_TANH
    _unary(g, node, ops.RealFunction(function))


@_rule("Softmax")
def _softmax(g: Builder, node: OnnxNode) -> None:
    shape, order = g.shape(node.x), g.value(node.x).order
    rank = len(shape)
    axis = _axis(node, int(node.get("axis", -1 if node.opset >= 13 else 1)), rank)
    if node.opset < 13 and axis != rank - 1:
        # Over all axes from this one on.
        flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))
        x = g.reshaped(g.plain(node.x, node.label), flat, node.label)
        y = g.emit(ops.Softmax(), [x], f"{node.y}/flat", node.label)
        g.define(node.y, g.reshaped(y, shape, node.label))
        return
    if order[-1] != axis:
        order = (*(a for a in range(rank) if a != axis), axis)
    x = g.in_order(node.x, order, node.label)
    g.define(node.y, g.emit(ops.Softmax(), [x], node.y, node.label), order)


# Reductions


def _without(order: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    """The order of the axes that remain."""
    kept = [a for a in order if a not in axes]
    return tuple(sorted(kept).index(a) for a in kept)


@_rule("ReduceMean", "ReduceSum")
def _reduce(g: Builder, node: OnnxNode) -> None:
    value = g.value(node.x)
    rank = len(value.order)
    axes = _axes(g, node, rank)
    if axes is None:
        if node.get("noop_with_empty_axes", 0):
            g.values[node.y] = value
            return
        axes = tuple(range(rank))
    keep = bool(node.get("keepdims", 1))
    kind = ops.Mean if node.kind == "ReduceMean" else ops.Sum
    held = tuple(i for i, axis in enumerate(value.order) if axis in axes)
    y = g.emit(kind(held, keep), [value.tensor], node.y, node.label)
    g.define(node.y, y, value.order if keep else _without(value.order, axes))


@_rule("ArgMax")
def _arg_max(g: Builder, node: OnnxNode) -> None:
    if node.get("select_last_index", 0):
        raise Refusal("select_last_index", "the first index of equal maxima is what is given")
    value = g.value(node.x)
    axis = _axis(node, int(node.get("axis", 0)), len(value.order))
    op = ops.ArgMax(value.order.index(axis))
    y = g.emit(op, [value.tensor], node.y, node.label, DType.INT64)
    order = _without(value.order, (axis,))
    if node.get("keepdims", 1):
        shape = list(g.tensors[y].shape)
        shape.insert(value.order.index(axis), 1)
        y = g.emit(ops.Reshape(tuple(shape)), [y], f"{node.y}/kept", node.label, DType.INT64)
        order = value.order
    g.define(node.y, y, order)


# Movement


@_rule("Transpose")
def _transpose(g: Builder, node: OnnxNode) -> None:
    value = g.value(node.x)
    rank = len(value.order)
    given = [int(a) for a in node.get("perm", range(rank)[::-1])]
    if sorted(given) != list(range(rank)):
        raise ModelError(f"{node.label}: expected an order of {rank} axes, found {given}")
    g.define(node.y, value.tensor, tuple(given.index(axis) for axis in value.order))


@_rule("Identity", "Dropout", "Cast")
def _identity(g: Builder, node: OnnxNode) -> None:
    if any(node.outputs[1:]):
        raise Refusal("the mask of a dropout", "export the network for inference")
    value = g.value(node.x)
    if node.kind == "Cast" and (
        node.get("to", 1) not in (1, 10, 11) or g.tensors[value.tensor].dtype is not DType.FLOAT32
    ):
        raise Refusal("a cast to another kind of number", "cut the network before it")
    g.values[node.y] = value


def _to_shape(g: Builder, node: OnnxNode, shape: tuple[int, ...]) -> None:
    if math.prod(shape) != math.prod(g.shape(node.x)):
        raise ModelError(f"{node.label}: {g.shape(node.x)} cannot be reshaped to {shape}")
    x = g.plain(node.x, node.label)
    dtype = g.tensors[x].dtype
    g.define(node.y, g.emit(ops.Reshape(shape), [x], node.y, node.label, dtype))


@_rule("Reshape")
def _reshape(g: Builder, node: OnnxNode) -> None:
    old = g.shape(node.x)
    given = g.integers(node.inputs[1]) if node.input(1) else [int(n) for n in node.get("shape", [])]
    if not node.get("allowzero", 0):
        given = [old[i] if n == 0 and i < len(old) else n for i, n in enumerate(given)]
    if -1 in given:
        rest = math.prod(n for n in given if n != -1)
        given[given.index(-1)] = math.prod(old) // max(rest, 1)
    _to_shape(g, node, tuple(given))


@_rule("Flatten")
def _flatten(g: Builder, node: OnnxNode) -> None:
    shape = g.shape(node.x)
    axis = int(node.get("axis", 1))
    axis = axis + len(shape) if axis < 0 else axis
    _to_shape(g, node, (math.prod(shape[:axis]), math.prod(shape[axis:])))


@_rule("Squeeze")
def _squeeze(g: Builder, node: OnnxNode) -> None:
    value, shape = g.value(node.x), g.shape(node.x)
    axes = _axes(g, node, len(shape))
    if axes is None:
        axes = tuple(i for i, n in enumerate(shape) if n == 1)
    held = tuple(shape[axis] for axis in value.order if axis not in axes)
    if math.prod(held) != math.prod(shape):
        raise ModelError(f"{node.label}: axes {axes} of {shape} are not all 1")
    dtype = g.tensors[value.tensor].dtype
    y = g.emit(ops.Reshape(held), [value.tensor], node.y, node.label, dtype)
    g.define(node.y, y, _without(value.order, axes))


@_rule("Unsqueeze")
def _unsqueeze(g: Builder, node: OnnxNode) -> None:
    value, shape = g.value(node.x), g.shape(node.x)
    given = g.integers(node.input(1)) if node.input(1) else node.get("axes", ())
    rank = len(shape) + len(given)
    axes = {_axis(node, int(axis), rank) for axis in given}
    old = [axis for axis in range(rank) if axis not in axes]
    held = (*(1 for _ in axes), *(shape[axis] for axis in value.order))
    dtype = g.tensors[value.tensor].dtype
    y = g.emit(ops.Reshape(held), [value.tensor], node.y, node.label, dtype)
    g.define(node.y, y, (*sorted(axes), *(old[axis] for axis in value.order)))


@_rule("Expand")
def _expand(g: Builder, node: OnnxNode) -> None:
    shape = tuple(np.broadcast_shapes(g.shape(node.x), tuple(g.integers(node.inputs[1]))))
    x = g.plain(node.x, node.label)
    g.define(node.y, g.emit(ops.BroadcastTo(shape), [x], node.y, node.label))


@_rule("Concat")
def _concat(g: Builder, node: OnnxNode) -> None:
    axis = _axis(node, int(node.get("axis", 1)), len(g.shape(node.x)))
    operands, order = g.aligned(node.inputs, node.label)
    y = g.emit(ops.Concat(order.index(axis)), operands, node.y, node.label)
    g.define(node.y, y, order)


_WHOLE = (None, None, 1)


def _sliced(g: Builder, node: OnnxNode, axis: int, part: ops.move.Part, output: str) -> None:
    """One part of an axis, or one position, which drops the axis."""
    value = g.value(node.x)
    index = (*[_WHOLE] * value.order.index(axis), part)
    y = g.emit(ops.Slice(index), [value.tensor], output, node.label)
    dropped = (axis,) if isinstance(part, int) else ()
    g.define(output, y, _without(value.order, dropped))


@_rule("Slice")
def _slice(g: Builder, node: OnnxNode) -> None:
    value, shape = g.value(node.x), g.shape(node.x)
    if node.input(1):
        starts, ends = g.integers(node.inputs[1]), g.integers(node.inputs[2])
        axes = g.integers(node.input(3)) if node.input(3) else list(range(len(starts)))
        steps = g.integers(node.input(4)) if node.input(4) else [1] * len(starts)
    else:
        starts, ends = list(node.get("starts", [])), list(node.get("ends", []))
        axes, steps = list(node.get("axes", range(len(starts)))), [1] * len(starts)
    parts: list[ops.move.Part] = [_WHOLE] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise ModelError(f"{node.label}: expected steps other than 0")
        at = _axis(node, axis, len(shape))
        first, last, _ = slice(start, end, step).indices(shape[at])
        parts[at] = (first, None if last < 0 else last, step)
    held = tuple(parts[axis] for axis in value.order)
    g.define(node.y, g.emit(ops.Slice(held), [value.tensor], node.y, node.label), value.order)


@_rule("Split")
def _split(g: Builder, node: OnnxNode) -> None:
    shape = g.shape(node.x)
    axis = _axis(node, int(node.get("axis", 0)), len(shape))
    sizes = g.integers(node.input(1)) if node.input(1) else node.get("split", None)
    if sizes is None:
        part = -(-shape[axis] // len(node.outputs))
        sizes = [min(part, shape[axis] - i * part) for i in range(len(node.outputs))]
    if sum(sizes) != shape[axis] or len(sizes) != len(node.outputs) or min(sizes) < 1:
        raise ModelError(f"{node.label}: parts of {list(sizes)} along axis {axis} of {shape}")
    begin = 0
    for output, size in zip(node.outputs, sizes, strict=True):
        if output:
            _sliced(g, node, axis, (begin, begin + int(size), 1), output)
        begin += int(size)


@_rule("Gather")
def _gather(g: Builder, node: OnnxNode) -> None:
    shape = g.shape(node.x)
    axis = _axis(node, int(node.get("axis", 0)), len(shape))
    chosen = g.array(node.inputs[1]).astype(np.int64)
    flat = [int(i) % shape[axis] for i in chosen.reshape(-1)]
    if chosen.ndim == 0:
        _sliced(g, node, axis, flat[0], node.y)
    elif chosen.ndim == 1 and flat == list(range(flat[0], flat[0] + len(flat))):
        _sliced(g, node, axis, (flat[0], flat[0] + len(flat), 1), node.y)
    else:
        raise Refusal(f"positions {flat[:6]}", "only one position or a row of neighbours is taken")


@_rule("Pad")
def _pad(g: Builder, node: OnnxNode) -> None:
    if node.text("mode", "constant") != "constant":
        raise Refusal(f"the mode {node.text('mode', '')!r}", "pad with a constant")
    value, shape = g.value(node.x), g.shape(node.x)
    pads = g.integers(node.inputs[1]) if node.input(1) else [int(p) for p in node.get("pads", [])]
    axes = g.integers(node.input(3)) if node.input(3) else list(range(len(shape)))
    if len(pads) != 2 * len(axes):
        raise ModelError(f"{node.label}: borders {pads} of an input {shape}")
    if min(pads) < 0:
        raise Refusal("negative padding", "slice the input instead")
    before, after = [0] * len(shape), [0] * len(shape)
    for i, axis in enumerate(axes):
        at = _axis(node, axis, len(shape))
        before[at], after[at] = pads[i], pads[len(axes) + i]
    border = float(g.array(node.input(2)).item()) if node.input(2) else float(node.get("value", 0.0))
    inputs = [value.tensor]
    if border:
        inputs.append(g.add_constant(f"{node.y}/border", np.array([border])))
    op = ops.Pad(tuple(before[a] for a in value.order), tuple(after[a] for a in value.order))
    g.define(node.y, g.emit(op, inputs, node.y, node.label), value.order)


# Resizing


def _coordinates(node: OnnxNode, n: int, out: int, scale: float) -> Array:
    """Where each output row lies in the input; source: Resize in docs/Operators.md."""
    i = np.arange(out, dtype=np.float64)
    mode = node.text("coordinate_transformation_mode", "half_pixel" if node.opset >= 11 else "asymmetric")
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * (n - 1) / (out - 1) if out > 1 else i * 0
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and out > 1):
        return (i + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return i * 0
    raise Refusal(f"the coordinates {mode!r}", "use half_pixel, asymmetric or align_corners")


#: How coordinates become rows.
_NEAREST: Mapping[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _rows(node: OnnxNode, n: int, out: int, scale: float, nearest: bool) -> Array:
    """The row (or the place between two rows) that each output row shows."""
    at = _coordinates(node, n, out, scale)
    if nearest:
        mode = node.text("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor")
        if mode not in _NEAREST:
            raise ModelError(f"{node.label}: unknown nearest_mode {mode!r}")
        at = _NEAREST[mode](at)
    return np.clip(at, 0, n - 1)


@_rule("Resize", "Upsample")
def _resize(g: Builder, node: OnnxNode) -> None:
    shape = g.shape(node.x)
    mode = node.text("mode", "nearest")
    if mode not in ("nearest", "linear") or len(shape) != 4 or node.get("axes", None) is not None:
        raise Refusal(f"{mode} resizing of {len(shape)} dimensions", "use nearest or linear on images")
    sizes = node.input(3)
    scales = node.input(1) if node.kind == "Upsample" or node.opset < 11 else node.input(2)
    if sizes:
        target = g.integers(sizes)
        factors = [t / n for t, n in zip(target, shape, strict=True)]
    else:
        given = g.array(scales).reshape(-1) if scales else np.array(node.get("scales", []))
        factors = [float(f) for f in given]
        target = [math.floor(n * f) for n, f in zip(shape, factors, strict=True)]
    if tuple(target[:2]) != shape[:2]:
        raise Refusal(f"resizing of {shape} to {target}", "only height and width can be resized")
    size, nearest = (target[2], target[3]), mode == "nearest"
    x = g.image(node.x, node.label)
    wanted = [_rows(node, n, t, f, nearest) for n, t, f in zip(shape[2:], size, factors[2:], strict=True)]
    kind = ops.ResizeNearest if nearest else ops.ResizeBilinear
    for align, half in ((False, False), (False, True), (True, False)):
        op = kind(size, align, half)
        if all(np.allclose(_shown(op, g.tensors[x], i), rows, atol=1e-4) for i, rows in enumerate(wanted)):
            g.define_image(node.y, g.emit(op, [x], node.y, node.label), 4, node.label)
            return
    raise Refusal("coordinates that round in another way", "use asymmetric with floor, or half_pixel")


def _shown(op: Operator, x: Tensor, axis: int) -> Array:
    """Which row (axis 0) or column (axis 1) of x each one of the output shows, found on a ramp."""
    ramp = np.arange(x.shape[1 + axis], dtype=np.float32)
    image = np.broadcast_to(ramp[:, None] if axis == 0 else ramp, x.shape[1:3])[None, :, :, None]
    shown: Array = op.real([image])[0][0].take(0, 1 - axis)[:, 0]
    return shown
