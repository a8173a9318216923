# SPDX-License-Identifier: Apache-2.0
"""docs/api.md has every public name, as it is."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

import nybble

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/api.md").read_text()


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api", ROOT / "tools/api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["api"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", nybble.__all__)
def test_every_name_is_there_with_its_signature(name: str, tool: ModuleType) -> None:
    assert f"### {name}\n" in PAGE
    found = getattr(nybble, name)
    assert inspect.getdoc(found)
    if inspect.isfunction(found):
        assert tool.signature(name, found) in PAGE, "run python tools/api.py"


def test_the_package_lists_what_it_offers() -> None:
    code = "import nybble; print(*dir(nybble)); print(nybble.__version__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed, version = result.stdout.splitlines()
    assert set(nybble.__all__) | {"__version__"} <= set(listed.split())
    assert {name for name in listed.split() if name[:2] != "__"} == set(nybble.__all__)
    try:
        assert version == metadata.version("nybble")
    except metadata.PackageNotFoundError:
        assert version == "0+unknown"
