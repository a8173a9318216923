# SPDX-License-Identifier: Apache-2.0
"""What all trials of an exploration share: the float network, its ranges and answers, the samples."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import ops
from ..graph import Array, Graph, evaluate_batches
from ..passes import prepare_float
from ..quantize.observe import observe
from ..quantize.parameters import Range
from ..quantize.recipe import Recipe, has_weights
from ..quantize.samples import Data, read_samples
from ..quantize.ties import separate_given
from ..quantize.widths import separate_widths
from ..quantizing import require_float
from .results import Results, content_key

#: Parts of the calibration samples of which each is answered by a network that was solved without it.
FOLDS = 2


@dataclass(frozen=True, eq=False)
class Part:
    """Samples: per input float32 [N, *shape]; per output what the float network answers, [N, *shape], before
    a final Softmax; class numbers [N] or None.
    """

    inputs: tuple[Array, ...]
    answers: tuple[Array, ...]
    labels: Array | None

    def __len__(self) -> int:
        return len(self.inputs[0])

    def every(self, step: int, first: int) -> Part:
        """Every ``step``-th of the samples, views."""
        labels = None if self.labels is None else self.labels[first::step]
        inputs, answers = (tuple(a[first::step] for a in arrays) for arrays in (self.inputs, self.answers))
        return Part(inputs, answers, labels)


@dataclass(frozen=True, eq=False)
class Task:
    """What all trials of a network share.

    graph: float, prepared but for Quantize between 8 and 16 bits, which are a recipe's. ranges: of the activations of
    recipes with one level for all layers (observe), by _ranges_key. samples: that ranges are calibrated on. classes: per
    output, whether its last axis holds scores of classes. calibration: samples that decide, ``rows`` of them all; test:
    samples that are reported on, by which nothing is decided.

    Weights that were solved on some samples answer these better than others (cross-validation: Stone, 1974): what
    decides is how each fold is answered by a network that was solved on the rest.
    """

    graph: Graph
    ranges: Mapping[str, tuple[Recipe, Mapping[str, Range]]]
    samples: tuple[Array, ...]
    classes: tuple[bool, ...]
    calibration: Part
    rows: Array
    test: Part | None
    _more: dict[str, Mapping[str, Range]] = field(default_factory=dict, repr=False)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers with weights; layers of one name have one level."""
        return tuple(dict.fromkeys(node.name for node in self.graph.nodes if has_weights(node)))

    def prepared(self, recipe: Recipe) -> Graph:
        """The float graph as the recipe quantizes it."""
        return separate_widths(self.graph, recipe)

    def observed(self, graph: Graph, recipe: Recipe) -> Mapping[str, Range]:
        """The ranges of a recipe; graph: prepared for it."""
        key = _ranges_key(recipe)
        if key in self.ranges:
            return self.ranges[key][1]
        if key not in self._more:
            self._more[key] = observe(graph, self.samples, recipe)
        return self._more[key]

    def estimated(self, graph: Graph, recipe: Recipe) -> Mapping[str, Range]:
        """The ranges of a recipe without a look at the samples, where those of recipes with its numbers of bits are
        known: each tensor's, of a recipe that gives it as many bits. graph: prepared for it.
        """
        key = _ranges_key(recipe)
        if key in self.ranges:
            return self.ranges[key][1]
        known = [(one.activation_bits(self.prepared(one)), ranges) for one, ranges in self.ranges.values()]
        bits, written = recipe.activation_bits(graph), graph.producers()
        found = {}
        for name in bits:
            source = name
            if graph.tensors[name].data is not None:
                continue
            while source not in self.graph.tensors:
                source = written[source].inputs[0]
            every = [(ranges[source], b.get(source)) for b, ranges in known if source in ranges]
            if every:
                found[name] = next((seen for seen, b in every if b == bits[name]), every[0][0])
        return found

    @property
    def folds(self) -> tuple[int, ...]:
        """The samples of each part of those that decide; one part where there is but one sample."""
        step = min(FOLDS, len(self.rows))
        return tuple(len(self.rows[i::step]) for i in range(step))

    def fold(self, number: int) -> tuple[tuple[Array, ...], Part]:
        """(samples to solve weights on, samples that decide on these weights): apart, unless there is one sample."""
        rest = np.ones(len(self.samples[0]), np.bool_)
        rest[self.rows[number :: len(self.folds)]] = len(rest) == 1
        return tuple(a[rest] for a in self.samples), self.calibration.every(len(self.folds), number)


def before_softmax(graph: Graph) -> Graph:
    """The graph with its outputs taken before a final Softmax, whose 256 steps hide small differences."""
    producers = graph.producers()
    outputs = []
    for port in graph.outputs:
        node = producers.get(port.tensor)
        source = node.inputs[0] if node is not None and isinstance(node.op, ops.Softmax) else port.tensor
        outputs.append(type(port)(source, port.name, port.real))
    read = {port.tensor for port in outputs} | {name for node in graph.nodes for name in node.inputs}
    nodes = [n for n in graph.nodes if not isinstance(n.op, ops.Softmax) or n.outputs[0] in read]
    return graph.rebuilt(nodes, outputs=outputs)


def class_outputs(graph: Graph, labelled: bool) -> tuple[bool, ...]:
    """Per output, whether its last axis holds scores of classes: it comes from a Softmax, or it is the first
    one and there are labels.
    """
    producers = graph.producers()
    return tuple(
        (isinstance(getattr(producers.get(port.tensor), "op", None), ops.Softmax) or (labelled and not i))
        and bool(graph.tensors[port.tensor].shape)
        for i, port in enumerate(graph.outputs)
    )


