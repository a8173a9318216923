# SPDX-License-Identifier: Apache-2.0
"""The required networks, on every SIMD level of the boards, equal the reference interpreters' outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nybble
from models.golden import REQUIRED, SHARED

from .programs import BOARDS, Program, board_program

pytest.importorskip("nybble._core", reason="the extension is not built")

#: Every level, scalar apart, of the 64-bit and the 32-bit boards.
EMULATED = [("pi-3", "neon"), ("pi-5", "dotprod"), ("pi-2", "neon"), ("pi-zero", "armv6simd")]


@pytest.fixture(scope="module", params=EMULATED, ids="-".join)
def emulated(request: pytest.FixtureRequest) -> tuple[Program, str]:
    board, level = request.param
    assert level in BOARDS[board]["levels"]
    return board_program(board), level


@pytest.mark.parametrize("name", REQUIRED)
def test_equals_the_reference(emulated: tuple[Program, str], name: str, tmp_path: Path) -> None:
    program, level = emulated
    source = SHARED / f"models/tflite/{name}.tflite"
    if not source.exists():
        pytest.skip(f"no {source}; NYBBLE_SHARED names the shared collection")
    model = tmp_path / "model.nyb"
    model.write_bytes(nybble.convert(source, golden=False))
    with np.load(SHARED / f"golden/{name}.npz", allow_pickle=False) as stored:
        key = "y_tfm0" if "y_tfm0" in stored.files else "y_ref0"
        image, wanted = stored["x0"][0], stored[key][0]
    (tmp_path / "input.raw").write_bytes(image.tobytes())
    for how in (("--threads", "1"), ("--threads", "2"), ("--threads", "2", "--prepack")):
        options = ("-o", "-", "--cpu", level, *how)
        done = program("run", model, tmp_path / "input.raw", *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout == wanted.tobytes(), (level, how)
