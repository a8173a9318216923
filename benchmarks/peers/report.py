# SPDX-License-Identifier: Apache-2.0
"""From turns to tables: medians, ratios to the best peer, geometric means, and the history in JSON."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .compare import Figures
from .runtimes import row
from .worker import Loaded


@dataclass(frozen=True)
class Report:
    """One run. networks: name -> row -> figures. exact: which rows add up exactly, where that was measured."""

    date: str
    masked: bool
    versions: Mapping[str, str]
    exact: Mapping[str, bool]
    networks: Mapping[str, Mapping[str, Figures]]

    def document(self) -> Mapping[str, Any]:
        """The same as JSON values, with the medians."""
        return {
            "date": self.date,
            "cpu": cpu_name(),
            "masked": self.masked,
            "python": platform.python_version(),
            "versions": dict(self.versions),
            "exact": dict(self.exact),
            "networks": {
                network: {
                    name: {"milliseconds": milliseconds(name, found), **asdict(found)}
                    for name, found in rows.items()
                }
                for network, rows in self.networks.items()
            },
        }


def cpu_name() -> str:
    """What the kernel calls this CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def _times(name: str, figures: Figures) -> list[float]:
    return [turn.wall if row(name).wall else turn.processor for turn in figures.turns]


def milliseconds(name: str, figures: Figures) -> float:
    """Median over the turns."""
    return statistics.median(_times(name, figures))


def ratio(rows: Mapping[str, Figures], peer: str, ours: str) -> float:
    """Median over the rounds of the peer's time over ours."""
    pairs = zip(_times(peer, rows[peer]), _times(ours, rows[ours]), strict=False)
    return statistics.median(theirs / mine for theirs, mine in pairs)


def best(rows: Mapping[str, Figures], peers: Sequence[str]) -> str | None:
    """The fastest of the peers that ran."""
    return min(
        (name for name in peers if name in rows),
        key=lambda name: milliseconds(name, rows[name]),
        default=None,
    )


def geometric_mean(values: Sequence[float]) -> float:
    """exp of the mean of the logarithms."""
    return math.exp(statistics.fmean(map(math.log, values)))


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rest))


def times_table(report: Report) -> str:
    """Milliseconds per call, rows down and networks across; inexact rows are marked."""
    names = list(dict.fromkeys(name for rows in report.networks.values() for name in rows))
    table = [["ms per call", *report.networks]]
    for name in names:
        found = [rows.get(name) for rows in report.networks.values()]
        mark = " (saturates)" if report.exact.get(name) is False else ""
        table.append([name + mark, *("" if f is None else _number(milliseconds(name, f)) for f in found)])
    return _markdown(table)


def _ours(names: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Rows of ours to hold against peers: each alone, and with its prepacked form, whichever is faster."""
    result: dict[str, Sequence[str]] = {name: [name] for name in names if row(name).ours}
    for name in list(result):
        form, at, level = name.partition("@")
        prepacked = f"{form}+prepack{at}{level}"
        if prepacked in result:
            result[f"{name} or prepacked"] = [name, prepacked]
    return result


def ratio_table(report: Report) -> str:
    """For each row of ours: the best exact or float peer's time over ours, the best of any kind's, and LiteRT's."""
    names = list(dict.fromkeys(name for rows in report.networks.values() for name in rows))
    peers = [name for name in names if not row(name).ours]
    bars = {
        "best exact or float": [name for name in peers if report.exact.get(name) is not False],
        "best of any kind": peers,
        "litert": [name for name in peers if name == "litert"],
    }
    table = [["peer's time / ours", *report.networks, "geometric mean", "least"]]
    for label, choices in _ours(names).items():
        for bar, candidates in bars.items():
            cells, values = [], []
            for rows in report.networks.values():
                fastest, ours = best(rows, candidates), best(rows, choices)
                if fastest is None or ours is None:
                    cells.append("")
                    continue
                values.append(ratio(rows, fastest, ours))
                cells.append(f"{values[-1]:.2f}" + ("" if bar == fastest else f" {fastest}"))
            if values:
                table.append(
                    [f"{label}: {bar}", *cells, f"{geometric_mean(values):.2f}", f"{min(values):.2f}"]
                )
    return _markdown(table)


def own_table(report: Report) -> str:
    """Ours among themselves: the time of the plain row over that of the others at the same CPU level."""
    names = list(dict.fromkeys(name for rows in report.networks.values() for name in rows if row(name).ours))
    table = [["plain row's time / this", *report.networks, "geometric mean", "least"]]
    for name in names:
        form, _, level = name.partition("@")
        plain = "nybble" + (f"@{level}" if level else "")
        if form == "nybble":
            continue
        both = [rows if name in rows and plain in rows else None for rows in report.networks.values()]
        values = [None if rows is None else ratio(rows, plain, name) for rows in both]
        known = [value for value in values if value is not None]
        if known:
            cells = ("" if value is None else f"{value:.2f}" for value in values)
            table.append([name, *cells, f"{geometric_mean(known):.2f}", f"{min(known):.2f}"])
    return _markdown(table) if len(table) > 1 else ""


def loading_table(found: Mapping[str, Loaded]) -> str:
    """Load time, first call and memory of each row."""
    table = [["", "load, ms", "first call, ms", "memory, MiB"]]
    for name, one in found.items():
        table.append([name, _number(one.load), _number(one.first), f"{one.resident / 1024:.1f}"])
    return _markdown(table)


def append(path: Path, document: Mapping[str, Any]) -> None:
    """Add a run to the list in a JSON file, which is written as a whole."""
    history = json.loads(path.read_text()) if path.exists() else []
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump([*history, document], file, indent=1)
    os.replace(file.name, path)
