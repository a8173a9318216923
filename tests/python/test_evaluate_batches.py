# SPDX-License-Identifier: Apache-2.0
"""The float network on many samples at once: each sample's numbers are what it has alone, on any machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nybble import ops
from nybble.graph import DType, Graph, Node, Operator, Port, Tensor, constant, evaluate, evaluate_batches
from nybble.ops import Function, Step, Window


def graph_of(steps: list[tuple[Operator, tuple[object, ...]]], shape: tuple[int, ...]) -> Graph:
    """Operators one after the other; an input is the number of an earlier result (0: the graph's) or a constant."""
    tensors = {"0": Tensor("0", DType.FLOAT32, shape)}
    nodes = []
    for number, (op, inputs) in enumerate(steps, 1):
        names = []
        for i, given in enumerate(inputs):
            name = str(given)
            if isinstance(given, np.ndarray):
                name = f"{number}.{i}"
                tensors[name] = constant(name, given)
            names.append(name)
        [out] = op.shapes([tensors[name] for name in names])
        tensors[str(number)] = Tensor(str(number), DType.FLOAT32, out)
        nodes.append(Node(op, tuple(names), (str(number),)))
    graph = Graph(tensors, tuple(nodes), (Port("0", "x"),), (Port(str(len(steps)), "y"),), "graph")
    graph.check()
    return graph


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


WINDOW = Window((3, 2), (2, 1), (1, 2), ((1, 1), (0, 2)))
IMAGE = (2, 9, 8, 6)
CASES: dict[str, tuple[tuple[int, ...], list[tuple[Operator, tuple[object, ...]]]]] = {
    "convolution": (IMAGE, [(ops.Conv2d(WINDOW), (0, drawn(5, 3, 2, 6), drawn(5)))]),
    "groups": (IMAGE, [(ops.Conv2d(WINDOW, 3), (0, drawn(6, 3, 2, 2)))]),
    "pixels": (IMAGE, [(ops.Conv2d(Window((1, 1))), (0, drawn(7, 1, 1, 6)))]),
    "depthwise": (IMAGE, [(ops.DepthwiseConv2d(WINDOW), (0, drawn(1, 3, 2, 6), drawn(6)))]),
    "pools": (IMAGE, [(ops.MaxPool2d(WINDOW), (0,)), (ops.AveragePool2d(WINDOW), (1,))]),
    "fully connected": (IMAGE, [(ops.FullyConnected(), (0, drawn(5, 16), drawn(5)))]),
    "its dimensions": (IMAGE, [(ops.FullyConnected(True), (0, drawn(5, 6)))]),
    "sums": (IMAGE, [(ops.Mean((1, 2), True), (0,)), (ops.Sub(), (0, 1)), (ops.Sum((3,)), (2,))]),
    "products": (IMAGE, [(ops.Mul(), (0, 0)), (ops.Mul(), (1, drawn(8, 1))), (ops.Add(), (drawn(6), 2))]),
    "ranks": (
        IMAGE,
        [(ops.Slice((0, 0)), (0,)), (ops.Add(), (0, 1)), (ops.Maximum(), (2, 1)), (ops.Minimum(), (3, 0))],
    ),
    "moves": (
        IMAGE,
        [
            (ops.Transpose((3, 1, 0, 2)), (0,)),
            (ops.Slice(((None, None, -1), (1, 8, 2), None, 1)), (1,)),
            (ops.Reshape((8, 3, 8)), (2,)),
            (ops.BroadcastTo((5, 8, 3, 8)), (3,)),
            (ops.Pad((1, 0, 2, 0), (0, 0, 1, 3)), (4,)),
            (ops.Concat(2), (5, 5)),
            (ops.Pack(1), (6, 6)),
        ],
    ),
    "constants": (
        (3, 4),
        [(ops.Concat(0), (0, drawn(2, 4))), (ops.Abs(), (drawn(5, 4),)), (ops.Add(), (1, 2))],
    ),
    "resized": (IMAGE, [(ops.ResizeBilinear((5, 11)), (0,)), (ops.ResizeNearest((7, 4)), (1,))]),
    "softmax": (IMAGE, [(ops.Softmax(0.7), (0,)), (ops.LogSoftmax(), (1,)), (ops.ArgMax(2), (2,))]),
    "functions": (
        IMAGE,
        [
            (ops.Logistic(), (0,)),
            (ops.Tanh(), (1,)),
            (ops.HardSwish(), (2,)),
            (ops.LeakyRelu(0.1), (0,)),
            (ops.Affine(2, 1, -1, 1), (4,)),
            *((ops.RealFunction(f), (0,)) for f in Function),
            (
                ops.Pointwise(
                    (Step(ops.Logistic(), (0,)), Step(ops.Mul(), (0, 1)), Step(ops.Add(), (2, 0.5)))
                ),
                (0,),
            ),
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_samples_together_are_what_they_are_alone(name: str) -> None:
    shape, steps = CASES[name]
    graph = graph_of(steps, shape)
    samples = drawn(7, *shape)
    samples[3] *= 1000
    batches = list(evaluate_batches(graph, [samples], size=5))
    assert [len(batch["0"]) for batch in batches] == [5, 2]
    for i, sample in enumerate(samples):
        wanted = evaluate(graph, [sample], real=True)
        wanted |= {"0": sample}
        batch = batches[i // 5]
        names = set(graph.producers()) | {"0"}
        assert batch.keys() == names
        for tensor in names:
            assert batch[tensor].shape[1:] == graph.tensors[tensor].shape
            np.testing.assert_array_equal(batch[tensor][i % 5], wanted[tensor])


def test_only_what_is_kept_is_computed_and_held() -> None:
    shape, steps = CASES["sums"]
    graph = graph_of(steps, shape)
    samples = drawn(6, *shape)
    (whole,) = evaluate_batches(graph, [samples])
    for kept in ({"3"}, {"1"}, {"0", "2"}):
        (found,) = evaluate_batches(graph, [samples], keep=kept)
        assert found.keys() == kept
        for name in kept:
            np.testing.assert_array_equal(found[name], whole[name])
    with pytest.raises(KeyError, match="computes no tensor 'nothing'"):
        next(evaluate_batches(graph, [samples], keep=["nothing"]))
    with pytest.raises(ValueError, match="samples for 1 inputs"):
        next(evaluate_batches(graph, [samples, samples]))


def test_memory_bounds_the_number_of_samples() -> None:
    shape, steps = CASES["pools"]
    graph = graph_of(steps, shape)
    samples = drawn(6, *shape)
    one = 4 * int(np.prod(shape))
    sizes = [len(batch["2"]) for batch in evaluate_batches(graph, [samples], keep=["2"], memory=5 * one)]
    assert sizes[0] in (2, 3)
    assert sum(sizes) == 6
    assert [len(b["2"]) for b in evaluate_batches(graph, [samples], memory=1)] == [1] * 6


#: Prints the digest of everything that some networks compute.
_PROGRAM = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from test_evaluate_batches import digest
print(digest())
"""


def digest() -> str:
    """Of everything that the networks compute, and of a large product."""
    found = hashlib.sha256()
    for name, (shape, steps) in sorted(CASES.items()):
        for batch in evaluate_batches(graph_of(steps, shape), [drawn(5, *shape)]):
            for tensor in sorted(batch):
                found.update(np.ascontiguousarray(batch[tensor]).tobytes())
            found.update(name.encode())
    x = drawn(700, 900)
    found.update(ops.exact.exact_matmul(x, x.T).tobytes())
    return found.hexdigest()


#: Environments in which BLAS and numpy choose other instructions; those that a processor lacks change nothing.
MACHINES = [
    {"OPENBLAS_NUM_THREADS": "2"},
    {"OPENBLAS_CORETYPE": "Prescott"},
    {"OPENBLAS_CORETYPE": "Sandybridge"},
    {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2"},
    {"OPENBLAS_CORETYPE": "SkylakeX"},
    {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512_SKX ASIMDHP SVE"},
]


def test_other_machines_compute_the_same() -> None:
    wanted = digest()
    here = str(Path(__file__).parent)
    for machine in MACHINES:
        if machine.get("OPENBLAS_CORETYPE") == "SkylakeX" and "avx512f" not in _flags():
            continue
        found = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _PROGRAM, here],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **machine},
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.stdout.strip() == wanted, (machine, found.stderr)


def _flags() -> str:
    info = Path("/proc/cpuinfo")
    return info.read_text() if info.exists() else ""
