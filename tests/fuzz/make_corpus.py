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
from nybble.graph import DType, Graph, Quantization, ScaleGroups, Tensor  # noqa: E402
from ops.hostile import single  # noqa: E402
from oracle.random_ops import OPERATORS, random_case  # noqa: E402

CORPUS = Path(__file__).parent / "corpus"

#: So many random models of each operator are drawn, and of each kind the smallest and the largest are taken.
_DRAWS = 24
_LARGEST = 4096  # bytes of a seed


def _kind(model: bytes) -> str:
    """What makes a model different to the core: its operators, bits of their weights, float32 in integers, 16 bits."""
    session = nybble.load(model, cpu="scalar")
    layers = session.layers()
    names = {f"{x.kind}{x.weight_bits or ''}{'f' * x.variant.endswith('float32')}" for x in layers}
    wide = "int16" * any(port.dtype == np.int16 for port in (*session.inputs, *session.outputs))
    return wide + ("_".join(sorted(n.lower() for n in names)) or "nothing")


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


def _scale_groups(dtype: DType) -> bytes:
    """A convolution whose runs of 16 k have factors, which cross the window's lines and end with a shorter one."""
    q = Quantization.per_tensor(0.05, 3)
    rng = np.random.default_rng(0)
    values = rng.integers(dtype.lowest, dtype.highest + 1, (9, 2, 2, 10)).astype(np.int8)
    groups = ScaleGroups(16, rng.integers(-128, 128, (9, 3)).astype(np.int8))
    x, w, y = (
        Tensor("x", DType.INT8, (1, 3, 4, 10), q),
        Tensor("w", dtype, values.shape, Quantization((0.01,) * 9, (0,) * 9, 0, groups), values),
        Tensor("y", DType.INT8, (1, 2, 3, 9), Quantization.per_tensor(10.0, 0)),
    )
    return convert_graph(single(ops.Conv2d(ops.Window((2, 2))), (x, w), y))


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
    seeds = {f"seed_scale_groups{d.bits}.nyb": _scale_groups(d) for d in (DType.INT8, DType.INT4, DType.INT2)}
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
