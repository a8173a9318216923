# SPDX-License-Identifier: Apache-2.0
"""Passes over integer graphs: fewer operators, the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.small import small_graph
from nybble import ops
from nybble.graph import Array, DType, Graph, Node, Quantization, Tensor, evaluate_outputs
from nybble.passes import run_passes


def image(seed: int, shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def with_pad(quantization: Quantization) -> Graph:
    """The small graph with a border of two pixels before its convolution."""
    graph = small_graph()
    pad = ops.Pad((0, 2, 1, 0), (0, 1, 2, 0))
    tensors = dict(graph.tensors)
    tensors["small"] = replace(tensors["image"], name="small", shape=(1, 1, 1, 2), quantization=quantization)
    nodes = (Node(pad, ("small",), ("image",), "pad"), *graph.nodes)
    inputs = [replace(graph.inputs[0], tensor="small")]
    return graph.rebuilt(nodes, tensors, inputs)


def test_padding_becomes_part_of_the_window() -> None:
    graph = with_pad(small_graph().tensors["image"].quantized)
    passed = run_passes(graph)
    assert [n.op.name for n in passed.nodes] == ["Conv2d", "Reshape"]
    x = image(0, (1, 1, 1, 2))
    np.testing.assert_array_equal(evaluate_outputs(passed, [x])[0], evaluate_outputs(graph, [x])[0])


def test_padding_with_another_zero_point_stays() -> None:
    graph = with_pad(Quantization.per_tensor(0.05, -9))
    assert [n.op.name for n in run_passes(graph).nodes] == ["Pad", "Conv2d", "Reshape"]


@pytest.mark.parametrize("chain", [1, 3])
def test_what_nobody_reads_is_removed(chain: int) -> None:
    graph = small_graph()
    tensors = dict(graph.tensors)
    nodes = list(graph.nodes)
    source = "features"
    for i in range(chain):
        tensors[f"unread{i}"] = Tensor(f"unread{i}", DType.INT8, (1, 48), tensors["features"].quantization)
        nodes.append(Node(ops.Reshape((1, 48)), (source,), (f"unread{i}",)))
        source = f"unread{i}"
    passed = run_passes(graph.rebuilt(nodes, tensors))
    assert [n.name for n in passed.nodes] == ["conv", "flatten"]
    assert "unread0" not in passed.tensors
