# SPDX-License-Identifier: Apache-2.0
"""What a .nyb model says about itself besides the network: labels, and how an image becomes its input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..emit.read import read_model


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

    @property
    def layouts(self) -> Mapping[str, str]:
        """By the name of an input or output, the order of its axes in the source network where that is another one than
        here: ``NCHW``.
        """
        head = "source_layout/"
        return {key.removeprefix(head): text for key, text in self.entries.items() if key.startswith(head)}


def read_metadata(content: bytes) -> Metadata:
    """The metadata of a model file. Raises ModelError where it is corrupt."""
    model = read_model(content)
    entries = {entry["key"]: entry["value"] for entry in model["metadata"]}
    return Metadata(tuple(model["labels"]), _preprocessing(model["preprocessing"]), entries)


def _preprocessing(table: Mapping[str, Any] | None) -> Preprocessing | None:
    if table is None:
        return None
    scale, offset = (tuple(float(v) for v in table[field]) for field in ("scale", "offset"))
    return Preprocessing(scale, offset, table["channels"])
