# SPDX-License-Identifier: Apache-2.0
"""Import of PyTorch modules: the float graph against the module itself."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import nybble
from nybble.graph import evaluate_outputs
from nybble.passes import prepare_float


def needs_torch() -> Any:
    pytest.importorskip("onnxscript")
    return pytest.importorskip("torch")


def networks(torch: Any) -> dict[str, tuple[Any, tuple[int, ...]]]:
    nn = torch.nn
    classifier = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=8, padding=1),
        nn.PReLU(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
        nn.Softmax(-1),
    )
    decoder = nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.GELU(),
        nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1),
        nn.Mish(),
        nn.PixelShuffle(2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Hardswish(),
        nn.ELU(0.5),
    )
    dense = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4), nn.LogSoftmax(-1))
    return {
        "classifier": (classifier, (1, 3, 12, 10)),
        "decoder": (decoder, (1, 4, 8, 6)),
        "dense": (dense, (1, 6)),
    }


@pytest.mark.parametrize("name", ["classifier", "decoder", "dense"])
def test_modules_equal_their_graphs(name: str) -> None:
    torch = needs_torch()
    torch.manual_seed(0)
    module, shape = networks(torch)[name]
    module(torch.randn(2, *shape[1:]))  # statistics of the normalization
    graph = nybble.from_torch(module, torch.randn(*shape))
    assert module.training
    module.eval()
    x = torch.randn(*shape)
    with torch.no_grad():
        wanted = module(x).numpy()
    given = x.numpy()
    if f"source_layout/{graph.inputs[0].name}" in graph.metadata:
        given = given.transpose(0, 2, 3, 1)
    for candidate in (graph, prepare_float(graph)):
        (found,) = evaluate_outputs(candidate, [given], real=True)
        if f"source_layout/{candidate.outputs[0].name}" in candidate.metadata:
            found = found.transpose(0, 3, 1, 2)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * float(np.abs(wanted).max()))


def test_missing_package_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import nybble\n"
        "try: nybble.from_torch(None, ())\n"
        "except ImportError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nybble[torch]" in result.stdout
