# SPDX-License-Identifier: Apache-2.0
"""Import .tflite networks, quantized (int8 per channel, legacy uint8, int4 weights) or float.

Whose arithmetic each operator follows is written in docs/tflite-arithmetic.md. The schema's slot numbers are those of
tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .. import ops
from ..graph import (
    Array,
    Blocker,
    DType,
    Graph,
    GraphError,
    ModelError,
    Node,
    Operator,
    Port,
    Quantization,
    Tensor,
    UnsupportedError,
)
from ..ops import Activation, AverageRounding, ResizeMethod, Window
from ..ops.move import Part
from .flatbuffer import Table, root
from .tflite_names import BUILTIN_NAMES

_TYPES = {
    0: DType.FLOAT32,
    2: DType.INT32,
    3: DType.UINT8,
    4: DType.INT64,
    6: DType.BOOL,
    7: DType.INT16,
    9: DType.INT8,
    17: DType.INT4,
    19: DType.INT2,
}
_FLOAT16 = 1
_OTHER_TYPES = {5: "string", 8: "complex64", 10: "float64", 13: "resource", 14: "variant"}
_ACTIVATIONS = {0: Activation.NONE, 1: Activation.RELU, 2: Activation.RELU_N1_TO_1, 3: Activation.RELU6}


#: Operators that only move elements.
_MOVING = (ops.Reshape, ops.Move, ops.Concat, ops.Pack, ops.Pad)
#: What shape arithmetic is made of, besides moving.
_ARITHMETIC = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply}

_CUT = "--cut ends the network at its last integer tensors"


class _Refusal(Exception):
    """This operator cannot be taken: (reason, remedy)."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass
class _Import:
    """The graph as it grows."""

    tensors: dict[str, Tensor]
    nodes: list[Node] = field(default_factory=list)
    real_inputs: dict[str, str] = field(default_factory=dict)
    real_outputs: dict[str, str] = field(default_factory=dict)

    @property
    def litert_only(self) -> bool:
        """Whether TFLite Micro refuses the network for int4 weights with a scale per row: LiteRT rules then."""
        return any(
            t.dtype is DType.INT4
            and len(t.shape) == 2
            and t.quantization is not None
            and t.quantization.axis == 0
            for t in self.tensors.values()
        )

    def constant(self, name: str) -> Array:
        """The data of a constant tensor."""
        data = self.tensors[name].data
        if data is None:
            raise _Refusal(f"{name!r} is computed at run time where a constant is needed")
        return data

    def integers(self, name: str) -> list[int]:
        """The numbers of a constant tensor, such as axes or borders, flat."""
        return [int(n) for n in self.constant(name).reshape(-1)]

    def emit(self, op: Operator, inputs: list[str], outputs: list[str], label: str) -> None:
        """Append a node. What only moves constants (shape arithmetic) becomes a constant instead."""
        node = Node(op, tuple(inputs), tuple(outputs), label)
        read = [self.tensors[name] for name in inputs]
        arrays = [t.data for t in read if t.data is not None]
        if not isinstance(op, _MOVING) or len(arrays) < len(read):
            self.nodes.append(node)
            return
        try:
            results = op.integer(arrays, read, [self.tensors[name] for name in outputs])
        except ValueError as error:
            raise GraphError(f"{node.label}: {error}") from error
        for name, result in zip(outputs, results, strict=True):
            self.fold(name, result)

    def fold(self, name: str, value: Array) -> None:
        """Make a tensor the constant that its operator computes."""
        tensor = self.tensors[name]
        data = np.asarray(value, tensor.dtype.numpy)
        self.tensors[name] = replace(tensor, shape=data.shape, data=data)

    def fresh(self, like: str, tensor: Tensor) -> str:
        """Add a tensor under a new name derived from ``like``."""
        name, i = like, 0
        while name in self.tensors:
            i += 1
            name = f"{like}#{i}"
        self.tensors[name] = replace(tensor, name=name)
        return name


@dataclass(frozen=True)
class _Operator:
    """One operator of the file."""

    label: str
    inputs: list[str]
    outputs: list[str]
    options: Table | None

    def integer(self, slot: int, kind: str = "int", default: int = 0) -> int:
        return self.options.integer(slot, kind, default) if self.options else default

    def flag(self, slot: int) -> bool:
        return bool(self.integer(slot, "bool"))

    def real(self, slot: int) -> float:
        return float(self.options.scalar(slot, "float", 0.0)) if self.options else 0.0

    def activation(self, slot: int) -> Activation:
        code = self.integer(slot, "byte")
        if code not in _ACTIVATIONS:
            raise _Refusal(f"fused activation {code} (tanh or sign bit)", "use a separate operator")
        return _ACTIVATIONS[code]


