# SPDX-License-Identifier: Apache-2.0
"""One recipe tried: quantized, run on the integer core, and its distance from the float network.

A trial is a pure function of its arguments, so that processes and machines can share the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..convert import convert_graph, producer
from ..graph import Array
from ..ops.exact import exact_sum, exp, log
from ..quantize.apply import Progress, assemble, quantize_graph, quantize_levels
from ..quantize.recipe import Recipe
from ..session import Port, Session, load_nyb
from .intervals import paired_counts
from .task import Part, Task, before_softmax

#: Losses are whole numbers of this, so that sums are exact and equal on every machine.
LOSS_STEP = 1e-6

#: Samples that a session runs at a time.
_BATCH = 64

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """Of ``count`` samples: where the largest element of the first output is the float network's (``same``) and
    the label's (``right``); of the float network's right ones those that are wrong here (``lost``), and the
    reverse (``gained``). None where there are no classes or labels.
    """

    count: int
    same: int | None
    right: int | None = None
    lost: int | None = None
    gained: int | None = None

    def __add__(self, other: Score) -> Score:
        """Of the samples of both."""
        mine = (self.same, self.right, self.lost, self.gained)
        theirs = (other.same, other.right, other.lost, other.gained)
        sums = (None if a is None or b is None else a + b for a, b in zip(mine, theirs, strict=True))
        return Score(self.count + other.count, *sums)

    def points_lost(self) -> float | None:
        """Hundredths of the samples lost against the float network: right answers less, or, without labels, other
        answers. None where there are no classes.
        """
        if self.lost is not None and self.gained is not None:
            return 100 * (self.lost - self.gained) / self.count
        return None if self.same is None else 100 * (self.count - self.same) / self.count

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the points lost, paired; None without labels."""
        if self.right is None or self.lost is None or self.gained is None:
            return None
        both = self.right - self.gained
        neither = self.count - self.right - self.lost
        found = paired_counts(both, self.lost, self.gained, neither)
        return -100 * found.high, -100 * found.low


@dataclass(frozen=True)
class Work:
    """A recipe to try. fold: on the samples of that fold, solved on the others (Task.fold); None: solved on all
    samples, for the model's file and its score on the test samples. others: recipes that differ from it in the level of
    one layer, to be measured with the weights as they are solved in the network of the recipe.
    """

    recipe: Recipe
    fold: int | None
    others: tuple[Recipe, ...] = ()


@dataclass(frozen=True)
class Trial:
    """What came of a piece of work.

    losses: in LOSS_STEP (see :func:`loss_of`), of the recipe's network and of the others; none where the file is asked
    for. weight_bytes: of the same, per layer (Task.layers). score: of the recipe's network;
    None where there are no test samples. model: its file.
    """

    losses: tuple[int, ...]
    weight_bytes: tuple[tuple[int, ...], ...]
    score: Score | None
    model: bytes = b""

    def document(self) -> dict[str, Any]:
        """As JSON values, without the model."""
        s = self.score
        return {
            "losses": self.losses,
            "weight_bytes": self.weight_bytes,
            "score": None if s is None else [s.count, s.same, s.right, s.lost, s.gained],
        }

    @staticmethod
    def of(document: Mapping[str, Any], model: bytes) -> Trial:
        """The trial of a document."""
        weight_bytes = tuple(tuple(one) for one in document["weight_bytes"])
        found = document["score"]
        return Trial(tuple(document["losses"]), weight_bytes, None if found is None else Score(*found), model)


def _log_softmax(scores: Float64) -> Float64:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - log(exact_sum(exp(shifted), (-1,))))


def loss_of(wanted: Array, found: Array, classes: bool) -> float:
    """How far answers [N, ...] are from those of the float network; 0 where they are equal.

    Scores of classes: the Kullback-Leibler divergence of the softmax of ``found`` from that of ``wanted``
    in nats, the mean over samples. Others: the power of the difference over the power of ``wanted``
    (1 / SNR).
    """
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    if not classes:
        power = math.fsum((a * a).reshape(-1))
        noise = math.fsum(((a - b) ** 2).reshape(-1))
        return noise / power if power else float(noise > 0)
    p, q = _log_softmax(a), _log_softmax(b)
    rows = math.prod(p.shape[:-1])
    return max(math.fsum((exp(p) * (p - q)).reshape(-1)) / rows, 0.0)


