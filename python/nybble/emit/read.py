# SPDX-License-Identifier: Apache-2.0
"""Read a .nyb model back as plain mappings, driven by the schema as data: what table.py writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graph import ModelError
from ..importers.flatbuffer import Table, root
from . import schema
from .table import struct_members


def read_model(content: bytes) -> dict[str, Any]:
    """The Model table with all that it holds.

    Tables and structs are mappings by field, enumerators and members of a union names, vectors of numbers numpy
    arrays, other vectors lists, absent tables and structs None. A union's field NAME comes with NAME_type. Raises
    ModelError where the file is corrupt.
    """
    return _table("Model", root(content, schema.IDENTIFIER, "model"))


def span(content: bytes, place: Mapping[str, int] | None) -> bytes:
    """The bytes that a Span stands for; none where it is absent. Raises ModelError where it is outside the file."""
    if place is None:
        return b""
    first, size = place["offset"], place["size"]
    if first + size > len(content):
        raise ModelError(f"model: expected {size} bytes at offset {first}, found a file of {len(content)}")
    return content[first : first + size]


def _table(name: str, table: Table) -> dict[str, Any]:
    result: dict[str, Any] = {}
    slot = 0
    for field, (kind, default) in schema.TABLES[name].items():
        if kind in schema.UNIONS:
            members = list(schema.UNIONS[kind])
            number = table.integer(slot, "ubyte")
            if number > len(members):
                raise ModelError(
                    f"{table.what}: expected one of {len(members)} kinds of {kind}, found {number}"
                )
            chosen = members[number - 1] if number else None
            value = None if chosen is None else table.table(slot + 1, field)
            result[f"{field}_type"] = chosen
            result[field] = None if value is None else _table(schema.UNIONS[kind][str(chosen)], value)
            slot += 2
            continue
        result[field] = _field(table, slot, field, kind, default)
        slot += 1
    return result


def _field(table: Table, slot: int, field: str, kind: str, default: str) -> Any:
    if kind == "string":
        return table.text(slot)
    if kind in schema.TABLES:
        inner = table.table(slot, field)
        return None if inner is None else _table(kind, inner)
    if kind in schema.STRUCTS:
        found = table.struct(slot, struct_members(kind))
        return None if found is None else {m: _named(schema.STRUCTS[kind][m], v) for m, v in found.items()}
    if kind.startswith("["):
        element = kind[1:-1]
        if element in schema.TABLES:
            return [_table(element, one) for one in table.tables(slot, field)]
        return table.texts(slot) if element == "string" else table.array(slot, element)
    base = schema.ENUM_TYPES.get(kind, kind)
    return _named(kind, table.scalar(slot, base, int(default, 0)))


def _named(kind: str, value: Any) -> Any:
    """An enumerator's name, other values as they are."""
    names = {number: name for name, number in schema.ENUMS.get(kind, {}).items()}
    return names.get(value, value)
