# SPDX-License-Identifier: Apache-2.0
"""The examples build with the compiler line at their top, and answer as Python does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import nybble

from .programs import MODELS, ROOT, host_answer, host_build, model_bytes, require

pytest.importorskip("nybble._core", reason="the extension is not built")

STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Werror"


def compile_line(example: str) -> str:
    """The cc command at the top of an example, which goes on as long as lines are indented further."""
    found = re.search(r"^//   (cc .*(?:\n//      .*)*)", (ROOT / "examples" / example).read_text(), re.M)
    assert found
    return re.sub(r"\n//\s*", " ", found[1])


def build(example: str, output: Path, compiler: str = "cc", extra: str = "", arena: str = "262144") -> Path:
    """Run the example's own line: warnings as errors, the output and model.inc elsewhere."""
    line = compile_line(example).replace("262144", arena)
    name = Path(example).stem
    assert f"-o {name} " in line
    line = line.replace(f"-o {name} ", f"-o {output / name} ").replace("-I. ", f"-I{output} ")
    line = re.sub(r"^cc", f"{compiler} {STRICT} {extra}", line)
    subprocess.run(["sh", "-ec", line], cwd=ROOT, check=True)
    return output / name


@pytest.mark.parametrize("model", MODELS)
def test_classify(model: str, tmp_path: Path) -> None:
    require("cc")
    host_build()
    program = build("classify.c", tmp_path)
    content = model_bytes(model)
    inputs, wanted = host_answer(nybble.load(content), 11)
    scores = np.frombuffer(wanted, np.int8)
    (tmp_path / "model.nyb").write_bytes(content)
    (tmp_path / "input.raw").write_bytes(inputs[0])
    done = subprocess.run(
        [program, tmp_path / "model.nyb", tmp_path / "input.raw"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[:2] == [str(scores.argmax()), str(scores.max())]
    short = subprocess.run(
        [program, tmp_path / "input.raw", tmp_path / "input.raw"], capture_output=True, check=False
    )
    assert short.returncode == 1
    assert b"expected" in short.stderr


def include_file(content: bytes) -> str:
    """What xxd -i prints for it."""
    return ", ".join(f"0x{byte:02x}" for byte in content) + "\n"


@pytest.mark.parametrize(
    ("compiler", "extra", "launcher"),
    [
        ("cc", "", ()),
        ("arm-linux-gnueabi-gcc", "-static -mcpu=arm1176jzf-s -marm", ("qemu-arm", "-cpu", "arm1176")),
        ("aarch64-linux-gnu-gcc", "-static", ("qemu-aarch64", "-cpu", "cortex-a53")),
    ],
)
def test_bare(compiler: str, extra: str, launcher: tuple[str, ...], tmp_path: Path) -> None:
    require(compiler, *launcher[:1])
    content = model_bytes("small8")
    session = nybble.load(content)
    (tmp_path / "model.inc").write_text(include_file(content))
    program = build("bare.c", tmp_path, compiler, extra)
    shape = session.inputs[0].shape
    values = (np.arange(int(np.prod(shape))) % 256 - 128).astype(np.int8).reshape(shape)
    done = subprocess.run([*launcher, program], check=False)
    assert done.returncode == int(session.run([values])[0].argmax())


def test_bare_with_too_little_memory(tmp_path: Path) -> None:
    require("cc")
    (tmp_path / "model.inc").write_text(include_file(model_bytes("small8")))
    program = build("bare.c", tmp_path, arena="64")
    assert subprocess.run([program], check=False).returncode == 255


def test_bare_platform_offers_all_of_platform_h(tmp_path: Path) -> None:
    require("cc", "nm")
    objects = []
    for source in ("platform/bare.c", "platform/cpu.c", "base/cpu.c"):
        objects.append(tmp_path / source.replace("/", "_"))
        command = f"cc {STRICT} -std=c11 -O2 -ffreestanding -Iruntime -Iruntime/include -c runtime/{source}"
        subprocess.run([*command.split(), "-o", objects[-1]], cwd=ROOT, check=True)
    listing = subprocess.run(["nm", "-g", *objects], capture_output=True, text=True, check=True).stdout
    defined = set(re.findall(r" [TVWRDB] (\w+)$", listing, re.M))
    declared = set(re.findall(r"\b(nyb_\w+)\(", (ROOT / "runtime/platform/platform.h").read_text()))
    assert declared <= defined, declared - defined
    assert set(re.findall(r" U (\w+)$", listing, re.M)) - defined <= {"strcmp"}
