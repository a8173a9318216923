# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.accuracy: see --help and docs/benchmarks.md."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from benchmarks.peers.report import append

from . import report, tasks
from .quantizers import Network
from .rows import FLOAT, PEERS, Row, bits
from .worker import RowFailed, run

PACKAGES = ("nybble", "numpy", "onnxruntime", "ai-edge-litert", "ai-edge-quantizer", "nncf")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _rows(levels: str, methods: str, peers: str) -> list[Row]:
    names = {row.quantizer for row in PEERS}
    wanted = names if peers == "all" else set() if peers == "none" else set(peers.split(","))
    if wanted - names:
        raise click.BadParameter(f"no peer {min(wanted - names)!r}; there are {', '.join(sorted(names))}")
    rows = [FLOAT]
    for level in levels.split(","):
        try:
            bits(level)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
        rows += [Row("nybble", level, method) for method in methods.split(",") if method]
        rows += [row for row in PEERS if row.level == level and row.quantizer in wanted]
    return rows


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _tasks(
    networks: str, model: Path | None, samples: Path | None, images: int | None, folder: Path
) -> list[tasks.Task]:
    """What to measure; files that are made go to the folder."""
    if images is not None:
        return [tasks.made_images(images, folder / "made")]
    if model is not None:
        forms = {".onnx": {"onnx": model}, ".tflite": {"tflite": model}}
        if model.suffix not in forms:
            raise click.BadParameter(f"{model}: expected a .onnx or .tflite network")
        return [tasks.Task(model.stem, model, str(samples), **forms[model.suffix])]
    found = tasks.collection()
    if networks == "all" and found:
        return list(found.values())
    names = ["digits"] if networks == "all" else networks.split(",")
    if "digits" in names:
        found["digits"] = tasks.shipped(folder / "shipped")
    unknown = [name for name in names if name not in found]
    if unknown:
        raise click.BadParameter(f"no network {unknown[0]!r}; there are {', '.join([*found, 'digits'])}")
    return [found[name] for name in names]


def _measure(
    rows: Sequence[Row], network: Network, samples: Path, check_bytes: bool
) -> tuple[list[report.Measured], dict[str, str]]:
    measured, skipped = [], {}
    for row in rows:
        same = None
        try:
            figures = run(row, network, samples, threads=1)
            if check_bytes and row.quantizer == "nybble":
                same = run(row, network, samples, threads=2, count=False).sha256 == figures.sha256
        except RowFailed as error:
            skipped[str(row)] = str(error)
            _say(f"  {row}: skipped, {error}")
            continue
        _say(f"  {row}: {sum(figures.right)} of {len(figures.right)}, {figures.seconds:.1f} s")
        measured.append(report.Measured(row, figures, same))
    return measured, skipped


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--networks",
    default="all",
    show_default=True,
    help="Names with commas: of the labelled networks in the shared collection (NYBBLE_SHARED, or beside the checkout), or "
    "digits, which the package ships; all are the collection's, and digits where there is none.",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A float .onnx or .tflite of your own instead, with --samples.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A .npz with calibration and test (float32 [N, ...] as the network takes them) and labels (of test).",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    help="Calibrate a made network on so many made images of 224x224 instead, to see the peak of memory.",
)
@click.option(
    "--levels",
    default="w8a8,w4a8",
    show_default=True,
    help="Bits of weights and activations, with commas. Below 8 the first and the last layer keep weights of 8 bits.",
)
@click.option(
    "--methods",
    default="default",
    show_default=True,
    help="How nybble quantizes, with commas: default, or fields of nybble.quantize.Recipe as field=value joined by +; "
    "a value that one field alone takes stands for itself.",
)
@click.option(
    "--peers", default="all", show_default=True, help="all, none, or names with commas of other quantizers."
)
@click.option(
    "--check-bytes", is_flag=True, help="Quantize twice, with 1 and 2 threads, and compare the files."
)
@click.option(
    "--json", "history", type=click.Path(path_type=Path, dir_okay=False), help="Append the run to this file."
)
@click.option(
    "--plot",
    "picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw points against bytes (PNG).",
)
def main(
    networks: str,
    model: Path | None,
    samples: Path | None,
    images: int | None,
    levels: str,
    methods: str,
    peers: str,
    check_bytes: bool,
    history: Path | None,
    picture: Path | None,
) -> None:
    """Count what quantized networks answer right: nybble's on the integer core, beside other quantizers'.

    Networks are calibrated on samples that are not counted. The interval is of the difference to the float network on
    the same samples. Each row is a process of its own; what cannot be measured is skipped with the reason.

    \b
    Example:
      python -m benchmarks.accuracy --levels w8a8,w4a8 --peers onnxruntime --json accuracy.json
    """
    rows = _rows(levels, methods, peers)
    if (model is None) != (samples is None):
        raise click.BadParameter("--model and --samples belong together")
    results, skipped = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for task in _tasks(networks, model, samples, images, Path(folder)):
            _say(f"{task.name} ...")
            inputs = Path(folder) / task.name
            tasks.write_samples(task, inputs)
            both = tasks.with_onnx(task, inputs)
            network = Network(both.source, both.onnx, both.tflite)
            results[task.name], skipped[task.name] = _measure(rows, network, inputs, check_bytes)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    done = report.Report(now, _versions(), results, skipped)
    if history is not None:
        append(history, done.document())
    if picture is not None:
        from .plot import plot

        plot(results, picture)
    for name, measured in results.items():
        click.echo(f"\n{report.table(name, measured)}")
    if check_bytes:
        tried = [one.same for rows in results.values() for one in rows if one.same is not None]
        click.echo(f"\n{sum(tried)} of {len(tried)} files have the same bytes with 1 and 2 threads")


if __name__ == "__main__":
    main()
