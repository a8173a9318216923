# SPDX-License-Identifier: Apache-2.0
"""Import PyTorch modules, through torch.export and the ONNX exporter that PyTorch has."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from ..graph import Graph
from .onnx import import_onnx


def from_torch(module: Any, example_inputs: Any, *, name: str = "") -> Graph:
    """A PyTorch module as a float graph, ready for nybble.quantize.

    module: torch.nn.Module; it is exported for inference, its mode is left as it was. example_inputs: a tensor or a
    sequence of tensors whose shapes the network gets. name: what errors call it; the module's class where empty.

    Images are NHWC in the graph; its metadata says where the module has NCHW (import_onnx). A module that was
    quantized with QuantizeLinear and DequantizeLinear gives an integer graph.

    Raises ImportError without the packages torch, onnx and onnxscript, what torch.export raises where it cannot trace
    the module, and UnsupportedError with every blocker where nybble lacks something.
    """
    try:
        import onnxscript  # noqa: F401  # what the exporter is written in
        import torch
    except ImportError:
        raise ImportError(
            "importing PyTorch modules needs torch and onnxscript: pip install nybble[torch]"
        ) from None
    inputs = tuple(example_inputs) if isinstance(example_inputs, Sequence) else (example_inputs,)
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            program = torch.onnx.export(module, inputs, dynamo=True, verbose=False)
    finally:
        module.train(training)
    content = io.BytesIO()
    program.save(content)
    return import_onnx(content.getvalue(), name=name or type(module).__name__)
