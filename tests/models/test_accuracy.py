# SPDX-License-Identifier: Apache-2.0
"""Accuracy on labelled data equals that of the reference interpreter to the last sample."""

from __future__ import annotations

import json

import pytest

from . import accuracy

STORED = json.loads(accuracy.STORED.read_text())


@pytest.mark.skipif(
    not (accuracy.SHARED / "data/load.py").exists(), reason=f"no samples at {accuracy.SHARED}"
)
@pytest.mark.parametrize("task", accuracy.TASKS, ids=lambda t: f"{t.model}-{t.data}")
def test_outputs_of_all_samples(task: accuracy.Task) -> None:
    pytest.importorskip("PIL", reason="pillow ([image] extra) reads the samples")
    assert accuracy.measure(task) == STORED[f"{task.model} on {task.data}"]
