# SPDX-License-Identifier: Apache-2.0
"""What leaves the core library, and what it needs: only nyb_ symbols, only four functions of libc, no floats."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nybble.session import CPU_NAMES

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime"
CORE = ("base", "kernels", "model", "ops", "session")
LIBC = {"memcpy", "memset", "memmove", "memcmp"}
LEVEL = re.compile(rf"_({'|'.join(CPU_NAMES[1:])})$")

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def _compile(compiler: str, flags: list[str], out: Path) -> list[Path]:
    objects = []
    for room in CORE:
        for source in sorted((RUNTIME / room).rglob("*.c")):
            if LEVEL.search(source.stem):
                continue
            target = out / ("_".join(source.relative_to(RUNTIME).with_suffix(".o").parts))
            command = [compiler, "-std=c11", "-O2", "-Iruntime", "-Iruntime/include", *flags]
            subprocess.run([*command, "-c", str(source), "-o", str(target)], cwd=ROOT, check=True)
            objects.append(target)
    return objects


def _symbols(nm: str, objects: list[Path]) -> tuple[set[str], set[str]]:
    """(defined, needed from outside)."""
    defined, needed = set(), set()
    listing = subprocess.run(
        [nm, "-g", *map(str, objects)], capture_output=True, text=True, check=True
    ).stdout
    for kind, name in re.findall(r"^[0-9a-fA-F ]*\s([A-TV-Z U])\s(\S+)$", listing, re.M):
        (needed if kind == "U" else defined).add(name)
    return defined, needed - defined


WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_plain_compiler_line(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    defined, needed = _symbols("nm", _compile(compiler, WARNINGS, tmp_path))
    assert all(name.startswith("nyb_") for name in defined), sorted(defined)
    assert needed <= LIBC, sorted(needed - LIBC)


def test_no_floating_point_register(tmp_path: Path) -> None:
    _compile("gcc", [*WARNINGS, "-mgeneral-regs-only"], tmp_path)


@pytest.mark.skipif(
    shutil.which("arm-linux-gnueabi-gcc") is None, reason="arm-linux-gnueabi-gcc is not installed"
)
def test_no_soft_float_on_a_cpu_without_fpu(tmp_path: Path) -> None:
    flags = ["-march=armv6", "-marm", "-mfloat-abi=soft", "-fno-pie"]
    objects = _compile("arm-linux-gnueabi-gcc", flags, tmp_path)
    _, needed = _symbols("arm-linux-gnueabi-nm", objects)
    floats = {n for n in needed if re.match(r"__aeabi_([fd]|.*2[fd])|__.*[sd]f[23]?$", n)}
    assert not floats, floats
    assert {n for n in needed if not n.startswith("__aeabi_") and n not in LIBC} <= {"__clzsi2"}, needed
