# SPDX-License-Identifier: Apache-2.0
"""Rules of elementwise operators, softmax and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from .. import ops
from ..graph import DType, Operator
from .onnx_builder import Builder
from .onnx_node import OnnxNode, axes_of, axis_of, binary, broadcast, by_constant, rule, unary, without
from .refusal import Refusal


@rule("Add", "Mul", "Sum")
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
        binary(g, node, op, [total, name], output)
        total = output


@rule("Sub")
def _sub(g: Builder, node: OnnxNode) -> None:
    x, y = node.inputs
    if g.is_constant(y) and y not in g.grids:
        by_constant(g, node, ops.Add(), x, -g.array(y), node.y)
    elif g.is_constant(x) and g.array(x).size == 1:
        _negate(g, node, y, f"{node.y}/negated")
        by_constant(g, node, ops.Add(), f"{node.y}/negated", g.array(x), node.y)
    else:
        binary(g, node, ops.Sub(), [x, y], node.y)


@rule("Div")
def _div(g: Builder, node: OnnxNode) -> None:
    """A product with the divisor's reciprocal."""
    x, y = node.inputs
    if not g.is_constant(y):
        one = g.is_constant(x) and g.array(x).size == 1 and g.array(x).item() == 1
        reciprocal = node.y if one else f"{node.y}/reciprocal"
        unary(g, replace(node, inputs=(y,), outputs=(reciprocal,)), ops.RealFunction(ops.Function.RECIPROCAL))
        if one:
            broadcast(g, node, node.y, x)
        else:
            binary(g, node, ops.Mul(), sorted((x, reciprocal), key=g.is_constant), node.y)
        return
    divisor = g.array(y).astype(np.float64)
    if not np.all(divisor):
        raise Refusal("a division by a constant of zero", "replace the zeros, or cut the network before it")
    by_constant(g, node, ops.Mul(), x, 1 / divisor, node.y)


@rule("Reciprocal")
def _reciprocal(g: Builder, node: OnnxNode) -> None:
    unary(g, node, ops.RealFunction(ops.Function.RECIPROCAL))


def _negate(g: Builder, node: OnnxNode, x: str, output: str) -> None:
    value = g.value(x)
    g.define(output, g.emit(ops.Affine(-1.0), [value.tensor], output, node.label), value.order)


@rule("Neg")
def _neg(g: Builder, node: OnnxNode) -> None:
    _negate(g, node, node.x, node.y)


@rule("Pow")
def _pow(g: Builder, node: OnnxNode) -> None:
    exponent = g.array(node.inputs[1])
    if np.all(exponent == 2):
        binary(g, node, ops.Mul(), [node.x, node.x], node.y)
    elif np.all(exponent == 0.5):
        unary(g, node, ops.RealFunction(ops.Function.SQRT))
    else:
        raise Refusal(f"the exponent {exponent.reshape(-1)[:4].tolist()}", "only 2 and 0.5 are taken")
    broadcast(g, node, node.y, node.inputs[1])


@rule("Max", "Min")
def _extremum(g: Builder, node: OnnxNode) -> None:
    op = ops.Maximum() if node.kind == "Max" else ops.Minimum()
    if len(node.inputs) == 1:
        g.values[node.y] = g.value(node.x)
        return
    # A constant comes second.
    names = sorted(node.inputs, key=g.is_constant)
    best = names[0]
    for i, name in enumerate(names[1:], 2):
        output = node.y if i == len(names) else f"{node.y}/of{i}"
        if g.is_constant(name) and g.array(name).size == 1:
            bound = float(g.array(name).item())
            low, high = (bound, math.inf) if node.kind == "Max" else (-math.inf, bound)
            unary(g, replace(node, inputs=(best,), outputs=(output,)), ops.Affine(low=low, high=high))
            broadcast(g, node, output, name)
        else:
            binary(g, node, op, [best, name], output)
        best = output


@rule("Relu")
def _relu(g: Builder, node: OnnxNode) -> None:
    unary(g, node, ops.Relu())


