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
    """Write a PNG. Each row is a point: bytes of its file, and the points lost against the float network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = {name: rows for name, rows in networks.items() if any(one.row == FLOAT for one in rows)}
    if not drawn:
        return
    figure, axes = pyplot.subplots(
        1, len(drawn), figsize=(1 + 5 * len(drawn), 4.5), squeeze=False, layout="constrained"
    )
    kinds = list(
        dict.fromkeys(
            (m.row.quantizer, m.row.method) for rows in drawn.values() for m in rows if m.row != FLOAT
        )
    )
    colours = {kind: pyplot.get_cmap("tab20")(i % 20) for i, kind in enumerate(kinds)}
    for axis, (name, rows) in zip(axes[0], drawn.items(), strict=True):
        reference = next(one.figures.right for one in rows if one.row == FLOAT)
        axis.axhline(0, color="grey", linewidth=0.8)
        labelled = set()
        for one in rows:
            if one.row == FLOAT:
                continue
            kind = (one.row.quantizer, one.row.method)
            pair = paired(reference, one.figures.right)
            loss, low, high = (max(100 * v, FLOOR) for v in (pair.difference, pair.low, pair.high))
            axis.errorbar(
                one.figures.file_bytes / 1000,
                loss,
                yerr=[[loss - low], [high - loss]],
                marker="o" if kind[0] == "nybble" else "x",
                color=colours[kind],
                capsize=3,
                label=None if kind in labelled else f"{kind[0]} {kind[1]}",
            )
            labelled.add(kind)
            axis.annotate(
                one.row.level,
                (one.figures.file_bytes / 1000, loss),
                textcoords="offset points",
                xytext=(5, 4),
                fontsize=7,
            )
        axis.set(title=name, xlabel="file, 1000 bytes", ylabel="points won over the float network")
        axis.set_ylim(bottom=FLOOR * 1.05)
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)
