# SPDX-License-Identifier: Apache-2.0
"""Every board's program, run with that board's CPU model, gives the bits of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import nybble

from .programs import BOARDS, MODELS, ROOT, Program, board_program, host_answer, model_bytes, require

pytest.importorskip("nybble._core", reason="the extension is not built")


def test_presets_are_fresh() -> None:
    subprocess.run([sys.executable, "tools/boards.py", "--check"], cwd=ROOT, check=True)


@pytest.fixture(scope="module", params=BOARDS)
def program(request: pytest.FixtureRequest) -> Program:
    return board_program(request.param)


def test_program_is_static_and_stripped(program: Program) -> None:
    require("readelf")
    listing = subprocess.run(
        ["readelf", "-lSW", program.path], capture_output=True, text=True, check=True
    ).stdout
    assert "INTERP" not in listing
    assert ".symtab" not in listing


@pytest.mark.parametrize("board", BOARDS)
def test_levels_are_those_of_the_cpu(board: str) -> None:
    program = board_program(board)
    assert program.levels() == ["scalar", *BOARDS[board]["levels"]]
    if "dotprod" not in BOARDS[board]["levels"]:
        refused = program("verify", "model.nyb", "--cpu", "dotprod")
        assert refused.returncode == 2
        assert b"found 'dotprod'" in refused.stderr


@pytest.mark.parametrize("model", MODELS)
def test_bit_exact(program: Program, model: str, tmp_path: Path) -> None:
    path = tmp_path / "model.nyb"
    path.write_bytes(model_bytes(model))
    session = nybble.load(path)
    inputs, wanted = host_answer(session, 100)
    files = [tmp_path / f"input{i}.raw" for i in range(len(inputs))]
    for file, content in zip(files, inputs, strict=True):
        file.write_bytes(content)
    for level in program.levels():
        for threads in ("1", "2"):
            options = ("--cpu", level, "--threads", threads)
            verified = program("verify", path, *options)
            assert verified.returncode == 0, verified.stderr
            assert b"bit-exact with the machine that built it" in verified.stdout
            done = program("run", path, *files, "-o", "-", *options)
            assert done.returncode == 0, done.stderr
            assert done.stdout == wanted, options
