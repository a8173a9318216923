# SPDX-License-Identifier: Apache-2.0
"""Whole networks equal the public reference interpreters, or are refused with a reason; none differs."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_arena_is_near_its_lower_bound(name: str) -> None:
    try:
        graph = run_passes(import_model(NETWORKS[name].path))
        plan = compile_graph(graph).plan
    except UnsupportedError:
        pytest.skip("refused")
    assert plan.lower_bound <= plan.arena <= 1.05 * plan.lower_bound
