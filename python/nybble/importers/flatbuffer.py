# SPDX-License-Identifier: Apache-2.0
"""Bounds-checked reading of FlatBuffers that may be truncated or hostile.

Source of the encoding: the FlatBuffers internals page (tables with vtables, offsets relative to themselves).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..graph import Array, ModelError

_FORMATS = {
    "bool": "<?",
    "byte": "<b",
    "ubyte": "<B",
    "short": "<h",
    "ushort": "<H",
    "int": "<i",
    "uint": "<I",
    "long": "<q",
    "ulong": "<Q",
    "float": "<f",
}
_NUMPY = {
    "byte": "<i1",
    "ubyte": "<u1",
    "bool": "?",
    "int": "<i4",
    "uint": "<u4",
    "long": "<i8",
    "ulong": "<u8",
    "float": "<f4",
}


@dataclass(frozen=True)
class Table:
    """A table inside ``data`` at byte ``at``; ``what`` names it in errors."""

    data: bytes | memoryview
    at: int
    what: str

    def _read(self, kind: str, at: int) -> int | float | bool:
        form = _FORMATS[kind]
        size = struct.calcsize(form)
        if at < 0 or at + size > len(self.data):
            raise ModelError(
                f"{self.what}: expected {size} bytes at offset {at}, found the end of the file at {len(self.data)}"
            )
        value: int | float | bool = struct.unpack_from(form, self.data, at)[0]
        return value

    def _offset(self, at: int) -> int:
        return at + int(self._read("uint", at))

    def _field(self, slot: int) -> int:
        """Position of a field, 0 where it is absent."""
        vtable = self.at - int(self._read("int", self.at))
        size = int(self._read("ushort", vtable))
        entry = 4 + 2 * slot
        if entry + 2 > size:
            return 0
        offset = int(self._read("ushort", vtable + entry))
        return self.at + offset if offset else 0

    def scalar(self, slot: int, kind: str, default: int | float | bool = 0) -> int | float | bool:
        """A scalar field, or its default."""
        at = self._field(slot)
        return self._read(kind, at) if at else default

    def integer(self, slot: int, kind: str = "int", default: int = 0) -> int:
        """An integer field, or its default."""
        return int(self.scalar(slot, kind, default))

    def table(self, slot: int, what: str) -> Table | None:
        """A table field."""
        at = self._field(slot)
        return Table(self.data, self._offset(at), f"{self.what} > {what}") if at else None

    def _vector(self, slot: int, element: int) -> tuple[int, int]:
        at = self._field(slot)
        if not at:
            return 0, 0
        start = self._offset(at)
        count = int(self._read("uint", start))
        if start + 4 + count * element > len(self.data):
            raise ModelError(
                f"{self.what}: a vector of {count} elements at offset {start} passes the end of the file"
            )
        return start + 4, count

    def array(self, slot: int, kind: str) -> Array:
        """A vector of numbers as a read-only array, empty where absent."""
        dtype = np.dtype(_NUMPY[kind])
        start, count = self._vector(slot, dtype.itemsize)
        return np.frombuffer(self.data, dtype, count, start) if count else np.empty(0, dtype)

    def text(self, slot: int) -> str:
        """A string field, '' where absent."""
        start, count = self._vector(slot, 1)
        return bytes(self.data[start : start + count]).decode("utf-8", "replace")

    def texts(self, slot: int) -> list[str]:
        """A vector of strings."""
        # Strings in a vector are found as tables are: by offset.
        result = []
        for entry in self.tables(slot, "string"):
            count = int(entry._read("uint", entry.at))
            if entry.at + 4 + count > len(self.data):
                raise ModelError(f"{self.what}: a string of {count} bytes passes the end of the file")
            result.append(bytes(self.data[entry.at + 4 : entry.at + 4 + count]).decode("utf-8", "replace"))
        return result

    def struct(
        self, slot: int, members: Mapping[str, tuple[str, int]]
    ) -> dict[str, int | float | bool] | None:
        """A struct field as numbers by name; members: of each its type and offset. None where it is absent."""
        at = self._field(slot)
        if not at:
            return None
        return {name: self._read(kind, at + offset) for name, (kind, offset) in members.items()}

    def tables(self, slot: int, what: str) -> list[Table]:
        """A vector of tables."""
        start, count = self._vector(slot, 4)
        return [
            Table(self.data, self._offset(start + 4 * i), f"{self.what} > {what} {i}") for i in range(count)
        ]


def root(data: bytes | memoryview, identifier: bytes, what: str) -> Table:
    """The root table; ModelError unless the file identifier is as expected."""
    if len(data) < 8:
        raise ModelError(f"{what}: expected a FlatBuffer of at least 8 bytes, found {len(data)}")
    found = bytes(data[4:8])
    if found != identifier:
        raise ModelError(f"{what}: expected the file identifier {identifier!r}, found {found!r}")
    table = Table(data, 0, what)
    return Table(data, table._offset(0), what)
