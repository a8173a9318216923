# SPDX-License-Identifier: Apache-2.0
"""The harness that measures nybble beside other runtimes; no test here depends on a time."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks.peers import made, mask, report, saturation
from benchmarks.peers.__main__ import main
from benchmarks.peers.compare import Figures
from benchmarks.peers.runtimes import Array, Nybble, Runtime, row
from benchmarks.peers.worker import Loaded, RowFailed, Turn, Worker
from nybble.session import cpu_levels

TINY = made.chain(6, 3, ("conv", 3, 8, 2), ("depthwise", 3, 8, 1), ("conv", 1, 16, 1))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder of networks with one in it, which has int8.tflite alone."""
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "int8.tflite").write_bytes(made.tflite(TINY, integer=True))
    return folder


def measured(*arguments: object) -> Result:
    quick = ["--rounds", "1", "--seconds", "0.001"]
    return CliRunner().invoke(main, [*map(str, arguments), *quick], catch_exceptions=False)


def test_one_network_and_nybble_alone(tiny: Path, tmp_path: Path) -> None:
    history = tmp_path / "history.json"
    names = ["nybble", "nybble+w4", "nybble+pair-safe@scalar", "nybble+2t"]
    arguments = ["--models", tiny.parent, "--peers", ",".join(names), "--json", history]
    for _ in range(2):
        result = measured(*arguments)
        assert result.exit_code == 0, result.output
    assert "| ms per call | tiny |" in result.output
    runs = json.loads(history.read_text())
    assert [sorted(run["networks"]["tiny"]) for run in runs] == [sorted(names)] * 2
    assert all(found["milliseconds"] > 0 for found in runs[0]["networks"]["tiny"].values())
    assert {"date", "cpu", "versions", "masked", "exact"} <= set(runs[0])


def test_a_users_file_is_a_network(tiny: Path) -> None:
    result = measured("--file", tiny / "int8.tflite", "--peers", "nybble")
    assert "| ms per call | int8 |" in result.output


def test_loading(tiny: Path) -> None:
    result = measured("--models", tiny.parent, "--peers", "nybble", "--load", "tiny")
    assert result.exit_code == 0, result.output
    assert "| nybble | " in result.output


def test_rows_that_cannot_run_are_skipped_with_the_reason(tiny: Path) -> None:
    result = measured("--models", tiny.parent, "--peers", "nybble,ort_u8s8,litert_float,ncnn")
    assert result.exit_code == 0, result.output
    for name in ("ort_u8s8", "litert_float", "ncnn"):
        assert f"  {name}: skipped, " in result.stderr
        assert f"| {name} " not in result.output


@pytest.mark.parametrize("name", ["nibble", "nybble+w3", "nybble@pentium", "litert+w4"])
def test_unknown_rows(tiny: Path, name: str) -> None:
    result = measured("--models", tiny.parent, "--peers", name)
    assert result.exit_code == 2
    assert repr(name) in result.output


def test_unknown_networks(tiny: Path) -> None:
    result = measured("--models", tiny.parent, "--networks", "large")
    assert result.exit_code == 2
    assert "there are tiny" in result.output


def test_a_rows_name_says_how_nybble_runs() -> None:
    runtime = row("nybble+w2+2t@scalar").make()
    assert isinstance(runtime, Nybble)
    assert (runtime.weights, runtime.cpu, runtime.threads) == ("w2", "scalar", 2)
    assert row("nybble+2t").wall
    assert row("nybble", "avx2").make().cpu == "avx2"  # type: ignore[attr-defined]
    assert not row("litert").ours
    assert row("nybble@scalar").probed
    assert not row("nybble+w4").probed  # the probe with other weights has another sum


def test_a_process_that_dies_is_a_reason(tiny: Path) -> None:
    with Worker("nybble", max(os.sched_getaffinity(0))) as worker:
        worker.load(tiny, 0)
        worker.process.kill()
        with pytest.raises(RowFailed, match="ended with -9"):
            worker.turn(0.001)


# Tables.


def figures(*milliseconds: float) -> Figures:
    return Figures(Loaded(1, 1, 1), [Turn(x, 100.0) for x in milliseconds])


def run(exact: Mapping[str, bool]) -> report.Report:
    rows = {
        "a": {
            "nybble": figures(1, 1, 1),
            "nybble+w4": figures(0.5, 0.5, 0.5),
            "litert": figures(3, 9, 3),
            "openvino": figures(2, 2, 2),
        },
        "b": {
            "nybble": figures(2, 2, 2),
            "nybble+w4": figures(2, 2, 2),
            "litert": figures(6, 6, 6),
            "ort_float": figures(4, 4, 1),
        },
    }
    return report.Report("today", False, {}, exact, rows)


