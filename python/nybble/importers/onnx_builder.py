# SPDX-License-Identifier: Apache-2.0
"""An NHWC graph from a network whose operators think in NCHW.

Every computed tensor remembers in which order the graph holds its axes. A transposition of the
network only changes that memory; a real one is made where an operator insists on another order. So
transpositions that cancel, and those around a core that is NHWC already, never come to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .. import ops
from ..graph import Array, DType, ModelError, Node, Operator, Quantization, Rounding, Tensor, constant
from .refusal import Refusal

#: Axes of a channels-first tensor in the graph's order, by rank.
CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1)}


def _integers(name: str, real: Array, grid: Grid, axis: int | None) -> Tensor:
    """A dequantized constant as the integers that it was."""
    scales, zero_points = grid.scales, grid.zero_points
    shape = [1] * real.ndim
    if scales.size > 1:
        count = 0 if axis is None else real.shape[axis]
        if axis is None or count % scales.size:
            raise Refusal(f"{scales.size} scales for a constant {real.shape}", "use one, or one per output")
        scales, zero_points = (np.tile(a, count // scales.size) for a in (scales, zero_points))
        shape[axis] = -1
    steps = np.rint(real.astype(np.float64) / scales.reshape(shape))
    if not np.array_equal(real.astype(np.float32), (steps * scales.reshape(shape)).astype(np.float32)):
        raise Refusal(
            "constants that are no multiples of their scale", "quantize weights along their outputs"
        )
    data = (steps.astype(np.int64) + zero_points.reshape(shape)).astype(grid.dtype.numpy)
    quantization = Quantization(
        tuple(float(s) for s in scales),
        tuple(int(z) for z in zero_points),
        axis if scales.size > 1 else None,
    )
    return Tensor(name, grid.dtype, real.shape, quantization, data)


@dataclass(frozen=True)
class Value:
    """A computed tensor: axis i of the graph's ``tensor`` is the network's axis ``order[i]``."""

    tensor: str
    order: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where a dequantized constant lies: scales float32 and zero points [1] or [outputs] of a signed type."""

    dtype: DType
    scales: Array
    zero_points: Array


#: Operators whose outputs hold nothing but elements of their inputs, so that integers stay what they are.
CHOOSING = (
    ops.Concat,
    ops.MaxPool2d,
    ops.Maximum,
    ops.Minimum,
    ops.Move,
    ops.Pad,
    ops.Reshape,
    ops.ResizeNearest,
)