def _ranges_key(recipe: Recipe) -> str:
    """Of what ranges depend on in a recipe."""
    overrides = [(o.name, o.type, o.activations, o.calibration) for o in recipe.overrides]
    kept = [o for o in overrides if o[2:] != (None, None)]
    return content_key(recipe.activations, recipe.calibration, recipe.percentile, recipe.symmetric, kept)


def _code_digest() -> str:
    """Of the package's Python: results of other code do not count."""
    root = Path(__file__).resolve().parents[1]
    return content_key(*(p.read_bytes() for p in sorted(root.rglob("*.py"))))


def _graph_key(graph: Graph) -> str:
    tensors = [
        (
            t.name,
            t.dtype.value,
            t.shape,
            "" if t.data is None else hashlib.sha256(t.data.tobytes()).hexdigest(),
        )
        for t in graph.tensors.values()
    ]
    with np.printoptions(threshold=sys.maxsize):
        nodes = [(repr(n.op), n.inputs, n.outputs, n.name) for n in graph.nodes]
    ports = [(p.tensor, p.name, p.real) for p in (*graph.inputs, *graph.outputs)]
    return content_key(graph.name, tensors, nodes, ports, graph.labels, repr(sorted(graph.metadata.items())))


def _array_key(arrays: Sequence[Array]) -> str:
    return content_key(*(part for a in arrays for part in (str(a.dtype), a.shape, a.tobytes())))


def prepare_task(
    reference: Graph,
    uniform: Sequence[Recipe],
    data: Data,
    labels: npt.ArrayLike | None,
    test: Data | None,
    test_labels: npt.ArrayLike | None,
    count: int | None,
    store: Results,
    tell: Callable[[str, int, int], None],
) -> tuple[Task, str]:
    """(what trials share, the hash of all of it). uniform: recipes with one level for all layers, of which ranges are
    known at once. Ranges and float answers are taken from the results.
    """
    require_float(reference)
    graph = separate_given(prepare_float(reference))
    inputs, found = read_samples(data, reference)
    code = content_key(_code_digest(), _graph_key(reference))
    known: dict[str, tuple[Recipe, Mapping[str, Range]]] = {}
    keys = []
    for done, recipe in enumerate(uniform):
        tell("calibrating", done, len(uniform))
        keys.append(key := content_key(code, "ranges", recipe.to_dict(), _array_key(inputs)))
        entry = store.read(key)
        if entry is None:
            ranges: Mapping[str, Range] = observe(separate_widths(graph, recipe), inputs, recipe)
            store.write(key, dict(ranges))
        else:
            ranges = {name: Range(*seen) for name, seen in entry[0].items()}
        known[_ranges_key(recipe)] = recipe, ranges
    tell("calibrating", len(uniform), len(uniform))
    taken = np.arange(len(inputs[0]))
    if count is not None and count < len(taken):
        taken = np.arange(count) * len(taken) // count
    y = _checked(found if labels is None else labels, len(inputs[0]))
    decide = _part(
        code,
        graph,
        inputs if len(taken) == len(inputs[0]) else [a[taken] for a in inputs],
        None if y is None else y[taken],
        store,
        tell,
        "calibration",
    )
    report = None
    if test is not None:
        test_inputs, test_found = read_samples(test, reference)
        test_y = _checked(test_found if test_labels is None else test_labels, len(test_inputs[0]))
        report = _part(code, graph, test_inputs, test_y, store, tell, "test")
    classes = class_outputs(graph, y is not None)
    task = Task(graph, known, tuple(inputs), classes, decide, taken, report)
    parts = [p for p in (decide, report) if p is not None]
    samples_key = [
        [_array_key(p.inputs), None if p.labels is None else _array_key([p.labels])] for p in parts
    ]
    return task, content_key(code, keys, classes, samples_key)


def _checked(labels: npt.ArrayLike | None, count: int) -> Array | None:
    if labels is None:
        return None
    array = np.asarray(labels).reshape(-1)
    if array.dtype.kind not in "iu" or array.size != count:
        raise ValueError(f"expected {count} integer labels, found {array.size} of {array.dtype}")
    return array


def _part(
    code: str,
    graph: Graph,
    inputs: Sequence[Array],
    labels: Array | None,
    store: Results,
    tell: Callable[[str, int, int], None],
    what: str,
) -> Part:
    """Samples with the float network's answers, computed or found in the results."""
    key = content_key(code, "answers", _array_key(inputs))
    entry = store.read(key)
    if entry is None:
        cut = before_softmax(graph)
        names = [port.tensor for port in cut.outputs]
        parts: list[list[Array]] = []
        for batch in evaluate_batches(cut, inputs, keep=names):
            parts.append([batch[name] for name in names])
            tell(f"float network, {what} samples", sum(len(part[0]) for part in parts), len(inputs[0]))
        file = io.BytesIO()
        np.savez(file, *(np.concatenate(column) for column in zip(*parts, strict=True)))
        store.write(key, {}, file.getvalue())
        entry = store.read(key)
        assert entry is not None
    tell(f"float network, {what} samples", len(inputs[0]), len(inputs[0]))
    with np.load(io.BytesIO(entry[1])) as archive:
        answers = tuple(archive[name] for name in archive.files)
    return Part(tuple(inputs), answers, labels)
