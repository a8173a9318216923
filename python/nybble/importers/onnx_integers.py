# SPDX-License-Identifier: Apache-2.0
"""Real operators between integer tensors as integer operators.

The graph comes with integer tensors (behind Quantize nodes) and float32 ones between them. Each Quantize pulls the
operators before it into integers: what only chooses elements or clamps them comes behind the rounding instead, which
changes nothing; what computes is rounded once, to nearest, ties up, from exact sums (docs/onnx.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial

import numpy as np

from .. import ops
from ..graph import (
    Array,
    Blocker,
    DType,
    Graph,
    Node,
    Operator,
    Port,
    Quantization,
    Rounding,
    Tensor,
    UnsupportedError,
)
from ..ops import AverageRounding, Step
from ..ops.window import NO_PADDING
from ..passes.absorb_transpose import absorb_transpose
from ..passes.affine import scalars_to_affine
from ..passes.fold_affine import OUTPUT_AXIS, fold_affine
from ..passes.fuse_activation import fuse_activation
from ..passes.fuse_padding import fuse_padding
from ..passes.hard_swish import to_hard_swish
from ..passes.mean_of_all import mean_of_all
from ..passes.per_channel import per_channel_to_depthwise
from ..passes.remove_identities import remove_identities
from ..passes.remove_unread import remove_unread
from ..passes.to_pointwise import to_pointwise
from ..quantize.parameters import Range, activation_parameters
from .onnx_builder import CHOOSING
from .refusal import Refusal

#: What makes patterns of several operators one, without touching constants.
_STRUCTURE = (
    remove_identities,
    scalars_to_affine,
    fold_affine,
    to_hard_swish,
    to_pointwise,
    per_channel_to_depthwise,
    fold_affine,
    mean_of_all,
    fuse_activation,
    fuse_padding,
    absorb_transpose,
    remove_identities,
)
_ONCE = {"rounding": Rounding.SINGLE, "single_precision": False, "legacy": False}
_INTEGERS = (DType.INT8, DType.UINT8)
_QUANTIZE_BETWEEN = "put QuantizeLinear and DequantizeLinear between the two"


def _rounded_once(op: Operator) -> Operator:
    if isinstance(op, ops.AveragePool2d):
        return replace(op, rounding=AverageRounding.UP)
    known = {f.name for f in fields(op)}
    return replace(op, **{name: value for name, value in _ONCE.items() if name in known})


def _cuts_at_zero(op: Operator) -> bool:
    """Whether an operator is nothing but a clamp with zero for its bounds."""
    if isinstance(op, ops.Relu):
        op = ops.Affine(1.0, 0.0, *op.activation.value)
    return isinstance(op, ops.Affine) and op.clamp and {op.low, op.high} <= {0.0, math.inf, -math.inf}


def _own_grid(op: Operator) -> Quantization | None:
    """The integers that an operator's outputs have where nothing says which."""
    if isinstance(op, ops.Softmax | ops.Logistic):
        return Quantization.per_tensor(1 / 256, -128)
    return Quantization.per_tensor(1 / 128, 0) if isinstance(op, ops.Tanh) else None


