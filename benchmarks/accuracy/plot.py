# SPDX-License-Identifier: Apache-2.0
"""Points lost against bytes, with intervals: a panel for each network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nybble.measure.intervals import paired

from .report import Measured
from .rows import FLOAT

#: Losses of more points than this are drawn at the lower edge.
FLOOR = -20.0


def plot(networks: Mapping[str, Sequence[Measured]], path: Path) -> None:
    """Write a PNG. A point is a file: its bytes, and the points won over the float network.

    nybble's rows are a line for each method; of a peer, the best of its methods at each level. Raises ImportError without
    matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = {name: rows for name, rows in networks.items() if any(one.row == FLOAT for one in rows)}
    if not drawn:
        return
    width = 1 + 5.5 * len(drawn)
    figure, axes = pyplot.subplots(1, len(drawn), figsize=(width, 4.5), squeeze=False, layout="constrained")
    colours = pyplot.get_cmap("tab10")
    for axis, (name, rows) in zip(axes[0], drawn.items(), strict=True):
        reference = next(one.figures.right for one in rows if one.row == FLOAT)
        axis.axhline(0, color="grey", linewidth=0.8)
        for i, (label, line) in enumerate(_lines(rows).items()):
            pairs = [paired(reference, one.figures.right) for one in line]
            points, lows, highs = (
                [max(100 * value, FLOOR) for value in values]
                for values in zip(*((p.difference, p.low, p.high) for p in pairs), strict=True)
            )
            below, above = (
                [abs(y - end) for y, end in zip(points, ends, strict=True)] for ends in (lows, highs)
            )
            sizes = [one.figures.file_bytes / 1000 for one in line]
            ours = line[0].row.quantizer == "nybble"
            style = {
                "marker": "o" if ours else "x",
                "linestyle": "-" if ours else ":",
                "color": colours(i % 10),
            }
            axis.errorbar(sizes, points, yerr=[below, above], capsize=3, linewidth=1, label=label, **style)
            if i == 0:
                for one, x in zip(line, sizes, strict=True):
                    axis.annotate(
                        one.row.level, (x, 0), textcoords="offset points", xytext=(-8, 4), fontsize=8
                    )
        axis.set(title=name, xlabel="file, 1000 bytes", ylabel="points won over the float network")
        axis.set_ylim(bottom=FLOOR * 1.05)
        axis.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


def _lines(rows: Sequence[Measured]) -> dict[str, list[Measured]]:
    """What is drawn as one line, from many bytes to few."""
    found: dict[str, dict[str, Measured]] = {}
    for one in rows:
        if one.row == FLOAT:
            continue
        ours = one.row.quantizer == "nybble"
        label = f"nybble, {one.row.method}" if ours else f"{one.row.quantizer}, best of its methods"
        levels = found.setdefault(label, {})
        best = levels.get(one.row.level)
        if best is None or sum(one.figures.right) > sum(best.figures.right):
            levels[one.row.level] = one
    return {label: list(levels.values()) for label, levels in found.items()}
