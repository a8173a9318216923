# SPDX-License-Identifier: Apache-2.0
"""Integer weights on a coarser grid: fewer bits, or sums of neighbours that 16 bits hold.

For measuring speed and for experiments: the outputs stay roughly right, nobody looks after accuracy. A
channel's grid becomes coarser by an exact ratio; its weights and bias are rounded to it (to nearest, ties
up) and its scale grows by it. Everything up to the scale is computed in integers, so equal inputs give
equal bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .. import ops
from ..graph import Array, DType, Graph, Node, Quantization, Tensor
from ..passes.absorb import fresh
from ..passes.fold_affine import OUTPUT_AXIS
from .parameters import WEIGHT_TYPES

Int64 = npt.NDArray[np.int64]
#: From the magnitudes [channels, k] of the weights to (numerator, denominator) of each channel's new step in old ones.
Coarsen = Callable[[Int64], tuple[Int64, Int64]]

#: What the sum of ``run`` neighbours' magnitudes may reach: 255 times it is within int16.
SAFE_SUM = 32767 // 255
#: Neighbours along k, in the order in which the file packs them, by the name of the guarantee.
SAFE_RUNS = {"pair-safe": 2, "quad-safe": 4}
#: Steps that are tried for fewer bits: this many fractions of the largest weight.
_FRACTIONS = 16


def _divided(x: Int64, numerator: Int64, denominator: Int64) -> Int64:
    """round(x / (numerator / denominator)), ties up."""
    return np.asarray((2 * x * denominator + numerator) // (2 * numerator), np.int64)


def narrow_weights(graph: Graph, bits: int) -> Graph:
    """Weights of convolutions and fully connected layers in 4 or 2 bits, one scale per output channel.

    The step of a channel is the fraction of its largest weight, in sixteenths, whose squared error is least.
    Depthwise convolutions keep their bits: they have few weights, and gain no speed from fewer bits.
    """
    highest = WEIGHT_TYPES[bits].highest

    def coarsen(magnitudes: Int64) -> tuple[Int64, Int64]:
        channels = magnitudes.shape[0]
        values = np.arange(256)
        places = magnitudes + 256 * np.arange(channels)[:, None]
        counts = np.bincount(places.reshape(-1), minlength=256 * channels).reshape(channels, 256)
        largest = np.maximum(magnitudes.max(axis=1, initial=0), 1)
        denominator = np.array(highest * _FRACTIONS)
        tried = np.arange(1, _FRACTIONS + 1)[:, None] * largest
        errors = []
        for step in tried:
            rounded = np.minimum(_divided(values, step[:, None], denominator), highest)
            errors.append((counts * (values * denominator - rounded * step[:, None]) ** 2).sum(axis=1))
        best = np.argmin(errors, axis=0)
        return tried[best, np.arange(channels)], denominator

    return _coarser(graph, (ops.Conv2d, ops.FullyConnected), WEIGHT_TYPES[bits], coarsen)


def bound_sums(graph: Graph, run: int) -> Graph:
    """8-bit weights whose magnitudes sum to at most SAFE_SUM over every ``run`` (2 or 4) neighbours along k.

    16-bit sums of their products with unsigned 8-bit activations cannot overflow. Channels that keep the bound
    already stay as they are.
    """

    def coarsen(magnitudes: Int64) -> tuple[Int64, Int64]:
        channels, k = magnitudes.shape
        padded = np.zeros((channels, -(-k // run) * run), np.int64)
        padded[:, :k] = magnitudes
        sums = padded.reshape(channels, -1, run).sum(axis=2).max(axis=1, initial=0)
        within = (sums <= SAFE_SUM) & (magnitudes.max(axis=1, initial=0) <= DType.INT8.highest)
        # Rounding adds at most one half to each of the neighbours.
        return np.where(within, 1, sums), np.where(within, 1, SAFE_SUM - run // 2)

    return _coarser(graph, tuple(OUTPUT_AXIS), DType.INT8, coarsen)


def _coarser(graph: Graph, kinds: tuple[type, ...], dtype: DType, coarsen: Coarsen) -> Graph:
    """The graph with the constant 8-bit weights of some operators on coarser grids."""
    tensors = dict(graph.tensors)
    nodes = []
    for node in graph.nodes:
        if isinstance(node.op, kinds) and len(node.inputs) > 1:
            weights = tensors[node.inputs[1]]
            if weights.data is not None and weights.dtype is DType.INT8:
                node = _with_step(tensors, node, weights, weights.data, dtype, coarsen)
        nodes.append(node)
    return graph.rebuilt(nodes, tensors)


def _with_step(
    tensors: dict[str, Tensor], node: Node, weights: Tensor, data: Array, dtype: DType, coarsen: Coarsen
) -> Node:
    axis = OUTPUT_AXIS[type(node.op)]
    signed = np.moveaxis(data.astype(np.int64) - weights.quantized.single_zero_point, axis, 0)
    by_channel = signed.reshape(signed.shape[0], -1)
    magnitudes = np.abs(by_channel)
    numerator, denominator = coarsen(magnitudes)
    column = np.broadcast_to(denominator, numerator.shape)[:, None]
    rounded = np.minimum(_divided(magnitudes, numerator[:, None], column), dtype.highest)
    moved = (np.sign(by_channel) * rounded).reshape(signed.shape).astype(np.int8)
    values = np.ascontiguousarray(np.moveaxis(moved, 0, axis))
    steps = (weights.quantized.scales * (numerator / denominator)).astype(np.float32)
    name = fresh(tensors, f"{weights.name}/coarser")
    groups = weights.quantized.groups
    quantization = Quantization(tuple(float(s) for s in steps), (0,) * steps.size, axis, groups)
    tensors[name] = Tensor(name, dtype, weights.shape, quantization, values)
    inputs = [node.inputs[0], name]
    for held in node.inputs[2:]:
        bias = tensors[held]
        if bias.data is not None:
            name = fresh(tensors, f"{held}/coarser")
            coarser = _divided(bias.data.astype(np.int64), numerator, denominator).astype(np.int32)
            tensors[name] = Tensor(name, DType.INT32, bias.shape, None, coarser)
            inputs.append(name)
        else:
            inputs.append(held)  # for the operator to refuse
    return replace(node, inputs=tuple(inputs))