@rule("Clip")
def _clip(g: Builder, node: OnnxNode) -> None:
    low, high = float(node.get("min", -math.inf)), float(node.get("max", math.inf))
    if node.input(1):
        low = float(g.array(node.input(1)).item())
    if node.input(2):
        high = float(g.array(node.input(2)).item())
    unary(g, node, ops.Affine(low=low, high=high))


@rule("LeakyRelu")
def _leaky_relu(g: Builder, node: OnnxNode) -> None:
    unary(g, node, ops.LeakyRelu(float(node.get("alpha", 0.01))))


@rule("PRelu")
def _prelu(g: Builder, node: OnnxNode) -> None:
    slopes = g.array(node.inputs[1]).astype(np.float32)
    if np.unique(slopes).size == 1:
        unary(g, node, ops.LeakyRelu(float(slopes.flat[0])))
        broadcast(g, node, node.y, node.inputs[1])
        return
    value = g.value(node.x)
    parts = []
    for name, bounds in (("positive", (0.0, math.inf)), ("negative", (-math.inf, 0.0))):
        part = g.emit(ops.Affine(1.0, 0.0, *bounds), [value.tensor], f"{node.y}/{name}", node.label)
        parts.append(f"{node.y}/{name}")
        g.define(parts[-1], part, value.order)
    by_constant(g, node, ops.Mul(), parts[1], slopes, f"{node.y}/sloped")
    binary(g, node, ops.Add(), [parts[0], f"{node.y}/sloped"], node.y)


@rule("HardSigmoid")
def _hard_sigmoid(g: Builder, node: OnnxNode) -> None:
    factor, offset = float(node.get("alpha", 0.2)), float(node.get("beta", 0.5))
    unary(g, node, ops.Affine(factor, offset, 0.0, 1.0))


@rule("HardSwish", "Sigmoid", "Tanh", "Abs")
def _function(g: Builder, node: OnnxNode) -> None:
    kinds: Mapping[str, Callable[[], Operator]] = {
        "HardSwish": ops.HardSwish,
        "Sigmoid": ops.Logistic,
        "Tanh": ops.Tanh,
        "Abs": ops.Abs,
    }
    unary(g, node, kinds[node.kind]())


@rule("Exp", "Log", "Sqrt", "Erf", "Softplus", "Gelu")
def _real_function(g: Builder, node: OnnxNode) -> None:
    function = ops.Function[node.kind.upper()]
    if node.kind == "Gelu" and node.text("approximate", "none") == "tanh":
        function = ops.Function.GELU_TANH
    unary(g, node, ops.RealFunction(function))


_ZERO_AND_ABOVE, _ZERO_AND_BELOW = ops.Affine(low=0.0), ops.Affine(high=0.0)


@rule("Elu", "Mish", "Swish")
def _composed(g: Builder, node: OnnxNode) -> None:
    alpha = float(node.get("alpha", 1.0))
    steps: tuple[ops.Step, ...]
    if node.kind == "Elu":
        if alpha == 1:
            unary(g, node, ops.RealFunction(ops.Function.ELU))
            return
        steps = (
            ops.Step(_ZERO_AND_BELOW, (0,)),
            ops.Step(ops.RealFunction(ops.Function.ELU), (1,)),
            ops.Step(ops.Affine(alpha), (2,)),
            ops.Step(_ZERO_AND_ABOVE, (0,)),
            ops.Step(ops.Add(), (3, 4)),
        )
    elif node.kind == "Mish":
        steps = (
            ops.Step(ops.RealFunction(ops.Function.SOFTPLUS), (0,)),
            ops.Step(ops.Tanh(), (1,)),
            ops.Step(ops.Mul(), (0, 2)),
        )
    else:
        steps = (
            ops.Step(ops.Affine(alpha), (0,)),
            ops.Step(ops.Logistic(), (1,)),
            ops.Step(ops.Mul(), (0, 2)),
        )
    unary(g, node, ops.Pointwise(steps))


