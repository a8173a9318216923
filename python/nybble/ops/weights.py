# SPDX-License-Identifier: Apache-2.0
"""Weights of convolutions and fully connected layers with all constants folded, as the kernels take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..graph import DType, ScaleGroups, Tensor
from .requantize import narrow_multiplier, quantize_multipliers, require_reach

#: The largest accumulator that the kernels for int8 hold, and the largest bias.
INT32_MAX = (1 << 31) - 1

#: Bits of the multipliers beside accumulators of 64 bits in TensorFlow Lite.
WIDE_MULTIPLIER_BITS = 15
#: The product of an accumulator and its multiplier has so many bits at most.
_PRODUCT_BITS = 62


@dataclass(frozen=True, eq=False)
class Weights:
    """Integer weights [groups, n, k] and, for each of the groups * n channels, what follows the sum.

    A kernel computes  sum(x * w) - zero_point * sum(x) + bias,  x and w as stored, the input's zero point
    being folded into the bias, and requantizes it with multiplier and shift. With scale groups sum(x * w) is
    the sum over the groups of factor * (the group's sum of x * w); zero_point is 0 then.
    """

    values: npt.NDArray[np.int8]
    bits: int
    zero_point: int
    bias: npt.NDArray[np.int32]
    multiplier: npt.NDArray[np.int32]
    shift: npt.NDArray[np.int32]
    reach: npt.NDArray[np.int64]
    """Bound of abs(accumulator) of each channel for every input of the input's type (a certificate)."""
    scale_groups: ScaleGroups | None = None
    multiplier_low: npt.NDArray[np.int32] | None = None
    """31 more bits behind the multiplier's, where there are such."""

    @property
    def multiplied(self) -> npt.NDArray[np.int64]:
        """What the inputs less their zero point are multiplied with, [groups, n, k]."""
        return _multiplied(self.values, self.zero_point, self.scale_groups)


def _multiplied(
    values: npt.NDArray[np.int8], zero_point: int, scale_groups: ScaleGroups | None
) -> npt.NDArray[np.int64]:
    """factor * (w - zero_point); a ValueError where the factors do not fit the weights."""
    wide = values.astype(np.int64) - zero_point
    if scale_groups is None:
        return wide
    groups, n, k = values.shape
    if len(scale_groups.factors) != groups * n:
        raise ValueError(f"expected factors of {groups * n} channels, found {len(scale_groups.factors)}")
    return wide * scale_groups.along(k).reshape(wide.shape)


def fold(
    x: Tensor,
    weights: Tensor,
    values: npt.NDArray[np.int8],
    bias: Tensor | None,
    output: Tensor,
    *,
    legacy: bool = False,
    multiplier_bits: int = 31,
) -> Weights:
    """Fold zero points into the bias and derive the multipliers.

    values: the weights rearranged to [groups, n, k]. sum((x - zx) * (w - zw)) is
    sum(x * w) - zw * sum(x) - zx * sum(w - zw); the last term joins the bias. With scale groups w stands for
    factor * w: what is proven is that the sum of all groups, each times its factor, fits int32.
    Source of the scales: PopulateConvolutionQuantizationParams (kernels/kernel_util.cc), in double; with
    ``legacy`` (uint8 networks) GetQuantizedConvolutionMultipler there, which multiplies the scales of input
    and weights in float32. Multipliers are rounded to ``multiplier_bits``, and to what the product with the largest
    accumulator leaves of 62 bits.

    Raises ValueError where some input could overflow the accumulator: of int32 beside int8 activations, of 62 bits
    less the multiplier's beside int16.
    """
    wide_sums = x.dtype is DType.INT16
    groups, n, k = values.shape
    if bias is not None and bias.data is None:
        raise ValueError(f"expected a constant bias, found the run-time tensor {bias.name!r}")
    zx, zw = x.zero_point, weights.quantized.single_zero_point
    scale_groups = weights.quantized.groups
    wide = _multiplied(values, zw, scale_groups).reshape(groups * n, k)
    added = np.zeros(groups * n, np.int64)
    if bias is not None and bias.data is not None:
        if bias.data.size != groups * n:
            raise ValueError(f"expected {groups * n} biases, found {bias.data.size}")
        added = bias.data.astype(np.int64).reshape(-1)
    folded = added - zx * wide.sum(axis=1)
    # The sum itself; the folded bias, which has to be stored, is checked too.
    reach = max(abs(x.dtype.lowest - zx), abs(x.dtype.highest - zx))
    bounds = np.abs(wide).sum(axis=1) * reach + np.abs(added)
    largest = max(int(bounds.max(initial=0)), int(np.abs(folded).max(initial=0)))
    if wide_sums and (zw != 0 or scale_groups is not None):
        raise ValueError("expected weights beside int16 with a zero point of 0 and without scale groups")
    if wide_sums and int(np.abs(added).max(initial=0)) > INT32_MAX:
        raise ValueError(f"expected biases within int32, found {int(np.abs(added).max())}")
    if largest > INT32_MAX and not wide_sums:
        raise ValueError(
            f"the sum over {k} products may reach {largest}, more than an int32 accumulator holds"
        )
    scales = weights.quantized.scales.astype(np.float64)
    if scales.size not in (1, groups * n):
        raise ValueError(f"expected 1 or {groups * n} weight scales, found {scales.size}")
    products = np.float64(x.scale) * scales
    if legacy:
        products = (np.float32(x.scale) * weights.quantized.scales).astype(np.float64)
    products = np.broadcast_to(products, (groups * n,))
    multiplier, shift = quantize_multipliers(products / np.float64(output.scale))
    if wide_sums:
        for i, bound in enumerate(bounds.tolist()):
            bits = min(multiplier_bits, _PRODUCT_BITS - bound.bit_length())
            multiplier[i], shift[i] = narrow_multiplier(int(multiplier[i]), int(shift[i]), bits)
    for bound, m, s in zip(bounds, multiplier, shift, strict=True):
        require_reach(int(bound), int(m), int(s))
    return Weights(
        values, weights.dtype.bits, zw, folded.astype(np.int32), multiplier, shift, bounds, scale_groups
    )


def accumulate(
    rows: npt.NDArray[np.int8 | np.int16], weights: npt.NDArray[np.int64], bias: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """Accumulators int64 [m, n] of rows [m, k] and weights [n, k] as in ``Weights.multiplied``.

    float64 products are exact here: every partial sum is an integer below 2^53.
    """
    a = rows.astype(np.float64)
    return (a @ weights.astype(np.float64).T).astype(np.int64) + bias.astype(np.int64)


def require_weights(weights: Tensor) -> npt.NDArray[np.int8]:
    """The constant int8 values of a weight tensor (int4 and int2 are held in int8)."""
    if weights.data is None:
        raise ValueError(f"expected constant weights, found the run-time tensor {weights.name!r}")
    if weights.dtype not in (DType.INT8, DType.INT4, DType.INT2):
        raise ValueError(f"expected int8, int4 or int2 weights, found {weights.dtype.value.lower()}")
    return weights.data
