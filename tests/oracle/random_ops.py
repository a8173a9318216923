# SPDX-License-Identifier: Apache-2.0
"""Random single-operator models with random inputs, small enough to run by the thousand.

    case = random_case("CONV_2D", numpy.random.default_rng(7), "int8")

The same generator state gives the same case. Most parameters are such as trained networks have;
about one in eight is extreme (scales over thirty powers of two, zero points at the ends of the
range, weights and inputs all lowest or all highest). Accumulators never leave int32: there the
reference kernels themselves are undefined.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from .single_op import OpSpec, TensorSpec, build

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
DType = Literal["int8", "uint8", "int8x4", "int16"]
"""Activations int8 or uint8 with weights of the same type; int8x4: int8 with int4 weights; int16 with int8 weights
and biases of 64 bits, all zero points 0."""

T = TypeVar("T")

MAX_MACS = 200_000
_MAX_ELEMENTS = 1500  # of a tensor
_EXTREME = 0.125  # probability of an extreme choice
_SIZES = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17)


@dataclass(frozen=True)
class Case:
    """A model, one array for each of its inputs, and what was drawn, for the failure message."""

    model_bytes: bytes
    inputs: list[Array]
    description: str


def random_case(op_name: str, rng: np.random.Generator, dtype: DType = "int8") -> Case:
    """Draws a model of one operator (`OPERATORS` lists the types it is drawn in) and its inputs.

    Raises KeyError for an unknown operator, ValueError for a type that it does not come in.
    """
    if dtype not in OPERATORS[op_name]:
        raise ValueError(f"{op_name}: {' or '.join(OPERATORS[op_name])} expected, {dtype!r} found")
    draft = _GENERATORS[op_name](_Draw(rng, dtype))
    constants = [name for name, spec in draft.tensors.items() if spec.data is not None]
    outputs = draft.operators[-1].outputs
    produced = {name for op in draft.operators for name in op.outputs}
    inputs = [n for n in draft.tensors if n not in produced and n not in constants]
    return Case(
        build(draft.tensors, draft.operators, inputs, outputs),
        [draft.inputs[name] for name in inputs],
        _describe(dtype, draft),
    )


@dataclass(frozen=True)
class _Draft:
    """A model in the making: tensors by name, operators in order, values of the inputs by name."""

    tensors: dict[str, TensorSpec]
    operators: list[OpSpec]
    inputs: dict[str, Array] = field(default_factory=dict)


class _Affine(NamedTuple):
    """real = scale * (quantized - zero_point)"""

    scale: float
    zero_point: int


class _Draw:
    """Random choices, and the activation type of the case."""

    def __init__(self, rng: np.random.Generator, dtype: DType) -> None:
        self.rng = rng
        self.weight_dtype = {"int8x4": "int4", "int16": "int8"}.get(dtype, dtype)
        self.dtype = "int8" if dtype == "int8x4" else dtype
        limits = np.iinfo(self.dtype)
        self.low, self.high = int(limits.min), int(limits.max)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def integer(self, low: int, high: int) -> int:
        """Uniform in low..high, both included."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, values: Sequence[T]) -> T:
        return values[int(self.rng.integers(len(values)))]

    def subset(self, values: Sequence[int], at_least: int) -> list[int]:
        count = self.integer(at_least, len(values))
        return [int(v) for v in self.rng.permutation(values)[:count]]

    def size(self, at_most: int) -> int:
        return min(int(self.pick(_SIZES)), max(at_most, 1))

    def shape(self, low_rank: int = 1, high_rank: int = 4, elements: int = _MAX_ELEMENTS) -> Shape:
        shape: list[int] = []
        for _ in range(self.integer(low_rank, high_rank)):
            shape.append(self.size(elements // math.prod(shape)))
        return tuple(int(n) for n in self.rng.permutation(shape))

    def scale(self) -> float:
        """Log-uniform: 0.001 to 3; at the extremes 2^-20 to 2^10. 2^-8 of that in int16."""
        unit = 2.0**-8 if self.dtype == "int16" else 1.0
        if self.chance(_EXTREME):
            return float(np.float32(unit * 2.0 ** self.rng.uniform(-20, 10)))
        return float(np.float32(unit * 10.0 ** self.rng.uniform(-3, 0.5)))

    def zero_point(self) -> int:
        if self.dtype == "int16":
            return 0
        if self.chance(_EXTREME):
            return self.pick((self.low, self.high))
        middle = (self.low + self.high + 1) // 2
        return self.pick((self.low, middle, middle, self.integer(self.low, self.high)))

    def affine(self, scale: float | None = None, zero_point: int | None = None) -> _Affine:
        """A quantization of this scale and zero point, either drawn where it is not given.

        The clamp to 2^-28 keeps 6 / scale, the bound of a fused RELU6, inside int32.
        """
        return _Affine(
            max(float(np.float32(self.scale() if scale is None else scale)), 2.0**-28),
            self.zero_point() if zero_point is None else zero_point,
        )

    def factor(self, octaves: float = 1.0) -> float:
        """A factor around 1: log-normal with this standard deviation."""
        return float(2.0 ** self.rng.normal(0, octaves))

    def activation(self, y: _Affine) -> str:
        """A fused activation; one with an upper bound mostly where it cuts the range in two."""
        name = self.pick(("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1"))
        bound = {"RELU6": 6, "RELU_N1_TO_1": 1}.get(name)
        range_ = 1.0 if self.dtype != "int16" else 2.0**-8
        if bound is None or bound / 200 < y.scale / range_ < bound / 5 or self.chance(_EXTREME):
            return name
        return "RELU"

    def real(self, x: _Affine) -> tuple[float, float]:
        """Mean and standard deviation of the reals that uniform activations stand for."""
        mean = ((self.low + self.high) / 2 - x.zero_point) * x.scale
        return mean, (self.high - self.low) / math.sqrt(12) * x.scale

    def covering(self, mean: float, deviation: float) -> _Affine:
        """A quantization for reals of this mean and deviation, as calibration finds it; or not."""
        bottom, top = min(0.0, mean - 2.5 * deviation), max(0.0, mean + 2.5 * deviation)
        if self.dtype == "int16":
            top = max(-bottom, top)
            bottom = -top
        scale = (top - bottom) / (self.high - self.low) * self.factor(0.4)
        if self.chance(_EXTREME):
            return self.affine(scale * self.factor(5))
        if self.dtype == "int16":
            return self.affine(scale)
        return self.affine(scale, min(max(self.low + round(-bottom / scale), self.low), self.high))

    def values(self, shape: Shape, zero_point: int, low: int, high: int) -> Array:
        """Integers low..high of every character: random, around the zero point, sparse, extreme."""
        kind = self.rng.random()
        if kind < 0.66:
            v = self.rng.integers(low, high + 1, shape)
        elif kind < 0.8:
            v = np.rint(self.rng.normal(zero_point, (high - low) / 12, shape))
        elif kind < 0.88:
            v = np.where(self.rng.random(shape) < 0.85, zero_point, self.rng.integers(low, high + 1, shape))
        elif kind < 0.94:
            v = np.where(self.rng.random(shape) < 0.5, low, high)
        else:
            v = np.full(shape, low if kind < 0.97 else high)
        return np.clip(v, low, high).astype(np.int64)

    def activations(self, shape: Shape, affine: _Affine) -> Array:
        return self.values(shape, affine.zero_point, self.low, self.high).astype(self.dtype)

    def tensor(self, shape: Shape, affine: _Affine, data: Array | None = None) -> TensorSpec:
        return TensorSpec(shape, self.dtype, affine.scale, affine.zero_point, data=data)


def _describe(dtype: DType, draft: _Draft) -> str:
    def tensor(name: str, spec: TensorSpec) -> str:
        text = f"{name}: {spec.dtype}{list(spec.shape)}"
        if spec.data is not None and spec.dtype in ("int32", "int64") and spec.scale is None:
            return f"{text} = {spec.data.tolist()}"
        if isinstance(spec.scale, tuple) and len(spec.scale) > 1:
            return f"{text} {len(spec.scale)} scales along {spec.axis}"
        return text if spec.scale is None else f"{text} {spec.scale}*(q-{spec.zero_point})"

    operators = " then ".join(f"{op.builtin} {dict(op.options)}" for op in draft.operators)
    return f"{operators} {dtype}; " + ", ".join(tensor(n, t) for n, t in draft.tensors.items())


# ---------------------------------------------------------------- weights: conv, depthwise, fc


class _Weights(NamedTuple):
    tensors: dict[str, TensorSpec]
    """w, and b where there is a bias."""
    y: _Affine


def _weights(d: _Draw, shape: Shape, axis: int, x: _Affine, depth: int, biased: float = 0.85) -> _Weights:
    """Draws weights, bias and a fitting output; `depth` products go into each output.

    Legacy uint8 weights are asymmetric and per tensor; int8 and int4 are symmetric.
    """
    channels = shape[axis]
    low, high = {"uint8": (0, 255), "int8": (-127, 127), "int4": (-7, 7)}[d.weight_dtype]
    if d.weight_dtype != "uint8" and d.chance(_EXTREME):
        low -= 1  # the lowest value, which converters avoid, but files may hold
    zero_point = 0
    if d.weight_dtype == "uint8":
        zero_point = d.pick((128, 128, 0, 255, d.integer(0, 255), d.integer(100, 150)))
    w = d.values(shape, zero_point, low, high)

    per_channel = d.weight_dtype != "uint8" and d.chance(0.6)
    scales = np.float32(d.scale() * 0.1) * np.float32(
        2.0 ** d.rng.normal(0, 1.0, channels if per_channel else 1)
    )
    # The outputs are sums of `depth` products, taken to be independent.
    w_scale = float(np.median(scales))
    w_mean = float(np.mean(w - zero_point)) * w_scale
    w_square = float(np.mean(np.square(w - zero_point)) + 1) * w_scale**2
    x_mean, x_deviation = d.real(x)
    mean = depth * x_mean * w_mean
    variance = depth * ((x_mean**2 + x_deviation**2) * w_square - (x_mean * w_mean) ** 2)
    y = d.covering(mean, math.sqrt(variance))
    # Multipliers up to 4: the 2^25 of a large bias leaves room in int32 for that left shift.
    step = x.scale * float(scales.max())
    if d.chance(_EXTREME):
        y = d.affine(step * 2.0 ** d.rng.uniform(0, 30))
    y = d.affine(max(y.scale, step / 4), y.zero_point)
    if d.dtype == "int16":
        # Results fit the reference's int32, however far the sums of `depth` products reach.
        y = d.affine(max(y.scale, step * depth / 2.0**7), 0)

    tensors = {"w": TensorSpec(shape, d.weight_dtype, tuple(scales.tolist()), zero_point, axis, w)}
    if d.chance(biased):
        size = 2.0**25 if d.chance(_EXTREME) else min(30 * y.scale / step, 2.0**25)
        b = np.rint(d.rng.uniform(-size, size, channels)).astype(np.int64)
        b_scales = tuple((np.float32(x.scale) * scales).tolist())
        tensors["b"] = TensorSpec((channels,), "int64" if d.dtype == "int16" else "int32", b_scales, data=b)
    return _Weights(tensors, y)


class _Window(NamedTuple):
    """How a window moves along height and width."""

    padding: str
    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    output: tuple[int, int]

    def options(self) -> dict[str, Any]:
        return {
            "padding": self.padding,
            "stride_h": self.stride[0],
            "stride_w": self.stride[1],
        }

    def dilation_options(self) -> dict[str, Any]:
        return {"dilation_h_factor": self.dilation[0], "dilation_w_factor": self.dilation[1]}


def _window(d: _Draw, height: int, width: int, may_dilate: bool) -> _Window:
    padding = d.pick(("SAME", "VALID"))

    def along(n: int) -> tuple[int, int, int]:
        size, dilation = d.pick((1, 2, 3, 3, 5, 7)), d.pick((1, 1, 1, 2, 3)) if may_dilate else 1
        if padding == "VALID":  # a SAME window may be larger than the image
            size = min(size, n)
            dilation = dilation if (size - 1) * dilation < n else 1
        return size, d.pick((1, 1, 2, 3)), dilation

    def output(n: int, size: int, stride: int, dilation: int) -> int:
        return -(-(n if padding == "SAME" else n - (size - 1) * dilation) // stride)

    # Windows are square in most networks; in the other half the axes are drawn apart.
    square = d.chance(0.5)
    down = along(min(height, width) if square else height)
    across = down if square else along(width)
    size, stride, dilation = zip(down, across, strict=True)
    return _Window(padding, size, stride, dilation, (output(height, *down), output(width, *across)))


def _image(d: _Draw, elements: int = _MAX_ELEMENTS) -> tuple[int, int, int, int]:
    batch = d.pick((1, 1, 1, 2, 3))
    height, width = d.size(24), d.size(24)
    channels = d.size(elements // (batch * height * width))
    return batch, height, width, channels


def _conv_2d(d: _Draw) -> _Draft:
    n, h, w, c = _image(d)
    return _conv_on(d, (n, h, w, c), "x", d.affine())


def _conv_on(d: _Draw, shape: Shape, source: str, x: _Affine) -> _Draft:
    """CONV_2D over the tensor `source`, which the draft declares as the input."""
    n, h, w, c = shape
    window = _window(d, h, w, may_dilate=True)
    depth = window.size[0] * window.size[1] * c
    channels = d.size(MAX_MACS // (n * window.output[0] * window.output[1] * depth))
    # LiteRT's CONV_2D requires a bias.
    weights = _weights(d, (channels, *window.size, c), 0, x, depth, biased=1.0)
    options = window.options() | window.dilation_options()
    options["fused_activation_function"] = d.activation(weights.y)
    return _Draft(
        {
            source: d.tensor(shape, x),
            **weights.tensors,
            "y": d.tensor((n, *window.output, channels), weights.y),
        },
        [OpSpec("CONV_2D", (source, *weights.tensors), ("y",), options)],
        {source: d.activations(shape, x)},
    )


def _depthwise_conv_2d(d: _Draw) -> _Draft:
    n, h, w, c = _image(d)
    x = d.affine()
    window = _window(d, h, w, may_dilate=True)
    depth = window.size[0] * window.size[1]
    multiplier = min(
        d.pick((1, 1, 1, 2, 3, 4, 8)),
        max(MAX_MACS // (n * window.output[0] * window.output[1] * depth * c), 1),
    )
    weights = _weights(d, (1, *window.size, c * multiplier), 3, x, depth)
    options = window.options() | window.dilation_options()
    options["depth_multiplier"] = multiplier
    options["fused_activation_function"] = d.activation(weights.y)
    return _Draft(
        {
            "x": d.tensor((n, h, w, c), x),
            **weights.tensors,
            "y": d.tensor((n, *window.output, c * multiplier), weights.y),
        },
        [OpSpec("DEPTHWISE_CONV_2D", ("x", *weights.tensors), ("y",), options)],
        {"x": d.activations((n, h, w, c), x)},
    )


def _fully_connected(d: _Draw) -> _Draft:
    depth = d.pick((1, 2, 3, 5, 8, 16, 17, 31, 64, 100, 257))
    x = d.affine()
    rows: Shape = d.shape(1, 3, elements=20)
    units = d.size(MAX_MACS // (depth * math.prod(rows)))
    weights = _weights(d, (units, depth), 0, x, depth)
    keep = d.chance(0.5)
    y_shape = (*rows, units) if keep else (math.prod(rows), units)
    options = {"fused_activation_function": d.activation(weights.y), "keep_num_dims": keep}
    return _Draft(
        {
            "x": d.tensor((*rows, depth), x),
            **weights.tensors,
            "y": d.tensor(y_shape, weights.y),
        },
        [OpSpec("FULLY_CONNECTED", ("x", *weights.tensors), ("y",), options)],
        {"x": d.activations((*rows, depth), x)},
    )


def _pad_conv_2d(d: _Draw) -> _Draft:
    n, h, w, c = _image(d, elements=600)
    pads = [(0, 0), (d.integer(0, 2), d.integer(0, 2)), (d.integer(0, 2), d.integer(0, 2)), (0, 0)]
    x = d.affine()
    padded = (n, h + sum(pads[1]), w + sum(pads[2]), c)
    conv = _conv_on(d, padded, "padded", x)
    return _Draft(
        {"x": d.tensor((n, h, w, c), x), "pads": _constant(pads), **conv.tensors},
        [OpSpec("PAD", ("x", "pads"), ("padded",)), *conv.operators],
        {"x": d.activations((n, h, w, c), x)},
    )


# ---------------------------------------------------------------- elementwise


def _operand_shapes(d: _Draw) -> tuple[Shape, Shape]:
    """Two equal shapes, or two that broadcast."""
    one = other = d.shape()
    if d.chance(0.5):
        one, other = (tuple(1 if d.chance(0.3) else n for n in one) for _ in range(2))
        if d.chance(0.4):
            other = other[d.integer(0, len(other)) :]
    return (one, other) if d.chance(0.5) else (other, one)


def _two_operands(
    d: _Draw, builtin: str, a: _Affine, b: _Affine, y: _Affine, options: Mapping[str, Any]
) -> _Draft:
    a_shape, b_shape = _operand_shapes(d)
    tensors = {
        "a": d.tensor(a_shape, a),
        "b": d.tensor(b_shape, b),
        "y": d.tensor(np.broadcast_shapes(a_shape, b_shape), y),
    }
    inputs = {"a": d.activations(a_shape, a), "b": d.activations(b_shape, b)}
    if d.chance(0.2):
        constant, shape, affine = d.pick((("a", a_shape, a), ("b", b_shape, b)))
        tensors[constant] = d.tensor(shape, affine, inputs.pop(constant))
    return _Draft(tensors, [OpSpec(builtin, ("a", "b"), ("y",), options)], inputs)


def _add_or_sub(builtin: str) -> Callable[[_Draw], _Draft]:
    def generate(d: _Draw) -> _Draft:
        a = d.affine()
        b = d.affine(a.scale * d.factor(8 if d.chance(_EXTREME) else 1.5))
        (a_mean, a_deviation), (b_mean, b_deviation) = d.real(a), d.real(b)
        mean = a_mean + b_mean if builtin == "ADD" else a_mean - b_mean
        y = d.covering(mean, math.hypot(a_deviation, b_deviation))
        # kernels/add.cc requires 2 * max(input scales) < 2^20 * output scale; in int16 results have to fit int32.
        least = 2.0 ** (-13 if d.dtype == "int16" else -15)
        y = d.affine(max(y.scale, a.scale * least, b.scale * least), y.zero_point)
        options = {"fused_activation_function": d.activation(y)}
        return _two_operands(d, builtin, a, b, y, options)

    return generate


def _mul(d: _Draw) -> _Draft:
    a, b = d.affine(), d.affine()
    (a_mean, a_deviation), (b_mean, b_deviation) = d.real(a), d.real(b)
    square = (a_mean**2 + a_deviation**2) * (b_mean**2 + b_deviation**2)
    y = d.covering(a_mean * b_mean, math.sqrt(square - (a_mean * b_mean) ** 2))
    # A product has 16 bits, of int16 30: this leaves room in int32 for the left shift of the multiplier.
    y = d.affine(max(y.scale, a.scale * b.scale * 2.0 ** (0 if d.dtype == "int16" else -10)), y.zero_point)
    options = {"fused_activation_function": d.activation(y)}
    return _two_operands(d, "MUL", a, b, y, options)


def _maximum_or_minimum(builtin: str) -> Callable[[_Draw], _Draft]:
    def generate(d: _Draw) -> _Draft:
        x = d.affine()
        return _two_operands(d, builtin, x, x, x, {})

    return generate


# ---------------------------------------------------------------- functions of one value


def _function(
    builtin: str, quantizations: Callable[[_Draw], tuple[_Affine, _Affine, Mapping[str, Any]]]
) -> Callable[[_Draw], _Draft]:
    """An operator from one tensor to one of the same shape, its quantizations given by a draw."""

    def generate(d: _Draw) -> _Draft:
        shape = d.shape()
        x, y, options = quantizations(d)
        return _Draft(
            {"x": d.tensor(shape, x), "y": d.tensor(shape, y)},
            [OpSpec(builtin, ("x",), ("y",), options)],
            {"x": d.activations(shape, x)},
        )

    return generate


def _rescaled(d: _Draw) -> tuple[_Affine, _Affine, Mapping[str, Any]]:
    x = d.affine()
    return (x, x, {}) if d.chance(0.3) else (x, d.covering(*d.real(x)), {})


def _relu(d: _Draw) -> tuple[_Affine, _Affine, Mapping[str, Any]]:
    # The bounds 6 and 1 lie inside the range only where the scale is about 1/100 to 1/10.
    x = d.affine(0.03 * d.factor(1.5)) if d.chance(0.7) else d.affine()
    if d.chance(0.4):
        return x, x, {}
    return x, d.affine(x.scale * d.factor(5 if d.chance(_EXTREME) else 0.7)), {}


def _leaky_relu(d: _Draw) -> tuple[_Affine, _Affine, Mapping[str, Any]]:
    x, y, _ = _rescaled(d)
    return x, y, {"alpha": d.pick((0.01, 0.1, 0.2, 0.3, 0.0, 1.0, float(d.rng.random())))}


def _hard_swish(d: _Draw) -> tuple[_Affine, _Affine, Mapping[str, Any]]:
    x = d.affine(0.05 * d.factor(1.5)) if d.chance(0.8) else d.affine()
    # reference/hard_swish.h requires that input scale / 128 is at most the output scale.
    return x, d.affine(x.scale * min(max(d.factor(1), 1 / 64), 64)), {}


def _sigmoid_like(
    low_scale: float,
) -> Callable[[_Draw], tuple[_Affine, _Affine, Mapping[str, Any]]]:
    """Fixed output quantization: 1/256 from the lowest value, or 1/128 around the middle."""

    def quantizations(d: _Draw) -> tuple[_Affine, _Affine, Mapping[str, Any]]:
        if d.dtype == "int16":
            return d.affine(min(3e-4 * d.factor(2), 1.0)), _Affine(2.0**-15, 0), {}
        x = d.affine(0.05 * d.factor(1.5)) if d.chance(0.8) else d.affine()
        zero_point = d.low if low_scale == 1 / 256 else (d.low + d.high + 1) // 2
        return x, _Affine(low_scale, zero_point), {}

    return quantizations


def _softmax(d: _Draw) -> tuple[_Affine, _Affine, Mapping[str, Any]]:
    if d.dtype == "int16":
        return d.affine(min(3e-4 * d.factor(2), 1.0)), _Affine(2.0**-15, 0), {"beta": d.pick((1.0, 0.5, 2.0))}
    x = d.affine(0.1 * d.factor(1.5)) if d.chance(0.8) else d.affine()
    return x, _Affine(1 / 256, d.low), {"beta": d.pick((1.0, 1.0, 1.0, 0.5, 2.0, 0.1))}


def _quantize(d: _Draw) -> _Draft:
    shape = d.shape()
    y = d.affine()
    if d.chance(0.5):
        # Reals on whole and half steps, in between, and out of range.
        steps = d.rng.integers(-300, 300, shape) / 2 + d.pick((0.0, 0.0, d.rng.random()))
        x = np.asarray(steps * (100 if d.chance(_EXTREME) else 1) * y.scale, np.float32)
        tensors = {"x": TensorSpec(shape, "float32"), "y": d.tensor(shape, y)}
        return _Draft(tensors, [OpSpec("QUANTIZE", ("x",), ("y",))], {"x": x})
    types: tuple[DType, ...] = ("int8", "int16") if d.dtype == "int16" else ("uint8", "int8", "int8")
    source = _Draw(d.rng, d.pick(types))
    a = source.covering(*d.real(y))
    tensors = {"x": source.tensor(shape, a), "y": d.tensor(shape, y)}
    return _Draft(tensors, [OpSpec("QUANTIZE", ("x",), ("y",))], {"x": source.activations(shape, a)})


def _dequantize(d: _Draw) -> _Draft:
    shape = d.shape()
    x = d.affine()
    spec = d.tensor(shape, x)
    if d.dtype == "int8" and d.chance(0.25):
        axis = d.integer(0, len(shape) - 1)
        scales = np.float32(2.0 ** d.rng.normal(-5, 2, shape[axis]))
        spec = TensorSpec(shape, d.dtype, tuple(scales.tolist()), 0, axis)
    return _Draft(
        {"x": spec, "y": TensorSpec(shape, "float32")},
        [OpSpec("DEQUANTIZE", ("x",), ("y",))],
        {"x": d.activations(shape, x)},
    )


# ---------------------------------------------------------------- pools and reductions


def _pool(builtin: str) -> Callable[[_Draw], _Draft]:
    def generate(d: _Draw) -> _Draft:
        n, h, w, c = _image(d)
        x = d.affine()
        window = _window(d, h, w, may_dilate=False)
        if d.chance(0.2):  # global
            window = _Window("VALID", (h, w), (1, 1), (1, 1), (1, 1))
        options = window.options() | {
            "filter_height": window.size[0],
            "filter_width": window.size[1],
            "fused_activation_function": d.activation(x),
        }
        return _Draft(
            {"x": d.tensor((n, h, w, c), x), "y": d.tensor((n, *window.output, c), x)},
            [OpSpec(builtin, ("x",), ("y",), options)],
            {"x": d.activations((n, h, w, c), x)},
        )

    return generate


def _reduction(builtin: str) -> Callable[[_Draw], _Draft]:
    def generate(d: _Draw) -> _Draft:
        shape = d.shape()
        rank = len(shape)
        # What pooling layers become, and any other set of axes.
        usual = rank == 4 and d.chance(0.5)
        axes = [1, 2] if usual else d.subset(range(rank), at_least=1)
        keep = d.chance(0.5)
        y_shape = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
        count = math.prod(shape[i] for i in axes)
        x = y = d.affine()
        if builtin != "REDUCE_MAX" and d.chance(0.8):
            mean, deviation = d.real(x)
            terms = count if builtin == "SUM" else 1
            y = d.covering(terms * mean, terms * deviation / math.sqrt(count))
        axes = [i - rank if d.chance(0.2) else i for i in axes]
        return _Draft(
            {"x": d.tensor(shape, x), "axes": _constant(axes), "y": d.tensor(y_shape, y)},
            [OpSpec(builtin, ("x", "axes"), ("y",), {"keep_dims": keep})],
            {"x": d.activations(shape, x)},
        )

    return generate


def _arg_max(d: _Draw) -> _Draft:
    shape = d.shape()
    rank = len(shape)
    axis = d.integer(0, rank - 1)
    x = d.affine()
    return _Draft(
        {
            "x": d.tensor(shape, x),
            "axis": _constant(axis - rank if d.chance(0.3) else axis),
            "y": TensorSpec((*shape[:axis], *shape[axis + 1 :]), "int32"),
        },
        [OpSpec("ARG_MAX", ("x", "axis"), ("y",), {"output_type": "INT32"})],
        {"x": d.activations(shape, x)},
    )


def _resize(builtin: str) -> Callable[[_Draw], _Draft]:
    def generate(d: _Draw) -> _Draft:
        n, h, w, c = _image(d, elements=400)
        size = (d.size(17), d.size(17))
        if d.chance(0.4):
            size = (h * 2, w * 2)
        align_corners, half_pixel_centers = d.pick(((False, False), (True, False), (False, True)))
        x = d.affine()
        return _Draft(
            {
                "x": d.tensor((n, h, w, c), x),
                "size": _constant(size),
                "y": d.tensor((n, *size, c), x),
            },
            [
                OpSpec(
                    builtin,
                    ("x", "size"),
                    ("y",),
                    {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers},
                )
            ],
            {"x": d.activations((n, h, w, c), x)},
        )

    return generate


# ---------------------------------------------------------------- movement


def _constant(values: Any, dtype: str = "int32") -> TensorSpec:
    data = np.asarray(values, dtype)
    return TensorSpec(data.shape, dtype, data=data)


def _moved(
    d: _Draw,
    builtin: str,
    shape: Shape,
    y_shapes: Sequence[Shape],
    constants: Mapping[str, TensorSpec],
    options: Mapping[str, Any],
    order: Sequence[str | None] | None = None,
) -> _Draft:
    """An operator that copies elements of x into y0, y1, ... without changing them."""
    x = d.affine()
    outputs = tuple(f"y{i}" for i in range(len(y_shapes)))
    return _Draft(
        {
            "x": d.tensor(shape, x),
            **constants,
            **{name: d.tensor(s, x) for name, s in zip(outputs, y_shapes, strict=True)},
        },
        [OpSpec(builtin, tuple(order or ("x", *constants)), outputs, options)],
        {"x": d.activations(shape, x)},
    )


def _pad(d: _Draw) -> _Draft:
    shape = d.shape(elements=300)
    pads = [(d.integer(0, 2), d.integer(0, 2)) for _ in shape]
    y_shape = tuple(n + sum(p) for n, p in zip(shape, pads, strict=True))
    return _moved(d, "PAD", shape, [y_shape], {"pads": _constant(pads)}, {})


def _padv2(d: _Draw) -> _Draft:
    draft = _pad(d)
    x = draft.tensors["x"]
    value = np.asarray([d.pick((d.low, d.high, d.integer(d.low, d.high)))], d.dtype)
    tensors = draft.tensors | {"value": TensorSpec((1,), d.dtype, x.scale, x.zero_point, data=value)}
    return _Draft(tensors, [OpSpec("PADV2", ("x", "pads", "value"), ("y0",))], draft.inputs)


def _reshape(d: _Draw) -> _Draft:
    shape = d.shape()
    left = math.prod(shape)
    new: list[int] = []
    for _ in range(d.integer(0, 3)):
        new.append(d.pick([n for n in range(1, left + 1) if left % n == 0]))
        left //= new[-1]
    new.append(left)
    given = list(new)
    if d.chance(0.5):
        given[d.integer(0, len(new) - 1)] = -1
    if d.chance(0.3):  # the shape as an option, as old converters wrote it
        return _moved(d, "RESHAPE", shape, [tuple(new)], {}, {"new_shape": given})
    return _moved(d, "RESHAPE", shape, [tuple(new)], {"shape": _constant(given)}, {"new_shape": given})


def _squeeze(d: _Draw) -> _Draft:
    shape = list(d.shape(1, 3))
    for _ in range(d.integer(1, 2)):
        shape.insert(d.integer(0, len(shape)), 1)
    ones = [i for i, n in enumerate(shape) if n == 1]
    chosen = ones if d.chance(0.4) else d.subset(ones, at_least=1)
    y_shape = tuple(n for i, n in enumerate(shape) if i not in chosen)
    given: list[int] = [] if len(chosen) == len(ones) and d.chance(0.5) else chosen
    given = [i - len(shape) if d.chance(0.2) else i for i in given]
    return _moved(d, "SQUEEZE", tuple(shape), [y_shape], {}, {"squeeze_dims": given})


def _expand_dims(d: _Draw) -> _Draft:
    shape = d.shape(1, 3)
    axis = d.integer(0, len(shape))
    y_shape = (*shape[:axis], 1, *shape[axis:])
    given = axis - len(y_shape) if d.chance(0.3) else axis
    return _moved(d, "EXPAND_DIMS", shape, [y_shape], {"axis": _constant([given])}, {})


def _transpose(d: _Draw) -> _Draft:
    shape = d.shape(1, 5)
    order = [int(i) for i in d.rng.permutation(len(shape))]
    y_shape = tuple(shape[i] for i in order)
    return _moved(d, "TRANSPOSE", shape, [y_shape], {"perm": _constant(order)}, {})


def _slice(d: _Draw) -> _Draft:
    shape = d.shape()
    begin = [d.integer(0, n - 1) for n in shape]
    size = [d.integer(1, n - b) for n, b in zip(shape, begin, strict=True)]
    given = [-1 if b + s == n else s for n, b, s in zip(shape, begin, size, strict=True)]
    constants = {"begin": _constant(begin), "size": _constant(given if d.chance(0.5) else size)}
    return _moved(d, "SLICE", shape, [tuple(size)], constants, {})


def _strided_slice(d: _Draw) -> _Draft:
    shape = d.shape()
    begin: list[int] = []
    end: list[int] = []
    strides: list[int] = []
    y_shape: list[int] = []
    begin_mask = end_mask = shrink_axis_mask = 0
    for i, n in enumerate(shape):
        if d.chance(0.2):
            shrink_axis_mask |= 1 << i
            first = d.integer(-n, n - 1)
            begin, end, strides = [*begin, first], [*end, first + 1], [*strides, 1]
            continue
        while True:  # until something is left of the axis
            stride = d.pick((1, 1, 2, 3, -1, -2))
            first, last = d.integer(-n - 1, n), d.integer(-n - 1, n + 1)
            open_first, open_last = d.chance(0.3), d.chance(0.3)
            kept = len(range(n)[None if open_first else first : None if open_last else last : stride])
            if kept:
                break
        begin_mask |= open_first << i
        end_mask |= open_last << i
        begin, end, strides = [*begin, first], [*end, last], [*strides, stride]
        y_shape.append(kept)
    options = {
        "begin_mask": begin_mask,
        "end_mask": end_mask,
        "shrink_axis_mask": shrink_axis_mask,
    }
    constants = {"begin": _constant(begin), "end": _constant(end), "strides": _constant(strides)}
    return _moved(d, "STRIDED_SLICE", shape, [tuple(y_shape)], constants, options)


def _split(d: _Draw) -> _Draft:
    shape = list(d.shape(elements=400))
    axis, parts = d.integer(0, len(shape) - 1), d.integer(1, 4)
    part = tuple(shape)
    shape[axis] *= parts
    given = axis - len(shape) if d.chance(0.3) else axis
    return _moved(
        d,
        "SPLIT",
        tuple(shape),
        [part] * parts,
        {"axis": _constant(given)},
        {"num_splits": parts},
        order=("axis", "x"),
    )


def _split_v(d: _Draw) -> _Draft:
    shape = list(d.shape(elements=400))
    axis = d.integer(0, len(shape) - 1)
    sizes = [d.size(6) for _ in range(d.integer(1, 4))]
    parts = [(*shape[:axis], n, *shape[axis + 1 :]) for n in sizes]
    shape[axis] = sum(sizes)
    given = list(sizes)
    if d.chance(0.3):
        given[d.integer(0, len(sizes) - 1)] = -1
    constants = {
        "sizes": _constant(given),
        "axis": _constant(axis - len(shape) if d.chance(0.3) else axis),
    }
    return _moved(d, "SPLIT_V", tuple(shape), parts, constants, {"num_splits": len(sizes)})


def _unpack(d: _Draw) -> _Draft:
    part = d.shape(1, 3, elements=400)
    axis, parts = d.integer(0, len(part)), d.integer(1, 4)
    shape = (*part[:axis], parts, *part[axis:])
    given = axis - len(shape) if d.chance(0.3) else axis
    return _moved(d, "UNPACK", shape, [part] * parts, {}, {"num": parts, "axis": given})


def _joined(
    d: _Draw,
    builtin: str,
    shapes: Sequence[Shape],
    quantizations: Sequence[_Affine],
    y_shape: Shape,
    y: _Affine,
    options: Mapping[str, Any],
) -> _Draft:
    """An operator that copies x0, x1, ... into y; one of several operands may be constant."""
    names = tuple(f"x{i}" for i in range(len(shapes)))
    operands = list(zip(names, shapes, quantizations, strict=True))
    inputs = {name: d.activations(shape, x) for name, shape, x in operands}
    tensors = {name: d.tensor(shape, x) for name, shape, x in operands}
    if len(names) > 1 and d.chance(0.15):
        name, shape, x = d.pick(operands)
        tensors[name] = d.tensor(shape, x, inputs.pop(name))
    tensors["y"] = d.tensor(y_shape, y)
    return _Draft(tensors, [OpSpec(builtin, names, ("y",), options)], inputs)


def _concatenation(d: _Draw) -> _Draft:
    shape = d.shape(elements=400)
    axis = d.integer(0, len(shape) - 1)
    sizes = [d.size(6) for _ in range(d.integer(1, 5))]
    shapes = [(*shape[:axis], n, *shape[axis + 1 :]) for n in sizes]
    y_shape = (*shape[:axis], sum(sizes), *shape[axis + 1 :])
    y = d.affine()
    quantizations = [y] * len(sizes)
    if d.dtype == "uint8" and d.chance(0.5):  # LiteRT rescales uint8 only
        quantizations = [d.affine(y.scale * d.factor(0.7)) for _ in sizes]
    options = {"axis": axis - len(shape) if d.chance(0.3) else axis}
    return _joined(d, "CONCATENATION", shapes, quantizations, y_shape, y, options)


def _pack(d: _Draw) -> _Draft:
    shape = d.shape(1, 3, elements=400)
    count, axis = d.integer(1, 4), d.integer(0, len(shape))
    y_shape = (*shape[:axis], count, *shape[axis:])
    x = d.affine()
    options = {"values_count": count, "axis": axis - len(y_shape) if d.chance(0.3) else axis}
    return _joined(d, "PACK", [shape] * count, [x] * count, y_shape, x, options)


_GENERATORS: Mapping[str, Callable[[_Draw], _Draft]] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "FULLY_CONNECTED": _fully_connected,
    "PAD_CONV_2D": _pad_conv_2d,
    "ADD": _add_or_sub("ADD"),
    "SUB": _add_or_sub("SUB"),
    "MUL": _mul,
    "MAXIMUM": _maximum_or_minimum("MAXIMUM"),
    "MINIMUM": _maximum_or_minimum("MINIMUM"),
    "RELU": _function("RELU", _relu),
    "RELU6": _function("RELU6", _relu),
    "RELU_N1_TO_1": _function("RELU_N1_TO_1", _relu),
    "LEAKY_RELU": _function("LEAKY_RELU", _leaky_relu),
    "HARD_SWISH": _function("HARD_SWISH", _hard_swish),
    "LOGISTIC": _function("LOGISTIC", _sigmoid_like(1 / 256)),
    "TANH": _function("TANH", _sigmoid_like(1 / 128)),
    "SOFTMAX": _function("SOFTMAX", _softmax),
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D"),
    "MAX_POOL_2D": _pool("MAX_POOL_2D"),
    "MEAN": _reduction("MEAN"),
    "SUM": _reduction("SUM"),
    "REDUCE_MAX": _reduction("REDUCE_MAX"),
    "ARG_MAX": _arg_max,
    "RESIZE_BILINEAR": _resize("RESIZE_BILINEAR"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("RESIZE_NEAREST_NEIGHBOR"),
    "PAD": _pad,
    "PADV2": _padv2,
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "UNPACK": _unpack,
    "CONCATENATION": _concatenation,
    "PACK": _pack,
}
_WITH_INT4_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
#: Those that no reference runs in int16, or not nybble.
_NOT_IN_INT16 = (
    "RELU6",
    "RELU_N1_TO_1",
    "HARD_SWISH",
    "DEQUANTIZE",
    "REDUCE_MAX",
    "ARG_MAX",
    "RESIZE_BILINEAR",
)


def _types(name: str) -> Iterator[DType]:
    yield from ("int8", "uint8")
    if name in _WITH_INT4_WEIGHTS:
        yield "int8x4"
    if name not in _NOT_IN_INT16:
        yield "int16"


OPERATORS: Mapping[str, tuple[DType, ...]] = {name: tuple(_types(name)) for name in _GENERATORS}
"""The operators of `random_case`, each with the types in which it is drawn."""
