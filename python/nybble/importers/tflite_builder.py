# SPDX-License-Identifier: Apache-2.0
"""A graph as the operators of a .tflite file are taken one by one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from .. import ops
from ..graph import Array, DType, GraphError, Node, Operator, Tensor
from ..ops import Activation
from .flatbuffer import Table
from .refusal import Refusal

#: Elements of constants that are computed here at most.
_CONSTANT_LIMIT = 1 << 26

_ACTIVATIONS = {0: Activation.NONE, 1: Activation.RELU, 2: Activation.RELU_N1_TO_1, 3: Activation.RELU6}

#: Operators that only move elements.
_MOVING = (ops.Reshape, ops.Move, ops.Concat, ops.Pack, ops.Pad)


@dataclass
class TfliteBuilder:
    """The graph as it grows."""

    tensors: dict[str, Tensor]
    nodes: list[Node] = field(default_factory=list)
    real_inputs: dict[str, str] = field(default_factory=dict)
    real_outputs: dict[str, str] = field(default_factory=dict)

    @property
    def litert_only(self) -> bool:
        """Whether TFLite Micro refuses the network for int4 weights with a scale per row: LiteRT rules then."""
        return any(
            t.dtype is DType.INT4
            and len(t.shape) == 2
            and t.quantization is not None
            and t.quantization.axis == 0
            for t in self.tensors.values()
        )

    def constant(self, name: str) -> Array:
        """The data of a constant tensor."""
        data = self.tensors[name].data
        if data is None:
            raise Refusal(
                f"{name!r} is computed at run time where a constant is needed", "make it a constant"
            )
        return data

    def integers(self, name: str) -> list[int]:
        """The numbers of a constant tensor, such as axes or borders, flat."""
        return [int(n) for n in self.constant(name).reshape(-1)]

    def emit(self, op: Operator, inputs: list[str], outputs: list[str], label: str) -> None:
        """Append a node. What only moves constants (shape arithmetic) becomes a constant instead."""
        node = Node(op, tuple(inputs), tuple(outputs), label)
        read = [self.tensors[name] for name in inputs]
        arrays = [t.data for t in read if t.data is not None]
        if not isinstance(op, _MOVING) or len(arrays) < len(read):
            self.nodes.append(node)
            return
        if any(self.tensors[name].size > _CONSTANT_LIMIT for name in outputs):
            raise Refusal("a constant of very many elements", "convert the network with smaller constants")
        try:
            results = op.integer(arrays, read, [self.tensors[name] for name in outputs])
        except ValueError as error:
            raise GraphError(f"{node.label}: {error}") from error
        for name, result in zip(outputs, results, strict=True):
            self.fold(name, result)

    def fold(self, name: str, value: Array) -> None:
        """Make a tensor the constant that its operator computes."""
        tensor = self.tensors[name]
        data = np.asarray(value, tensor.dtype.numpy)
        self.tensors[name] = replace(tensor, shape=data.shape, data=data)

    def fresh(self, like: str, tensor: Tensor) -> str:
        """Add a tensor under a new name derived from ``like``."""
        name, i = like, 0
        while name in self.tensors:
            i += 1
            name = f"{like}#{i}"
        self.tensors[name] = replace(tensor, name=name)
        return name


@dataclass(frozen=True)
class TfliteOperator:
    """One operator of the file."""

    label: str
    inputs: list[str]
    outputs: list[str]
    options: Table | None

    def integer(self, slot: int, kind: str = "int", default: int = 0) -> int:
        return self.options.integer(slot, kind, default) if self.options else default

    def flag(self, slot: int) -> bool:
        return bool(self.integer(slot, "bool"))

    def real(self, slot: int) -> float:
        return float(self.options.scalar(slot, "float", 0.0)) if self.options else 0.0

    def activation(self, slot: int) -> Activation:
        code = self.integer(slot, "byte")
        if code not in _ACTIVATIONS:
            raise Refusal(f"fused activation {code} (tanh or sign bit)", "use a separate operator")
        return _ACTIVATIONS[code]
