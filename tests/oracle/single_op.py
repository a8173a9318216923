# SPDX-License-Identifier: Apache-2.0
"""Writes .tflite models of one or a few operators, without TensorFlow.

    model = build(
        {
            "x": TensorSpec((1, 8, 8, 3), "int8", 0.05, -1),
            "w": TensorSpec((4, 3, 3, 3), "int8", (0.01, 0.02, 0.01, 0.03), data=weights),
            "y": TensorSpec((1, 8, 8, 4), "int8", 0.1, 3),
        },
        [
            OpSpec("CONV_2D", ("x", "w", None), ("y",),
                   {"padding": "SAME", "stride_h": 1, "stride_w": 1,
                    "dilation_h_factor": 1, "dilation_w_factor": 1}),
        ],
        inputs=("x",),
        outputs=("y",),
    )

Names of operators, options and their values are those of the TFLite schema (schema.fbs). TFLite
Micro infers no shapes: the shapes of all tensors must be right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from . import require_oracle

OPTIONS_TABLES: Mapping[str, str | None] = {
    "ABS": "AbsOptions",
    "ADD": "AddOptions",
    "ADD_N": "AddNOptions",
    "ARG_MAX": "ArgMaxOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_TO_SPACE_ND": "BatchToSpaceNDOptions",
    "BROADCAST_TO": "BroadcastToOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "DIV": "DivOptions",
    "ELU": None,
    "EXP": "ExpOptions",
    "EXPAND_DIMS": "ExpandDimsOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "GELU": "GeluOptions",
    "HARD_SWISH": "HardSwishOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "LOG": None,
    "LOGISTIC": None,
    "LOG_SOFTMAX": "LogSoftmaxOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "MUL": "MulOptions",
    "NEG": "NegOptions",
    "PACK": "PackOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "POW": "PowOptions",
    "PRELU": None,
    "QUANTIZE": "QuantizeOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "RELU": None,
    "RELU6": None,
    "RELU_0_TO_1": None,
    "RELU_N1_TO_1": None,
    "RESHAPE": "ReshapeOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "REVERSE_V2": "ReverseV2Options",
    "RSQRT": None,
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPACE_TO_BATCH_ND": "SpaceToBatchNDOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    "SPLIT": "SplitOptions",
    "SPLIT_V": "SplitVOptions",
    "SQRT": None,
    "SQUARE": "SquareOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
    "SQUEEZE": "SqueezeOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "TANH": None,
    "TILE": "TileOptions",
    "TRANSPOSE": "TransposeOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "UNPACK": "UnpackOptions",
}
"""Operators that `OpSpec` knows, with the options table of each (schema.fbs `BuiltinOptions`)."""

_OPTION_ENUMS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "output_type": "TensorType",
    "quantized_bias_type": "TensorType",
    "mode": "MirrorPadMode",
}
_BUFFER_ALIGNMENT = 16  # bytes; schema.fbs: Buffer.data is force_align: 16
_LAST_8_BIT_OPERATOR_CODE = 127  # PLACEHOLDER_FOR_GREATER_OP_CODES


@dataclass(frozen=True)
class TensorSpec:
    """One tensor.

    `dtype` is a numpy type name, or "int4" (values -8..7, stored two to a byte, the lower nibble
    first). `scale` and `zero_point` are single for per-tensor quantization, or one per index of
    `axis`; without a scale the tensor has no quantization; one zero point serves all scales. A
    tensor with `data` (any array of `shape`; int4 one value per element) is constant.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float | tuple[float, ...] | None = None
    zero_point: int | tuple[int, ...] = 0
    axis: int = 0
    data: npt.NDArray[Any] | None = None


@dataclass(frozen=True)
class OpSpec:
    """One operator: its name in `BuiltinOperator`, tensors by name (None: left out), and options.

    `options` are the fields of its options table in schema.fbs. Enumerations are given by name
    ("SAME", "RELU6", "INT32"), vectors as sequences. A field that is not given has the schema's
    default, which is 0 for strides.
    """

    builtin: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1


