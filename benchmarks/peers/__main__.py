# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks.peers: see --help and docs/benchmarks.md."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import click

from . import made, report, saturation
from .compare import FORMS, Figures, Plan, compare, exactness, link, loading, masked_environment, versions
from .runtimes import NYBBLE_ROWS, PEERS, row


def _say(line: str) -> None:
    click.echo(line, err=True)


def _rows(text: str) -> list[str]:
    """The rows that --peers names."""
    from nybble.session import cpu_levels

    result: list[str] = []
    for word in text.split(","):
        if word in ("all", "nybble-rows"):
            result += [name for name in NYBBLE_ROWS if name.partition("@")[2] in ("", *cpu_levels())]
        if word == "all":
            result += PEERS
        if word not in ("all", "nybble-rows"):
            try:
                result.append(row(word).name)
            except ValueError as error:
                raise click.BadParameter(str(error)) from None
    return list(dict.fromkeys(result))


def _form(file: Path) -> str:
    """What a user's file is: its name says u8s8, u8u8, s8s8 or float; a .tflite is int8, an .onnx float otherwise."""
    forms = [f for f in FORMS if f.endswith(file.suffix) and f.removesuffix(file.suffix) in file.name.lower()]
    plain = {".tflite": "int8.tflite", ".onnx": "float.onnx"}.get(file.suffix)
    if not forms and plain is None:
        raise click.BadParameter(f"{file}: expected a .tflite or .onnx model")
    return forms[0] if forms else str(plain)


def _networks(models: Path | None, files: tuple[Path, ...], wanted: str, scratch: Path) -> dict[str, Path]:
    """Folders of the networks to measure, linked into ``scratch``; made ones where the user names none."""
    sources = scratch / "sources"
    if files:
        folder = sources / files[0].stem
        folder.mkdir(parents=True)
        for file in files:
            (folder / _form(file)).symlink_to(file.resolve(strict=True))
        found = {folder.name: folder}
    elif models is not None:
        holds = (f for f in sorted(models.iterdir()) if any((f / form).exists() for form in FORMS[:6]))
        found = {folder.name: folder for folder in holds}
    else:
        for name, network in made.NETWORKS.items():
            made.write(network, sources / name)
        found = {name: sources / name for name in made.NETWORKS}
    names = list(found) if wanted == "all" else wanted.split(",")
    unknown = [name for name in names if name not in found]
    if unknown:
        raise click.BadParameter(f"no network {unknown[0]!r}; there are {', '.join(found)}")
    return {name: link(found[name], scratch / "networks" / name) for name in names}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--models",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with one folder per network, which holds some of int8.tflite, float.tflite, u8s8.onnx, u8u8.onnx, "
    "s8s8.onnx, float.onnx, int8.param and float.param (ncnn). Two small networks are made where it is left out.",
)
@click.option(
    "--file",
    "files",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="A form of one network of your own, instead of --models; more than once. Names with float, u8s8, u8u8 or "
    "s8s8 in them say what they are; otherwise a .tflite is int8, an .onnx float.",
)
@click.option("--networks", default="all", show_default=True, help="Names with commas.")
@click.option(
    "--peers",
    default="all",
    show_default=True,
    help="Rows with commas: peers; nybble[+pair-safe|+quad-safe|+w4|+w2][+prepack][+2t][@LEVEL]; nybble-rows for the "
    "usual ones of those.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--seconds", default=0.05, show_default=True, help="Least time of a row's turn in a round.")
@click.option("--core", type=int, help="Core to run on; by default the last one this process may use.")
@click.option("--cpu", metavar="LEVEL", help="nybble's CPU level where a row names none.")
@click.option(
    "--mask-avx512",
    is_flag=True,
    help="Hide AVX-512, VNNI and AMX from all rows (x86 Linux; needs gcc and objdump), to see what a CPU with AVX2 does.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path.home() / ".cache" / "nybble-benchmarks",
    help="Where --mask-avx512 keeps what it found in the libraries; ~/.cache/nybble-benchmarks by default.",
)
@click.option(
    "--json", "history", type=click.Path(path_type=Path, dir_okay=False), help="Append the run to this file."
)
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the ratios (PNG)."
)
@click.option(
    "--load", "load", metavar="NETWORK", help="Measure loading this network instead: time and memory."
)
@click.option("--verbose", is_flag=True, help="Let the runtimes print.")
def main(
    models: Path | None,
    files: tuple[Path, ...],
    networks: str,
    peers: str,
    rounds: int,
    seconds: float,
    core: int | None,
    cpu: str | None,
    mask_avx512: bool,
    cache: Path,
    history: Path | None,
    picture: Path | None,
    load: str | None,
    verbose: bool,
) -> None:
    """Measure nybble beside other runtimes: the same networks, one core, one thread, in turns.

    Each row is a process of its own. A row whose package or file is missing is skipped with the reason. Times are
    processor time per call, medians over the rounds.

    \b
    Example:
      python -m benchmarks.peers --models NETWORKS --peers nybble,litert,openvino --json history.json
    """
    names = _rows(peers)
    pinned = max(os.sched_getaffinity(0)) if core is None else core
    plan = Plan(names, rounds, seconds, pinned, cpu, {}, not verbose, _say)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        found = _networks(models, files, networks if load is None else load, scratch)
        if mask_avx512:
            try:
                plan = replace(plan, environment=masked_environment(plan, next(iter(found.values())), cache))
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                raise click.ClickException(f"AVX-512 cannot be hidden here: {error}") from None
        probe = scratch / "probe"
        try:
            saturation.write_probe(probe)
        except ImportError as error:
            _say(f"exactness not measured, {error}")
            probe.mkdir(exist_ok=True)
        if load is not None:
            click.echo(report.loading_table(loading(plan, found[load], probe)))
            return
        exact = exactness(plan, probe)
        results: dict[str, dict[str, Figures]] = {}
        for name, network in found.items():
            _say(f"{name} ...")
            results[name] = compare(plan, network)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        run = report.Report(now, mask_avx512, versions(names), exact, results)
    if history is not None:
        report.append(history, run.document())
    click.echo(f"{report.cpu_name()}{', AVX-512 hidden' if mask_avx512 else ''}, {now}\n")
    for table in (report.times_table(run), report.ratio_table(run), report.own_table(run)):
        click.echo(f"{table}\n")
    ours = next((name for name in names if row(name).ours), None)
    if picture is not None and ours is not None:
        from .plot import plot

        plot(run, picture, ours)


if __name__ == "__main__":
    main()
