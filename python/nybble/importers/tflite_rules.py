# SPDX-License-Identifier: Apache-2.0
"""One rule per operator of TensorFlow Lite: what it becomes in the graph.

Whose arithmetic each follows is written in docs/tflite-arithmetic.md. The slot numbers of options are those of
tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .. import ops
from ..graph import Array, DType, ModelError, Operator, Rounding, Tensor
from ..ops import Activation, AverageRounding, ResizeMethod, Window
from ..ops.move import Part, runs
from ..ops.weights import WIDE_MULTIPLIER_BITS
from .refusal import Refusal
from .tflite_builder import TfliteBuilder, TfliteOperator
from .transposed_conv import TransposedConv

Rule = Callable[[TfliteBuilder, TfliteOperator], None]
RULES: dict[str, Rule] = {}


def _rule(*builtins: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for builtin in builtins:
            RULES[builtin] = function
        return function

    return register


def _window(
    g: TfliteBuilder, op: TfliteOperator, size: tuple[int, int], slots: tuple[int, int, int], dilation: int
) -> Window:
    """A window from (padding, stride width, stride height) slots and the slot of the width's dilation (or -1)."""
    x = g.tensors[op.inputs[0]]
    if len(x.shape) != 4:
        raise Refusal(f"expected an input of 4 dimensions, found {x.shape}", "reshape it before")
    stride = (op.integer(slots[2]), op.integer(slots[1]))
    dilated = (
        (op.integer(dilation + 1, default=1), op.integer(dilation, default=1)) if dilation >= 0 else (1, 1)
    )
    if min(*stride, *dilated, *size) < 1:
        raise ModelError(f"{op.label}: expected sizes, strides and dilations of at least 1")
    padding = ops.window.NO_PADDING
    if op.integer(slots[0], "byte") == 0:
        padding = ops.same_padding((x.shape[1], x.shape[2]), size, stride, dilated)
    return Window(size, stride, dilated, padding)


def _legacy(g: TfliteBuilder, op: TfliteOperator) -> bool:
    """Whether this operator is of a uint8 network, which follows LiteRT."""
    return g.tensors[op.inputs[0]].dtype is DType.UINT8


class _Sums(NamedTuple):
    """How sums of products are requantized: what weighted layers say of it."""

    legacy: bool
    multiplier_bits: int
    rounding: Rounding


def _sums(g: TfliteBuilder, op: TfliteOperator) -> _Sums:
    """In int16 with biases of 64 bits, or without: one rounding, by multipliers of 15 bits."""
    wide = g.tensors[op.inputs[0]].dtype is DType.INT16
    if wide and (len(op.inputs) < 3 or g.tensors[op.inputs[2]].dtype is DType.INT64):
        return _Sums(False, WIDE_MULTIPLIER_BITS, Rounding.SINGLE)
    return _Sums(_legacy(g, op), 31, Rounding.DOUBLE)


