# SPDX-License-Identifier: Apache-2.0
"""How many bits each layer's weights get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..graph import Graph, Node
from ..passes.fold_affine import OUTPUT_AXIS

WEIGHT_BITS = (8, 4, 2)
ACTIVATION_BITS = (8,)
#: k that may share a factor: whole steps of the packed layout for every number of bits.
GROUP_SIZES = (16, 32, 64, 128)


@dataclass(frozen=True)
class Recipe:
    """Bits of weights (8, 4 or 2) and activations (8).

    first, last: of the first and the last layer with weights, which suffer most from few bits.
    layers: by the names of nodes; they go before all others. group: this many k (16, 32, 64 or 128) share a factor of
    their own, in 4-bit and 2-bit weights of convolutions and fully connected layers; None: one scale per channel.
    """

    weights: int = 8
    activations: int = 8
    first: int | None = None
    last: int | None = None
    layers: Mapping[str, int] = field(default_factory=dict)
    group: int | None = None

    def __post_init__(self) -> None:
        for bits in (self.weights, self.first, self.last, *self.layers.values()):
            if bits is not None and bits not in WEIGHT_BITS:
                raise ValueError(f"expected weights of 8, 4 or 2 bits, found {bits!r}")
        if self.activations not in ACTIVATION_BITS:
            raise ValueError(f"expected activations of 8 bits, found {self.activations!r}")

        if self.group is not None and self.group not in GROUP_SIZES:
            raise ValueError(f"expected groups of {', '.join(map(str, GROUP_SIZES))} k, found {self.group!r}")

    def bits(self, graph: Graph) -> dict[str, int]:
        """Bits of every layer with weights, by its output tensor. ValueError where ``layers`` names
        no such layer.
        """
        weighted = [node for node in graph.nodes if has_weights(node)]
        names = [node.name for node in weighted]
        unknown = sorted(set(self.layers) - set(names))
        if unknown:
            raise ValueError(f"no layer {unknown[0]!r} with weights; there are {', '.join(map(repr, names))}")
        result = {node.outputs[0]: self.weights for node in weighted}
        if weighted and self.first is not None:
            result[weighted[0].outputs[0]] = self.first
        if weighted and self.last is not None:
            result[weighted[-1].outputs[0]] = self.last
        result.update({n.outputs[0]: self.layers[n.name] for n in weighted if n.name in self.layers})
        return result


def has_weights(node: Node) -> bool:
    """Whether a node multiplies its input with constant weights."""
    return type(node.op) in OUTPUT_AXIS
