# SPDX-License-Identifier: Apache-2.0
"""RESHAPE, SLICE, STRIDED_SLICE, TRANSPOSE, SPLIT, UNPACK, BROADCAST_TO and what is made of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nybble import ops
from nybble.convert import convert_graph
from nybble.graph import Array, DType, ModelError, Tensor, evaluate_outputs
from nybble.importers.tflite import import_tflite
from nybble.passes import run_passes
from nybble.session import load_nyb
from oracle import single_op
from oracle.interpreters import EngineRefused, oracle_many, run_many
from oracle.random_ops import Case
from oracle.random_ops import DType as CaseType
from oracle.single_op import OpSpec, TensorSpec

from .equality import assert_core_equals_meaning, assert_equals_oracle, assert_same, run_core
from .hostile import assert_refused, changed, single

MOVING = (
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "TRANSPOSE", "SPLIT", "SPLIT_V", "UNPACK",
)  # fmt: skip
MAX_RANK = 6  # NYB_MAX_RANK
TYPES = (DType.INT8, DType.INT16, DType.INT32, DType.INT64)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", MOVING)
def test_random_models(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


def _in_numpy_and_c(case: Case) -> list[list[Array]]:
    graph = run_passes(import_tflite(case.model_bytes))
    return [
        evaluate_outputs(graph, case.inputs),
        run_core(load_nyb(convert_graph(graph)), case.inputs),
    ]


def _assert_cases_equal_oracle(cases: Iterable[Case]) -> None:
    cases = list(cases)
    answers = oracle_many([(case.model_bytes, case.inputs) for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        assert not isinstance(answer, EngineRefused), f"{answer}: {case.description}"
        for found in _in_numpy_and_c(case):
            assert_same(found, answer[0], case.description)


# ---------------------------------------------------------------- operators that are made of others


def _constant(values: Any) -> TensorSpec:
    data = np.asarray(values, np.int32)
    return TensorSpec(data.shape, "int32", data=data)


def _case(rng: np.random.Generator, dtype: str, op: OpSpec, x: Any, y: Any, **constants: Any) -> Case:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    zero_point = int(rng.integers(low, high + 1))
    tensors = {
        "x": TensorSpec(tuple(x), dtype, 0.5, zero_point),
        **{name: _constant(values) for name, values in constants.items()},
        "y": TensorSpec(tuple(y), dtype, 0.5, zero_point),
    }
    model = single_op.build(tensors, [op], ("x",), ("y",))
    return Case(model, [rng.integers(low, high + 1, tuple(x)).astype(dtype)], f"{op} {x} {constants}")


def _mirror_pad(rng: np.random.Generator, dtype: str) -> Case:
    symmetric = int(rng.integers(2))
    shape = rng.integers(1, 6, int(rng.integers(1, 5))).tolist()
    pads = [rng.integers(0, n + symmetric, 2).tolist() for n in shape]
    y = [n + sum(pad) for n, pad in zip(shape, pads, strict=True)]
    op = OpSpec("MIRROR_PAD", ("x", "pads"), ("y",), {"mode": symmetric})
    return _case(rng, dtype, op, shape, y, pads=pads)


def _space_to_depth(rng: np.random.Generator, dtype: str, back: bool = False) -> Case:
    block = int(rng.integers(1, 4))
    n, h, w, c = rng.integers(1, 5, 4).tolist()
    space, depth = (n, h * block, w * block, c), (n, h, w, c * block * block)
    name = "DEPTH_TO_SPACE" if back else "SPACE_TO_DEPTH"
    op = OpSpec(name, ("x",), ("y",), {"block_size": block})
    return _case(rng, dtype, op, *((depth, space) if back else (space, depth)))


def _depth_to_space(rng: np.random.Generator, dtype: str) -> Case:
    return _space_to_depth(rng, dtype, back=True)


def _broadcast_to(rng: np.random.Generator, dtype: str) -> Case:
    y = rng.integers(1, 6, int(rng.integers(1, 5))).tolist()
    x = [n if rng.random() < 0.5 else 1 for n in y][int(rng.integers(len(y))) :]
    return _case(rng, dtype, OpSpec("BROADCAST_TO", ("x", "shape"), ("y",)), x, y, shape=y)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("draw", [_mirror_pad, _space_to_depth, _depth_to_space, _broadcast_to])
def test_made_of_moves_equals_the_oracle(draw: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        "MIRROR_PAD": "MirrorPadOptions",
        "SPACE_TO_DEPTH": "SpaceToDepthOptions",
        "DEPTH_TO_SPACE": "DepthToSpaceOptions",
        "BROADCAST_TO": None,
    }
    for name, table in options.items():
        monkeypatch.setitem(single_op.OPTIONS_TABLES, name, table)
    _assert_cases_equal_oracle(draw(np.random.default_rng(seed), dtype) for seed in range(200))


def _strided_slice(rng: np.random.Generator) -> Case | None:
    """Every mask; None where the index is wrong, leaves nothing or has too many axes."""
    shape = rng.integers(1, 7, int(rng.integers(1, 5))).tolist()
    count = int(rng.integers(1, len(shape) + 1))
    begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_mask = (
        int(rng.integers(1 << count)) & int(rng.integers(1 << count)) for _ in range(5)
    )
    ellipsis_mask &= -ellipsis_mask
    begin, end = rng.integers(-7, 7, (2, count))
    steps = np.where([shrink_mask >> i & 1 for i in range(count)], 1, rng.choice([1, 1, 2, -1, -2], count))
    index: list[Any] = []
    for i, (b, e, s) in enumerate(zip(begin, end, steps, strict=True)):
        if ellipsis_mask >> i & 1:
            index.append(Ellipsis)
        elif new_axis_mask >> i & 1:
            index.append(None)
        elif shrink_mask >> i & 1:
            index.append(0 if begin_mask >> i & 1 else b)
        else:
            index.append(slice(None if begin_mask >> i & 1 else b, None if end_mask >> i & 1 else e, s))
    try:
        y = np.empty(shape)[tuple(index)].shape
    except IndexError:
        return None
    options = {
        "begin_mask": begin_mask, "end_mask": end_mask, "ellipsis_mask": ellipsis_mask,
        "new_axis_mask": new_axis_mask, "shrink_axis_mask": shrink_mask,
    }  # fmt: skip
    op = OpSpec("STRIDED_SLICE", ("x", "begin", "end", "steps"), ("y",), options)
    if 0 in y or len(y) > MAX_RANK:
        return None
    return _case(rng, "int8", op, shape, y, begin=begin, end=end, steps=steps)


def _declared_shape(case: Case) -> tuple[int, ...]:
    return import_tflite(case.model_bytes).tensors["y"].shape


def test_strided_slice_with_every_mask_equals_litert() -> None:
    drawn = (_strided_slice(np.random.default_rng(seed)) for seed in range(1500))
    cases = [case for case in drawn if case is not None]
    answers = run_many([(case.model_bytes, case.inputs) for case in cases], "ref")
    compared = 0
    for case, answer in zip(cases, answers, strict=True):
        # Where the ellipsis stands for no axis at all, LiteRT's own shapes are not those of the index.
        if isinstance(answer, EngineRefused) or answer[0].shape != _declared_shape(case):
            continue
        for found in _in_numpy_and_c(case):
            assert_same(found, answer, case.description)
        compared += 1
    assert compared > 300


# ---------------------------------------------------------------- numpy and C


@st.composite
def _moves(draw: st.DrawFn) -> tuple[tuple[int, ...], ops.Move]:
    shape = tuple(draw(st.lists(st.integers(1, 6), max_size=5)))
    kind = draw(st.sampled_from(["slice", "transpose", "broadcast"]))
    if kind == "transpose":
        return shape, ops.Transpose(tuple(draw(st.permutations(range(len(shape))))))
    if kind == "broadcast":
        grown = tuple(draw(st.integers(1, 4)) if n == 1 else n for n in shape)
        leading = draw(st.lists(st.integers(1, 3), max_size=min(MAX_RANK - len(shape), 2)))
        return shape, ops.BroadcastTo((*leading, *grown))
    index: list[Any] = []
    for n in shape:
        if draw(st.booleans()):
            first, count = draw(st.integers(0, n - 1)), draw(st.integers(1, n))
            step = draw(st.sampled_from([1, 2, 3, -1, -2]))
            stop = first + count * step
            index.append((first, stop if stop >= 0 else None, step))
        else:
            index.append(draw(st.integers(-n, n - 1)))
    if draw(st.booleans()):
        index.insert(draw(st.integers(0, len(index))), None)
    return shape, ops.Slice(tuple(index))


@settings(max_examples=300, deadline=None)
@given(_moves(), st.sampled_from(TYPES), st.integers(0, 2**32 - 1))
def test_core_equals_meaning(move: tuple[tuple[int, ...], ops.Move], dtype: DType, seed: int) -> None:
    shape, op = move
    x = np.random.default_rng(seed).integers(dtype.lowest, dtype.highest, shape, endpoint=True)
    inputs = [Tensor("x", dtype, shape)]
    output = Tensor("y", dtype, op.shapes(inputs)[0])
    assert_core_equals_meaning(op, inputs, output, [x.astype(dtype.numpy)])


# ---------------------------------------------------------------- hostile files


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(0, 70),
    st.data(),
)
def test_strides_are_refused_exactly_where_they_leave_the_input(
    shape: list[int], offset: int, data: st.DataObject
) -> None:
    strides = data.draw(
        st.lists(
            st.one_of(st.integers(-8, 20), st.sampled_from([2**31 - 1, -(2**31)])),
            min_size=len(shape), max_size=len(shape),
        )
    )  # fmt: skip
    x = Tensor("x", DType.INT8, (64, *[1] * len(shape)))
    graph = single(ops.BroadcastTo((64, *shape)), [x], Tensor("y", DType.INT8, (64, *shape)))
    model = changed(graph, offset=offset, strides=[0, *strides])
    read = [
        offset + sum(i * s for i, s in zip(index, strides, strict=True))
        for index in itertools.product(*(range(n) for n in shape))
    ]
    if min(read) >= 0 and max(read) < 64:
        array = np.arange(64, dtype=np.int8).reshape(x.shape)
        [y] = run_core(load_nyb(model), [array])
        assert y.reshape(64, -1).tolist() == [read] * 64
    else:
        with pytest.raises(ModelError, match="within the input"):
            load_nyb(model)


def test_fields_that_contradict_the_tensors_are_refused() -> None:
    x, y = Tensor("x", DType.INT8, (3, 5)), Tensor("y", DType.INT8, (5, 3))
    graph = single(ops.Transpose((1, 0)), [x], y)
    assert_refused(graph, "a stride for each dimension", strides=[1])
    assert_refused(graph, "a stride for each dimension", strides=[1, 3, 5])
    assert_refused(graph, "within the input", offset=1)
    assert_refused(graph, "within the input", offset=2**32 - 1)


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (ops.Slice(((0, 2, 1), 0)), (3,)),
        (ops.Slice((3,)), (3,)),
        (ops.Transpose((0, 0)), (2, 2)),
        (ops.Transpose((0,)), (2, 2)),
        (ops.BroadcastTo((2, 3)), (2, 2)),
    ],
)
def test_wrong_attributes_are_named(op: ops.Move, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape|fit"):
        op.shapes([Tensor("x", DType.INT8, shape)])