@_rule("CONV_2D")
def _conv2d(g: TfliteBuilder, op: TfliteOperator) -> None:
    x, w = g.tensors[op.inputs[0]], g.tensors[op.inputs[1]]
    if len(w.shape) != 4 or w.shape[3] == 0 or len(x.shape) != 4 or x.shape[3] % w.shape[3]:
        raise ModelError(f"{op.label}: weights {w.shape} do not fit an input {x.shape}")
    window = _window(g, op, (w.shape[1], w.shape[2]), (0, 1, 2), 4)
    conv = ops.Conv2d(window, x.shape[3] // w.shape[3], op.activation(3), **_sums(g, op)._asdict())
    g.emit(conv, op.inputs, op.outputs, op.label)


@_rule("DEPTHWISE_CONV_2D")
def _depthwise(g: TfliteBuilder, op: TfliteOperator) -> None:
    x, w = g.tensors[op.inputs[0]], g.tensors[op.inputs[1]]
    if len(w.shape) != 4 or len(x.shape) != 4 or x.shape[3] == 0 or w.shape[3] % x.shape[3]:
        raise ModelError(f"{op.label}: weights {w.shape} do not fit an input {x.shape}")
    window = _window(g, op, (w.shape[1], w.shape[2]), (0, 1, 2), 5)
    activation = op.activation(4)
    sums = _sums(g, op)._asdict()
    if w.shape[3] == x.shape[3]:
        g.emit(ops.DepthwiseConv2d(window, activation, **sums), op.inputs, op.outputs, op.label)
        return
    # Several outputs per channel: a convolution with one group per channel.
    values = np.ascontiguousarray(g.constant(op.inputs[1]).reshape(-1, w.shape[3]).T)
    shape = (w.shape[3], *window.size, 1)
    quantization = w.quantization
    if quantization is not None and quantization.axis is not None:
        quantization = replace(quantization, axis=0)
    name = g.fresh(w.name, Tensor(w.name, w.dtype, shape, quantization, values.reshape(shape)))
    conv = ops.Conv2d(window, x.shape[3], activation, **sums)
    g.emit(conv, [op.inputs[0], name, *op.inputs[2:]], op.outputs, op.label)


@_rule("FULLY_CONNECTED")
def _fully_connected(g: TfliteBuilder, op: TfliteOperator) -> None:
    if op.integer(1, "byte"):
        raise Refusal("shuffled weights", "convert the model with default weights")
    sums = _sums(g, op)
    real_rounding = sums.legacy or g.litert_only
    fc = ops.FullyConnected(op.flag(2), op.activation(0), real_rounding=real_rounding, **sums._asdict())
    g.emit(fc, op.inputs, op.outputs, op.label)


@_rule("TRANSPOSE_CONV")
def _transpose_conv(g: TfliteBuilder, op: TfliteOperator) -> None:
    w, x, y = g.tensors[op.inputs[1]], g.tensors[op.inputs[2]], g.tensors[op.outputs[0]]
    stride = (op.integer(2), op.integer(1))
    if (
        len(w.shape) != 4
        or len(x.shape) != 4
        or len(y.shape) != 4
        or w.shape[3] != x.shape[3]
        or min(stride) < 1
    ):
        raise ModelError(f"{op.label}: weights {w.shape} do not fit an input {x.shape}")
    if w.dtype not in (DType.FLOAT32, DType.INT8) or x.dtype is DType.INT16:
        raise Refusal("transposed convolution of this type", "use float32, or int8 by int8")
    size, extent = (y.shape[1], y.shape[2]), (x.shape[1], x.shape[2])
    # ComputePaddingHeightWidth of the convolution that leads back, padding.h.
    same = op.integer(0, "byte") == 0
    needed = zip(extent, stride, w.shape[1:3], size, strict=True)
    first = [max((n - 1) * s + k - out, 0) // 2 if same else 0 for n, s, k, out in needed]
    values = g.constant(w.name).transpose(3, 0, 1, 2)
    turned = TransposedConv(values, stride, (1, 1), 1, extent, (first[0], first[1]), size)
    held = turned.convolution_weights()
    quantization = w.quantization
    if quantization is not None and quantization.axis is not None:
        scales, points = (np.array(v) for v in (quantization.scale, quantization.zero_point))
        quantization = replace(
            quantization,
            scale=tuple(turned.for_each_place(scales).tolist()),
            zero_point=tuple(turned.for_each_place(points).tolist()),
        )
    inputs = [x.name, g.fresh(f"{w.name}/blocks", Tensor(w.name, w.dtype, held.shape, quantization, held))]
    if len(op.inputs) > 3 and op.inputs[3]:
        bias = g.tensors[op.inputs[3]]
        data = turned.for_each_place(g.constant(bias.name))
        steps = bias.quantization if quantization is None or quantization.axis is None else None
        inputs.append(g.fresh(f"{bias.name}/blocks", Tensor(bias.name, bias.dtype, data.shape, steps, data)))
    activation = op.activation(3)
    window = turned.window()
    blocks = (x.shape[0], *window.output(*extent), held.shape[0])
    conv = ops.Conv2d(window, 1, activation, **_sums(g, op)._asdict())
    steps_after = turned.spreading(blocks)
    y_name = op.outputs[0] if not steps_after else g.fresh(f"{y.name}/blocks", replace(y, shape=blocks))
    g.emit(conv, inputs, [y_name], op.label)
    for i, (move, shape) in enumerate(steps_after, 1):
        last = i == len(steps_after)
        name = op.outputs[0] if last else g.fresh(f"{y.name}/spread", replace(y, shape=shape))
        g.emit(move, [y_name], [name], op.label)
        y_name = name


@_rule("ADD", "SUB")
def _add(g: TfliteBuilder, op: TfliteOperator) -> None:
    kind = ops.Add if op.label.startswith("ADD") else ops.Sub
    g.emit(kind(op.activation(0)), op.inputs, op.outputs, op.label)


@_rule("SQUARED_DIFFERENCE")
def _squared_difference(g: TfliteBuilder, op: TfliteOperator) -> None:
    g.emit(ops.SquaredDifference(), op.inputs, op.outputs, op.label)


@_rule("MUL")
def _mul(g: TfliteBuilder, op: TfliteOperator) -> None:
    mul = ops.Mul(op.activation(0), single_precision=_legacy(g, op))
    g.emit(mul, op.inputs, op.outputs, op.label)


@_rule("MAXIMUM", "MINIMUM")
def _extremum(g: TfliteBuilder, op: TfliteOperator) -> None:
    kind = ops.Maximum if op.label.startswith("MAXIMUM") else ops.Minimum
    g.emit(kind(), op.inputs, op.outputs, op.label)


@_rule("MEAN", "SUM")
def _reduce(g: TfliteBuilder, op: TfliteOperator) -> None:
    rank = len(g.tensors[op.inputs[0]].shape)
    given = [int(axis) for axis in g.constant(op.inputs[1]).reshape(-1)]
    if not all(-rank <= axis < rank for axis in given):
        raise ModelError(f"{op.label}: expected axes from {-rank} to {rank - 1}, found {given}")
    kind = ops.Mean if op.label.startswith("MEAN") else ops.Sum
    axes = tuple(sorted({axis % rank for axis in given}))
    g.emit(kind(axes, op.flag(0)), op.inputs[:1], op.outputs, op.label)


def _require_real(g: TfliteBuilder, op: TfliteOperator) -> None:
    """What is taken in float32 only: nybble's integers would not be a reference's."""
    if any(g.tensors[name].dtype is not DType.FLOAT32 for name in op.inputs[:1]):
        raise Refusal(
            "this operator of integers", "nybble quantize takes the float network that this one was made from"
        )


def _between(g: TfliteBuilder, op: TfliteOperator, kind: Operator, inputs: list[str], what: str) -> str:
    """A tensor on the way to the output; returns its name."""
    y = g.tensors[op.outputs[0]]
    (shape,) = kind.shapes([g.tensors[name] for name in inputs])
    name = g.fresh(f"{y.name}/{what}", replace(y, shape=shape))
    g.emit(kind, inputs, [name], op.label)
    return name


def _number(g: TfliteBuilder, op: TfliteOperator, data: Array, what: str) -> str:
    """A float32 constant that is not in the file; returns its name."""
    name = f"{op.outputs[0]}/{what}"
    return g.fresh(
        name, Tensor(name, DType.FLOAT32, data.shape, None, np.ascontiguousarray(data, np.float32))
    )


@_rule("DIV")
def _div(g: TfliteBuilder, op: TfliteOperator) -> None:
    """A product with the divisor's reciprocal."""
    _require_real(g, op)
    x, y = op.inputs
    if g.tensors[y].data is None:
        reciprocal = _between(g, op, ops.RealFunction(ops.Function.RECIPROCAL), [y], "reciprocal")
    else:
        divisor = g.constant(y).astype(np.float64)
        if not np.all(divisor):
            raise Refusal(
                "a division by a constant of zero", "replace the zeros, or cut the network before it"
            )
        reciprocal = _number(g, op, 1 / divisor, "reciprocal")
    g.emit(ops.Mul(op.activation(0)), [x, reciprocal], op.outputs, op.label)


@_rule("NEG", "RELU_0_TO_1")
def _affine(g: TfliteBuilder, op: TfliteOperator) -> None:
    _require_real(g, op)
    kind = ops.Affine(-1.0) if op.label.startswith("NEG") else ops.Affine(low=0.0, high=1.0)
    g.emit(kind, op.inputs, op.outputs, op.label)


@_rule("SQUARE", "POW")
def _power(g: TfliteBuilder, op: TfliteOperator) -> None:
    _require_real(g, op)
    exponent = np.array(2) if op.label.startswith("SQUARE") else g.constant(op.inputs[1])
    x, y = op.inputs[0], op.outputs[0]
    shape = np.broadcast_shapes(g.tensors[x].shape, exponent.shape)
    if shape != g.tensors[x].shape:
        y = g.fresh(f"{y}/power", replace(g.tensors[y], shape=g.tensors[x].shape))
    if np.all(exponent == 2):
        g.emit(ops.Mul(), [x, x], [y], op.label)
    elif np.all(exponent == 0.5):
        g.emit(ops.RealFunction(ops.Function.SQRT), [x], [y], op.label)
    else:
        raise Refusal(f"the exponent {exponent.reshape(-1)[:4].tolist()}", "only 2 and 0.5 are taken")
    if y != op.outputs[0]:
        g.emit(ops.BroadcastTo(shape), [y], op.outputs, op.label)


@_rule("ADD_N")
def _add_n(g: TfliteBuilder, op: TfliteOperator) -> None:
    _require_real(g, op)
    total = op.inputs[0]
    for name in op.inputs[1:-1]:
        total = _between(g, op, ops.Add(), [total, name], "sum")
    if len(op.inputs) == 1:
        g.emit(ops.Reshape(g.tensors[total].shape), [total], op.outputs, op.label)
    else:
        g.emit(ops.Add(), [total, op.inputs[-1]], op.outputs, op.label)


@_rule("PRELU")
def _prelu(g: TfliteBuilder, op: TfliteOperator) -> None:
    _require_real(g, op)
    x, slopes = op.inputs[0], g.constant(op.inputs[1])
    if np.unique(slopes).size == 1:
        g.emit(ops.LeakyRelu(float(slopes.flat[0])), [x], op.outputs, op.label)
        return
    above = _between(g, op, ops.Affine(low=0.0), [x], "positive")
    below = _between(g, op, ops.Affine(high=0.0), [x], "negative")
    sloped = _between(g, op, ops.Mul(), [below, op.inputs[1]], "sloped")
    g.emit(ops.Add(), [above, sloped], op.outputs, op.label)


@_rule("REDUCE_MAX", "REDUCE_MIN")
def _reduce_extremum(g: TfliteBuilder, op: TfliteOperator) -> None:
    """A pool over the axes, which are moved behind the others where they lie apart; a minimum is that of the negative."""
    x, y = g.tensors[op.inputs[0]], g.tensors[op.outputs[0]]
    rank, least = len(x.shape), op.label.startswith("REDUCE_MIN")
    if least:
        _require_real(g, op)
    if x.quantization != y.quantization or x.dtype is DType.UINT8:
        raise Refusal("a maximum on another scale, or of uint8", "requantize it before")
    held = sorted({_axis(op, axis, rank) for axis in g.integers(op.inputs[1])})
    if not held:
        raise Refusal("a maximum over no axis", "leave the operator out: it changes nothing")
    kept = [axis for axis in range(rank) if axis not in held]
    tensor = _between(g, op, ops.Affine(-1.0), [x.name], "negated") if least else x.name
    if held == list(range(held[0], held[0] + len(held))):
        inner = math.prod(x.shape[held[-1] + 1 :])
    else:
        tensor, inner = _between(g, op, ops.Transpose((*kept, *held)), [tensor], "transposed"), 1
    count = math.prod(x.shape[axis] for axis in held)
    rows = _between(g, op, ops.Reshape((x.size // (count * inner), count, 1, inner)), [tensor], "rows")
    largest = _between(g, op, ops.MaxPool2d(Window((count, 1))), [rows], "largest")
    if least:
        largest = _between(g, op, ops.Affine(-1.0), [largest], "least")
    g.emit(ops.Reshape(y.shape), [largest], op.outputs, op.label)


@_rule("L2_NORMALIZATION")
def _l2_normalization(g: TfliteBuilder, op: TfliteOperator) -> None:
    _require_real(g, op)
    (x,) = op.inputs
    squares = _between(g, op, ops.Mul(), [x, x], "squares")
    total = _between(g, op, ops.Sum((len(g.tensors[x].shape) - 1,), keep_dims=True), [squares], "sum")
    total = _between(g, op, ops.Affine(low=1e-6), [total], "bounded")  # reference/l2normalization.h
    factor = _between(g, op, ops.Rsqrt(), [total], "factor")
    g.emit(ops.Mul(op.activation(0)), [x, factor], op.outputs, op.label)


@_rule("LOG_SOFTMAX")
def _log_softmax(g: TfliteBuilder, op: TfliteOperator) -> None:
    _require_real(g, op)
    g.emit(ops.LogSoftmax(), op.inputs, op.outputs, op.label)


@_rule("RELU", "RELU6", "RELU_N1_TO_1")
def _relu(g: TfliteBuilder, op: TfliteOperator) -> None:
    activation = Activation[op.label.split()[0]]
    # TFLite Micro computes RELU only: it has no RELU_N1_TO_1, and its RELU6 does not rescale.
    single = _legacy(g, op) or activation is not Activation.RELU
    g.emit(ops.Relu(activation, single_precision=single), op.inputs, op.outputs, op.label)


@_rule("LEAKY_RELU")
def _leaky_relu(g: TfliteBuilder, op: TfliteOperator) -> None:
    # LiteRT's float32, in int8 too: TFLite Micro's doubles contradict its own published vectors.
    relu = ops.LeakyRelu(op.real(0), single_precision=True)
    g.emit(relu, op.inputs, op.outputs, op.label)


@_rule("ABS")
def _abs(g: TfliteBuilder, op: TfliteOperator) -> None:
    g.emit(ops.Abs(), op.inputs, op.outputs, op.label)


def _require_bytes(g: TfliteBuilder, op: TfliteOperator) -> None:
    """What nybble computes in 16 bits by its own rule is not what a reference does."""
    if g.tensors[op.inputs[0]].dtype is DType.INT16:
        raise Refusal(
            "this function of 16 bits", "nybble quantize takes the float network that this one was made from"
        )


@_rule("HARD_SWISH")
def _hard_swish(g: TfliteBuilder, op: TfliteOperator) -> None:
    _require_bytes(g, op)
    swish = ops.HardSwish(single_precision=_legacy(g, op))
    g.emit(swish, op.inputs, op.outputs, op.label)


@_rule("LOGISTIC", "TANH")
def _sigmoid(g: TfliteBuilder, op: TfliteOperator) -> None:
    builtin = op.label.split()[0]
    function: Operator = ops.Logistic() if builtin == "LOGISTIC" else ops.Tanh()
    if _legacy(g, op):
        function = ops.RealFunction(ops.Function[builtin])
    g.emit(function, op.inputs, op.outputs, op.label)


@_rule("RSQRT")
def _rsqrt(g: TfliteBuilder, op: TfliteOperator) -> None:
    _require_bytes(g, op)
    g.emit(ops.Rsqrt(), op.inputs, op.outputs, op.label)


@_rule("EXP", "LOG", "SQRT", "ELU", "GELU")
def _real_function(g: TfliteBuilder, op: TfliteOperator) -> None:
    _require_bytes(g, op)
    function = ops.Function[op.label.split()[0]]
    if function is ops.Function.GELU and op.flag(0):
        function = ops.Function.GELU_TANH
    g.emit(ops.RealFunction(function), op.inputs, op.outputs, op.label)


@_rule("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pool(g: TfliteBuilder, op: TfliteOperator) -> None:
    window = _window(g, op, (op.integer(4), op.integer(3)), (0, 1, 2), -1)
    activation = op.activation(5)
    if op.label.startswith("MAX"):
        g.emit(ops.MaxPool2d(window, activation), op.inputs, op.outputs, op.label)
        return
    up = g.tensors[op.inputs[0]].dtype is DType.UINT8
    rounding = AverageRounding.UP if up else AverageRounding.AWAY
    g.emit(ops.AveragePool2d(window, activation, rounding), op.inputs, op.outputs, op.label)


@_rule("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(g: TfliteBuilder, op: TfliteOperator) -> None:
    # The output's own shape is the answer: converters write it, and it has no -1.
    g.emit(ops.Reshape(g.tensors[op.outputs[0]].shape), op.inputs[:1], op.outputs, op.label)


_WHOLE = (None, None, 1)
#: Inputs of one concatenation that a TILE becomes.
_MOST_COPIES = 256
#: Swaps a row in its block with a column of blocks, or back.
_BLOCK_ORDER = (0, 1, 3, 2, 4, 5)


def _axis(op: TfliteOperator, axis: int, rank: int) -> int:
    """An axis of a tensor of ``rank`` dimensions, counted from 0."""
    if not -rank <= axis < rank:
        raise ModelError(f"{op.label}: expected an axis of {rank} dimensions, found {axis}")
    return axis % rank


@_rule("SHAPE")
def _shape(g: TfliteBuilder, op: TfliteOperator) -> None:
    g.fold(op.outputs[0], np.array(g.tensors[op.inputs[0]].shape))


@_rule("PAD", "PADV2")
def _pad(g: TfliteBuilder, op: TfliteOperator) -> None:
    borders = g.integers(op.inputs[1])
    pad = ops.Pad(tuple(borders[0::2]), tuple(borders[1::2]))
    g.emit(pad, [op.inputs[0], *op.inputs[2:]], op.outputs, op.label)


@_rule("MIRROR_PAD")
def _mirror_pad(g: TfliteBuilder, op: TfliteOperator) -> None:
    # Axis by axis: the mirrored beginning, the tensor, the mirrored end. REFLECT leaves out the edge itself.
    edge = 0 if op.integer(0, "byte") else 1
    x = g.tensors[op.inputs[0]]
    borders = g.integers(op.inputs[1])
    pairs = list(zip(borders[0::2], borders[1::2], strict=True))
    if len(pairs) != len(x.shape) or any(
        not 0 <= b <= n - edge for pair, n in zip(pairs, x.shape, strict=False) for b in pair
    ):
        raise ModelError(f"{op.label}: borders {pairs} of an input {x.shape}")
    padded = [axis for axis, pair in enumerate(pairs) if any(pair)]
    if not padded:
        g.emit(ops.Reshape(x.shape), [x.name], op.outputs, op.label)
    for axis in padded:
        n, (before, after) = x.shape[axis], pairs[axis]
        parts = [x.name]
        for position, count, first in ((0, before, before - 1 + edge), (2, after, n - 1 - edge)):
            if count:
                stop = first - count if first >= count else None
                part = replace(x, shape=(*x.shape[:axis], count, *x.shape[axis + 1 :]))
                name = g.fresh(f"{x.name}/mirrored", part)
                index = (*[_WHOLE] * axis, (first, stop, -1))
                g.emit(ops.Slice(index), [x.name], [name], op.label)
                parts.insert(position, name)
        shape = (*x.shape[:axis], n + before + after, *x.shape[axis + 1 :])
        name = op.outputs[0]
        if axis != padded[-1]:
            name = g.fresh(f"{x.name}/padded", replace(x, shape=shape))
        g.emit(ops.Concat(axis), parts, [name], op.label)
        x = g.tensors[name]


@_rule("CONCATENATION")
def _concatenation(g: TfliteBuilder, op: TfliteOperator) -> None:
    if op.activation(1) is not Activation.NONE:
        raise Refusal("a fused activation", "use a separate operator")
    y = g.tensors[op.outputs[0]]
    inputs = list(op.inputs)
    for i, x in enumerate(g.tensors[name] for name in op.inputs):
        if x.dtype is DType.FLOAT32 or x.quantization == y.quantization:
            continue
        if x.dtype is not DType.UINT8 or y.dtype is not DType.UINT8:
            raise Refusal(f"the scale of {x.name!r} differs from the output's", "requantize it before")
        inputs[i] = g.fresh(f"{x.name}/rescaled", replace(y, shape=x.shape))
        g.emit(ops.Rescale(), [x.name], [inputs[i]], op.label)
    g.emit(ops.Concat(_axis(op, op.integer(0), len(y.shape))), inputs, op.outputs, op.label)


@_rule("PACK")
def _pack(g: TfliteBuilder, op: TfliteOperator) -> None:
    y = g.tensors[op.outputs[0]]
    g.emit(ops.Pack(_axis(op, op.integer(1), len(y.shape))), op.inputs, op.outputs, op.label)


def _split_at(g: TfliteBuilder, op: TfliteOperator, x: str, axis: int, sizes: list[int]) -> None:
    begin = 0
    for output, size in zip(op.outputs, sizes, strict=True):
        index = (*[_WHOLE] * axis, (begin, begin + size, 1))
        g.emit(ops.Slice(index), [x], [output], op.label)
        begin += size


@_rule("SPLIT")
def _split(g: TfliteBuilder, op: TfliteOperator) -> None:
    x = g.tensors[op.inputs[1]]
    axis = _axis(op, g.integers(op.inputs[0])[0], len(x.shape))
    if x.shape[axis] % len(op.outputs):
        raise ModelError(f"{op.label}: {x.shape} in {len(op.outputs)} parts along axis {axis}")
    part = x.shape[axis] // len(op.outputs)
    _split_at(g, op, x.name, axis, [part] * len(op.outputs))


@_rule("SPLIT_V")
def _split_v(g: TfliteBuilder, op: TfliteOperator) -> None:
    x = g.tensors[op.inputs[0]]
    axis = _axis(op, g.integers(op.inputs[2])[0], len(x.shape))
    sizes = g.integers(op.inputs[1])
    rest = x.shape[axis] - sum(s for s in sizes if s != -1)
    sizes = [rest if s == -1 else s for s in sizes]
    if min(sizes) < 0 or sum(sizes) != x.shape[axis] or len(sizes) != len(op.outputs):
        raise ModelError(f"{op.label}: parts of {sizes} along axis {axis} of {x.shape}")
    _split_at(g, op, x.name, axis, sizes)


@_rule("UNPACK")
def _unpack(g: TfliteBuilder, op: TfliteOperator) -> None:
    axis = _axis(op, op.integer(1), len(g.tensors[op.inputs[0]].shape))
    for i, output in enumerate(op.outputs):
        g.emit(ops.Slice((*[_WHOLE] * axis, i)), op.inputs, [output], op.label)


@_rule("SLICE")
def _slice(g: TfliteBuilder, op: TfliteOperator) -> None:
    x = g.tensors[op.inputs[0]]
    begin, size = g.integers(op.inputs[1]), g.integers(op.inputs[2])
    if not len(begin) == len(size) == len(x.shape):
        raise ModelError(f"{op.label}: begin {begin} and size {size} of an input {x.shape}")
    end = [n if s == -1 else b + s for b, s, n in zip(begin, size, x.shape, strict=True)]
    if any(not 0 <= b <= e <= n for b, e, n in zip(begin, end, x.shape, strict=True)):
        raise ModelError(f"{op.label}: begin {begin} and size {size} pass the input {x.shape}")
    index = tuple((b, e, 1) for b, e in zip(begin, end, strict=True))
    g.emit(ops.Slice(index), op.inputs[:1], op.outputs, op.label)


@_rule("STRIDED_SLICE")
def _strided_slice(g: TfliteBuilder, op: TfliteOperator) -> None:
    begin, end, steps = (g.integers(name) for name in op.inputs[1:4])
    if not len(begin) == len(end) == len(steps) or 0 in steps:
        raise ModelError(f"{op.label}: begin {begin}, end {end}, strides {steps}")
    begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_mask = (op.integer(slot) for slot in range(5))
    if op.flag(5):  # ends count from the begins
        end = [b + e for b, e in zip(begin, end, strict=True)]
    index: list[Part] = []
    for i, (first, last, step) in enumerate(zip(begin, end, steps, strict=True)):
        bit = 1 << i
        if ellipsis_mask & bit:
            entries = [1 << j for j in range(len(begin)) if j != i]
            used = sum(not new_axis_mask & b or bool(ellipsis_mask & b) for b in entries)
            index += [_WHOLE] * (len(g.tensors[op.inputs[0]].shape) - used)
        elif new_axis_mask & bit:
            index.append(None)
        elif shrink_mask & bit:
            # The mask rules over the position: StartForAxis, strided_slice_logic.h.
            index.append(0 if begin_mask & bit else first)
        else:
            index.append((None if begin_mask & bit else first, None if end_mask & bit else last, step))
    g.emit(ops.Slice(tuple(index)), op.inputs[:1], op.outputs, op.label)


@_rule("GATHER")
def _gather(g: TfliteBuilder, op: TfliteOperator) -> None:
    """Constant positions of an axis: slices of evenly spaced ones, joined."""
    x, y = g.tensors[op.inputs[0]], g.tensors[op.outputs[0]]
    axis, positions = _axis(op, op.integer(0), len(x.shape)), g.integers(op.inputs[1])
    if op.integer(1):
        raise Refusal("gathering by batches", "gather along one axis")
    if not positions or not all(0 <= i < x.shape[axis] for i in positions):
        raise ModelError(
            f"{op.label}: expected positions of an axis of {x.shape[axis]}, found {positions[:6]}"
        )
    parts = []
    for first, step, count in runs(positions):
        stop = first + step * count
        part: Part = (first, first + 1, 1) if step == 0 else (first, None if stop < 0 else stop, step)
        sliced = _between(g, op, ops.Slice((*[_WHOLE] * axis, part)), [x.name], "part")
        if step == 0 and count > 1:
            shape = g.tensors[sliced].shape
            repeated = ops.BroadcastTo((*shape[:axis], count, *shape[axis + 1 :]))
            sliced = _between(g, op, repeated, [sliced], "part")
        parts.append(sliced)
    joined = parts[0] if len(parts) == 1 else _between(g, op, ops.Concat(axis), parts, "joined")
    g.emit(ops.Reshape(y.shape), [joined], op.outputs, op.label)


@_rule("TILE")
def _tile(g: TfliteBuilder, op: TfliteOperator) -> None:
    tensor, repeats = op.inputs[0], g.integers(op.inputs[1])
    shape = g.tensors[tensor].shape
    whole = tuple(n * times for n, times in zip(shape, repeats, strict=True))
    if whole != g.tensors[op.outputs[0]].shape or max(repeats, default=0) > _MOST_COPIES:
        raise Refusal(f"{repeats} copies of {shape}", "use a constant, or fewer copies")
    for axis, times in enumerate(repeats):
        if times > 1:
            tensor = _between(g, op, ops.Concat(axis), [tensor] * times, "tiled")
    g.emit(ops.Reshape(g.tensors[op.outputs[0]].shape), [tensor], op.outputs, op.label)


@_rule("REVERSE_V2")
def _reverse(g: TfliteBuilder, op: TfliteOperator) -> None:
    rank = len(g.tensors[op.inputs[0]].shape)
    turned = {_axis(op, axis, rank) for axis in g.integers(op.inputs[1])}
    index = tuple((None, None, -1) if axis in turned else _WHOLE for axis in range(rank))
    g.emit(ops.Slice(index), op.inputs[:1], op.outputs, op.label)


@_rule("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
def _space_and_batch(g: TfliteBuilder, op: TfliteOperator) -> None:
    """Blocks of an image as images of their own, or back: what dilated convolutions are written with."""
    x, y = g.tensors[op.inputs[0]], g.tensors[op.outputs[0]]
    blocks, borders = g.integers(op.inputs[1]), g.integers(op.inputs[2])
    space = len(blocks)
    pairs = list(zip(borders[0::2], borders[1::2], strict=True))
    if len(x.shape) < space + 1 or len(pairs) != space or min((*blocks, *borders), default=0) < 0:
        raise ModelError(f"{op.label}: blocks {blocks} and borders {borders} of an input {x.shape}")
    rest = x.shape[space + 1 :]
    tensor = x.name
    if op.label.startswith("SPACE"):
        before = (0, *(b for b, _ in pairs), *(0 for _ in rest))
        after = (0, *(a for _, a in pairs), *(0 for _ in rest))
        if any(borders):
            tensor = _between(g, op, ops.Pad(before, after), [tensor], "padded")
        shape = g.tensors[tensor].shape
        split = [shape[0]]
        for n, block in zip(shape[1:], blocks, strict=False):
            if block < 1 or n % block:
                raise Refusal(f"blocks {blocks} of {shape}", "convert the network with fixed shapes")
            split += [n // block, block]
        order = (*range(2, 2 * space + 1, 2), 0, *range(1, 2 * space, 2))
        order = (*order, *range(2 * space + 1, 2 * space + 1 + len(rest)))
        tensor = _between(g, op, ops.Reshape((*split, *rest)), [tensor], "blocks")
        tensor = _between(g, op, ops.Transpose(order), [tensor], "batches")
        g.emit(ops.Reshape(y.shape), [tensor], op.outputs, op.label)
        return
    count = math.prod(blocks)
    if count < 1 or x.shape[0] % count:
        raise Refusal(f"blocks {blocks} of {x.shape}", "convert the network with fixed shapes")
    batch, extent = x.shape[0] // count, x.shape[1 : space + 1]
    order = (space, *(axis for i in range(space) for axis in (space + 1 + i, i)))
    order = (*order, *range(2 * space + 1, 2 * space + 1 + len(rest)))
    tensor = _between(g, op, ops.Reshape((*blocks, batch, *extent, *rest)), [tensor], "batches")
    tensor = _between(g, op, ops.Transpose(order), [tensor], "blocks")
    whole = tuple(n * block for n, block in zip(extent, blocks, strict=True))
    tensor = _between(g, op, ops.Reshape((batch, *whole, *rest)), [tensor], "space")
    index = (_WHOLE, *((first, n - last, 1) for n, (first, last) in zip(whole, pairs, strict=True)))
    g.emit(ops.Slice(index), [tensor], op.outputs, op.label)


@_rule("TRANSPOSE")
def _transpose(g: TfliteBuilder, op: TfliteOperator) -> None:
    order = g.integers(op.inputs[1])
    rank = len(g.tensors[op.inputs[0]].shape)
    transpose = ops.Transpose(tuple(_axis(op, axis, rank) for axis in order))
    g.emit(transpose, op.inputs[:1], op.outputs, op.label)


@_rule("BROADCAST_TO")
def _broadcast_to(g: TfliteBuilder, op: TfliteOperator) -> None:
    g.emit(ops.BroadcastTo(g.tensors[op.outputs[0]].shape), op.inputs[:1], op.outputs, op.label)


@_rule("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def _space_and_depth(g: TfliteBuilder, op: TfliteOperator) -> None:
    x, block = g.tensors[op.inputs[0]], op.integer(0)
    to_depth = op.label.startswith("SPACE")
    if len(x.shape) != 4 or block < 1:
        raise ModelError(f"{op.label}: blocks of {block} of an input {x.shape}")
    n, h, w, c = x.shape
    if to_depth:
        h, w = h // block, w // block
    else:
        c //= block * block
    # One axis for each of: batch, block row, row in it (or its place in depth), block column, ...
    split = (n, h, block, w, block, c) if to_depth else (n, h, w, block, block, c)
    joined = tuple(split[i] for i in _BLOCK_ORDER)
    if math.prod(split) != x.size:
        raise ModelError(f"{op.label}: blocks of {block} of an input {x.shape}")
    names = [g.fresh(f"{x.name}/blocks", replace(x, shape=s)) for s in (split, joined)]
    g.emit(ops.Reshape(split), [x.name], names[:1], op.label)
    g.emit(ops.Transpose(_BLOCK_ORDER), names[:1], names[1:], op.label)
    g.emit(ops.Reshape(g.tensors[op.outputs[0]].shape), names[1:], op.outputs, op.label)


def _size(g: TfliteBuilder, op: TfliteOperator) -> tuple[int, int]:
    size = g.integers(op.inputs[1])
    if len(size) != 2 or min(size) < 1:
        raise ModelError(f"{op.label}: expected a height and a width of at least 1, found {size}")
    return size[0], size[1]


@_rule("RESIZE_BILINEAR")
def _resize_bilinear(g: TfliteBuilder, op: TfliteOperator) -> None:
    legacy = g.tensors[op.inputs[0]].dtype is DType.UINT8
    method = ResizeMethod.FLOAT32 if legacy else ResizeMethod.FIXED
    resize = ops.ResizeBilinear(_size(g, op), op.flag(2), op.flag(3), method)
    g.emit(resize, op.inputs[:1], op.outputs, op.label)


@_rule("RESIZE_NEAREST_NEIGHBOR")
def _resize_nearest(g: TfliteBuilder, op: TfliteOperator) -> None:
    resize = ops.ResizeNearest(_size(g, op), op.flag(0), op.flag(1))
    g.emit(resize, op.inputs[:1], op.outputs, op.label)


@_rule("ARG_MAX")
def _arg_max(g: TfliteBuilder, op: TfliteOperator) -> None:
    axis = _axis(op, g.integers(op.inputs[1])[0], len(g.tensors[op.inputs[0]].shape))
    g.emit(ops.ArgMax(axis), op.inputs[:1], op.outputs, op.label)


@_rule("SOFTMAX")
def _softmax(g: TfliteBuilder, op: TfliteOperator) -> None:
    g.emit(ops.Softmax(op.real(0)), op.inputs, op.outputs, op.label)


@_rule("QUANTIZE")
def _quantize(g: TfliteBuilder, op: TfliteOperator) -> None:
    source, result = g.tensors[op.inputs[0]], g.tensors[op.outputs[0]]
    if source.dtype is DType.FLOAT32 and result.dtype is not DType.FLOAT32:
        g.real_inputs[source.name] = result.name
        return
    g.emit(ops.Quantize(), op.inputs, op.outputs, op.label)


@_rule("DEQUANTIZE")
def _dequantize(g: TfliteBuilder, op: TfliteOperator) -> None:
    source = g.tensors[op.inputs[0]]
    if source.data is None:
        g.real_outputs[op.outputs[0]] = op.inputs[0]
    elif source.dtype is DType.FLOAT32:
        g.fold(op.outputs[0], source.data)  # was float16
    else:
        g.fold(op.outputs[0], _real_constant(source))


def _real_constant(tensor: Tensor) -> Array:
    """scale * (q - zero_point) of a constant in float32, per tensor or along its axis."""
    assert tensor.data is not None
    q = tensor.quantized
    shape = [1] * len(tensor.shape)
    if q.axis is not None:
        shape[q.axis] = -1
    zero_points = np.array(q.zero_point, np.int64).reshape(shape)
    return (q.scales.reshape(shape) * (tensor.data - zero_points)).astype(np.float32)
