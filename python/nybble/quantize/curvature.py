# SPDX-License-Identifier: Apache-2.0
"""How errors of a layer's channels add up in the network's outputs: second moments of gradients.

To second order the divergence (Kullback and Leibler) of the outputs' classes from the float network's grows with
e' F e, e the error of a layer's sums and F = E[g g'] Fisher's information: g are gradients of the outputs' logarithmic
probabilities by the sums. For outputs that are no classes F is that of squared errors. Positions are taken as
independent of each other and of the layer's inputs, so that one matrix [outputs, outputs] says it all
(Martens and Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature", 2015; for
convolutions Grosse and Martens, 2016).

One gradient per sample, of a random combination of all outputs, has the same second moments as all of them: with
signs r and probabilities p it begins at the scores with sqrt(p) r - p sum(sqrt(p) r). Signs come from the scores
themselves, products are those of ops/exact.py: the same matrices on every machine.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from .. import ops
from ..graph import Array, Graph, Node, evaluate_batches
from ..ops.exact import exact_matmul, exact_sum, exp
from ..ops.window import NO_PADDING
from .layer import Float64
from .solved import digest

#: Samples whose gradients are looked at.
SAMPLES = 64
#: Bytes of the activations that are held at a time.
_BATCH_BYTES = 32 << 20
#: Gradients per sample.
_PROBES = 2
#: By which scores of classes are divided before the softmax: errors of few bits are larger than what second order
#: describes at a certain answer, and samples with one would count nothing.
_TEMPERATURE = 4.0

#: What curvatures found, by the hash of the samples, as long as the graph lives.
_KNOWN: WeakKeyDictionary[Graph, dict[bytes, Mapping[str, Float64]]] = WeakKeyDictionary()


def curvatures(graph: Graph, samples: Sequence[Array]) -> Mapping[str, Float64]:
    """E[g g'] [outputs, outputs] of layers' sums before the activation, by output tensor; of a float graph.

    samples: per input float32 [N, *shape], of which at most SAMPLES, evenly spread, are looked at. Layers that reach an
    output through an operator of which no gradient is known here are missing. The same graph and samples are computed
    once: explorations try many recipes on them.
    """
    known = _KNOWN.setdefault(graph, {})
    chosen = [array[:: -(-len(array) // SAMPLES)] for array in samples]
    key = digest(tuple(chosen))
    if key not in known:
        known[key] = _computed(graph, chosen)
    return known[key]


def _computed(graph: Graph, samples: Sequence[Array]) -> dict[str, Float64]:
    producers = graph.producers()
    ends = {}
    for port in graph.outputs:
        node = producers.get(port.tensor)
        softmax = node is not None and isinstance(node.op, ops.Softmax)
        ends[node.inputs[0] if node is not None and softmax else port.tensor] = softmax
    known = reachable(graph, ends)
    found: dict[str, Float64] = {}
    for values in evaluate_batches(graph, samples, memory=_BATCH_BYTES):
        for probe in range(_PROBES):
            start = {name: _start(values[name], ends[name], probe) for name in ends if name in known}
            for node, gradient in backward(graph, values, start, known):
                if isinstance(node.op, ops.Conv2d | ops.FullyConnected):
                    rows = gradient.reshape(-1, gradient.shape[-1])
                    # The factors are rounded to 21 and 22 bits: symmetric again.
                    moments = exact_matmul(rows.T, rows)
                    moments = (moments + moments.T) / 2
                    name = node.outputs[0]
                    found[name] = found[name] + moments if name in found else moments
    return found


def reachable(graph: Graph, ends: Collection[str]) -> set[str]:
    """Tensors whose gradients of the tensors ``ends`` are known here: of all that read them."""
    unknown: set[str] = set()
    read = set(ends)
    for node in reversed(graph.nodes):
        if isinstance(node.op, ops.Softmax) and node.inputs[0] in ends:
            continue
        computed = [name for name in node.inputs if name and graph.tensors[name].data is None]
        read.update(computed)
        back = _BACKWARD.get(type(node.op))
        shapes = {graph.tensors[name].shape for name in (*computed, *node.outputs)}
        alike = not isinstance(node.op, ops.Add) or len(shapes) == 1
        grouped = isinstance(node.op, ops.Conv2d) and node.op.groups > 1
        if back is None or not alike or grouped or node.outputs[0] in unknown:
            unknown.update(computed)
    return read - unknown


def _start(scores: Array, softmax: bool, probe: int) -> Array:
    """The gradient of a random combination of the outputs, by the scores [N, *shape]."""
    rows = scores.reshape(-1, scores.shape[-1]).astype(np.float64)
    bits = [np.random.PCG64(zlib.crc32(row.tobytes(), probe)).random_raw(row.size) >> 63 for row in rows]
    signs = 2.0 * np.array(bits).reshape(rows.shape) - 1
    if not softmax:
        return signs.astype(np.float32).reshape(scores.shape)
    powers = exp((rows - rows.max(axis=1, keepdims=True)) / _TEMPERATURE)
    p = powers / exact_sum(powers, (1,))
    roots = np.sqrt(p) * signs
    return (roots - p * exact_sum(roots, (1,))).astype(np.float32).reshape(scores.shape)


def backward(
    graph: Graph, values: Mapping[str, Array], start: Mapping[str, Array], known: Collection[str]
) -> Iterator[tuple[Node, Array]]:
    """(operator, gradient by what it computes before its activation) from the last one to the first.

    values: of every tensor that the float graph computes, [N, *shape]; start: gradients by some of them; known: tensors
    whose gradients can be known (reachable).
    """
    gradients = dict(start)
    computed = {name for node in graph.nodes for name in node.outputs} & set(known)
    for node in reversed(graph.nodes):
        gradient = gradients.pop(node.outputs[0], None)
        if gradient is None or node.outputs[0] not in known:
            continue
        output = values[node.outputs[0]]
        activation = getattr(node.op, "activation", None)
        if activation is not None:
            low, high = activation.value
            gradient = gradient * ((output > low) & (output < high))
        yield node, gradient
        inputs = [name for name in node.inputs if name in values]
        if computed.isdisjoint(inputs):
            continue
        for name, part in zip(inputs, _BACKWARD[type(node.op)](graph, node, values, gradient), strict=True):
            gradients[name] = gradients[name] + part if name in gradients else part


def _fully_connected(graph: Graph, node: Node, values: Mapping[str, Array], gradient: Array) -> list[Array]:
    weights = graph.tensors[node.inputs[1]].data
    assert weights is not None
    x = values[node.inputs[0]]
    rows = exact_matmul(gradient.reshape(-1, len(weights)), weights)
    return [rows.astype(np.float32).reshape(x.shape)]


def _convolution(graph: Graph, node: Node, values: Mapping[str, Array], gradient: Array) -> list[Array]:
    op, weights = node.op, graph.tensors[node.inputs[1]].data
    assert isinstance(op, ops.Conv2d | ops.DepthwiseConv2d)
    assert weights is not None
    shape = values[node.inputs[0]].shape
    height, width, channels = shape[-3:]
    (top, bottom), (left, right) = op.window.padding
    gradient = gradient.reshape(-1, *gradient.shape[-3:])
    padded = np.zeros((len(gradient), height + top + bottom, width + left + right, channels), np.float32)
    window = replace(op.window, padding=NO_PADDING)
    by_tap = weights.reshape(len(weights), -1)
    for image, result in zip(gradient, padded, strict=True):
        parts = None
        if isinstance(op, ops.Conv2d):
            products = exact_matmul(image.reshape(-1, len(weights)), by_tap).astype(np.float32)
            parts = products.reshape(*image.shape[:2], *weights.shape[1:])
        # Every tap is a view of the padded input: its share is added there.
        for i, j, tap in window.taps(result[None], 0):
            tap += image * weights[0, i, j] if parts is None else parts[:, :, i, j]
    return [padded[:, top : top + height, left : left + width].reshape(shape)]


def _sum(graph: Graph, node: Node, values: Mapping[str, Array], gradient: Array) -> list[Array]:
    return [gradient for name in node.inputs if name in values]


def _mean(graph: Graph, node: Node, values: Mapping[str, Array], gradient: Array) -> list[Array]:
    x = values[node.inputs[0]]
    kept = [1 if i - 1 in node.op.axes else size for i, size in enumerate(x.shape)]  # type: ignore[attr-defined]
    share = gradient.reshape(kept) / np.float32(x[0].size / math.prod(kept[1:]))
    return [np.broadcast_to(share, x.shape)]


def _reshape(graph: Graph, node: Node, values: Mapping[str, Array], gradient: Array) -> list[Array]:
    return [gradient.reshape(values[node.inputs[0]].shape)]


_BACKWARD: Mapping[type, Callable[[Graph, Node, Mapping[str, Array], Array], list[Array]]] = {
    ops.FullyConnected: _fully_connected,
    ops.Conv2d: _convolution,
    ops.DepthwiseConv2d: _convolution,
    ops.Add: _sum,
    ops.Quantize: _sum,
    ops.Mean: _mean,
    ops.Reshape: _reshape,
}
