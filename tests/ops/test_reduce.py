# SPDX-License-Identifier: Apache-2.0
"""MEAN and SUM."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import DType, Quantization, Rounding
from oracle.interpreters import oracle
from oracle.random_ops import Case
from oracle.random_ops import DType as CaseType
from oracle.single_op import OpSpec, TensorSpec, build

from . import drawing
from .equality import assert_cases_equal_oracle, assert_core_equals_meaning, assert_equals_oracle
from .hostile import assert_refused, single


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", ["MEAN", "SUM"])
def test_equals_the_oracle(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


def test_the_truncated_division_by_the_count_matters() -> None:
    # 617 elements that sum to 60 960: with the multiplier rounded instead the mean would be 119.
    x = np.full((1, 617), 98, np.int8)
    x[0, : 60960 - 98 * 617] += 1
    tensors = {
        "x": TensorSpec(x.shape, "int8", 0.04680745303630829),
        "axes": TensorSpec((1,), "int32", data=np.array([1])),
        "y": TensorSpec((1,), "int8", 0.039026860147714615),
    }
    mean = OpSpec("MEAN", ("x", "axes"), ("y",), {"keep_dims": False})
    model = build(tensors, [mean], ("x",), ("y",))
    assert_cases_equal_oracle([Case(model, [x], "617 elements")])
    assert oracle(model, [x])[0][0].tolist() == [118]


@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    # Up to six axes; the last ones long enough for more than one block of channels.
    shape = data.draw(st.lists(st.integers(1, 5), max_size=5).map(tuple))
    shape += data.draw(st.sampled_from(((), (1,), (63,), (64,), (65,), (130,))))
    axes = tuple(i for i in range(len(shape)) if data.draw(st.booleans()))
    kind = data.draw(st.sampled_from((ops.Mean, ops.Sum)))
    op = kind(axes, data.draw(st.booleans()), data.draw(st.sampled_from(list(Rounding))))
    x = drawing.tensor("x", shape, data.draw(drawing.QUANTIZATIONS))
    ratio = 2.0 ** data.draw(st.floats(-8, 8))
    y = Quantization.per_tensor(x.scale * ratio, data.draw(drawing.ZERO_POINTS))
    output = drawing.tensor("y", op.shapes([x])[0], y)
    assert_core_equals_meaning(op, [x], output, [data.draw(drawing.arrays(shape))])


def test_a_mean_keeps_its_multiplier_in_31_bits() -> None:
    # The shift of a tiny ratio leaves no room for that of the count.
    x = drawing.tensor("x", (4, 1000), Quantization.per_tensor(2.0**-20, 0))
    y = drawing.tensor("y", (4,), Quantization.per_tensor(2.0**9, 0))
    fields = ops.Mean((1,)).lower([x], [y]).fields
    assert fields["shift"] <= 62
    assert 0 <= fields["multiplier"] < 1 << 31
    assert_core_equals_meaning(ops.Mean((1,)), [x], y, [np.full((4, 1000), 127, np.int8)])


def test_a_mean_is_near_the_true_one() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-128, 128, (3, 50, 7)).astype(np.int8)
    q = Quantization.per_tensor(0.25, -7)
    x, y = drawing.tensor("x", values.shape, q), drawing.tensor("y", (3, 7), q)
    [found] = ops.Mean((1,)).integer([values], [x], [y])
    assert np.abs(found - values.mean(axis=1)).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("axes", "shape", "message"),
    [
        ((2,), (3, 4), "expected different axes"),
        ((1, 1), (3, 4), "expected different axes"),
        ((-1,), (3, 4), "expected different axes"),
    ],
)
def test_wrong_axes_are_refused(axes: tuple[int, ...], shape: tuple[int, ...], message: str) -> None:
    x = drawing.tensor("x", shape, Quantization.per_tensor(1.0, 0))
    with pytest.raises(ValueError, match=message):
        ops.Sum(axes).shapes([x])


def test_a_file_with_wrong_axes_is_refused() -> None:
    x = drawing.tensor("x", (3, 4), Quantization.per_tensor(1.0, 0))
    y = drawing.tensor("y", (3,), Quantization.per_tensor(1.0, 0))
    graph = single(ops.Mean((1,)), [x], y)
    assert_refused(graph, "different axes of the input", axes=[2])
    assert_refused(graph, "different axes of the input", axes=[1, 1])
    assert_refused(graph, "one output for each sum", axes=[0])
    assert_refused(graph, "one output for each sum", axes=[])


@pytest.mark.parametrize("count", [0, 1 << 23])
def test_sums_that_could_pass_int32_are_refused(count: int) -> None:
    x = drawing.tensor("x", (2, count), Quantization.per_tensor(1.0, 0))
    y = drawing.tensor("y", (2,), Quantization.per_tensor(math.ldexp(1.0, 20), 0))
    with pytest.raises(ValueError, match=r"expected 1 to 2\^23 - 1 elements"):
        ops.Mean((1,)).lower([x], [y])
    # An int16 is 2^7 times as large: fewer of them fit.
    x, y = (drawing.tensor(t.name, t.shape, t.quantization, DType.INT16) for t in (x, y))
    with pytest.raises(ValueError, match=r"expected 1 to 2\^16 - 1 elements"):
        ops.Mean((1,)).lower([x], [y])
