# SPDX-License-Identifier: Apache-2.0
"""Import of float .onnx networks: the float meaning against the onnx package's reference."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx_networks import Network  # noqa: E402

from nybble import ModelError, UnsupportedError, import_model, ops  # noqa: E402
from nybble.graph import Graph, evaluate_outputs  # noqa: E402
from nybble.importers.onnx import import_onnx  # noqa: E402
from nybble.passes import prepare_float  # noqa: E402
from nybble.quantize.samples import source_order  # noqa: E402

SHARED = Path(os.environ.get("NYBBLE_SHARED", "../shared"))

#: The largest difference, as a part of the largest output, that float32 may make.
TOLERANCE = 1e-4


def in_source_layout(graph: Graph, port: Any, array: np.ndarray) -> np.ndarray:
    order = source_order(graph, port)
    return array if order is None else array.transpose(order)


def random_inputs(graph: Graph, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = [graph.tensors[port.tensor].shape for port in graph.inputs]
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def require_equal(run: Callable[[dict[str, Any]], list[Any]], graph: Graph) -> None:
    """The graph, as imported and after the passes, gives what ``run`` gives."""
    for seed in range(3):
        inputs = random_inputs(graph, seed)
        given = {p.name: in_source_layout(graph, p, x) for p, x in zip(graph.inputs, inputs, strict=True)}
        wanted = run(given)
        for candidate in (graph, prepare_float(graph)):
            found = evaluate_outputs(candidate, inputs, real=True)
            for port, w, f in zip(candidate.outputs, wanted, found, strict=True):
                f = in_source_layout(graph, port, f)
                assert w.shape == f.shape
                limit = TOLERANCE * max(float(np.abs(w).max()), 1e-6)
                assert float(np.abs(w.astype(np.float64) - f).max()) <= limit


def check(network: Network, *outputs: str, dtype: int = 1) -> Graph:
    """Import, compare with the reference, return the prepared graph."""
    model = network.model(*outputs, dtype=dtype)
    graph = import_onnx(model)
    reference = ReferenceEvaluator(model)
    require_equal(lambda given: reference.run(None, given), graph)
    return prepare_float(graph)


def kinds(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


CONVOLUTIONS = {
    "plain": ((6, 3, 3, 3), {}),
    "pads": ((6, 3, 3, 3), {"pads": [1, 0, 2, 1]}),
    "stride": ((6, 3, 3, 2), {"strides": [2, 1], "pads": [1, 1, 1, 1]}),
    "dilation": ((4, 3, 3, 3), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    "groups": ((6, 1, 3, 3), {"group": 3}),
    "depthwise": ((3, 1, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    "same upper": ((4, 3, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((4, 3, 4, 3), {"auto_pad": "SAME_LOWER"}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_with_batch_norm_and_relu(case: str, bias: bool) -> None:
    shape, attributes = CONVOLUTIONS[case]
    net = Network()
    y = net.conv(net.input([1, 3, 9, 8]), shape, bias=bias, **attributes)
    y = net.node("Relu", net.batch_norm(y, shape[0]))
    graph = check(net, y)
    assert kinds(graph) == ["DepthwiseConv2d" if case == "depthwise" else "Conv2d"]
    assert graph.nodes[0].op.activation is ops.Activation.RELU


def test_convolution_over_one_dimension() -> None:
    net = Network()
    y = net.conv(net.input([1, 5, 20]), (4, 5, 3), strides=[2], pads=[1, 0])
    y = net.node("MaxPool", net.node("Relu", y), kernel_shape=[2], strides=[2])
    check(net, y)


POOLS = {
    "max": ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    "max ceil": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "average": ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 1], "pads": [1, 1, 1, 1]}),
    "average with padding": (
        "AveragePool",
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    "average of all": ("AveragePool", {"kernel_shape": [8, 6]}),
    "global average": ("GlobalAveragePool", {}),
    "global max": ("GlobalMaxPool", {}),
}


@pytest.mark.parametrize("case", POOLS)
def test_pools(case: str) -> None:
    kind, attributes = POOLS[case]
    net = Network()
    graph = check(net, net.node(kind, net.input([1, 3, 8, 6]), **attributes))
    if case in ("average of all", "global average"):
        assert kinds(graph) == ["Mean"]


def test_flattened_image_needs_no_transposition() -> None:
    """The columns of the weights take NHWC order instead."""
    net = Network()
    y = net.conv(net.input([1, 2, 6, 5]), (3, 2, 3, 3))
    y = net.gemm(net.node("Flatten", y), 3 * 4 * 3, 7, transB=1, alpha=0.5, beta=2.0)
    assert kinds(check(net, y)) == ["Conv2d", "Reshape", "FullyConnected"]


def test_transpositions_around_nhwc_cancel() -> None:
    """As tf2onnx writes them."""
    net = Network()
    y = net.node("Transpose", net.input([1, 8, 8, 3]), perm=[0, 3, 1, 2])
    y = net.node("Transpose", net.conv(y, (4, 3, 3, 3)), perm=[0, 2, 3, 1])
    y = net.node("Add", y, net.constant([1.0, 2.0, 3.0, 4.0]))
    y = net.conv(net.node("Transpose", y, perm=[0, 3, 1, 2]), (5, 4, 3, 3))
    y = net.node("Transpose", y, perm=[0, 2, 3, 1])
    assert kinds(check(net, y)) == ["Conv2d", "Conv2d"]


def test_residual_with_projection_and_shared_input() -> None:
    net = Network()
    x = net.node("Relu", net.conv(net.input([1, 3, 8, 8]), (8, 3, 3, 3), pads=[1, 1, 1, 1]))
    y = net.batch_norm(net.conv(x, (8, 8, 3, 3), pads=[1, 1, 1, 1], bias=False), 8)
    y = net.node("Relu", net.node("Add", y, net.conv(x, (8, 8, 1, 1))))
    assert kinds(check(net, y)) == ["Conv2d", "Conv2d", "Conv2d", "Add"]


def test_normalization_without_a_layer_before_it() -> None:
    net = Network()
    y = net.node("MaxPool", net.input([1, 4, 6, 6]), kernel_shape=[2, 2])
    y = net.node("Relu", net.batch_norm(y, 4))
    assert kinds(check(net, y)) == ["MaxPool2d", "DepthwiseConv2d"]


def test_normalization_of_the_input_keeps_it_an_image() -> None:
    net = Network()
    y = net.node("Sub", net.input([1, 3, 6, 6]), net.constant([[[0.1]], [[0.2]], [[0.3]]]))
    y = net.node("Div", y, net.constant([[[0.5]], [[0.6]], [[0.7]]]))
    graph = check(net, net.conv(y, (4, 3, 3, 3)))
    assert graph.tensors["x"].shape == (1, 6, 6, 3)
    assert "Transpose" not in kinds(graph)


HARD_SWISHES: dict[str, Callable[[Network, str], str]] = {
    "operator": lambda n, x: n.node("HardSwish", x),
    "hard sigmoid": lambda n, x: n.node("Mul", x, n.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)),
    "clip": lambda n, x: n.node(
        "Div",
        n.node(
            "Mul",
            x,
            n.node("Clip", n.node("Add", x, n.constant(3)), n.constant(0), n.constant(6)),
        ),
        n.constant(6),
    ),
}


@pytest.mark.parametrize("case", HARD_SWISHES)
def test_hard_swish_is_recognized(case: str) -> None:
    net = Network()
    y = HARD_SWISHES[case](net, net.conv(net.input([1, 2, 5, 5]), (4, 2, 3, 3)))
    assert kinds(check(net, y)) == ["Conv2d", "HardSwish"]


def test_what_is_not_hard_swish_is_a_table_of_its_own() -> None:
    net = Network()
    x = net.input([1, 2, 5, 5])
    y = net.node("Mul", x, net.node("HardSigmoid", x, alpha=1 / 6, beta=0.4))
    assert kinds(check(net, y)) == ["Pointwise"]


@pytest.mark.parametrize("group", [1, 3])
def test_padding_joins_the_convolution(group: int) -> None:
    net = Network()
    y = net.node("Pad", net.input([1, 3, 6, 7]), net.integers(0, 0, 2, 1, 0, 0, 0, 3))
    y = net.conv(y, (3, 3 // group, 3, 3), group=group, pads=[1, 0, 0, 1])
    graph = check(net, y)
    assert len(graph.nodes) == 1
    assert graph.nodes[0].op.window.padding == ((3, 0), (1, 4))


ELEMENTWISE: dict[str, Callable[[Network, str], str]] = {
    "clip": lambda n, x: n.node("Clip", x, n.constant(-0.3), n.constant(0.8)),
    "relu6": lambda n, x: n.node("Clip", x, n.constant(0), n.constant(6)),
    "leaky": lambda n, x: n.node("LeakyRelu", x, alpha=0.2),
    "sigmoid": lambda n, x: n.node("Sigmoid", x),
    "tanh": lambda n, x: n.node("Tanh", x),
    "hard sigmoid": lambda n, x: n.node("HardSigmoid", x),
    "silu": lambda n, x: n.node("Mul", x, n.node("Sigmoid", x)),
    "negative": lambda n, x: n.node("Relu", n.node("Neg", x)),
    "from one": lambda n, x: n.node("Sub", n.constant(1), x),
    "chain": lambda n, x: n.node("Mul", n.node("Add", n.node("Relu", x), n.constant(2)), n.constant(-3)),
    "square": lambda n, x: n.node("Pow", x, n.constant(2)),
    "maximum": lambda n, x: n.node("Max", x, n.node("Neg", x)),
    "minimum": lambda n, x: n.node("Min", x, n.constant(0.25)),
    "row": lambda n, x: n.node("Add", x, n.constant(np.arange(5))),
    "column": lambda n, x: n.node("Mul", n.constant(np.arange(1, 7)[:, None]), x),
    "difference": lambda n, x: n.node("Sub", x, n.node("Tanh", x)),
    "softmax": lambda n, x: n.node("Softmax", x, axis=1),
    "elu": lambda n, x: n.node("Elu", x),
}


@pytest.mark.parametrize("case", ELEMENTWISE)
@pytest.mark.parametrize("image", [True, False])
def test_elementwise(case: str, image: bool) -> None:
    net = Network()
    x = net.input([1, 3, 6, 5])
    if image:
        x = net.node("MaxPool", x, kernel_shape=[1, 1])
    check(net, ELEMENTWISE[case](net, x))


MOVES: dict[str, Callable[[Network, str], str]] = {
    "concat": lambda n, x: n.node("Concat", x, n.node("Relu", x), axis=1),
    "slice": lambda n, x: n.node(
        "Slice", x, n.integers(1, 4), n.integers(3, -(2**62)), n.integers(1, 3), n.integers(1, -2)
    ),
    "split": lambda n, x: n.node("Mul", *n.node("Split", x, n.integers(2, 2), outputs=2, axis=1)),
    "gather": lambda n, x: n.node("Gather", x, n.constant(2, np.int64), axis=2),
    "squeeze": lambda n, x: n.node("Squeeze", n.node("Gather", x, n.integers(3), axis=1), n.integers(1)),
    "unsqueeze": lambda n, x: n.node(
        "Unsqueeze", n.node("ReduceMean", x, axes=[2], keepdims=0), n.integers(2)
    ),
    "pad": lambda n, x: n.node("Pad", x, n.integers(0, 1, 2, 0, 0, 0, 1, 3), n.constant(0.5)),
    "transpose": lambda n, x: n.node("Transpose", x, perm=[0, 2, 1, 3]),
    "reshape": lambda n, x: n.node("Reshape", x, n.integers(0, 2, -1)),
    "mean": lambda n, x: n.node("ReduceMean", x, axes=[-1, -2], keepdims=1),
    "sum": lambda n, x: n.node("ReduceSum", x, n.integers(1), keepdims=0),
    "matmul": lambda n, x: n.node("MatMul", x, n.constant(n.random.normal(size=(5, 7)))),
    "expand": lambda n, x: n.node("Expand", n.node("ReduceMean", x, axes=[3]), n.integers(1, 4, 6, 2)),
    "dropout": lambda n, x: n.node("Identity", n.node("Dropout", n.node("Cast", x, to=1))),
}


@pytest.mark.parametrize("case", MOVES)
def test_moves_and_reductions(case: str) -> None:
    net = Network()
    x = net.node("Relu", net.conv(net.input([1, 3, 6, 5]), (4, 3, 1, 1)))
    check(net, MOVES[case](net, x))


RESIZES = {
    "nearest": {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    },
    "nearest half pixel": {"mode": "nearest"},
    "linear": {"mode": "linear"},
    "linear corners": {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    "linear asymmetric": {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
}


@pytest.mark.parametrize("case", RESIZES)
def test_resize(case: str) -> None:
    net = Network()
    x = net.input([1, 3, 4, 5])
    y = net.node("Resize", x, "", net.constant([1, 1, 2, 3]), **RESIZES[case])
    check(net, y)


def test_shape_arithmetic_becomes_constant() -> None:
    """As torch exports x.view(x.size(0), -1), with an open batch."""
    net = Network()
    x = net.input(["batch", 3, 4, 4])
    y = net.conv(x, (2, 3, 3, 3))
    size = net.node("Gather", net.node("Shape", y), net.constant(0, np.int64))
    size = net.node("Unsqueeze", size, net.integers(0))
    shape = net.node("Concat", size, net.integers(-1), axis=0)
    graph = check(net, net.gemm(net.node("Reshape", y, shape), 8, 3))
    assert graph.tensors["x"].shape == (1, 4, 4, 3)


def test_arg_max_gives_integers() -> None:
    net = Network()
    y = net.node("ArgMax", net.conv(net.input([1, 3, 5, 5]), (4, 3, 3, 3)), axis=1, keepdims=0)
    graph = check(net, y, dtype=onnx.TensorProto.INT64)
    assert not graph.outputs[0].real


def test_all_blockers_are_listed() -> None:
    net = Network()
    x = net.input([1, 3, 8, 8])
    y = net.node("LRN", x, size=3)
    z = net.node("Det", net.node("Resize", x, "", net.constant([1, 1, 2, 2]), mode="cubic"))
    with pytest.raises(UnsupportedError) as caught:
        import_onnx(net.model(net.node("Relu", y), z))
    reasons = {b.node.split()[0]: b.reason for b in caught.value.blockers}
    assert set(reasons) == {"LRN", "Resize", "Det"}
    assert "cubic" in reasons["Resize"]


def test_division_by_zero_is_refused_with_a_remedy() -> None:
    net = Network()
    y = net.node("Div", net.input([1, 3]), net.constant([1, 0, 2]))
    with pytest.raises(UnsupportedError, match=r"division by a constant of zero +replace the zeros"):
        import_onnx(net.model(y))


def test_equal_blockers_share_a_line() -> None:
    net = Network()
    x = net.input([1, 3, 8, 8])
    with pytest.raises(UnsupportedError) as caught:
        import_onnx(net.model(*(net.node("LRN", x, size=size) for size in (1, 3, 5))))
    assert len(caught.value.blockers) == 3
    header, columns, line = str(caught.value).splitlines()
    assert header.endswith("3 blockers")
    assert columns.split()[0] == "count"
    assert line.startswith("3")
    assert "LRN 'lrn0.0'" in line


def test_constant_branches_are_taken() -> None:
    """As torch exports squeeze()."""
    net = Network()
    x = net.input([1, 3, 4, 4])
    shape = net.node("Gather", net.node("Shape", x), net.constant(1, np.int64))
    branches = []
    for kind in ("Relu", "Neg"):
        inner = onnx.helper.make_node(kind, [x], [f"{kind}.y"])
        result = onnx.helper.make_tensor_value_info(f"{kind}.y", 1, None)
        branches.append(onnx.helper.make_graph([inner], kind, [], [result]))
    condition = net.node("Equal", shape, net.constant(1, np.int64))
    y = net.node("If", condition, then_branch=branches[0], else_branch=branches[1])
    assert kinds(check(net, net.node("Tanh", y))) == ["Affine", "Tanh"]


def test_open_dimensions_can_be_given() -> None:
    net = Network()
    y = net.conv(net.input(["n", 3, "h", "w"]), (4, 3, 3, 3))
    model = net.model(y)
    with pytest.raises(UnsupportedError, match="open dimensions") as caught:
        import_onnx(model)
    assert "has open dimensions [n, 3, h, w]" in str(caught.value)
    assert "--shape x=1,3,h,w of convert and quantize" in str(caught.value)
    assert import_onnx(model, shapes={"x": (1, 3, 6, 7)}).tensors["x"].shape == (1, 6, 7, 3)
    assert import_model(model, shapes={"x": (1, 3, 6, 7)}).tensors["x"].shape == (1, 6, 7, 3)
    for shapes, message in (
        ({"x": (1, 2, 6, 7)}, r"does not fit the input 'x' of shape \[n, 3, h, w\]"),
        ({"x": (3, 6, 7)}, "does not fit"),
        ({"x": (1, 3, 0, 7)}, "expected positive integers for 'x'"),
        ({"y": (1, 3, 6, 7)}, r"expected the name of an input \('x'\), found 'y'"),
    ):
        with pytest.raises(ValueError, match=message) as wrong:
            import_onnx(model, shapes=shapes)
        assert not isinstance(wrong.value, ModelError)


def test_wrong_files_are_named() -> None:
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        import_onnx(b"\x08\xff\xff", name="bad.onnx")
    net = Network()
    net.input([1, 3])
    with pytest.raises(ModelError, match="which nothing has written"):
        import_onnx(net.model(net.node("Relu", "nowhere")))
    net = Network()
    y = net.conv(net.input([1, 4, 5, 5]), (4, 3, 3, 3))
    with pytest.raises(ModelError, match="do not fit"):
        import_onnx(net.model(y))


def test_content_tells_the_format() -> None:
    net = Network()
    assert import_model(net.model(net.node("Relu", net.input([1, 4])))).nodes


def test_missing_package_is_named() -> None:
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "import nybble\n"
        "try: nybble.import_model(b'\\x08\\x08')\n"
        "except ImportError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nybble[onnx]" in result.stdout


#: Networks of the shared folder whose operators are all known, with shapes for their open dimensions.
PUBLIC: dict[str, dict[str, tuple[int, ...]]] = {
    "ad01_float": {},
    "kws_dscnn_float": {},
    "mnist": {},
    "mobilenet_v1_0.25_224_float": {},
    "ppocr_cls": {"x": (1, 3, 48, 192)},
    "resnet8_cifar10_float": {},
    "ultraface_slim_320": {},
    "vww_96_float": {},
}


@pytest.mark.parametrize("name", PUBLIC)
def test_public_networks_equal_onnx_runtime(name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    path = SHARED / "models" / "onnx" / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"no {path}; NYBBLE_SHARED names the folder")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options)
    graph = import_onnx(path, shapes=PUBLIC[name])
    assert math.prod(graph.tensors[graph.inputs[0].tensor].shape) > 0
    require_equal(lambda given: session.run(None, given), graph)