@rule("Softmax", "LogSoftmax")
def _softmax(g: Builder, node: OnnxNode) -> None:
    op: Operator = ops.Softmax() if node.kind == "Softmax" else ops.LogSoftmax()
    shape, order = g.shape(node.x), g.value(node.x).order
    rank = len(shape)
    opset = int(node.get("opset", node.opset))  # QLinearSoftmax says its own
    axis = axis_of(node, int(node.get("axis", -1 if opset >= 13 else 1)), rank)
    if opset < 13 and axis != rank - 1:
        # Over all axes from this one on.
        flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))
        x = g.reshaped(g.plain(node.x, node.label), flat, node.label)
        y = g.emit(op, [x], f"{node.y}/flat", node.label)
        g.define(node.y, g.reshaped(y, shape, node.label))
        return
    if order[-1] != axis:
        order = (*(a for a in range(rank) if a != axis), axis)
    x = g.in_order(node.x, order, node.label)
    g.define(node.y, g.emit(op, [x], node.y, node.label), order)


# Reductions


def _largest(g: Builder, tensor: str, held: tuple[int, ...], name: str, label: str) -> str:
    """The maximum over axes of a graph's tensor, without them: a pool over one axis."""
    shape = g.tensors[tensor].shape
    kept = [i for i in range(len(shape)) if i not in held]
    if held != tuple(range(held[0], held[0] + len(held))):
        order = (*kept, *held)
        tensor = g.emit(ops.Transpose(order), [tensor], f"{name}/transposed", label)
        inner = 1
    else:
        inner = math.prod(shape[held[-1] + 1 :])
    count = math.prod(shape[i] for i in held)
    rows = g.reshaped(tensor, (math.prod(shape) // (count * inner), count, 1, inner), label)
    y = g.emit(ops.MaxPool2d(ops.Window((count, 1))), [rows], f"{name}/largest", label)
    return g.reshaped(y, tuple(shape[i] for i in kept), label)


@rule("ReduceMax", "ReduceMin")
def _reduce_extremum(g: Builder, node: OnnxNode) -> None:
    value = g.value(node.x)
    axes = axes_of(g, node, len(value.order))
    if axes is None:
        if node.get("noop_with_empty_axes", 0):
            g.values[node.y] = value
            return
        axes = tuple(range(len(value.order)))
    held = tuple(i for i, axis in enumerate(value.order) if axis in axes)
    x = value.tensor
    if node.kind == "ReduceMin":
        x = g.emit(ops.Affine(-1.0), [x], f"{node.y}/negated", node.label)
    y = _largest(g, x, held, node.y, node.label)
    if node.kind == "ReduceMin":
        y = g.emit(ops.Affine(-1.0), [y], node.y, node.label)
    if node.get("keepdims", 1):
        shape = [1 if i in held else n for i, n in enumerate(g.tensors[value.tensor].shape)]
        g.define(node.y, g.reshaped(y, tuple(shape), node.label), value.order)
    else:
        g.define(node.y, y, without(value.order, axes))


@rule("ReduceMean", "ReduceSum")
def _reduce(g: Builder, node: OnnxNode) -> None:
    value = g.value(node.x)
    rank = len(value.order)
    axes = axes_of(g, node, rank)
    if axes is None:
        if node.get("noop_with_empty_axes", 0):
            g.values[node.y] = value
            return
        axes = tuple(range(rank))
    keep = bool(node.get("keepdims", 1))
    kind = ops.Mean if node.kind == "ReduceMean" else ops.Sum
    held = tuple(i for i, axis in enumerate(value.order) if axis in axes)
    y = g.emit(kind(held, keep), [value.tensor], node.y, node.label)
    g.define(node.y, y, value.order if keep else without(value.order, axes))


@rule("ArgMax")
def _arg_max(g: Builder, node: OnnxNode) -> None:
    if node.get("select_last_index", 0):
        raise Refusal("select_last_index", "the first index of equal maxima is what is given")
    value = g.value(node.x)
    axis = axis_of(node, int(node.get("axis", 0)), len(value.order))
    op = ops.ArgMax(value.order.index(axis))
    y = g.emit(op, [value.tensor], node.y, node.label, DType.INT64)
    order = without(value.order, (axis,))
    if node.get("keepdims", 1):
        shape = list(g.tensors[y].shape)
        shape.insert(value.order.index(axis), 1)
        y = g.emit(ops.Reshape(tuple(shape)), [y], f"{node.y}/kept", node.label, DType.INT64)
        order = value.order
    g.define(node.y, y, order)
