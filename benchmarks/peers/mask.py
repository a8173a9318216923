# SPDX-License-Identifier: Apache-2.0
"""Makes peers believe in a CPU with AVX2 alone: cpuid instructions in their libraries are answered by cpuid_mask.c."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

CPUID = b"\x0f\xa2"
_SOURCE = Path(__file__).with_name("cpuid_mask.c")
#: What the loader itself asks for memcpy and the like; it has run before anything can be patched.
_TUNABLES = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD,-AVX512_VNNI"


def cpuid_addresses(library: Path) -> list[int]:
    """Addresses of the cpuid instructions of a library, as a disassembler sees them."""
    if CPUID not in library.read_bytes():
        return []
    listing = subprocess.Popen(
        ["objdump", "--disassemble", "--no-show-raw-insn", str(library)],
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert listing.stdout is not None
    found = [int(line.split(":")[0], 16) for line in listing.stdout if re.search(r"\tcpuid\s*$", line)]
    if listing.wait():
        raise RuntimeError(f"objdump failed on {library}")
    return found


def environment(libraries: Iterable[Path], folder: Path) -> Mapping[str, str]:
    """Environment variables under which a process and these libraries find AVX2 at most.

    folder: where the patch list, the compiled library and the addresses found are kept for the next time.
    Raises RuntimeError or OSError where gcc or objdump are missing or fail.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shared = folder / f"cpuid_mask_{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}.so"
    if not shared.exists():
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(shared), str(_SOURCE)], check=True)
    cache = folder / "cpuid_addresses.json"
    known = json.loads(cache.read_text()) if cache.exists() else {}
    lines = []
    for library in sorted({path.resolve() for path in libraries}):
        if library.name.startswith("ld-"):
            continue
        status = library.stat()
        key = f"{library} {status.st_size} {status.st_mtime_ns}"
        if key not in known:
            known[key] = cpuid_addresses(library)
            cache.write_text(json.dumps(known, indent=1))
        lines += [f"{status.st_dev:x} {status.st_ino:x} {address:x}\n" for address in known[key]]
    content = "".join(lines)
    sites = folder / f"sites_{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    if not sites.exists():
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(content)
        os.replace(file.name, sites)
    return {"LD_AUDIT": str(shared), "NYBBLE_CPUID_SITES": str(sites), "GLIBC_TUNABLES": _TUNABLES}


def mapped_libraries() -> list[Path]:
    """The files that this process has mapped as code."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    names = {line.split(maxsplit=5)[5] for line in maps if "x" in line.split()[1] and line.count("/")}
    return [Path(name) for name in sorted(names) if Path(name).is_file()]
