# SPDX-License-Identifier: Apache-2.0
"""SQUARED_DIFFERENCE (int8 only: no reference runs it in uint8)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import Quantization, Rounding
from oracle import single_op
from oracle.random_ops import Case
from oracle.single_op import OpSpec, TensorSpec, build

from . import drawing
from .equality import assert_cases_equal_oracle, assert_core_equals_meaning


def random_model(rng: np.random.Generator) -> Case:
    """Two inputs of one shape, or one of a single element, with scales up to 16 times apart."""
    shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 5)))
    shapes = [shape, shape if rng.random() < 0.7 else (1,) * len(shape)]
    scales = 2.0 ** rng.uniform(-8, -4, 2)
    zero_points = [int(z) for z in rng.integers(-128, 128, 3)]
    scale_y = float((scales.max() * 255) ** 2 / 255 * 2.0 ** rng.uniform(-3, 1))
    tensors = {
        "a": TensorSpec(shapes[0], "int8", float(np.float32(scales[0])), zero_points[0]),
        "b": TensorSpec(shapes[1], "int8", float(np.float32(scales[1])), zero_points[1]),
        "y": TensorSpec(shape, "int8", float(np.float32(scale_y)), zero_points[2]),
    }
    model = build(tensors, [OpSpec("SQUARED_DIFFERENCE", ("a", "b"), ("y",))], ("a", "b"), ("y",))
    inputs = [rng.integers(-128, 128, s).astype(np.int8) for s in shapes]
    return Case(model, inputs, f"SQUARED_DIFFERENCE {tensors}")


def test_equals_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(single_op.OPTIONS_TABLES, "SQUARED_DIFFERENCE", "SquaredDifferenceOptions")
    assert_cases_equal_oracle([random_model(np.random.default_rng(seed)) for seed in range(250)])


@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    shapes = data.draw(drawing.broadcast_shapes())
    quantizations = [data.draw(drawing.QUANTIZATIONS) for _ in shapes]
    largest = max(q.single_scale for q in quantizations)
    scale = (largest * largest) * 2.0 ** data.draw(st.floats(-8, 16))
    y = Quantization.per_tensor(scale, data.draw(drawing.ZERO_POINTS))
    inputs = [
        drawing.tensor(name, shape, q) for name, shape, q in zip("ab", shapes, quantizations, strict=True)
    ]
    output = drawing.tensor("y", np.broadcast_shapes(*shapes), y)
    op = ops.SquaredDifference(rounding=data.draw(st.sampled_from(list(Rounding))))
    assert_core_equals_meaning(op, inputs, output, [data.draw(drawing.arrays(s)) for s in shapes])
