# SPDX-License-Identifier: Apache-2.0
"""Write the seeds of the fuzzer's corpus: each operator of the format with each width of weights.

python tests/fuzz/make_corpus.py, after the format or the operators have changed. What the fuzzer found stays:
only files named seed_* are replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests")]

import nybble  # noqa: E402
from models.small import small_graph  # noqa: E402
from nybble import ops  # noqa: E402
from nybble.convert import convert_graph, import_model  # noqa: E402
from nybble.graph import DType, Graph, Quantization, Tensor  # noqa: E402
from ops.hostile import single  # noqa: E402
from oracle.random_ops import OPERATORS, random_case  # noqa: E402

CORPUS = Path(__file__).parent / "corpus"

#: So many random models of each operator are drawn, and of each kind the smallest and the largest are taken.
_DRAWS = 24
_LARGEST = 4096  # bytes of a seed


def _kind(model: bytes) -> str:
    """What makes a model different to the core: its operators, bits of their weights, float32 in integers."""
    layers = nybble.load(model, cpu="scalar").layers()
    names = {f"{x.kind}{x.weight_bits or ''}{'f' * x.variant.endswith('float32')}" for x in layers}
    return "_".join(sorted(n.lower() for n in names)) or "nothing"


def _two_bit_weights(model: bytes) -> Graph:
    """A network of int4 weights with those of 2 bits: the format has them, .tflite has hardly any."""
    graph = import_model(model)
    tensors = {
        name: replace(t, dtype=DType.INT2, data=np.clip(t.data, -2, 1)) if t.dtype is DType.INT4 else t
        for name, t in graph.tensors.items()
        if t.data is not None or t.dtype is not DType.INT4
    }
    return replace(graph, tensors=tensors)


def _squared_difference() -> Graph:
    """An operator that the reference interpreters have in int8 only, so that `random_case` does not draw it."""
    q = Quantization.per_tensor(0.05, 3)
    a, b, y = (
        Tensor("a", DType.INT8, (3, 5), q),
        Tensor("b", DType.INT8, (1,), q),
        Tensor("y", DType.INT8, (3, 5), q),
    )
    return single(ops.SquaredDifference(), (a, b), y)


def _candidates() -> Iterator[bytes]:
    for bits in (8, 4, 2):
        yield convert_graph(small_graph(bits))
    yield convert_graph(_squared_difference())
    for operator, types in OPERATORS.items():
        for dtype in types:
            for seed in range(_DRAWS):
                case = random_case(operator, np.random.default_rng(seed), dtype)
                try:
                    yield nybble.convert(case.model_bytes)
                    if dtype == "int8x4":
                        yield convert_graph(_two_bit_weights(case.model_bytes))
                except ValueError:
                    continue  # drawn from what nybble refuses


def main() -> None:
    """Replace the seeds."""
    found: dict[str, list[bytes]] = {}
    for model in _candidates():
        if len(model) <= _LARGEST:
            found.setdefault(_kind(model), []).append(model)
    seeds = {}
    for kind, models in found.items():
        ordered = sorted(models, key=lambda m: (len(m), m))
        seeds[f"seed_{kind}_small.nyb"] = ordered[0]
        if len(ordered) > 1 and "_" not in kind:
            seeds[f"seed_{kind}_large.nyb"] = ordered[-1]
    CORPUS.mkdir(exist_ok=True)
    for old in CORPUS.glob("seed_*.nyb"):
        old.unlink()
    for name, model in seeds.items():
        (CORPUS / name).write_bytes(model)
    print(f"{len(seeds)} seeds, {sum(map(len, seeds.values()))} bytes")


if __name__ == "__main__":
    main()
