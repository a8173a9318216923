# SPDX-License-Identifier: Apache-2.0
"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nybble import ops
from nybble.convert import convert_graph
from nybble.graph import DType, Quantization, Tensor, evaluate_outputs
from nybble.ops import ResizeMethod
from nybble.session import load_nyb
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_core_equals_meaning, assert_equals_oracle, assert_same, run_core
from .hostile import assert_refused, changed, single

ONE = Quantization.per_tensor(1.0, 0)
COORDINATES = ((False, False), (True, False), (False, True))  # align corners, half pixel centers


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_random_models(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype, 400)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, n)) for n in (2, 12, 12, 3))
    size = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    coordinates = data.draw(st.sampled_from(COORDINATES))
    method = data.draw(st.sampled_from(list(ResizeMethod)))
    op = ops.ResizeBilinear(size, *coordinates, method)
    inputs, output = _tensors(shape, size)
    assert_core_equals_meaning(op, inputs, output, [data.draw(drawing.arrays(shape))])
    nearest = ops.ResizeNearest(size, *coordinates)
    assert_core_equals_meaning(nearest, inputs, output, [data.draw(drawing.arrays(shape))])


def _tensors(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[list[Tensor], Tensor]:
    return [drawing.tensor("x", shape, ONE)], drawing.tensor("y", (shape[0], *size, shape[3]), ONE)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize(("n", "out"), [(33, 500), (65, 513), (7, 1000), (640, 97), (129, 128), (3, 2049)])
def test_float32_in_integers(n: int, out: int, coordinates: tuple[bool, bool]) -> None:
    """Long tables: every kind of fraction, from the smallest on."""
    shape = (1, n, 3, 2)
    inputs, output = _tensors(shape, (out, 7))
    op = ops.ResizeBilinear((out, 7), *coordinates, ResizeMethod.FLOAT32)
    array = np.random.default_rng(n).choice([-128, -127, 0, 1, 126, 127], shape).astype(np.int8)
    assert_core_equals_meaning(op, inputs, output, [array])


def _weights(rng: np.random.Generator, count: int, negative: bool) -> npt.NDArray[np.float32]:
    """Pairs of weights [2, count]: of any size from 2^-60 on, or 1 + f and -f.

    Many are powers of two or next to one: then sums lie next to the steps of the rounded result, where the
    core leaves its short cut.
    """
    near_one = 1 + 2.0**-23 * rng.integers(0, 3, 6)
    mantissa = rng.choice([*near_one, 2 - 2.0**-23, 1.5, *rng.uniform(1, 2, 2)], (2, count))
    low = rng.choice([-60, -30, -26, -2, -1])
    values: npt.NDArray[np.float32] = (mantissa * 2.0 ** rng.integers(low, 0, (2, count))).astype(np.float32)
    values[rng.random((2, count)) < 0.1] = 0
    if negative:
        fraction = values[0] / np.float32(2)
        return np.stack([np.float32(1) + fraction, -fraction])
    return values


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_float32_in_integers_with_any_weights(seed: int, negative_rows: bool, negative_columns: bool) -> None:
    """Sums of numbers of any distance; numpy's own float32 is the judge."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, -64, (1, 2, 2, 1)).astype(np.int8)  # four products of at most 63 fit uint8
    sides = []
    for negative in (negative_rows, negative_columns):
        indices = rng.integers(0, 2, (2, 16)).astype(np.int32)
        indices[1] = np.where(negative, indices[0], indices[1])
        sides.append((indices, _weights(rng, 16, negative)))
    inputs, output = _tensors(x.shape, (16, 16))
    graph = single(ops.ResizeBilinear((16, 16), method=ResizeMethod.FLOAT32), inputs, output)
    rows, columns = (np.concatenate([i, w.view(np.int32)]) for i, w in sides)
    model = changed(graph, method="FLOAT32", rows=rows, columns=columns)
    [found] = run_core(load_nyb(model), [x])

    image = (x.astype(np.float32) + np.float32(128)).reshape(2, 2)
    (i, wi), (j, wj) = sides
    total = np.zeros((16, 16), np.float32)
    for right in (0, 1):
        for below in (0, 1):
            total += image[i[below][:, None], j[right]] * wi[below][:, None] * wj[right]
    wanted = np.floor(total + np.float32(0.5)) - 128
    assert found.reshape(16, 16).tolist() == wanted.tolist()


def test_exact_fractions_need_no_float32() -> None:
    """Powers of two take the integer form, others do not; both give the numbers of float32."""
    for size, method in (((8, 16), "FIXED_UP"), ((8, 12), "FLOAT32"), ((8, 1024), "FLOAT32")):
        inputs, output = _tensors((1, 4, 4, 1), size)
        op = ops.ResizeBilinear(size, half_pixel_centers=True, method=ResizeMethod.FLOAT32)
        assert op.lower(inputs, [output]).fields["method"] == method
        for seed in range(20):
            rng = np.random.default_rng(seed)
            array = rng.integers(-128, 128, (1, 4, 4, 1)).astype(np.int8)
            assert_core_equals_meaning(op, inputs, output, [array])


def test_a_scale_that_is_rounded_up_stays_within_the_image() -> None:
    """10 / 950 in 10 bits leads past the last row, where the reference reads beyond its input."""
    inputs, output = _tensors((1, 10, 10, 1), (950, 1))
    array = np.arange(100, dtype=np.int8).reshape(1, 10, 10, 1)
    assert_core_equals_meaning(ops.ResizeBilinear((950, 1)), inputs, output, [array])
    [y] = ops.ResizeBilinear((950, 1)).integer([array], inputs, [output])
    assert y.max() == 90


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("method", list(ResizeMethod))
def test_threads_share_the_lines(method: ResizeMethod, threads: int) -> None:
    inputs, output = _tensors((2, 5, 6, 3), (17, 23))
    array = np.random.default_rng(5).integers(-128, 128, (2, 5, 6, 3)).astype(np.int8)
    for op in (ops.ResizeBilinear((17, 23), method=method), ops.ResizeNearest((17, 23))):
        graph = single(op, inputs, output)
        session = load_nyb(convert_graph(graph), threads=threads)
        assert_same(run_core(session, [array]), evaluate_outputs(graph, [array]), f"{op} {threads}")


# ---------------------------------------------------------------- hostile files


def _table(op: ops.ResizeBilinear | ops.ResizeNearest, name: str) -> Any:
    inputs, output = _tensors((1, 3, 4, 2), op.size)
    return op.lower(inputs, [output]).fields[name].copy()


def _with(array: Any, at: Any, value: int) -> Any:
    array[at] = value
    return array


@pytest.mark.parametrize("name", ["rows", "columns"])
def test_tables_of_nearest_are_refused_where_they_leave_the_image(name: str) -> None:
    op = ops.ResizeNearest((5, 6))
    inputs, output = _tensors((1, 3, 4, 2), op.size)
    graph = single(op, inputs, output)
    extent = 3 if name == "rows" else 4
    for value in (-1, extent, 2**31 - 1, -(2**31)):
        assert_refused(graph, "rows and columns of the input", **{name: _with(_table(op, name), 2, value)})
    assert_refused(graph, "an index for each", **{name: _table(op, name)[:-1]})
    assert_refused(graph, "an index for each", **{name: np.zeros(7, np.int32)})


@pytest.mark.parametrize("name", ["rows", "columns"])
@pytest.mark.parametrize("method", list(ResizeMethod))
def test_tables_of_bilinear_are_refused_where_they_leave_the_image(name: str, method: ResizeMethod) -> None:
    op = ops.ResizeBilinear((5, 6), method=method)
    inputs, output = _tensors((1, 3, 4, 2), op.size)
    graph = single(op, inputs, output)
    extent = 3 if name == "rows" else 4
    for row in (0, 1):
        for value in (-1, extent, -(2**31)):
            changed = _with(_table(op, name), (row, 1), value)
            assert_refused(graph, "rows and columns of the input", **{name: changed})
    assert_refused(graph, "for each output row and column", **{name: _table(op, name)[:, :-1]})
    assert_refused(graph, "a known method", method=3)
    wrong: tuple[int, ...] = (2**31 - 1, -(2**31), 2049, -1025)
    if method is ResizeMethod.FLOAT32:
        # Just above 1.5, 4, infinity, NaN, subnormal, 2^-63.
        wrong = (0x3FC00001, 0x40800000, 0x7F800000, 0x7FC00000, 1, 0x20000000)
    for value in wrong:
        changed = _with(_table(op, name), (3, 1), value)
        assert_refused(graph, "weights", **{name: changed})


def test_weights_of_two_rows_are_refused_below_0() -> None:
    op = ops.ResizeBilinear((5, 6))
    inputs, output = _tensors((1, 3, 4, 2), op.size)
    table = _table(op, "rows")
    table[:, 1] = 0, 1, 1025, -1
    assert_refused(single(op, inputs, output), "weights", rows=table)


@pytest.mark.parametrize("shape", [(3, 4), (1, 0, 4, 2)])
def test_wrong_shapes_are_named(shape: tuple[int, ...]) -> None:
    for op in (ops.ResizeBilinear((2, 2)), ops.ResizeNearest((2, 2))):
        with pytest.raises(ValueError, match="4 dimensions"):
            op.shapes([Tensor("x", DType.INT8, shape)])


def test_other_scales_are_refused() -> None:
    inputs, output = _tensors((1, 3, 4, 2), (5, 6))
    other = Tensor("y", DType.INT8, output.shape, Quantization.per_tensor(2.0, 0))
    for op in (ops.ResizeBilinear((5, 6)), ops.ResizeNearest((5, 6))):
        with pytest.raises(ValueError, match="equal types and scales"):
            op.lower(inputs, [other])
    with pytest.raises(ValueError, match="at least 1"):
        ops.ResizeNearest((0, 6)).shapes(inputs)
