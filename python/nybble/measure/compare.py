# SPDX-License-Identifier: Apache-2.0
"""How far two models are from each other: both are run on the same samples, nothing is simulated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..graph import Array
from ..quantize.samples import Data
from .dataset import Dataset, open_dataset
from .evaluate import checked_labels, count_text, holds_classes
from .intervals import Paired, paired
from .runner import Model, Runner, open_runner


@dataclass(frozen=True)
class OutputError:
    """One output of the second model against the first's.

    snr_db: 10 log10 of the sum of squares of the first over that of the difference, infinite where
    they are equal. cosine: of the two as vectors of all samples. largest: magnitude of the largest
    difference of two elements. same of count: samples (or positions) whose largest element along the
    last axis is the same one; equal integers for integer outputs; count is 0 where an output has one
    element only.
    """

    name: str
    snr_db: float
    cosine: float
    largest: float
    same: int
    count: int

    @property
    def agreement(self) -> float | None:
        """``same`` of ``count`` as a share; None where nothing was counted."""
        return self.same / self.count if self.count else None

    def __str__(self) -> str:
        text = f"SNR {self.snr_db:.1f} dB, cosine {self.cosine:.5f}, largest difference {self.largest:.3g}"
        return text + (f", top-1 agreement {count_text(self.same, self.count)}" if self.count else "")


@dataclass(frozen=True)
class Comparison:
    """The second model against the first on ``samples`` samples.

    first, second: their names; first_how, second_how: what computed them. paired: how many samples each
    had right, and the 95 % interval of the difference; None without labels.
    """

    first: str
    second: str
    first_how: str
    second_how: str
    samples: int
    outputs: tuple[OutputError, ...]
    paired: Paired | None = None
    note: str = ""

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """Shares of samples where the largest element of the first output is the label's; None without labels."""
        pairs = self.paired
        return None if pairs is None else (pairs.first / pairs.count, pairs.second / pairs.count)

    def lines(self) -> list[str]:
        """The figures as text."""
        lines = [f"{output.name!r}: {output}" for output in self.outputs]
        if self.paired is not None:
            lines += paired_lines(self.paired)
        return [*lines, self.note] if self.note else lines

    def __str__(self) -> str:
        head = f"{self.second} ({self.second_how}) against {self.first} ({self.first_how}), {self.samples} samples"
        return "\n".join([head, *(f"  {line}" for line in self.lines())])

    def document(self) -> Mapping[str, Any]:
        """JSON values. An infinite ratio is null, and ``equal`` true."""
        result: dict[str, Any] = {
            "first": {"model": self.first, "computed": self.first_how},
            "second": {"model": self.second, "computed": self.second_how},
            "samples": self.samples,
            "outputs": [
                {
                    "name": one.name,
                    "equal": one.snr_db == math.inf,
                    "snr_db": one.snr_db if math.isfinite(one.snr_db) else None,
                    "cosine": one.cosine,
                    "largest_difference": one.largest,
                    "same": one.same,
                    "count": one.count,
                }
                for one in self.outputs
            ],
        }
        if self.note:
            result["note"] = self.note
        if self.paired is not None:
            pairs = self.paired
            result["accuracy"] = {
                "first_right": pairs.first,
                "second_right": pairs.second,
                "lost": pairs.lost,
                "gained": pairs.gained,
                "difference": pairs.difference,
                "interval95": [pairs.low, pairs.high],
                "mcnemar_p": pairs.p,
            }
        return result


def paired_lines(pairs: Paired) -> list[str]:
    """What both had right, and how sure the difference is, as text."""
    return [
        f"accuracy {count_text(pairs.second, pairs.count)}; was {count_text(pairs.first, pairs.count)}",
        f"difference {100 * pairs.difference:+.2f} points, 95 % interval {100 * pairs.low:+.2f} to "
        f"{100 * pairs.high:+.2f}; {pairs.lost} lost, {pairs.gained} gained (McNemar p = {pairs.p:.3g})",
    ]


