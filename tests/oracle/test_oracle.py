# SPDX-License-Identifier: Apache-2.0
"""The oracle tested alone: before anything is held against it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from . import interpreters, require_oracle
from .interpreters import (
    Arrays,
    Engine,
    EngineRefused,
    known_faults,
    oracle,
    oracle_many,
    run,
    run_many,
)
from .random_ops import OPERATORS, DType, random_case
from .single_op import OpSpec, TensorSpec, build, schema

SHARED = Path(__file__).parents[2] / os.environ.get("NYBBLE_SHARED", "../shared")
ENGINES: tuple[Engine, ...] = ("tfm", "ref")


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    require_oracle()


# ---------------------------------------------------------------- the generators


@pytest.mark.parametrize(
    ("op_name", "dtype"), [(name, dtype) for name, dtypes in OPERATORS.items() for dtype in dtypes]
)
def test_every_generated_model_runs_and_runs_the_same(op_name: str, dtype: DType) -> None:
    cases = [random_case(op_name, np.random.default_rng(seed), dtype) for seed in range(20)]
    again = [random_case(op_name, np.random.default_rng(seed), dtype) for seed in range(20)]
    jobs = [(case.model_bytes, case.inputs) for case in cases]
    first, second = oracle_many(jobs), oracle_many(jobs)
    varied = 0
    for case, repeated, one, two in zip(cases, again, first, second, strict=True):
        assert case.model_bytes == repeated.model_bytes
        assert_same(case.inputs, repeated.inputs)
        assert not isinstance(one, EngineRefused), f"{one}\n{case.description}"
        assert not isinstance(two, EngineRefused), f"{two}\n{case.description}"
        assert one[1] == two[1]
        assert_same(one[0], two[0])
        assert [y.shape for y in one[0]] == declared_shapes(case.model_bytes)
        varied += any(np.unique(y).size > 1 for y in one[0])
    assert varied >= 10, f"only {varied} of {len(cases)} models have more than one output value"


def test_the_generators_refuse_what_they_do_not_know() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="ADD: int8 or uint8 or int16 expected, 'int8x4' found"):
        random_case("ADD", rng, "int8x4")
    with pytest.raises(KeyError):
        random_case("NO_SUCH_OPERATOR", rng)


# ---------------------------------------------------------------- the engines


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_gives_its_stored_golden(engine: Engine) -> None:
    model = SHARED / "models/tflite/resnet8_cifar10_int8.tflite"
    golden = SHARED / "golden/resnet8_cifar10_int8.npz"
    for path in (model, golden):
        if not path.exists():
            pytest.skip(f"{path} is absent (NYBBLE_SHARED names the folder of shared files)")
    with np.load(golden) as arrays:
        inputs, expected = arrays["x0"], arrays["y_ref0"]
    jobs = [(model.read_bytes(), [x]) for x in inputs]
    for answer, y in zip(run_many(jobs, engine), expected, strict=True):
        assert not isinstance(answer, EngineRefused), answer
        assert_same(answer, [y])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_refusal_names_its_reason_and_leaves_the_others_alone(engine: Engine) -> None:
    good = random_case("ADD", np.random.default_rng(0))
    conv = random_case("CONV_2D", np.random.default_rng(0))
    wrong = conv.inputs[0][..., np.newaxis]
    before, refused, after = run_many(
        [
            (good.model_bytes, good.inputs),
            (conv.model_bytes, [wrong]),
            (good.model_bytes, good.inputs),
        ],
        engine,
    )
    assert isinstance(refused, EngineRefused)
    assert "dimension" in str(refused).lower()
    assert not isinstance(before, EngineRefused)
    assert not isinstance(after, EngineRefused)
    assert_same(before, after)
    with pytest.raises(EngineRefused):
        run(conv.model_bytes, [wrong], engine)


@pytest.mark.parametrize("place", range(3))
def test_a_crash_is_reported_and_leaves_the_others_alone(place: int) -> None:
    good = random_case("ADD", np.random.default_rng(0))
    jobs = [(good.model_bytes, good.inputs)] * 2
    jobs.insert(place, crashing_job())
    answers = run_many(jobs, "tfm")
    crash = answers.pop(place)
    assert isinstance(crash, EngineRefused)
    assert "crashed (exit code -" in str(crash)
    for answer in answers:
        assert not isinstance(answer, EngineRefused)
        assert_same(answer, run(good.model_bytes, good.inputs, "tfm"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_is_tried_again_where_the_process_may_have_been_damaged(engine: Engine) -> None:
    good = random_case("ADD", np.random.default_rng(0))
    before = run(good.model_bytes, good.inputs, engine)
    process = interpreters._workers[engine]._process
    assert process is not None
    process.kill()
    assert_same(run(good.model_bytes, good.inputs, engine), before)


def test_a_hanging_model_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "_SECONDS_PER_JOB", 0.0)
    good = random_case("ADD", np.random.default_rng(0))
    worker = interpreters._Worker("ref")  # a process that is only starting cannot have answered
    assert worker.answers([(good.model_bytes, good.inputs)]) == []
    assert worker.death == "gave no answer within 0 s"


def test_an_interrupt_does_not_shift_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> bool:
        raise KeyboardInterrupt

    one, two = (random_case("ADD", np.random.default_rng(seed)) for seed in range(2))
    worker = interpreters._Worker("ref")
    [expected] = worker.answers([(two.model_bytes, two.inputs)])
    with monkeypatch.context() as patch:
        patch.setattr(worker._connection, "poll", interrupted)
        with pytest.raises(KeyboardInterrupt):
            worker.answers([(one.model_bytes, one.inputs)])
    [found] = worker.answers([(two.model_bytes, two.inputs)])
    worker.close()
    assert not isinstance(expected, EngineRefused)
    assert not isinstance(found, EngineRefused)
    assert_same(found, expected)


# ---------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("op_name", "x", "y", "expected", "engine"),
    [
        ("RELU6", (0.1, 0), (0.1, 0), [0, 0, 5, 60], "tfm"),
        ("RELU6", (0.1, 0), (0.05, -10), [-10, -10, 0, 110], "ref"),
        ("LEAKY_RELU", (0.1, 0), (0.1, 0), [-64, -4, 5, 127], "ref"),
        ("DEQUANTIZE", (0.5, 2), None, [-65.0, -5.0, 1.5, 62.5], "tfm"),
        ("DEQUANTIZE", ((0.5, 1.0, 2.0, 4.0), 0), None, [-64.0, -8.0, 10.0, 508.0], "ref"),
    ],
)
def test_the_engine_that_computes_an_operator_wrongly_is_not_asked(
    op_name: str,
    x: tuple[Any, int],
    y: tuple[float, int] | None,
    expected: list[float],
    engine: Engine,
) -> None:
    values = np.array([-128, -8, 5, 127], np.int8)
    output = TensorSpec((4,), "float32") if y is None else TensorSpec((4,), "int8", *y)
    options = {"alpha": 0.5} if op_name == "LEAKY_RELU" else {}
    model = build(
        {"x": TensorSpec((4,), "int8", *x), "y": output},
        [OpSpec(op_name, ("x",), ("y",), options)],
        ("x",),
        ("y",),
    )
    outputs, answered = oracle(model, [values])
    assert answered == engine
    assert outputs[0].tolist() == expected


@pytest.mark.parametrize(("dtype", "engine"), [("int8", "tfm"), ("uint8", "ref")])
def test_a_sum_is_asked_where_it_is_right(dtype: str, engine: Engine) -> None:
    values = np.array([[100, 3, 7], [1, 2, 120]], dtype)
    model = build(
        {
            "x": TensorSpec((2, 3), dtype, 1.0),
            "axes": TensorSpec((1,), "int32", data=np.array([1])),
            "y": TensorSpec((2,), dtype, 2.0, 1),
        },
        [OpSpec("SUM", ("x", "axes"), ("y",), {"keep_dims": False})],
        ("x",),
        ("y",),
    )
    outputs, answered = oracle(model, [values])
    assert answered == engine
    assert outputs[0].tolist() == [56, 63]  # 110 / 2 + 1, and 123 / 2 rounded away from zero + 1


def test_no_answer_where_both_engines_are_wrong() -> None:
    x = TensorSpec((2, 2), "int8", 1.0)
    model = build(
        {
            "x": x,
            "leaky": x,
            "axes": TensorSpec((1,), "int32", data=np.array([1])),
            "y": TensorSpec((2,), "int8", 2.0),
        },
        [
            OpSpec("LEAKY_RELU", ("x",), ("leaky",), {"alpha": 0.5}),
            OpSpec("SUM", ("leaky", "axes"), ("y",), {"keep_dims": False}),
        ],
        ("x",),
        ("y",),
    )
    assert set(known_faults(model)) == {"tfm", "ref"}
    with pytest.raises(EngineRefused, match=r"LEAKY_RELU.*; ref: SUM"):
        oracle(model, [np.zeros((2, 2), np.int8)])


# ---------------------------------------------------------------- the builder


@pytest.mark.parametrize("engine", ENGINES)
def test_int4_weights_are_packed_as_the_engines_read_them(engine: Engine) -> None:
    # An odd number of elements: the last byte is half full.
    weights = np.array([[-8, 7, 1], [2, -3, 4], [-5, 6, -1]])
    model = build(
        {
            "x": TensorSpec((1, 3), "int8", 1.0),
            "w": TensorSpec((3, 3), "int4", 1.0, data=weights),
            "b": TensorSpec((3,), "int32", 1.0, data=np.array([10, 20, 30])),
            "y": TensorSpec((1, 3), "int8", 1.0),
        },
        [OpSpec("FULLY_CONNECTED", ("x", "w", "b"), ("y",))],
        ("x",),
        ("y",),
    )
    x = np.array([[1, -2, 3]], np.int8)
    assert_same(run(model, [x], engine), [(x @ weights.T + [10, 20, 30]).astype(np.int8)])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TensorSpec((3,), "int8", data=np.zeros(2)), r"shape \(3,\) expected, \(2,\) found"),
        (TensorSpec((1,), "int4", data=np.array([8])), r"-8..7 expected for int4, 8..8 found"),
        (TensorSpec((1,), "uint8", data=np.array([-1])), r"0..255 expected for uint8, -1..-1"),
    ],
)
def test_data_that_does_not_fit_is_refused(spec: TensorSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build({"w": spec}, [], (), ())


# ---------------------------------------------------------------- help


def assert_same(found: Arrays, expected: Arrays) -> None:
    """Same number, types, shapes and bits."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


