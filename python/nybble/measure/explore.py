# SPDX-License-Identifier: Apache-2.0
"""Which level does an application need? Each layer's loss at each level, mixed precision by an exact search,
and the candidates measured on the integer core.

1. Every layer alone is lowered to every level, the rest stays at the highest: the rise of the loss is the
   layer's sensitivity. One pass over the samples solves all of these (quantize.apply.quantize_levels).
2. Losses are taken as additive, and the knapsack over layers is solved exactly (quantize/search.py).
3. Selections along the whole front, and every uniform level, are really quantized and run: what they measure
   decides, not what was predicted.
4. 1 to 3 once more around the uniform level that is nearest to the budget, whose layers were solved after layers of
   so few bits; then around the best selection within the budget, as long as that finds a better one.

Calibration samples decide, each answered by weights that were solved without it (Task.fold); test samples are
reported only.

Source of the additive model: Dong et al., "HAWQ-V2", 2020, section 3 (there from the Hessian's trace; here
the loss itself is measured).
"""

from __future__ import annotations

import itertools
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy.typing as npt

from ..convert import import_model
from ..graph import Graph, QuantizationError
from ..quantize.parameters import Level
from ..quantize.recipe import WEIGHT_LEVELS, Recipe, has_weights
from ..quantize.samples import Data
from ..quantize.search import Front, Option, pareto_front, spread
from ..session import cpu_levels, load_nyb
from .bench import Benchmark, LayerTime, benchmark
from .budget import Budget
from .exploration import Candidate, Exploration, LayerSensitivity, candidate_rows, text_table, write_reports
from .report import bits_text
from .results import Results, content_key
from .task import Task, prepare_task
from .trial import LOSS_STEP, Score, Trial, Work, score
from .workers import Finished, workers

__all__ = ["CANDIDATES", "Budget", "Candidate", "Exploration", "LayerSensitivity", "explore", "write_reports"]

#: Selections of the front that are measured, besides the uniform levels.
CANDIDATES = 12

#: Times at most that the layers are tried around the best selection.
ROUNDS = 2

#: Halvings of the front between the last selection within a budget of points and the first beyond it.
_HALVINGS = 4

#: Invocations of a candidate in one round, and rounds: see _Search.latencies.
LATENCY_RUNS = 15
LATENCY_ROUNDS = 5

#: Latencies that differ by a smaller part are taken as equal.
LATENCY_NOISE = 0.05

#: Tries to meet a budget of bytes exactly: alignment in the file is not additive.
_TRIES = 4


