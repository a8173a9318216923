# SPDX-License-Identifier: Apache-2.0
"""ADD and SUB."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nybble import ops
from nybble.compile import compile_graph
from nybble.graph import Graph, ModelError, Quantization, Rounding
from nybble.session import load_nyb
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_core_equals_meaning, assert_equals_oracle
from .hostile import assert_refused, changed, single


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", ["ADD", "SUB"])
def test_equals_the_oracle(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


@settings(deadline=None)
@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    shapes = data.draw(drawing.broadcast_shapes())
    quantizations = [data.draw(drawing.QUANTIZATIONS) for _ in shapes]
    largest = max(q.single_scale for q in quantizations)
    y = Quantization.per_tensor(
        largest * 2.0 ** data.draw(st.floats(-10, 10)), data.draw(drawing.ZERO_POINTS)
    )
    kind = data.draw(st.sampled_from((ops.Add, ops.Sub)))
    op = kind(data.draw(st.sampled_from(list(ops.Activation))), data.draw(st.sampled_from(list(Rounding))))
    inputs = [
        drawing.tensor(name, shape, q) for name, shape, q in zip("ab", shapes, quantizations, strict=True)
    ]
    output = drawing.tensor("y", np.broadcast_shapes(*shapes), y)
    arrays = [data.draw(drawing.arrays(shape)) for shape in shapes]
    assert_core_equals_meaning(op, inputs, output, arrays)


def test_a_result_past_int32_is_refused() -> None:
    x = drawing.tensor("x", (1,), Quantization.per_tensor(1.0, 0))
    y = drawing.tensor("y", (1,), Quantization.per_tensor(2.0**-24, 0))
    with pytest.raises(ValueError, match="the output's scale is too small"):
        ops.Add().lower([x, x], [y])


def _two_scales() -> Graph:
    scales = {"a": 0.04, "b": 0.03}
    inputs = [drawing.tensor(name, (2, 3), Quantization.per_tensor(s, -5)) for name, s in scales.items()]
    return single(ops.Add(), inputs, drawing.tensor("y", (2, 3), Quantization.per_tensor(0.05, 3)))


def _linear(scale1: float, scale2: float, scale: float, rounding: Rounding) -> dict[str, int] | None:
    scales = {"a": scale1, "b": scale2}
    inputs = [drawing.tensor(n, (2,), Quantization.per_tensor(s, 0)) for n, s in scales.items()]
    y = drawing.tensor("y", (2,), Quantization.per_tensor(scale, 0))
    [node] = compile_graph(single(ops.Add(rounding=rounding), inputs, y)).nodes
    linear: dict[str, int] | None = node.fields["linear"]
    return linear


def test_ties_away_from_zero_take_larger_slopes() -> None:
    half = {"slope1": 1 << 27, "slope2": 1 << 27, "round": 1 << 27}
    assert _linear(0.5, 0.5, 1.0, Rounding.SINGLE) == half
    larger = _linear(0.5, 0.5, 1.0, Rounding.DOUBLE)
    assert larger is not None
    assert larger["slope1"] > half["slope1"]


def test_large_slopes_have_no_linear_form() -> None:
    assert _linear(0.5, 0.5, 0.125, Rounding.DOUBLE) is None


def test_a_neighbour_of_the_nearest_slopes_may_serve() -> None:
    # From a MobileNetV2: one sum passes the border between two steps with the nearest slopes.
    scales = {"a": (0.06442804634571075, -10), "b": (0.04754212126135826, -9)}
    inputs = [drawing.tensor(n, (256, 256), Quantization.per_tensor(*q)) for n, q in scales.items()]
    y = drawing.tensor("y", (256, 256), Quantization.per_tensor(0.07903602719306946, 0))
    graph = single(ops.Add(), inputs, y)
    [node] = compile_graph(graph).nodes
    nearest = round(scales["a"][0] / 0.07903602719306946 * (1 << 28))
    assert abs(node.fields["linear"]["slope1"] - nearest) < 64
    load_nyb(changed(graph)).verify()


@pytest.mark.parametrize("member", ["slope1", "slope2", "round"])
def test_verification_proves_the_linear_form(member: str) -> None:
    graph = _two_scales()
    [node] = compile_graph(graph).nodes
    linear = node.fields["linear"]
    load_nyb(changed(graph)).verify()
    with pytest.raises(ModelError, match="a linear form equal to the sum"):
        load_nyb(changed(graph, linear={**linear, member: linear[member] + (1 << 26)})).verify()


def test_a_linear_form_with_large_slopes_is_refused() -> None:
    linear = {"slope1": 1 << 30, "slope2": 0, "round": 0}
    assert_refused(_two_scales(), "slopes below 2\\^30", linear=linear)
