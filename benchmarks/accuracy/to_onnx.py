# SPDX-License-Identifier: Apache-2.0
"""A float graph of nybble's as .onnx, for quantizers that read only that.

Chains of convolutions, pools over a window, fully connected layers and softmax, as small classifiers are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nybble import ops
from nybble.graph import Graph
from nybble.ops import Activation

Array = npt.NDArray[Any]


def to_onnx(graph: Graph) -> bytes:
    """The .onnx of a graph of one input, which it takes as the graph does (NHWC), with a dimension of 1 in front.

    Raises ValueError at an operator of another kind.
    """
    from onnx import helper, numpy_helper

    constants, nodes = [], []

    def constant(array: Array) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), f"constant{len(constants)}"))
        return str(constants[-1].name)

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{kind.lower()}{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    source = graph.tensors[graph.inputs[0].tensor]
    names = {source.name: "x" if len(source.shape) != 4 else node("Transpose", "x", perm=[0, 3, 1, 2])}
    for one in graph.nodes:
        x, *rest = (graph.tensors[name] for name in one.inputs if name)
        data = [tensor.data for tensor in rest if tensor.data is not None]
        activation = getattr(one.op, "activation", Activation.NONE)
        y = names[x.name]
        if isinstance(one.op, ops.Conv2d | ops.DepthwiseConv2d):
            depthwise = isinstance(one.op, ops.DepthwiseConv2d)
            groups = x.shape[-1] if isinstance(one.op, ops.DepthwiseConv2d) else one.op.groups
            weights = data[0].transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
            window = _window(one.op.window)
            y = node("Conv", y, constant(weights), *map(constant, data[1:]), group=groups, **window)
        elif isinstance(one.op, ops.AveragePool2d | ops.MaxPool2d):
            kind = "MaxPool" if isinstance(one.op, ops.MaxPool2d) else "AveragePool"
            window = _window(one.op.window)
            window.pop("dilations")
            y = node(kind, y, kernel_shape=list(one.op.window.size), **window)
        elif isinstance(one.op, ops.FullyConnected):
            y = node("Gemm", y, constant(data[0]), *map(constant, data[1:]), transB=1)
        elif isinstance(one.op, ops.Reshape) and x.size == x.shape[-1]:
            y = node("Reshape", y, constant(np.array(one.op.shape)))
        elif isinstance(one.op, ops.Softmax) and one.op.beta == 1:
            y = node("Softmax", y, axis=-1)
        else:
            raise ValueError(f"{one.label}: expected an operator of a small classifier")
        if activation is Activation.RELU:
            y = node("Relu", y)
        elif activation is not Activation.NONE:
            low, high = activation.value
            y = node("Clip", y, constant(np.float32(low)), constant(np.float32(high)))
        names[one.outputs[0]] = y
    ports = [
        helper.make_tensor_value_info(name, 1, list(shape))
        for name, shape in (
            ("x", source.shape),
            (names[graph.outputs[0].tensor], graph.tensors[graph.outputs[0].tensor].shape),
        )
    ]
    made = helper.make_graph(nodes, graph.name or "network", ports[:1], ports[1:], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _window(window: ops.Window) -> dict[str, list[int]]:
    (top, bottom), (left, right) = window.padding
    return {
        "strides": list(window.stride),
        "dilations": list(window.dilation),
        "pads": [top, left, bottom, right],
    }
