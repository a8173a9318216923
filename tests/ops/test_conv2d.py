# SPDX-License-Identifier: Apache-2.0
"""CONV_2D and DEPTHWISE_CONV_2D: strides, dilations, groups, padding, 8, 4 and 2 bit weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble import ops
from nybble.compile import compile_graph
from nybble.compile.pack import Layout, pack
from nybble.convert import convert_graph
from nybble.graph import (
    DType,
    Graph,
    ModelError,
    Node,
    Port,
    Quantization,
    Rounding,
    ScaleGroups,
    Tensor,
    UnsupportedError,
)
from nybble.session import cpu_levels, load_nyb
from oracle.random_ops import OPERATORS
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_core_equals_meaning, assert_equals_oracle
from .hostile import assert_refused, changed, single

WEIGHT_TYPES = {8: DType.INT8, 4: DType.INT4, 2: DType.INT2}


@pytest.mark.parametrize(
    ("op_name", "dtype"),
    [(op, dtype) for op in ("CONV_2D", "DEPTHWISE_CONV_2D", "PAD_CONV_2D") for dtype in OPERATORS[op]],
)
def test_equals_the_oracle(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


def drawn_weights(
    data: st.DataObject, shape: tuple[int, ...], axis: int, zero_point: int = 0, grouped: bool = True
) -> Tensor:
    """Weights of 8, 4 or 2 bits over their whole range, scales per channel along an axis, and with axis 0, which
    matrices have, maybe factors per group along k."""
    bits = data.draw(st.sampled_from((8, 4, 2)))
    half = 1 << (bits - 1)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    kind = data.draw(st.sampled_from(("random", "lowest", "highest")))
    values = rng.integers(-half, half, shape)
    values = {"random": values, "lowest": np.full(shape, -half), "highest": np.full(shape, half - 1)}[kind]
    n = shape[axis]
    scales = tuple(float(np.float32(2.0**e)) for e in rng.uniform(-12, 0, n))
    groups = None
    if grouped and axis == 0 and zero_point == 0 and data.draw(st.booleans()):
        size = 32 // bits * data.draw(st.integers(1, 8))
        factors = rng.integers(-128, 128, (n, -(-(values.size // n) // size)))
        groups = ScaleGroups(size, factors.astype(np.int8))
    quantization = Quantization(scales, (zero_point,) * n, axis, groups)
    if n == 1 or data.draw(st.booleans()):
        quantization = Quantization((scales[0],), (zero_point,), groups=groups)
    return Tensor("w", WEIGHT_TYPES[bits], shape, quantization, values.astype(np.int8))


def drawn_bias(data: st.DataObject, channels: int) -> Tensor:
    """Biases of any size up to 2^28."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    size = 1 << data.draw(st.integers(0, 28))
    return Tensor("b", DType.INT32, (channels,), None, rng.integers(-size, size, channels, np.int32))


def drawn_output(data: st.DataObject, shape: tuple[int, ...], x: Tensor, w: Tensor) -> Tensor:
    """An output of any scale for which results cannot pass int32."""
    finest = x.scale * max(w.quantized.scale) * (1 if w.quantized.groups is None else 128)
    # Sums of int16 may pass int32 by as many bits.
    least = 0 if x.dtype is DType.INT8 else 8
    scale = finest * 2.0 ** data.draw(st.floats(least, 24))
    q = Quantization.per_tensor(scale, data.draw(drawing.zero_points(x.dtype)))
    return drawing.tensor("y", shape, q, x.dtype)


def drawn_window(data: st.DataObject, height: int, width: int) -> ops.Window:
    """A window that fits, with any padding, stride and dilation."""

    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    padding = (pair(0, 3), pair(0, 3))
    size, dilation = pair(1, 4), pair(1, 3)
    size = (min(size[0], height + sum(padding[0])), min(size[1], width + sum(padding[1])))
    for axis, extent in enumerate((height, width)):
        if dilation[axis] * (size[axis] - 1) + 1 > extent + sum(padding[axis]):
            dilation = (1, 1)
    return ops.Window(size, pair(1, 3), dilation, padding)


