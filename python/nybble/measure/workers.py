# SPDX-License-Identifier: Apache-2.0
"""Trials by this process, by several of this machine, or by a Dask cluster: the same results."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

from ..convert import producer
from ..quantize.apply import Progress
from .task import Task
from .trial import Trial, Work, try_work

#: (position in the work, its result) as they are ready.
Finished = Iterator[tuple[int, Trial]]

_task: Task | None = None


def _begin(task: Task) -> None:
    global _task
    _task = task
    # Ctrl-C reaches the whole group: the parent decides, and keeps what is finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_worker(work: Work) -> Trial:
    assert _task is not None
    return try_work(_task, work)[0]


@contextmanager
def workers(
    task: Task, jobs: int = 1, dask: str | None = None, progress: Progress | None = None
) -> Iterator[Callable[[Sequence[Work]], Finished]]:
    """A function that does work.

    jobs: processes of this machine; 1: this process. dask: address of a scheduler, whose workers have
    nybble of the same version installed (needs ``pip install nybble[dask]``).

    progress: called with (layers done, of) where this process does the work. The function raises what try_work raises.
    """
    if dask is not None:
        with _cluster(task, dask) as run:
            yield run
    elif jobs == 1:
        yield lambda work: ((i, try_work(task, one, progress)[0]) for i, one in enumerate(work))
    else:
        with _processes(task, jobs) as run:
            yield run


@contextmanager
def _processes(task: Task, jobs: int) -> Iterator[Callable[[Sequence[Work]], Finished]]:
    # spawn: a fork would copy the locks of threads that libraries have started.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(task,))

    def run(work: Sequence[Work]) -> Finished:
        futures = {pool.submit(_in_worker, one): i for i, one in enumerate(work)}
        for future in as_completed(futures):
            yield futures[future], future.result()

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _cluster(task: Task, address: str) -> Iterator[Callable[[Sequence[Work]], Finished]]:
    try:
        import distributed
    except ImportError:
        raise ImportError(f"{address}: a Dask cluster needs: pip install 'nybble[dask]'") from None
    with distributed.Client(address) as client:
        everywhere = client.scatter(task, broadcast=True)

        def run(work: Sequence[Work]) -> Finished:
            futures: dict[Any, int] = {
                client.submit(try_work, everywhere, one, pure=False): i for i, one in enumerate(work)
            }
            for future, (trial, who) in distributed.as_completed(futures, with_results=True):
                if who != producer():
                    raise ValueError(f"{address}: expected workers with {producer()}, found {who}")
                yield futures[future], trial

        yield run
