# SPDX-License-Identifier: Apache-2.0
"""Which level does an application need? Each layer's loss at each level, mixed precision by an exact search,
and the candidates measured on the integer core.

1. Every layer alone is lowered to every level, the rest stays at the highest: the rise of the loss is the
   layer's sensitivity. One pass over the samples solves all of these (quantize.apply.quantize_levels).
2. Losses are taken as additive, and the knapsack over layers is solved exactly (quantize/search.py).
3. Selections along the whole front, and every uniform level, are really quantized and run: what they measure
   decides, not what was predicted. Calibration samples decide; test samples are reported only.

Source of the additive model: Dong et al., "HAWQ-V2", 2020, section 3 (there from the Hessian's trace; here
the loss itself is measured).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..convert import import_model, producer, write_whole
from ..graph import Array, Graph, QuantizationError, evaluate_batches
from ..quantize.apply import LoweredLayer, lower, quantize_levels
from ..quantize.observe import observe
from ..quantize.parameters import Range
from ..quantize.recipe import WEIGHT_BITS, Recipe, has_weights
from ..quantize.samples import Data, read_samples
from ..quantize.search import Front, Option, pareto_front, spread
from ..quantizing import prepare
from ..session import cpu_levels, load_nyb
from .bench import Benchmark, LayerTime, benchmark
from .report import bits_text, html_report, loss_text, lost_text, milliseconds, png_report
from .results import Results, content_key
from .trial import LOSS_STEP, Part, Score, Task, Trial, before_softmax, class_outputs, score
from .workers import Work, workers

#: Selections of the front that are measured, besides the uniform levels.
CANDIDATES = 12

#: Halvings of the front between the last selection within a budget of points and the first beyond it.
_HALVINGS = 4

#: Invocations of a candidate in one round, and rounds: see _Search.latencies.
LATENCY_RUNS = 15
LATENCY_ROUNDS = 5

#: Latencies that differ by a smaller part are taken as equal.
LATENCY_NOISE = 0.05

#: Tries to meet a budget of bytes exactly: alignment in the file is not additive.
_TRIES = 4

_UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


@dataclass(frozen=True)
class Budget:
    """What a model may take. kind: 'bytes' (of the file), 'weights' (bytes of the packed weights alone), 'latency'
    (ns, of one invocation on this machine) or 'points' (hundredths of the calibration samples lost against
    the float network). share: whether bytes are a part (0..1) of what the highest level takes.
    """

    kind: str
    value: float
    share: bool = False

    @staticmethod
    def parse(text: str) -> Budget:
        """From 'bytes=50000', 'bytes=50%', 'weights=50%', 'latency=2ms' (ns, us, ms, s) or 'points=0.5'.

        Raises ValueError.
        """
        kind, _, rest = text.partition("=")
        match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%|ns|us|ms|s)?", rest.strip())
        unit = match[2] if match else None
        sized = unit in (None, "%")
        fits = {"bytes": sized, "weights": sized, "latency": unit in _UNITS, "points": unit is None}
        if match is None or not fits.get(kind, False):
            raise ValueError(
                f"expected a budget such as bytes=50000, bytes=50%, latency=2ms or points=0.5, found {text!r}"
            )
        value = float(match[1])
        if kind == "latency":
            return Budget(kind, value * _UNITS[str(unit)])
        return Budget(kind, value / 100, True) if unit == "%" else Budget(kind, value)

    def __str__(self) -> str:
        if self.kind == "latency":
            return f"latency={self.value / 1e6:g}ms"
        return f"{self.kind}={self.value * 100:g}%" if self.share else f"{self.kind}={self.value:g}"


@dataclass(frozen=True)
class LayerSensitivity:
    """A layer with weights. operators: its positions in the model. Per level in bits: weight_bytes as the file
    stores them; loss: by which the network's loss rises where this layer alone has the level (0 at the highest).
    """

    name: str
    kind: str
    operators: tuple[int, ...]
    weight_bytes: Mapping[int, int]
    loss: Mapping[int, float]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A recipe, and what was measured of its model on the integer core.

    bits: of each layer. predicted: the additive model's loss; loss: the measured one, on the calibration
    samples. latency: nanoseconds of one invocation on this machine. front: whether no other
    candidate has as little of loss, bytes and latency and less of one of them (latencies within LATENCY_NOISE
    are equal).
    """

    name: str
    recipe: Recipe
    bits: tuple[int, ...]
    predicted: float
    loss: float
    weight_bytes: int
    model: bytes
    calibration: Score
    test: Score | None
    latency: float
    front: bool = False

    @property
    def file_bytes(self) -> int:
        """Bytes of the model file."""
        return len(self.model)

    @property
    def sha256(self) -> str:
        """Of the model file, in hexadecimal digits."""
        return hashlib.sha256(self.model).hexdigest()


