# SPDX-License-Identifier: Apache-2.0
"""Small .onnx networks with random weights, made from a list of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Shape = tuple[int, ...]


@dataclass
class Network:
    """Nodes appended one after the other; every method returns the name of its output."""

    seed: int = 0
    opset: int = 17
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def input(self, shape: Sequence[int | str], name: str = "x", dtype: int = 1) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{kind.lower()}{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, names[0], **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, shape: Shape, *, bias: bool = True, **attributes: Any) -> str:
        """Convolution with weights of ``shape`` (outputs, inputs / groups, *window)."""
        fan_in = int(np.prod(shape[1:]))
        inputs = [x, self.constant(self.random.normal(size=shape) / np.sqrt(fan_in))]
        if bias:
            inputs.append(self.constant(self.random.normal(size=shape[0]) * 0.2))
        return str(self.node("Conv", *inputs, **attributes))

    def batch_norm(self, x: str, channels: int) -> str:
        r = self.random
        rows = (
            r.uniform(0.5, 2, channels) * r.choice([-1, 1], channels),
            r.normal(size=channels),
            r.normal(size=channels) * 0.3,
            r.uniform(0.5, 2, channels),
        )
        return str(self.node("BatchNormalization", x, *(self.constant(row) for row in rows)))

    def gemm(self, x: str, inputs: int, outputs: int, **attributes: Any) -> str:
        shape = (outputs, inputs) if attributes.get("transB") else (inputs, outputs)
        weights = self.constant(self.random.normal(size=shape) / np.sqrt(inputs))
        bias = self.constant(self.random.normal(size=outputs) * 0.2)
        return str(self.node("Gemm", x, weights, bias, **attributes))

    def model(self, *outputs: str, dtype: int = 1) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "network",
            self.inputs,
            [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
            self.constants,
        )
        opset = helper.make_opsetid("", self.opset)
        return bytes(helper.make_model(graph, opset_imports=[opset]).SerializeToString())
