# SPDX-License-Identifier: Apache-2.0
"""Every operator of ONNX that is imported, in every opset from 11, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx_networks import Network  # noqa: E402

import nybble  # noqa: E402
from nybble.convert import convert_graph  # noqa: E402
from nybble.graph import evaluate_outputs  # noqa: E402
from nybble.importers.onnx import import_onnx  # noqa: E402
from nybble.passes import prepare_float  # noqa: E402
from nybble.quantize import Recipe  # noqa: E402
from nybble.quantize.samples import source_order  # noqa: E402
from nybble.quantizing import quantize_to_graph  # noqa: E402

TOLERANCE = 1e-4
OPSETS = range(11, onnx.defs.onnx_opset_version() + 1)
SHAPE = (1, 4, 6, 5)

Build = Callable[[Network, str], str]


def with_axes(n: Network, kind: str, x: str, axes: list[int], since: int, **attributes: Any) -> str:
    """A node whose axes are an input from one opset on and were an attribute before."""
    if n.opset >= since:
        return str(n.node(kind, x, n.integers(*axes), **attributes))
    given = onnx.helper.make_attribute("axes", axes, attr_type=onnx.AttributeProto.INTS)  # may be empty
    y = str(n.node(kind, x, **attributes))
    n.nodes[-1].attribute.append(given)
    return y


def split(n: Network, x: str, sizes: list[int]) -> list[str]:
    if n.opset >= 13:
        return list(n.node("Split", x, n.integers(*sizes), outputs=len(sizes), axis=1))
    return list(n.node("Split", x, outputs=len(sizes), axis=1, split=sizes))


def resize(n: Network, x: str, **attributes: Any) -> str:
    return str(n.node("Resize", x, n.constant([]), n.constant([1, 1, 2, 3]), **attributes))


def normal(n: Network, *shape: int) -> str:
    return n.constant(n.random.normal(size=shape))


def above_one(n: Network, x: str) -> str:
    return str(n.node("Add", n.node("Abs", x), n.constant(1)))


def corner(n: Network, x: str) -> str:
    """One number of each channel, of which broadcasting makes more."""
    return str(n.node("Slice", x, n.integers(1, 2), n.integers(2, 3), n.integers(2, 3)))


def transposed(n: Network, x: str, shape: tuple[int, ...], **attributes: Any) -> str:
    outputs = shape[1] * attributes.get("group", 1)
    weights = n.constant(n.random.normal(size=shape) / 4)
    return str(n.node("ConvTranspose", x, weights, n.constant(n.random.normal(size=outputs)), **attributes))


#: name -> (first opset, last opset, the network behind an image).
OPERATORS: dict[str, tuple[int, int, Build]] = {}


def case(name: str, first: int = 11, last: int = 99) -> Callable[[Build], Build]:
    def add(build: Build) -> Build:
        OPERATORS[name] = (first, last, build)
        return build

    return add


def simple(name: str, kind: str, first: int = 11, **attributes: Any) -> None:
    OPERATORS[name] = (first, 99, lambda n, x: str(n.node(kind, x, **attributes)))


for kind in (
    "Relu",
    "Sigmoid",
    "Tanh",
    "Abs",
    "Neg",
    "Erf",
    "Softplus",
    "Elu",
    "LeakyRelu",
    "HardSigmoid",
    "Exp",
):
    simple(kind.lower(), kind)
simple("elu with alpha", "Elu", alpha=0.7)
simple("hard swish", "HardSwish", 14)
simple("mish", "Mish", 18)
simple("gelu", "Gelu", 20)
simple("gelu by tanh", "Gelu", 20, approximate="tanh")
simple("swish", "Swish", 24, alpha=1.5)
simple("softmax of channels", "Softmax", 13, axis=1)
simple("softmax", "Softmax", axis=-1)
simple("softmax of all behind an axis", "Softmax", axis=1)
simple("log softmax", "LogSoftmax", axis=-1)
simple("log softmax of channels", "LogSoftmax", 13, axis=1)
simple("global average", "GlobalAveragePool")
simple("global max", "GlobalMaxPool")
simple("max pool", "MaxPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])
simple("max pool, ceil", "MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
simple("average pool", "AveragePool", kernel_shape=[2, 3], strides=[2, 1], pads=[1, 1, 0, 1])
simple("average pool with padding", "AveragePool", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
simple("depth to space", "DepthToSpace", blocksize=2)
simple("depth to space, columns first", "DepthToSpace", blocksize=2, mode="CRD")
simple("flatten", "Flatten", axis=2)
simple("transpose", "Transpose", perm=[0, 2, 1, 3])
simple("identity", "Identity")
OPERATORS["space to depth"] = (
    11,
    99,
    lambda n, x: n.node(
        "SpaceToDepth", n.node("Slice", x, n.integers(1), n.integers(5), n.integers(3)), blocksize=2
    ),
)
for mode in ("reflect", "edge", "wrap"):
    OPERATORS[f"pad, {mode}"] = (
        19 if mode == "wrap" else 11,
        99,
        lambda n, x, mode=mode: n.node("Pad", x, n.integers(0, 1, 2, 0, 0, 2, 3, 3), mode=mode),  # type: ignore[misc]
    )
OPERATORS["pad"] = (
    11,
    99,
    lambda n, x: n.node("Pad", x, n.integers(0, 1, 2, 0, 0, 0, 1, 3), n.constant(0.5)),
)
for kind, since in (("ReduceMean", 18), ("ReduceSum", 13), ("ReduceMax", 18), ("ReduceMin", 18)):
    for axes, keep in (([1], 0), ([2, 3], 1), ([1, 3], 0), ([0, 1, 2, 3], 1), ([], 0), ([], 1)):
        OPERATORS[f"{kind} {axes} {keep}"] = (
            11,
            99,
            lambda n, x, k=kind, a=axes, s=since, d=keep: with_axes(n, k, x, a, s, keepdims=d),  # type: ignore[misc]
        )
    OPERATORS[f"{kind}, no axes, no operation"] = (
        since,
        99,
        lambda n, x, k=kind: n.node(k, x, n.integers(), noop_with_empty_axes=1),  # type: ignore[misc]
    )
for name, attributes in {
    "nearest, floor": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "nearest": {},
    "nearest, ceil": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"},
    "nearest, corners": {"coordinate_transformation_mode": "align_corners"},
    "linear": {"mode": "linear"},
    "linear, corners": {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    "linear, as torch": {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
    "linear, asymmetric": {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
}.items():
    OPERATORS[f"resize {name}"] = (11, 99, lambda n, x, a=attributes: resize(n, x, **a))  # type: ignore[misc]
for name, shape, attributes in (
    ("plain", (4, 3, 3, 3), {}),
    ("stride", (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("blocks", (4, 3, 2, 2), {"strides": [2, 2]}),
    ("groups", (4, 2, 4, 3), {"strides": [2, 3], "pads": [1, 0, 2, 1], "group": 2}),
    ("depthwise", (4, 1, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1], "group": 4}),
    ("dilation", (4, 3, 2, 3), {"strides": [2, 1], "dilations": [3, 2]}),
    ("same", (4, 3, 4, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("size", (4, 3, 3, 3), {"strides": [3, 2], "output_shape": [17, 10]}),
    ("gaps", (4, 3, 2, 1), {"strides": [3, 2]}),
    ("much padding", (4, 3, 3, 3), {"pads": [3, 3, 3, 1]}),
):
    OPERATORS[f"transposed convolution, {name}"] = (
        11,
        99,
        lambda n, x, s=shape, a=attributes: transposed(n, x, s, **a),  # type: ignore[misc]
    )
OPERATORS |= {
    "conv": (11, 99, lambda n, x: n.conv(x, (3, 4, 3, 3), pads=[1, 0, 2, 1], strides=[2, 1])),
    "conv, groups": (11, 99, lambda n, x: n.conv(x, (6, 2, 3, 3), group=2, dilations=[2, 1])),
    "conv, same": (11, 99, lambda n, x: n.conv(x, (3, 4, 2, 4), auto_pad="SAME_LOWER")),
    "batch norm": (11, 99, lambda n, x: n.batch_norm(x, 4)),
    "gemm": (11, 99, lambda n, x: n.gemm(n.node("Flatten", x), 120, 7, transB=1, alpha=0.5, beta=2.0)),
    "matmul": (11, 99, lambda n, x: n.node("MatMul", x, n.constant(n.random.normal(size=(5, 3))))),
    "add": (11, 99, lambda n, x: n.node("Add", x, n.constant(n.random.normal(size=(4, 1, 1))))),
    "sub": (11, 99, lambda n, x: n.node("Sub", n.constant(n.random.normal(size=(1, 5))), x)),
    "mul": (11, 99, lambda n, x: n.node("Mul", x, n.node("Tanh", x))),
    "div": (11, 99, lambda n, x: n.node("Div", x, n.constant(n.random.uniform(0.5, 2, size=(6, 5))))),
    "clip": (11, 99, lambda n, x: n.node("Clip", x, n.constant(-0.3), n.constant(0.8))),
    "prelu": (11, 99, lambda n, x: n.node("PRelu", x, n.constant(n.random.normal(size=(4, 1, 1))))),
    "prelu, one slope": (11, 99, lambda n, x: n.node("PRelu", x, n.constant([0.2]))),
    "silu": (11, 99, lambda n, x: n.node("Mul", x, n.node("Sigmoid", x))),
    "arg max": (11, 99, lambda n, x: n.node("ArgMax", x, axis=1, keepdims=0)),
    "concat": (11, 99, lambda n, x: n.node("Concat", x, n.node("Neg", x), axis=1)),
    "split": (11, 99, lambda n, x: n.node("Concat", *split(n, x, [1, 2, 1])[::-1], axis=1)),
    "slice": (11, 99, lambda n, x: n.node("Slice", x, *(n.integers(*v) for v in ((5, 1), (0, 4), (2, 1), (-2, 1))))),
    "gather one": (11, 99, lambda n, x: n.node("Gather", x, n.constant(2, np.int64), axis=2)),
    "gather": (11, 99, lambda n, x: n.node("Gather", x, n.integers(3, 0, 0, -2), axis=1)),
    "gather a matrix": (11, 99, lambda n, x: n.node("Gather", x, n.constant([[3, 1], [0, 5]], np.int64), axis=2)),
    "reshape": (11, 99, lambda n, x: n.node("Reshape", x, n.integers(0, 2, -1))),
    "squeeze": (11, 99, lambda n, x: with_axes(n, "Squeeze", n.node("GlobalMaxPool", x), [2, 3], 13)),
    "squeeze, no axes": (13, 99, lambda n, x: n.node("Squeeze", n.node("GlobalMaxPool", x), n.integers())),
    "unsqueeze, no axes": (13, 99, lambda n, x: n.node("Unsqueeze", x, n.integers())),
    "pad, no axes": (19, 99, lambda n, x: n.node("Pad", x, n.integers(), "", n.integers())),
    "pad, no axes, edge": (19, 99, lambda n, x: n.node("Pad", x, n.integers(), "", n.integers(), mode="edge")),
    "unsqueeze": (11, 99, lambda n, x: with_axes(n, "Unsqueeze", x, [0, -1], 13)),
    "expand": (11, 99, lambda n, x: n.node("Expand", n.node("GlobalMaxPool", x), n.integers(1, 4, 3, 2))),
    "max": (11, 99, lambda n, x: n.node("Max", x, n.node("Neg", x))),
    "min": (11, 99, lambda n, x: n.node("Min", x, n.constant(0.1))),
    "sum": (11, 99, lambda n, x: n.node("Sum", x, x, n.node("Relu", x))),
    "pow": (11, 99, lambda n, x: n.node("Pow", x, n.constant(2))),
    "sqrt": (11, 99, lambda n, x: n.node("Sqrt", n.node("Abs", x))),
    "log": (11, 99, lambda n, x: n.node("Log", n.node("Exp", x))),
    "cast": (11, 99, lambda n, x: n.node("Cast", x, to=1)),
    "dropout": (11, 99, lambda n, x: n.node("Dropout", x)),
}  # fmt: skip
OPERATORS |= {
    "dropout with a mask that nothing reads": (11, 99, lambda n, x: n.node("Dropout", x, outputs=2)[0]),
    "max pool with positions that nothing reads": (
        11,
        99,
        lambda n, x: n.node("MaxPool", x, kernel_shape=[2, 2], outputs=2)[0],
    ),
    "average pool, padding and ceil": (
        11,
        99,
        lambda n, x: n.node(
            "AveragePool",
            x,
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1] * 4,
            ceil_mode=1,
            count_include_pad=1,
        ),
    ),
    "gemm, turned": (
        11,
        99,
        lambda n, x: n.node("Gemm", n.node("Reshape", x, n.integers(30, 4)), normal(n, 30, 5), transA=1),
    ),
    "gemm with a bias for each row": (
        11,
        99,
        lambda n, x: n.node(
            "Gemm", n.node("Reshape", x, n.integers(4, 30)), normal(n, 30, 5), normal(n, 4, 1), beta=0.5
        ),
    ),
    "gemm, constant first": (
        11,
        99,
        lambda n, x: n.node(
            "Gemm",
            normal(n, 30, 5),
            n.node("Reshape", x, n.integers(4, 30)),
            normal(n, 1, 4),
            transA=1,
            transB=1,
            alpha=0.5,
        ),
    ),
    "matmul, constant first": (11, 99, lambda n, x: n.node("MatMul", normal(n, 3, 6), x)),
    "matmul with a vector": (11, 99, lambda n, x: n.node("MatMul", x, normal(n, 5))),
    "matmul with a matrix of more dimensions": (11, 99, lambda n, x: n.node("MatMul", x, normal(n, 1, 5, 3))),
    "max of three": (11, 99, lambda n, x: n.node("Max", x, n.node("Neg", x), n.constant(0.5))),
    "min of one": (11, 99, lambda n, x: n.node("Min", x)),
    "constant by tensor": (
        11,
        99,
        lambda n, x: n.node("Div", n.constant(n.random.uniform(0.5, 2, size=(4, 1, 1))), above_one(n, x)),
    ),
    "tensor by its sum": (
        11,
        99,
        lambda n, x: n.node("Div", n.node("Exp", x), with_axes(n, "ReduceSum", n.node("Exp", x), [1], 13)),
    ),
    "reciprocal": (11, 99, lambda n, x: n.node("Reciprocal", above_one(n, x))),
    "pow, broadcast": (11, 99, lambda n, x: n.node("Pow", corner(n, x), n.constant(np.full((6, 1), 2)))),
    "pow, of more dimensions": (11, 99, lambda n, x: n.node("Pow", x, n.constant(np.full((1,) * 5, 2)))),
    "sqrt by pow, broadcast": (
        11,
        99,
        lambda n, x: n.node("Pow", n.node("Abs", corner(n, x)), n.constant(np.full((2, 1, 1, 3), 0.5))),
    ),
    "max, of more dimensions": (11, 99, lambda n, x: n.node("Max", x, n.constant([[[[[0.2]]]]]))),
    "min of a row": (
        11,
        99,
        lambda n, x: n.node("Min", n.node("Reshape", x, n.integers(-1)), n.constant([[0.1]])),
    ),
    "one by tensor": (11, 99, lambda n, x: n.node("Div", n.constant(np.ones((1,) * 5)), above_one(n, x))),
    "prelu, one slope, broadcast": (
        11,
        99,
        lambda n, x: n.node("PRelu", corner(n, x), n.constant(np.full((6, 1), 0.3))),
    ),
    "pad, negative": (11, 99, lambda n, x: n.node("Pad", x, n.integers(0, 0, -1, 1, 0, 0, 2, -2))),
    "resize linear, symmetric": (
        19,
        99,
        lambda n, x: n.node(
            "Resize",
            x,
            "",
            n.constant([1, 1, 2, 3]),
            mode="linear",
            coordinate_transformation_mode="half_pixel_symmetric",
        ),
    ),
    "resize nearest, symmetric": (
        19,
        99,
        lambda n, x: n.node(
            "Resize",
            x,
            "",
            n.constant([1, 1, 1.7, 2.5]),
            coordinate_transformation_mode="half_pixel_symmetric",
        ),
    ),
    "resize, not larger": (
        18,
        99,
        lambda n, x: n.node(
            "Resize", x, "", "", n.integers(12, 12), axes=[2, 3], keep_aspect_ratio_policy="not_larger"
        ),
    ),
}


#: dB of what 8 bits cannot hold better: many small probabilities, the logarithm of something near 0.
COARSE = {"log": 15, "softmax of all behind an axis": 20}


def behind_an_image(name: str, opset: int) -> bytes:
    """An operator's network; a pool of one pixel makes its input an image."""
    net = Network(seed=opset, opset=opset)
    y = OPERATORS[name][2](net, net.node("MaxPool", net.input(SHAPE), kernel_shape=[1, 1]))
    kinds = onnx.TensorProto
    return net.model(y, dtype=kinds.INT64 if name == "arg max" else kinds.FLOAT)