class Tally:
    """Sums over samples of the difference of two arrays."""

    def __init__(self) -> None:
        self.signal = self.noise = self.power = self.product = self.largest = 0.0
        self.same = self.count = 0

    def add(self, wanted: Array, found: Array) -> None:
        """Add [N, ...] of the first and of the second model."""
        if wanted.dtype.kind != "f" or found.dtype.kind != "f":
            self.same += int((wanted == found).sum())
            self.count += wanted.size
        elif wanted.ndim and wanted.shape[-1] > 1:
            largest = wanted.argmax(axis=-1) == found.argmax(axis=-1)
            self.same += int(largest.sum())
            self.count += largest.size
        a, b = wanted.astype(np.float64), found.astype(np.float64)
        difference = a - b
        self.signal += float((a * a).sum())
        self.power += float((b * b).sum())
        self.product += float((a * b).sum())
        self.noise += float((difference * difference).sum())
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0.0)))

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio in dB."""
        return ratio_db(self.signal, self.noise)

    @property
    def cosine(self) -> float:
        """Of the two as vectors; 1 where they are equal, 0 where one of them is zero."""
        if not self.noise:
            return 1.0
        both = math.sqrt(self.signal) * math.sqrt(self.power)
        return self.product / both if both else 0.0

    def result(self, name: str) -> OutputError:
        """The figures."""
        return OutputError(name, self.snr_db, self.cosine, self.largest, self.same, self.count)


def ratio_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise); infinite where there is no noise."""
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def compare(
    first: Model,
    second: Model,
    data: Data,
    labels: npt.ArrayLike | None = None,
    *,
    classes: Sequence[str] = (),
    pixels: tuple[float, float] | None = None,
) -> Comparison:
    """Run two models on the same samples: the second is measured against the first.

    first, second, data, labels, classes, pixels: as nybble.evaluate takes them; labels may be absent.
    Integers are those of either model; the other one gets the real numbers that they stand for.

    Raises what nybble.evaluate raises, and ValueError where the models have different inputs or outputs.
    """
    runners = [open_runner(first), open_runner(second)]
    dataset = open_dataset(data, runners, labels=labels, classes=classes, pixels=pixels)
    return compare_runners(runners[0], runners[1], dataset, strict=labels is not None)


def compare_runners(first: Runner, second: Runner, dataset: Dataset, *, strict: bool = False) -> Comparison:
    """The same for runners and a dataset that are open already.

    strict: labels must be class numbers; else they are left aside where the models give no classes, or
    where they are no integers.
    """
    sizes = [[int(np.prod(p.shape, dtype=np.int64)) for p in r.outputs] for r in (first, second)]
    if sizes[0] != sizes[1]:
        shapes = [" ".join(str(p.shape) for p in r.outputs) for r in (first, second)]
        raise ValueError(
            f"expected outputs of equal size, found {first.name}: {shapes[0]}, {second.name}: {shapes[1]}"
        )
    given = dataset.labels
    note = ""
    if given is not None and not strict and holds_classes(first) and given.dtype.kind not in "iu":
        note = f"accuracy not counted: expected an integer for each label, found {given.dtype} {given.shape}"
    usable = given is not None and given.dtype.kind in "iu" and holds_classes(first)
    labels = checked_labels(first, dataset) if given is not None and (strict or usable) else None
    tallies = [Tally() for _ in first.outputs]
    right: list[list[Array]] = [[], []]
    done = 0
    for batch, other in zip(dataset.batches(first), dataset.batches(second), strict=True):
        answers = (first.run(batch), second.run(other))
        for tally, wanted, found in zip(tallies, *answers, strict=True):
            tally.add(wanted, found.reshape(wanted.shape))
        count = len(batch[0])
        if labels is not None:
            for hits, outputs in zip(right, answers, strict=True):
                predicted = outputs[0].reshape(count, -1).argmax(axis=1)
                hits.append(predicted == labels[done : done + count])
        done += count
    return Comparison(
        first.name,
        second.name,
        first.how,
        second.how,
        dataset.count,
        tuple(t.result(port.name) for t, port in zip(tallies, first.outputs, strict=True)),
        None if labels is None else paired(np.concatenate(right[0]), np.concatenate(right[1])),
        note,
    )
