# SPDX-License-Identifier: Apache-2.0
"""Tables of counts with their intervals, and the history in JSON."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nybble.measure.intervals import paired

from .rows import FLOAT, Row
from .worker import Figures

MIB = 1 << 20


@dataclass(frozen=True)
class Measured:
    """A row's figures. same: whether the same bytes came out with another number of threads; None if not tried."""

    row: Row
    figures: Figures
    same: bool | None = None


@dataclass(frozen=True)
class Report:
    """One run. networks: name -> rows, the float one first; skipped: rows that were not measured, with the reason."""

    date: str
    versions: Mapping[str, str]
    networks: Mapping[str, Sequence[Measured]]
    skipped: Mapping[str, Mapping[str, str]]

    def document(self) -> Mapping[str, Any]:
        """The same as JSON values; what each sample's answer was as a string of 0 and 1."""
        return {
            "date": self.date,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "versions": dict(self.versions),
            "networks": {
                name: [
                    asdict(one.row)
                    | asdict(one.figures)
                    | {"right": "".join("01"[hit] for hit in one.figures.right), "same": one.same}
                    for one in rows
                ]
                for name, rows in self.networks.items()
            },
            "skipped": {name: dict(rows) for name, rows in self.skipped.items()},
        }


HEAD = (
    "bits", "quantizer", "method", "right", "points", "95 % interval", "file bytes", "weight bytes", "seconds", "peak MiB",
)  # fmt: skip


def table(name: str, rows: Sequence[Measured]) -> str:
    """A network's rows: images right, and the points (of 100 samples) won over the float network with their interval."""
    reference = next((one.figures.right for one in rows if one.row == FLOAT), None)
    lines = []
    for one in rows:
        found = one.figures
        points = interval = ""
        if reference is not None and one.row != FLOAT:
            pair = paired(reference, found.right)
            points = f"{100 * pair.difference:+.1f}"
            interval = f"{100 * pair.low:+.1f} .. {100 * pair.high:+.1f}"
        cells = (
            one.row.level,
            one.row.quantizer,
            one.row.method,
            f"{sum(found.right)} of {len(found.right)}",
            points,
            interval,
            f"{found.file_bytes:,}",
            "" if found.weight_bytes is None else f"{found.weight_bytes:,}",
            f"{found.seconds:.1f}",
            f"{found.peak_bytes / MIB:.0f}",
        )
        lines.append(cells)
    return _markdown(((f"{name}: {HEAD[0]}", *HEAD[1:]), *lines))


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    rule = ["---"] * 3 + ["---:"] * (len(head) - 3)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rest))
