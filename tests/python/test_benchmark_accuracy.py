# SPDX-License-Identifier: Apache-2.0
"""The harness that counts what quantized networks answer right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from click.testing import CliRunner, Result

import nybble
from benchmarks.accuracy import held_out, quantized, report, rows, tasks
from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.rows import FLOAT, Row
from benchmarks.accuracy.to_onnx import to_onnx
from benchmarks.accuracy.worker import Figures
from benchmarks.peers import made
from nybble.graph import evaluate_outputs
from nybble.quantize import Recipe


@pytest.fixture
def network(tmp_path: Path) -> list[str]:
    """Arguments that name a small network and its samples."""
    pytest.importorskip("onnx")
    from onnx_networks import Network

    n = Network(seed=3)
    x = n.node("Relu", n.conv(n.input((1, 2, 4, 4)), (4, 2, 3, 3), pads=[1, 1, 1, 1]))
    x = n.node("GlobalAveragePool", n.node("Relu", n.conv(x, (4, 4, 1, 1))))
    model = tmp_path / "tiny.onnx"
    model.write_bytes(n.model(n.node("Flatten", n.conv(x, (3, 4, 1, 1)))))
    random = np.random.default_rng(1)
    images = random.normal(size=(28, 2, 4, 4)).astype(np.float32)
    samples = tmp_path / "tiny.npz"
    np.savez(samples, calibration=images[:8], test=images[8:], labels=random.integers(3, size=20))
    return ["--model", str(model), "--samples", str(samples)]


@dataclass
class Grown:
    """A recipe of another day."""

    clip: Literal["none", "mse"] | None = None
    share: float = 1.0
    fold: bool = False
    layers: Mapping[str, int] = field(default_factory=dict)
    kind: str | None = "round"

    def __post_init__(self) -> None:
        if self.kind not in ("round", "learned"):
            raise ValueError(self.kind)


def measured(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)


def test_a_users_network(network: list[str], tmp_path: Path) -> None:
    history = tmp_path / "history.json"
    result = measured(
        *network, "--levels", "w8a8,w4a8", "--peers", "none", "--json", history, "--check-bytes"
    )
    assert result.exit_code == 0, result.output
    assert "2 of 2 files have the same bytes with 1 and 2 threads" in result.output
    (run,) = json.loads(history.read_text())
    found = run["networks"]["tiny"]
    assert [one["level"] for one in found] == ["float", "w8a8", "w4a8"]
    assert all(len(one["right"]) == 20 and len(one["sha256"]) == 64 for one in found)
    assert found[0]["right"] == found[1]["right"]  # 8 bits lose nothing here


def test_what_the_package_ships(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    task = tasks.shipped(tmp_path)
    tasks.write_samples(task, tmp_path / "samples")
    counted = {
        name: len(np.load(tmp_path / "samples" / f"{name}.npy")) for name in ("calibration", "test", "labels")
    }
    assert counted == {"calibration": 100, "test": 497, "labels": 497}


def test_a_tflite_is_also_had_as_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    tiny = made.chain(6, 3, ("conv", 3, 8, 2), ("depthwise", 3, 8, 1), ("conv", 1, 16, 1))
    graph = nybble.import_model(made.tflite(tiny, integer=False))
    session = runtime.InferenceSession(to_onnx(graph), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).uniform(0, 4, size=(1, 6, 6, 3)).astype(np.float32)
    (found,) = session.run(None, {"x": x})
    (wanted,) = evaluate_outputs(graph, [x], real=True)
    np.testing.assert_allclose(found.transpose(0, 2, 3, 1), wanted, rtol=1e-5)


def test_what_cannot_be_measured_is_skipped_with_the_reason(network: list[str]) -> None:
    result = measured(*network, "--levels", "w8a8", "--peers", "ai-edge-quantizer", "--methods", "nonsense")
    assert result.exit_code == 0, result.output
    assert "nybble w8a8 nonsense: skipped, expected field=value" in result.stderr
    assert "ai-edge-quantizer w8a8 minmax: skipped, " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--levels", "8"], "expected a level like w4a8"),
        (["--peers", "nobody"], "no peer 'nobody'"),
        (["--networks", "nothing"], "no network 'nothing'"),
    ],
)
def test_wrong_arguments(arguments: list[str], reason: str) -> None:
    result = measured(*arguments)
    assert result.exit_code == 2
    assert reason in result.output


def test_below_8_bits_the_ends_keep_8() -> None:
    assert rows.recipe("w8a8", "default") == Recipe(8, 8)
    assert rows.recipe("w4a8", "default") == Recipe(4, 8, first=8, last=8)
    assert rows.recipe("w4a8", "first=4") == Recipe(4, 8, first=4, last=8)


def test_methods_are_fields_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "Recipe", Grown)
    assert rows.options("default") == {}
    assert rows.options("mse+share=0.5+fold") == {"clip": "mse", "share": 0.5, "fold": True}
    assert rows.options("learned") == {"kind": "learned"}
    with pytest.raises(ValueError, match="expected field=value"):
        rows.options("guessed")
    with pytest.raises(ValueError, match="no field 'clap'"):
        rows.options("clap=mse")


def test_the_interval_is_of_pairs() -> None:
    reference = [True] * 90 + [False] * 10
    lost = [False] * 5 + reference[5:]
    rest = {"file_bytes": 10, "weight_bytes": None, "seconds": 1.0, "peak_bytes": 1 << 20, "sha256": ""}
    measured = [
        report.Measured(FLOAT, Figures(reference, **rest)),  # type: ignore[arg-type]
        report.Measured(Row("nybble", "w4a8", "default"), Figures(lost, **rest)),  # type: ignore[arg-type]
    ]
    assert "| w4a8 | nybble | default | 85 of 100 | -5.0 | -" in report.table("a", measured)


def test_samples_not_solved_on_tell_levels_apart(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    task = tasks.shipped(tmp_path)
    samples, reference = np.load(task.samples)["calibration"][:24], nybble.import_model(task.source)
    fine, coarse = (
        held_out.measured(reference, samples, rows.recipe(level, "method=mse")) for level in ("w8a8", "w2a8")
    )
    assert [len(one) for one in (*fine, *coarse)] == [2] * 4
    assert max(fine[0]) < min(coarse[0])
    assert min(fine[1]) > max(coarse[1]) + 10


@pytest.mark.skipif(not tasks.collection(), reason=f"no labelled networks at {tasks.shared()}")
def test_networks_that_are_quantized_already(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("PIL", reason="pillow ([image] extra) reads the samples")
    pytest.importorskip("onnxruntime")
    assert quantized.main(["vww_96_qdq_u8s8"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:5] == [
        "vww_96_qdq_u8s8",
        "96",
        "84",
        "84",
        "+0.00",
    ]
