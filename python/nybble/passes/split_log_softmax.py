# SPDX-License-Identifier: Apache-2.0
"""Write a log softmax as the operators that it is made of, each of which has an integer form.

    log softmax(x) = x - (m + log(sum of exp(x - m)))        m = max(x), over the last axis

So x itself, on its own scale, is moved by one number for all of a row: 8 bits keep its order, which the logarithm of an
8-bit softmax would not.
"""

from __future__ import annotations

import math

from .. import ops
from ..graph import Graph, Node, Operator, Tensor
from ..ops import Window
from .absorb import fresh


def _split(tensors: dict[str, Tensor], node: Node) -> list[Node]:
    x, y = tensors[node.inputs[0]], tensors[node.outputs[0]]
    depth, rank = x.shape[-1], len(x.shape)
    row = (*x.shape[:-1], 1)
    nodes: list[Node] = []

    def emit(op: Operator, inputs: tuple[str, ...], shape: tuple[int, ...], what: str) -> str:
        name = y.name if not what else fresh(tensors, f"{y.name}/{what}")
        tensors[name] = Tensor(name, y.dtype, shape)
        nodes.append(Node(op, inputs, (name,), node.name))
        return name

    count = math.prod(x.shape[:-1])
    rows = emit(ops.Reshape((count, depth, 1, 1)), (x.name,), (count, depth, 1, 1), "rows")
    pool = ops.MaxPool2d(Window((depth, 1)))
    most = emit(pool, (rows,), (count, 1, 1, 1), "largest")
    most = emit(ops.Reshape(row), (most,), row, "largest")
    below = emit(ops.Sub(), (x.name, most), x.shape, "below")
    powers = emit(ops.RealFunction(ops.Function.EXP), (below,), x.shape, "powers")
    total = emit(ops.Sum((rank - 1,), keep_dims=True), (powers,), row, "sum")
    log = emit(ops.RealFunction(ops.Function.LOG), (total,), row, "log")
    shift = emit(ops.Add(), (most, log), row, "shift")
    emit(ops.Sub(), (x.name, shift), y.shape, "")
    return nodes


def split_log_softmax(graph: Graph) -> Graph:
    """Replace every LogSoftmax."""
    tensors = dict(graph.tensors)
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += _split(tensors, node) if isinstance(node.op, ops.LogSoftmax) else [node]
    return graph.rebuilt(nodes, tensors)
