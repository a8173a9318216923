# SPDX-License-Identifier: Apache-2.0
"""Make legacy uint8 networks int8: every stored value and zero point 128 lower, the same real numbers.

Kernels then know one signedness. Inputs and outputs keep uint8; a table at the border shifts them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .. import ops
from ..graph import DType, Graph, Node, Port, Tensor

_SHIFT = 128


def _shifted(tensor: Tensor) -> Tensor:
    quantization = tensor.quantization
    if quantization is not None:
        zero_points = tuple(z - _SHIFT for z in quantization.zero_point)
        quantization = replace(quantization, zero_point=zero_points)
    data = None if tensor.data is None else (tensor.data ^ np.uint8(_SHIFT)).view(np.int8)
    return replace(tensor, dtype=DType.INT8, quantization=quantization, data=data)


def shift_to_int8(graph: Graph) -> Graph:
    """Replace every uint8 tensor by its int8 image."""
    tensors = dict(graph.tensors)
    before: list[Node] = []
    after: list[Node] = []
    inputs, outputs = [], []
    for port in graph.inputs:
        tensor = graph.tensors[port.tensor]
        if tensor.dtype is DType.UINT8:
            border = replace(tensor, name=f"{tensor.name}/uint8")
            tensors[border.name] = border
            before.append(Node(ops.Quantize(), (border.name,), (tensor.name,), "QUANTIZE input"))
            port = Port(border.name, port.name, port.real)
        inputs.append(port)
    for port in graph.outputs:
        tensor = graph.tensors[port.tensor]
        if tensor.dtype is DType.UINT8:
            border = replace(tensor, name=f"{tensor.name}/uint8", data=None)
            if border.name not in tensors:
                tensors[border.name] = border
                after.append(Node(ops.Quantize(), (tensor.name,), (border.name,), "QUANTIZE output"))
            port = Port(border.name, port.name, port.real)
        outputs.append(port)
    borders = {p.tensor for p in (*inputs, *outputs)}
    for name, tensor in graph.tensors.items():
        if tensor.dtype is DType.UINT8 and name not in borders:
            tensors[name] = _shifted(tensor)
    return graph.rebuilt((*before, *graph.nodes, *after), tensors, inputs, outputs)
