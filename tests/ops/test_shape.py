# SPDX-License-Identifier: Apache-2.0
"""SHAPE and the arithmetic on what it gives: all of it is done at import."""

from __future__ import annotations

import numpy as np
import pytest

from nybble import ops
from nybble.convert import convert_graph
from nybble.graph import Array
from nybble.importers.tflite import import_tflite
from nybble.passes import run_passes
from nybble.session import load_nyb
from oracle import single_op
from oracle.interpreters import run
from oracle.single_op import OpSpec, TensorSpec, build

from .equality import assert_same, run_core


def _constant(values: object) -> TensorSpec:
    data = np.asarray(values, np.int32)
    return TensorSpec(data.shape, "int32", data=data)


def _prove(model: bytes, x: Array, kinds: list[type]) -> None:
    """LiteRT == C, and the graph holds these operators only."""
    graph = run_passes(import_tflite(model))
    assert [type(node.op) for node in graph.nodes] == kinds
    assert_same(run_core(load_nyb(convert_graph(graph)), [x]), run(model, [x], "ref"), str(kinds))


@pytest.fixture(autouse=True)
def _shape_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(single_op.OPTIONS_TABLES, "SHAPE", "ShapeOptions")


@pytest.mark.parametrize(("builtin", "factor", "size"), [("MUL", 3, 12), ("ADD", 5, 9), ("SUB", 1, 3)])
def test_upsampling_by_a_computed_size(builtin: str, factor: int, size: int) -> None:
    tensors = {
        "x": TensorSpec((1, 4, 4, 2), "int8", 0.5, 3),
        "shape": TensorSpec((4,), "int32"),
        "one": _constant([1]), "three": _constant([3]), "step": _constant([1]),
        "image": TensorSpec((2,), "int32"),
        "factor": _constant([factor, factor]),
        "size": TensorSpec((2,), "int32"),
        "y": TensorSpec((1, size, size, 2), "int8", 0.5, 3),
    }  # fmt: skip
    operators = [
        OpSpec("SHAPE", ("x",), ("shape",), {"out_type": 2}),
        OpSpec("STRIDED_SLICE", ("shape", "one", "three", "step"), ("image",)),
        OpSpec(builtin, ("image", "factor"), ("size",)),
        OpSpec("RESIZE_NEAREST_NEIGHBOR", ("x", "size"), ("y",)),
    ]
    x = np.random.default_rng(1).integers(-128, 128, (1, 4, 4, 2)).astype(np.int8)
    _prove(build(tensors, operators, ("x",), ("y",)), x, [ops.ResizeNearest])


def test_reshape_to_a_packed_shape() -> None:
    tensors = {
        "x": TensorSpec((2, 3, 4), "int8", 0.5, 3),
        "shape": TensorSpec((3,), "int32"),
        "zero": _constant([0]), "one": _constant([1]),
        "batch": TensorSpec((), "int32"),
        "rest": _constant(12),
        "target": TensorSpec((2,), "int32"),
        "y": TensorSpec((2, 12), "int8", 0.5, 3),
    }  # fmt: skip
    operators = [
        OpSpec("SHAPE", ("x",), ("shape",), {"out_type": 2}),
        OpSpec("STRIDED_SLICE", ("shape", "zero", "one", "one"), ("batch",), {"shrink_axis_mask": 1}),
        OpSpec("PACK", ("batch", "rest"), ("target",), {"values_count": 2}),
        OpSpec("RESHAPE", ("x", "target"), ("y",)),
    ]
    x = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
    _prove(build(tensors, operators, ("x",), ("y",)), x, [ops.Reshape])