@dataclass
class _Conversion:
    """The integer graph as it grows."""

    graph: Graph
    tensors: dict[str, Tensor]
    producers: dict[str, Node]
    nodes: list[Node] = field(default_factory=list)
    #: Integer tensors of the old graph in the new one.
    held: dict[str, str] = field(default_factory=dict)
    #: (float32 tensor, grid) -> its integers.
    rounded: dict[tuple[str, Quantization], str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    def add(self, like: str, tensor: Tensor) -> str:
        """A new tensor, named after another one."""
        name, i = like, 0
        while name in self.tensors:
            i += 1
            name = f"{like}#{i}"
        self.tensors[name] = replace(tensor, name=name)
        return name

    def emit(self, op: Operator, inputs: Sequence[str], like: Tensor, grid: Quantization, label: str) -> str:
        """Append a node; its output has the shape of ``like`` and the integers of ``grid``."""
        output = self.add(like.name, Tensor("", DType.INT8, like.shape, grid))
        self.nodes.append(Node(_rounded_once(op), tuple(inputs), (output,), label))
        return output

    def requantized(self, name: str, grid: Quantization, label: str) -> str:
        """An integer tensor on another grid."""
        tensor = self.tensors[name]
        if (tensor.dtype, tensor.quantization) == (DType.INT8, grid):
            return name
        if tensor.data is not None:
            return self.constant(tensor, _real(tensor), grid)
        return self.emit(ops.Quantize(), [name], replace(tensor, name=f"{name}/rescaled"), grid, label)

    def constant(self, like: Tensor, real: Array, grid: Quantization) -> str:
        """Real numbers as a constant on a grid."""
        steps = np.floor(real.astype(np.float64) / grid.single_scale + 0.5) + grid.single_zero_point
        data = np.clip(steps, -128, 127).astype(np.int8)
        return self.add(f"{like.name}/int8", Tensor("", DType.INT8, like.shape, grid, data))

    def integers(self, name: str, reader: Node) -> str:
        """The new tensor for an integer tensor that a node reads."""
        tensor = self.graph.tensors[name]
        if tensor.dtype in _INTEGERS and tensor.quantization is not None:
            if tensor.data is not None:
                return self.add(name, tensor) if name not in self.tensors else name
            return self.held.get(name, name)
        producer = self.producers.get(name)
        what = f"computes in float32 what {reader.op.name} {reader.name!r} reads"
        if tensor.data is not None:
            raise Refusal(f"reads the float32 constant {name!r}", "quantize it")
        if producer is None:
            raise Refusal(f"reads the float32 input {name!r}", _QUANTIZE_BETWEEN)
        if _cuts_at_zero(producer.op):  # zero is on every grid
            grid = self.tensors[self.integers(producer.inputs[0], producer)].quantized
            return self.quantized(name, grid, reader)
        raise _Island(producer, what)

    def quantized(self, name: str, grid: Quantization, reader: Node) -> str:
        """The integers on ``grid`` of a tensor of the old graph."""
        tensor = self.graph.tensors[name]
        if tensor.dtype in _INTEGERS:
            return self.requantized(self.integers(name, reader), grid, reader.name)
        if (name, grid) not in self.rounded:
            self.rounded[name, grid] = self._round(tensor, grid)
        return self.rounded[name, grid]

    def _round(self, tensor: Tensor, grid: Quantization) -> str:
        if tensor.data is not None:
            return self.constant(tensor, tensor.data, grid)
        node = self.producers.get(tensor.name)
        if node is None:
            if tensor.name in self.inputs:
                return self.requantized(self.inputs[tensor.name], grid, tensor.name)
            self.inputs[tensor.name] = self.add(tensor.name, Tensor("", DType.INT8, tensor.shape, grid))
            return self.inputs[tensor.name]
        clamps = isinstance(node.op, ops.Relu) or (isinstance(node.op, ops.Affine) and node.op.clamp)
        if isinstance(node.op, CHOOSING) or clamps:
            inputs = [self.quantized(name, grid, node) for name in node.inputs]
            return self.emit(node.op, inputs, tensor, grid, node.name)
        try:
            return self._computed(node, tensor, grid)
        except ValueError as error:
            raise Refusal(str(error), "quantize it with other scales, or cut before it") from error

    def _computed(self, node: Node, y: Tensor, grid: Quantization) -> str:
        op = node.op
        if isinstance(op, ops.Lookup):
            source, table = self._pointwise(node)
            return self.emit(table, [source], y, grid, node.name)
        if type(op) in OUTPUT_AXIS:
            return self.emit(op, self._layer(node), y, grid, node.name)
        if isinstance(op, ops.Add | ops.Mul):
            return self.emit(op, self._operands(node, grid), y, grid, node.name)
        inputs = [self.integers(name, node) for name in node.inputs]
        x = self.tensors[inputs[0]]
        if isinstance(op, ops.AveragePool2d):
            if x.quantization == grid:
                return self.emit(op, inputs, y, grid, node.name)
            if op.window.padding == NO_PADDING:
                return self._weighed(op, x, y, grid, node.name)
        if isinstance(op, ops.AveragePool2d | ops.ResizeBilinear):
            same = replace(y, name=f"{y.name}/unscaled")
            return self.requantized(self.emit(op, inputs, same, x.quantized, node.name), grid, node.name)
        if isinstance(op, ops.Softmax):
            own = self.emit(op, inputs, y, Quantization.per_tensor(1 / 256, -128), node.name)
            return self.requantized(own, grid, node.name)
        if isinstance(op, ops.Mean | ops.Sum):
            return self.emit(op, inputs, y, grid, node.name)
        raise Refusal("has no form in integers", "cut the network before it, or replace it")

    def _pointwise(self, node: Node) -> tuple[str, Operator]:
        """(integer tensor, table) of a chain of tables with nothing rounded between."""
        chain = [node.op]
        while self.graph.tensors[node.inputs[0]].dtype is DType.FLOAT32:
            before = self.producers.get(node.inputs[0])
            if before is None or not isinstance(before.op, ops.Lookup):
                break
            node = before
            chain.insert(0, node.op)
        source = self.integers(node.inputs[0], node)
        if len(chain) == 1 and isinstance(chain[0], ops.Affine | ops.Pointwise):
            return source, chain[0]
        return source, ops.Pointwise(tuple(Step(op, (i,)) for i, op in enumerate(chain)))

    def _operands(self, node: Node, grid: Quantization) -> list[str]:
        """The inputs of a sum or product; float32 constants are rounded to 8 bits."""
        inputs = []
        for name, other in zip(node.inputs, reversed(node.inputs), strict=True):
            tensor = self.graph.tensors[name]
            if tensor.data is not None and tensor.dtype is DType.FLOAT32:
                range_of = Range(float(tensor.data.min()), float(tensor.data.max()))
                inputs.append(self.constant(tensor, tensor.data, activation_parameters(range_of)))
            elif isinstance(node.op, ops.Add) and self._is_sloped(name, other):
                inputs.append(self.quantized(name, grid, node))
            else:
                inputs.append(self.integers(name, node))
        return inputs

    def _is_sloped(self, name: str, other: str) -> bool:
        """Whether of one tensor ``name`` is the part below zero times something and ``other`` the part above: one of
        the two is always zero, so that rounding the first to the sum's grid rounds the sum, once.
        """
        sloped, above = self.producers.get(name), self.producers.get(other)
        if sloped is None or above is None or not isinstance(sloped.op, ops.Mul | ops.DepthwiseConv2d):
            return False
        below = self.producers.get(sloped.inputs[0])
        shift = self.graph.tensors[sloped.inputs[2]].data if len(sloped.inputs) > 2 else None
        return (
            below is not None
            and (shift is None or not shift.any())
            and below.inputs == above.inputs
            and below.op == ops.Affine(high=0.0)
            and above.op == ops.Affine(low=0.0)
        )

    def _layer(self, node: Node) -> list[str]:
        """The inputs of a layer with weights; its bias in steps of its accumulator."""
        weights = self.graph.tensors[node.inputs[1]]
        if (
            weights.dtype is DType.FLOAT32
            and isinstance(node.op, ops.DepthwiseConv2d)
            and weights.size == weights.shape[3]
        ):
            weights = self._factors(weights)
        if weights.dtype is DType.FLOAT32 or weights.quantization is None:
            raise Refusal("its weights are float32", "quantize weights too")
        inputs = [self.integers(node.inputs[0], node), weights.name]
        self.tensors[weights.name] = weights
        if len(node.inputs) > 2:
            bias = self.graph.tensors[node.inputs[2]]
            steps = np.float64(self.tensors[inputs[0]].scale) * weights.quantized.scales.astype(np.float64)
            data = np.rint(_real(bias) / steps)
            if np.abs(data).max(initial=0) >= 1 << 31:
                raise Refusal("a bias that passes int32", "use larger scales")
            held = Quantization(
                tuple(float(np.float32(s)) for s in steps), (0,) * steps.size, 0 if steps.size > 1 else None
            )
            values = np.broadcast_to(data, bias.shape).astype(np.int32)
            inputs.append(self.add(f"{bias.name}/int32", Tensor("", DType.INT32, bias.shape, held, values)))
        return inputs

    def _factors(self, weights: Tensor) -> Tensor:
        """One factor for each channel, [1, 1, 1, C], as integers with scales of their own: nothing is lost."""
        factors = _real(weights).reshape(-1)
        scales = tuple(float(np.float32(abs(f) / 127)) if f else 1.0 for f in factors)
        data = (127 * np.sign(factors)).astype(np.int8).reshape(weights.shape)
        return self.tensors[
            self.add(
                f"{weights.name}/int8",
                Tensor("", DType.INT8, weights.shape, Quantization(scales, (0,) * len(scales), 3), data),
            )
        ]

    def _weighed(self, op: ops.AveragePool2d, x: Tensor, y: Tensor, grid: Quantization, label: str) -> str:
        """An average with a scale of its own: a depthwise convolution with weights of 1 / n."""
        shape = (1, *op.window.size, x.shape[3])
        scale = Quantization.per_tensor(1 / (shape[1] * shape[2]), 0)
        ones = Tensor("", DType.INT8, shape, scale, np.ones(shape, np.int8))
        weights = self.add(f"{y.name}/ones", ones)
        return self.emit(ops.DepthwiseConv2d(op.window, op.activation), [x.name, weights], y, grid, label)


class _Island(Refusal):
    """A node that computes in float32 for another one."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason, _QUANTIZE_BETWEEN)
        self.node = node


def _real(tensor: Tensor) -> Array:
    """A constant's real numbers in float64."""
    assert tensor.data is not None
    if tensor.quantization is None:
        return tensor.data.astype(np.float64)
    q = tensor.quantization
    shape = [1] * len(tensor.shape)
    if q.axis is not None:
        shape[q.axis] = -1
    centred = tensor.data.astype(np.float64) - np.array(q.zero_point).reshape(shape)
    real: Array = centred * q.scales.astype(np.float64).reshape(shape)
    return real


def to_integers(graph: Graph) -> Graph:
    """The graph with integer operators only.

    Raises UnsupportedError with a blocker for every operator that computes in float32.
    """
    for step in _STRUCTURE:
        graph = step(graph)
    named = {port.tensor for port in graph.inputs}
    start = {n: t for n, t in graph.tensors.items() if n in named and t.dtype in _INTEGERS}
    c = _Conversion(graph, start, graph.producers())
    blockers: dict[str, Blocker] = {}

    def attempt(node: Node | None, action: Callable[[], None]) -> None:
        try:
            action()
        except _Island as island:
            label = f"{island.node.op.name} {island.node.name!r}"
            blockers.setdefault(label, Blocker(label, island.reason, island.remedy))
        except Refusal as refusal:
            label = f"{node.op.name} {node.name!r}" if node is not None else "output"
            blockers.setdefault(label, Blocker(label, refusal.reason, refusal.remedy))

    def take(node: Node) -> None:
        output = graph.tensors[node.outputs[0]]
        if isinstance(node.op, ops.Quantize):
            held = c.quantized(node.inputs[0], output.quantized, c.producers.get(node.inputs[0], node))
            if output.dtype is DType.UINT8:  # an output of the network
                c.tensors[output.name] = output
                c.nodes.append(Node(_rounded_once(node.op), (held,), node.outputs, node.name))
                held = output.name
            c.held[output.name] = held
        elif output.dtype is not DType.FLOAT32:
            inputs = tuple(c.integers(name, node) for name in node.inputs)
            c.held[output.name] = c.add(output.name, output)
            c.nodes.append(replace(node, inputs=inputs, outputs=(c.held[output.name],)))

    for node in graph.nodes:
        computing = c.producers.get(node.inputs[0], node) if isinstance(node.op, ops.Quantize) else node
        attempt(computing, partial(take, node))
    outputs: list[Port] = []

    def end(port: Port) -> None:
        tensor = graph.tensors[port.tensor]
        if tensor.dtype is not DType.FLOAT32:
            outputs.append(replace(port, tensor=c.held.get(port.tensor, port.tensor)))
            return
        node: Node | None = c.producers.get(port.tensor)
        while node is not None and isinstance(node.op, ops.Reshape | ops.Move):
            node = c.producers.get(node.inputs[0])
        grid = None if node is None else _own_grid(node.op)
        if node is None or grid is None:
            raise Refusal("computes in float32 to the network's end", "quantize the output, or cut before it")
        outputs.append(replace(port, tensor=c.quantized(port.tensor, grid, node)))

    for port in graph.outputs:
        attempt(c.producers.get(port.tensor), partial(end, port))
    unread = [p for p in graph.inputs if p.real and p.tensor not in c.inputs]
    if blockers or unread:
        rest = [
            Blocker(f"input {p.name!r}", "is read by nothing in integers", _QUANTIZE_BETWEEN) for p in unread
        ]
        raise UnsupportedError(graph.name, [*blockers.values(), *([] if blockers else rest)])
    inputs = [replace(p, tensor=c.inputs[p.tensor]) if p.real else p for p in graph.inputs]
    return remove_unread(graph.rebuilt(c.nodes, c.tensors, inputs, outputs))