_Rule = Callable[[_Import, _Operator], None]
_RULES: dict[str, _Rule] = {}


def _rule(*builtins: str) -> Callable[[_Rule], _Rule]:
    def register(function: _Rule) -> _Rule:
        for builtin in builtins:
            _RULES[builtin] = function
        return function

    return register


def _window(
    g: _Import, op: _Operator, size: tuple[int, int], slots: tuple[int, int, int], dilation: int
) -> Window:
    """A window from (padding, stride width, stride height) slots and the slot of the width's dilation (or -1)."""
    x = g.tensors[op.inputs[0]]
    if len(x.shape) != 4:
        raise _Refusal(f"expected an input of 4 dimensions, found {x.shape}")
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


def _legacy(g: _Import, op: _Operator) -> bool:
    """Whether this operator is of a uint8 network, which follows LiteRT."""
    return g.tensors[op.inputs[0]].dtype is DType.UINT8


@_rule("CONV_2D")
def _conv2d(g: _Import, op: _Operator) -> None:
    x, w = g.tensors[op.inputs[0]], g.tensors[op.inputs[1]]
    if len(w.shape) != 4 or w.shape[3] == 0 or len(x.shape) != 4 or x.shape[3] % w.shape[3]:
        raise ModelError(f"{op.label}: weights {w.shape} do not fit an input {x.shape}")
    window = _window(g, op, (w.shape[1], w.shape[2]), (0, 1, 2), 4)
    legacy = x.dtype is DType.UINT8
    conv = ops.Conv2d(window, x.shape[3] // w.shape[3], op.activation(3), legacy=legacy)
    g.emit(conv, op.inputs, op.outputs, op.label)


@_rule("DEPTHWISE_CONV_2D")
def _depthwise(g: _Import, op: _Operator) -> None:
    x, w = g.tensors[op.inputs[0]], g.tensors[op.inputs[1]]
    if len(w.shape) != 4 or len(x.shape) != 4 or x.shape[3] == 0 or w.shape[3] % x.shape[3]:
        raise ModelError(f"{op.label}: weights {w.shape} do not fit an input {x.shape}")
    window = _window(g, op, (w.shape[1], w.shape[2]), (0, 1, 2), 5)
    activation = op.activation(4)
    legacy = x.dtype is DType.UINT8
    if w.shape[3] == x.shape[3]:
        g.emit(ops.DepthwiseConv2d(window, activation, legacy=legacy), op.inputs, op.outputs, op.label)
        return
    # Several outputs per channel: a convolution with one group per channel.
    values = np.ascontiguousarray(g.constant(op.inputs[1]).reshape(-1, w.shape[3]).T)
    shape = (w.shape[3], *window.size, 1)
    quantization = w.quantization
    if quantization is not None and quantization.axis is not None:
        quantization = replace(quantization, axis=0)
    name = g.fresh(w.name, Tensor(w.name, w.dtype, shape, quantization, values.reshape(shape)))
    conv = ops.Conv2d(window, x.shape[3], activation, legacy=legacy)
    g.emit(conv, [op.inputs[0], name, *op.inputs[2:]], op.outputs, op.label)


@_rule("FULLY_CONNECTED")
def _fully_connected(g: _Import, op: _Operator) -> None:
    if op.integer(1, "byte"):
        raise _Refusal("shuffled weights", "convert the model with default weights")
    legacy = g.tensors[op.inputs[0]].dtype is DType.UINT8
    fc = ops.FullyConnected(
        op.flag(2), op.activation(0), legacy=legacy, real_rounding=legacy or g.litert_only
    )
    g.emit(fc, op.inputs, op.outputs, op.label)


@_rule("ADD", "SUB")
def _add(g: _Import, op: _Operator) -> None:
    kind = ops.Add if op.label.startswith("ADD") else ops.Sub
    g.emit(kind(op.activation(0)), op.inputs, op.outputs, op.label)


@_rule("SQUARED_DIFFERENCE")
def _squared_difference(g: _Import, op: _Operator) -> None:
    g.emit(ops.SquaredDifference(), op.inputs, op.outputs, op.label)


@_rule("MUL")
def _mul(g: _Import, op: _Operator) -> None:
    mul = ops.Mul(op.activation(0), single_precision=_legacy(g, op))
    g.emit(mul, op.inputs, op.outputs, op.label)


@_rule("MAXIMUM", "MINIMUM")
def _extremum(g: _Import, op: _Operator) -> None:
    kind = ops.Maximum if op.label.startswith("MAXIMUM") else ops.Minimum
    g.emit(kind(), op.inputs, op.outputs, op.label)


@_rule("MEAN", "SUM")
def _reduce(g: _Import, op: _Operator) -> None:
    rank = len(g.tensors[op.inputs[0]].shape)
    given = [int(axis) for axis in g.constant(op.inputs[1]).reshape(-1)]
    if not all(-rank <= axis < rank for axis in given):
        raise ModelError(f"{op.label}: expected axes from {-rank} to {rank - 1}, found {given}")
    kind = ops.Mean if op.label.startswith("MEAN") else ops.Sum
    axes = tuple(sorted({axis % rank for axis in given}))
    g.emit(kind(axes, op.flag(0)), op.inputs[:1], op.outputs, op.label)


@_rule("RELU", "RELU6", "RELU_N1_TO_1")
def _relu(g: _Import, op: _Operator) -> None:
    activation = Activation[op.label.split()[0]]
    # TFLite Micro computes RELU only: it has no RELU_N1_TO_1, and its RELU6 does not rescale.
    single = _legacy(g, op) or activation is not Activation.RELU
    g.emit(ops.Relu(activation, single_precision=single), op.inputs, op.outputs, op.label)


@_rule("LEAKY_RELU")
def _leaky_relu(g: _Import, op: _Operator) -> None:
    # LiteRT's float32, in int8 too: TFLite Micro's doubles contradict its own published vectors.
    relu = ops.LeakyRelu(op.real(0), single_precision=True)
    g.emit(relu, op.inputs, op.outputs, op.label)


@_rule("ABS")
def _abs(g: _Import, op: _Operator) -> None:
    g.emit(ops.Abs(), op.inputs, op.outputs, op.label)


@_rule("HARD_SWISH")
def _hard_swish(g: _Import, op: _Operator) -> None:
    swish = ops.HardSwish(single_precision=_legacy(g, op))
    g.emit(swish, op.inputs, op.outputs, op.label)


@_rule("LOGISTIC", "TANH")
def _sigmoid(g: _Import, op: _Operator) -> None:
    builtin = op.label.split()[0]
    function: Operator = ops.Logistic() if builtin == "LOGISTIC" else ops.Tanh()
    if _legacy(g, op):
        function = ops.RealFunction(ops.Function[builtin])
    g.emit(function, op.inputs, op.outputs, op.label)


@_rule("RSQRT")
def _rsqrt(g: _Import, op: _Operator) -> None:
    g.emit(ops.Rsqrt(), op.inputs, op.outputs, op.label)


@_rule("EXP", "LOG", "SQRT", "ELU", "GELU")
def _real_function(g: _Import, op: _Operator) -> None:
    function = ops.Function[op.label.split()[0]]
    if function is ops.Function.GELU and op.flag(0):
        function = ops.Function.GELU_TANH
    g.emit(ops.RealFunction(function), op.inputs, op.outputs, op.label)


@_rule("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pool(g: _Import, op: _Operator) -> None:
    window = _window(g, op, (op.integer(4), op.integer(3)), (0, 1, 2), -1)
    activation = op.activation(5)
    if op.label.startswith("MAX"):
        g.emit(ops.MaxPool2d(window, activation), op.inputs, op.outputs, op.label)
        return
    up = g.tensors[op.inputs[0]].dtype is DType.UINT8
    rounding = AverageRounding.UP if up else AverageRounding.AWAY
    g.emit(ops.AveragePool2d(window, activation, rounding), op.inputs, op.outputs, op.label)


@_rule("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(g: _Import, op: _Operator) -> None:
    # The output's own shape is the answer: converters write it, and it has no -1.
    g.emit(ops.Reshape(g.tensors[op.outputs[0]].shape), op.inputs[:1], op.outputs, op.label)


_WHOLE = (None, None, 1)
#: Swaps a row in its block with a column of blocks, or back.
_BLOCK_ORDER = (0, 1, 3, 2, 4, 5)


def _axis(op: _Operator, axis: int, rank: int) -> int:
    """An axis of a tensor of ``rank`` dimensions, counted from 0."""
    if not -rank <= axis < rank:
        raise ModelError(f"{op.label}: expected an axis of {rank} dimensions, found {axis}")
    return axis % rank


@_rule("SHAPE")
def _shape(g: _Import, op: _Operator) -> None:
    g.fold(op.outputs[0], np.array(g.tensors[op.inputs[0]].shape))


@_rule("PAD", "PADV2")
def _pad(g: _Import, op: _Operator) -> None:
    borders = g.integers(op.inputs[1])
    pad = ops.Pad(tuple(borders[0::2]), tuple(borders[1::2]))
    g.emit(pad, [op.inputs[0], *op.inputs[2:]], op.outputs, op.label)


@_rule("MIRROR_PAD")
def _mirror_pad(g: _Import, op: _Operator) -> None:
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
def _concatenation(g: _Import, op: _Operator) -> None:
    if op.activation(1) is not Activation.NONE:
        raise _Refusal("a fused activation", "use a separate operator")
    y = g.tensors[op.outputs[0]]
    inputs = list(op.inputs)
    for i, x in enumerate(g.tensors[name] for name in op.inputs):
        if x.dtype is DType.FLOAT32 or x.quantization == y.quantization:
            continue
        if x.dtype is not DType.UINT8 or y.dtype is not DType.UINT8:
            raise _Refusal(f"the scale of {x.name!r} differs from the output's", "requantize it before")
        inputs[i] = g.fresh(f"{x.name}/rescaled", replace(y, shape=x.shape))
        g.emit(ops.Rescale(), [x.name], [inputs[i]], op.label)
    g.emit(ops.Concat(_axis(op, op.integer(0), len(y.shape))), inputs, op.outputs, op.label)


@_rule("PACK")
def _pack(g: _Import, op: _Operator) -> None:
    y = g.tensors[op.outputs[0]]
    g.emit(ops.Pack(_axis(op, op.integer(1), len(y.shape))), op.inputs, op.outputs, op.label)


def _split_at(g: _Import, op: _Operator, x: str, axis: int, sizes: list[int]) -> None:
    begin = 0
    for output, size in zip(op.outputs, sizes, strict=True):
        index = (*[_WHOLE] * axis, (begin, begin + size, 1))
        g.emit(ops.Slice(index), [x], [output], op.label)
        begin += size


@_rule("SPLIT")
def _split(g: _Import, op: _Operator) -> None:
    x = g.tensors[op.inputs[1]]
    axis = _axis(op, g.integers(op.inputs[0])[0], len(x.shape))
    if x.shape[axis] % len(op.outputs):
        raise ModelError(f"{op.label}: {x.shape} in {len(op.outputs)} parts along axis {axis}")
    part = x.shape[axis] // len(op.outputs)
    _split_at(g, op, x.name, axis, [part] * len(op.outputs))


@_rule("SPLIT_V")
def _split_v(g: _Import, op: _Operator) -> None:
    x = g.tensors[op.inputs[0]]
    axis = _axis(op, g.integers(op.inputs[2])[0], len(x.shape))
    sizes = g.integers(op.inputs[1])
    rest = x.shape[axis] - sum(s for s in sizes if s != -1)
    sizes = [rest if s == -1 else s for s in sizes]
    if min(sizes) < 0 or sum(sizes) != x.shape[axis] or len(sizes) != len(op.outputs):
        raise ModelError(f"{op.label}: parts of {sizes} along axis {axis} of {x.shape}")
    _split_at(g, op, x.name, axis, sizes)


@_rule("UNPACK")
def _unpack(g: _Import, op: _Operator) -> None:
    axis = _axis(op, op.integer(1), len(g.tensors[op.inputs[0]].shape))
    for i, output in enumerate(op.outputs):
        g.emit(ops.Slice((*[_WHOLE] * axis, i)), op.inputs, [output], op.label)


@_rule("SLICE")
def _slice(g: _Import, op: _Operator) -> None:
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
def _strided_slice(g: _Import, op: _Operator) -> None:
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


@_rule("TRANSPOSE")
def _transpose(g: _Import, op: _Operator) -> None:
    order = g.integers(op.inputs[1])
    rank = len(g.tensors[op.inputs[0]].shape)
    transpose = ops.Transpose(tuple(_axis(op, axis, rank) for axis in order))
    g.emit(transpose, op.inputs[:1], op.outputs, op.label)


@_rule("BROADCAST_TO")
def _broadcast_to(g: _Import, op: _Operator) -> None:
    g.emit(ops.BroadcastTo(g.tensors[op.outputs[0]].shape), op.inputs[:1], op.outputs, op.label)


@_rule("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def _space_and_depth(g: _Import, op: _Operator) -> None:
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


def _size(g: _Import, op: _Operator) -> tuple[int, int]:
    size = g.integers(op.inputs[1])
    if len(size) != 2 or min(size) < 1:
        raise ModelError(f"{op.label}: expected a height and a width of at least 1, found {size}")
    return size[0], size[1]


@_rule("RESIZE_BILINEAR")
def _resize_bilinear(g: _Import, op: _Operator) -> None:
    legacy = g.tensors[op.inputs[0]].dtype is DType.UINT8
    method = ResizeMethod.FLOAT32 if legacy else ResizeMethod.FIXED
    resize = ops.ResizeBilinear(_size(g, op), op.flag(2), op.flag(3), method)
    g.emit(resize, op.inputs[:1], op.outputs, op.label)


@_rule("RESIZE_NEAREST_NEIGHBOR")
def _resize_nearest(g: _Import, op: _Operator) -> None:
    resize = ops.ResizeNearest(_size(g, op), op.flag(0), op.flag(1))
    g.emit(resize, op.inputs[:1], op.outputs, op.label)


@_rule("ARG_MAX")
def _arg_max(g: _Import, op: _Operator) -> None:
    axis = _axis(op, g.integers(op.inputs[1])[0], len(g.tensors[op.inputs[0]].shape))
    g.emit(ops.ArgMax(axis), op.inputs[:1], op.outputs, op.label)


@_rule("SOFTMAX")
def _softmax(g: _Import, op: _Operator) -> None:
    g.emit(ops.Softmax(op.real(0)), op.inputs, op.outputs, op.label)


@_rule("QUANTIZE")
def _quantize(g: _Import, op: _Operator) -> None:
    source, result = g.tensors[op.inputs[0]], g.tensors[op.outputs[0]]
    if source.dtype is DType.FLOAT32 and result.dtype is not DType.FLOAT32:
        g.real_inputs[source.name] = result.name
        return
    g.emit(ops.Quantize(), op.inputs, op.outputs, op.label)


@_rule("DEQUANTIZE")
def _dequantize(g: _Import, op: _Operator) -> None:
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


class _Tail:
    """The operators that compute in float32 on dequantized tensors: a network that was not quantized to its end."""

    def __init__(self) -> None:
        self.tensors: dict[str, str | None] = {}  # name -> the integer tensor that it is the image of
        self.ends: list[str] = []  # integer tensors that the tail reads, in order

    def takes(self, g: _Import, builtin: str, inputs: list[str], outputs: list[str]) -> bool:
        """Whether an operator belongs to the tail; remembers what it writes."""
        if builtin == "DEQUANTIZE" and g.tensors[inputs[0]].data is None and inputs[0] not in self.tensors:
            self.tensors[outputs[0]] = inputs[0]
            return False
        read = [name for name in inputs if name in self.tensors]
        if not read:
            return False
        for name in read:
            source = self.tensors[name]
            if source is not None and source not in self.ends:
                self.ends.append(source)
        self.tensors.update(dict.fromkeys(outputs))
        return True


def _is_shape_arithmetic(g: _Import, builtin: str, inputs: list[str]) -> bool:
    """Whether an operator computes on constant integers without a scale: on sizes."""
    read = [g.tensors[name] for name in inputs if name]
    return builtin in _ARITHMETIC and all(
        t.data is not None and t.quantization is None and t.dtype in (DType.INT32, DType.INT64) for t in read
    )


def _tensor(data: bytes | memoryview, table: Table, buffers: list[Table], index: int) -> Tensor:
    what = f"{table.what} ({table.text(3)!r})"
    shape = tuple(int(d) for d in table.array(0, "int"))
    if any(d < 0 for d in shape):
        raise ModelError(f"{what}: expected dimensions of at least 0, found {shape}")
    code = table.integer(1, "byte")
    if code == _FLOAT16:
        return _half_constant(data, table, buffers, index, shape)
    if code not in _TYPES:
        known = _OTHER_TYPES.get(code, f"type {code}")
        raise _Refusal(f"{table.text(3)!r} holds {known}", "only float32 and integer tensors are taken")
    dtype = _TYPES[code]
    quantization = None
    params = table.table(4, "quantization")
    if params is not None:
        scale, zero = params.array(2, "float"), params.array(3, "long")
        if scale.size:
            if zero.size == 0:
                zero = np.zeros(scale.size, np.int64)
            if zero.size != scale.size:
                raise ModelError(f"{what}: {scale.size} scales but {zero.size} zero points")
            if not np.all(np.isfinite(scale)) or not np.all(scale >= 0):
                raise ModelError(f"{what}: expected finite scales of at least 0")
            axis = params.integer(6) if scale.size > 1 else None
            if axis is not None and not (0 <= axis < len(shape) and shape[axis] == scale.size):
                raise ModelError(f"{what}: {scale.size} scales along axis {axis} of {shape}")
            quantization = Quantization(tuple(float(s) for s in scale), tuple(int(z) for z in zero), axis)
    raw = _raw(data, table, buffers, what)
    name = table.text(3) or f"tensor {index}"
    if raw.size == 0 or math.prod(shape) == 0:
        return Tensor(name, dtype, shape, quantization)
    return Tensor(name, dtype, shape, quantization, _elements(raw, dtype, shape, what))


def _raw(data: bytes | memoryview, table: Table, buffers: list[Table], what: str) -> Array:
    """The bytes of a tensor's buffer, inside the FlatBuffer or (for large files) behind it."""
    number = table.integer(2, "uint")
    if number >= len(buffers):
        raise ModelError(f"{what}: buffer {number} of {len(buffers)}")
    offset, size = buffers[number].integer(1, "ulong"), buffers[number].integer(2, "ulong")
    if offset <= 1:
        return buffers[number].array(0, "ubyte")
    if offset + size > len(data):
        raise ModelError(f"{what}: its data [{offset}, {offset + size}) passes the end of the file")
    return np.frombuffer(data, np.uint8, size, offset)


def _half_constant(
    data: bytes | memoryview, table: Table, buffers: list[Table], index: int, shape: tuple[int, ...]
) -> Tensor:
    """A float16 constant as float32; float16 activations are refused."""
    name = table.text(3) or f"tensor {index}"
    raw = _raw(data, table, buffers, table.what)
    if raw.size == 0:
        raise _Refusal(f"{name!r} is computed in float16", "convert the model with float32 activations")
    if raw.size != 2 * math.prod(shape):
        raise ModelError(
            f"{table.what}: float16 {shape} takes {2 * math.prod(shape)} bytes, found {raw.size}"
        )
    values = np.frombuffer(raw.tobytes(), "<f2").astype(np.float32).reshape(shape)
    return Tensor(name, DType.FLOAT32, shape, None, values)


def _elements(raw: Array, dtype: DType, shape: tuple[int, ...], what: str) -> Array:
    count = math.prod(shape)
    needed = -(-count * dtype.bits // 8)
    if raw.size != needed:
        raise ModelError(f"{what}: {dtype.value.lower()} {shape} takes {needed} bytes, found {raw.size}")
    values: Array
    if dtype.bits >= 8:
        values = np.frombuffer(raw.tobytes(), dtype.numpy.newbyteorder("<"), count)
        values = values.astype(dtype.numpy).reshape(shape)
        return values
    per_byte, mask = 8 // dtype.bits, (1 << dtype.bits) - 1
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(dtype.bits)
    fields = ((raw[:, None] >> shifts) & mask).reshape(-1)[:count].astype(np.int16)
    half = 1 << (dtype.bits - 1)
    values = ((fields ^ half) - half).astype(np.int8).reshape(shape)
    return values


def import_tflite(source: str | Path | bytes, *, name: str = "", cut: bool = False) -> Graph:
    """Read a .tflite model (a path or its bytes) as a graph.

    cut: where the network goes on in float32 after its last integer tensors, end it there.

    Raises ModelError where the file is wrong, UnsupportedError with every blocker where nybble lacks something.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    what = name or ("model" if isinstance(source, bytes) else Path(source).name)
    model = root(data, b"TFL3", what)
    subgraphs = model.tables(2, "subgraph")
    if not subgraphs:
        raise ModelError(f"{what}: expected a subgraph, found none")
    blockers: list[Blocker] = []
    if len(subgraphs) > 1:
        blockers.append(
            Blocker(what, f"{len(subgraphs)} subgraphs", "convert one signature without control flow")
        )
    main = subgraphs[0]
    buffers = model.tables(4, "buffer")
    tensors: dict[str, Tensor] = {}
    names: list[str] = []
    for i, table in enumerate(main.tables(0, "tensor")):
        try:
            tensor = _tensor(data, table, buffers, i)
        except _Refusal as refusal:
            blockers.append(Blocker(f"tensor {i}", refusal.reason, refusal.remedy))
            tensor = Tensor(table.text(3) or f"tensor {i}", DType.BOOL, (0,))
        if tensor.name in tensors:
            tensor = replace(tensor, name=f"{tensor.name}#{i}")
        tensors[tensor.name] = tensor
        names.append(tensor.name)

    def named(index: int, owner: str) -> str:
        if index == -1:
            return ""
        if not 0 <= index < len(names):
            raise ModelError(f"{owner}: tensor {index} of {len(names)}")
        return names[index]

    g = _Import(tensors)
    tail = _Tail()
    codes = [max(c.integer(0, "byte"), c.integer(3)) for c in model.tables(1, "operator code")]
    for i, table in enumerate(main.tables(3, "operator")):
        code = table.integer(0, "uint")
        if code >= len(codes):
            raise ModelError(f"{table.what}: operator code {code} of {len(codes)}")
        builtin = BUILTIN_NAMES.get(codes[code], f"operator {codes[code]}")
        inputs = [named(int(t), table.what) for t in table.array(1, "int")]
        outputs = [named(int(t), table.what) for t in table.array(2, "int")]
        label = f"{builtin} {i}"
        while inputs and not inputs[-1]:
            inputs.pop()
        try:
            operator = _Operator(label, inputs, outputs, table.table(4, "options"))
            if tail.takes(g, builtin, inputs, outputs):
                if not cut:
                    raise _Refusal("computes in float32 on dequantized tensors", _CUT)
                continue
            if _is_shape_arithmetic(g, builtin, inputs):
                g.fold(outputs[0], _ARITHMETIC[builtin](*(g.constant(name) for name in inputs)))
                continue
            if builtin not in _RULES:
                raise _Refusal("operator not supported", "cut the network before it, or replace it")
            _RULES[builtin](g, operator)
        except _Refusal as refusal:
            blockers.append(Blocker(label, refusal.reason, refusal.remedy))
        except IndexError:
            raise ModelError(f"{table.what} ({builtin}): too few inputs or outputs") from None
    ports_in = [named(int(t), what) for t in main.array(1, "int")]
    ports_out = [named(int(t), what) for t in main.array(2, "int")]
    blockers += _check_types(g)
    if blockers:
        raise UnsupportedError(what, blockers)

    def port(name: str, images: dict[str, str]) -> Port:
        return Port(images.get(name, name), name, g.tensors[name].dtype is DType.FLOAT32)

    ends = [t for t in ports_out if tail.tensors.get(t, t) is not None]
    outputs_at_cut = [Port(t, t, True) for t in tail.ends if t not in {g.real_outputs.get(e) for e in ends}]
    graph = Graph(
        g.tensors,
        tuple(g.nodes),
        tuple(port(t, g.real_inputs) for t in ports_in),
        (*(port(t, g.real_outputs) for t in ends), *outputs_at_cut),
        name=what,
    )
    return graph.rebuilt()


def _check_types(g: _Import) -> list[Blocker]:
    """A blocker for each node that mixes float32 with integers or leaves the types that the kernels take."""
    blockers = []
    for node in g.nodes:
        used = [g.tensors[n] for n in (*node.inputs, *node.outputs) if n]
        real = [t for t in used if t.dtype is DType.FLOAT32]
        if real and len(real) < len(used):
            integers = sum(t.dtype is not DType.FLOAT32 for t in used if t.quantization is not None)
            if integers:
                blockers.append(
                    Blocker(
                        node.name,
                        "mixes float32 and integers (dynamic range or weight only)",
                        "quantize activations too: nybble quantize",
                    )
                )
    return blockers
