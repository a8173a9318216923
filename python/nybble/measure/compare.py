# SPDX-License-Identifier: Apache-2.0
"""How far the integer network is from the float one: both are run, nothing is simulated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import Array, Graph, evaluate_outputs
from ..quantize.samples import Data, read_samples
from ..session import Session

#: Samples that the session runs at a time.
_BATCH = 64


@dataclass(frozen=True)
class OutputError:
    """One output: its signal-to-noise ratio against the float network in dB, infinite where they
    are equal.

    agreement: share of samples (or positions) whose largest element along the last axis is the same
    one; of equal integers for integer outputs; None where an output has one element only.
    """

    name: str
    snr_db: float
    agreement: float | None


@dataclass(frozen=True)
class Comparison:
    """An integer network against its float network on ``samples`` samples.

    Accuracies are the shares of samples where the largest element of the first output is the
    label's; None without labels.
    """

    samples: int
    outputs: tuple[OutputError, ...]
    float_accuracy: float | None = None
    integer_accuracy: float | None = None

    def __str__(self) -> str:
        lines = []
        for output in self.outputs:
            line = f"{output.name}: SNR {output.snr_db:.1f} dB"
            if output.agreement is not None:
                line += f", top-1 agreement {output.agreement:.2%}"
            lines.append(f"{line} ({self.samples} samples)")
        if self.float_accuracy is not None and self.integer_accuracy is not None:
            lines.append(f"accuracy: float {self.float_accuracy:.2%}, integer {self.integer_accuracy:.2%}")
        return "\n".join(lines)


class _Tally:
    """Sums over samples of one output."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.signal = self.noise = 0.0
        self.same = self.count = 0
        self.classes = 0

    def add(self, wanted: Array, found: Array) -> None:
        if wanted.dtype.kind != "f" or found.dtype.kind != "f":
            self.same += int((wanted == found).sum())
            self.count += wanted.size
        elif wanted.ndim and wanted.shape[-1] > 1:
            largest = wanted.argmax(axis=-1) == found.argmax(axis=-1)
            self.same += int(largest.sum())
            self.count += largest.size
        difference = wanted.astype(np.float64) - found
        self.signal += float((wanted.astype(np.float64) ** 2).sum())
        self.noise += float((difference**2).sum())

    def result(self) -> OutputError:
        snr = math.inf
        if self.noise:
            snr = 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf
        return OutputError(self.name, snr, self.same / self.count if self.count else None)


def _checked_labels(labels: npt.ArrayLike, count: int) -> Array:
    array = np.asarray(labels).reshape(-1)
    if array.dtype.kind not in "iu" or array.size != count:
        raise ValueError(f"expected {count} integer labels, found {array.size} of {array.dtype}")
    return array


def compare(
    reference: Graph, session: Session, data: Data, labels: npt.ArrayLike | None = None
) -> Comparison:
    """Run a float graph in numpy and a session of its integer network on the same samples.

    data: see quantize.read_samples. labels: the class number of every sample; those of a .npz
    (``y``) otherwise.

    Raises what read_samples raises, and ValueError where labels do not fit.
    """
    samples, found = read_samples(data, reference)
    count = len(samples[0])
    given = found if labels is None else labels
    y = None if given is None else _checked_labels(given, count)
    tallies = [_Tally(port.name) for port in reference.outputs]
    right = [0, 0]
    for first in range(0, count, _BATCH):
        batch = [array[first : first + _BATCH] for array in samples]
        answer = session(*batch)
        integers = answer if isinstance(answer, tuple) else (answer,)
        for i, inputs in enumerate(zip(*batch, strict=True)):
            wanted = evaluate_outputs(reference, inputs, real=True)
            actual = [port[i] for port in integers]
            for tally, w, a in zip(tallies, wanted, actual, strict=True):
                tally.add(w, a)
            if y is not None:
                for k, scores in enumerate((wanted[0], actual[0])):
                    right[k] += int(scores.argmax() == y[first + i])
    accuracies = (None, None) if y is None else (right[0] / count, right[1] / count)
    return Comparison(count, tuple(tally.result() for tally in tallies), *accuracies)
