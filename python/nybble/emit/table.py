# SPDX-License-Identifier: Apache-2.0
"""Build FlatBuffers tables from plain mappings, driven by the schema as data."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Mapping
from typing import Any

import flatbuffers
import numpy as np

from . import schema

_FORMATS = {
    "bool": "?",
    "byte": "b",
    "ubyte": "B",
    "short": "h",
    "ushort": "H",
    "int": "i",
    "uint": "I",
    "long": "q",
    "ulong": "Q",
    "float": "f",
}

#: Puts an array into the data section and returns its Span.
Store = Callable[[Any], Mapping[str, int]]


def _scalar(kind: str, value: Any) -> tuple[str, Any]:
    """(scalar type, number) of a value, enumerators resolved."""
    if kind in schema.ENUMS:
        number = schema.ENUMS[kind][value] if isinstance(value, str) else int(value)
        return schema.ENUM_TYPES[kind], number
    return kind, value


@functools.cache
def _layout(kind: str) -> tuple[int, int]:
    """(size, alignment) of a scalar or struct."""
    if kind in schema.STRUCTS:
        end, largest = 0, 1
        for member in schema.STRUCTS[kind].values():
            size, align = _layout(member)
            end = -(-end // align) * align + size
            largest = max(largest, align)
        return -(-end // largest) * largest, largest
    size = struct.calcsize("<" + _FORMATS[schema.ENUM_TYPES.get(kind, kind)])
    return size, size


def struct_members(name: str) -> Mapping[str, tuple[str, int]]:
    """Of every member of a struct its scalar type and its offset."""
    result: dict[str, tuple[str, int]] = {}
    end = 0
    for member, kind in schema.STRUCTS[name].items():
        size, align = _layout(kind)
        at = -(-end // align) * align
        result[member] = (schema.ENUM_TYPES.get(kind, kind), at)
        end = at + size
    return result


def struct_bytes(name: str, values: Mapping[str, Any]) -> bytes:
    """A struct as FlatBuffers lays it out."""
    members = schema.STRUCTS[name]
    unknown = set(values) - set(members)
    if unknown:
        raise KeyError(f"struct {name} has no {sorted(unknown)}")
    result = b""
    for member, kind in members.items():
        size, align = _layout(kind)
        result += b"\0" * (-len(result) % align)
        base, number = _scalar(kind, values.get(member, 0))
        result += struct.pack("<" + _FORMATS[base], number)
        assert len(result) % size == 0 or size > len(result)
    size, _ = _layout(name)
    return result + b"\0" * (size - len(result))


class TableWriter:
    """Writes tables into a builder; arrays given for Span fields go to ``store``.

    spans: where the Spans are, in the order of writing, as distances from the end of the buffer.
    """

    def __init__(self, builder: flatbuffers.Builder, store: Store) -> None:
        self.builder = builder
        self.store = store
        self.spans: list[int] = []

    def write(self, table: str, values: Mapping[str, Any]) -> int:
        """Write one table with everything it refers to; returns its offset in the builder."""
        fields = schema.TABLES[table]
        unknown = set(values) - set(fields) - {f"{n}_type" for n in fields}
        if unknown:
            raise KeyError(f"table {table} has no {sorted(unknown)}")
        offsets = {}
        for name, (kind, _) in fields.items():
            value = values.get(name)
            if value is not None:
                offset = self._refer(kind, value, values.get(f"{name}_type"))
                if offset is not None:
                    offsets[name] = offset
        slots = sum(2 if kind in schema.UNIONS else 1 for kind, _ in fields.values())
        self.builder.StartObject(slots)
        slot = 0
        for name, (kind, default) in fields.items():
            value = values.get(name)
            if kind in schema.UNIONS:
                if value is not None:
                    members = list(schema.UNIONS[kind])
                    self.builder.PrependUint8Slot(slot, members.index(values[f"{name}_type"]) + 1, 0)
                    self.builder.PrependUOffsetTRelativeSlot(slot + 1, offsets[name], 0)
                slot += 2
                continue
            if value is not None:
                self._slot(slot, kind, value, default, offsets.get(name))
            slot += 1
        return int(self.builder.EndObject())

    def _slot(self, slot: int, kind: str, value: Any, default: str, offset: int | None) -> None:
        if offset is not None:
            self.builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        elif kind in schema.STRUCTS:
            values = self.store(value) if kind == "Span" and not isinstance(value, Mapping) else value
            size, align = _layout(kind)
            self.builder.Prep(align, size)
            raw = struct_bytes(kind, values)
            self.builder.head -= size
            self.builder.Bytes[self.builder.head : self.builder.head + size] = raw
            if kind == "Span":
                self.spans.append(self.builder.Offset())
            self.builder.PrependStructSlot(slot, self.builder.Offset(), 0)
        else:
            base, number = _scalar(kind, value)
            put = {
                "bool": self.builder.PrependBoolSlot,
                "ubyte": self.builder.PrependUint8Slot,
                "int": self.builder.PrependInt32Slot,
                "uint": self.builder.PrependUint32Slot,
                "ulong": self.builder.PrependUint64Slot,
            }[base]
            put(slot, number, int(default, 0))

    def _refer(self, kind: str, value: Any, union_type: str | None) -> int | None:
        """Write what a field refers to; None for fields that hold their value themselves."""
        if kind == "string":
            return int(self.builder.CreateString(value))
        if kind in schema.TABLES:
            return self.write(kind, value)
        if kind in schema.UNIONS:
            assert union_type is not None
            return self.write(schema.UNIONS[kind][union_type], value)
        if not kind.startswith("["):
            return None
        element = kind[1:-1]
        if element == "string" or element in schema.TABLES:
            offsets = [
                int(self.builder.CreateString(v)) if element == "string" else self.write(element, v)
                for v in value
            ]
            self.builder.StartVector(4, len(offsets), 4)
            for offset in reversed(offsets):
                self.builder.PrependUOffsetTRelative(offset)
            return int(self.builder.EndVector())
        numbers = {
            "ubyte": np.uint8,
            "int": np.int32,
            "uint": np.uint32,
            "ulong": np.uint64,
            "float": np.float32,
        }
        return int(self.builder.CreateNumpyVector(np.ascontiguousarray(value, numbers[element])))
