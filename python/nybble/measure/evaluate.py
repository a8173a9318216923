# SPDX-License-Identifier: Apache-2.0
"""Is it right? A model on labelled samples: counts, top-k, confusion, and how far the counts can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..graph import Array
from ..quantize.samples import Data
from .dataset import Dataset, open_dataset
from .intervals import wilson
from .outputs import is_classes
from .runner import Model, Runner, open_runner

#: What a hook computes: from the outputs [N, *shape] of all samples (float32 where they are real) and the labels
#: (None where there are none), one number or several by name.
Metric: TypeAlias = "Callable[[Sequence[Array], Array | None], float | Mapping[str, float]]"


@dataclass(frozen=True)
class ClassResult:
    """One class: its samples, and how many of them had it as their largest score."""

    number: int
    name: str
    samples: int
    right: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share (Wilson)."""
        return wilson(self.right, self.samples)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A model on samples.

    model: its name; how: what computed it ('integer core', or 'float32, numpy'). classes: how many scores
    the first output has, 0 where only a metric was asked for; names: of the classes, if known.
    labels, predictions: class numbers [N]; ranks: [N], how many classes scored higher than the label's
    (the lower class number first among equals). top: the k of top-k. metrics: what the hook gave.
    rule: how labels became class numbers.
    """

    model: str
    how: str
    samples: int
    classes: int
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    top: tuple[int, ...]
    metrics: Mapping[str, float]
    rule: str = ""

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """[N]: whether the largest score is the label's."""
        return np.asarray(self.ranks == 0)

    @property
    def right(self) -> int:
        """Samples whose largest score is the label's."""
        return self.right_in_top(1)

    @property
    def accuracy(self) -> float:
        """``right`` of ``samples`` as a share."""
        return self.right / self.samples

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson)."""
        return wilson(self.right, self.samples)

    def right_in_top(self, k: int) -> int:
        """Samples whose label is among the k largest scores."""
        return int((self.ranks < k).sum())

    def confusion(self) -> npt.NDArray[np.int64]:
        """[classes, classes]: samples by label (row) and prediction (column)."""
        places = self.labels * self.classes + self.predictions
        counts = np.bincount(places, minlength=self.classes * self.classes)
        return counts.reshape(self.classes, self.classes).astype(np.int64)

    def name_of(self, number: int) -> str:
        """The name of a class, '' where nobody said."""
        return self.names[number] if number < len(self.names) else ""

    def per_class(self) -> list[ClassResult]:
        """Every class that has samples, in order of number."""
        counts = np.bincount(self.labels, minlength=self.classes)
        right = np.bincount(self.labels[self.correct], minlength=self.classes)
        return [
            ClassResult(i, self.name_of(i), int(counts[i]), int(right[i]))
            for i in np.flatnonzero(counts).tolist()
        ]

    def mistakes(self) -> list[tuple[int, int, int]]:
        """(label, prediction, samples) of every kind of mistake, the most frequent first."""
        matrix = self.confusion()
        np.fill_diagonal(matrix, 0)
        found = [(int(i), int(j), int(matrix[i, j])) for i, j in np.argwhere(matrix)]
        return sorted(found, key=lambda one: (-one[2], one[0], one[1]))

    def document(self, *, confusion: bool = False) -> Mapping[str, Any]:
        """JSON values."""
        result: dict[str, Any] = {"model": self.model, "computed": self.how, "samples": self.samples}
        if self.classes:
            low, high = self.interval
            result |= {
                "classes": self.classes,
                "labels_from": self.rule,
                "right": self.right,
                "accuracy": self.accuracy,
                "interval95": [low, high],
                "top": {str(k): self.right_in_top(k) for k in self.top},
                "per_class": [
                    {"class": c.number, "name": c.name, "samples": c.samples, "right": c.right}
                    for c in self.per_class()
                ],
            }
            if confusion:
                result["confusion"] = self.confusion().tolist()
        if self.metrics:
            result["metrics"] = dict(self.metrics)
        return result

    def __str__(self) -> str:
        lines = [f"{self.model} ({self.how})"]
        if self.classes:
            low, high = self.interval
            lines += [f"top-{k}: {count_text(self.right_in_top(k), self.samples)}" for k in self.top]
            lines.append(f"95 % interval of the accuracy: {100 * low:.1f} to {100 * high:.1f} %")
        lines += [f"{name}: {value:.6g}" for name, value in self.metrics.items()]
        return "\n".join(lines)


def count_text(right: int, count: int) -> str:
    """'881 of 1000, 88.1 %'."""
    return f"{right} of {count}, {100 * right / count:.1f} %"


def evaluate(
    model: Model,
    data: Data,
    *,
    labels: npt.ArrayLike | None = None,
    top: Sequence[int] = (1, 5),
    metric: Metric | None = None,
    classes: Sequence[str] = (),
    pixels: tuple[float, float] | None = None,
) -> Evaluation:
    """Run a model on labelled samples and count what is right.

    model: a path, bytes, graph or session: a .nyb or quantized .tflite or .onnx model runs on the integer core,
    a float network in numpy; sizes that an .onnx network leaves open are those of the samples. data: a folder
    with a folder of images for each class, or with images and labels.csv (lines ``file,class``); a .npz with
    ``x`` and ``y``, or arrays as quantize takes them: float32 [N, ...] as the source network takes them, or the
    model's own integers. labels: class numbers [N], instead of the data's. top: the k of top-k. metric: a
    function of (outputs, labels), see Metric; with it, labels may be anything or absent, and are counted as
    classes where they can be. classes: names of the classes in order, to which folders are matched; the
    model's own otherwise. pixels: what 0 and 255 of an image become, instead of what the model says.

    Raises OSError, ModelError, UnsupportedError, and TypeError or ValueError where something does not fit.
    """
    runner = open_runner(model, data=data)
    dataset = open_dataset(data, [runner], labels=labels, classes=classes, pixels=pixels)
    return evaluate_runner(runner, dataset, top=top, metric=metric)


def evaluate_runner(
    runner: Runner, dataset: Dataset, *, top: Sequence[int] = (1, 5), metric: Metric | None = None
) -> Evaluation:
    """The same for a runner and a dataset that are open already."""
    if not top or any(k < 1 for k in top):
        raise ValueError(f"expected k of top-k of at least 1, found {', '.join(map(str, top)) or 'none'}")
    counted = metric is None or is_class_numbers(dataset.labels, runner)
    numbers = checked_labels(runner, dataset) if counted else np.empty(0, np.int64)
    kept: list[list[Array]] = []
    predictions: list[Array] = []
    ranks: list[Array] = []
    done = 0
    for batch in dataset.batches(runner):
        outputs = runner.run(batch)
        size = len(batch[0])
        if counted:
            scores = outputs[0].reshape(size, -1)
            predictions.append(scores.argmax(axis=1))
            ranks.append(label_ranks(scores, numbers[done : done + size]))
        if metric is not None:
            kept.append(outputs)
        done += size
    classes = class_count(runner) if counted else 0
    metrics: Mapping[str, float] = {}
    if metric is not None:
        joined = [np.concatenate(column) for column in zip(*kept, strict=True)]
        value = metric(joined, dataset.labels)
        name = getattr(metric, "__name__", "metric")
        metrics = dict(value) if isinstance(value, Mapping) else {name: float(value)}
    empty = np.empty(0, np.int64)
    return Evaluation(
        runner.name,
        runner.how,
        dataset.count,
        classes,
        dataset.classes or runner.labels,
        numbers,
        np.concatenate(predictions).astype(np.int64) if counted else empty,
        np.concatenate(ranks).astype(np.int64) if counted else empty,
        tuple(k for k in dict.fromkeys(top) if k == 1 or k < classes),
        metrics,
        dataset.rule,
    )


def label_ranks(scores: Array, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For every sample how many classes come before its label's, by score [N, classes], then by number."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < labels[:, None]))
    result: npt.NDArray[np.int64] = before.sum(axis=1)
    return result


def class_count(runner: Runner) -> int:
    """How many scores the first output has. Raises ValueError where it is no vector of at least two."""
    port = runner.outputs[0]
    if not holds_classes(runner):
        raise ValueError(
            f"{runner.name}: output {port.name!r} of shape {port.shape} holds no scores of classes "
            "(expected one vector of at least two); a metric of your own can judge it"
        )
    return max(port.shape)


def holds_classes(runner: Runner) -> bool:
    """Whether the first output is one vector of at least two scores."""
    return is_classes(runner.outputs[0])


def is_class_numbers(labels: Array | None, runner: Runner) -> bool:
    """Whether labels could be class numbers of a runner's first output."""
    return (
        labels is not None
        and labels.dtype.kind in "iu"
        and labels.size == len(labels)
        and holds_classes(runner)
        and int(labels.min()) >= 0
        and int(labels.max()) < class_count(runner)
    )


def checked_labels(runner: Runner, dataset: Dataset) -> npt.NDArray[np.int64]:
    """The class number of every sample. Raises ValueError where there are none or they do not fit."""
    classes = class_count(runner)
    if dataset.labels is None:
        raise ValueError(
            "expected labels to count what is right (y in a .npz, or labels), found none; "
            "nybble compare measures without labels"
        )
    labels = np.asarray(dataset.labels).reshape(-1)
    if labels.dtype.kind not in "iu" or labels.size != dataset.count:
        raise ValueError(f"expected {dataset.count} integer labels, found {labels.size} of {labels.dtype}")
    if dataset.rule == "folders in order of name" and len(dataset.classes) != classes:
        raise ValueError(
            f"{runner.name} has {classes} classes, the folders are {len(dataset.classes)} and the model "
            "names none: call the folders by class number, or name the classes in order (--labels FILE)"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise ValueError(
            f"{runner.name} has {classes} classes, 0..{classes - 1}; {wrong.size} of {labels.size} labels are "
            f"outside, the first {int(labels[wrong[0]])} (sample {int(wrong[0])})"
        )
    return labels.astype(np.int64)
