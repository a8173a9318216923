# SPDX-License-Identifier: Apache-2.0
"""One face for all that can be measured: a float network in numpy, and a session of the integer core."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from ..convert import convert_graph, import_model
from ..emit import schema
from ..graph import Array, DType, Graph, Tensor, evaluate_batches
from ..graph import Port as GraphPort
from ..quantize.samples import Data
from ..quantizing import import_for
from ..session import Port, Session, load_nyb
from .metadata import Preprocessing, read_metadata

#: Samples that run at a time.
BATCH = 64


class Runner(Protocol):
    """Something that takes samples and gives outputs.

    name: of the model, for people. how: what computes it. inputs, outputs: those of a float network
    have dtype float32 and scale 0. labels: names of the classes, if the model has any. interface: a
    graph without nodes whose inputs and metadata are the model's, as quantize.read_samples takes it.
    """

    @property
    def name(self) -> str: ...
    @property
    def how(self) -> str: ...
    @property
    def inputs(self) -> tuple[Port, ...]: ...
    @property
    def outputs(self) -> tuple[Port, ...]: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def preprocessing(self) -> Preprocessing | None: ...
    @property
    def interface(self) -> Graph: ...

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs [N, *shape] of N samples, inputs [N, *shape] each.

        Floats are quantized where the model takes integers; integers must be the model's own. Outputs
        are float32 where they stand for real numbers, else integers.
        """
        ...


#: What can be measured: a path or the bytes of a file, a graph, a session, or a runner already.
Model: TypeAlias = "str | os.PathLike[str] | bytes | Graph | Session | Runner"


class FloatRunner:
    """A float network, computed in numpy (Operator.real)."""

    how = "float32, numpy"

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.name = graph.name or "float network"
        self.labels = graph.labels
        self.preprocessing = _graph_preprocessing(graph)
        self.inputs = tuple(_float_port(graph, port) for port in graph.inputs)
        self.outputs = tuple(_float_port(graph, port) for port in graph.outputs)
        self.interface = _interface(self.inputs, graph.metadata)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See Runner. Raises TypeError for integers where the network takes floats."""
        for port, array in zip(self.inputs, inputs, strict=True):
            if array.dtype.kind != port.dtype.kind:
                raise TypeError(
                    f"{self.name}: input {port.name!r}: expected {port.dtype}, found {array.dtype}"
                )
        names = [port.tensor for port in self.graph.outputs]
        batches = list(evaluate_batches(self.graph, inputs, keep=names))
        return [np.concatenate([batch[name] for batch in batches]) for name in names]


class SessionRunner:
    """An integer network on the integer core."""

    how = "integer core"

    def __init__(self, session: Session, name: str = "") -> None:
        self.session = session
        metadata = read_metadata(session.content)
        self.name = name or "integer network"
        self.labels = metadata.labels
        self.preprocessing = metadata.preprocessing
        self.inputs = session.inputs
        self.outputs = session.outputs
        self.interface = _interface(self.inputs, metadata.entries)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See Runner. Raises what Session.run raises."""
        integers = [
            port.quantize(array) if array.dtype.kind == "f" else array
            for port, array in zip(self.inputs, inputs, strict=True)
        ]
        outputs = self.session.run(integers)
        return [
            port.dequantize(y) if port.scale else y for port, y in zip(self.outputs, outputs, strict=True)
        ]


def open_runner(model: Model, name: str = "", data: Data | None = None) -> Runner:
    """What runs a model: a float network in numpy, anything quantized on the integer core.

    name: instead of that of the file or graph. data: samples, whose sizes an .onnx network gets where it leaves some
    open. Raises what load, import_model and convert raise.
    """
    if isinstance(model, Session):
        return SessionRunner(model, name)
    if isinstance(model, Graph):
        return _graph_runner(model, name)
    if isinstance(model, str | os.PathLike | bytes):
        path = None if isinstance(model, bytes) else Path(model)
        name = name or ("" if path is None else path.name)
        if _head(model)[4:8] == schema.IDENTIFIER:
            return SessionRunner(load_nyb(model if path is None else path), name)
        return _graph_runner(import_model(model) if data is None else import_for(model, data), name)
    return model


def _head(model: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(model, bytes):
        return model[:8]
    with Path(model).open("rb") as file:
        return file.read(8)


def _graph_runner(graph: Graph, name: str) -> Runner:
    if all(graph.tensors[port.tensor].dtype is DType.FLOAT32 for port in graph.inputs):
        runner = FloatRunner(graph)
        runner.name = name or runner.name
        return runner
    return SessionRunner(load_nyb(convert_graph(graph, golden=False)), name or graph.name)


def _float_port(graph: Graph, port: GraphPort) -> Port:
    tensor = graph.tensors[port.tensor]
    return Port(port.name, tensor.shape, tensor.dtype.numpy, 0.0, 0, True)


def _interface(ports: Sequence[Port], metadata: Mapping[str, str]) -> Graph:
    tensors = {port.name: Tensor(port.name, DType.FLOAT32, port.shape) for port in ports}
    inputs = tuple(GraphPort(port.name, port.name, True) for port in ports)
    return Graph(tensors, (), inputs, (), metadata=metadata)


def _graph_preprocessing(graph: Graph) -> Preprocessing | None:
    fields = graph.preprocessing

    def numbers(key: str) -> tuple[float, ...]:
        return tuple(float(v) for v in np.atleast_1d(np.asarray(fields.get(key, ()), np.float32)))

    if not fields:
        return None
    return Preprocessing(numbers("scale"), numbers("offset"), str(fields.get("channels", "")))