def run(model: bytes, x: np.ndarray) -> np.ndarray | None:
    """What ONNX Runtime gives without optimizations; None where it has no such opset or kernel."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = runtime.InferenceSession(model, options)
    except (
        runtime.capi.onnxruntime_pybind11_state.NotImplemented,
        runtime.capi.onnxruntime_pybind11_state.Fail,
    ):
        return None
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_in_every_opset(name: str) -> None:
    first, last, _ = OPERATORS[name]
    compared = 0
    for opset in (o for o in OPSETS if first <= o <= last):
        model = behind_an_image(name, opset)
        x = np.random.default_rng(opset).normal(size=SHAPE).astype(np.float32)
        wanted = run(model, x)
        if wanted is None:
            continue
        graph = import_onnx(model)
        given = x.transpose(0, 2, 3, 1)
        for candidate in (graph, prepare_float(graph)):
            (found,) = evaluate_outputs(candidate, [given], real=True)
            order = source_order(candidate, candidate.outputs[0])
            found = found if order is None else found.transpose(order)
            assert found.shape == wanted.shape
            limit = TOLERANCE * max(float(np.abs(wanted).max()), 1e-6)
            assert float(np.abs(wanted.astype(np.float64) - found).max()) <= limit, opset
        compared += 1
    assert compared


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_on_the_integer_core(name: str) -> None:
    first, last, _ = OPERATORS[name]
    for opset in (first, min(last, OPSETS[-1])):
        model = behind_an_image(name, opset)
        graph = import_onnx(model)
        samples = np.random.default_rng(opset).normal(size=(16, *SHAPE[1:])).astype(np.float32)
        recipe = Recipe(method="nearest", calibration="minmax")
        integers = quantize_to_graph(graph, samples, recipe)
        session = nybble.load(convert_graph(integers, golden=False))
        tensor = integers.tensors[integers.inputs[0].tensor]
        q = np.random.default_rng(1).integers(-128, 128, size=tensor.shape).astype(np.int8)
        (meaning,) = evaluate_outputs(integers, [q])
        np.testing.assert_array_equal(np.asarray(session.run([q])[0]), meaning)
        given = samples.transpose(0, 2, 3, 1)[:, None]
        wanted = np.stack([evaluate_outputs(graph, [x], real=True)[0] for x in given]).astype(np.float64)
        found = np.stack([np.asarray(session(x)) for x in given]).reshape(wanted.shape)
        if name == "arg max":
            assert np.mean(found == wanted) > 0.95
            continue
        noise = np.square(found - wanted).sum()
        assert 10 * np.log10(np.square(wanted).sum() / noise) > COARSE.get(name, 25), opset


COORDINATES = ("asymmetric", "align_corners", "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_nearest_shows_the_rows_of_onnx_runtime(coordinates: str, nearest: str) -> None:
    """Factors whose float32 makes another size or another side of a tie than their float64."""
    for height, width in ((10, 7), (7, 9), (24, 23)):
        for given in (0.3, 0.7, 1.1, 1.2, 8 / 7, 1.7, 2.3, 2.9, 0.5, 11, 25, 44):
            net = Network(opset=19)
            image = net.input((1, 1, height, width))
            exact = isinstance(given, int)
            sizes = net.integers(1, 1, given, given + 3) if exact else ""
            scales = "" if exact else net.constant([1, 1, given, given + 0.6])
            y = net.node(
                "Resize",
                image,
                "",
                scales,
                sizes,
                coordinate_transformation_mode=coordinates,
                nearest_mode=nearest,
            )
            x = np.arange(height * width, dtype=np.float32).reshape(1, 1, height, width)
            wanted = run(net.model(y), x)
            (found,) = evaluate_outputs(import_onnx(net.model(y)), [x.transpose(0, 2, 3, 1)], real=True)
            assert wanted is not None
            np.testing.assert_array_equal(
                found.transpose(0, 3, 1, 2), wanted, f"{height} x {width} by {given}"
            )


@pytest.mark.parametrize(
    ("factors", "sizes", "match"),
    [
        (None, (1, 1, 0, 4), r"resize0\.0: expected sizes of at least 1, found \[1, 1, 0, 4\]"),
        (None, (1, 1, 4, -2), "expected sizes of at least 1"),
        ((1, 1, 0.05, 1), None, "expected sizes of at least 1"),
        ((1, 1, 0, 1), None, "expected finite factors above 0"),
        ((1, 1, np.inf, 1), None, "expected finite factors above 0"),
        ((1, 1, np.nan, 1), None, "expected finite factors above 0"),
    ],
)
def test_resizing_to_nothing_is_named(factors: Any, sizes: Any, match: str) -> None:
    net = Network(opset=19)
    given = ["" if factors is None else net.constant(factors), "" if sizes is None else net.integers(*sizes)]
    model = net.model(net.node("Resize", net.input((1, 1, 10, 10)), "", *given))
    with pytest.raises(nybble.ModelError, match=match):
        import_onnx(model)
