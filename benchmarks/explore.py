# SPDX-License-Identifier: Apache-2.0
"""What nybble explore finds on the labelled networks of the shared collection, and on the digits of the package.

    python -m benchmarks.explore kws_dscnn_float32 resnet8_cifar10 --budget weights=50% --jobs 2

Calibrates and decides on the calibration samples, without their labels; prints every candidate with what it loses on the
test samples.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import numpy as np

from benchmarks.accuracy.tasks import collection, shipped, write_samples
from nybble import explore
from nybble.measure.report import verdict


@click.command()
@click.argument("networks", nargs=-1)
@click.option("--budget", default="weights=50%", show_default=True)
@click.option("--candidates", type=int, default=12, show_default=True)
@click.option("--levels", default="8,4,2", show_default=True, help="Bits that a layer's weights may have.")
@click.option("--jobs", type=int, default=1, show_default=True)
@click.option("--results", type=click.Path(path_type=Path), help="Where an interrupted run goes on from.")
def main(
    networks: tuple[str, ...], budget: str, candidates: int, levels: str, jobs: int, results: Path | None
) -> None:
    """Explore NETWORKS, or the digits where none is named."""
    known = collection()
    with tempfile.TemporaryDirectory() as place:
        for name in networks or ("digits",):
            folder = Path(place) / name
            task = shipped(folder) if name == "digits" else known[name]
            folder.mkdir(exist_ok=True)
            write_samples(task, folder)
            calibration, test, labels = (
                np.load(folder / f"{n}.npy") for n in ("calibration", "test", "labels")
            )
            start = time.monotonic()
            found = explore(
                task.source,
                calibration,
                test=test,
                test_labels=labels,
                budget=budget,
                candidates=candidates,
                levels=[int(bits) for bits in levels.split(",")],
                jobs=jobs,
                results=results,
            )
            print(
                name,
                found.table(),
                verdict(found),
                f"{time.monotonic() - start:.0f} s",
                "",
                sep="\n",
                flush=True,
            )


if __name__ == "__main__":
    main()
