# SPDX-License-Identifier: Apache-2.0
"""Write a compiled graph as a .nyb model: a FlatBuffer, then a data section of 64-byte aligned arrays.

The same graph gives the same bytes on every run and machine: nothing depends on time, hashing order or floats.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np

from ..compile import Compiled
from ..graph import Tensor
from . import schema
from .golden import golden_fields
from .table import TableWriter

ALIGNMENT = 64
VERSION = 0
_HASH_BYTES = 32
_SPAN = struct.Struct("<QQ")  # offset, size


class _Data:
    """The data section; equal arrays are stored once. Offsets are from its start."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.known: dict[bytes, Mapping[str, int]] = {}

    def store(self, array: Any) -> Mapping[str, int]:
        raw = np.ascontiguousarray(array)
        if raw.dtype.itemsize > 1:
            raw = raw.astype(raw.dtype.newbyteorder("<"))
        content = raw.tobytes()
        if content not in self.known:
            self.known[content] = {"offset": self.size, "size": len(content)}
            padding = -len(content) % ALIGNMENT
            self.parts += [content, b"\0" * padding]
            self.size += len(content) + padding
        return self.known[content]


def _tensor(tensor: Tensor, offsets: Mapping[str, int]) -> Mapping[str, Any]:
    fields: dict[str, Any] = {"name": tensor.name, "type": tensor.dtype.value, "shape": tensor.shape}
    if tensor.quantization is not None:
        q = tensor.quantization
        fields["quantization"] = {
            "scale": q.scale,
            "zero_point": q.zero_point,
            "axis": -1 if q.axis is None else q.axis,
        }
    if tensor.data is not None:
        fields["data"] = tensor.data
    else:
        fields["arena"] = offsets[tensor.name]
    return fields


def _flatbuffer(
    compiled: Compiled, producer: str, golden: Mapping[str, Any] | None
) -> tuple[bytearray, list[int], _Data]:
    """The header, whose Spans count from the start of the data; where they are, the model's own last; the data."""
    graph = compiled.graph
    data = _Data()
    builder = flatbuffers.Builder(4096)
    writer = TableWriter(builder, data.store)
    used = {n for node in compiled.nodes for n in (*node.inputs, *node.outputs)}
    used |= {p.tensor for p in (*graph.inputs, *graph.outputs)}
    names = [name for name in graph.tensors if name in used]
    index = {name: i for i, name in enumerate(names)}
    ports = {
        key: [{"tensor": index[p.tensor], "name": p.name, "real": p.real} for p in value]
        for key, value in (("inputs", graph.inputs), ("outputs", graph.outputs))
    }
    model = writer.write(
        "Model",
        {
            "version": VERSION,
            "producer": producer,
            "name": graph.name,
            "tensors": [_tensor(graph.tensors[n], compiled.plan.offsets) for n in names],
            "operators": [
                {
                    "name": node.node.name or node.node.op.name,
                    "inputs": [index[n] for n in node.inputs],
                    "outputs": [index[n] for n in node.outputs],
                    "options": node.fields,
                    "options_type": node.kind,
                }
                for node in compiled.nodes
            ],
            **ports,
            "arena_size": compiled.plan.arena,
            "data": {"offset": 0, "size": 0},  # known when all is written
            "hash": np.zeros(_HASH_BYTES, np.uint8),
            "labels": list(graph.labels) or None,
            "preprocessing": graph.preprocessing or None,
            "golden": golden,
            "metadata": [{"key": k, "value": v} for k, v in sorted(graph.metadata.items())] or None,
        },
    )
    builder.Prep(ALIGNMENT, 0)
    builder.Finish(model, schema.IDENTIFIER)
    header = bytearray(builder.Output())
    return header, [len(header) - end for end in writer.spans], data


def emit_nyb(compiled: Compiled, producer: str, golden: bool | None = None) -> bytes:
    """The bytes of the model file.

    producer: who wrote it, such as 'nybble 0.1.0'. golden: whether it holds inputs and digests for
    ``verify``; None leaves that to the size of the network (golden.AUTOMATIC_MACS).
    """
    header, spans, data = _flatbuffer(compiled, producer, golden_fields(compiled, golden))
    start = -(-len(header) // ALIGNMENT) * ALIGNMENT
    for at in spans:  # absolute, now that the size of the header is known
        offset, size = _SPAN.unpack_from(header, at)
        _SPAN.pack_into(header, at, start + offset, data.size if at == spans[-1] else size)
    content = bytearray(header + b"\0" * (start - len(header)) + b"".join(data.parts))
    at = hash_position(content)
    content[at : at + _HASH_BYTES] = hashlib.sha256(content).digest()
    return bytes(content)


def hash_position(content: bytes | bytearray) -> int:
    """Offset of the 32 hash bytes of a model file."""
    slot = list(schema.TABLES["Model"]).index("hash")

    def number(at: int, size: int, signed: bool = False) -> int:
        return int.from_bytes(content[at : at + size], "little", signed=signed)

    table = number(0, 4)
    vtable = table - number(table, 4, signed=True)
    field = table + number(vtable + 4 + 2 * slot, 2)
    return field + number(field, 4) + 4
