# SPDX-License-Identifier: Apache-2.0
"""Who may know whom, read off the includes and imports themselves."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from nybble.session import CPU_NAMES

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime"
PACKAGE = ROOT / "python/nybble"

#: C: a room -> the rooms whose headers it may include (besides its own and nybble.h).
C_MAY_SEE = {
    "base": set(),
    "kernels": {"base"},
    "model": {"base"},
    "ops": {"base", "kernels", "model"},
    "session": {"base", "kernels", "model", "ops"},
    "platform": {"base"},
    "nyb": {"platform", "base", "kernels"},
    "bindings": {"platform", "base"},
}
#: Rooms that run without an operating system, and the system headers that they may include.
CORE = ("base", "kernels", "model", "ops", "session")
CORE_HEADERS = {"stdint.h", "stddef.h", "stdbool.h", "string.h"}
ISA_HEADERS = {"immintrin.h", "arm_neon.h", "arm_acle.h"}

#: Python: the floors from the ground up; a module may import from its own floor and those below.
PYTHON_FLOORS = (
    ("graph",),
    ("ops",),
    ("importers", "passes", "quantize"),
    ("compile",),
    ("emit",),
    ("session",),
    ("measure",),
    ("cli", "__main__"),
)
#: Modules directly in the package that are sentences over several rooms, and the highest floor that they use.
SENTENCES = {"__init__": "measure", "convert": "emit", "quantizing": "measure", "_core": "session"}


def c_files() -> list[Path]:
    files = (p for folder in (RUNTIME, ROOT / "bindings") for p in folder.rglob("*"))
    return sorted(p for p in files if p.suffix in (".c", ".h", ".inc", ".cpp"))


@pytest.mark.parametrize("path", c_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_c_includes_stay_on_their_floor(path: Path) -> None:
    room = path.relative_to(RUNTIME if path.is_relative_to(RUNTIME) else ROOT).parts[0]
    if room == "include":
        room = "base"
    text = path.read_text()
    for included in re.findall(r'#\s*include\s+"([^"]+)"', text):
        if included == "nybble.h":
            continue
        target = included.split("/")[0]
        assert target == room or target in C_MAY_SEE[room], f"{room} includes {included}"
    if room in CORE:
        isa = path.stem.split("_")[-1]  # of a header perhaps only how it begins: avx512
        allowed = CORE_HEADERS | (ISA_HEADERS if any(name.startswith(isa) for name in CPU_NAMES) else set())
        found = set(re.findall(r"#\s*include\s+<([^>]+)>", text))
        assert found <= allowed, f"{found - allowed} in the core"


def _floor(module: str) -> int:
    head = module.split(".")[0]
    head = SENTENCES.get(head, head)
    for number, rooms in enumerate(PYTHON_FLOORS):
        if head in rooms:
            return number
    raise AssertionError(f"{module} stands on no floor: add it to PYTHON_FLOORS")


def _imports(path: Path) -> set[str]:
    """Modules of the package that a file imports at run time, relative to the package."""
    package = path.relative_to(PACKAGE).parts[:-1]
    found = set()
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only or not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - (node.level - 1)]
        if node.module:
            found.add(".".join((*base, node.module)))
        else:
            # `from .. import load` names a module or something that the package itself offers.
            for alias in node.names:
                target = PACKAGE.joinpath(*base, alias.name)
                is_module = target.is_dir() or any(target.with_suffix(s).exists() for s in (".py", ".pyi"))
                found.add(".".join((*base, alias.name)) if is_module else ".".join(base) or "__init__")
    return {module for module in found if module}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_python_imports_stay_on_their_floor(path: Path) -> None:
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    floor = _floor(module)
    for imported in _imports(path):
        assert _floor(imported) <= floor, f"{module} imports {imported}"


def test_only_the_session_imports_the_extension() -> None:
    users = [
        p
        for p in PACKAGE.rglob("*.py")
        if re.search(r"import _core|from \._core|from \.\._core", p.read_text())
    ]
    assert [p.name for p in users] == ["session.py"]
