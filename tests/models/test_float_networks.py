# SPDX-License-Identifier: Apache-2.0
"""Every float network of the collection is imported with the meaning that its public runtime gives it, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import float_networks

NETWORKS = list(float_networks.networks()) if (float_networks.SHARED / "models").exists() else []

#: Their operators are none that nybble takes.
REFUSED = {
    "audio_preprocessor_int8",
    "basic_pitch_nmp",
    "bmm",
    "conv_fc_mnist_dynamic_w4_block32",
    "dilated_conv",
    "dynamic_update_slice",
    "embedding_lookup",
    "gtcrn_simple",
    "silero_vad_ifless",
    "single_select_v2",
    "trained_lstm_float",
}


@pytest.mark.skipif(not NETWORKS, reason=f"no networks at {float_networks.SHARED}")
@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_equals_the_public_runtime(path: Path) -> None:
    pytest.importorskip("onnx" if path.suffix == ".onnx" else "ai_edge_litert")
    pytest.importorskip("onnxruntime")
    outcome = float_networks.compared(path)
    assert outcome.verdict == ("refused" if path.stem in REFUSED else "equal"), outcome


def test_not_a_number_is_a_difference() -> None:
    a = np.array([1.0, np.nan], np.float32)
    assert float_networks.relative_difference(a, a) == 0
    assert float_networks.relative_difference(a, np.array([1.0, 2.0])) == np.inf
    assert float_networks.relative_difference(np.array([2.0]), np.array([4.0])) == 0.5
