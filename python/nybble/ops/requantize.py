# SPDX-License-Identifier: Apache-2.0
"""From accumulators to outputs: multipliers as TFLite derives them, and the one rounding formula.

A real multiplier M = scale_in * scale_weight / scale_out is held as an integer ``multiplier`` in
[2^30, 2^31) and a ``shift`` s in 1..62, M ~ multiplier / 2^s. Then, in 64 bits with a floor shift,

    requantize(acc) = (acc * multiplier + 2^(s-1) + nudge) >> s

With Rounding.SINGLE the nudge is 0: rounding to nearest, ties up. With Rounding.DOUBLE it is 2^30 for
acc >= 0 and -2^30 for acc < 0 wherever s > 31, and 0 otherwise, which equals TFLite's
SaturatingRoundingDoublingHighMul followed by RoundingDivideByPOT (tensorflow/lite/kernels/internal/common.h)
for every int32 accumulator: tests/ops/test_requantize.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..graph import DType, Rounding, Tensor
from .activation import Activation

Int64 = npt.NDArray[np.int64]

#: Shifts that the file may hold.
SHIFT_RANGE = (1, 62)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) of a real multiplier >= 0; source: QuantizeMultiplier, kernels/internal/quantization_util.cc.

    Raises ValueError where the multiplier is 2^30 or more: no accumulator could be shifted that far left.
    """
    if real < 0 or not math.isfinite(real):
        raise ValueError(f"expected a finite multiplier >= 0, found {real}")
    if real == 0:
        return 0, 31
    mantissa, exponent = math.frexp(real)
    # C's round(): ties away from zero; the mantissa is positive.
    fixed = math.floor(mantissa * (1 << 31) + 0.5)
    if fixed == 1 << 31:
        fixed //= 2
        exponent += 1
    if exponent < -31:
        return 0, 31
    if exponent > 30:
        raise ValueError(f"multiplier {real:g} is too large: scales differ by more than 2^30")
    return fixed, 31 - exponent


def quantize_multipliers(
    real: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """(multipliers, shifts) of several real multipliers, int32 [channels] each."""
    pairs = [quantize_multiplier(float(r)) for r in real]
    return (
        np.array([m for m, _ in pairs], np.int64).astype(np.int32),
        np.array([s for _, s in pairs], np.int32),
    )


def narrow_multiplier(multiplier: int, shift: int, bits: int) -> tuple[int, int]:
    """The multiplier rounded to ``bits`` bits, 1 to 31, ties up, and its shift.

    To 15 bits it is what MultiplyByQuantizedMultiplier makes of it beside an accumulator of 64
    bits (kernels/internal/common.cc). Raises ValueError where the shift would fall below 1.
    """
    less = 31 - bits
    if less == 0 or multiplier == 0:
        return multiplier, shift
    if shift - less < SHIFT_RANGE[0]:
        raise ValueError("multiplier is too large: results pass int32")
    rounded = (multiplier + (1 << (less - 1))) >> less
    return min(rounded, (1 << bits) - 1), shift - less


def requantize(
    accumulator: npt.NDArray[Any],
    multiplier: npt.ArrayLike,
    shift: npt.ArrayLike,
    rounding: Rounding,
) -> Int64:
    """The formula of this module; ``multiplier`` and ``shift`` broadcast over the last axis.

    accumulator: integers whose product with the multiplier is within 2^62, such as int32. Returns int64, not yet
    clamped.
    """
    acc = np.asarray(accumulator, np.int64)
    m = np.asarray(multiplier, np.int64)
    s = np.asarray(shift, np.int64)
    product = acc * m + (np.int64(1) << (s - 1))
    if rounding is Rounding.DOUBLE:
        nudge = np.where(acc >= 0, np.int64(1 << 30), np.int64(-(1 << 30)))
        product = product + np.where(s > 31, nudge, np.int64(0))
    result: Int64 = product >> s
    return result


def requantize_long(
    acc: npt.NDArray[Any], multiplier: npt.ArrayLike, low: npt.ArrayLike, shift: npt.ArrayLike
) -> Int64:
    """requantize with 31 more bits behind the multiplier's, Rounding.SINGLE; acc within int32."""
    wide, s = np.asarray(acc, np.int64), np.asarray(shift, np.int64)
    product = wide * np.asarray(multiplier, np.int64) + ((wide * np.asarray(low, np.int64)) >> 31)
    result: Int64 = (product + (np.int64(1) << (s - 1))) >> s
    return result


def require_reach(reach: int, multiplier: int, shift: int) -> None:
    """Raise ValueError unless accumulators up to ``reach`` give results within the C core's int32."""
    if reach * multiplier >> shift >= (1 << 31) - (1 << 16):
        raise ValueError("the output's scale is too small for those of the inputs: results pass int32")


def finish(scaled: Int64, output: Tensor, activation: Activation) -> npt.NDArray[Any]:
    """Add the zero point, clamp to the fused activation, narrow to the output's type."""
    low, high = activation.limits(output)
    return np.clip(scaled + output.zero_point, low, high).astype(output.dtype.numpy)


def output_fields(output: Tensor, activation: Activation, rounding: Rounding) -> Mapping[str, Any]:
    """The Requantize struct of the file."""
    low, high = activation.limits(output)
    return {
        "zero_point": output.zero_point,
        "minimum": low,
        "maximum": high,
        "rounding": rounding.value,
    }


def require_activations(*tensors: Tensor) -> None:
    """Raise ValueError unless all tensors are int8, or all int16 with a zero point of 0."""
    if any(tensor.dtype is not DType.INT16 for tensor in tensors):
        require_int8(*tensors)
    for tensor in tensors:
        if tensor.dtype is DType.INT16 and tensor.zero_point != 0:
            raise ValueError(
                f"expected a zero point of 0 for {tensor.name!r} in int16, found {tensor.zero_point}"
            )


def require_int8(*tensors: Tensor) -> None:
    """Raise ValueError unless every tensor is int8 (uint8 networks are shifted to int8 by a pass)."""
    for tensor in tensors:
        if tensor.dtype is not DType.INT8:
            raise ValueError(f"expected int8 for {tensor.name!r}, found {tensor.dtype.value.lower()}")