def drawn_image(data: st.DataObject, channels: int, dtype: DType = DType.INT8) -> Tensor:
    """A small batch of images."""
    batch, height, width = (data.draw(st.integers(1, n)) for n in (2, 9, 9))
    return drawing.tensor(
        "x", (batch, height, width, channels), data.draw(drawing.quantizations(dtype)), dtype
    )


@given(st.data())
def test_conv2d_core_equals_meaning(data: st.DataObject) -> None:
    groups = data.draw(st.sampled_from((1, 1, 2, 3)))
    per_group, outputs = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 19)) * groups
    x = drawn_image(data, per_group * groups)
    window = drawn_window(data, *x.shape[1:3])
    w = drawn_weights(
        data, (outputs, *window.size, per_group), 0, data.draw(st.sampled_from((0, 0, 5, -100)))
    )
    op = ops.Conv2d(
        window,
        groups,
        data.draw(st.sampled_from(list(ops.Activation))),
        data.draw(st.sampled_from(list(Rounding))),
    )
    tensors = [x, w] + ([drawn_bias(data, outputs)] if data.draw(st.booleans()) else [])
    y = drawn_output(data, op.shapes(tensors)[0], x, w)
    assert_core_equals_meaning(op, tensors, y, [data.draw(drawing.arrays(x.shape))])


@given(st.data())
def test_prepacked_core_equals_meaning(data: st.DataObject) -> None:
    """Windows of 3x3 at stride 1, which prepacked weights run by Winograd's algorithm; zero points of any size."""
    channels, outputs = data.draw(st.integers(6, 50)), data.draw(st.integers(6, 40))
    batch, height, width = (data.draw(st.integers(1, n)) for n in (2, 20, 20))
    x = drawing.tensor("x", (batch, height, width, channels), data.draw(drawing.QUANTIZATIONS))
    padding = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    window = ops.Window((3, 3), (1, 1), (1, 1), (padding, padding[::-1]))
    w = drawn_weights(data, (outputs, 3, 3, channels), 0, data.draw(st.sampled_from((0, 0, 127, -128))))
    op = ops.Conv2d(window, 1, data.draw(st.sampled_from(list(ops.Activation))))
    y = drawn_output(data, op.shapes([x, w])[0], x, w)
    assert_core_equals_meaning(op, [x, w], y, [data.draw(drawing.arrays(x.shape))], prepack=True)


@pytest.mark.skipif("avx2" not in cpu_levels(), reason="prepacked weights serve no other CPU")
def test_prepacking_takes_memory_where_asked() -> None:
    rng = np.random.default_rng(1)
    x = drawing.tensor("x", (1, 16, 16, 16), Quantization.per_tensor(1.0, 0))
    values = rng.integers(-128, 128, (16, 3, 3, 16)).astype(np.int8)
    w = Tensor("w", DType.INT8, values.shape, Quantization.per_tensor(1.0, 0), values)
    y = drawing.tensor("y", (1, 16, 16, 16), Quantization.per_tensor(1024.0, 0))
    op = ops.Conv2d(ops.Window((3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))))
    graph = Graph(
        {t.name: t for t in (x, w, y)}, (Node(op, ("x", "w"), ("y",)),), (Port("x", "x"),), (Port("y", "y"),)
    )
    model = convert_graph(graph)
    in_place, prepacked = (load_nyb(model, cpu="avx2", prepack=prepack) for prepack in (False, True))
    assert [layer.variant for s in (in_place, prepacked) for layer in s.layers()] == ["w8_avx2", "f4x4_avx2"]
    assert prepacked.arena_bytes - in_place.arena_bytes >= 36 * 16 * 16 * 2


@given(st.data())
def test_depthwise_core_equals_meaning(data: st.DataObject) -> None:
    x = drawn_image(data, data.draw(st.integers(1, 35)))
    window = drawn_window(data, *x.shape[1:3])
    w = drawn_weights(data, (1, *window.size, x.shape[3]), 3, data.draw(st.sampled_from((0, 0, 127, -128))))
    op = ops.DepthwiseConv2d(
        window, data.draw(st.sampled_from(list(ops.Activation))), data.draw(st.sampled_from(list(Rounding)))
    )
    tensors = [x, w] + ([drawn_bias(data, x.shape[3])] if data.draw(st.booleans()) else [])
    y = drawn_output(data, op.shapes(tensors)[0], x, w)
    assert_core_equals_meaning(op, tensors, y, [data.draw(drawing.arrays(x.shape))])


