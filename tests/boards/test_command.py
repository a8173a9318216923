# SPDX-License-Identifier: Apache-2.0
"""The command nyb on this machine: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import hashlib
import json
import re
import resource
import struct
from dataclasses import replace
from pathlib import Path

import pytest

import nybble
from models.small import small_graph
from nybble.convert import convert_graph
from nybble.emit.nyb import hash_position
from nybble.graph import Graph, Node

from .programs import MODELS, ROOT, Program, host_answer, host_program, model_bytes

pytest.importorskip("nybble._core", reason="the extension is not built")


@pytest.fixture(scope="module")
def nyb() -> Program:
    return host_program()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.nyb"
    path.write_bytes(model_bytes("small8"))
    return path


def sealed(content: bytes) -> bytes:
    """The same file with the hash that belongs to its content."""
    at = hash_position(content)
    blank = content[:at] + bytes(32) + content[at + 32 :]
    return content[:at] + hashlib.sha256(blank).digest() + content[at + 32 :]


@pytest.mark.parametrize("model", MODELS)
def test_run_gives_the_bits_of_python(nyb: Program, model: str, tmp_path: Path) -> None:
    path = tmp_path / "model.nyb"
    path.write_bytes(model_bytes(model))
    session = nybble.load(path)
    inputs, wanted = host_answer(session, 7)
    assert nyb("run", path, "-o", "-", stdin=b"".join(inputs)).stdout == wanted
    files = [tmp_path / f"{i}.raw" for i in range(len(inputs))]
    for file, content in zip(files, inputs, strict=True):
        file.write_bytes(content)
    for level in nyb.levels():
        out = tmp_path / "out.raw"
        done = nyb("run", path, *files, "-o", out, f"--cpu={level}", "--threads=2")
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        assert out.read_bytes() == wanted
        assert nyb("verify", path, "--cpu", level).returncode == 0


def test_run_leaves_the_old_file_where_it_is_stopped(nyb: Program, small: Path, tmp_path: Path) -> None:
    inputs, _ = host_answer(nybble.load(small), 7)
    out = tmp_path / "out.raw"
    out.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        done = nyb("run", small, "-o", out, stdin=b"".join(inputs))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.returncode != 0  # the signal, or the error where signals are ignored
    assert out.read_bytes() == b"old"


@pytest.mark.parametrize("model", MODELS)
def test_info_is_what_python_says(nyb: Program, model: str, tmp_path: Path) -> None:
    path = tmp_path / "model.nyb"
    path.write_bytes(model_bytes(model))
    session = nybble.load(path)
    found = json.loads(nyb("info", path, "--json").stdout)
    layers = session.layers()
    assert [(o["kind"], o["variant"], o["name"], o["macs"], o["weight_bytes"], o["weight_bits"])
            for o in found["operators"]] == [
        (x.kind, x.variant, x.name, x.macs, x.weight_bytes, x.weight_bits) for x in layers
    ]  # fmt: skip
    assert [tuple(o["output"]) for o in found["operators"]] == [x.output.shape for x in layers]
    for key, ports in (("inputs", session.inputs), ("outputs", session.outputs)):
        for one, port in zip(found[key], ports, strict=True):
            assert (one["name"], tuple(one["shape"])) == (port.name, port.shape)
            assert one["dtype"] == str(port.dtype)
            assert (one["zero_point"], one["real"]) == (port.zero_point, port.real)
            assert struct.pack("f", one["scale"]) == struct.pack("f", port.scale)
    assert found["session_bytes"] == session.arena_bytes
    assert found["activation_bytes"] == session.activation_bytes
    assert found["file_bytes"] == path.stat().st_size
    table = nyb("info", path).stdout.decode()
    assert re.search(rf"^session arena\s+{session.arena_bytes}$", table, re.M)


def test_bench_counts_its_operators(nyb: Program, small: Path) -> None:
    found = json.loads(nyb("bench", small, "--runs", "3", "--json").stdout)
    assert found["runs"] == 3
    assert found["min_ns"] <= found["median_ns"] <= found["max_ns"]
    assert found["load_ns"] > 0
    assert found["arena_bytes"] == nybble.load(small).arena_bytes
    assert [o["kind"] for o in found["operators"]] == ["Conv2d", "Reshape"]
    assert found["macs"] == sum(o["macs"] for o in found["operators"]) == 16 * 3 * 18
    assert nyb("bench", small, "--runs", "3").returncode == 0


def test_bench_explains(nyb: Program, small: Path) -> None:
    found = json.loads(nyb("bench", small, "--runs", "3", "--explain", "--json").stdout)
    [ceiling] = found["ceilings"]
    conv, reshape = found["operators"]
    assert (ceiling["family"], ceiling["weight_bits"], ceiling["variant"]) == ("gemm", 8, conv["variant"])
    assert 0 < conv["ceiling_share"] < 1
    assert reshape["ceiling_share"] == 0
    lines = nyb("bench", small, "--runs", "3", "--explain").stdout.decode().splitlines()
    table = lines[lines.index("") + 1 :]
    assert table[0].endswith("of ceiling")
    assert re.search(r"\d%$", table[1])
    assert re.search(r"^ceiling of a core, .*: [\d.]+ GMAC/s \(gemm, 8-bit weights, \w+\)$", table[-1])


def test_top_prints_the_largest_with_their_labels(nyb: Program, tmp_path: Path) -> None:
    labels = (*(f"class {i}" for i in range(46)), "Käfer 甲", "evil\x1b[2J\u009b")
    path = tmp_path / "labelled.nyb"
    path.write_bytes(convert_graph(replace(small_graph(), labels=labels)))
    session = nybble.load(path)
    inputs, wanted = host_answer(session, 3)
    scores = [b - 256 if b > 127 else b for b in wanted]
    best = sorted(range(48), key=lambda i: (-scores[i], i))
    lines = nyb("run", path, "--top", "48", stdin=inputs[0]).stdout.decode().splitlines()
    assert [int(line.split()[0]) for line in lines] == best
    assert [int(line.split()[1]) for line in lines] == [scores[i] for i in best]
    assert [float(line.split()[2]) for line in lines] == [1.5 * (scores[i] + 7) for i in best]
    expected = {**dict(enumerate(labels)), 47: "evil?[2J??"}
    assert [line.split(None, 3)[3] for line in lines] == [expected[i] for i in best]
    assert len(nyb("run", path, stdin=inputs[0]).stdout.splitlines()) == 5


def test_hostile_names_are_escaped(nyb: Program, tmp_path: Path) -> None:
    graph = small_graph()
    name = 'a"b\\c\n\x1b[2Jé' + "x" * 40
    first, *rest = graph.nodes
    named: Graph = replace(graph, nodes=(Node(first.op, first.inputs, first.outputs, name), *rest))
    path = tmp_path / "named.nyb"
    path.write_bytes(convert_graph(named))
    assert json.loads(nyb("info", path, "--json").stdout)["operators"][0]["name"] == name
    assert json.loads(nyb("bench", path, "--json", "--runs=1").stdout)["operators"][0]["name"] == name
    broken = path.read_bytes().replace("é".encode(), b"\xff\xfe")
    path.write_bytes(sealed(broken))
    assert "\ufffd" in json.loads(nyb("info", path, "--json").stdout)["operators"][0]["name"]
    assert b"\x1b" not in nyb("info", path).stdout


def test_json_of_a_scale_that_is_no_number(nyb: Program, small: Path) -> None:
    content = small.read_bytes()
    scale = struct.pack("<f", 0.05)
    assert content.count(scale) == 1
    small.write_bytes(sealed(content.replace(scale, struct.pack("<f", float("nan")))))
    assert json.loads(nyb("info", small, "--json").stdout)["inputs"][0]["scale"] is None


def test_verify_names_the_first_operator_that_differs(nyb: Program, small: Path) -> None:
    content = small.read_bytes()
    session = nybble.load(content)
    view = host_answer(session, 0)  # the golden inputs
    digest = hashlib.sha256(view[1]).digest()[:8]  # reshape keeps the bytes: both operators have this digest
    assert content.count(digest) == 2
    at = content.rindex(digest)
    small.write_bytes(sealed(content[:at] + bytes(8) + content[at + 8 :]))
    done = nyb("verify", small)
    assert done.returncode == 1
    assert b"expected outputs with the golden digest" in done.stderr
    assert b"differs first in operator 1: Reshape 'flatten'" in done.stdout


def test_verify_says_where_nothing_was_compared(nyb: Program, tmp_path: Path) -> None:
    path = tmp_path / "plain.nyb"
    path.write_bytes(convert_graph(small_graph(), golden=False))
    done = nyb("verify", path)
    assert done.returncode == 0
    assert b"no golden outputs" in done.stdout
    assert b"bit-exact" not in done.stdout


def test_faults_of_files_end_with_1(nyb: Program, small: Path, tmp_path: Path) -> None:
    content = small.read_bytes()
    empty, cut, flipped = (tmp_path / n for n in ("empty.nyb", "cut.nyb", "flipped.nyb"))
    empty.write_bytes(b"")
    cut.write_bytes(content[:-64])
    # The last bytes are padding: only the hash covers them.
    flipped.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for arguments, message in (
        (("verify", empty), "expected a .nyb model, found an empty file"),
        (("verify", cut), "a data section that ends with the file"),
        (("verify", flipped), "SHA-256"),
        (("info", tmp_path / "absent.nyb"), "No such file"),
        (("run", small, empty), "expected 32 bytes for input 0, int8 [1, 4, 4, 2]; found 0"),
        (("run", small, "-o", "-"), "standard input: expected 32 bytes"),
        (("run", small, "-o", tmp_path / "no/where"), ""),
    ):
        done = nyb(*arguments)
        assert done.returncode == 1, arguments
        assert message in done.stderr.decode(), arguments
        assert done.stdout == b""
    assert nyb("run", small, stdin=bytes(33)).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "usage: nyb"),
        (("fly",), "expected a command"),
        (("info",), "expected MODEL, found nothing"),
        (("info", "a", "b"), "found 'b'"),
        (("info", "a", "--fast"), "expected an option, found '--fast'"),
        (("info", "a", "--json=1"), "expected an option"),
        (("run", "a", "--threads", "0"), "--threads of 1 to 256, found '0'"),
        (("run", "a", "--threads", "99999999999999999999"), "--threads of 1 to 256"),
        (("run", "a", "--top"), "expected K after --top"),
        (("run", "a", "--cpu", "z80"), "found 'z80'"),
        (("doctor", "a"), "found 'a'"),
    ],
)
def test_wrong_command_lines_end_with_2(nyb: Program, arguments: tuple[str, ...], message: str) -> None:
    done = nyb(*arguments)
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert done.stdout == b""


def test_input_files_are_counted(nyb: Program, small: Path) -> None:
    done = nyb("run", small, small, small)
    assert done.returncode == 2
    assert b"(1), or none to read standard input; found 2" in done.stderr


@pytest.mark.parametrize("command", ["info", "run", "verify", "bench", "doctor"])
def test_help(nyb: Program, command: str) -> None:
    done = nyb(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: nyb {command}".encode())
    assert command.encode() in nyb("--help").stdout


def test_version_is_the_projects(nyb: Program) -> None:
    found = re.search(r"VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text().split("project(")[1])
    assert found
    assert nyb("--version").stdout.decode() == f"nyb {found[1]}\n"


def test_doctor_lists_every_kernel_family(nyb: Program) -> None:
    text = nyb("doctor").stdout.decode()
    for rows in ROOT.glob("runtime/kernels/*/variants.inc"):
        assert re.search(rf"^  {rows.parent.name} ", text, re.M), rows
    assert text.count("runs here") >= 2