def test_ratios_to_the_best_peers() -> None:
    lines = report.ratio_table(run({"openvino": False, "litert": True})).splitlines()
    assert "| nybble: best exact or float | 3.00 litert | 2.00 ort_float | 2.45 | 2.00 |" in lines
    assert "| nybble: best of any kind | 2.00 openvino | 2.00 ort_float | 2.00 | 2.00 |" in lines
    assert "| nybble: litert | 3.00 | 3.00 | 3.00 | 3.00 |" in lines
    exact = report.ratio_table(run({"openvino": True})).splitlines()
    assert "| nybble: best exact or float | 2.00 openvino | 2.00 ort_float | 2.00 | 2.00 |" in exact


def test_prepacked_rows_count_where_they_are_faster() -> None:
    measured = run({"openvino": False})
    networks = {
        "a": {**measured.networks["a"], "nybble+prepack": figures(0.5, 0.5, 0.5)},
        "b": {**measured.networks["b"], "nybble+prepack": figures(4, 4, 4)},
    }
    table = report.ratio_table(report.Report("today", False, {}, measured.exact, networks))
    assert "| nybble or prepacked: best of any kind | 4.00 openvino | 2.00 ort_float | 2.83 | 2.00 |" in table


def test_rows_that_saturate_are_marked() -> None:
    assert "| openvino (saturates) | 2 |  |" in report.times_table(run({"openvino": False}))


def test_own_rows_are_compared_with_the_plain_one() -> None:
    assert "| nybble+w4 | 2.00 | 1.00 | 1.41 | 1.00 |" in report.own_table(run({}))


def test_several_threads_are_measured_by_the_wall_clock() -> None:
    assert report.milliseconds("nybble+2t", figures(1, 2)) == 100
    assert report.milliseconds("nybble", figures(1, 2)) == 1.5


# Exactness.


class Convolution(Runtime):
    """The probe in numpy, with sums of two products clipped to 16 bits or not."""

    file = "int8.tflite"

    def __init__(self, clip: bool) -> None:
        self.clip = clip

    def open(self, path: Path) -> None:
        layer = saturation.probe().layers[0]
        w = layer.weights[:, 0, 0].astype(np.int64)
        x = self.feed(np.uint8, (1, w.shape[1]))

        def output() -> Array:
            pairs = (x * w).reshape(len(w), -1, 2).sum(axis=2)
            sums = np.clip(pairs, -32768, 32767).sum(axis=1) if self.clip else pairs.sum(axis=1)
            return np.rint(sums * layer.scale * saturation.probe().scale / layer.output).astype(np.uint8)

        self.run, self.output = (lambda: None), output


@pytest.mark.parametrize("clip", [False, True])
def test_the_probe_tells_who_saturates(tiny: Path, clip: bool) -> None:
    assert saturation.sums_exactly(Convolution(clip), tiny) is not clip


@pytest.mark.parametrize("cpu", cpu_levels())
def test_nybble_adds_up_exactly(tmp_path: Path, cpu: str) -> None:
    (tmp_path / "int8.tflite").write_bytes(made.tflite(saturation.probe(), integer=True))
    assert saturation.sums_exactly(Nybble("", cpu, 1, {}), tmp_path)


def test_made_networks_are_the_same_in_every_form(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    made.write(TINY, tmp_path)
    answers = {}
    for name in ("nybble", "ort_u8s8_exact", "ort_u8u8"):
        runtime = row(name).make()
        runtime.load(tmp_path, lambda dtype, shape: np.full(shape, np.iinfo(np.dtype(dtype)).max - 40, dtype))
        runtime.run()
        y = np.asarray(runtime.output()).astype(int)
        answers[name] = y.transpose(0, 3, 1, 2) + 128 if name == "nybble" else y
    for y in answers.values():
        assert np.abs(y - answers["nybble"]).max() <= 1


# The mask.

ASK = r"""
#include <cpuid.h>
#include <stdio.h>
int main(void) {
    unsigned a, b, c, d;
    __cpuid_count(7, 0, a, b, c, d);
    printf("%u %u %u\n", b, c, d);
    __cpuid_count(0, 0, a, b, c, d);
    printf("%u %u %u\n", b, c, d);
}
"""


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not all(map(shutil.which, ("gcc", "objdump"))),
    reason="x86-64 with gcc and objdump",
)
def test_a_masked_process_finds_no_avx512(tmp_path: Path) -> None:
    source, program = tmp_path / "ask.c", tmp_path / "ask"
    source.write_text(ASK)
    subprocess.run(["gcc", "-o", program, source], check=True)
    masked = os.environ | mask.environment([program], tmp_path / "cache")
    answers = [
        [
            list(map(int, line.split()))
            for line in subprocess.run(
                [program], env=env, check=True, capture_output=True, text=True
            ).stdout.splitlines()
        ]
        for env in (os.environ, masked)
    ]
    (ebx, ecx, edx), vendor = answers[0]
    avx512_ebx = sum(1 << bit for bit in (16, 17, 21, 26, 27, 28, 30, 31))
    avx512_ecx = sum(1 << bit for bit in (1, 6, 11, 12, 14))
    edx_bits = sum(1 << bit for bit in (2, 3, 8, 22, 23, 24, 25))
    assert answers[1] == [[ebx & ~avx512_ebx, ecx & ~avx512_ecx, edx & ~edx_bits], vendor]
