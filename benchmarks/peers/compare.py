# SPDX-License-Identifier: Apache-2.0
"""Rounds over the rows of a network in turn, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import mask
from .runtimes import row
from .worker import Loaded, RowFailed, Turn, Worker

#: Calls of more seconds than this get fewer rounds.
SLOW_SECONDS, SLOW_ROUNDS = 0.2, 3
#: What a network's folder may hold.
FORMS = (
    "int8.tflite", "float.tflite", "u8s8.onnx", "u8u8.onnx", "s8s8.onnx", "float.onnx", "int8.param", "int8.bin",
    "float.param", "float.bin", "float.mnn", "input.npy",
)  # fmt: skip


@dataclass
class Figures:
    """What one row did on one network."""

    loaded: Loaded
    turns: list[Turn] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """How to measure. environment: of the masked processes; say: where skipped rows and progress are told."""

    names: Sequence[str]
    rounds: int
    seconds: float
    core: int
    cpu: str | None
    environment: Mapping[str, str]
    quiet: bool
    say: Callable[[str], None]

    @contextmanager
    def worker(self, name: str) -> Iterator[Worker]:
        """The process of a row."""
        with Worker(name, self.core, cpu=self.cpu, environment=self.environment, quiet=self.quiet) as process:
            yield process


def link(source: Path, folder: Path) -> Path:
    """A folder with the forms of a network, in which conversions may be written."""
    folder.mkdir(parents=True)
    for form in FORMS:
        if (source / form).exists():
            (folder / form).symlink_to((source / form).resolve())
    return folder


def compare(plan: Plan, folder: Path) -> dict[str, Figures]:
    """All rows on one network: a fresh process for each, then the rounds."""
    results: dict[str, Figures] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in plan.names:
            process = stack.enter_context(plan.worker(name))
            try:
                results[name] = Figures(process.load(folder))
                workers[name] = process
            except RowFailed as reason:
                plan.say(f"  {name}: skipped, {reason}")
                process.close()
        for index in range(plan.rounds):
            for name, process in list(workers.items()):
                if results[name].loaded.first > SLOW_SECONDS * 1e3 and index >= SLOW_ROUNDS:
                    continue
                try:
                    results[name].turns.append(process.turn(plan.seconds))
                except RowFailed as reason:
                    plan.say(f"  {name}: dropped, {reason}")
                    del workers[name], results[name]
    return results


def loading(plan: Plan, folder: Path, first: Path) -> dict[str, Loaded]:
    """Medians over fresh processes that have loaded and run ``first``, so that imports are in no figure."""
    samples: dict[str, list[Loaded]] = {}
    for index in range(plan.rounds):
        for name in plan.names:
            with plan.worker(name) as process:
                try:
                    process.load(first, 0)
                except RowFailed as reason:
                    if index == 0:
                        plan.say(f"  {name}: {first.name} fails, {reason}; the figure holds its imports")
                try:
                    samples.setdefault(name, []).append(process.load(folder, 0))
                except RowFailed as reason:
                    if index == 0:
                        plan.say(f"  {name}: skipped, {reason}")
    return {
        name: Loaded(
            statistics.median(s.load for s in found),
            statistics.median(s.first for s in found),
            int(statistics.median(s.resident for s in found)),
        )
        for name, found in samples.items()
        if found
    }


def exactness(plan: Plan, folder: Path) -> dict[str, bool]:
    """Which rows add up exactly here; those that cannot read the probe are left out."""
    result = {}
    for name in plan.names:
        if not row(name).probed:
            continue
        with plan.worker(name) as process:
            try:
                result[name] = process.sums_exactly(folder)
            except RowFailed as reason:
                plan.say(f"  {name}: exactness not measured, {reason}")
    return result


def masked_environment(plan: Plan, folder: Path, cache: Path) -> Mapping[str, str]:
    """The environment that hides AVX-512 from every library that the rows load for a network."""
    libraries: set[Path] = set()
    for name in plan.names:
        with plan.worker(name) as process:
            try:
                process.load(folder, 0)
                libraries.update(process.libraries())
            except RowFailed:
                continue  # comparing will tell why
    return mask.environment(libraries, cache)


def versions(names: Sequence[str]) -> dict[str, str]:
    """Versions of the rows' packages that are installed."""
    result = {}
    for package in sorted({row(name).make().package for name in names} | {"numpy"}):
        try:
            result[package] = version(package)
        except PackageNotFoundError:
            continue
    return result
