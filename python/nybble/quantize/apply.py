# SPDX-License-Identifier: Apache-2.0
"""Float graph and ranges in, integer graph out: the form that the compiler takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import fields, replace

import numpy as np

from .. import ops
from ..graph import (
    Array,
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
from .activations import activation_quantizations
from .curvature import curvatures
from .group_weights import grouped
from .layer import Float64, Grid, IntegerLayer, LayerProblem, as_weights, by_group
from .methods import METHODS
from .parameters import (
    TERNARY,
    WEIGHT_TYPES,
    Level,
    Range,
    quantized,
    quantized_bias,
    scales_for_bias,
)
from .recipe import Recipe, has_weights
from .requantize_weights import SAFE_SUM
from .solved import Solved, digest
from .walk import Walk, spread

#: What a layer makes up for of what those before it lost (LayerProblem.eased): some of that is chance, which other
#: samples do not repeat. Behind fewer than 4 bits of weights or 8 of activations so much is lost that all of it counts.
_MADE_UP = 0.5

#: Called with (steps done, of).
Progress = Callable[[int, int], None]

_SOLVED = Solved()

#: What networks that nybble quantizes itself mean, where an operator knows several references: ties
#: up, once.
_OWN = {"rounding": Rounding.SINGLE, "single_precision": False, "legacy": False}


def own_rounding(op: Operator, wide: bool = False) -> Operator:
    """An operator with nybble's own rounding; wide: on int16, whose averages round away from zero."""
    if isinstance(op, ops.AveragePool2d):
        return replace(op, rounding=AverageRounding.AWAY if wide else AverageRounding.UP)
    known = {field.name for field in fields(op)}
    return replace(op, **{name: value for name, value in _OWN.items() if name in known})


def quantize_graph(
    graph: Graph,
    ranges: Mapping[str, Range],
    recipe: Recipe,
    samples: Sequence[Array] = (),
    progress: Progress | None = None,
) -> Graph:
    """The integer graph of a float one.

    graph: prepared (passes.prepare_float, ties.separate_given, widths.separate_widths). ranges: of every activation
    (observe). Activations become int8, 4 or 2 bits of one, or int16, with one scale and zero point each, operators that
    cannot rescale sharing theirs; weights by the recipe's method, with one scale per output channel or layer; biases int32.
    Inputs and outputs stay float32 to the user. samples: per input float32 [N, *shape], for methods that look at the
    layers' inputs. progress: called after every operator.

    Raises QuantizationError where an operator's weights are not constants.
    """
    return quantize_levels(graph, ranges, recipe, (), samples, progress)[0]


#: Solutions of layers, by output and level of weights.
LayerSolutions = Mapping[tuple[str, Level], IntegerLayer]


def quantize_levels(
    graph: Graph,
    ranges: Mapping[str, Range],
    recipe: Recipe,
    others: Sequence[Level],
    samples: Sequence[Array] = (),
    progress: Progress | None = None,
) -> tuple[Graph, LayerSolutions]:
    """(the graph of quantize_graph, the solution of every layer at the level that the recipe gives it and at ``others``).

    A layer at another level is solved in the network of the recipe, on what the layers before it pass
    on there: that network with this layer alone at another level (assemble) is one replacement away.
    """
    levels, granularities = recipe.levels(graph), recipe.granularities(graph)
    solved: dict[tuple[str, Level], IntegerLayer] = {}
    method = METHODS[recipe.method]
    tensors = _integer_tensors(graph, ranges, recipe)
    walk = _walk(graph, samples, tensors, method.curvature) if method.moments and samples else None
    coarse = min(recipe.activation_bits(graph).values(), default=8) < 8
    nodes = []
    for done, node in enumerate(graph.nodes):
        new = _own_node(node, tensors)
        if has_weights(node):
            weights, bias = _constants(graph, node)
            problem = LayerProblem.of_weights(weights, bias)
            if walk is not None:
                problem = walk.problem(node, tensors).eased(1.0 if coarse else _MADE_UP)
            own, shared = levels[node.outputs[0]], granularities[node.outputs[0]] == "tensor"
            for level in dict.fromkeys((own, *others)):
                grid = _grid(level, recipe.pair_safe, shared)
                solution = _solution(problem, node, level, grid, recipe, walk is not None)
                # They are few bits, and of all layers at once there are many.
                held = replace(solution, integers=solution.integers.astype(np.int8))
                solved[node.outputs[0], level] = held
            new = _quantized_layer(graph, tensors, new, own, shared, solved[node.outputs[0], own])
            coarse = coarse or _grid(own, recipe.pair_safe, shared).high == 1
        nodes.append(new)
        if walk is not None:
            walk.advance(node, new, tensors)
        if progress is not None:
            progress(done + 1, len(graph.nodes))
    return graph.rebuilt(nodes, tensors), solved


def assemble(graph: Graph, ranges: Mapping[str, Range], recipe: Recipe, solved: LayerSolutions) -> Graph:
    """The integer graph of a float one whose layers are solved; graph, ranges, recipe: as of quantize_graph.

    solved: as of quantize_levels, with the levels that the recipe has, perhaps of other activations: weights and their
    scales hardly depend on these, and biases are made for them here.
    """
    levels, granularities = recipe.levels(graph), recipe.granularities(graph)
    tensors = _integer_tensors(graph, ranges, recipe)
    nodes = []
    for node in graph.nodes:
        new = _own_node(node, tensors)
        if has_weights(node):
            output = node.outputs[0]
            level, shared = levels[output], granularities[output] == "tensor"
            new = _quantized_layer(graph, tensors, new, level, shared, solved[output, level])
        nodes.append(new)
    return graph.rebuilt(nodes, tensors)


