# SPDX-License-Identifier: Apache-2.0
"""The child process of `interpreters`: runs models in one engine until the pipe closes.

usage: interpreter_worker.py ENGINE FILE-DESCRIPTOR

Receives lists of (model bytes, list of input arrays); answers every one of them at once, in order,
with the list of its output arrays or with the message of the engine's refusal. Standard error is
the file into which the engine's own messages go; it is emptied before each model, so that what a
crash leaves there is about the model that crashed.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = list[npt.NDArray[Any]]

_MICRO_ARENA_BYTES = 96 << 20  # only touched pages cost anything


def _run_micro() -> Callable[[bytes, Arrays], Arrays]:
    runtime = import_module("tflite_micro.python.tflite_micro.runtime")
    schema = import_module("tflite_micro.tensorflow.lite.micro.python.schema_py_generated")

    def run(model: bytes, inputs: Arrays) -> Arrays:
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=_MICRO_ARENA_BYTES)
        for i, array in enumerate(inputs):
            interpreter.set_input(array, i)
        interpreter.invoke()
        subgraph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
        return [np.array(interpreter.get_output(i)) for i in range(subgraph.OutputsLength())]

    return run


def _run_reference() -> Callable[[bytes, Arrays], Arrays]:
    litert = import_module("ai_edge_litert.interpreter")

    def run(model: bytes, inputs: Arrays) -> Arrays:
        interpreter = litert.Interpreter(
            model_content=model,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
            num_threads=1,
        )
        interpreter.allocate_tensors()
        details = interpreter.get_input_details()
        if len(details) != len(inputs):
            raise ValueError(f"{len(details)} inputs expected, {len(inputs)} found")
        for detail, array in zip(details, inputs, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]

    return run


def main(engine: str, descriptor: int) -> None:
    run = {"tfm": _run_micro, "ref": _run_reference}[engine]()
    connection = Connection(descriptor)
    while True:
        try:
            jobs = connection.recv()
        except EOFError:
            return
        for model, inputs in jobs:
            os.ftruncate(2, 0)
            os.lseek(2, 0, os.SEEK_SET)
            try:
                answer: Arrays | str = run(model, inputs)
            except Exception as error:
                log = os.pread(2, 2000, 0).decode(errors="replace")
                answer = " ".join(f"{type(error).__name__}: {error} {log}".split())
            connection.send(answer)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