def depthwise_layer(dtype: DType, channels: int, taps: int) -> Graph:
    """A depthwise convolution along a row, of random weights."""
    q = Quantization.per_tensor(0.05, 3)
    values = np.random.default_rng(0).integers(dtype.lowest, dtype.highest + 1, (1, 1, taps, channels))
    x = drawing.tensor("x", (1, 1, 11, channels), q)
    w = Tensor("w", dtype, values.shape, Quantization.per_tensor(0.01, 0), values.astype(np.int8))
    y = drawing.tensor("y", (1, 1, 12 - taps, channels), Quantization.per_tensor(1.0, 0))
    return single(ops.DepthwiseConv2d(ops.Window((1, taps))), [x, w], y)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT4, DType.INT2])
def test_depthwise_weights_have_no_padded_taps(dtype: DType) -> None:
    """The bytes as docs/model-format.md words them, one weight after the other."""
    graph, bits = depthwise_layer(dtype, 13, 9), dtype.bits
    (node,) = compile_graph(graph).nodes
    expected = np.zeros(2 * 9 * bits, np.uint8)
    values = graph.tensors["w"].data
    for n in range(13):
        for k in range(9):
            field = int(values[0, 0, k, n]) & ((1 << bits) - 1)
            expected[(n // 8 * 9 + k) * bits + n % bits] |= field << bits * (n % 8 // bits)
    assert np.array_equal(node.fields["weights"]["data"], expected)
    load_nyb(changed(graph)).verify()


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT4, DType.INT2])
def test_depthwise_files_of_another_order_are_refused(dtype: DType) -> None:
    graph = depthwise_layer(dtype, 16, 9)
    (node,) = compile_graph(graph).nodes
    weights = node.fields["weights"]
    for order in {0, 1, 2, 255} - {weights["layout"]["order"]}:
        wrong = {**weights, "layout": {**weights["layout"], "order": order}}
        assert_refused(graph, "weights: layout and sizes that fit", weights=wrong)
    for field, value in (("nr", 1), ("nr", 12), ("nr", 7), ("kr", 2), ("kr", 0), ("bits", 3)):
        wrong = {**weights, "layout": {**weights["layout"], field: value}}
        assert_refused(graph, "weights: ", weights=wrong)
    if dtype is not DType.INT8:  # as files were written before there was order 1
        values = graph.tensors["w"].data.reshape(9, 16).T[None]
        layout = Layout(dtype.bits, 8, 1)
        old = {**weights, "layout": layout.fields(), "data": pack(values, layout)}
        assert_refused(graph, "older nybble wrote the file, convert the model again", weights=old)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT4, DType.INT2])
def test_other_files_with_planes_along_channels_are_refused(dtype: DType) -> None:
    """Of a size that would fit: k is a multiple of any step."""
    q = Quantization.per_tensor(0.05, 3)
    values = np.ones((8, 1, 1, 32), np.int8)
    x, w = (
        drawing.tensor("x", (1, 1, 1, 32), q),
        Tensor("w", dtype, values.shape, Quantization.per_tensor(0.01, 0), values),
    )
    graph = single(ops.Conv2d(ops.Window((1, 1))), [x, w], drawing.tensor("y", (1, 1, 1, 8), q))
    (node,) = compile_graph(graph).nodes
    weights = node.fields["weights"]
    for kr in (4, 1):
        wrong = {**weights, "layout": {**weights["layout"], "order": 1, "kr": kr}}
        expected = (
            "weights: layout and sizes that fit" if kr == 4 or dtype is DType.INT8 else "a layout with a gemm"
        )
        with pytest.raises(ValueError, match=expected):
            load_nyb(changed(graph, weights=wrong))


