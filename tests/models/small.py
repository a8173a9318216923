# SPDX-License-Identifier: Apache-2.0
"""Small integer graphs built by hand, for tests that need a model and no importer."""

from __future__ import annotations

import numpy as np

from nybble import ops
from nybble.graph import DType, Graph, Node, Port, Quantization, Tensor


def small_graph(bits: int = 8, seed: int = 0) -> Graph:
    """A 3x3 convolution from 2 to 3 channels on 4x4 pixels, then a reshape."""
    rng = np.random.default_rng(seed)
    limit = (1 << (bits - 1)) - 1
    weights = rng.integers(-limit - 1, limit + 1, (3, 3, 3, 2)).astype(np.int8)
    per_channel = Quantization((0.1, 0.2, 0.3), (0, 0, 0), 0)
    tensors = [
        Tensor("image", DType.INT8, (1, 4, 4, 2), Quantization.per_tensor(0.05, 3)),
        Tensor(
            "weights", {8: DType.INT8, 4: DType.INT4, 2: DType.INT2}[bits], (3, 3, 3, 2), per_channel, weights
        ),
        Tensor("bias", DType.INT32, (3,), None, np.array([1, -2, 300], np.int32)),
        Tensor("features", DType.INT8, (1, 4, 4, 3), Quantization.per_tensor(1.5, -7)),
        Tensor("flat", DType.INT8, (1, 48), Quantization.per_tensor(1.5, -7)),
    ]
    window = ops.Window((3, 3), padding=((1, 1), (1, 1)))
    nodes = (
        Node(ops.Conv2d(window), ("image", "weights", "bias"), ("features",), "conv"),
        Node(ops.Reshape((1, 48)), ("features",), ("flat",), "flatten"),
    )
    graph = Graph(
        {t.name: t for t in tensors}, nodes, (Port("image", "image"),), (Port("flat", "scores"),), "small"
    )
    graph.check()
    return graph