def explore(
    source: str | os.PathLike[str] | bytes | Graph,
    data: Data,
    *,
    labels: npt.ArrayLike | None = None,
    test: Data | None = None,
    test_labels: npt.ArrayLike | None = None,
    budget: str | Budget = "points=0.5",
    recipe: Recipe | None = None,
    levels: Sequence[Level] = (8, 4, 2),
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
    bits of weights. levels: of weights, also ternary. samples: how many of ``data`` trials are measured on, evenly taken;
    all where it is None. candidates: how many selections along the fronts are measured. jobs: processes (a script that
    asks for more than one guards its start with ``if __name__ == "__main__"``); dask: address of a Dask scheduler.
    results: directory from which an interrupted exploration goes on. progress: called with (what, done, of).

    Models, losses and scores are the same for any number of jobs and on every machine; latencies are measured in
    this process, one candidate after the other. Raises what nybble.quantize raises, and QuantizationError
    where no candidate meets the budget.
    """
    wanted = Budget.parse(budget) if isinstance(budget, str) else budget
    chosen_levels = tuple(level for level in WEIGHT_LEVELS if level in levels)
    if not chosen_levels or not set(levels) <= set(WEIGHT_LEVELS):
        raise ValueError(f"expected levels of {', '.join(map(str, WEIGHT_LEVELS))}, found {levels!r}")
    for name, value in (("samples", samples), ("candidates", candidates), ("jobs", jobs)):
        if value is not None and value < 1:
            raise ValueError(f"expected at least 1 of {name}, found {value}")
    reference = source if isinstance(source, Graph) else import_model(source)
    store = Results(None if results is None else Path(results))
    tell = progress or (lambda what, done, of: None)
    given = Recipe() if recipe is None else recipe
    overrides = tuple(o for one in given.overrides if (o := replace(one, weights=None)).chooses)
    base = replace(given, weights=chosen_levels[0], first=None, last=None, layers={}, overrides=overrides)
    task, key = prepare_task(reference, base, data, labels, test, test_labels, samples, store, tell)
    with workers(task, jobs, dask, lambda done, of: tell("layers", done, of)) as run:
        search = _Search(task, base, chosen_levels, store, key, run, tell)
        return search.explore(wanted, candidates)


#: The level of each layer.
Selection = tuple[Level, ...]


@dataclass(frozen=True)
class _Measured:
    """A selection that was quantized and run. trial: of all samples. loss, calibration: of the folds."""

    trial: Trial
    loss: int
    calibration: Score
    latency: float
    operators: tuple[float, ...]

    @property
    def weight_bytes(self) -> tuple[int, ...]:
        """Of each operator."""
        return self.trial.weight_bytes[0]

    def spent(self, kind: str) -> float:
        """Of what a budget of a kind limits."""
        if kind == "latency":
            return self.latency
        if kind == "points":
            lost = self.calibration.points_lost()
            assert lost is not None
            return lost
        return len(self.trial.model) if kind == "bytes" else sum(self.weight_bytes)


class _Search:
    """One exploration under way."""

    def __init__(
        self,
        task: Task,
        base: Recipe,
        levels: tuple[Level, ...],
        store: Results,
        key: str,
        run: Callable[[Sequence[Work]], Finished],
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
        self.known: dict[Selection, _Measured] = {}

    def recipe(self, selection: Selection) -> Recipe:
        """The recipe of a selection; without exceptions where the selection is uniform."""
        weights = selection[0] if len(set(selection)) == 1 else self.levels[0]
        layers = {name: bits for name, bits in zip(self.names, selection, strict=True) if bits != weights}
        return replace(self.base, weights=weights, layers=layers)

    def trials(self, work: Sequence[Work], what: str) -> list[Trial]:
        """What comes of work; each is kept as soon as it is there."""
        keys = [content_key(self.key, w.recipe.to_dict(), w.fold, w.others) for w in work]
        found: dict[int, Trial] = {}
        for i, key in enumerate(keys):
            entry = self.store.read(key)
            if entry is not None:
                found[i] = Trial.of(*entry)
        missing = [i for i in range(len(keys)) if i not in found]
        self.tell(what, len(found), len(keys))
        for position, trial in self.run([work[i] for i in missing]):
            i = missing[position]
            found[i] = trial
            self.store.write(keys[i], trial.document(), trial.model)
            self.tell(what, len(found), len(keys))
        return [found[i] for i in range(len(keys))]

    def uniform(self, bits: Level) -> Selection:
        """Every layer at one level."""
        return (bits,) * len(self.names)

    def usual(self) -> list[Selection]:
        """What one would try by hand: every level for all layers, and for all but the first and the last."""
        inner = len(self.names) - 2
        ends = [(self.levels[0], *(bits,) * inner, self.levels[0]) for bits in self.levels[1:] if inner > 0]
        return [*map(self.uniform, self.levels), *ends]

    def explore(self, budget: Budget, count: int) -> Exploration:
        """All steps of the module's text."""
        highest = self.uniform(self.levels[0])
        if budget.kind == "points" and self.float_score.points_lost() is None:
            raise QuantizationError(
                "a budget of points needs classes: labels, or a network that ends in Softmax; use bytes or latency"
            )
        self.measure(self.usual())
        if budget.share:
            budget = Budget(budget.kind, float(int(budget.value * self.known[highest].spent(budget.kind))))
        layers = self.sensitivities(highest)
        starts = dict.fromkeys((highest, self.nearest(budget)))
        for centre in starts:
            around = self.sensitivities(centre)
            front = self.front(around, [layer.weight_bytes for layer in around])
            self.measure([self.selection(front, point) for point in spread(front, count // len(starts))])
            self.meet(around, budget)
        chosen = self.choose(self.candidates(layers), budget)
        for _ in range(ROUNDS):
            centre = chosen.bits
            if centre in starts:
                break
            self.meet(self.sensitivities(centre), budget)
            chosen = self.choose(self.candidates(layers), budget)
            if chosen.bits == centre:
                break
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

    def nearest(self, budget: Budget) -> Selection:
        """The level for all layers that spends most nearly the budget."""
        return min(
            map(self.uniform, self.levels), key=lambda s: abs(self.known[s].spent(budget.kind) - budget.value)
        )

    def meet(self, layers: Sequence[LayerSensitivity], budget: Budget) -> None:
        """Measure the selections that by the layers' losses are the best within a budget."""
        if budget.kind == "latency":
            self.meet_latency(layers, budget)
            return
        front = self.front(layers, [layer.weight_bytes for layer in layers])
        if budget.kind == "points":
            self.meet_points(front, budget)
        else:
            self.meet_bytes(front, budget)

    def front(self, layers: Sequence[LayerSensitivity], costs: Sequence[Mapping[Level, int]]) -> Front:
        """The exact front of the layers' losses; costs: of each layer at each level."""
        return pareto_front(
            [
                [Option(cost[b], round(layer.loss[b] / LOSS_STEP)) for b in self.levels]
                for layer, cost in zip(layers, costs, strict=True)
            ]
        )

    def measure(self, selections: Sequence[Selection]) -> None:
        """Quantize and run selections, and measure their latency."""
        new = [s for s in dict.fromkeys(selections) if s not in self.known]
        folds = len(self.task.folds)
        work = [Work(self.recipe(s), fold) for s in new for fold in (*range(folds), None)]
        done = self.trials(work, "candidates")
        trials = [done[i : i + folds + 1] for i in range(0, len(done), folds + 1)]
        latencies = self.latencies([whole.model for *_, whole in trials])
        for selection, (*parts, whole), latency in zip(new, trials, latencies, strict=True):
            scores = [part.score for part in parts if part.score is not None]
            calibration = reduce(operator.add, scores)
            self.known[selection] = _Measured(whole, self.loss(parts, 0), calibration, *latency)

    def loss(self, parts: Sequence[Trial], number: int) -> int:
        """The mean over the samples of a loss of each fold."""
        counts = self.task.folds
        return round(sum(p.losses[number] * n for p, n in zip(parts, counts, strict=True)) / sum(counts))

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
        medians = self.known[chosen.bits].operators
        total = sum(medians)
        layers = load_nyb(chosen.model).layers()
        return tuple(LayerTime(layer, t, t / total) for layer, t in zip(layers, medians, strict=True))

    def sensitivities(self, selection: Selection) -> tuple[LayerSensitivity, ...]:
        """Each layer alone at each level, the others as in the selection. Losses are over that of the selection."""
        recipe = self.recipe(selection)
        work = [Work(recipe, fold, self.levels) for fold in range(len(self.task.folds))]
        parts = self.trials(work, "layers around " + bits_text(selection))
        tried = {one: i for i, one in enumerate(work[0].alone(self.task.graph), 1)}
        weight_bytes = parts[0].weight_bytes
        result = []
        for name in self.names:
            numbers = {bits: tried.get((name, bits), 0) for bits in self.levels}
            operators = tuple(
                j
                for j, size in enumerate(weight_bytes[0])
                if any(weight_bytes[i][j] != size for i in numbers.values())
            )
            result.append(
                LayerSensitivity(
                    name,
                    self.kinds[name],
                    operators,
                    {bits: sum(weight_bytes[i][j] for j in operators) for bits, i in numbers.items()},
                    {
                        bits: (self.loss(parts, i) - self.loss(parts, 0)) * LOSS_STEP
                        for bits, i in numbers.items()
                    },
                )
            )
        return tuple(result)

    def selection(self, front: Front, point: int) -> Selection:
        """The bits of each layer at a point of the front."""
        return tuple(self.levels[i] for i in front.choices(point))

    def meet_bytes(self, front: Front, budget: Budget) -> None:
        """Measure the best selection within a budget of bytes."""
        highest = self.known[self.uniform(self.levels[0])]
        room = int(budget.value - (highest.spent(budget.kind) - sum(highest.weight_bytes)))
        for _ in range(_TRIES):
            point = front.within(room)
            if point is None:
                break
            selection = self.selection(front, point)
            self.measure([selection])
            excess = int(self.known[selection].spent(budget.kind) - budget.value)
            if excess <= 0:
                break
            room = min(room, int(front.costs[point])) - excess

    def meet_latency(self, layers: Sequence[LayerSensitivity], budget: Budget) -> None:
        """Measure the best selections by the layers' measured times, within a budget and a little below it."""
        profiles = {bits: self.known[self.uniform(bits)] for bits in self.levels}
        times = [
            {bits: round(sum(profiles[bits].operators[j] for j in layer.operators)) for bits in self.levels}
            for layer in layers
        ]
        rest = profiles[self.levels[0]].latency - sum(layer[self.levels[0]] for layer in times)
        front = self.front(layers, times)
        points = {front.within(int(budget.value * part - rest)) for part in (1.0, 0.97, 0.94, 0.9)}
        points.add(0)
        self.measure([self.selection(front, p) for p in sorted(p for p in points if p is not None)])

    def meet_points(self, front: Front, budget: Budget) -> None:
        """Between the last measured selection within a budget of points and the first beyond it, measure more."""
        low, high = 0, len(front) - 1
        for point in reversed(range(len(front))):
            selection = self.selection(front, point)
            if selection in self.known:
                if not _within(self.known[selection], budget):
                    low = point
                    break
                high = point
        for _ in range(_HALVINGS):
            middle = (low + high) // 2
            if middle in (low, high):
                break
            selection = self.selection(front, middle)
            self.measure([selection])
            if _within(self.known[selection], budget):
                high = middle
            else:
                low = middle

    def candidates(self, layers: Sequence[LayerSensitivity]) -> list[Candidate]:
        """All that was measured, the largest file first."""
        base = self.known[self.uniform(self.levels[0])].loss * LOSS_STEP
        places = {level: i for i, level in enumerate(reversed(self.levels))}
        order = sorted(
            self.known.items(),
            key=lambda item: (-len(item[1].trial.model), item[1].loss, [places[b] for b in item[0]]),
        )
        usual = self.usual()
        found = []
        mixed = 0
        for selection, one in order:
            predicted = base + sum(layer.loss[b] for layer, b in zip(layers, selection, strict=True))
            if selection in usual:
                inner = selection[len(selection) // 2]
                name = f"W{inner}" if inner == selection[0] else f"W{inner} ends {selection[0]}"
            else:
                mixed += 1
                name = f"mixed {mixed}"
            found.append(
                Candidate(
                    name,
                    self.recipe(selection),
                    selection,
                    predicted,
                    one.loss * LOSS_STEP,
                    sum(one.weight_bytes),
                    one.trial.model,
                    one.calibration,
                    one.trial.score,
                    one.latency,
                )
            )
        return [replace(c, front=not any(_beats(other, c) for other in found)) for c in found]

    def choose(self, found: Sequence[Candidate], budget: Budget) -> Candidate:
        """The candidate that a budget asks for."""
        within = [c for c in found if _within(self.known[c.bits], budget)]
        if not within:
            nearest = min(found, key=lambda c: (self.known[c.bits].spent(budget.kind), c.file_bytes))
            what = (
                f"loses at most {budget.value:g} points"
                if budget.kind == "points"
                else f"meets the budget {budget}"
            )
            raise QuantizationError(
                f"no candidate {what}; the nearest is {nearest.name}:\n{text_table(*candidate_rows(found))}"
            )
        if budget.kind != "points":
            return min(within, key=lambda c: (c.loss, c.file_bytes))
        # Downwards, until a loss is too high: a smaller one that happens to be better was lucky.
        order = sorted(found, key=lambda c: (c.loss, c.file_bytes))
        sure = list(itertools.takewhile(lambda c: c in within, order))
        return min(sure or within, key=lambda c: (c.file_bytes, c.loss))


def _within(one: _Measured, budget: Budget) -> bool:
    return one.spent(budget.kind) <= budget.value + 1e-9


def _beats(a: Candidate, b: Candidate) -> bool:
    """Whether a has as little of everything as b, and less of something."""
    faster = a.latency < b.latency * (1 - LATENCY_NOISE)
    slower = b.latency < a.latency * (1 - LATENCY_NOISE)
    as_good = a.loss <= b.loss and a.file_bytes <= b.file_bytes and not slower
    return as_good and (a.loss < b.loss or a.file_bytes < b.file_bytes or faster)
