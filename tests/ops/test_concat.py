# SPDX-License-Identifier: Apache-2.0
"""CONCATENATION and PACK."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import DType, Quantization, Tensor, UnsupportedError
from nybble.importers.tflite import import_tflite
from oracle.random_ops import DType as CaseType
from oracle.single_op import OpSpec, TensorSpec, build

from .equality import assert_core_equals_meaning, assert_equals_oracle
from .hostile import assert_refused, single


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", ["CONCATENATION", "PACK"])
def test_random_models(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


@settings(deadline=None)
@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from((DType.INT8, DType.INT16, DType.INT32, DType.INT64)))
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    count = data.draw(st.integers(1, 9))
    inputs = []
    op: ops.Concat | ops.Pack
    if data.draw(st.booleans()):
        op = ops.Concat(data.draw(st.integers(0, len(shape) - 1)))
        for i in range(count):
            shape[op.axis] = data.draw(st.integers(1, 5))
            inputs.append(Tensor(f"x{i}", dtype, tuple(shape)))
    else:
        op = ops.Pack(data.draw(st.integers(0, len(shape))))
        inputs = [Tensor(f"x{i}", dtype, tuple(shape)) for i in range(count)]
    output = Tensor("y", dtype, op.shapes(inputs)[0])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    arrays = [
        rng.integers(dtype.lowest, dtype.highest, t.shape, endpoint=True).astype(dtype.numpy) for t in inputs
    ]
    assert_core_equals_meaning(op, inputs, output, arrays)


def test_inputs_that_do_not_fill_the_output_are_refused() -> None:
    inputs = [Tensor("a", DType.INT8, (2, 3)), Tensor("b", DType.INT8, (2, 4))]
    graph = single(ops.Concat(1), inputs, Tensor("y", DType.INT8, (2, 7)))
    assert_refused(graph, "an axis", axis=2)
    assert_refused(graph, "fill the output", inputs=["a"])
    assert_refused(graph, "that fit it", inputs=["a", "b", "b"])
    # A row of the output is one element, and the inputs are not as many rows.
    inputs = [Tensor("a", DType.INT8, (2, 3)), Tensor("b", DType.INT8, (3, 3))]
    graph = single(ops.Concat(0), inputs, Tensor("y", DType.INT8, (5, 3)))
    assert_refused(graph, "that fit it", axis=1)


def test_unequal_scales_are_refused_where_litert_refuses_them() -> None:
    tensors = {
        "a": TensorSpec((2,), "int8", 0.5, 0),
        "b": TensorSpec((2,), "int8", 0.25, 0),
        "y": TensorSpec((4,), "int8", 0.5, 0),
    }
    model = build(tensors, [OpSpec("CONCATENATION", ("a", "b"), ("y",))], ("a", "b"), ("y",))
    with pytest.raises(UnsupportedError, match="'b' differs"):
        import_tflite(model)
    x, y = (Tensor(n, DType.INT8, (2,), Quantization.per_tensor(s, 0)) for n, s in (("x", 0.5), ("y", 1)))
    for op in (ops.Concat(0), ops.Pack(0)):
        with pytest.raises(ValueError, match="expected the output's type and scale"):
            op.lower([x], [y])


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (ops.Concat(1), [(2,), (2,)]),
        (ops.Concat(0), [(2, 3), (2, 4)]),
        (ops.Concat(0), [(2, 3), (2,)]),
        (ops.Pack(2), [(2,), (2,)]),
        (ops.Pack(0), [(2,), (3,)]),
    ],
)
def test_wrong_shapes_are_named(op: ops.Concat | ops.Pack, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"shapes|axis"):
        op.shapes([Tensor(f"x{i}", DType.INT8, shape) for i, shape in enumerate(shapes)])
