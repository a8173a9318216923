# SPDX-License-Identifier: Apache-2.0
"""Whole networks equal the public reference interpreters, or are refused with a reason; none differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from nybble import UnsupportedError, import_model
from nybble.compile import compile_graph
from nybble.passes import run_passes

from . import golden

NETWORKS = {n.name: n for n in golden.networks()} if (golden.SHARED / "models/MANIFEST.tsv").exists() else {}


@pytest.mark.skipif(not NETWORKS, reason=f"no model collection at {golden.SHARED} (NYBBLE_SHARED)")
@pytest.mark.parametrize("name", golden.REQUIRED)
def test_required_network_is_equal(name: str) -> None:
    assert golden.compare(NETWORKS[name]) == golden.Outcome("equal")


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - set(golden.REQUIRED)))
def test_other_network_is_equal_or_refused(name: str) -> None:
    outcome = golden.compare(NETWORKS[name])
    assert outcome.verdict in ("equal", "refused"), outcome
    assert outcome.verdict == "equal" or outcome.detail


@pytest.mark.skipif(not NETWORKS, reason=f"no model collection at {golden.SHARED} (NYBBLE_SHARED)")
def test_arenas_are_near_their_lower_bounds() -> None:
    planned = 0
    for network in NETWORKS.values():
        try:
            plan = compile_graph(run_passes(import_model(network.path))).plan
        except UnsupportedError:
            continue
        assert plan.lower_bound <= plan.arena <= 1.05 * plan.lower_bound, network.name
        planned += 1
    assert planned >= len(golden.REQUIRED)


def test_a_missing_collection_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(golden, "SHARED", tmp_path)
    assert golden.main([]) == 2
    assert "set NYBBLE_SHARED to its directory" in capsys.readouterr().err
