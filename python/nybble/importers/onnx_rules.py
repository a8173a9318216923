# SPDX-License-Identifier: Apache-2.0
"""One rule per operator of ONNX: what it becomes in the graph.

Source of each meaning: docs/Operators.md and docs/Changelog.md of the onnx package, by opset
version.
"""

from __future__ import annotations

# The rules register themselves.
from . import onnx_functions, onnx_layers, onnx_moves, onnx_quantized
from .onnx_node import RULES, OnnxNode, Rule

__all__ = ["RULES", "OnnxNode", "Rule", "onnx_functions", "onnx_layers", "onnx_moves", "onnx_quantized"]
