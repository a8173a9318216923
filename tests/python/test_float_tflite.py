# SPDX-License-Identifier: Apache-2.0
"""Float .tflite networks: the graph's float meaning, before and after the passes, against LiteRT."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nybble.graph import evaluate_outputs
from nybble.importers.tflite import import_tflite
from nybble.passes import prepare_float

SHARED = Path(os.environ.get("NYBBLE_SHARED", "../shared"))

NETWORKS = (
    "tflite/ad01_float",
    "tflite/hello_world_float",
    "tflite/keypoint_classifier",
    "tflite/mobilenet_v1_0.25_224_float",
    "tflite/resnet8_cifar10_float",
    "tflite/tinymaix_mnist_dw_f",
    "tflite/tinymaix_mnist_resnet_f",
    "tflite/tinymaix_mnist_valid_f",
    "tflite/vww_96_float",
    "converted/kws_dscnn_float32",
)

#: The largest difference, as a part of the largest output, that float32 may make.
TOLERANCE = 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_litert(name: str) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    path = SHARED / "models" / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"no {path}; NYBBLE_SHARED names the folder")
    interpreter = litert.Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    graph = import_tflite(path)
    x = np.random.default_rng(0).normal(size=graph.tensors[graph.inputs[0].tensor].shape)
    x = x.astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    for candidate in (graph, prepare_float(graph)):
        found = evaluate_outputs(candidate, [x], real=True)[0]
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max()
