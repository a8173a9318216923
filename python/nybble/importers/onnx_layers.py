# SPDX-License-Identifier: Apache-2.0
"""Rules of the layers with windows or weights: convolutions, pools, products, normalization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .. import ops
from ..graph import Array, ModelError, Operator
from ..ops import Activation, AverageRounding, Window
from .onnx_builder import Builder
from .onnx_node import OnnxNode, by_constant, rule, without
from .refusal import Refusal
from .transposed_conv import TransposedConv


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


@rule("Conv")
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
        op, held, outputs = ops.DepthwiseConv2d(window), weights.transpose(1, 2, 3, 0), 3
    else:
        op, held, outputs = ops.Conv2d(window, groups), weights.transpose(0, 2, 3, 1), 0
    inputs = [g.image(node.x, node.label), g.add_constant(node.inputs[1], held, outputs)]
    if node.input(2):
        inputs.append(g.add_constant(node.inputs[2], g.array(node.inputs[2]).reshape(-1), 0))
    g.define_image(node.y, g.emit(op, inputs, node.y, node.label), rank, node.label)


def _transposed_extent(
    node: OnnxNode, extent: tuple[int, int], reach: tuple[int, int], stride: tuple[int, int], rank: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((first row, first column) of the whole result that are kept, (height, width) kept)."""
    space = rank - 2
    more = _pairs(node.get("output_padding", [0] * space))
    if space == 1:
        more = (0, more[1])
    whole = [s * (n - 1) + r for n, s, r in zip(extent, stride, reach, strict=True)]
    auto = node.text("auto_pad", "NOTSET")
    given = node.get("output_shape", None)
    pads = [int(n) for n in node.get("pads", [0] * (2 * space))]
    if given is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        given = [n * s for n, s in zip(extent, stride, strict=True)][2 - space :]
    if given is not None:
        size = _pairs([int(n) for n in given][-space:])
        total = [max(w + m - n, 0) for w, m, n in zip(whole, more, size, strict=True)]
        first = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
        return (first[0], first[1]), size
    begin, end = _pairs(pads[:space]), _pairs(pads[space:])
    if space == 1:
        begin, end = (0, begin[1]), (0, end[1])
    size = (whole[0] + more[0] - begin[0] - end[0], whole[1] + more[1] - begin[1] - end[1])
    return begin, size


@rule("ConvTranspose")
def _conv_transpose(g: Builder, node: OnnxNode) -> None:
    weights = g.array(node.inputs[1]).astype(np.float32)
    shape, groups = g.shape(node.x), int(node.get("group", 1))
    rank, space = len(shape), len(shape) - 2
    if rank not in (3, 4):
        raise Refusal(f"{space} dimensions of space", "use 1 or 2")
    if weights.ndim != rank or weights.shape[0] != shape[1] or shape[1] % groups:
        raise ModelError(f"{node.label}: weights {weights.shape} do not fit an input {shape}")
    ones = [1] * space
    stride, dilation = _pairs(node.get("strides", ones)), _pairs(node.get("dilations", ones))
    if space == 1:
        stride, dilation = (1, stride[1]), (1, dilation[1])
    weights = weights.reshape(*weights.shape[:2], *_pairs(weights.shape[2:]))
    reach = (dilation[0] * (weights.shape[2] - 1) + 1, dilation[1] * (weights.shape[3] - 1) + 1)
    x = g.image(node.x, node.label)
    _, height, width, _ = g.tensors[x].shape
    first, size = _transposed_extent(node, (height, width), reach, stride, rank)
    if min(first) < 0 or min(size) < 1:
        raise Refusal("a result without rows, or negative padding", "slice instead")
    turned = TransposedConv(weights, stride, dilation, groups, (height, width), first, size)
    inputs = [x, g.add_constant(node.inputs[1], turned.convolution_weights(), 0)]
    if node.input(2):
        bias = turned.for_each_place(g.array(node.inputs[2]))
        inputs.append(g.add_constant(node.inputs[2], bias, 0))
    conv = ops.Conv2d(turned.window(), groups)
    y = g.emit(conv, inputs, f"{node.y}/blocks", node.label)
    steps = turned.spreading(g.tensors[y].shape)
    for i, (op, _) in enumerate(steps, 1):
        y = g.emit(op, [y], node.y if i == len(steps) else f"{node.y}/spread", node.label)
    g.define_image(node.y, y, rank, node.label)


@rule("MaxPool", "AveragePool")
def _pool(g: Builder, node: OnnxNode) -> None:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise Refusal("the positions of maxima", "use the first output only")
    window = _window(g, node, node.get("kernel_shape", ()))
    tensor, rank = g.image(node.x, node.label), len(g.shape(node.x))
    op: Operator = ops.MaxPool2d(window)
    if node.kind == "AveragePool":
        floored = replace(node, attributes={**node.attributes, "ceil_mode": 0})
        explicit = _window(g, floored, node.get("kernel_shape", ()))
        if node.get("count_include_pad", 0) and explicit.padding != ops.window.NO_PADDING:
            # What ceil_mode adds beyond the padding never counts.
            (top, bottom), (left, right) = explicit.padding
            pad = ops.Pad((0, top, left, 0), (0, bottom, right, 0))
            tensor = g.emit(pad, [tensor], f"{node.y}/padded", node.label)
            (_, below), (_, beside) = window.padding
            rest = ((0, below - bottom), (0, beside - right))
            window = Window(window.size, window.stride, window.dilation, rest)
        op = ops.AveragePool2d(window, Activation.NONE, AverageRounding.UP)
    g.define_image(node.y, g.emit(op, [tensor], node.y, node.label), rank, node.label)