def build(
    tensors: Mapping[str, TensorSpec],
    operators: Sequence[OpSpec],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bytes:
    """Returns the .tflite file of one subgraph with these tensors, operators, inputs and outputs.

    Raises ValueError where a tensor's data does not fit its specification, KeyError for an unknown
    tensor or operator, AttributeError for an unknown option.
    """
    s = schema()
    b = import_module("flatbuffers").Builder(1024)
    index = {name: i for i, name in enumerate(tensors)}

    # schema.fbs: buffer 0 is the empty buffer of every tensor that has no data.
    buffers = [_buffer(s, b, b"")]
    tensor_offsets = []
    for name, spec in tensors.items():
        buffer = 0
        if spec.data is not None:
            buffer = len(buffers)
            buffers.append(_buffer(s, b, _tensor_bytes(name, spec)))
        tensor_offsets.append(_tensor(s, b, name, spec, buffer))

    codes = sorted({(op.builtin, op.version) for op in operators})
    code_offsets = [_operator_code(s, b, builtin, version) for builtin, version in codes]
    operator_offsets = [_operator(s, b, op, codes.index((op.builtin, op.version)), index) for op in operators]

    subgraph_tensors = _offsets(b, tensor_offsets)
    subgraph_inputs = _int32s(b, [index[name] for name in inputs])
    subgraph_outputs = _int32s(b, [index[name] for name in outputs])
    subgraph_operators = _offsets(b, operator_offsets)
    s.SubGraphStart(b)
    s.SubGraphAddTensors(b, subgraph_tensors)
    s.SubGraphAddInputs(b, subgraph_inputs)
    s.SubGraphAddOutputs(b, subgraph_outputs)
    s.SubGraphAddOperators(b, subgraph_operators)
    subgraph = s.SubGraphEnd(b)

    model_codes = _offsets(b, code_offsets)
    model_subgraphs = _offsets(b, [subgraph])
    model_buffers = _offsets(b, buffers)
    s.ModelStart(b)
    s.ModelAddVersion(b, 3)
    s.ModelAddOperatorCodes(b, model_codes)
    s.ModelAddSubgraphs(b, model_subgraphs)
    s.ModelAddBuffers(b, model_buffers)
    b.Finish(s.ModelEnd(b), file_identifier=b"TFL3")
    return bytes(b.Output())


@cache
def schema() -> Any:
    """The generated (untyped) reader and writer of the TFLite schema; skips where it is missing."""
    require_oracle()
    return import_module("tflite")


def _tensor_bytes(name: str, spec: TensorSpec) -> bytes:
    assert spec.data is not None
    if spec.data.shape != spec.shape:
        raise ValueError(f"tensor {name!r}: data of shape {spec.shape} expected, {spec.data.shape} found")
    low, high, stored = (-8, 7, np.dtype(np.int8)) if spec.dtype == "int4" else _limits(spec.dtype)
    if spec.data.size and low is not None and (spec.data.min() < low or spec.data.max() > high):
        raise ValueError(
            f"tensor {name!r}: values {low}..{high} expected for {spec.dtype}, "
            f"{spec.data.min()}..{spec.data.max()} found"
        )
    values = spec.data.astype(stored).ravel()
    if spec.dtype != "int4":
        return values.tobytes()
    nibbles = np.zeros(values.size + values.size % 2, np.uint8)
    nibbles[: values.size] = values.view(np.uint8) & 15
    return (nibbles[0::2] | nibbles[1::2] << 4).tobytes()


def _limits(dtype: str) -> tuple[Any, Any, np.dtype[Any]]:
    stored = np.dtype(dtype)
    if stored.kind not in "iu":
        return None, None, stored
    return np.iinfo(stored).min, np.iinfo(stored).max, stored


def _buffer(s: Any, b: Any, data: bytes) -> int:
    if not data:
        s.BufferStart(b)
        return int(s.BufferEnd(b))
    # Builder.CreateByteVector aligns to one byte, so the vector is written by hand.
    b.StartVector(1, len(data), _BUFFER_ALIGNMENT)
    b.head -= len(data)
    b.Bytes[b.head : b.head + len(data)] = data
    vector = b.EndVector()
    s.BufferStart(b)
    s.BufferAddData(b, vector)
    return int(s.BufferEnd(b))


def _tensor(s: Any, b: Any, name: str, spec: TensorSpec, buffer: int) -> int:
    quantization = _quantization(s, b, spec)
    name_offset = b.CreateString(name)
    shape = _int32s(b, spec.shape)
    s.TensorStart(b)
    s.TensorAddShape(b, shape)
    s.TensorAddType(b, getattr(s.TensorType, spec.dtype.upper()))
    s.TensorAddBuffer(b, buffer)
    s.TensorAddName(b, name_offset)
    if quantization is not None:
        s.TensorAddQuantization(b, quantization)
    s.TensorAddHasRank(b, True)
    return int(s.TensorEnd(b))


def _quantization(s: Any, b: Any, spec: TensorSpec) -> int | None:
    if spec.scale is None:
        return None
    scales = np.atleast_1d(np.asarray(spec.scale, np.float32))
    zero_points = np.atleast_1d(np.asarray(spec.zero_point, np.int64))
    scale = b.CreateNumpyVector(scales)
    zero_point = b.CreateNumpyVector(np.broadcast_to(zero_points, scales.shape).copy())
    s.QuantizationParametersStart(b)
    s.QuantizationParametersAddScale(b, scale)
    s.QuantizationParametersAddZeroPoint(b, zero_point)
    s.QuantizationParametersAddQuantizedDimension(b, spec.axis)
    return int(s.QuantizationParametersEnd(b))


def _operator_code(s: Any, b: Any, builtin: str, version: int) -> int:
    code = getattr(s.BuiltinOperator, builtin)
    s.OperatorCodeStart(b)
    s.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, _LAST_8_BIT_OPERATOR_CODE))
    s.OperatorCodeAddVersion(b, version)
    s.OperatorCodeAddBuiltinCode(b, code)
    return int(s.OperatorCodeEnd(b))


