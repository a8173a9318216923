# SPDX-License-Identifier: Apache-2.0
"""Activations of 16 bits: every operator that takes them against the oracle, and the C core against the meaning."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import DType, Operator, Quantization, Rounding, Tensor
from nybble.ops.weights import WIDE_MULTIPLIER_BITS
from oracle.random_ops import OPERATORS, Case
from oracle.single_op import OpSpec, TensorSpec, build

from . import drawing
from .equality import assert_cases_equal_oracle, assert_core_equals_meaning, assert_equals_oracle
from .hostile import assert_refused, single
from .test_conv2d import drawn_bias, drawn_image, drawn_output, drawn_weights, drawn_window

INT16 = DType.INT16
EVERY = np.arange(-32768, 32768).astype(np.int16)


def wide(name: str, shape: tuple[int, ...], scale: float = 0.001) -> Tensor:
    """An activation in int16."""
    return drawing.tensor(name, shape, Quantization.per_tensor(scale, 0), INT16)


@pytest.mark.parametrize("op_name", [name for name, types in OPERATORS.items() if "int16" in types])
def test_equals_the_oracle(op_name: str) -> None:
    assert_equals_oracle(op_name, "int16", 60)


@pytest.mark.parametrize("op_name", ["LOGISTIC", "TANH"])
def test_every_input_equals_the_oracle(op_name: str) -> None:
    cases = []
    for scale in (2.0**-13, 2.0**-12, 2.0**-12 * 1.0005, 2.0**-11, 2.0**-10, 3e-5, 3e-4, 0.01, 0.9):
        tensors = {
            "x": TensorSpec(EVERY.shape, "int16", float(np.float32(scale))),
            "y": TensorSpec(EVERY.shape, "int16", 2.0**-15),
        }
        model = build(tensors, [OpSpec(op_name, ("x",), ("y",), {})], ("x",), ("y",))
        cases.append(Case(model, [EVERY], f"{op_name} {scale}"))
    assert_cases_equal_oracle(cases)


def test_biases_of_32_bits_round_twice() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(-32768, 32768, (1, 64, 1, 4)), rng.integers(-127, 128, (8, 1, 1, 4))
    tensors = {
        "x": TensorSpec(x.shape, "int16", 0.001),
        "w": TensorSpec(w.shape, "int8", 0.01, data=w),
        "b": TensorSpec((8,), "int32", 0.00001, data=rng.integers(-9999, 9999, 8)),
        "y": TensorSpec((1, 64, 1, 8), "int16", 0.0007),
    }
    options = {
        "padding": "VALID",
        "stride_h": 1,
        "stride_w": 1,
        "dilation_h_factor": 1,
        "dilation_w_factor": 1,
    }
    options |= {"quantized_bias_type": "INT32"}
    model = build(tensors, [OpSpec("CONV_2D", ("x", "w", "b"), ("y",), options)], ("x",), ("y",))
    assert_cases_equal_oracle([Case(model, [x.astype(np.int16)], "bias of 32 bits")])


def rounding(data: st.DataObject) -> dict[str, Any]:
    """How the sums of a layer are requantized: as nybble does, and as TensorFlow Lite does either way."""
    single, double = Rounding.SINGLE, Rounding.DOUBLE
    chosen = data.draw(st.sampled_from(((single, 31), (double, 31), (single, WIDE_MULTIPLIER_BITS))))
    return {"rounding": chosen[0], "multiplier_bits": chosen[1]}


def activation(data: st.DataObject) -> ops.Activation:
    """Any fused activation."""
    return data.draw(st.sampled_from(list(ops.Activation)))


@settings(deadline=None)
@given(st.data())
def test_conv2d_core_equals_meaning(data: st.DataObject) -> None:
    groups = data.draw(st.sampled_from((1, 1, 2, 3)))
    per_group, outputs = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 19)) * groups
    x = drawn_image(data, per_group * groups, INT16)
    window = drawn_window(data, *x.shape[1:3])
    w = drawn_weights(data, (outputs, *window.size, per_group), 0, grouped=False)
    op = ops.Conv2d(window, groups, activation(data), **rounding(data))
    tensors = [x, w] + ([drawn_bias(data, outputs)] if data.draw(st.booleans()) else [])
    y = drawn_output(data, op.shapes(tensors)[0], x, w)
    prepack = data.draw(st.booleans())
    assert_core_equals_meaning(op, tensors, y, [data.draw(drawing.arrays(x.shape, INT16))], prepack=prepack)


@settings(deadline=None)
@given(st.data())
def test_depthwise_core_equals_meaning(data: st.DataObject) -> None:
    x = drawn_image(data, data.draw(st.integers(1, 40)), INT16)
    window = drawn_window(data, *x.shape[1:3])
    w = drawn_weights(data, (1, *window.size, x.shape[3]), 3)
    op = ops.DepthwiseConv2d(window, activation(data), **rounding(data))
    tensors = [x, w] + ([drawn_bias(data, x.shape[3])] if data.draw(st.booleans()) else [])
    y = drawn_output(data, op.shapes(tensors)[0], x, w)
    assert_core_equals_meaning(op, tensors, y, [data.draw(drawing.arrays(x.shape, INT16))])


@settings(deadline=None)
@given(st.data())
def test_fully_connected_core_equals_meaning(data: st.DataObject) -> None:
    # From 512 products on, sums may pass int32.
    depth = data.draw(st.one_of(st.integers(1, 200), st.integers(500, 1300)))
    outputs = data.draw(st.integers(1, 20))
    x = drawing.tensor(
        "x", (data.draw(st.integers(1, 5)), depth), data.draw(drawing.quantizations(INT16)), INT16
    )
    w = drawn_weights(data, (outputs, depth), 0, grouped=False)
    op = ops.FullyConnected(False, activation(data), **rounding(data))
    tensors = [x, w] + ([drawn_bias(data, outputs)] if data.draw(st.booleans()) else [])
    y = drawn_output(data, op.shapes(tensors)[0], x, w)
    assert_core_equals_meaning(op, tensors, y, [data.draw(drawing.arrays(x.shape, INT16))])


def test_products_of_doubles_are_rounded_once() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-8, 8, (9, 100)).astype(np.int8)
    scales = tuple(float(np.float32(s)) for s in rng.uniform(0.01, 0.1, 9))
    w = Tensor("w", DType.INT4, values.shape, Quantization(scales, (0,) * 9, 0), values)
    x, y = wide("x", (40, 100)), wide("y", (40, 9), 0.0007)
    op = ops.FullyConnected(real_rounding=True)
    array = rng.integers(-32768, 32768, x.shape).astype(np.int16)
    [found] = op.integer([array], [x, w], [y])
    sums = array.astype(np.float64) @ values.T.astype(np.float64)
    real = sums * (np.float64(x.scale) * np.array(scales) / np.float64(y.scale))
    away = np.trunc(real) + np.where(np.abs(real - np.trunc(real)) >= 0.5, np.sign(real), 0)
    assert np.array_equal(found, np.clip(away, -32768, 32767))
    assert_core_equals_meaning(op, [x, w], y, [array])


def test_sums_beyond_32_bits() -> None:
    values = np.full((9, 1100), 127, np.int8)
    w = Tensor("w", DType.INT8, values.shape, Quantization((0.01,) * 9, (0,) * 9, 0), values)
    x, y = wide("x", (7, 1100)), wide("y", (7, 9), 2.0)
    assert_core_equals_meaning(ops.FullyConnected(False), [x, w], y, [np.full(x.shape, 32767, np.int16)])


def test_multipliers_beyond_31_bits() -> None:
    # One half and 2**-37: of odd sums, what the first 31 bits do not tell decides.
    values = np.ones((9, 1), np.int8)
    scales = (0.5 - 2.0**-13 + 2.0**-25,) * 9
    w = Tensor("w", DType.INT8, values.shape, Quantization(scales, (0,) * 9, 0), values)
    x, y = wide("x", (64, 1), 1 + 2.0**-12), wide("y", (64, 9), 1.0)
    array = np.arange(-127, 1, 2).astype(np.int16).reshape(x.shape)
    assert_core_equals_meaning(ops.FullyConnected(real_rounding=True), [x, w], y, [array])


@settings(deadline=None)
@given(st.data())
def test_elementwise_core_equals_meaning(data: st.DataObject) -> None:
    shapes = data.draw(drawing.broadcast_shapes())
    quantizations = [data.draw(drawing.quantizations(INT16)) for _ in shapes]
    scale = max(q.single_scale for q in quantizations)
    kind = data.draw(st.sampled_from((ops.Add, ops.Sub, ops.Mul, ops.Maximum, ops.Minimum)))
    op: Operator = kind()
    if isinstance(op, ops.Maximum | ops.Minimum):
        quantizations = quantizations[:1] * 2
        y = quantizations[0]
    else:
        product = quantizations[0].single_scale * quantizations[1].single_scale * 2.0**15
        unit = product if isinstance(op, ops.Mul) else scale
        y = Quantization.per_tensor(unit * 2.0 ** data.draw(st.floats(-10, 10)), 0)
        op = replace(op, activation=activation(data), rounding=data.draw(st.sampled_from(list(Rounding))))
    pairs = zip("ab", shapes, quantizations, strict=True)
    inputs = [drawing.tensor(name, shape, q, INT16) for name, shape, q in pairs]
    output = drawing.tensor("y", np.broadcast_shapes(*shapes), y, INT16)
    assert_core_equals_meaning(op, inputs, output, [data.draw(drawing.arrays(s, INT16)) for s in shapes])


@settings(deadline=None)
@given(st.data())
def test_pool_core_equals_meaning(data: st.DataObject) -> None:
    x = drawn_image(data, data.draw(st.integers(1, 70)), INT16)
    window = replace(drawn_window(data, *x.shape[1:3]), dilation=(1, 1))
    pads = tuple(tuple(min(p, window.size[i] - 1) for p in window.padding[i]) for i in (0, 1))
    kind = data.draw(st.sampled_from((ops.MaxPool2d, ops.AveragePool2d)))
    op = kind(replace(window, padding=pads), activation(data))
    y = drawing.tensor("y", op.shapes([x])[0], x.quantized, INT16)
    assert_core_equals_meaning(op, [x], y, [data.draw(drawing.arrays(x.shape, INT16))])


@settings(deadline=None)
@given(st.data())
def test_reduction_core_equals_meaning(data: st.DataObject) -> None:
    # Sums of at most 2^16 - 1.
    outer = data.draw(drawing.SHAPES.filter(lambda shape: math.prod(shape) <= 500))
    shape = (*outer, data.draw(st.sampled_from((1, 5, 64, 65, 130))))
    axes = tuple(i for i in range(len(shape)) if data.draw(st.booleans()))
    op = data.draw(st.sampled_from((ops.Mean, ops.Sum)))(axes, data.draw(st.booleans()))
    x = wide("x", shape)
    y = wide("y", op.shapes([x])[0], x.scale * 2.0 ** data.draw(st.floats(0, 8)))
    assert_core_equals_meaning(op, [x], y, [data.draw(drawing.arrays(shape, INT16))])


@settings(deadline=None)
@given(st.data())
def test_function_core_equals_meaning(data: st.DataObject) -> None:
    op: Operator = data.draw(
        st.sampled_from((ops.Relu(), ops.LeakyRelu(0.3), ops.LeakyRelu(-1.5), ops.Abs(), ops.Quantize()))
    )
    op = replace(op, rounding=data.draw(st.sampled_from(list(Rounding))))
    types = data.draw(st.sampled_from(((INT16, INT16), (INT16, DType.INT8), (DType.INT8, INT16))))
    shape = data.draw(drawing.SHAPES)
    x = drawing.tensor("x", shape, data.draw(drawing.quantizations(types[0])), types[0])
    scale = x.scale * 2.0 ** data.draw(st.floats(-8, 12))
    y = Quantization.per_tensor(scale, data.draw(drawing.zero_points(types[1])))
    output = drawing.tensor("y", shape, y, types[1])
    assert_core_equals_meaning(op, [x], output, [data.draw(drawing.arrays(shape, types[0]))])


@settings(deadline=None)
@given(st.data())
def test_sigmoid_and_softmax_core_equal_meaning(data: st.DataObject) -> None:
    op = data.draw(st.sampled_from((ops.Logistic(), ops.Tanh(), ops.Softmax(), ops.Softmax(0.3))))
    shape = (*data.draw(drawing.SHAPES), data.draw(st.sampled_from((1, 2, 10, 300, 5000))))[-2:]
    x = wide("x", shape, 2.0 ** data.draw(st.floats(-18, -1)))
    y = wide("y", shape, 2.0**-15)
    assert_core_equals_meaning(op, [x], y, [data.draw(drawing.arrays(shape, INT16))])


@pytest.mark.parametrize("depth", [1, 511, 65535])
def test_equal_inputs_share_the_whole(depth: int) -> None:
    x, y = wide("x", (1, depth)), wide("y", (1, depth), 2.0**-15)
    array = np.full((1, depth), 5, np.int16)
    [found] = ops.Softmax().integer([array], [x], [y])
    assert abs(int(found[0, 0]) - min(32768 // depth, 32767)) <= 1
    assert_core_equals_meaning(ops.Softmax(), [x], y, [array])


def test_sums_beyond_int32_are_exact() -> None:
    depth = 70_000
    x, y = wide("x", (1, depth), 1.0), wide("y", (1, 2), 2.0**30)
    values = np.array([[127] * depth, [-127] * depth], np.int8)
    w = Tensor("w", DType.INT8, values.shape, Quantization.per_tensor(1.0, 0), values)
    op = ops.FullyConnected(rounding=Rounding.SINGLE)
    array = np.full((1, depth), -32768, np.int16)
    [found] = op.integer([array], [x, w], [y])
    exact = -32768 * 127 * depth / 2.0**30
    assert np.abs(found[0] - [exact, -exact]).max() <= 0.5 + 2e-6
    assert_core_equals_meaning(op, [x, w], y, [array])


def layer(**changes: Tensor) -> tuple[ops.FullyConnected, list[Tensor], Tensor]:
    """A fully connected layer of int16, some of its tensors others."""
    values = np.ones((2, 3), np.int8)
    w = Tensor("w", DType.INT8, values.shape, Quantization.per_tensor(1.0, 0), values)
    tensors = {"x": wide("x", (1, 3)), "w": w, "y": wide("y", (1, 2), 0.01), **changes}
    return ops.FullyConnected(), [tensors["x"], tensors["w"]], tensors["y"]


@pytest.mark.parametrize(
    ("name", "tensor", "expected"),
    [
        (
            "y",
            drawing.tensor("y", (1, 2), Quantization.per_tensor(0.1, 0)),
            "expected int8 for 'x', found int16",
        ),
        (
            "x",
            Tensor("x", INT16, (1, 3), Quantization.per_tensor(0.1, 5)),
            "expected a zero point of 0 for 'x' in int16, found 5",
        ),
        (
            "w",
            Tensor("w", DType.INT8, (2, 3), Quantization.per_tensor(1.0, 3), np.ones((2, 3), np.int8)),
            "expected weights beside int16 with a zero point of 0",
        ),
    ],
)
def test_what_has_no_form_in_16_bits_is_refused(name: str, tensor: Tensor, expected: str) -> None:
    op, inputs, y = layer(**{name: tensor})
    with pytest.raises(ValueError, match=expected):
        op.lower(inputs, [y])


def test_a_function_without_a_form_in_16_bits_is_refused() -> None:
    x, y = wide("x", (4,)), wide("y", (4,))
    with pytest.raises(ValueError, match="expected int8 for 'x', found int16"):
        ops.Rsqrt().lower([x], [y])
    with pytest.raises(ValueError, match="expected 8 bits for 'x', found int16"):
        ops.HardSwish().lower([x], [drawing.tensor("y", (4,), Quantization.per_tensor(0.1, 0))])


FUNCTIONS = (
    ops.HardSwish(),
    ops.Affine(low=0.0),
    ops.Affine(1 / 6, 0.5, 0.0, 1.0),
    ops.RealFunction(ops.Function.GELU),
    ops.RealFunction(ops.Function.ELU),
    ops.Pointwise((ops.Step(ops.Logistic(), (0,)), ops.Step(ops.Mul(), (0, 1)))),
)


@pytest.mark.parametrize("op", FUNCTIONS, ids=str)
def test_functions_lie_on_lines_between_every_128th_integer(op: Operator) -> None:
    x, y = wide("x", EVERY.shape, 8 / 32768), wide("y", EVERY.shape, 8 / 32768)
    [found] = op.integer([EVERY], [x], [y])
    [true] = op.real([np.float32(x.scale) * EVERY.astype(np.float32)])
    # Half a step at the ends of a line, half a step on it, and what bends in between.
    assert np.abs(found - np.clip(true / y.scale, -32768, 32767)).max() <= 1.3 + 16 * isinstance(
        op, ops.HardSwish | ops.Affine
    )
    assert_core_equals_meaning(op, [x], y, [EVERY])


def test_files_that_contradict_16_bits_are_refused() -> None:
    op, inputs, y = layer()
    graph = single(op, inputs, y)
    output = {"zero_point": 0, "minimum": -32768, "maximum": 32767, "rounding": "SINGLE"}
    assert_refused(graph, "a clamp within its type", output={**output, "maximum": 32768})
    assert_refused(graph, "a zero point and a clamp within its type", output={**output, "zero_point": 1})
    image, pool = wide("x", (1, 4, 4, 2)), ops.AveragePool2d(ops.Window((2, 2)))
    graph = single(pool, [image], wide("y", (1, 3, 3, 2)))
    assert_refused(graph, "rounding UP in int8 alone", rounding="UP")
    assert_refused(graph, "a clamp within the type", minimum=-32769)
    graph = single(ops.Logistic(), [wide("x", (4,))], wide("y", (4,), 2.0**-15))
    assert_refused(graph, "a table of 256 uint16", table=np.zeros(255, np.uint16))
    assert_refused(graph, "a multiplier from 0 to 32767", multiplier=32768)
    assert_refused(graph, "a shift from 1 to 30", shift=31)
    graph = single(ops.Softmax(), [wide("x", (4,))], wide("y", (4,), 2.0**-15))
    assert_refused(graph, "two tables of 513 int16", reciprocals=np.zeros(512, np.int16))
    assert_refused(graph, "a shift from 1 to 62", shift=0)
    graph = single(ops.HardSwish(), [wide("x", (4,))], wide("y", (4,)))
    assert_refused(graph, "a table of 513 int16", table=np.zeros(512, np.int16))
    graph = single(ops.Quantize(), [wide("x", (4,))], wide("y", (4,)))
    assert_refused(graph, "a zero point within int8, 0 in int16", zero_point=1)
    assert_refused(graph, "shifts from 1 to 62", negative_shift=63)
    graph = single(ops.Add(), [wide("a", (4,)), wide("b", (4,))], wide("y", (4,)))
    assert_refused(graph, "left_shift of at most 15 in int16", left_shift=16)
    linear = {"slope1": 1 << 28, "slope2": 1 << 28, "round": 1 << 27}
    assert_refused(graph, "linear: a sum of int8", linear=linear)
    graph = single(ops.Mul(), [wide("a", (4,)), wide("b", (4,))], wide("y", (4,)))
    assert_refused(graph, "zero points of 0 in int16", zero_point1=1)
