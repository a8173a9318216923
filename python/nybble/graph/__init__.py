# SPDX-License-Identifier: Apache-2.0
"""The network as data: tensors, nodes and their quantization."""

from .errors import Blocker, ModelError, QuantizationError, UnsupportedError, fault_text, faults_of, grouped
from .evaluate import evaluate, evaluate_batches, evaluate_outputs, peak_bytes
from .graph import Graph, GraphError, Node, Port, Tensor, constant
from .operator import Array, Lowered, Operator
from .quantization import DType, Quantization, Rounding, ScaleGroups

__all__ = [
    "Array",
    "Blocker",
    "DType",
    "Graph",
    "GraphError",
    "Lowered",
    "ModelError",
    "Node",
    "Operator",
    "Port",
    "Quantization",
    "QuantizationError",
    "Rounding",
    "ScaleGroups",
    "Tensor",
    "UnsupportedError",
    "constant",
    "evaluate",
    "evaluate_batches",
    "evaluate_outputs",
    "fault_text",
    "faults_of",
    "grouped",
    "peak_bytes",
]
