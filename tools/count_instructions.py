# SPDX-License-Identifier: Apache-2.0
"""Count the instructions of one inference on the CPU of a board, under QEMU's user mode.

    python tools/count_instructions.py pi-3 pi-5 --models resnet8.tflite kws.nyb
    python tools/count_instructions.py pi-3 --models resnet8.tflite --operators --functions
    python tools/count_instructions.py pi-3 --models resnet8.tflite --cpu scalar --json counts.json
    python tools/count_instructions.py pi-5 --models resnet8.tflite --emulate max

Needs what builds the board's program, a C compiler for this machine and qemu-user with plugins (Debian's
qemu-user; not qemu-user-static). Counts are exact and repeat; how they become time is docs/arm.md's matter.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nybble

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "tools/count"
BUILD = ROOT / "build/count"


@dataclass(frozen=True)
class Region:
    """What was counted between two marks."""

    instructions: int
    functions: Mapping[str, int]


@dataclass(frozen=True)
class Operator:
    """One operator of the network: what ran, what it cost."""

    kind: str
    variant: str
    macs: int
    instructions: int
    functions: Mapping[str, int]


@dataclass(frozen=True)
class Count:
    """One inference of one model on one board."""

    board: str
    model: str
    instructions: int
    functions: Mapping[str, int]
    operators: Sequence[Operator]


def command(*arguments: str | Path) -> str:
    """Run and return what it printed; RuntimeError with its output where it fails."""
    done = subprocess.run([*map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_plugin() -> Path:
    """The plugin as a shared library of this machine."""
    BUILD.mkdir(parents=True, exist_ok=True)
    library = BUILD / "plugin.so"
    command("cc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", SOURCES / "plugin.c", "-o", library)
    return library


def build_program(board: str) -> Path:
    """The counting program with the board's flags, and with the names of its functions."""
    folder = BUILD / board
    command("cmake", "--preset", board, "-B", folder, "-DCMAKE_EXE_LINKER_FLAGS=")
    command("cmake", "--build", folder, "--target", "nyb_count")
    return folder / "nyb_count"


def read_regions(log: str) -> list[Region]:
    """The regions in a log of the plugin."""
    functions: dict[int, dict[str, int]] = {}
    for region, executed, name in re.findall(r"^function (\d+) (\d+) (.*)$", log, re.M):
        functions.setdefault(int(region), {})[name] = int(executed)
    totals = re.findall(r"^region (\d+) (\d+)$", log, re.M)
    return [Region(int(total), functions.get(int(region), {})) for region, total in totals]


def count(
    board: str, emulator: Mapping[str, str], program: Path, plugin: Path, model: Path, how: list[str]
) -> Count:
    """Count one inference on QEMU's `program` and `cpu`. how: the program's further arguments."""
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "model.nyb", Path(folder) / "log"
        file.write_bytes(
            model.read_bytes() if model.suffix == ".nyb" else nybble.convert(model, golden=False)
        )
        options = ["-cpu", emulator["cpu"], "-plugin", plugin, "-d", "plugin", "-D", log]
        printed = command(emulator["program"], *options, program, file, *how)
        inference, *regions = read_regions(log.read_text())
    operators = []
    for line, region in zip(printed.splitlines(), regions, strict=True):
        kind, variant, macs = line.split()
        operators.append(Operator(kind, variant, int(macs), region.instructions, region.functions))
    return Count(board, model.stem, inference.instructions, inference.functions, operators)


def print_functions(functions: Mapping[str, int]) -> None:
    """The functions from 1 % of the whole on, largest first."""
    total = sum(functions.values())
    for name, executed in sorted(functions.items(), key=lambda item: -item[1]):
        if executed * 100 >= total:
            print(f"      {executed / total:6.1%} {executed:12,} {name}")


def print_count(c: Count, operators: bool, functions: bool) -> None:
    """A line for the inference, and what was asked for besides."""
    print(f"{c.board:10} {c.model:32} {c.instructions:12,}")
    for i, op in enumerate(c.operators if operators else []):
        rate = f"{op.macs / op.instructions:6.2f} MACs each" if op.macs else ""
        print(f"  {i:3} {op.kind:16} {op.variant:16} {op.instructions:12,} {rate}")
        if functions:
            print_functions(op.functions)
    if functions and not operators:
        print_functions(c.functions)


def main() -> None:
    """Build, count, print."""
    parser = argparse.ArgumentParser(description="Count the instructions of one inference under emulation.")
    parser.add_argument("boards", nargs="+", help="folders of boards/")
    parser.add_argument("--models", nargs="+", type=Path, required=True, help=".tflite, .onnx or .nyb")
    parser.add_argument("--cpu", help="a lower CPU level, such as scalar")
    parser.add_argument("--emulate", help="a CPU of QEMU in place of the board's, such as max")
    parser.add_argument("--prepack", action="store_true", help="weights in their fastest form")
    parser.add_argument("--operators", action="store_true", help="a line for each operator")
    parser.add_argument("--functions", action="store_true", help="the share of each function")
    parser.add_argument("--json", type=Path, help="file for all of it")
    a: Any = parser.parse_args()
    plugin = build_plugin()
    how = ([a.cpu] if a.cpu else []) + (["prepack"] if a.prepack else [])
    counts = []
    for board in a.boards:
        program = build_program(board)
        emulator = json.loads((ROOT / f"boards/{board}/board.json").read_text())["qemu"]
        emulator["cpu"] = a.emulate or emulator["cpu"]
        for model in a.models:
            counts.append(count(board, emulator, program, plugin, model.resolve(), how))
            print_count(counts[-1], a.operators, a.functions)
    if a.json:
        a.json.write_text(json.dumps([asdict(c) for c in counts], indent=1) + "\n")


if __name__ == "__main__":
    main()
