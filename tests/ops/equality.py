# SPDX-License-Identifier: Apache-2.0
"""What an operator's test asserts: oracle == meaning in numpy == C core, on all bits.

`assert_equals_oracle` asks for random models of `oracle.random_ops`, `assert_tables_equal_oracle` for all 256
inputs of a function of one byte; `assert_core_equals_meaning` takes any operator with tensors and arrays, for
property tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nybble.convert import convert_graph
from nybble.graph import Array, Graph, Node, Operator, Port, Tensor, evaluate_outputs
from nybble.importers.tflite import import_tflite
from nybble.passes import run_passes
from nybble.session import Session, cpu_levels, load_nyb
from oracle.interpreters import EngineRefused, oracle_many
from oracle.random_ops import Case, random_case
from oracle.random_ops import DType as CaseType
from oracle.single_op import OpSpec, TensorSpec, build


def assert_same(found: Sequence[Array], wanted: Sequence[Array], what: str) -> None:
    """Raise AssertionError with the first difference unless types, shapes and all elements are equal."""
    assert len(found) == len(wanted), what
    for f, w in zip(map(np.asarray, found), map(np.asarray, wanted), strict=True):
        assert (f.dtype, f.shape) == (w.dtype, w.shape), what
        if not np.array_equal(f, w):
            wrong = np.argwhere(f != w)
            first = tuple(int(i) for i in wrong[0])
            count = f"{len(wrong)} of {f.size} differ"
            raise AssertionError(f"{count}, first at {first}: {f[first]}, expected {w[first]}; {what}")


def run_core(session: Session, inputs: Sequence[Array]) -> list[Array]:
    """The outputs of one invocation, with the shapes that the model states."""
    for i, array in enumerate(inputs):
        view = session.input_view(i)
        assert (array.dtype, array.shape) == (view.dtype, view.shape)
        view[...] = array
    session.invoke()
    return [session.output_view(i).copy() for i in range(len(session.outputs))]


def assert_core_equals_meaning(
    op: Operator,
    tensors: Sequence[Tensor],
    output: Tensor,
    arrays: Sequence[Array],
    *,
    prepack: bool = False,
) -> None:
    """C core == numpy for one operator on these tensors; those with data are constants."""
    given = [t for t in tensors if t.data is None]
    graph = Graph(
        {t.name: t for t in (*tensors, output)},
        (Node(op, tuple(t.name for t in tensors), (output.name,)),),
        tuple(Port(t.name, t.name) for t in given),
        (Port(output.name, output.name),),
    )
    graph.check()
    wanted = evaluate_outputs(graph, arrays)
    described = ", ".join(f"{t.name} {t.shape} {t.quantization}" for t in (*tensors, output))
    model = convert_graph(graph)
    for cpu in cpu_levels():
        session = load_nyb(model, cpu=cpu, prepack=prepack)
        assert_same(run_core(session, arrays), wanted, f"{cpu}, {op}: {described}")


def assert_equals_oracle(op_name: str, dtype: CaseType, cases: int = 250) -> None:
    """oracle == numpy == C core for random models of one operator."""
    rngs = (np.random.default_rng(seed) for seed in range(cases))
    assert_cases_equal_oracle([random_case(op_name, rng, dtype) for rng in rngs])


def assert_tables_equal_oracle(
    op_name: str,
    dtype: str,
    rescalings: Sequence[tuple[float, int, float, int]],
    options: Sequence[Mapping[str, Any]],
) -> None:
    """oracle == numpy == C core on all 256 inputs of an operator on one byte.

    rescalings: scale and zero point of input and output of each model; options: given to the models in turns.
    """
    limits = np.iinfo(dtype)
    every = np.arange(limits.min, limits.max + 1).astype(dtype)
    cases = []
    for i, q in enumerate(rescalings):
        chosen = options[i % len(options)]
        tensors = {"x": TensorSpec((256,), dtype, *q[:2]), "y": TensorSpec((256,), dtype, *q[2:])}
        model = build(tensors, [OpSpec(op_name, ("x",), ("y",), chosen)], ("x",), ("y",))
        cases.append(Case(model, [every], f"{op_name} {chosen} {dtype} {q}"))
    assert_cases_equal_oracle(cases)


def assert_cases_equal_oracle(cases: Sequence[Case]) -> None:
    """oracle == numpy == C core for these models; one that every engine refuses fails."""
    answers = oracle_many([(case.model_bytes, case.inputs) for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        assert not isinstance(answer, EngineRefused), f"{answer}: {case.description}"
        graph = run_passes(import_tflite(case.model_bytes))
        model = convert_graph(graph)
        sessions = {cpu: load_nyb(model, cpu=cpu) for cpu in cpu_levels()}
        session = sessions["scalar"]
        inputs = [
            port.quantize(x) if port.real else x for port, x in zip(session.inputs, case.inputs, strict=True)
        ]
        for where, outputs in (
            ("numpy", evaluate_outputs(graph, inputs)),
            *((f"C core, {cpu}", run_core(s, inputs)) for cpu, s in sessions.items()),
        ):
            results = [
                port.dequantize(y) if port.real else y
                for port, y in zip(session.outputs, outputs, strict=True)
            ]
            assert_same(results, answer[0], f"{where}: {case.description}")
