# SPDX-License-Identifier: Apache-2.0
"""A process per row, pinned to a core, that loads and measures when told to."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from . import mask, saturation
from .runtimes import Runtime, row

#: Seconds of calls before the first measured one.
WARM_UP = 0.1


class RowFailed(Exception):
    """The row's process says why it has no answer."""


@dataclass(frozen=True)
class Loaded:
    """Milliseconds of loading (less those of making up the input) and of the first call; KiB by which resident memory
    grows over both.
    """

    load: float
    first: float
    resident: int


@dataclass(frozen=True)
class Turn:
    """Milliseconds per call in one turn: processor time of the process, and the median by the wall clock."""

    processor: float
    wall: float


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _loaded(runtime: Runtime, folder: Path, warm_up: float) -> Loaded:
    if not (folder / runtime.file).exists():
        runtime.prepare(folder)
    before, start = _resident(), time.perf_counter()
    runtime.load(folder)
    ready = time.perf_counter()
    runtime.run()
    first = time.perf_counter()
    result = Loaded((ready - start - runtime.feeding) * 1e3, (first - ready) * 1e3, _resident() - before)
    while time.perf_counter() < first + warm_up:
        runtime.run()
    return result


def _turn(runtime: Runtime, seconds: float) -> Turn:
    run, clock = runtime.run, time.perf_counter
    # Reading the clock between calls would cost more than the smallest networks do.
    start = clock()
    run()
    batch = max(1, int(seconds / 8 / max(clock() - start, 1e-7)))
    walls: list[float] = []
    calls = 0
    end, processor = clock() + seconds, time.process_time()
    while not walls or clock() < end:
        start = clock()
        for _ in range(batch):
            run()
        walls.append((clock() - start) / batch)
        calls += batch
    processor = time.process_time() - processor
    return Turn(processor / calls * 1e3, statistics.median(walls) * 1e3)


def _serve(name: str, cpu: str | None, cores: set[int], quiet: bool, pipe: Connection) -> None:
    os.sched_setaffinity(0, cores)
    if quiet:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    runtime = row(name, cpu).make()
    while True:
        try:
            order, arguments = pipe.recv()
        except EOFError:
            return
        answer: object
        try:
            match order:
                case "load":
                    answer = _loaded(runtime, *arguments)
                case "turn":
                    answer = _turn(runtime, *arguments)
                case "exact":
                    answer = saturation.sums_exactly(runtime, *arguments)
                case "libraries":
                    answer = mask.mapped_libraries()
                case _:
                    raise ValueError(order)
        except Exception as error:  # whatever a runtime raises is the reason why its row is empty
            text = str(error).splitlines() or [""]
            answer = RowFailed(f"{type(error).__name__}: {text[0][:160]}")
        pipe.send(answer)


class Worker:
    """The near end of a row's process; a context manager, which ends the process."""

    def __init__(
        self,
        name: str,
        core: int,
        *,
        cpu: str | None = None,
        environment: Mapping[str, str] | None = None,
        quiet: bool = True,
    ) -> None:
        self.row = row(name, cpu)
        cores = os.sched_getaffinity(0) if self.row.wall else {core}
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=_serve, args=(name, cpu, cores, quiet, far), daemon=True)
        kept = dict(os.environ)
        os.environ.update(environment or {})
        try:
            self.process.start()
        finally:
            os.environ.clear()
            os.environ.update(kept)
        far.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def _ask(self, order: str, *arguments: object) -> Any:
        try:
            self.pipe.send((order, arguments))
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            raise RowFailed(f"its process ended with {self.process.exitcode}") from None
        if isinstance(answer, RowFailed):
            raise answer
        return answer

    def load(self, folder: Path, warm_up: float = WARM_UP) -> Loaded:
        """Load a network and warm up. This and the others raise RowFailed."""
        return self._ask("load", folder, warm_up)  # type: ignore[no-any-return]

    def turn(self, seconds: float) -> Turn:
        """Call for at least some seconds."""
        return self._ask("turn", seconds)  # type: ignore[no-any-return]

    def sums_exactly(self, folder: Path) -> bool:
        """Whether the sums of the row are exact (saturation.py)."""
        return self._ask("exact", folder)  # type: ignore[no-any-return]

    def libraries(self) -> list[Path]:
        """The code that the process has mapped."""
        return self._ask("libraries")  # type: ignore[no-any-return]
