# SPDX-License-Identifier: Apache-2.0
"""Builds of the command nyb, for this machine and for the boards, and models to run with it."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import nybble
from models.golden import SHARED
from models.small import small_graph
from nybble.convert import convert_graph
from nybble.emit.golden import golden_input
from nybble.graph import DType, Tensor

ROOT = Path(__file__).resolve().parents[2]
BOARDS = {path.parent.name: json.loads(path.read_text()) for path in sorted(ROOT.glob("boards/*/board.json"))}
SHARED_MODELS = ("resnet8_cifar10_int8", "kws_dscnn_int8", "vww_96_int8")
MODELS = ("small8", "small4", "small2", *SHARED_MODELS)


@dataclass(frozen=True)
class Program:
    """A built nyb and what starts it."""

    path: Path
    launcher: tuple[str, ...] = ()

    def __call__(self, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*self.launcher, str(self.path), *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=600)

    def levels(self) -> list[str]:
        """The CPU levels that its doctor lists."""
        found = re.search(rb"^CPU levels: (.*)$", self("doctor").stdout, re.M)
        assert found
        return found[1].decode().split()


def require(*tools: str) -> None:
    """Skip the calling test where a tool is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@cache
def _built(preset: str) -> Path:
    folder = ROOT / "build" / preset
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # processes that share the tests share the builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        for arguments in (["--preset", preset], ["--build", "--preset", preset]):
            done = subprocess.run(
                ["cmake", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "warning:" not in done.stdout, done.stdout
    return folder


def host_build() -> Path:
    """The directory of this machine's build."""
    require("cmake", "ninja", "cc")
    return _built("release")


def host_program() -> Program:
    """The nyb of this machine."""
    return Program(host_build() / "nyb")


def compiler(board: dict[str, Any]) -> str:
    """The C compiler of a board's toolchain file."""
    text = (ROOT / f"boards/toolchains/{board['toolchain']}.cmake").read_text()
    found = re.search(r"CMAKE_C_COMPILER\s+(\S+)\)", text)
    assert found
    return found[1]


def board_program(name: str) -> Program:
    """The nyb of a board, under QEMU with the board's CPU; skips where the compiler or QEMU is missing."""
    board = BOARDS[name]
    qemu = board["qemu"]["program"]
    if shutil.which(qemu) is None and shutil.which(f"{qemu}-static") is not None:
        qemu = f"{qemu}-static"
    require("cmake", "ninja", compiler(board), qemu)
    return Program(_built(name) / "nyb", (qemu, "-cpu", board["qemu"]["cpu"]))


@cache
def model_bytes(name: str) -> bytes:
    """A model of MODELS; skips where it is of the shared collection and that is missing."""
    if name.startswith("small"):
        return convert_graph(small_graph(int(name[5:])))
    path = SHARED / f"models/tflite/{name}.tflite"
    if not path.exists():
        pytest.skip(f"no {path}; NYBBLE_SHARED names the shared collection")
    return nybble.convert(path)


def host_answer(session: nybble.Session, seed: int) -> tuple[list[bytes], bytes]:
    """Random inputs, and the outputs of this machine for them, as `nyb run` reads and writes them."""
    inputs = [
        golden_input(Tensor(port.name, DType.of(port.dtype), port.shape), seed + i)
        for i, port in enumerate(session.inputs)
    ]
    outputs = session.run(inputs)
    return [array.tobytes() for array in inputs], b"".join(array.tobytes() for array in outputs)
