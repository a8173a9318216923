# SPDX-License-Identifier: Apache-2.0
"""Import .tflite networks, quantized (int8 per channel, legacy uint8, int4 weights) or float.

tflite_rules.py holds the operators, tflite_tensors.py the data.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..graph import Blocker, DType, Graph, GraphError, ModelError, Port, Tensor, UnsupportedError
from .flatbuffer import root
from .refusal import Refusal
from .tflite_builder import TfliteBuilder, TfliteOperator
from .tflite_names import BUILTIN_NAMES
from .tflite_rules import RULES
from .tflite_tensors import read_tensor

#: What shape arithmetic is made of, besides moving.
_ARITHMETIC = {
    "ADD": np.add,
    "FLOOR_DIV": np.floor_divide,
    "FLOOR_MOD": np.mod,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "MUL": np.multiply,
    "SUB": np.subtract,
}

_CUT = "--cut ends the network at its last integer tensors"


class _Tail:
    """The operators that compute in float32 on dequantized tensors: a network that was not quantized to its end."""

    def __init__(self) -> None:
        self.tensors: dict[str, str | None] = {}  # name -> the integer tensor that it is the image of
        self.ends: list[str] = []  # integer tensors that the tail reads, in order

    def takes(self, g: TfliteBuilder, builtin: str, inputs: list[str], outputs: list[str]) -> bool:
        """Whether an operator belongs to the tail; remembers what it writes."""
        if builtin == "DEQUANTIZE" and g.tensors[inputs[0]].data is None and inputs[0] not in self.tensors:
            self.tensors[outputs[0]] = inputs[0]
            return False
        read = [name for name in inputs if name in self.tensors]
        if not read:
            return False
        for name in read:
            source = self.tensors[name]
            if source is not None and source not in self.ends:
                self.ends.append(source)
        self.tensors.update(dict.fromkeys(outputs))
        return True


def _is_shape_arithmetic(g: TfliteBuilder, builtin: str, inputs: list[str]) -> bool:
    """Whether an operator computes on constant integers without a scale: on sizes."""
    read = [g.tensors[name] for name in inputs if name]
    return builtin in _ARITHMETIC and all(
        t.data is not None and t.quantization is None and t.dtype in (DType.INT32, DType.INT64) for t in read
    )


def import_tflite(source: str | Path | bytes, *, name: str = "", cut: bool = False) -> Graph:
    """Read a .tflite model (a path or its bytes) as a graph.

    cut: where the network goes on in float32 after its last integer tensors, end it there.

    Raises ModelError where the file is wrong, UnsupportedError with every blocker where nybble lacks something.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    what = name or ("model" if isinstance(source, bytes) else Path(source).name)
    model = root(data, b"TFL3", what)
    subgraphs = model.tables(2, "subgraph")
    if not subgraphs:
        raise ModelError(f"{what}: expected a subgraph, found none")
    blockers: list[Blocker] = []
    if len(subgraphs) > 1:
        blockers.append(
            Blocker(what, f"{len(subgraphs)} subgraphs", "convert one signature without control flow")
        )
    main = subgraphs[0]
    buffers = model.tables(4, "buffer")
    tensors: dict[str, Tensor] = {}
    names: list[str] = []
    for i, table in enumerate(main.tables(0, "tensor")):
        try:
            tensor = read_tensor(data, table, buffers, i)
        except Refusal as refusal:
            blockers.append(Blocker(f"tensor {i}", refusal.reason, refusal.remedy))
            tensor = Tensor(table.text(3) or f"tensor {i}", DType.BOOL, (0,))
        if tensor.name in tensors:
            tensor = replace(tensor, name=f"{tensor.name}#{i}")
        tensors[tensor.name] = tensor
        names.append(tensor.name)

    def named(index: int, owner: str) -> str:
        if index == -1:
            return ""
        if not 0 <= index < len(names):
            raise ModelError(f"{owner}: tensor {index} of {len(names)}")
        return names[index]

    g = TfliteBuilder(tensors)
    tail = _Tail()
    codes = [max(c.integer(0, "byte"), c.integer(3)) for c in model.tables(1, "operator code")]
    for i, table in enumerate(main.tables(3, "operator")):
        code = table.integer(0, "uint")
        if code >= len(codes):
            raise ModelError(f"{table.what}: operator code {code} of {len(codes)}")
        builtin = BUILTIN_NAMES.get(codes[code], f"operator {codes[code]}")
        inputs = [named(int(t), table.what) for t in table.array(1, "int")]
        outputs = [named(int(t), table.what) for t in table.array(2, "int")]
        label = f"{builtin} {i}"
        while inputs and not inputs[-1]:
            inputs.pop()
        try:
            operator = TfliteOperator(label, inputs, outputs, table.table(4, "options"))
            if tail.takes(g, builtin, inputs, outputs):
                if not cut:
                    raise Refusal("computes in float32 on dequantized tensors", _CUT)
                continue
            if _is_shape_arithmetic(g, builtin, inputs):
                g.fold(outputs[0], _ARITHMETIC[builtin](*(g.constant(name) for name in inputs)))
                continue
            if builtin not in RULES:
                raise Refusal("operator not supported", "cut the network before it, or replace it")
            RULES[builtin](g, operator)
        except Refusal as refusal:
            blockers.append(Blocker(label, refusal.reason, refusal.remedy))
        except (IndexError, KeyError):
            raise ModelError(f"{table.what} ({builtin}): too few inputs or outputs") from None
        except GraphError:
            raise
        except (ValueError, ZeroDivisionError) as error:
            raise ModelError(f"{table.what} ({builtin}): {error}") from error
    ports_in = [named(int(t), what) for t in main.array(1, "int")]
    ports_out = [named(int(t), what) for t in main.array(2, "int")]
    blockers += _check_types(g)
    if blockers:
        raise UnsupportedError(what, blockers)

    def port(name: str, images: dict[str, str]) -> Port:
        if name not in g.tensors:
            raise ModelError(f"{what}: expected inputs and outputs, found none in the place of one")
        return Port(images.get(name, name), name, g.tensors[name].dtype is DType.FLOAT32)

    ends = [t for t in ports_out if tail.tensors.get(t, t) is not None]
    outputs_at_cut = [Port(t, t, True) for t in tail.ends if t not in {g.real_outputs.get(e) for e in ends}]
    graph = Graph(
        g.tensors,
        tuple(g.nodes),
        tuple(port(t, g.real_inputs) for t in ports_in),
        (*(port(t, g.real_outputs) for t in ends), *outputs_at_cut),
        name=what,
    )
    return graph.rebuilt()


def _check_types(g: TfliteBuilder) -> list[Blocker]:
    """A blocker for each node that mixes float32 with integers or leaves the types that the kernels take."""
    blockers = []
    for node in g.nodes:
        used = [g.tensors[n] for n in (*node.inputs, *node.outputs) if n]
        real = [t for t in used if t.dtype is DType.FLOAT32]
        if real and len(real) < len(used):
            integers = sum(t.dtype is not DType.FLOAT32 for t in used if t.quantization is not None)
            if integers:
                blockers.append(
                    Blocker(
                        node.name,
                        "mixes float32 and integers (dynamic range or weight only)",
                        "nybble quantize takes the float network that this one was made from",
                    )
                )
    return blockers
