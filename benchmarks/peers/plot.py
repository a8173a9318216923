# SPDX-License-Identifier: Apache-2.0
"""The ratios of a run as bars."""

from __future__ import annotations

from pathlib import Path

from .report import Report, best, geometric_mean, ratio
from .runtimes import row


def plot(report: Report, path: Path, ours: str) -> None:
    """For each network, LiteRT's, the best exact or float, and the best peer's time over ``ours``.

    Raises ImportError without matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = dict.fromkeys(name for rows in report.networks.values() for name in rows)
    peers = [name for name in names if not row(name).ours]
    bars = {
        "LiteRT int8": [name for name in peers if name == "litert"],
        "best exact or float peer": [name for name in peers if report.exact.get(name) is not False],
        "best peer": peers,
    }
    networks = [network for network, rows in report.networks.items() if ours in rows]
    figure, axes = pyplot.subplots(figsize=(max(6, 1.1 * len(networks) + 2), 4), layout="constrained")
    width = 0.8 / len(bars)
    for i, (label, candidates) in enumerate(bars.items()):
        fastest = [best(report.networks[network], candidates) for network in networks]
        heights = [
            0.0 if peer is None else ratio(report.networks[network], peer, ours)
            for network, peer in zip(networks, fastest, strict=True)
        ]
        known = [height for height in heights if height]
        if known:
            places = [x + (i - 1) * width for x in range(len(networks))]
            axes.bar(places, heights, width, label=f"{label}: {geometric_mean(known):.2f} in geometric mean")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(networks)), networks, rotation=30, ha="right")
    axes.set_ylabel(f"peer's time / {ours}'s")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