def _operator(s: Any, b: Any, op: OpSpec, code: int, index: Mapping[str, int]) -> int:
    table = OPTIONS_TABLES[op.builtin]
    options = None if table is None else _options(s, b, table, op.options)
    inputs = _int32s(b, [-1 if name is None else index[name] for name in op.inputs])
    outputs = _int32s(b, [index[name] for name in op.outputs])
    s.OperatorStart(b)
    s.OperatorAddOpcodeIndex(b, code)
    s.OperatorAddInputs(b, inputs)
    s.OperatorAddOutputs(b, outputs)
    if table is not None:
        s.OperatorAddBuiltinOptionsType(b, getattr(s.BuiltinOptions, table))
        s.OperatorAddBuiltinOptions(b, options)
    return int(s.OperatorEnd(b))


def _options(s: Any, b: Any, table: str, options: Mapping[str, Any]) -> int:
    values = {}
    for name, value in options.items():
        if isinstance(value, str):
            value = getattr(getattr(s, _OPTION_ENUMS[name]), value)
        elif isinstance(value, Sequence):
            value = _int32s(b, value)
        values["".join(word.capitalize() for word in name.split("_"))] = value
    getattr(s, f"{table}Start")(b)
    for name, value in values.items():
        getattr(s, f"{table}Add{name}")(b, value)
    return int(getattr(s, f"{table}End")(b))


def _int32s(b: Any, values: Sequence[int]) -> int:
    return int(b.CreateNumpyVector(np.asarray(values, np.int32)))


def _offsets(b: Any, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())
