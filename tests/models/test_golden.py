# SPDX-License-Identifier: Apache-2.0
"""Whole networks equal the public reference interpreters, or are refused with a reason; none differs."""

from __future__ import annotations

import pytest

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
