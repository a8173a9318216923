# SPDX-License-Identifier: Apache-2.0
"""Generated files are fresh, and the schema is one that flatc reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_schema_constants_are_fresh() -> None:
    subprocess.run([sys.executable, "tools/schema.py", "--check"], cwd=ROOT, check=True)


@pytest.mark.skipif(shutil.which("flatc") is None, reason="flatc (flatbuffers-compiler) is not installed")
def test_flatc_reads_a_model(tmp_path: Path) -> None:
    import json

    from models.small import small_graph
    from nybble.convert import convert_graph

    model = tmp_path / "small.nyb"
    model.write_bytes(convert_graph(small_graph()))
    schema = ROOT / "runtime/model/nybble.fbs"
    subprocess.run(
        ["flatc", "--json", "--raw-binary", "--strict-json", "-o", tmp_path, schema, "--", model], check=True
    )
    found = json.loads((tmp_path / "small.json").read_text())
    assert [op["options_type"] for op in found["operators"]] == ["Conv2d", "Reshape"]
    assert found["tensors"][0]["shape"] == [1, 4, 4, 2]
