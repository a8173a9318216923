# SPDX-License-Identifier: Apache-2.0
"""Which level does an application need? Each layer's loss at each level, mixed precision by an exact search,
and the candidates measured on the integer core.

1. Every layer alone is lowered to every level, the rest stays at the highest: the rise of the loss is the
   layer's sensitivity. One pass over the samples solves all of these (quantize.apply.quantize_levels). A level may name
   activations beside weights: they are lowered with the layer that writes them (quantize/levels.py).
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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy.typing as npt

from ..convert import import_model
from ..graph import Graph, QuantizationError
from ..quantize.levels import level_name, parts_of, sorted_levels, with_levels, without_levels
from ..quantize.parameters import Level
from ..quantize.recipe import Recipe, has_weights
from ..quantize.samples import Data
from ..quantize.search import Front, Option, pareto_front, spread
from ..session import cpu_levels, load_nyb
from .bench import Benchmark, LayerTime, benchmark
from .budget import Budget
from .exploration import (
    Candidate,
    Exploration,
    LayerSensitivity,
    candidate_rows,
    layer_operators,
    text_table,
    write_reports,
)
from .memory import read_plan
from .report import bits_text
from .results import Results, content_key
from .summary import port_bytes
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

#: Cost and loss of a level that is not taken.
_BARRED = 1 << 40

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
    the smallest model that loses at most as many, otherwise the one of the least loss; of several the first says which,
    and all have to hold. recipe: everything but what levels choose. levels: bits of weights, 8, 4, 2 or 'ternary', or of
    weights and activations, such as 'w4a16' (where one names activations, those that do not have the recipe's);
    activations of 4 and 2 bits save neither bytes nor time here. samples: how many of ``data`` trials are measured on,
    evenly taken; all where it is None. candidates: how many selections along the fronts are measured. jobs: processes (a
    script that asks for more than one guards its start with ``if __name__ == "__main__"``); dask: address of a Dask
    scheduler. results: directory from which an interrupted exploration goes on. progress: called with (what, done, of).

    Models, losses and scores are the same for any number of jobs and on every machine; latencies are measured in
    this process, one candidate after the other. Raises what nybble.quantize raises, and QuantizationError
    where no candidate meets the budget.
    """
    wanted = Budget.parse(budget) if isinstance(budget, str) else budget
    given = Recipe() if recipe is None else recipe
    chosen_levels = sorted_levels(levels, given.activations)
    for name, value in (("samples", samples), ("candidates", candidates), ("jobs", jobs)):
        if value is not None and value < 1:
            raise ValueError(f"expected at least 1 of {name}, found {value}")
    reference = source if isinstance(source, Graph) else import_model(source)
    store = Results(None if results is None else Path(results))
    tell = progress or (lambda what, done, of: None)
    base = without_levels(given, chosen_levels)
    every = dict.fromkeys(
        base.activations if bits is None else bits for _, bits in map(parts_of, chosen_levels)
    )
    uniform = [replace(base, activations=bits) for bits in every]
    task, key = prepare_task(reference, uniform, data, labels, test, test_labels, samples, store, tell)
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
        """Of each layer."""
        return self.trial.weight_bytes[0]

    def spent(self, kind: str) -> float:
        """Of what a budget of a kind limits."""
        if kind == "latency":
            return self.latency
        if kind == "points":
            lost = self.calibration.points_lost()
            assert lost is not None
            return lost
        if kind == "arena":
            return read_plan(self.trial.model).arena
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
        self.names = task.layers
        if not self.names:
            raise QuantizationError(
                f"{task.graph.name}: has no layer with weights: there is nothing to choose"
            )
        self.float_score = score(task.calibration.answers[0], task.calibration, task.classes[0])
        self.known: dict[Selection, _Measured] = {}

    def recipe(self, selection: Selection) -> Recipe:
        """The recipe of a selection; without exceptions where the selection is uniform."""
        return with_levels(self.base, self.task.graph, dict(zip(self.names, selection, strict=True)))

    def trials(self, work: Sequence[Work], what: str) -> list[Trial]:
        """What comes of work; each is kept as soon as it is there."""
        keys = [
            content_key(self.key, w.recipe.to_dict(), w.fold, [one.to_dict() for one in w.others])
            for w in work
        ]
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
        """What one would try by hand: every level for all layers, and for all but the first and the last, which have
        the most bits of weights beside these activations.
        """
        inner = len(self.names) - 2
        most = {level: next(one for one in self.levels if _alike(one, level, 1)) for level in self.levels}
        ends = [(end, *(one,) * inner, end) for one, end in most.items() if end != one and inner > 0]
        return [*map(self.uniform, self.levels), *ends]

    def explore(self, budget: Budget, count: int) -> Exploration:
        """All steps of the module's text."""
        highest = self.uniform(self.levels[0])
        kinds = {one.kind for one in (budget, *budget.others)}
        if "points" in kinds and self.float_score.points_lost() is None:
            raise QuantizationError(
                "a budget of points needs classes: labels, or a network that ends in Softmax; use bytes or latency"
            )
        self.measure(self.usual())
        budget = self.absolute(budget)
        layers = self.sensitivities(highest)
        starts = dict.fromkeys((highest, self.nearest(budget)))
        for centre in starts:
            around = self.sensitivities(centre)
            sizes = [layer.weight_bytes for layer in around]
            fronts = [self.front(around, sizes, allowed) for allowed in self.alternatives()]
            for front in fronts:
                points = spread(front, count // (len(starts) * len(fronts)))
                self.measure([self.selection(front, point) for point in points])
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

    def absolute(self, budget: Budget) -> Budget:
        """A budget with bytes for shares."""
        others = tuple(map(self.absolute, budget.others))
        if not budget.share:
            return replace(budget, others=others)
        whole = self.known[self.uniform(self.levels[0])].spent(budget.kind)
        return Budget(budget.kind, float(int(budget.value * whole)), others=others)

    def nearest(self, budget: Budget) -> Selection:
        """The level for all layers that spends most nearly the budget; of those with its weights that of the most bits
        of activations: what a layer alone gains by more, its neighbours of fewer lose again.
        """
        near = min(
            self.levels, key=lambda one: abs(self.known[self.uniform(one)].spent(budget.kind) - budget.value)
        )
        return self.uniform(next(one for one in self.levels if _alike(one, near, 0)))

    def meet(self, layers: Sequence[LayerSensitivity], budget: Budget) -> None:
        """Measure the selections that by the layers' losses are the best within a budget."""
        if budget.kind == "latency":
            self.meet_latency(layers, budget)
            return
        if budget.kind == "arena":
            self.meet_arena(layers, budget)
            return
        for allowed in self.alternatives():
            front = self.front(layers, [layer.weight_bytes for layer in layers], allowed)
            if budget.kind == "points":
                self.meet_points(front, budget)
            else:
                self.meet_bytes(front, budget)

    def alternatives(self) -> list[Collection[Level]]:
        """Levels to search among: all, and those of the fewest bits of activations where levels differ in these: more
        take no more bytes of the file, but memory and time.
        """
        few = min(parts_of(level)[1] or 0 for level in self.levels)
        narrow = tuple(level for level in self.levels if (parts_of(level)[1] or 0) == few)
        return list(dict.fromkeys((self.levels, narrow)))

    def front(
        self,
        layers: Sequence[LayerSensitivity],
        costs: Sequence[Mapping[Level, int]],
        allowed: Collection[Level] | None = None,
    ) -> Front:
        """The exact front of the layers' losses; costs: of each layer at each level; allowed: levels, all by default."""
        barred = {b: 0 if allowed is None or b in allowed else _BARRED for b in self.levels}
        return pareto_front(
            [
                [
                    Option(cost[b] + barred[b], round(layer.loss[b] / LOSS_STEP) + barred[b])
                    for b in self.levels
                ]
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

        def lowered(k: int, bits: Level) -> Selection:
            return (*selection[:k], bits, *selection[k + 1 :])

        alone = [lowered(k, bits) for k, own in enumerate(selection) for bits in self.levels if bits != own]
        others = tuple(map(self.recipe, alone))
        work = [Work(recipe, fold, others) for fold in range(len(self.task.folds))]
        parts = self.trials(work, "layers around " + bits_text(selection))
        tried = {one: i for i, one in enumerate((selection, *alone))}
        weight_bytes = parts[0].weight_bytes
        operators = layer_operators(self.known[self.uniform(self.levels[0])].trial.model)
        result = []
        for k, name in enumerate(self.names):
            numbers = {bits: tried[lowered(k, bits)] for bits in self.levels}
            result.append(
                LayerSensitivity(
                    name,
                    self.kinds[name],
                    operators[name],
                    {bits: weight_bytes[i][k] for bits, i in numbers.items()},
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
        times = self.costs({bits: one.operators for bits, one in profiles.items()})
        rest = profiles[self.levels[0]].latency - sum(layer[self.levels[0]] for layer in times)
        front = self.front(layers, times)
        points = {front.within(int(budget.value * part - rest)) for part in (1.0, 0.97, 0.94, 0.9)}
        points.add(0)
        self.measure([self.selection(front, p) for p in sorted(p for p in points if p is not None)])

    def costs(self, operators: Mapping[Level, Sequence[float]]) -> list[dict[Level, int]]:
        """Of each layer at each level, with the operators without weights that follow it: the sum over these of what
        ``operators`` has for those of the network with this level in all layers.
        """
        runs = {bits: _runs(self.known[self.uniform(bits)].trial.model, self.names) for bits in self.levels}
        return [
            {bits: round(sum(operators[bits][j] for j in runs[bits][name])) for bits in self.levels}
            for name in self.names
        ]

    def meet_arena(self, layers: Sequence[LayerSensitivity], budget: Budget) -> None:
        """Measure selections along the front over the bytes that layers write, halving it by what their arenas are: an
        arena grows with these, but is no sum.
        """
        models = {bits: self.known[self.uniform(bits)].trial.model for bits in self.levels}
        written = {b: [port_bytes(o.output) for o in load_nyb(m).layers()] for b, m in models.items()}
        front = self.front(layers, self.costs(written))
        low, high = 0, len(front) - 1
        self.measure([self.selection(front, low), self.selection(front, high)])
        if _within(self.known[self.selection(front, high)], budget):
            return
        for _ in range(_HALVINGS):
            middle = (low + high) // 2
            if middle == low:
                break
            selection = self.selection(front, middle)
            self.measure([selection])
            if _within(self.known[selection], budget):
                low = middle
            else:
                high = middle

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
        usual = self.usual()

        def place(selection: Selection) -> tuple[int, int, bool, list[int]]:
            # Of two that are one network (outputs keep 8 bits where the last layer has 4), one level for all comes first.
            one = self.known[selection]
            return -len(one.trial.model), one.loss, selection not in usual, [places[b] for b in selection]

        order = [(selection, self.known[selection]) for selection in sorted(self.known, key=place)]
        found = []
        mixed = 0
        for selection, one in order:
            predicted = base + sum(layer.loss[b] for layer, b in zip(layers, selection, strict=True))
            if selection in usual:
                end, inner = selection[0], selection[len(selection) // 2]
                few, many = level_name(inner), level_name(end)
                name = few if inner == end else f"{few} ends {many if parts_of(end)[1] else end}"
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
        every = found
        found = [c for c in every if all(_within(self.known[c.bits], other) for other in budget.others)]
        within = [c for c in found if _within(self.known[c.bits], budget)]
        if not within:
            nearest = min(found or every, key=lambda c: (self.known[c.bits].spent(budget.kind), c.file_bytes))
            what = (
                f"loses at most {budget.value:g} points"
                if budget.kind == "points" and not budget.others
                else f"meets the budget {budget}"
            )
            raise QuantizationError(
                f"no candidate {what}; the nearest is {nearest.name}:\n{text_table(*candidate_rows(every))}"
            )
        if budget.kind != "points":
            return min(within, key=lambda c: (c.loss, c.file_bytes))
        # Downwards, until a loss is too high: a smaller one that happens to be better was lucky.
        order = sorted(found, key=lambda c: (c.loss, c.file_bytes))
        sure = list(itertools.takewhile(lambda c: c in within, order))
        return min(sure or within, key=lambda c: (c.file_bytes, c.loss))


def _alike(a: Level, b: Level, part: int) -> bool:
    """Whether levels have equal weights (part 0), or activations (1)."""
    return parts_of(a)[part] == parts_of(b)[part]


def _runs(model: bytes, names: Sequence[str]) -> dict[str, list[int]]:
    """The operators of each layer of a model and those without weights that follow it, whose bits its are."""
    runs: dict[str, list[int]] = {name: [] for name in names}
    own = {j: name for name, places in layer_operators(model).items() for j in places}
    name = None
    for j in range(len(load_nyb(model).layers())):
        name = own.get(j, name)
        if name is not None:
            runs[name].append(j)
    return runs


def _within(one: _Measured, budget: Budget) -> bool:
    return one.spent(budget.kind) <= budget.value + 1e-9


def _beats(a: Candidate, b: Candidate) -> bool:
    """Whether a has as little of everything as b, and less of something."""
    faster = a.latency < b.latency * (1 - LATENCY_NOISE)
    slower = b.latency < a.latency * (1 - LATENCY_NOISE)
    mine, theirs = ((c.loss, c.file_bytes, c.activation_bytes) for c in (a, b))
    as_good = all(x <= y for x, y in zip(mine, theirs, strict=True)) and not slower
    return as_good and (mine != theirs or faster)