def _integer_tensors(graph: Graph, ranges: Mapping[str, Range], recipe: Recipe) -> dict[str, Tensor]:
    """The tensors of the integer graph but weights and biases, which are those of the float one."""
    parameters = activation_quantizations(graph, ranges, recipe)
    weights_and_biases = {name for node in graph.nodes if has_weights(node) for name in node.inputs[1:]}
    tensors: dict[str, Tensor] = {}
    for name, tensor in graph.tensors.items():
        if tensor.dtype is DType.FLOAT32 and name not in weights_and_biases:
            tensors[name] = _as_integers(tensor, *parameters[name])
        else:
            tensors[name] = tensor
    return tensors


def _own_node(node: Node, tensors: Mapping[str, Tensor]) -> Node:
    return replace(node, op=own_rounding(node.op, tensors[node.outputs[0]].dtype is DType.INT16))


def _walk(graph: Graph, samples: Sequence[Array], tensors: Mapping[str, Tensor], curvature: bool) -> Walk:
    """A walk over the samples that memory holds, at the inputs; tensors: those of the integer graph. curvature:
    whether problems have one.
    """
    chosen = spread(graph, samples)
    inputs = zip([tensors[port.tensor] for port in graph.inputs], chosen, strict=True)
    integers = {t.name: quantized(x, t.quantized, t.dtype) for t, x in inputs}
    return Walk(graph, chosen, integers, curvatures(graph, chosen) if curvature else {})


def _solution(
    problem: LayerProblem, node: Node, level: Level, grid: Grid, recipe: Recipe, known: bool
) -> IntegerLayer:
    """A layer's integers by the recipe's method. known: whether the problem knows the layer's inputs."""
    method = recipe.method if known or not METHODS[recipe.method].moments else "nearest"
    solve = METHODS[method].solve
    group = recipe.group if _has_groups(node, level) else None

    def solution() -> IntegerLayer:
        return solve(problem, grid) if group is None else grouped(solve, problem, grid, group)

    return _SOLVED.recall(digest(problem, grid, method, group), solution)


def _has_groups(node: Node, level: Level) -> bool:
    return WEIGHT_TYPES[level] is not DType.INT8 and isinstance(node.op, ops.Conv2d | ops.FullyConnected)


def _grid(level: Level, pair_safe: bool, shared: bool) -> Grid:
    """The integers of a layer's weights: all of the type but -128, without which kernels are faster, or three."""
    kind = WEIGHT_TYPES[level]
    lowest = -1 if level == TERNARY else max(kind.lowest, -127)
    return Grid(lowest, kind.highest, SAFE_SUM if pair_safe and level == 8 else None, shared=shared)


def _constants(graph: Graph, node: Node) -> tuple[Float64, Float64]:
    """(weights [g, o, k], bias [g, o]) of a layer of the float network."""
    constants = [graph.tensors[name].data for name in node.inputs[1:] if name]
    data = [array for array in constants if array is not None]
    if len(data) < len(constants):
        raise QuantizationError(f"{node.label}: expected constant weights and bias, found computed ones")
    weights = by_group(data[0], node.op)
    bias = data[1].astype(np.float64) if len(data) > 1 else np.zeros(weights.shape[:2])
    return weights, bias.reshape(weights.shape[:2])


def _as_integers(tensor: Tensor, dtype: DType, quantization: Quantization) -> Tensor:
    data = None if tensor.data is None else quantized(tensor.data, quantization, dtype)
    return replace(tensor, dtype=dtype, quantization=quantization, data=data)


def _quantized_layer(
    graph: Graph,
    tensors: MutableMapping[str, Tensor],
    node: Node,
    level: Level,
    shared: bool,
    solution: IntegerLayer,
) -> Node:
    """A layer with weights and bias as integers; its new constants are added to ``tensors``. shared: its channels have
    one scale.
    """
    weights = graph.tensors[node.inputs[1]]
    input_scale = tensors[node.inputs[0]].scale
    bias = solution.bias.reshape(-1)
    # A channel whose bias would pass the accumulator gets a larger scale, and weights to go with it.
    scales = scales_for_bias(solution.scales.reshape(-1), bias, input_scale, shared)
    if not np.all(np.isfinite(scales)):
        raise QuantizationError(
            f"{node.label}: expected weights and biases whose scales float32 holds, found biases up to "
            f"{np.abs(bias).max():.3g} beside an input in steps of {input_scale:.3g}. Calibrate on samples that its "
            "input varies in, or scale the network"
        )
    ratio = (solution.scales / scales.astype(np.float64).reshape(solution.scales.shape))[:, :, None]
    integers = np.floor(solution.integers * ratio + 0.5).astype(np.int8)
    values = as_weights(integers, node.op, weights.shape)
    held = scales[:1] if shared else scales
    axis = None if shared else OUTPUT_AXIS[type(node.op)]
    quantization = Quantization(tuple(float(s) for s in held), (0,) * held.size, axis, solution.groups)
    dtype = WEIGHT_TYPES[level]
    name = fresh(tensors, f"{weights.name}/int{dtype.bits}")
    tensors[name] = Tensor(name, dtype, values.shape, quantization, values)
    inputs = [node.inputs[0], name]
    if bias.any():
        steps = input_scale * scales.astype(np.float64)
        quantization = Quantization(tuple(float(np.float32(s)) for s in steps), (0,) * steps.size, 0)
        like = node.inputs[2] if len(node.inputs) > 2 else f"{weights.name}/bias"
        name = fresh(tensors, f"{like}/int32")
        tensors[name] = Tensor(name, DType.INT32, bias.shape, quantization, quantized_bias(bias, steps))
        inputs.append(name)
    return replace(node, inputs=tuple(inputs))
