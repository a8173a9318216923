# SPDX-License-Identifier: Apache-2.0
"""Count what networks answer right that are quantized already: ONNX QDQ and QOperator, by nybble and by ONNX Runtime.

    python -m benchmarks.accuracy.quantized [NAME ...]    the shared collection's; docs/benchmarks.md

ONNX Runtime runs with its exact kernels (session.x64quantprecision=1). The interval is of the difference on the same
samples. Exits with 1 where nybble has over 0.3 points less.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import nybble
from nybble.measure.intervals import Paired, paired
from nybble.quantize import read_samples

from .quantizers import onnx_scores
from .tasks import Task, collection, shared, write_samples

#: Points that may be lost.
ALLOWED = 0.3


def networks() -> Iterator[tuple[Path, Task]]:
    """The collection's quantized .onnx files of networks with labelled samples."""
    kws = {"kws_dscnn": "kws_dscnn_float32"}
    tasks = collection()
    for path in sorted((shared() / "models/converted").glob("*.onnx")):
        name, mark, _ = path.stem.partition("_q")
        task = tasks.get(kws.get(name, name))
        if mark and task is not None:
            yield path, task


def counted(path: Path, samples: Path) -> tuple[Paired, int]:
    """A network's right answers by ONNX Runtime (first) and nybble (second), and nybble's where it is given float32.

    nybble is given what the network's own QuantizeLinear makes of the samples, which takes ties to even. Given float32 it
    takes them away from zero, as everywhere; many pixels of 8 bits lie half a step between two integers.
    """
    test, labels = np.load(samples / "test.npy"), np.load(samples / "labels.npy")
    graph = nybble.import_model(path)
    session = nybble.load(nybble.convert(path), threads=2)
    port = session.inputs[0]
    limits = np.iinfo(port.dtype)
    ((real,), _) = read_samples(test, graph)
    steps = np.rint(real / np.float32(port.scale)) + port.zero_point
    integers = np.clip(steps, limits.min, limits.max).astype(port.dtype)
    answers = (onnx_scores(path)(test), session.run([integers])[0], session(real))
    theirs, ours, rounded = (scores.reshape(len(labels), -1).argmax(axis=1) == labels for scores in answers)
    return paired(theirs, ours), int(rounded.sum())


def main(names: list[str]) -> int:
    """Print the table; 1 where a network loses more than is allowed."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        print(
            f"{'right of':42}{'':>6}{'onnxruntime':>12}{'nybble':>8}{'points':>8}{'95 % interval':>18}{'float32 in':>12}"
        )
        for path, task in networks():
            if names and path.stem not in names:
                continue
            samples = Path(folder) / task.name
            if not samples.exists():
                write_samples(task, samples)
            found, rounded = counted(path, samples)
            points = 100 * found.difference
            failed += points < -ALLOWED
            interval = f"{100 * found.low:+.2f} .. {100 * found.high:+.2f}"
            print(
                f"{path.stem:42}{found.count:>6}{found.first:>12}{found.second:>8}{points:>+8.2f}{interval:>18}{rounded:>12}",
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
