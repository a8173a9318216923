# SPDX-License-Identifier: Apache-2.0
"""A node of an .onnx file, and what the rules for its operators share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..graph import Array, ModelError, Operator
from .onnx_builder import Builder


@dataclass(frozen=True)
class OnnxNode:
    """One node of the file; absent inputs are ''."""

    kind: str
    label: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    @property
    def x(self) -> str:
        """The first input."""
        return self.inputs[0]

    @property
    def y(self) -> str:
        """The first output."""
        return self.outputs[0]

    def input(self, i: int) -> str:
        """Input i, '' where it is absent."""
        return self.inputs[i] if i < len(self.inputs) else ""

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)


Rule = Callable[[Builder, OnnxNode], None]
RULES: dict[str, Rule] = {}


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for kind in kinds:
            RULES[kind] = function
        return function

    return register


def axis_of(node: OnnxNode, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ModelError(f"{node.label}: expected an axis of {rank} dimensions, found {axis}")
    return axis % rank


def axes_of(g: Builder, node: OnnxNode, rank: int) -> tuple[int, ...] | None:
    """The axes of a node, an input in newer opsets and an attribute in older ones; None where none
    are given, or an empty list of them, which means the same.
    """
    given = g.integers(node.input(1)) if node.input(1) else node.get("axes", ())
    return tuple(sorted({axis_of(node, int(a), rank) for a in given})) or None


def unary(g: Builder, node: OnnxNode, op: Operator) -> None:
    value = g.value(node.x)
    g.define(node.y, g.emit(op, [value.tensor], node.y, node.label), value.order)


def binary(g: Builder, node: OnnxNode, op: Operator, names: Sequence[str], output: str) -> None:
    operands, order = g.aligned(names, node.label)
    g.define(output, g.emit(op, operands, output, node.label), order)


def by_constant(g: Builder, node: OnnxNode, op: Operator, x: str, value: Array, output: str) -> None:
    """op(x, value) with a value that is not a tensor of the network."""
    name = f"{output}/operand"
    g.constants[name] = np.asarray(value, np.float32)
    binary(g, node, op, [x, name], output)


def broadcast(g: Builder, node: OnnxNode, output: str, constant: str) -> None:
    """Repeat what was computed of one operand alone where the other, a constant whose numbers the operator holds,
    makes the result larger.
    """
    shape = np.broadcast_shapes(g.shape(output), g.shape(constant))
    if shape != g.shape(output):
        y = g.plain(output, node.label)
        g.define(output, g.emit(ops.BroadcastTo(shape), [y], f"{output}/broadcast", node.label))


def without(order: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    """The order of the axes that remain."""
    kept = [a for a in order if a not in axes]
    return tuple(sorted(kept).index(a) for a in kept)