def test_an_accumulator_beyond_int32_is_refused() -> None:
    x = drawing.tensor("x", (1, 1, 1, 70_000), Quantization.per_tensor(1.0, -128))
    values = np.full((1, 1, 1, 70_000), 127, np.int8)
    w = Tensor("w", DType.INT8, values.shape, Quantization.per_tensor(1.0, 0), values)
    y = drawing.tensor("y", (1, 1, 1, 1), Quantization.per_tensor(1e6, 0))
    with pytest.raises(ValueError, match="more than an int32 accumulator holds"):
        ops.Conv2d(ops.Window((1, 1))).lower([x, w], [y])


def grouped_layer(size: int, factors: list[list[int]]) -> tuple[ops.Conv2d, Tensor, Tensor, Tensor]:
    """A 1x1 convolution from 40 channels to one, 4-bit weights with scale groups."""
    x = drawing.tensor("x", (1, 2, 2, 40), Quantization.per_tensor(1.0, 3))
    groups = ScaleGroups(size, np.array(factors, np.int8))
    w = Tensor(
        "w",
        DType.INT4,
        (1, 1, 1, 40),
        Quantization((0.5,), (0,), 0, groups),
        np.full((1, 1, 1, 40), 7, np.int8),
    )
    return (
        ops.Conv2d(ops.Window((1, 1))),
        x,
        w,
        drawing.tensor("y", (1, 2, 2, 1), Quantization.per_tensor(500.0, 0)),
    )


def test_factors_scale_the_sums_of_their_groups() -> None:
    op, x, w, y = grouped_layer(32, [[5, -3]])
    given = np.arange(160).astype(np.int8).reshape(x.shape)
    (found,) = op.integer([given], [x, w], [y])
    real = 0.5 * 7 * (given.astype(float) - 3) * np.repeat([5, -3], [32, 8])
    assert np.array_equal(found[..., 0], np.floor(real.sum(axis=3) / 500 + 0.5))
    assert_core_equals_meaning(op, [x, w], y, [given])


@pytest.mark.parametrize(
    ("size", "factors", "expected"),
    [(32, [[5]], "expected 2 factors, found 1"), (32, [[5, 1]] * 2, "factors of 1 channels, found 2")],
)
def test_factors_that_do_not_fit_are_refused(size: int, factors: list[list[int]], expected: str) -> None:
    op, x, w, y = grouped_layer(size, factors)
    with pytest.raises(ValueError, match=expected):
        op.lower([x, w], [y])


def test_files_with_wrong_scale_groups_are_refused() -> None:
    op, x, w, y = grouped_layer(32, [[5, -3]])
    graph = single(op, [x, w], y)
    (node,) = compile_graph(graph).nodes
    weights = node.fields["weights"]
    for wrong in (
        {"scale_group": 36},
        {"scale_group": 8},
        {"scale_group": 1 << 31},
        {"zero_point": 1},
        {"scale_factors": weights["scale_factors"][1:]},
        {"scale_factors": None},
    ):
        assert_refused(graph, "weights: layout and sizes that fit", weights={**weights, **wrong})
    # What is in bounds runs; only full verification proves the sums.
    false = {**weights, "scale_factors": weights["scale_factors"] * np.int8(9)}
    with pytest.raises(ModelError, match="the sum of a channel's weights"):
        load_nyb(changed(graph, weights=false)).verify()


def test_groups_of_half_a_step_are_refused() -> None:
    op, x, w, y = grouped_layer(12, [[1, 2, 3, 4]])
    with pytest.raises(UnsupportedError, match="groups of a multiple of 8, found groups of 12"):
        convert_graph(single(op, [x, w], y))


def test_a_result_past_int32_is_refused() -> None:
    x = drawing.tensor("x", (1, 1, 1, 8), Quantization.per_tensor(1.0, 0))
    w = Tensor("w", DType.INT8, (1, 1, 1, 8), Quantization.per_tensor(1.0, 0), np.ones((1, 1, 1, 8), np.int8))
    y = drawing.tensor("y", (1, 1, 1, 1), Quantization.per_tensor(2.0**-24, 0))
    with pytest.raises(ValueError, match="results pass int32"):
        ops.Conv2d(ops.Window((1, 1))).lower([x, w], [y])
