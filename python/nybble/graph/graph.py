# SPDX-License-Identifier: Apache-2.0
"""Graph, Node and Tensor: frozen, checked, rebuilt by every pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from .operator import Array, Operator
from .quantization import DType, Quantization


class GraphError(ValueError):
    """The graph contradicts itself: an importer or a pass has a fault, or the model is wrong."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named tensor. ``data`` is set for constants; activations are laid out NHWC."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    quantization: Quantization | None = None
    data: Array | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes as stored at run time (activations are never narrower than a byte)."""
        return self.size * self.dtype.numpy.itemsize

    @property
    def lowest(self) -> int:
        """The smallest integer that the tensor may hold: the type's, or that of its levels (Quantization.bits)."""
        bits = None if self.quantization is None else self.quantization.bits
        return self.dtype.lowest if bits is None else -(1 << (bits - 1))

    @property
    def highest(self) -> int:
        """The largest integer that the tensor may hold."""
        bits = None if self.quantization is None else self.quantization.bits
        return self.dtype.highest if bits is None else (1 << (bits - 1)) - 1

    @property
    def quantized(self) -> Quantization:
        """The quantization; GraphError where there is none."""
        if self.quantization is None:
            raise GraphError(f"tensor {self.name!r} ({self.dtype.value}) has no scale and zero point")
        return self.quantization

    @property
    def scale(self) -> float:
        """The per-tensor scale."""
        return self.quantized.single_scale

    @property
    def zero_point(self) -> int:
        """The per-tensor zero point."""
        return self.quantized.single_zero_point


@dataclass(frozen=True, eq=False)
class Node:
    """One operator with the names of its tensors ('' where an optional input is absent)."""

    op: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str = ""

    @property
    def label(self) -> str:
        """What errors call this node."""
        return f"{self.op.name} {self.name or self.outputs[0]!r}"


@dataclass(frozen=True)
class Port:
    """An input or output: its tensor, its public name, and whether the source network has float32 here."""

    tensor: str
    name: str
    real: bool = False


@dataclass(frozen=True, eq=False)
class Graph:
    """A network in execution order."""

    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    name: str = ""
    labels: tuple[str, ...] = ()
    preprocessing: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def inputs_of(self, node: Node) -> list[Tensor]:
        """The tensors that a node reads, absent ones left out (they are always the last)."""
        return [self.tensors[name] for name in node.inputs if name]

    def outputs_of(self, node: Node) -> list[Tensor]:
        """The tensors that a node writes."""
        return [self.tensors[name] for name in node.outputs]

    def consumers(self) -> dict[str, list[Node]]:
        """For every tensor, the nodes that read it."""
        result: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in node.inputs:
                if name:
                    result[name].append(node)
        return result

    def producers(self) -> dict[str, Node]:
        """For every tensor that a node writes, that node."""
        return {name: node for node in self.nodes for name in node.outputs}

    def rebuilt(
        self,
        nodes: Iterable[Node] | None = None,
        tensors: Mapping[str, Tensor] | None = None,
        inputs: Sequence[Port] | None = None,
        outputs: Sequence[Port] | None = None,
    ) -> Graph:
        """A checked copy with some parts replaced; tensors that nothing uses any more are dropped."""
        new_nodes = self.nodes if nodes is None else tuple(nodes)
        new_inputs = self.inputs if inputs is None else tuple(inputs)
        new_outputs = self.outputs if outputs is None else tuple(outputs)
        source = self.tensors if tensors is None else tensors
        used = {p.tensor for p in new_inputs} | {p.tensor for p in new_outputs}
        for node in new_nodes:
            used.update(n for n in (*node.inputs, *node.outputs) if n)
        kept = {name: tensor for name, tensor in source.items() if name in used}
        graph = replace(self, tensors=kept, nodes=new_nodes, inputs=new_inputs, outputs=new_outputs)
        graph.check()
        return graph

    def check(self) -> None:
        """Raise GraphError unless every tensor exists, is written once and before it is read, with the shape
        that its operator gives."""
        written = {p.tensor for p in self.inputs}
        for port in (*self.inputs, *self.outputs):
            if port.tensor not in self.tensors:
                raise GraphError(f"port {port.name!r}: no tensor {port.tensor!r}")
        for name, tensor in self.tensors.items():
            if name != tensor.name:
                raise GraphError(f"tensor {tensor.name!r} is filed under {name!r}")
            if tensor.data is not None:
                if tensor.data.shape != tensor.shape:
                    raise GraphError(f"constant {name!r}: shape {tensor.shape}, data {tensor.data.shape}")
                if tensor.data.dtype != tensor.dtype.numpy:
                    raise GraphError(f"constant {name!r}: {tensor.dtype}, data {tensor.data.dtype}")
        for node in self.nodes:
            for name in node.inputs:
                if not name:
                    continue
                if name not in self.tensors:
                    raise GraphError(f"{node.label} reads {name!r}, which does not exist")
                if self.tensors[name].data is None and name not in written:
                    raise GraphError(f"{node.label} reads {name!r} before it is written")
            for name in node.outputs:
                if name in written or name not in self.tensors or self.tensors[name].data is not None:
                    raise GraphError(f"{node.label} may not write {name!r}")
                written.add(name)
            try:
                shapes = node.op.shapes(self.inputs_of(node))
            except ValueError as error:
                raise GraphError(f"{node.label}: {error}") from error
            found = [t.shape for t in self.outputs_of(node)]
            if shapes != found:
                raise GraphError(f"{node.label}: its shapes are {shapes}, its outputs have {found}")
        for port in self.outputs:
            if port.tensor not in written and self.tensors[port.tensor].data is None:
                raise GraphError(f"output {port.name!r} is never written")


def constant(name: str, data: npt.ArrayLike, quantization: Quantization | None = None) -> Tensor:
    """A constant tensor of an array, with the type of its elements."""
    array = np.asarray(data)
    return Tensor(name, DType.of(array.dtype), array.shape, quantization, array)
