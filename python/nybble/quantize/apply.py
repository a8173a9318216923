# SPDX-License-Identifier: Apache-2.0
"""Float graph and ranges in, integer graph out: the form that the compiler takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np

from .. import ops
from ..graph import (
    DType,
    Graph,
    Node,
    Operator,
    Quantization,
    QuantizationError,
    Rounding,
    Tensor,
)
from ..ops import AverageRounding
from ..passes.absorb import fresh
from ..passes.fold_affine import OUTPUT_AXIS
from .group_weights import group_weights
from .parameters import (
    WEIGHT_TYPES,
    Range,
    activation_parameters,
    quantized,
    quantized_bias,
    quantized_weights,
    smallest_scales,
    weight_scales,
)
from .recipe import Recipe, has_weights
from .ties import tied

#: What networks that nybble quantizes itself mean, where an operator knows several references: ties
#: up, once.
_OWN = {"rounding": Rounding.SINGLE, "single_precision": False, "legacy": False}


def own_rounding(op: Operator) -> Operator:
    """An operator with nybble's own rounding."""
    if isinstance(op, ops.AveragePool2d):
        return replace(op, rounding=AverageRounding.UP)
    known = {field.name for field in fields(op)}
    return replace(op, **{name: value for name, value in _OWN.items() if name in known})


def quantize_graph(graph: Graph, ranges: Mapping[str, Range], recipe: Recipe) -> Graph:
    """The integer graph of a float one.

    graph: prepared (passes.prepare_float, ties.separate_given). ranges: of every activation
    (observe). Activations become int8, or 4 or 2 bits of one, with one scale and zero point each, operators that
    cannot rescale sharing theirs; weights symmetric with one scale per output channel; biases int32. Inputs and
    outputs stay float32 to the user.

    Raises QuantizationError where an operator's weights are not constants.
    """
    bits = recipe.bits(graph)
    groups, fixed = tied(graph)
    together: dict[str, Range] = {}
    for name, group in groups.items():
        data = graph.tensors[name].data
        seen = (
            ranges.get(name)
            if data is None
            else Range(float(data.min()), float(data.max()))
            if data.size
            else None
        )
        if seen is not None:
            together[group] = together[group].union(seen) if group in together else seen
    levels = {groups[name]: found for name, found in recipe.activation_bits(graph).items()}
    parameters = {
        group: activation_parameters(seen, levels[group], recipe.symmetric)
        for group, seen in together.items()
    } | fixed

    weights_and_biases = {name for node in graph.nodes if has_weights(node) for name in node.inputs[1:]}
    tensors: dict[str, Tensor] = {}
    for name, tensor in graph.tensors.items():
        if name in groups and name not in weights_and_biases:
            tensors[name] = _as_int8(tensor, parameters[groups[name]])
        else:
            tensors[name] = tensor
    nodes = []
    for node in graph.nodes:
        node = replace(node, op=own_rounding(node.op))
        if has_weights(node):
            node = _quantized_layer(graph, tensors, node, bits[node.outputs[0]], recipe.group)
        nodes.append(node)
    return graph.rebuilt(nodes, tensors)


def _as_int8(tensor: Tensor, quantization: Quantization) -> Tensor:
    data = None if tensor.data is None else quantized(tensor.data, quantization, DType.INT8)
    return replace(tensor, dtype=DType.INT8, quantization=quantization, data=data)


def _quantized_layer(
    graph: Graph, tensors: dict[str, Tensor], node: Node, bits: int, group: int | None
) -> Node:
    """A layer with weights and bias as integers; its new constants are added to ``tensors``."""
    constants = [graph.tensors[name] for name in node.inputs[1:] if name]
    if any(tensor.data is None for tensor in constants):
        raise QuantizationError(f"{node.label}: expected constant weights and bias, found computed ones")
    data = [tensor.data for tensor in constants if tensor.data is not None]
    axis = OUTPUT_AXIS[type(node.op)]
    bias = data[1] if len(data) > 1 else None
    input_scale = tensors[node.inputs[0]].scale
    groups = None
    if group is not None and bits < 8 and isinstance(node.op, ops.Conv2d | ops.FullyConnected):
        rows = data[0].reshape(len(data[0]), -1).astype(np.float64)
        smallest = np.zeros(len(rows)) if bias is None else smallest_scales(bias, input_scale)
        integers, scales, groups = group_weights(rows, bits, group, smallest)
        values = integers.reshape(data[0].shape)
    else:
        scales = weight_scales(data[0], bits, axis, input_scale, bias)
        values = quantized_weights(data[0], scales, bits, axis)
    quantization = Quantization(tuple(float(s) for s in scales), (0,) * scales.size, axis, groups)
    name = fresh(tensors, f"{constants[0].name}/int{bits}")
    tensors[name] = Tensor(name, WEIGHT_TYPES[bits], values.shape, quantization, values)
    inputs = [node.inputs[0], name]
    if bias is not None:
        steps = input_scale * scales.astype(np.float64)
        held = Quantization(tuple(float(np.float32(s)) for s in steps), (0,) * steps.size, 0)
        name = fresh(tensors, f"{constants[1].name}/int32")
        tensors[name] = Tensor(name, DType.INT32, bias.shape, held, quantized_bias(bias, steps))
        inputs.append(name)
    return replace(node, inputs=tuple(inputs))
