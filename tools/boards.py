# SPDX-License-Identifier: Apache-2.0
"""Generate ``boards/presets.json`` from ``boards/*/board.json``: one CMake preset per board.

CMake has no wildcard for included presets. ``--check`` writes nothing and exits with 1 where the file is
stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BOARDS = ROOT / "boards"
TARGET = BOARDS / "presets.json"
KEYS = {"name", "cpu", "ram", "toolchain", "flags", "levels", "qemu"}


def read_boards() -> dict[str, Mapping[str, Any]]:
    """Every board by the name of its folder; ValueError where one is not as boards/README.md says."""
    boards = {}
    for path in sorted(BOARDS.glob("*/board.json")):
        board = json.loads(path.read_text())
        if set(board) != KEYS or set(board["qemu"]) != {"program", "cpu"}:
            raise ValueError(f"{path}: expected the keys {sorted(KEYS)}, found {sorted(board)}")
        if not (BOARDS / "toolchains" / f"{board['toolchain']}.cmake").exists():
            raise ValueError(f"{path}: no boards/toolchains/{board['toolchain']}.cmake")
        boards[path.parent.name] = board
    return boards


def presets(boards: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of ``presets.json``."""
    base = {
        "name": "board",
        "hidden": True,
        "generator": "Ninja",
        "binaryDir": "${sourceDir}/build/${presetName}",
        "cacheVariables": {
            "CMAKE_BUILD_TYPE": "Release",
            "NYB_STATIC": "ON",
            "CMAKE_EXE_LINKER_FLAGS": "-s",
        },
    }
    configure = [
        {
            "name": folder,
            "inherits": "board",
            "description": board["name"],
            "toolchainFile": f"${{sourceDir}}/boards/toolchains/{board['toolchain']}.cmake",
            "cacheVariables": {"CMAKE_C_FLAGS": board["flags"]},
        }
        for folder, board in boards.items()
    ]
    document = {
        "version": 4,
        "configurePresets": [base, *configure],
        "buildPresets": [{"name": folder, "configurePreset": folder} for folder in boards],
    }
    return json.dumps(document, indent=2) + "\n"


def main() -> int:
    """Write (or, with --check, compare) the file; 1 where it was to be compared and is stale."""
    parser = argparse.ArgumentParser(description="generate the CMake presets of the boards")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where stale")
    check = parser.parse_args().check
    text = presets(read_boards())
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    if check:
        print("boards/presets.json is stale: run python tools/boards.py", file=sys.stderr)
        return 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
