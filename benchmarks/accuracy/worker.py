# SPDX-License-Identifier: Apache-2.0
"""A process per row: quantizes, counts, and says what it took."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .quantizers import Network, NotHere, quantizer
from .rows import Row

#: What sets the threads of BLAS and OpenMP.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class RowFailed(Exception):
    """Why a row has no figures."""


@dataclass(frozen=True)
class Figures:
    """What a row's model does. right: of every test sample, in order. weight_bytes: where the tool says them; seconds,
    peak_bytes: of quantizing, the calibration samples included. sha256: of the file.
    """

    right: Sequence[bool]
    file_bytes: int
    weight_bytes: int | None
    seconds: float
    peak_bytes: int
    sha256: str


def run(row: Row, network: Network, samples: Path, threads: int, *, count: bool = True) -> Figures:
    """Measure a row in a process of its own. samples: a folder that tasks.write_samples has written; count: answer the
    test samples too. Raises RowFailed.
    """
    with tempfile.TemporaryDirectory() as folder:
        forms = {name: None if path is None else str(path) for name, path in asdict(network).items()}
        order = {
            "row": asdict(row),
            "network": forms,
            "samples": str(samples),
            "folder": folder,
            "count": count,
        }
        environment = os.environ | dict.fromkeys(THREADS, str(threads))
        process = subprocess.run(
            [sys.executable, "-m", __spec__.name, json.dumps(order)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        answer = Path(folder) / "answer.json"
        if process.returncode or not answer.exists():
            lines = process.stderr.strip().splitlines() or [f"ended with {process.returncode}"]
            raise RowFailed(lines[-1])
        found = json.loads(answer.read_text())
        if isinstance(found, str):
            raise RowFailed(found)
        return Figures(**found)


def _peak_bytes() -> int:
    """The most memory that this process has had since _forget_peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _forget_peak() -> None:
    # Linux: proc(5), clear_refs; imports and the parent's memory are not the quantizer's.
    Path("/proc/self/clear_refs").write_text("5")


def _measure(row: Row, network: Network, samples: Path, folder: Path, *, count: bool) -> Figures:
    calibration = np.load(samples / "calibration.npy")
    _forget_peak()
    start = time.perf_counter()
    model = quantizer(row)(network, calibration, row, folder)
    seconds, peak = time.perf_counter() - start, _peak_bytes()
    right: list[bool] = []
    if count:
        labels = np.load(samples / "labels.npy")
        scores = model.scores(np.load(samples / "test.npy", mmap_mode="r"))
        right = (scores.reshape(len(labels), -1).argmax(axis=1) == labels).tolist()
    digest = hashlib.sha256(model.content).hexdigest()
    return Figures(right, len(model.content), model.weight_bytes, seconds, peak, digest)


def main(order: dict[str, Any]) -> None:
    """Carry out an order of ``run``."""
    forms = {name: None if path is None else Path(path) for name, path in order["network"].items()}
    folder = Path(order["folder"])
    answer: dict[str, Any] | str
    try:
        answer = asdict(
            _measure(
                Row(**order["row"]), Network(**forms), Path(order["samples"]), folder, count=order["count"]
            )
        )
    except ImportError as error:
        answer = f"{error}"
    except NotHere as error:
        answer = str(error)
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
