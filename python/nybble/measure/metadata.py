# SPDX-License-Identifier: Apache-2.0
"""What a .nyb model says about itself besides the network: labels, and how an image becomes its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..emit import schema
from ..importers.flatbuffer import Table, root


@dataclass(frozen=True)
class Preprocessing:
    """input = pixel * scale + offset, for pixels of 0..255; one value for all channels or one per channel.

    channels: 'RGB', 'BGR' or 'L' (grey); '' where the model does not say.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    channels: str


@dataclass(frozen=True)
class Metadata:
    """labels: names of the classes, empty where the model has none. preprocessing: None likewise.

    entries: what else the converter noted, by key, such as the layout of an input in the source network.
    """

    labels: tuple[str, ...]
    preprocessing: Preprocessing | None
    entries: Mapping[str, str] = field(default_factory=dict)


def read_metadata(content: bytes) -> Metadata:
    """The metadata of a model file. Raises ModelError where it is corrupt."""
    model = root(content, schema.IDENTIFIER, "model")
    # The elements of a vector of strings are found as those of a vector of tables: by offset.
    labels = tuple(_string(content, entry.at) for entry in model.tables(_slot("Model", "labels"), "label"))
    table = model.table(_slot("Model", "preprocessing"), "preprocessing")
    slots = [_slot("Entry", field) for field in ("key", "value")]
    entries = {
        entry.text(slots[0]): entry.text(slots[1])
        for entry in model.tables(_slot("Model", "metadata"), "metadata")
    }
    return Metadata(labels, None if table is None else _preprocessing(table), entries)


def _slot(table: str, field: str) -> int:
    return list(schema.TABLES[table]).index(field)


def _string(content: bytes, at: int) -> str:
    count = int.from_bytes(content[at : at + 4], "little")
    return content[at + 4 : at + 4 + count].decode("utf-8", "replace")


def _preprocessing(table: Table) -> Preprocessing:
    numbers = [
        tuple(float(v) for v in table.array(_slot("Preprocessing", field), "float"))
        for field in ("scale", "offset")
    ]
    return Preprocessing(numbers[0], numbers[1], table.text(_slot("Preprocessing", "channels")))