def declared_shapes(model: bytes) -> list[tuple[int, ...]]:
    """The shapes of the outputs as the file has them; LiteRT infers its own."""
    graph = schema().Model.GetRootAs(model, 0).Subgraphs(0)
    outputs = [graph.Tensors(graph.Outputs(i)) for i in range(graph.OutputsLength())]
    return [tuple(y.Shape(i) for i in range(y.ShapeLength())) for y in outputs]


def crashing_job() -> tuple[bytes, list[npt.NDArray[Any]]]:
    """TFLite Micro reads through the null bias of a depthwise convolution."""
    x = TensorSpec((1, 4, 4, 2), "int8", 0.05)
    weights = TensorSpec((1, 1, 1, 2), "int8", 0.02, data=np.ones((1, 1, 1, 2)))
    options = {
        "padding": "SAME",
        "stride_h": 1,
        "stride_w": 1,
        "dilation_h_factor": 1,
        "dilation_w_factor": 1,
        "depth_multiplier": 1,
    }
    model = build(
        {"x": x, "w": weights, "y": x},
        [OpSpec("DEPTHWISE_CONV_2D", ("x", "w", None), ("y",), options)],
        ("x",),
        ("y",),
    )
    return model, [np.zeros((1, 4, 4, 2), np.int8)]
