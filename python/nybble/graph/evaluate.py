# SPDX-License-Identifier: Apache-2.0
"""Run a graph in numpy: the meaning that the C core is proven against, and the float network before quantization."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from .graph import Graph, GraphError, Node
from .operator import Array

#: Bytes that the tensors of the samples run at a time may take.
MEMORY = 128 << 20


def evaluate(graph: Graph, inputs: Sequence[Array], *, real: bool = False) -> dict[str, Array]:
    """Every tensor that the graph computes, by name.

    inputs: one array per graph input, of its shape. real: compute the float network (Operator.real)
    instead of the integer one.
    """
    return dict(_walk(graph, inputs, real))


def evaluate_outputs(graph: Graph, inputs: Sequence[Array], *, real: bool = False) -> list[Array]:
    """The graph's outputs only."""
    values = evaluate(graph, inputs, real=real)
    return [values[port.tensor] for port in graph.outputs]


def evaluate_batches(
    graph: Graph,
    samples: Sequence[Array],
    *,
    size: int = 64,
    keep: Collection[str] | None = None,
    memory: int = MEMORY,
    through: Callable[[str, Array], Array] | None = None,
) -> Iterator[dict[str, Array]]:
    """The float network (Operator.real) on many samples, some at a time, in order.

    samples: one array [N, *shape] per graph input. Yields for up to ``size`` samples the tensors named by
    ``keep`` (all that are computed, inputs included, where it is None), [B, *shape] each; fewer samples at a time
    where the tensors that are alive would take more than ``memory`` bytes, but at least one. Each sample's numbers
    are those of ``evaluate``, whatever the samples beside it. through: makes of a tensor's name and numbers the
    numbers that stand in their place.

    Raises ValueError where the samples do not fit the inputs, KeyError where ``keep`` names a tensor that is not
    computed.
    """
    if len(samples) != len(graph.inputs):
        raise ValueError(f"expected samples for {len(graph.inputs)} inputs, found {len(samples)}")
    counts = {len(array) for array in samples}
    if len(counts) != 1 or size < 1:
        raise ValueError(f"expected as many samples for every input, found {sorted(counts)}")
    computed = {port.tensor for port in graph.inputs} | graph.producers().keys()
    wanted = computed if keep is None else set(keep)
    if not wanted <= computed:
        raise KeyError(f"{graph.name}: computes no tensor {min(wanted - computed)!r}")
    last = _last_readers(graph, wanted)
    size = max(1, min(size, memory // max(peak_bytes(graph, wanted), 1)))
    constants = {n: t.data for n, t in graph.tensors.items() if t.data is not None}
    for first in range(0, counts.pop(), size):
        values = {
            port.tensor: array[first : first + size]
            for port, array in zip(graph.inputs, samples, strict=True)
            if port.tensor in last or port.tensor in wanted
        }
        if through is not None:
            values = {name: through(name, array) for name, array in values.items()}
        count = len(samples[0][first : first + size])
        for i, node in enumerate(graph.nodes):
            if not any(name in last or name in wanted for name in node.outputs):
                continue
            results = _run(graph, node, values, constants, count)
            if through is not None:
                results = [through(*one) for one in zip(node.outputs, results, strict=True)]
            values.update(zip(node.outputs, results, strict=True))
            for name in (*node.inputs, *node.outputs):
                if last.get(name, i) == i and name not in wanted:
                    values.pop(name, None)
        yield values


def _last_readers(graph: Graph, wanted: set[str]) -> dict[str, int]:
    """The number of the last node that needs each tensor, for those on the way to ``wanted`` ones."""
    last: dict[str, int] = {}
    for i, node in reversed(list(enumerate(graph.nodes))):
        if any(name in last or name in wanted for name in node.outputs):
            for name in node.inputs:
                last.setdefault(name, i)
    return last


def peak_bytes(graph: Graph, keep: Collection[str]) -> int:
    """The largest number of bytes that one sample's float32 tensors take at a time where those named by ``keep`` stay."""
    wanted = set(keep)
    last = _last_readers(graph, wanted)
    alive = {port.tensor for port in graph.inputs}
    peak = 0
    for i, node in enumerate(graph.nodes):
        alive.update(node.outputs)
        # What an operator computes besides counts as one more of its outputs.
        needed = sum(graph.tensors[name].size for name in alive) + sum(t.size for t in graph.outputs_of(node))
        peak = max(peak, needed)
        alive = {name for name in alive if name in wanted or last.get(name, -1) > i}
    return 4 * peak


def _run(
    graph: Graph, node: Node, values: dict[str, Array], constants: dict[str, Array], count: int
) -> list[Array]:
    """The outputs of a node for all samples at once, or one sample after the other."""
    inputs, names = graph.inputs_of(node), [name for name in node.inputs if name]
    computed = any(name in values for name in names)
    op = node.op.batched(inputs) if computed else None
    if op is not None:
        results = op.real([values[name] if name in values else constants[name] for name in names])
    else:
        each = [
            node.op.real([values[name][i] if name in values else constants[name] for name in names])
            for i in range(count)
        ]
        results = [np.stack(parts) for parts in zip(*each, strict=True)]
    shapes = [(count, *tensor.shape) for tensor in graph.outputs_of(node)]
    for result, shape in zip(results, shapes, strict=True):
        if result.size != np.prod(shape, dtype=np.int64):
            raise GraphError(f"{node.label}: computed {result.shape}, expected {shape}")
    return [result.reshape(shape) for result, shape in zip(results, shapes, strict=True)]


def _walk(graph: Graph, inputs: Sequence[Array], real: bool) -> dict[str, Array]:
    values: dict[str, Array] = {n: t.data for n, t in graph.tensors.items() if t.data is not None}
    if len(inputs) != len(graph.inputs):
        raise ValueError(f"expected {len(graph.inputs)} inputs, found {len(inputs)}")
    for port, array in zip(graph.inputs, inputs, strict=True):
        values[port.tensor] = array
    meaning: Callable[[Node], list[Array]] = (
        (lambda node: list(node.op.real([values[n] for n in node.inputs if n])))
        if real
        else lambda node: node.op.integer(
            [values[n] for n in node.inputs if n], graph.inputs_of(node), graph.outputs_of(node)
        )
    )
    for node in graph.nodes:
        values.update(zip(node.outputs, meaning(node), strict=True))
    return values