def run_batches(session: Session, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """The answers of a session to float32 samples, per output [N, *shape]."""
    return _run_integers(session, _integer_batches(session.inputs, inputs))


def _integer_batches(ports: Sequence[Port], inputs: Sequence[Array]) -> Iterator[list[Array]]:
    """Float32 samples as the integers of a session's inputs, some samples at a time."""
    for first in range(0, len(inputs[0]), _BATCH):
        batch = (array[first : first + _BATCH] for array in inputs)
        yield [port.quantize(x) for port, x in zip(ports, batch, strict=True)]


def _run_integers(session: Session, batches: Iterable[list[Array]]) -> tuple[Array, ...]:
    columns = zip(*map(session.run, batches), strict=True)
    return tuple(
        port.dequantize(np.concatenate(column)) for port, column in zip(session.outputs, columns, strict=True)
    )


def largest(answers: Array) -> Array:
    """The number of the largest element of each sample, [N]."""
    return np.asarray(answers.reshape(len(answers), -1).argmax(axis=1))


def score(found: Array, part: Part, classes: bool) -> Score:
    """Count the samples that are answered as the float network does, and rightly. found: [N, ...]."""
    here, there = largest(found), largest(part.answers[0])
    same = int((here == there).sum()) if classes else None
    if part.labels is None:
        return Score(len(part), same)
    right, before = here == part.labels, there == part.labels
    return Score(
        len(part), same, int(right.sum()), int((before & ~right).sum()), int((right & ~before).sum())
    )


def try_work(task: Task, work: Work, progress: Progress | None = None) -> tuple[Trial, str]:
    """(what comes of a piece of work, who computed it).

    Raises what quantize_graph and convert_graph raise.
    """
    return (_build if work.fold is None else _measure)(task, work, progress), producer()


def _build(task: Task, work: Work, progress: Progress | None) -> Trial:
    """The model of a recipe."""
    graph = task.prepared(work.recipe)
    ranges = task.observed(graph, work.recipe)
    model = convert_graph(quantize_graph(graph, ranges, work.recipe, task.samples, progress))
    session = load_nyb(model)
    test = task.test
    found = None if test is None else score(run_batches(session, test.inputs)[0], test, task.classes[0])
    return Trial((), (_weight_bytes(task, session),), found, model)


def _measure(task: Task, work: Work, progress: Progress | None) -> Trial:
    """Losses on a fold. One pass over the other samples solves all layers at all levels."""
    assert work.fold is not None
    samples, part = task.fold(work.fold)
    prepared = task.prepared(work.recipe)
    levels = dict.fromkeys(level for other in work.others for level in other.levels(prepared).values())
    ranges = task.observed(prepared, work.recipe)
    graph, solved = quantize_levels(prepared, ranges, work.recipe, tuple(levels), samples, progress)
    losses, weight_bytes, scores = [], [], []
    batches: dict[tuple[Port, ...], list[list[Array]]] = {}
    for recipe in (work.recipe, *work.others):
        if recipe is not work.recipe:
            prepared = task.prepared(recipe)
            graph = assemble(prepared, task.estimated(prepared, recipe), recipe, solved)
        session = load_nyb(convert_graph(before_softmax(graph), golden=False))
        if session.inputs not in batches:  # most recipes give the inputs the same integers
            batches = {session.inputs: list(_integer_batches(session.inputs, part.inputs))}
        answers = _run_integers(session, batches[session.inputs])
        loss = math.fsum(map(loss_of, part.answers, answers, task.classes))
        losses.append(round(loss / LOSS_STEP))
        weight_bytes.append(_weight_bytes(task, session))
        scores.append(score(answers[0], part, task.classes[0]))
    return Trial(tuple(losses), tuple(weight_bytes), scores[0])


def _weight_bytes(task: Task, session: Session) -> tuple[int, ...]:
    sizes = dict.fromkeys(task.layers, 0)
    for layer in session.layers():
        if layer.weight_bytes:
            sizes[layer.name] += layer.weight_bytes
    return tuple(sizes.values())
