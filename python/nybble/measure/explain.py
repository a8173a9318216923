# SPDX-License-Identifier: Apache-2.0
"""How close each operator comes to what this core can do, and what would make it faster."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..compile import compile_graph
from ..emit import emit_nyb
from ..graph import DType, Graph, Node, Operator, Port, Quantization, Tensor
from ..session import Layer, load_nyb
from .bench import Benchmark, LayerTime

#: Kinds whose sums are a matrix product; depthwise convolution has kernels of its own.
MATRIX_KINDS = ("Conv2d", "FullyConnected")
DEPTHWISE = "DepthwiseConv2d"

#: Invocations of the small layer that shows what a kernel can do.
CEILING_RUNS = 100

#: Advice is for operators that together take at least this share of the time.
WORTH_A_LINE = 0.02

#: Below this part of its ceiling an operator is slow for a reason.
FAR_BELOW = 0.5

#: Weights that exceed a first-level cache are read from further away at every invocation.
CACHED_BYTES = 32 << 10

_DTYPES = {8: DType.INT8, 4: DType.INT4, 2: DType.INT2}


@dataclass(frozen=True)
class Ceiling:
    """What a kernel reaches with everything in its caches, in 1e9 multiply-accumulates per second."""

    family: str
    bits: int
    variant: str
    gmacs_per_second: float


@dataclass(frozen=True)
class Explained:
    """One operator. ceiling: None where it has no multiply-accumulates. advice: '' where nothing is to be said."""

    time: LayerTime
    ceiling: Ceiling | None
    ceiling_share: float
    advice: str


@dataclass(frozen=True)
class Explanation:
    """All operators, and the ceilings that they are compared with."""

    operators: tuple[Explained, ...]
    ceilings: tuple[Ceiling, ...]

    def advice(self) -> Mapping[str, tuple[Explained, ...]]:
        """Every advice with the operators that it is for, the most time first."""
        found: dict[str, list[Explained]] = {}
        for one in self.operators:
            if one.advice:
                found.setdefault(one.advice, []).append(one)
        shares = {text: sum(one.time.share for one in operators) for text, operators in found.items()}
        worth = [text for text in found if shares[text] >= WORTH_A_LINE]
        return {text: tuple(found[text]) for text in sorted(worth, key=lambda text: -shares[text])}

    def document(self, benchmark: Mapping[str, Any]) -> Mapping[str, Any]:
        """The JSON values of a benchmark with those of the explanation added."""
        operators = [
            {**entry, "ceiling_share": one.ceiling_share, "advice": one.advice}
            for entry, one in zip(benchmark["operators"], self.operators, strict=True)
        ]
        ceilings = [
            {
                "family": one.family,
                "weight_bits": one.bits,
                "variant": one.variant,
                "gmacs_per_second": one.gmacs_per_second,
            }
            for one in self.ceilings
        ]
        return {**benchmark, "ceilings": ceilings, "operators": operators}


def _family(layer: Layer) -> str:
    return "depthwise" if layer.kind == DEPTHWISE else "gemm"


def _small_layer(family: str, bits: int) -> bytes:
    """A convolution whose input, weights and output fit 64 KiB together, with little to do besides its sums."""
    operator: Operator
    if family == "gemm":
        shape, output, weights_shape = (1, 8, 8, 448), (1, 8, 8, 64), (64, 1, 1, 448)
        operator = ops.Conv2d(ops.Window((1, 1)))
    else:
        shape, output, weights_shape = (1, 16, 16, 64), (1, 14, 14, 64), (1, 3, 3, 64)
        operator = ops.DepthwiseConv2d(ops.Window((3, 3)))
    limit = 1 << (bits - 1)
    values = np.random.default_rng(0).integers(-limit, limit, weights_shape).astype(np.int8)
    axis = 0 if family == "gemm" else 3
    scales = Quantization((0.01,) * output[3], (0,) * output[3], axis)
    tensors = (
        Tensor("x", DType.INT8, shape, Quantization.per_tensor(0.05, 3)),
        Tensor("weights", _DTYPES[bits], weights_shape, scales, values),
        Tensor("y", DType.INT8, output, Quantization.per_tensor(0.5, -7)),
    )
    node = Node(operator, ("x", "weights"), ("y",), family)
    graph = Graph({t.name: t for t in tensors}, (node,), (Port("x", "x"),), (Port("y", "y"),), family)
    return emit_nyb(compile_graph(graph), "ceiling", False)


def measure_ceiling(family: str, bits: int, cpu: str | None = None) -> Ceiling:
    """The best of many runs of a small layer on one thread. family: 'gemm' or 'depthwise'."""
    session = load_nyb(_small_layer(family, bits), cpu=cpu, prepack=True)
    [layer] = session.layers()
    best = min(session.profile()[0] for _ in range(CEILING_RUNS))
    return Ceiling(family, bits, layer.variant, layer.macs / max(1, best))


def explain(benchmark: Benchmark, *, threads: int = 1, cpu: str | None = None) -> Explanation:
    """Compare the operators of a measured network with ceilings measured here and now.

    threads, cpu: those of the session that was measured; so many cores have so many times the ceiling.
    """
    weights = sum(time.layer.weight_bytes for time in benchmark.layers)
    ceilings: dict[tuple[str, int], Ceiling] = {}
    operators = []
    for time in benchmark.layers:
        layer = time.layer
        ceiling, reached = None, 0.0
        if layer.macs and layer.weight_bits:
            key = (_family(layer), layer.weight_bits)
            if key not in ceilings:
                ceilings[key] = measure_ceiling(*key, cpu)
            ceiling = ceilings[key]
            reached = time.gmacs_per_second / (ceiling.gmacs_per_second * threads)
        variant = ceiling.variant if ceiling else ""
        scalar = "scalar" in layer.variant and cpu != "scalar"
        if scalar:
            advice = _scalar_advice(layer, variant)
        elif ceiling and reached < FAR_BELOW:
            advice = _slow_advice(layer, cached=weights <= CACHED_BYTES)
        else:
            advice = ""
        operators.append(Explained(time, ceiling, reached, advice))
    return Explanation(tuple(operators), tuple(ceilings.values()))


def _scalar_advice(layer: Layer, best: str) -> str:
    """best: the variant that the ceiling ran; '' where there is no ceiling."""
    if best and best != layer.variant:
        return f"scalar code, though this CPU has {best}: it takes one scale per channel, not scales for groups of k"
    return f"{layer.kind} in scalar code: this build has no other for this CPU"


def _slow_advice(layer: Layer, *, cached: bool) -> str:
    """Why sums may be far below the ceiling, the likeliest first; '' where nothing is known."""
    outputs = layer.output.shape[-1]
    rows = math.prod(layer.output.shape[:-1])
    if layer.kind in MATRIX_KINDS and layer.macs < rows * outputs * 32:
        return "sums of fewer than 32 products: making int8 of them takes longer than the sums"
    if layer.kind in MATRIX_KINDS and rows <= 4 and layer.weight_bits == 8 and not cached:
        return (
            "few outputs per weight, so that reading the weights takes the time: 4 bits would be half of it"
        )
    if 8 * math.ceil(outputs / 8) >= 1.1 * outputs:
        return "output channels cost as much as the next multiple of 8"
    return ""
