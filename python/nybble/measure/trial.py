# SPDX-License-Identifier: Apache-2.0
"""One recipe tried: quantized, run on the integer core, and its distance from the float network.

A trial is a pure function of its arguments, so that processes and machines can share the work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import ops
from ..convert import convert_graph, producer
from ..graph import Array, Graph
from ..ops.exact import exact_sum, exp, log
from ..quantize.apply import quantize_graph
from ..quantize.parameters import Range
from ..quantize.recipe import Recipe
from ..session import Session, load_nyb
from .intervals import paired_counts

#: Losses are whole numbers of this, so that sums are exact and equal on every machine.
LOSS_STEP = 1e-6

#: Samples that a session runs at a time.
_BATCH = 64

Float64 = npt.NDArray[np.float64]


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


@dataclass(frozen=True, eq=False)
class Task:
    """What all trials of a network share.

    graph: float, prepared; ranges: of its activations; samples: that it is calibrated on. classes: per output,
    whether its last axis holds scores of classes. calibration: samples that decide; test: samples that are
    reported on, by which nothing is decided.
    """

    graph: Graph
    ranges: Mapping[str, Range]
    samples: tuple[Array, ...]
    classes: tuple[bool, ...]
    calibration: Part
    test: Part | None


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
class Trial:
    """What came of a recipe.

    loss: in LOSS_STEP: see :func:`loss_of`. weight_bytes: per operator of the model. model: its file,
    empty where only the loss was asked for; calibration and test then are None.
    """

    loss: int
    weight_bytes: tuple[int, ...]
    model: bytes = b""
    calibration: Score | None = None
    test: Score | None = None

    def document(self) -> dict[str, Any]:
        """As JSON values, without the model."""
        scores = {"calibration": self.calibration, "test": self.test}
        return {
            "loss": self.loss,
            "weight_bytes": list(self.weight_bytes),
            **{
                name: None if s is None else [s.count, s.same, s.right, s.lost, s.gained]
                for name, s in scores.items()
            },
        }

    @staticmethod
    def of(document: Mapping[str, Any], model: bytes) -> Trial:
        """The trial of a document."""
        calibration, test = (
            None if document[name] is None else Score(*document[name]) for name in ("calibration", "test")
        )
        return Trial(document["loss"], tuple(document["weight_bytes"]), model, calibration, test)


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
    parts = []
    for first in range(0, len(inputs[0]), _BATCH):
        answer = session(*(array[first : first + _BATCH] for array in inputs))
        parts.append(answer if isinstance(answer, tuple) else (answer,))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


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


def try_level(task: Task, level: Recipe | Graph, whole: bool) -> tuple[Trial, str]:
    """(what comes of a recipe, or of an integer graph made with one, who computed it). whole: with the model's file
    and scores, not the loss alone.

    Raises what quantize_graph and convert_graph raise.
    """
    graph = (
        level if isinstance(level, Graph) else quantize_graph(task.graph, task.ranges, level, task.samples)
    )
    session = load_nyb(convert_graph(before_softmax(graph), golden=False))
    answers = run_batches(session, task.calibration.inputs)
    losses = [
        loss_of(wanted, found, classes)
        for wanted, found, classes in zip(task.calibration.answers, answers, task.classes, strict=True)
    ]
    loss = round(math.fsum(losses) / LOSS_STEP)
    weight_bytes = tuple(layer.weight_bytes for layer in session.layers())
    if not whole:
        return Trial(loss, weight_bytes), producer()
    model = convert_graph(graph)
    session = load_nyb(model)
    calibration, test = (
        None if part is None else score(run_batches(session, part.inputs)[0], part, task.classes[0])
        for part in (task.calibration, task.test)
    )
    return Trial(loss, weight_bytes, model, calibration, test), producer()
