# SPDX-License-Identifier: Apache-2.0
"""The float and the integer network side by side over the samples, one operator after another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from .. import ops
from ..graph import Array, DType, Graph, Node, Port, QuantizationError, Tensor, evaluate_batches, peak_bytes
from ..ops.activation import Activation
from ..ops.requantize import finish, requantize
from .layer import Float64, LayerProblem, Moments, by_group, by_position, input_rows, wanted_step
from .recipe import has_weights

#: Elements of im2col rows that are held at a time.
_ROW_ELEMENTS = 1 << 20
#: Parts of the samples, by turns, of which each tells how well what the others chose does on samples not seen.
FOLDS = 2
#: Bytes of the samples that the float network runs at a time.
_BATCH_BYTES = 16 << 20
#: Steps of int16 that are one for a layer's moments.
_COARSE = 128
#: Bytes that both networks' values may take; more samples than fit are not looked at.
MEMORY = 448 << 20


def spread(graph: Graph, samples: Sequence[Array], memory: int = MEMORY) -> list[Array]:
    """Every n-th sample, so that ``memory`` bytes hold a walk of them, or the first alone: views.

    A layer's moments are sums over samples and positions: large images, of which few fit, have many positions.
    """
    # The float network's values at two borders, and the integer one's beside them.
    fit = max(1, memory // max(2 * peak_bytes(graph, [port.tensor for port in graph.outputs]), 1))
    return [array[:: -(-len(array) // fit)] for array in samples]


class Walk:
    """Values of both networks at the borders of the operators that are done; what nothing reads any more is dropped."""

    def __init__(
        self,
        graph: Graph,
        samples: Sequence[Array],
        integers: Mapping[str, Array],
        curvatures: Mapping[str, Float64],
    ) -> None:
        """graph: the float one. samples: per input float32 [N, *shape]; integers: the same on the integer graph's
        grids, by name. curvatures: of layers (curvature.py), by output; none will do.
        """
        self._curvatures = curvatures
        self._graph = graph
        self._real = {port.tensor: array for port, array in zip(graph.inputs, samples, strict=True)}
        self._integer = dict(integers)
        self._count = len(samples[0])
        self._consumers = graph.consumers()
        self._readers = {name: len(nodes) for name, nodes in self._consumers.items()}
        self._wanted: dict[str, Array] = {}

    def problem(self, node: Node, tensors: Mapping[str, Tensor]) -> LayerProblem:
        """The problem of a layer that both networks have reached; tensors: those of the integer one."""
        x = tensors[node.inputs[0]]
        weights, *rest = [self._graph.tensors[name].data for name in node.inputs[1:] if name]
        assert weights is not None
        shaped = by_group(weights, node.op)
        groups, outputs, depth = shaped.shape
        op = replace(node.op, activation=Activation.NONE)  # type: ignore[call-arg]
        wanted = self._evaluate(replace(node, op=op))[0]
        self._wanted[node.outputs[0]] = wanted
        owed = self._owed(node, tensors)
        if owed is not None:
            wanted = wanted + owed
        bias = np.zeros((groups, outputs)) if not rest or rest[0] is None else rest[0].astype(np.float64)
        bias = bias.reshape(groups, outputs)
        # Moments are exact for integers of 9 bits.
        coarse = _COARSE if x.dtype is DType.INT16 else 1
        step = wanted_step(wanted)
        whole, folds = Moments(groups, outputs, depth, step), []
        for first in range(min(FOLDS, self._count)):
            fold = Moments(groups, outputs, depth, step)
            given, sums = self._integer[node.inputs[0]][first::FOLDS], wanted[first::FOLDS]
            for part in self._parts(node, groups * depth, len(given)):
                centred = _images(node, given[part].astype(np.float64) - x.zero_point)
                if coarse > 1:
                    centred = np.floor(centred / coarse + 0.5)
                rows = input_rows(node.op, centred, depth)
                fold.add(rows, by_position(sums[part].astype(np.float64), groups))
            whole.join(fold)
            folds.append(fold.problem(shaped, bias, x.scale * coarse))
        found = whole.problem(shaped, bias, x.scale * coarse)
        return replace(found, folds=tuple(folds), curvature=self._curvatures.get(node.outputs[0]))

    def _owed(self, node: Node, tensors: Mapping[str, Tensor]) -> Array | None:
        """What a sum that alone reads the layer misses so far, its other summand being done: the layer, whose inputs
        know of it, shall make up for that as well (a residual block as BRECQ's unit, in closed form).
        """
        name = node.outputs[0]
        readers = self._consumers[name]
        alone = len(readers) == 1 and type(readers[0].op) is ops.Add
        if not alone or getattr(node.op, "activation", None) is not Activation.NONE:
            return None
        others = [n for n in readers[0].inputs if n != name and n in self._integer]
        shape = self._graph.tensors[name].shape
        if len(others) != 1 or self._graph.tensors[others[0]].shape != shape:
            return None
        t = tensors[others[0]]
        return self._real[others[0]] - (self._integer[others[0]].astype(np.float64) - t.zero_point) * t.scale

    def advance(self, node: Node, integer: Node, tensors: Mapping[str, Tensor]) -> None:
        """Compute an operator in both networks; tensors: those of the integer one."""
        if node.outputs[0] in self._wanted:
            activation = node.op.activation  # type: ignore[attr-defined]
            self._real[node.outputs[0]] = activation.real(self._wanted.pop(node.outputs[0]))
        else:
            self._real.update(zip(node.outputs, self._evaluate(node), strict=True))
        self._integer.update(zip(node.outputs, self._run(node, integer, tensors), strict=True))
        for name in node.inputs:
            if name:
                self._readers[name] -= 1
                if not self._readers[name]:
                    self._real.pop(name, None)
                    self._integer.pop(name, None)

    def _evaluate(self, node: Node) -> list[Array]:
        """The outputs of a node of the float network."""
        names = list(dict.fromkeys(name for name in node.inputs if name in self._real))
        if not names:
            data = [self._graph.tensors[name].data for name in node.inputs if name]
            results = node.op.real([array for array in data if array is not None])
            return [np.broadcast_to(r, (self._count, *r.shape)) for r in results]
        ports = [Port(name, name, True) for name in names]
        alone = self._graph.rebuilt([node], inputs=ports, outputs=[Port(n, n, True) for n in node.outputs])
        shapes = [self._graph.tensors[name].shape for name in node.outputs]
        results = [np.empty((self._count, *shape), np.float32) for shape in shapes]
        done = 0
        inputs = [self._real[name] for name in names]
        for values in evaluate_batches(alone, inputs, keep=node.outputs, memory=_BATCH_BYTES):
            for result, name in zip(results, node.outputs, strict=True):
                result[done : done + len(values[name])] = values[name]
            done += len(values[node.outputs[0]])
        return results

    def _parts(self, node: Node, width: int, count: int) -> list[slice]:
        """Slices of ``count`` samples whose rows of ``width`` elements a position fit the memory that is held."""
        positions = int(np.prod(self._graph.outputs_of(node)[0].shape[:-1]))
        step = max(1, _ROW_ELEMENTS // max(1, width * positions))
        return [slice(i, min(i + step, count)) for i in range(0, count, step)]

    def _run(self, node: Node, integer: Node, tensors: Mapping[str, Tensor]) -> list[Array]:
        """The outputs of a node of the integer network."""
        inputs = [tensors[name] for name in integer.inputs if name]
        outputs = [tensors[name] for name in integer.outputs]
        names = [name for name in integer.inputs if name]
        if has_weights(integer) and names[0] in self._integer:
            with _blaming(integer):
                layer = _IntegerLayer(integer, inputs, outputs[0])
            x = self._integer[names[0]]
            return [np.concatenate([layer(x[part]) for part in self._parts(node, layer.width, self._count)])]
        each = []
        for i in range(self._count):
            data = [
                self._integer[n][i] if n in self._integer else t.data
                for n, t in zip(names, inputs, strict=True)
            ]
            given = [array for array in data if array is not None]
            with _blaming(integer):
                each.append(integer.op.integer(given, inputs, outputs))
        return [np.stack(parts) for parts in zip(*each, strict=True)]


@contextlib.contextmanager
def _blaming(node: Node) -> Iterator[None]:
    """Whatever scales an operator cannot take are a QuantizationError that names it."""
    try:
        yield
    except ValueError as error:
        raise QuantizationError(
            f"{node.label}: {error}. Calibrate on samples that all inputs of the network vary in, or give this layer "
            "activations of other bits in the recipe"
        ) from error


def _images(node: Node, x: Array) -> Array:
    return x if isinstance(node.op, ops.FullyConnected) else x.reshape(-1, *x.shape[-3:])


class _IntegerLayer:
    """The integer meaning of a layer for many samples: the operator's own constants, exact products."""

    def __init__(self, node: Node, inputs: list[Tensor], output: Tensor) -> None:
        op = node.op
        assert isinstance(op, ops.Conv2d | ops.DepthwiseConv2d | ops.FullyConnected)
        folded = op.folded(inputs, output)
        self._weights, self._rounding = folded if isinstance(folded, tuple) else (folded, op.rounding)
        values: Float64 = self._weights.multiplied.astype(np.float64)
        self._values = values.transpose(1, 0, 2) if isinstance(op, ops.DepthwiseConv2d) else values
        self._bias = inputs[2].data if len(inputs) > 2 else None
        self._node, self._op, self._input, self._output = node, op, inputs[0], output

    @property
    def width(self) -> int:
        """Elements of im2col rows at one position."""
        return int(self._values.shape[0] * self._values.shape[2])

    def __call__(self, x: Array) -> Array:
        """[N, *shape] of the output from that of the input."""
        centred = _images(self._node, x.astype(np.float64) - self._input.zero_point)
        rows = input_rows(self._op, centred, self._values.shape[2])
        sums = (
            (rows @ self._values.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(len(x), *self._output.shape)
        )
        if self._bias is not None:
            sums = sums + self._bias
        scaled = requantize(
            sums.astype(np.int64), self._weights.multiplier, self._weights.shift, self._rounding
        )
        return finish(scaled, self._output, self._op.activation)
