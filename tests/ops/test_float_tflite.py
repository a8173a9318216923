# SPDX-License-Identifier: Apache-2.0
"""Every operator of float .tflite networks that is imported: its real meaning against LiteRT, and quantized on the core."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import nybble
from nybble.convert import convert_graph
from nybble.graph import evaluate_outputs
from nybble.importers.tflite import import_tflite
from nybble.passes import prepare_float
from nybble.quantize import Recipe
from nybble.quantizing import quantize_to_graph
from oracle.interpreters import Engine, run
from oracle.single_op import OpSpec, TensorSpec, build

IMAGE = (1, 6, 5, 4)
POOL = {"padding": "SAME", "stride_h": 1, "stride_w": 2, "filter_height": 3, "filter_width": 2}


@dataclass(frozen=True)
class Case:
    """An operator on x; operands: constants, before x where ``first``."""

    builtin: str
    output: tuple[int, ...]
    operands: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    first: int = 0
    shape: tuple[int, ...] = IMAGE
    outputs: int = 1
    low: float = -3.0
    snr: float = 25.0
    version: int = 1
    engine: Engine = "ref"


RANDOM = np.random.default_rng(0)


def real(*shape: int, low: float = -1.0, high: float = 1.0) -> Any:
    return RANDOM.uniform(low, high, shape).astype(np.float32)


def ints(*values: Any) -> Any:
    return np.array(values, np.int32)


CONV = {"padding": "SAME", "stride_h": 2, "stride_w": 1, "dilation_h_factor": 1, "dilation_w_factor": 1}
TURNED = {"padding": "SAME", "stride_h": 2, "stride_w": 2}
KEEP = {"keep_dims": True}
CASES = {
    "conv": Case("CONV_2D", (1, 3, 5, 3), (real(3, 3, 2, 4), real(3)), CONV),
    "depthwise": Case(
        "DEPTHWISE_CONV_2D", (1, 3, 5, 4), (real(1, 3, 2, 4), real(4)), CONV | {"depth_multiplier": 1}
    ),
    "depthwise, two each": Case(
        "DEPTHWISE_CONV_2D", (1, 3, 5, 8), (real(1, 3, 2, 8), real(8)), CONV | {"depth_multiplier": 2}
    ),
    "transposed": Case("TRANSPOSE_CONV", (1, 12, 10, 3), (ints(1, 12, 10, 3), real(3, 3, 3, 4)), TURNED, 2),
    "transposed, bias": Case(
        "TRANSPOSE_CONV",
        (1, 11, 10, 3),
        (ints(1, 11, 10, 3), real(3, 4, 2, 4), real(3)),
        TURNED,
        2,
        version=3,
    ),
    "transposed, valid": Case(
        "TRANSPOSE_CONV",
        (1, 13, 17, 3),
        (ints(1, 13, 17, 3), real(3, 3, 5, 4)),
        {"padding": "VALID", "stride_h": 2, "stride_w": 3},
        2,
    ),
    "fully connected": Case("FULLY_CONNECTED", (3, 7), (real(7, 8), real(7)), shape=(3, 8)),
    "add": Case("ADD", IMAGE, (real(4),), {"fused_activation_function": "RELU"}),
    "sub": Case("SUB", IMAGE, (real(4),)),
    "mul": Case("MUL", IMAGE, (real(4),)),
    "div": Case("DIV", IMAGE, (real(4, low=0.5, high=2.0),)),
    "constant by tensor": Case("DIV", IMAGE, (real(4),), first=1, low=0.5),
    "neg": Case("NEG", IMAGE),
    "square": Case("SQUARE", IMAGE),
    "pow": Case("POW", IMAGE, (np.array(2, np.float32),)),
    "pow, broadcast": Case("POW", (6, 5, 4), (np.full((5, 1), 2, np.float32),), shape=(6, 1, 4)),
    "sqrt by pow, broadcast": Case(
        "POW", (6, 5, 4), (np.full((5, 1), 0.5, np.float32),), shape=(6, 1, 4), low=0.0
    ),
    "sqrt by pow": Case("POW", IMAGE, (np.array(0.5, np.float32),), low=0.0),
    "squared difference": Case("SQUARED_DIFFERENCE", IMAGE, (real(4),)),
    "add of three": Case("ADD_N", IMAGE, (real(*IMAGE), real(*IMAGE))),
    "maximum": Case("MAXIMUM", IMAGE, (real(4),)),
    "minimum": Case("MINIMUM", IMAGE, (real(4),)),
    "relu": Case("RELU", IMAGE),
    "relu6": Case("RELU6", IMAGE),
    "relu from -1 to 1": Case("RELU_N1_TO_1", IMAGE),
    "relu from 0 to 1": Case("RELU_0_TO_1", IMAGE),
    "leaky relu": Case("LEAKY_RELU", IMAGE, options={"alpha": 0.1}),
    "prelu": Case("PRELU", IMAGE, (real(1, 1, 4),)),
    "prelu, one slope": Case("PRELU", IMAGE, (np.full((1, 1, 4), 0.2, np.float32),)),
    "elu": Case("ELU", IMAGE, engine="tfm"),
    "gelu": Case("GELU", IMAGE),
    "gelu by tanh": Case("GELU", IMAGE, options={"approximate": True}),
    "hard swish": Case("HARD_SWISH", IMAGE),
    "logistic": Case("LOGISTIC", IMAGE),
    "tanh": Case("TANH", IMAGE),
    "abs": Case("ABS", IMAGE),
    "exp": Case("EXP", IMAGE),
    "log": Case("LOG", IMAGE, low=0.5),
    "sqrt": Case("SQRT", IMAGE, low=0.0),
    "rsqrt": Case("RSQRT", IMAGE, low=0.5),
    "softmax": Case("SOFTMAX", IMAGE, options={"beta": 1.0}),
    "log softmax": Case("LOG_SOFTMAX", IMAGE),
    "l2 normalization": Case("L2_NORMALIZATION", IMAGE, snr=20.0),
    "average pool": Case("AVERAGE_POOL_2D", (1, 6, 3, 4), options=POOL),
    "max pool": Case("MAX_POOL_2D", (1, 6, 3, 4), options=POOL),
    "mean": Case("MEAN", (1, 1, 1, 4), (ints(1, 2),), KEEP),
    "sum": Case("SUM", (1, 5, 4), (ints(1),)),
    "largest": Case("REDUCE_MAX", (1, 1, 1, 4), (ints(1, 2),), KEEP),
    "largest of two axes apart": Case("REDUCE_MAX", (6, 4), (ints(0, 2),)),
    "smallest": Case("REDUCE_MIN", (1, 6, 5), (ints(-1),)),
    "arg max": Case("ARG_MAX", (1, 6, 5), (np.array(3, np.int32),), {"output_type": "INT64"}),
    "resize bilinear": Case(
        "RESIZE_BILINEAR", (1, 9, 11, 4), (ints(9, 11),), {"half_pixel_centers": True}, version=3
    ),
    "resize nearest": Case("RESIZE_NEAREST_NEIGHBOR", (1, 9, 11, 4), (ints(9, 11),), version=3),
    "pad": Case("PAD", (1, 9, 5, 6), (ints([0, 0], [1, 2], [0, 0], [2, 0]),)),
    "pad with a number": Case(
        "PADV2", (1, 9, 5, 6), (ints([0, 0], [1, 2], [0, 0], [2, 0]), np.full(1, 0.5, np.float32))
    ),
    "mirror": Case("MIRROR_PAD", (1, 9, 5, 4), (ints([0, 0], [1, 2], [0, 0], [0, 0]),), {"mode": "REFLECT"}),
    "mirror with edge": Case(
        "MIRROR_PAD", (1, 9, 7, 4), (ints([0, 0], [1, 2], [2, 0], [0, 0]),), {"mode": "SYMMETRIC"}
    ),
    "reshape": Case("RESHAPE", (5, 24), (ints(5, 24),)),
    "squeeze": Case("SQUEEZE", (6, 5, 4), options={"squeeze_dims": [0]}),
    "expand": Case("EXPAND_DIMS", (1, 1, 6, 5, 4), (np.array(0, np.int32),)),
    "concat": Case("CONCATENATION", (1, 6, 5, 7), (real(1, 6, 5, 3),), {"axis": 3}),
    "pack": Case("PACK", (2, 6, 5), (real(6, 5),), {"axis": 0, "values_count": 2}, shape=(6, 5)),
    "unpack": Case("UNPACK", (6, 4), options={"axis": 2, "num": 5}, shape=(6, 4, 5), outputs=5),
    "split": Case("SPLIT", (1, 6, 5, 2), (np.array(3, np.int32),), {"num_splits": 2}, 1, outputs=2),
    "split in sizes": Case(
        "SPLIT_V", (1, 3, 5, 4), (ints(3, 3), np.array(1, np.int32)), {"num_splits": 2}, outputs=2
    ),
    "slice": Case("SLICE", (1, 4, 5, 2), (ints(0, 1, 0, 2), ints(1, 4, -1, 2))),
    "strided slice": Case(
        "STRIDED_SLICE", (1, 3, 5, 4), (ints(0, 5, 0, 0), ints(1, -7, 5, 4), ints(1, -2, 1, 1))
    ),
    "transpose": Case("TRANSPOSE", (1, 4, 6, 5), (ints(0, 3, 1, 2),)),
    "gather": Case("GATHER", (1, 6, 4, 4), (ints(3, 0, 0, 2),), {"axis": 2}),
    "gather a matrix": Case("GATHER", (1, 2, 2, 5, 4), (ints([5, 3], [0, 1]),), {"axis": 1}),
    "tile": Case("TILE", (1, 12, 5, 12), (ints(1, 2, 1, 3),)),
    "reverse": Case("REVERSE_V2", IMAGE, (ints(2),)),
    "broadcast": Case("BROADCAST_TO", (2, 6, 5, 4), (ints(2, 6, 5, 4),), version=2),
    "space to depth": Case("SPACE_TO_DEPTH", (1, 3, 2, 16), options={"block_size": 2}, shape=(1, 6, 4, 4)),
    "depth to space": Case("DEPTH_TO_SPACE", (1, 12, 10, 1), options={"block_size": 2}),
    "space to batch": Case("SPACE_TO_BATCH_ND", (6, 3, 3, 4), (ints(3, 2), ints([1, 2], [0, 1]))),
    "batch to space": Case(
        "BATCH_TO_SPACE_ND", (2, 5, 9, 4), (ints(2, 2), ints([1, 0], [0, 1])), shape=(8, 3, 5, 4)
    ),
}


def model_of(case: Case, **quantization: Any) -> bytes:
    """The operator's network; quantization: dtype and scale of x and y where they are integers."""
    of = {"dtype": "float32", **quantization}
    tensors = {"x": TensorSpec(case.shape, **of)}
    for i, operand in enumerate(case.operands):
        tensors[f"c{i}"] = TensorSpec(operand.shape, operand.dtype.name, data=operand)
    names = [f"c{i}" for i in range(len(case.operands))]
    names.insert(case.first, "x")
    outputs = tuple(f"y{i}" for i in range(case.outputs))
    if case.builtin == "ARG_MAX":
        of = {"dtype": "int64"}
    tensors |= {name: TensorSpec(case.output, **of) for name in outputs}
    op = OpSpec(case.builtin, tuple(names), outputs, case.options, case.version)
    return build(tensors, [op], ("x",), outputs)


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    case = CASES[name]
    model = model_of(case)
    samples = np.random.default_rng(1).uniform(case.low, 3, size=(16, *case.shape)).astype(np.float32)
    wanted = [run(model, [x], case.engine) for x in samples]
    graph = import_tflite(model)
    for candidate in (graph, prepare_float(graph)):
        for x, outputs in zip(samples[:2], wanted, strict=False):
            for found, want in zip(evaluate_outputs(candidate, [x], real=True), outputs, strict=True):
                assert found.shape == want.shape
                np.testing.assert_allclose(found, want, rtol=0, atol=1e-4 * float(np.abs(want).max()))
    given = samples if case.shape[0] != 1 else samples[:, 0]
    recipe = Recipe(method="nearest", calibration="minmax")
    integers = quantize_to_graph(graph, given, recipe)
    session = nybble.load(convert_graph(integers, golden=False))
    signal = noise = 0.0
    for x, outputs in zip(samples, wanted, strict=True):
        found = session(x)
        for y, want in zip(found if case.outputs > 1 else [found], outputs, strict=True):
            if want.dtype != np.float32:
                assert np.mean(np.asarray(y).reshape(want.shape) == want) > 0.9
                return
            real_outputs = np.asarray(y, np.float64).reshape(want.shape)
            signal += float(np.square(want.astype(np.float64)).sum())
            noise += float(np.square(real_outputs - want).sum())
    assert noise == 0 or 10 * np.log10(signal / noise) > case.snr


