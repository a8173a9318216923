# SPDX-License-Identifier: Apache-2.0
"""Runs .tflite models in public interpreters, and says which of them is right.

Engines:
    "tfm"  TFLite Micro and its reference kernels (package tflite-micro)
    "ref"  LiteRT with OpResolverType.BUILTIN_REF and one thread (package ai-edge-litert)

A model can crash an interpreter, so each engine lives in a child process that takes many models.
After a crash the model that was running is tried once more in a fresh process, because an earlier
one may have damaged the heap; the second crash is its own, and is reported as a refusal.
"""

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from . import require_oracle
from .single_op import schema

Engine = Literal["tfm", "ref"]
Arrays = list[npt.NDArray[Any]]
Job = tuple[bytes, Arrays]
"""The bytes of a .tflite file and its inputs in the order of the file."""

_JOBS_PER_MESSAGE = 64
_SECONDS_PER_JOB = 120.0  # a model that needs longer is taken for a hanging one


class EngineRefused(Exception):
    """The engine does not load the model, fails in it, hangs in it or dies of it."""


def run(model: bytes, inputs: Arrays, engine: Engine) -> Arrays:
    """Returns the outputs of the model in one engine. Raises EngineRefused."""
    [answer] = run_many([(model, inputs)], engine)
    if isinstance(answer, EngineRefused):
        raise answer
    return answer


def run_many(jobs: Sequence[Job], engine: Engine) -> list[Arrays | EngineRefused]:
    """`run` for many models at once, in fewer messages; refusals are returned, not raised."""
    require_oracle()
    worker = _workers.get(engine)
    if worker is None:
        worker = _workers[engine] = _Worker(engine)
    answers: list[Arrays | EngineRefused] = []
    while len(answers) < len(jobs):
        batch = jobs[len(answers) : len(answers) + _JOBS_PER_MESSAGE]
        answered = worker.answers(batch)
        answers += answered
        if len(answered) < len(batch):
            answers += worker.answers([jobs[len(answers)]]) or [EngineRefused(worker.death)]
    return answers


def oracle(model: bytes, inputs: Arrays) -> tuple[Arrays, Engine]:
    """Returns the right outputs of an integer model and the engine that computed them.

    TFLite Micro where it runs the model, else LiteRT's reference kernels; an engine that is known
    to compute an operator of the model wrongly is not asked (`known_faults`). Raises EngineRefused
    where no engine is left.
    """
    [answer] = oracle_many([(model, inputs)])
    if isinstance(answer, EngineRefused):
        raise answer
    return answer


def oracle_many(jobs: Sequence[Job]) -> list[tuple[Arrays, Engine] | EngineRefused]:
    """`oracle` for many models at once; refusals are returned, not raised."""
    faults = [known_faults(model) for model, _ in jobs]
    answers: list[tuple[Arrays, Engine] | None] = [None] * len(jobs)
    refusals: list[dict[Engine, str]] = [dict(fault) for fault in faults]
    engines: tuple[Engine, ...] = ("tfm", "ref")
    for engine in engines:
        todo = [i for i in range(len(jobs)) if answers[i] is None and engine not in faults[i]]
        for i, result in zip(todo, run_many([jobs[i] for i in todo], engine), strict=True):
            if isinstance(result, EngineRefused):
                refusals[i][engine] = str(result)
            else:
                answers[i] = (result, engine)
    return [
        answer or EngineRefused("; ".join(f"{engine}: {text}" for engine, text in refusal.items()))
        for answer, refusal in zip(answers, refusals, strict=True)
    ]


def known_faults(model: bytes) -> Mapping[Engine, str]:
    """Returns the engines that run the model and give a wrong answer, each with the reason.

    Seen in ai-edge-litert 2.3.0 and tflite-micro 0.dev20261023182759.
    """
    s = schema()
    faults: dict[Engine, str] = {}
    graph = s.Model.GetRootAs(model, 0)
    for subgraph in (graph.Subgraphs(i) for i in range(graph.SubgraphsLength())):
        for op in (subgraph.Operators(i) for i in range(subgraph.OperatorsLength())):
            code = graph.OperatorCodes(op.OpcodeIndex())
            # Files older than the 32-bit code have it in the 8-bit field only (schema.fbs).
            builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            # TFLM micro/kernels/leaky_relu_common.cc: double products, against its own vectors.
            if builtin == s.BuiltinOperator.LEAKY_RELU:
                faults["tfm"] = "LEAKY_RELU derives its multipliers in double"
            elif builtin in (
                s.BuiltinOperator.RELU6,
                s.BuiltinOperator.DEQUANTIZE,
                s.BuiltinOperator.SUM,
            ):
                x, y = subgraph.Tensors(op.Inputs(0)), subgraph.Tensors(op.Outputs(0))
                # TFLM micro/kernels/activations.cc Relu6Quantized clamps and does not rescale.
                if builtin == s.BuiltinOperator.RELU6 and _quantization(x) != _quantization(y):
                    faults["tfm"] = "RELU6 does not rescale"
                # TFLM micro/kernels/dequantize.cc takes the first scale for every channel.
                elif builtin == s.BuiltinOperator.DEQUANTIZE and len(_quantization(x)[0]) > 1:
                    faults["tfm"] = "DEQUANTIZE takes the first channel's scale for all"
                # LiteRT kernels/reduce.cc QuantizedMeanOrSum reads every quantized type as uint8.
                elif builtin == s.BuiltinOperator.SUM and x.Type() in (
                    s.TensorType.INT8,
                    s.TensorType.INT16,
                ):
                    faults["ref"] = "SUM reads its input as uint8"
    return faults


def _quantization(tensor: Any) -> tuple[list[float], list[int]]:
    q = tensor.Quantization()
    if q is None or q.ScaleLength() == 0:
        return [], []
    return q.ScaleAsNumpy().tolist(), q.ZeroPointAsNumpy().tolist()


class _Worker:
    """One engine in a child process, which is started at need."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._process: subprocess.Popen[bytes] | None = None
        self.death = ""
        """How the last process ended."""

    def answers(self, jobs: Sequence[Job]) -> list[Arrays | EngineRefused]:
        """Returns one answer per job, or fewer: then the process died of the first without one."""
        process = self._process or self._start()
        answers: list[Arrays | EngineRefused] = []
        try:
            self._connection.send(jobs)
            for _ in jobs:
                if not self._connection.poll(_SECONDS_PER_JOB):
                    self.death = f"gave no answer within {_SECONDS_PER_JOB:.0f} s"
                    break
                answer = self._connection.recv()
                answers.append(EngineRefused(answer) if isinstance(answer, str) else answer)
            else:
                return answers
        except (EOFError, ConnectionError):
            log = os.pread(self._log.fileno(), 2000, 0).decode(errors="replace")
            self.death = f"crashed (exit code {process.wait()}) {' '.join(log.split())}"
        except BaseException:
            # Interrupted: the answers that are still to come must not be taken for later ones.
            self.close()
            raise
        self.close()
        return answers

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            self._process.wait()
            self._log.close()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        self._connection, theirs = Pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    str(Path(__file__).with_name("interpreter_worker.py")),
                    self._engine,
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                # A sanitizer preloaded into the tests would slow the interpreters tenfold and look into them only.
                env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
            )
        return self._process


_workers: dict[Engine, _Worker] = {}


@atexit.register
def _close_workers() -> None:
    for worker in _workers.values():
        worker.close()
