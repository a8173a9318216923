# SPDX-License-Identifier: Apache-2.0
"""How long a model takes on this machine, as a whole and by operator."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..session import Layer, Session, load_nyb, resident_bytes
from .stimulus import random_inputs

#: Invocations before the first measured one: caches, page faults, clock frequency.
WARM_UP_RUNS = 3

#: Loads to measure, besides the first.
LOADS = 9


@dataclass(frozen=True)
class Times:
    """Nanoseconds of repeated runs."""

    median: float
    minimum: int
    maximum: int

    @staticmethod
    def of(nanoseconds: Sequence[int]) -> Times:
        return Times(statistics.median(nanoseconds), min(nanoseconds), max(nanoseconds))


@dataclass(frozen=True)
class Loading:
    """What it takes to have a model ready: nanoseconds from the path or the bytes to a session (median), the bytes of
    this process that came into memory until the end of the first invocation (0 where the system does not say), the
    arena and the model among them."""

    nanoseconds: float
    resident_bytes: int
    arena_bytes: int
    model_bytes: int

    def document(self) -> Mapping[str, Any]:
        """The same as JSON values."""
        return {
            "load_ns": self.nanoseconds,
            "resident_bytes": self.resident_bytes,
            "arena_bytes": self.arena_bytes,
        }


@dataclass(frozen=True)
class LayerTime:
    """One operator: median nanoseconds, its share of the sum of all medians (0..1), and its speed."""

    layer: Layer
    nanoseconds: float
    share: float

    @property
    def gmacs_per_second(self) -> float:
        """1e9 multiply-accumulates per second; 0 for operators without any."""
        return self.layer.macs / self.nanoseconds if self.nanoseconds else 0.0


@dataclass(frozen=True)
class Benchmark:
    """The times of whole invocations, and of the operators of other invocations, run one by one."""

    runs: int
    invocation: Times
    layers: tuple[LayerTime, ...]
    macs: int

    @property
    def gmacs_per_second(self) -> float:
        """1e9 multiply-accumulates per second of the median invocation."""
        return self.macs / self.invocation.median if self.invocation.median else 0.0

    def document(self) -> Mapping[str, Any]:
        """The same as JSON values."""
        return {
            "runs": self.runs,
            "median_ns": self.invocation.median,
            "min_ns": self.invocation.minimum,
            "max_ns": self.invocation.maximum,
            "macs": self.macs,
            "gmacs_per_second": self.gmacs_per_second,
            "operators": [
                {
                    "index": time.layer.index,
                    "kind": time.layer.kind,
                    "variant": time.layer.variant,
                    "name": time.layer.name,
                    "macs": time.layer.macs,
                    "median_ns": time.nanoseconds,
                    "share": time.share,
                    "gmacs_per_second": time.gmacs_per_second,
                }
                for time in self.layers
            ],
        }


def measure_loading(
    model: Path | bytes, *, threads: int = 1, cpu: str | None = None, prepack: bool = False
) -> tuple[Session, Loading]:
    """Load a .nyb model some times over; returns the first session."""
    size = len(model) if isinstance(model, bytes) else model.stat().st_size
    before = resident_bytes()
    session = load_nyb(model, threads=threads, cpu=cpu, prepack=prepack)
    session.invoke()
    grown = max(0, resident_bytes() - before)

    def load() -> int:
        start = time.perf_counter_ns()
        load_nyb(model, threads=threads, cpu=cpu, prepack=prepack)
        return time.perf_counter_ns() - start

    times = [load() for _ in range(LOADS)]
    return session, Loading(statistics.median(times), grown, session.arena_bytes, size)


def benchmark(session: Session, runs: int) -> Benchmark:
    """Measure a session on random inputs: ``runs`` whole invocations, then ``runs`` by operator.

    The inputs are written before every invocation, outside the measured time.
    """
    if runs < 1:
        raise ValueError(f"expected at least 1 run, found {runs}")
    views = [session.input_view(i) for i in range(len(session.inputs))]
    samples = random_inputs(session.inputs)

    def write_inputs() -> None:
        for view, sample in zip(views, samples, strict=True):
            view[...] = sample

    def invoke() -> int:
        write_inputs()
        start = time.perf_counter_ns()
        session.invoke()
        return time.perf_counter_ns() - start

    def profile() -> list[int]:
        write_inputs()
        return session.profile()

    for _ in range(WARM_UP_RUNS):
        invoke()
    invocations = [invoke() for _ in range(runs)]
    profiles = [profile() for _ in range(runs)]
    medians = [statistics.median(times) for times in zip(*profiles, strict=True)]
    total = sum(medians)
    layers = session.layers()
    return Benchmark(
        runs,
        Times.of(invocations),
        tuple(
            LayerTime(layer, median, median / total if total else 0.0)
            for layer, median in zip(layers, medians, strict=True)
        ),
        sum(layer.macs for layer in layers),
    )