@rule("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(g: Builder, node: OnnxNode) -> None:
    tensor, rank = g.image(node.x, node.label), len(g.shape(node.x))
    shape = g.tensors[tensor].shape
    op: Operator = ops.MaxPool2d(Window((shape[1], shape[2])))
    if node.kind == "GlobalAveragePool":
        op = ops.Mean((1, 2), keep_dims=True)
    g.define_image(node.y, g.emit(op, [tensor], node.y, node.label), rank, node.label)


# Products


def _product(
    g: Builder, node: OnnxNode, x: str, weights: Array, constant: int, bias: Array | None, name: str
) -> str:
    """x [..., k] of the graph times weights [n, k], which are input ``constant`` of the node."""
    inputs = [x, g.add_constant(node.inputs[constant], weights, 0)]
    if bias is not None:
        inputs.append(g.add_constant(node.inputs[2], bias, 0))
    keep = len(g.tensors[x].shape) != 2
    return g.emit(ops.FullyConnected(keep_dimensions=keep), inputs, name, node.label)


@rule("Gemm")
def _gemm(g: Builder, node: OnnxNode) -> None:
    """alpha A' B' + beta C, one of A and B constant: (B' A')' is written as A'' B''."""
    constant = 0 if g.is_constant(node.x) else 1
    computed, rows = node.inputs[1 - constant], constant == 0
    shape, weights = g.shape(computed), g.array(node.inputs[constant]).astype(np.float32)
    turned = bool(node.get("transB" if constant else "transA", 0))
    if turned is rows:
        weights = weights.T
    weights = weights * np.float32(node.get("alpha", 1.0))
    order = (1, 0) if bool(node.get("transA" if constant else "transB", 0)) is not rows else (0, 1)
    if len(shape) != 2 or weights.ndim != 2 or weights.shape[1] != shape[order[1]]:
        raise ModelError(f"{node.label}: weights {weights.shape} do not fit an input {shape}")
    bias = rest = None
    if node.input(2):
        added = g.array(node.inputs[2]) * np.float32(node.get("beta", 1.0))
        if math.prod(added.shape[:-1]) == 1 and not rows:
            bias = np.broadcast_to(added.reshape(-1), (weights.shape[0],))
        else:
            rest = added
    x = g.in_order(computed, order, node.label)
    product = node.y if rest is None else f"{node.y}/product"
    y = _product(g, node, x, weights, constant, bias, product)
    g.define(product, y, (1, 0) if rows else None)
    if rest is not None:
        by_constant(g, node, ops.Add(), product, rest, node.y)


@rule("MatMul")
def _matmul(g: Builder, node: OnnxNode) -> None:
    """With a constant matrix; on the left of it, the result's last two axes change places."""
    if g.is_constant(node.x) == g.is_constant(node.inputs[1]):
        raise Refusal("a product of two computed tensors", "only weights can be multiplied with")
    constant = 0 if g.is_constant(node.x) else 1
    computed, weights = node.inputs[1 - constant], g.array(node.inputs[constant])
    shape, rank = g.shape(computed), len(g.shape(computed))
    if math.prod(weights.shape[:-2]) != 1 or not 0 < weights.ndim <= max(rank, 2):
        raise Refusal(f"a constant {weights.shape} times {shape}", "use one matrix for all")
    vector = weights.ndim == 1
    weights = weights.reshape(1, -1) if vector else weights.reshape(*weights.shape[-2:])
    if constant and not vector:
        weights = weights.T
    axis = rank - 1 if constant or rank == 1 else rank - 2
    order = g.value(computed).order
    if order[-1] != axis:
        order = (*(a for a in range(rank) if a != axis), axis)
    x = g.in_order(computed, order, node.label)
    if shape[axis] != weights.shape[1]:
        raise ModelError(f"{node.label}: weights {weights.shape} do not fit an input {shape}")
    y = _product(g, node, x, weights, constant, None, node.y)
    if vector:
        y = g.reshaped(y, g.tensors[y].shape[:-1], node.label)
        order = without(order, (axis,))
    g.define(node.y, y, order)


@rule("BatchNormalization")
def _batch_normalization(g: Builder, node: OnnxNode) -> None:
    if node.get("training_mode", 0):
        raise Refusal("statistics of the batch", "export the network for inference")
    scale, shift, mean, variance = (g.array(name).astype(np.float64) for name in node.inputs[1:5])
    shape = (-1, *(1,) * (len(g.shape(node.x)) - 2))
    factor = scale / np.sqrt(variance + node.get("epsilon", 1e-5))
    scaled = f"{node.y}/scaled"
    by_constant(g, node, ops.Mul(), node.x, factor.reshape(shape), scaled)
    by_constant(g, node, ops.Add(), scaled, (shift - mean * factor).reshape(shape), node.y)
