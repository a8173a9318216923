# SPDX-License-Identifier: Apache-2.0
"""Fold what scales and shifts channels (batch normalization, constants) into the weights before it.

With y = W x + b:  f * y + o = (f W) x + (f b + o), for every output channel; computed in double,
rounded to float32.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .. import ops
from ..graph import Array, DType, Graph, Node, Tensor, constant
from ..ops import Activation
from .absorb import absorb, fresh
from .affine import activation_of, unbound

#: The axis of the weights that counts the outputs.
OUTPUT_AXIS: dict[type, int] = {ops.Conv2d: 0, ops.DepthwiseConv2d: 3, ops.FullyConnected: 0}

Float64 = npt.NDArray[np.float64]


def _per_channel(tensors: dict[str, Tensor], node: Node, channels: int) -> tuple[Float64, Float64] | None:
    """(factor, offset) [channels] of a node that scales or shifts the channels of its input; None
    for others.
    """
    one, zero = np.ones(channels), np.zeros(channels)
    if isinstance(node.op, ops.Affine):
        return one * node.op.factor, one * node.op.offset
    if not isinstance(node.op, ops.Add | ops.Mul):
        return None
    constants = [i for i, name in enumerate(node.inputs) if tensors[name].data is not None]
    if len(constants) != 1:
        return None
    data: Array | None = tensors[node.inputs[constants[0]]].data
    x = tensors[node.inputs[1 - constants[0]]]
    if data is None or data.size not in (1, channels) or data.ndim > len(x.shape):
        return None
    if data.size == channels > 1 and data.shape[-1] != channels:
        return None
    values = one * data.reshape(-1).astype(np.float64)
    if isinstance(node.op, ops.Mul):
        return values, zero
    if isinstance(node.op, ops.Sub) and constants == [0]:
        return -one, values
    return one, node.op.sign * values


def _fold(tensors: dict[str, Tensor], node: Node, reader: Node) -> list[Node] | None:
    if isinstance(node.op, ops.Affine):
        if isinstance(reader.op, ops.Affine) and reader.op.factor:
            return [replace(node, op=node.op.then(reader.op), outputs=reader.outputs)]
        return None
    axis = OUTPUT_AXIS.get(type(node.op))
    if axis is None or getattr(node.op, "activation", None) is not Activation.NONE:
        return None
    weights = tensors[node.inputs[1]]
    if weights.data is None or weights.dtype is not DType.FLOAT32:
        return None
    channels = weights.shape[axis]
    found = _per_channel(tensors, reader, channels)
    if found is None:
        return None
    rest: list[Node] = []
    activation = getattr(reader.op, "activation", Activation.NONE)
    if isinstance(reader.op, ops.Affine):
        if unbound(reader.op).clamp:
            return None  # nothing but a clamp
        fused = activation_of(reader.op)
        activation = fused or Activation.NONE
        if fused is None:
            middle = fresh(tensors, f"{reader.outputs[0]}/linear")
            tensors[middle] = replace(tensors[node.outputs[0]], name=middle)
            clamp = ops.Affine(low=reader.op.low, high=reader.op.high)
            rest = [replace(reader, op=clamp, inputs=(middle,))]
    factor, offset = found
    shape = [1] * len(weights.shape)
    shape[axis] = channels
    bias = np.zeros(channels)
    if len(node.inputs) > 2:
        held = tensors[node.inputs[2]].data
        if held is None:
            return None
        bias = held.astype(np.float64)
    bias_name = node.inputs[2] if len(node.inputs) > 2 else f"{weights.name}/bias"
    names = []
    for like, values in (
        (weights.name, weights.data.astype(np.float64) * factor.reshape(shape)),
        (bias_name, bias * factor + offset),
    ):
        name = fresh(tensors, f"{like}/folded")
        tensors[name] = constant(name, values.astype(np.float32))
        names.append(name)
    op = replace(node.op, activation=activation)  # type: ignore[call-arg]
    outputs = (rest[0].inputs[0],) if rest else reader.outputs
    return [replace(node, op=op, inputs=(node.inputs[0], *names), outputs=outputs), *rest]


def fold_affine(graph: Graph) -> Graph:
    """Fold scales and shifts into convolutions and fully connected layers, and Affines into one
    another.
    """
    return absorb(graph, _fold)
