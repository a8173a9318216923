# SPDX-License-Identifier: Apache-2.0
"""Tensors of a .tflite file: types, quantization and the data of constants."""

from __future__ import annotations

import math

import numpy as np

from ..graph import Array, DType, ModelError, Quantization, Tensor
from .flatbuffer import Table
from .refusal import Refusal

_TYPES = {
    0: DType.FLOAT32,
    2: DType.INT32,
    3: DType.UINT8,
    4: DType.INT64,
    6: DType.BOOL,
    7: DType.INT16,
    9: DType.INT8,
    17: DType.INT4,
    19: DType.INT2,
}
_FLOAT16 = 1
#: QuantizationDetails of schema.fbs: a scale for each block of a row, kept in another tensor.
_BLOCKWISE = 2
_OTHER_TYPES = {5: "string", 8: "complex64", 10: "float64", 13: "resource", 14: "variant"}


def read_tensor(data: bytes | memoryview, table: Table, buffers: list[Table], index: int) -> Tensor:
    """One tensor of the file; Refusal where its type is not taken, ModelError where it is wrong."""
    what = f"{table.what} ({table.text(3)!r})"
    shape = tuple(int(d) for d in table.array(0, "int"))
    if any(d < 0 for d in shape):
        raise ModelError(f"{what}: expected dimensions of at least 0, found {shape}")
    code = table.integer(1, "byte")
    if code == _FLOAT16:
        return _half_constant(data, table, buffers, index, shape)
    if code not in _TYPES:
        known = _OTHER_TYPES.get(code, f"type {code}")
        raise Refusal(f"{table.text(3)!r} holds {known}", "only float32 and integer tensors are taken")
    dtype = _TYPES[code]
    quantization = None
    params = table.table(4, "quantization")
    if params is not None:
        if params.integer(4, "ubyte") == _BLOCKWISE:
            raise Refusal(
                f"{table.text(3)!r} has a scale for each block of a row",
                "nybble quantize takes the float network that this one was made from",
            )
        scale, zero = params.array(2, "float"), params.array(3, "long")
        if scale.size:
            if zero.size == 0:
                zero = np.zeros(scale.size, np.int64)
            if zero.size != scale.size:
                raise ModelError(f"{what}: {scale.size} scales but {zero.size} zero points")
            if not np.all(np.isfinite(scale)) or not np.all(scale >= 0):
                raise ModelError(f"{what}: expected finite scales of at least 0")
            axis = params.integer(6) if scale.size > 1 else None
            if axis is not None and not (0 <= axis < len(shape) and shape[axis] == scale.size):
                raise ModelError(f"{what}: {scale.size} scales along axis {axis} of {shape}")
            quantization = Quantization(tuple(float(s) for s in scale), tuple(int(z) for z in zero), axis)
    raw = _raw(data, table, buffers, what)
    name = table.text(3) or f"tensor {index}"
    if raw.size == 0 or math.prod(shape) == 0:
        return Tensor(name, dtype, shape, quantization)
    return Tensor(name, dtype, shape, quantization, _elements(raw, dtype, shape, what))


def _raw(data: bytes | memoryview, table: Table, buffers: list[Table], what: str) -> Array:
    """The bytes of a tensor's buffer, inside the FlatBuffer or (for large files) behind it."""
    number = table.integer(2, "uint")
    if number >= len(buffers):
        raise ModelError(f"{what}: buffer {number} of {len(buffers)}")
    offset, size = buffers[number].integer(1, "ulong"), buffers[number].integer(2, "ulong")
    if offset <= 1:
        return buffers[number].array(0, "ubyte")
    if offset + size > len(data):
        raise ModelError(f"{what}: its data [{offset}, {offset + size}) passes the end of the file")
    return np.frombuffer(data, np.uint8, size, offset)


def _half_constant(
    data: bytes | memoryview, table: Table, buffers: list[Table], index: int, shape: tuple[int, ...]
) -> Tensor:
    """A float16 constant as float32; float16 activations are refused."""
    name = table.text(3) or f"tensor {index}"
    raw = _raw(data, table, buffers, table.what)
    if raw.size == 0:
        raise Refusal(f"{name!r} is computed in float16", "convert the model with float32 activations")
    if raw.size != 2 * math.prod(shape):
        raise ModelError(
            f"{table.what}: float16 {shape} takes {2 * math.prod(shape)} bytes, found {raw.size}"
        )
    values = np.frombuffer(raw.tobytes(), "<f2").astype(np.float32).reshape(shape)
    return Tensor(name, DType.FLOAT32, shape, None, values)


def _elements(raw: Array, dtype: DType, shape: tuple[int, ...], what: str) -> Array:
    count = math.prod(shape)
    needed = -(-count * dtype.bits // 8)
    if raw.size != needed:
        raise ModelError(f"{what}: {dtype.value.lower()} {shape} takes {needed} bytes, found {raw.size}")
    values: Array
    if dtype.bits >= 8:
        values = np.frombuffer(raw.tobytes(), dtype.numpy.newbyteorder("<"), count)
        values = values.astype(dtype.numpy).reshape(shape)
        return values
    per_byte, mask = 8 // dtype.bits, (1 << dtype.bits) - 1
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(dtype.bits)
    fields = ((raw[:, None] >> shifts) & mask).reshape(-1)[:count].astype(np.int16)
    half = 1 << (dtype.bits - 1)
    values = ((fields ^ half) - half).astype(np.int8).reshape(shape)
    return values