@dataclass
class Builder:
    """The graph as it grows; the methods take the network's names and count its axes."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    #: Whether activations are integers.
    quantized: bool = False
    #: Of those constants that were dequantized, where activations are integers.
    grids: dict[str, Grid] = field(default_factory=dict)
    #: Integer tensors of the network that are uint8 there and int8 here.
    unsigned: set[str] = field(default_factory=set)
    _ordered: dict[Value, str] = field(default_factory=dict)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is known now."""
        return name in self.constants

    def array(self, name: str) -> Array:
        """A constant's elements."""
        if name not in self.constants:
            raise Refusal(
                f"{name!r} is computed at run time where a constant is needed", "make it a constant"
            )
        return self.constants[name]

    def integers(self, name: str) -> list[int]:
        """A constant's elements, flat."""
        return [int(n) for n in self.array(name).reshape(-1)]

    def value(self, name: str) -> Value:
        """A computed tensor."""
        if name not in self.values:
            raise Refusal(f"{name!r} is a constant where a computed input is expected", "fold it")
        return self.values[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, as the network has it."""
        if name in self.constants:
            return self.constants[name].shape
        value = self.value(name)
        by_axis = dict(zip(value.order, self.tensors[value.tensor].shape, strict=True))
        return tuple(by_axis[axis] for axis in range(len(by_axis)))

    def add_tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: DType = DType.FLOAT32,
        quantization: Quantization | None = None,
    ) -> str:
        """A new tensor of the graph; returns its name, which may have a number added."""
        free, i = name, 0
        while free in self.tensors:
            i += 1
            free = f"{name}#{i}"
        self.tensors[free] = Tensor(free, dtype, shape, quantization)
        return free

    def add_constant(self, name: str, data: Array, axis: int | None = None) -> str:
        """A new constant of the graph; returns its name.

        data: made of the network's constant ``name``, float32. Where that was dequantized, the graph gets its
        integers, with the scales along ``axis``.
        """
        grid = self.grids.get(name)
        name = self.add_tensor(name, data.shape)
        if grid is None:
            self.tensors[name] = constant(name, np.ascontiguousarray(data, np.float32))
        else:
            self.tensors[name] = _integers(name, data, grid, axis)
        return name

    def as_unsigned(self, tensor: str, label: str) -> str:
        """An int8 tensor of the graph as uint8."""
        q = self.tensors[tensor].quantized
        shifted = Quantization.per_tensor(q.single_scale, q.single_zero_point + 128)
        op = ops.Quantize(rounding=Rounding.SINGLE)
        return self.emit(op, [tensor], f"{tensor}/uint8", label, DType.UINT8, shifted)

    def quantize_input(self, name: str, quantization: Quantization) -> None:
        """Say what the integers of an input stand for."""
        self.tensors[name] = replace(self.tensors[name], quantization=quantization)

    def emit(
        self,
        op: Operator,
        inputs: Sequence[str],
        name: str,
        label: str,
        dtype: DType = DType.FLOAT32,
        quantization: Quantization | None = None,
    ) -> str:
        """Append a node on tensors of the graph; returns its output's name, ``name`` where that is
        free. The output of an operator that only chooses among its inputs is of their type.
        """
        if isinstance(op, CHOOSING):
            kinds = {(self.tensors[i].dtype, self.tensors[i].quantization) for i in inputs}
            if len(kinds) == 1:
                ((dtype, quantization),) = kinds
        try:
            (shape,) = op.shapes([self.tensors[i] for i in inputs])
        except ValueError as error:
            raise ModelError(f"{label}: {error}") from error
        output = self.add_tensor(name, shape, dtype, quantization)
        self.nodes.append(Node(op, tuple(inputs), (output,), label))
        return output

    def taken(self, tensor: str, axis: int, positions: Sequence[int], name: str, label: str) -> str:
        """Positions of an axis of a graph's tensor, one after the other: slices of evenly spaced ones, joined."""
        parts = []
        whole = (*[(None, None, 1)] * axis,)
        for first, step, count in ops.move.runs(positions):
            last = first + step * count
            stop = None if last < 0 else last
            part: ops.move.Part = (first, first + 1, 1) if step == 0 else (first, stop, step)
            parts.append(self.emit(ops.Slice((*whole, part)), [tensor], f"{name}/part", label))
            if step == 0 and count > 1:
                shape = self.tensors[parts[-1]].shape
                repeated = ops.BroadcastTo((*shape[:axis], count, *shape[axis + 1 :]))
                parts[-1] = self.emit(repeated, [parts[-1]], f"{name}/part", label)
        if len(parts) == 1:
            return parts[0]
        return self.emit(ops.Concat(axis), parts, name, label)

    def define(self, name: str, tensor: str, order: tuple[int, ...] | None = None) -> None:
        """Say that the network's ``name`` is ``tensor``; order: None where its axes are as the
        network's.
        """
        rank = len(self.tensors[tensor].shape)
        self.values[name] = Value(tensor, tuple(range(rank)) if order is None else order)

    def reshaped(self, tensor: str, shape: tuple[int, ...], label: str) -> str:
        """A tensor of the graph in another shape."""
        if self.tensors[tensor].shape == shape:
            return tensor
        return self.emit(ops.Reshape(shape), [tensor], f"{tensor}/reshaped", label)

    def in_order(self, name: str, order: tuple[int, ...], label: str) -> str:
        """The graph's tensor that holds a computed tensor with its axes in ``order``."""
        value = self.value(name)
        if value.order == order:
            return value.tensor
        wanted = Value(value.tensor, order)
        if wanted not in self._ordered:
            permutation = tuple(value.order.index(axis) for axis in order)
            shape = self.tensors[value.tensor].shape
            target = tuple(shape[axis] for axis in permutation)
            moving = [axis for axis in permutation if shape[axis] != 1]
            if moving == sorted(moving):
                result = self.reshaped(value.tensor, target, label)
            else:
                transpose = ops.Transpose(permutation)
                result = self.emit(transpose, [value.tensor], f"{value.tensor}/transposed", label)
            self._ordered[wanted] = result
        return self._ordered[wanted]

    def plain(self, name: str, label: str) -> str:
        """The graph's tensor that holds a computed tensor with its axes in the network's order."""
        return self.in_order(name, tuple(range(len(self.shape(name)))), label)

    def image(self, name: str, label: str) -> str:
        """A computed [N, C, H, W] or [N, C, L] as the graph's [N, H, W, C], where H is 1 for the
        latter.
        """
        rank = len(self.shape(name))
        if rank not in CHANNELS_LAST:
            raise Refusal(f"{rank - 2} dimensions of space", "use 1 or 2")
        tensor = self.in_order(name, CHANNELS_LAST[rank], label)
        shape = self.tensors[tensor].shape
        return self.reshaped(tensor, (shape[0], 1, *shape[1:]) if rank == 3 else shape, label)

    def define_image(self, name: str, tensor: str, rank: int, label: str) -> None:
        """Say that the network's ``name`` of rank 3 or 4 is the graph's [N, H, W, C]."""
        shape = self.tensors[tensor].shape
        if rank == 3:
            tensor = self.reshaped(tensor, (shape[0], *shape[2:]), label)
        self.define(name, tensor, CHANNELS_LAST[rank])

    def aligned(self, names: Sequence[str], label: str) -> tuple[list[str], tuple[int, ...]]:
        """Operands of an elementwise operator as tensors of one rank and order of axes, and that
        order.
        """
        rank = max(len(self.shape(name)) for name in names)
        plain = tuple(range(rank))
        orders = [v.order for v in (self.values.get(n) for n in names) if v and len(v.order) == rank]
        order = next((o for o in orders if o != plain), plain)
        result = []
        for name in names:
            shape = self.shape(name)
            missing = (1,) * (rank - len(shape))
            if name in self.constants:
                data = self.constants[name].reshape(*missing, *shape).transpose(order)
                result.append(self.add_constant(name, data))
                continue
            if missing:
                lifted = self.reshaped(self.plain(name, label), (*missing, *shape), label)
                name = f"{name}/lifted"
                self.define(name, lifted)
            result.append(self.in_order(name, order, label))
        return result, order