@dataclass(frozen=True, eq=False)
class Exploration:
    """What an exploration found.

    candidates: by bytes of the file, largest first. chosen: the one that the budget asks for; times: of its
    operators, on this machine.
    float_calibration, float_test: the float network's own score. classes: whether losses are divergences
    of classes' scores in nats; the power of the error over that of the output otherwise.
    """

    name: str
    levels: tuple[int, ...]
    layers: tuple[LayerSensitivity, ...]
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    budget: Budget
    classes: bool
    float_calibration: Score
    float_test: Score | None
    times: tuple[LayerTime, ...]

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The candidates that no other beats."""
        return tuple(c for c in self.candidates if c.front)

    def rows(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """(headings, a row of text per candidate)."""
        heads = (
            "model",
            "bits of the layers",
            "file",
            "predicted",
            "loss",
            "points lost",
            "test",
            "latency",
            "",
        )
        rows: list[tuple[str, ...]] = [
            (
                c.name,
                bits_text(c.bits),
                f"{c.file_bytes:,}",
                loss_text(c.predicted),
                loss_text(c.loss),
                lost_text(c.calibration),
                lost_text(c.test),
                milliseconds(c.latency),
                "chosen" if c is self.chosen else "front" if c.front else "",
            )
            for c in self.candidates
        ]
        return heads, rows

    def table(self) -> str:
        """The candidates as lines of text."""
        heads, rows = self.rows()
        widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (heads, *rows)
        )

    def html(self) -> str:
        """The report: one page that needs nothing else."""
        return html_report(self)

    def png(self) -> bytes:
        """The front as a picture; needs matplotlib (ImportError)."""
        return png_report(self)

    def recipe_text(self) -> str:
        """The chosen recipe as YAML."""
        return recipe_text(self.chosen.recipe)

    def document(self) -> dict[str, Any]:
        """Everything as JSON values. The times and what follows from them are this machine's; the rest is equal
        everywhere.
        """
        return {
            "producer": producer(),
            "network": self.name,
            "budget": str(self.budget),
            "loss": "kl_nats" if self.classes else "noise_over_signal",
            "float": {
                "calibration": _score_document(self.float_calibration),
                "test": _score_document(self.float_test),
            },
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "operators": list(layer.operators),
                    "levels": {
                        str(bits): {"weight_bytes": layer.weight_bytes[bits], "loss": layer.loss[bits]}
                        for bits in self.levels
                    },
                }
                for layer in self.layers
            ],
            "candidates": [
                {
                    "name": c.name,
                    "bits": list(c.bits),
                    "recipe": c.recipe.to_dict(),
                    "file_bytes": c.file_bytes,
                    "weight_bytes": c.weight_bytes,
                    "sha256": c.sha256,
                    "predicted_loss": c.predicted,
                    "loss": c.loss,
                    "calibration": _score_document(c.calibration),
                    "test": _score_document(c.test),
                    "latency_ns": c.latency,
                    "front": c.front,
                    "chosen": c is self.chosen,
                }
                for c in self.candidates
            ],
        }


def _score_document(score: Score | None) -> dict[str, Any] | None:
    return None if score is None else asdict(score)


def recipe_text(recipe: Recipe) -> str:
    """A recipe as YAML; where PyYAML is not installed as JSON, which is a part of it."""
    try:
        return recipe.to_yaml()
    except ImportError:
        return json.dumps(recipe.to_dict(), indent=2) + "\n"


def write_reports(found: Exploration, directory: Path) -> list[str]:
    """Write report.html, explore.json, front.png where matplotlib is, and every candidate's recipe; returns what
    was written.
    """
    recipes = directory / "recipes"
    recipes.mkdir(parents=True, exist_ok=True)
    files = {
        "report.html": found.html().encode(),
        "explore.json": json.dumps(found.document(), indent=2).encode() + b"\n",
    }
    with contextlib.suppress(ImportError):
        files["front.png"] = found.png()
    for name, content in files.items():
        write_whole(directory / name, content)
    for candidate in found.candidates:
        name = candidate.name.replace(" ", "-")
        write_whole(recipes / f"{name}.yaml", recipe_text(candidate.recipe).encode())
    return [*files, f"{len(found.candidates)} recipes"]


def explore(
    source: str | os.PathLike[str] | bytes | Graph,
    data: Data,
    *,
    labels: npt.ArrayLike | None = None,
    test: Data | None = None,
    test_labels: npt.ArrayLike | None = None,
    budget: str | Budget = "points=0.5",
    recipe: Recipe | None = None,
    levels: Sequence[int] = WEIGHT_BITS,
    samples: int | None = None,
    candidates: int = CANDIDATES,
    jobs: int = 1,
    dask: str | None = None,
    results: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Exploration:
    """Find the level of each layer that an application needs.

    source, data, labels, test: as nybble.quantize takes them; data are the samples that ranges are calibrated on
    and that everything is decided by, test those that are only reported on. budget: see Budget.parse; with points,
    the smallest model that loses at most as many, otherwise the one of the least loss. recipe: everything but the
    bits of weights. levels: of weights. samples: how many of ``data`` trials are measured on, evenly taken; all
    where it is None. candidates: how many selections of the front are measured. jobs: processes (a script that asks
    for more than one guards its start with ``if __name__ == "__main__"``); dask: address of a Dask scheduler.
    results: directory from which an interrupted exploration goes on. progress: called with (what, done, of).

    Models, losses and scores are the same for any number of jobs and on every machine; latencies are measured in
    this process, one candidate after the other. Raises what nybble.quantize raises, and QuantizationError
    where no candidate meets the budget.
    """
    wanted = Budget.parse(budget) if isinstance(budget, str) else budget
    chosen_levels = tuple(sorted({int(bits) for bits in levels}, reverse=True))
    if not chosen_levels or not set(chosen_levels) <= set(WEIGHT_BITS):
        raise ValueError(f"expected levels of {', '.join(map(str, WEIGHT_BITS))} bits, found {levels!r}")
    for name, value in (("samples", samples), ("candidates", candidates), ("jobs", jobs)):
        if value is not None and value < 1:
            raise ValueError(f"expected at least 1 of {name}, found {value}")
    reference = source if isinstance(source, Graph) else import_model(source)
    store = Results(None if results is None else Path(results))
    tell = progress or (lambda what, done, of: None)
    given = Recipe() if recipe is None else recipe
    overrides = tuple(
        o for one in given.overrides if (o := replace(one, weights=None)).activations or o.calibration
    )
    base = replace(given, weights=chosen_levels[0], first=None, last=None, layers={}, overrides=overrides)
    task, key = _prepare(reference, base, data, labels, test, test_labels, samples, store, tell)
    with workers(task, jobs, dask) as run:
        search = _Search(task, base, chosen_levels, store, key, run, tell)
        return search.explore(wanted, candidates)


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


def _prepare(
    reference: Graph,
    base: Recipe,
    data: Data,
    labels: npt.ArrayLike | None,
    test: Data | None,
    test_labels: npt.ArrayLike | None,
    count: int | None,
    store: Results,
    tell: Callable[[str, int, int], None],
) -> tuple[Task, str]:
    """(what trials share, the hash of all of it). Ranges and float answers are taken from the results."""
    graph = prepare(reference)
    inputs, found = read_samples(data, reference)
    code = content_key(_code_digest(), _graph_key(reference))
    key = content_key(code, "ranges", base.to_dict(), _array_key(inputs))
    entry = store.read(key)
    if entry is None:
        tell("calibrating", 0, 1)
        ranges: Mapping[str, Range] = observe(graph, inputs, base)
        store.write(key, dict(ranges))
    else:
        ranges = {name: Range(*seen) for name, seen in entry[0].items()}
    tell("calibrating", 1, 1)
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
    task = Task(graph, ranges, tuple(inputs), classes, decide, report)
    parts = [p for p in (decide, report) if p is not None]
    samples_key = [
        [_array_key(p.inputs), None if p.labels is None else _array_key([p.labels])] for p in parts
    ]
    return task, content_key(code, key, classes, samples_key)


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


class _Search:
    """One exploration under way. A selection is the bits of each layer."""

    def __init__(
        self,
        task: Task,
        base: Recipe,
        levels: tuple[int, ...],
        store: Results,
        key: str,
        run: Callable[[Sequence[Work]], Any],
        tell: Callable[[str, int, int], None],
    ) -> None:
        self.task, self.base, self.levels = task, base, levels
        self.store, self.key, self.run, self.tell = store, key, run, tell
        weighted = [node for node in task.graph.nodes if has_weights(node)]
        #: Layers of one name share their bits, as in a recipe.
        self.kinds = {node.name: node.op.name for node in reversed(weighted)}
        self.names = tuple(dict.fromkeys(node.name for node in weighted))
        if not self.names:
            raise QuantizationError(
                f"{task.graph.name}: has no layer with weights: there is nothing to choose"
            )
        self.float_score = score(task.calibration.answers[0], task.calibration, task.classes[0])
        self.known: dict[tuple[int, ...], tuple[Trial, float, tuple[float, ...]]] = {}
        self.solved: tuple[Graph, dict[tuple[str, int], LoweredLayer]] | None = None

    def recipe(self, selection: Sequence[int]) -> Recipe:
        """The recipe of a selection; without exceptions where the selection is uniform."""
        weights = selection[0] if len(set(selection)) == 1 else self.levels[0]
        layers = {name: bits for name, bits in zip(self.names, selection, strict=True) if bits != weights}
        return replace(self.base, weights=weights, layers=layers)

    def trials(self, selections: Sequence[tuple[int, ...]], whole: bool, what: str) -> list[Trial]:
        """What comes of selections; each is kept as soon as it is there."""
        keys = [content_key(self.key, self.recipe(s).to_dict(), whole) for s in selections]
        found: dict[int, Trial] = {}
        for i, key in enumerate(keys):
            entry = self.store.read(key)
            if entry is not None:
                found[i] = Trial.of(*entry)
        missing = [i for i in range(len(keys)) if i not in found]
        work = [(self.level(selections[i], whole), whole) for i in missing]
        self.tell(what, len(found), len(keys))
        for position, trial in self.run(work):
            i = missing[position]
            found[i] = trial
            self.store.write(keys[i], trial.document(), trial.model)
            self.tell(what, len(found), len(keys))
        return [found[i] for i in range(len(keys))]

    def level(self, selection: tuple[int, ...], whole: bool) -> Recipe | Graph:
        """The recipe of a selection; where it is the highest level, or its loss with one layer lowered is asked
        for, the integer graph itself, since one pass over the samples gives all of those.
        """
        lowered = [
            (name, bits) for name, bits in zip(self.names, selection, strict=True) if bits != self.levels[0]
        ]
        if lowered and (whole or len(lowered) > 1):
            return self.recipe(selection)
        if self.solved is None:
            self.solved = quantize_levels(
                self.task.graph,
                self.task.ranges,
                self.base,
                self.levels[1:],
                self.task.samples,
                lambda done, of: self.tell("layers at every level", done, of),
            )
        graph, layers = self.solved
        names = dict(lowered)
        return lower(
            graph,
            [
                layers[node.outputs[0], names[node.name]]
                for node in self.task.graph.nodes
                if has_weights(node) and node.name in names
            ],
        )

    def uniform(self, bits: int) -> tuple[int, ...]:
        """Every layer at one level."""
        return (bits,) * len(self.names)

    def explore(self, budget: Budget, count: int) -> Exploration:
        """All steps of the module's text."""
        self.measure([self.uniform(bits) for bits in self.levels])
        layers = self.sensitivities()
        losses = [[round(layer.loss[b] / LOSS_STEP) for b in self.levels] for layer in layers]
        sizes = [[layer.weight_bytes[b] for b in self.levels] for layer in layers]
        front = _front(sizes, losses)
        self.measure([self.selection(front, point) for point in spread(front, count)])
        if budget.kind in ("bytes", "weights"):
            budget = self.meet_bytes(front, budget)
        elif budget.kind == "latency":
            self.meet_latency(losses, budget)
        else:
            self.meet_points(front, budget)
        found = self.candidates(layers)
        chosen = self.choose(found, budget)
        test = self.task.test
        return Exploration(
            self.task.graph.name,
            self.levels,
            layers,
            tuple(found),
            chosen,
            budget,
            self.task.classes[0],
            self.float_score,
            None if test is None else score(test.answers[0], test, self.task.classes[0]),
            self.times(chosen),
        )

    def measure(self, selections: Sequence[tuple[int, ...]]) -> None:
        """Quantize and run selections, and measure their latency."""
        new = [s for s in dict.fromkeys(selections) if s not in self.known]
        trials = self.trials(new, True, "candidates")
        latencies = self.latencies([trial.model for trial in trials])
        for selection, trial, latency in zip(new, trials, latencies, strict=True):
            self.known[selection] = (trial, *latency)

    def latencies(self, models: Sequence[bytes]) -> list[tuple[float, tuple[float, ...]]]:
        """Nanoseconds of one invocation, and of each operator: the least of the medians of rounds in which the
        models take turns, since what else a machine does only adds.
        """
        keys = [
            content_key("latency", model, cpu_levels()[-1], LATENCY_RUNS, LATENCY_ROUNDS) for model in models
        ]
        missing = [i for i, key in enumerate(keys) if self.store.read(key) is None]
        sessions = {i: load_nyb(models[i]) for i in missing}
        rounds: dict[int, list[Benchmark]] = {i: [] for i in missing}
        for number in range(LATENCY_ROUNDS):
            self.tell("latency", number, LATENCY_ROUNDS)
            for i in missing:
                rounds[i].append(benchmark(sessions[i], LATENCY_RUNS))
        self.tell("latency", LATENCY_ROUNDS, LATENCY_ROUNDS)
        for i, found in rounds.items():
            columns = zip(*([layer.nanoseconds for layer in one.layers] for one in found), strict=True)
            invocation = min(one.invocation.median for one in found)
            self.store.write(keys[i], {"invocation": invocation, "operators": [min(c) for c in columns]})
        entries = [self.store.read(key) for key in keys]
        return [(e[0]["invocation"], tuple(e[0]["operators"])) for e in entries if e is not None]

    def times(self, chosen: Candidate) -> tuple[LayerTime, ...]:
        """Of the operators of a candidate."""
        medians = self.known[chosen.bits][2]
        total = sum(medians)
        layers = load_nyb(chosen.model).layers()
        return tuple(LayerTime(layer, t, t / total) for layer, t in zip(layers, medians, strict=True))

    def sensitivities(self) -> tuple[LayerSensitivity, ...]:
        """Each layer alone at each level below the highest."""
        highest = self.uniform(self.levels[0])
        lower = [(i, bits) for i in range(len(self.names)) for bits in self.levels[1:]]
        lowered = [(*highest[:i], bits, *highest[i + 1 :]) for i, bits in lower]
        base = self.known[highest][0]
        trials = dict(zip(lower, self.trials(lowered, False, "sensitivity of layers"), strict=True))
        result = []
        for i, name in enumerate(self.names):
            of_layer = {bits: trials[i, bits] for bits in self.levels[1:]}
            operators = tuple(
                j
                for j, size in enumerate(base.weight_bytes)
                if any(trial.weight_bytes[j] != size for trial in of_layer.values())
            )
            result.append(
                LayerSensitivity(
                    name,
                    self.kinds[name],
                    operators,
                    {
                        bits: sum(trial.weight_bytes[j] for j in operators)
                        for bits, trial in ((self.levels[0], base), *of_layer.items())
                    },
                    {self.levels[0]: 0.0}
                    | {bits: (trial.loss - base.loss) * LOSS_STEP for bits, trial in of_layer.items()},
                )
            )
        return tuple(result)

    def selection(self, front: Front, point: int) -> tuple[int, ...]:
        """The bits of each layer at a point of the front."""
        return tuple(self.levels[i] for i in front.choices(point))

    def meet_bytes(self, front: Front, budget: Budget) -> Budget:
        """Measure the best selection within a budget of bytes; returns the budget as a number of bytes."""
        highest = self.known[self.uniform(self.levels[0])][0]

        def taken(trial: Trial) -> int:
            return len(trial.model) if budget.kind == "bytes" else sum(trial.weight_bytes)

        if budget.share:
            budget = Budget(budget.kind, float(int(budget.value * taken(highest))))
        room = int(budget.value) - (taken(highest) - sum(highest.weight_bytes))
        for _ in range(_TRIES):
            point = front.within(room)
            if point is None:
                break
            selection = self.selection(front, point)
            self.measure([selection])
            excess = taken(self.known[selection][0]) - int(budget.value)
            if excess <= 0:
                break
            room = min(room, int(front.costs[point])) - excess
        return budget

    def meet_latency(self, losses: Sequence[Sequence[int]], budget: Budget) -> None:
        """Measure the best selections by the layers' measured times, within a budget and a little below it."""
        layers = self.sensitivities()
        profiles = {bits: self.known[self.uniform(bits)] for bits in self.levels}
        times = [
            [round(sum(profiles[bits][2][j] for j in layer.operators)) for bits in self.levels]
            for layer in layers
        ]
        _, whole, _ = profiles[self.levels[0]]
        rest = whole - sum(layer[0] for layer in times)
        front = _front(times, losses)
        points = {front.within(int(budget.value * part - rest)) for part in (1.0, 0.97, 0.94, 0.9)}
        points.add(0)
        self.measure([self.selection(front, p) for p in sorted(p for p in points if p is not None)])

    def meet_points(self, front: Front, budget: Budget) -> None:
        """Between the last measured selection within a budget of points and the first beyond it, measure more."""
        low, high = 0, len(front) - 1
        if self.float_score.points_lost() is None:
            raise QuantizationError(
                "a budget of points needs classes: labels, or a network that ends in Softmax; use bytes or latency"
            )
        for point in reversed(range(len(front))):
            selection = self.selection(front, point)
            if selection in self.known:
                if not self.loses_at_most(self.known[selection][0], budget):
                    low = point
                    break
                high = point
        for _ in range(_HALVINGS):
            middle = (low + high) // 2
            if middle in (low, high):
                break
            selection = self.selection(front, middle)
            self.measure([selection])
            if self.loses_at_most(self.known[selection][0], budget):
                high = middle
            else:
                low = middle

    def loses_at_most(self, trial: Trial, budget: Budget) -> bool:
        """Whether a trial is within a budget of points."""
        assert trial.calibration is not None
        lost = trial.calibration.points_lost()
        return lost is not None and lost <= budget.value + 1e-9

    def candidates(self, layers: Sequence[LayerSensitivity]) -> list[Candidate]:
        """All that was measured, the largest file first."""
        base = self.known[self.uniform(self.levels[0])][0].loss * LOSS_STEP
        order = sorted(
            self.known.items(), key=lambda item: (-len(item[1][0].model), item[1][0].loss, item[0])
        )
        found = []
        mixed = 0
        for selection, (trial, latency, _) in order:
            predicted = base + sum(layer.loss[b] for layer, b in zip(layers, selection, strict=True))
            name = f"W{selection[0]}"
            if len(set(selection)) > 1:
                mixed += 1
                name = f"mixed {mixed}"
            assert trial.calibration is not None
            found.append(
                Candidate(
                    name,
                    self.recipe(selection),
                    selection,
                    predicted,
                    trial.loss * LOSS_STEP,
                    sum(trial.weight_bytes),
                    trial.model,
                    trial.calibration,
                    trial.test,
                    latency,
                )
            )
        return [replace(c, front=not any(_beats(other, c) for other in found)) for c in found]

    def choose(self, found: Sequence[Candidate], budget: Budget) -> Candidate:
        """The candidate that a budget asks for."""
        if budget.kind == "points":
            within = []
            # Downwards, until a loss is too high: a smaller one that happens to be better was lucky.
            for candidate in sorted(found, key=lambda c: (c.loss, c.file_bytes)):
                lost = candidate.calibration.points_lost()
                if lost is None or lost > budget.value + 1e-9:
                    break
                within.append(candidate)
            if not within:
                within = [c for c in found if self._lost(c) <= budget.value + 1e-9]
            if within:
                return min(within, key=lambda c: (c.file_bytes, c.loss))
            best = min(self._lost(c) for c in found)
            raise QuantizationError(
                f"no candidate loses at most {budget.value:g} points; the best loses {best:g}"
            )
        spending: dict[str, Callable[[Candidate], float]] = {
            "bytes": lambda c: c.file_bytes,
            "weights": lambda c: c.weight_bytes,
            "latency": lambda c: c.latency,
        }
        spent = spending[budget.kind]
        within = [c for c in found if spent(c) <= budget.value]
        if not within:
            least = min(map(spent, found))
            shown = f"{least / 1e6:.3f} ms" if budget.kind == "latency" else f"{least:,.0f} bytes"
            raise QuantizationError(f"no candidate meets the budget {budget}; the least is {shown}")
        return min(within, key=lambda c: (c.loss, c.file_bytes))

    def _lost(self, candidate: Candidate) -> float:
        lost = candidate.calibration.points_lost()
        assert lost is not None
        return lost


def _front(costs: Sequence[Sequence[int]], losses: Sequence[Sequence[int]]) -> Front:
    return pareto_front(
        [[Option(*pair) for pair in zip(*layer, strict=True)] for layer in zip(costs, losses, strict=True)]
    )


def _beats(a: Candidate, b: Candidate) -> bool:
    """Whether a has as little of everything as b, and less of something."""
    faster = a.latency < b.latency * (1 - LATENCY_NOISE)
    slower = b.latency < a.latency * (1 - LATENCY_NOISE)
    as_good = a.loss <= b.loss and a.file_bytes <= b.file_bytes and not slower
    return as_good and (a.loss < b.loss or a.file_bytes < b.file_bytes or faster)