@pytest.mark.parametrize("builtin", ["DIV", "NEG", "SQUARE", "PRELU", "LOG_SOFTMAX", "L2_NORMALIZATION"])
def test_integers_that_no_rule_follows_are_refused(builtin: str) -> None:
    scale = {"dtype": "int8", "scale": 0.02}
    tensors = {name: TensorSpec(IMAGE, **scale) for name in "xy"}  # type: ignore[arg-type]
    inputs: tuple[str, ...] = ("x",)
    if builtin in ("DIV", "PRELU"):
        tensors["c"] = TensorSpec((1, 1, 4), data=np.ones((1, 1, 4), np.int8), **scale)  # type: ignore[arg-type]
        inputs = ("x", "c")
    model = build(tensors, [OpSpec(builtin, inputs, ("y",))], ("x",), ("y",))
    with pytest.raises(nybble.UnsupportedError, match="this operator of integers"):
        import_tflite(model)


def test_division_by_zero_is_refused_with_a_remedy() -> None:
    divisor = np.array([1, 0, 2, 3], np.float32)
    with pytest.raises(nybble.UnsupportedError, match=r"division by a constant of zero +replace the zeros"):
        import_tflite(model_of(Case("DIV", IMAGE, (divisor,))))


@pytest.mark.parametrize(
    "name",
    [
        "largest",
        "largest of two axes apart",
        "gather",
        "gather a matrix",
        "tile",
        "reverse",
        "space to batch",
        "batch to space",
    ],
)
def test_moves_and_maxima_of_integers(name: str) -> None:
    model = model_of(CASES[name], dtype="int8", scale=0.02, zero_point=3)
    session = nybble.load(convert_graph(import_tflite(model), golden=False))
    x = np.random.default_rng(5).integers(-128, 128, size=CASES[name].shape).astype(np.int8)
    (wanted,) = run(model, [x], "ref")
    np.testing.assert_array_equal(np.asarray(session.run([x])[0]), wanted)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("channels", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_convolution_of_integers(padding: str, channels: bool, stride: int) -> None:
    random = np.random.default_rng(stride)
    weights = random.integers(-127, 128, size=(3, 4, 2, 4))
    scales = (0.01, 0.02, 0.005) if channels else 0.01
    same = padding == "SAME"
    size = tuple(
        n * stride if same else (n - 1) * stride + k for n, k in zip(IMAGE[1:3], (4, 2), strict=True)
    )
    shape = (1, *size, 3)
    tensors = {
        "size": TensorSpec((4,), "int32", data=ints(*shape)),
        "w": TensorSpec(weights.shape, "int8", scales, data=weights),
        "x": TensorSpec(IMAGE, "int8", 0.02, 3),
        "b": TensorSpec(
            (3,), "int32", tuple(0.02 * np.atleast_1d(scales)), data=random.integers(-900, 900, size=3)
        ),
        "y": TensorSpec(shape, "int8", 0.05, -7),
    }
    options = {"padding": padding, "stride_h": stride, "stride_w": stride}
    model = build(
        tensors, [OpSpec("TRANSPOSE_CONV", ("size", "w", "x", "b"), ("y",), options, 3)], ("x",), ("y",)
    )
    session = nybble.load(convert_graph(import_tflite(model), golden=False))
    for _ in range(4):
        x = random.integers(-128, 128, size=IMAGE).astype(np.int8)
        (wanted,) = run(model, [x], "tfm")
        np.testing.assert_array_equal(np.asarray(session.run([x])[0]), wanted)


@pytest.mark.parametrize(
    "name",
    [
        "tile",
        "transposed, bias",
        "gather a matrix",
        "space to batch",
        "batch to space",
        "smallest",
        "add of three",
        "prelu",
    ],
)
def test_changed_words_are_taken_or_refused(name: str) -> None:
    model = model_of(CASES[name])
    random = np.random.default_rng(6)
    for at in random.choice(np.arange(4, len(model) - 4, 4), 60, replace=False):
        for value in (0xFFFFFFFF, 0, 1, 0x7FFFFFFF):
            changed = model[:at] + value.to_bytes(4, "little") + model[at + 4 :]
            with contextlib.suppress(nybble.ModelError, nybble.UnsupportedError):
                nybble.import_model(changed)
