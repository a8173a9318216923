# SPDX-License-Identifier: Apache-2.0
"""Resizing of images: nearest neighbour and bilinear; input and output share scale and zero point.

x [batch, height, width, channels] -> y [batch, *size, channels]. For row i of ``out`` output rows
from ``n`` input rows

    scale  = (n - 1) / (out - 1) with align_corners and out > 1, n / out otherwise
    source = (i + 0.5) * scale - 0.5 with half_pixel_centers, i * scale otherwise

and columns likewise. Nearest copies row floor(source), or round(source) with align_corners; it does
not subtract the 0.5. Bilinear, with f = source - floor(source), weighs row floor(source) by 1 - f
and row ceil(source) by f, both kept within 0 .. n - 1:

    y = x00 * (1 - fy) * (1 - fx) + x10 * fy * (1 - fx) + x01 * (1 - fy) * fx + x11 * fy * fx

How it rounds is part of the contract (ResizeMethod). All that depends on i alone is a table in the
file: no device computes a coordinate.

Source: tensorflow/lite/kernels/internal/reference/resize_nearest_neighbor.h (coordinates in
float32); resize_bilinear.h, ResizeBilinearInteger (FIXED) and ResizeBilinear<uint8_t> (FLOAT32).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Operator, Tensor
from .requantize import require_int8

#: FIXED: fractional bits of coordinates and weights.
FRACTION_BITS = 10
_ONE = 1 << FRACTION_BITS

#: Weights (-0.5 to 1.5) that are multiples of 1/128 make all products and sums of FLOAT32 exact:
#: they are multiples of 2^-14 below 2^10, which float32 holds.
_EXACT = 128


class ResizeMethod(enum.Enum):
    """How bilinear resizing computes; the values are names in nybble.fbs.

    FIXED: coordinates and weights have 10 fractional bits; the sum of products (at most 2^29) is
    divided by 2^20, ties away from zero. FLOAT32: coordinates, weights, products and sums are
    rounded to float32 in the order written, on uint8 (the int8 input plus 128); to the sum 0.5 is
    added, again in float32, and what is behind the point is dropped.
    """

    FIXED = "FIXED_AWAY"
    FLOAT32 = "FLOAT32"


class Interpolation(NamedTuple):
    """For each output row (or column): the two rows that it reads and their weights."""

    lower: npt.NDArray[np.int32]
    upper: npt.NDArray[np.int32]
    lower_weight: Array
    upper_weight: Array


def _images(x: Array) -> Array:
    """[images, height, width, channels] of x, which may have one more leading axis."""
    return x.reshape(-1, *x.shape[-3:])


@dataclass(frozen=True)
class _Resize(Operator):
    size: tuple[int, int]
    align_corners: bool = False
    half_pixel_centers: bool = False

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        x = inputs[0].shape
        if len(x) != 4 or min(x) < 1:
            raise ValueError(f"expected an image of 4 dimensions of at least 1, found {x}")
        if min(self.size) < 1:
            raise ValueError(f"expected a size of at least 1, found {self.size}")
        return [(x[0], *self.size, x[3])]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self

    def _scale(self, n: int, out: int) -> np.float32:
        if self.align_corners and out > 1:
            return np.float32(n - 1) / np.float32(out - 1)
        return np.float32(n) / np.float32(out)

    def _require_same(self, x: Tensor, y: Tensor) -> None:
        if x.dtype is not y.dtype or x.quantization != y.quantization:
            raise ValueError(
                "expected equal types and scales of input and output, "
                f"found {x.dtype} {x.quantization}, {y.dtype} {y.quantization}"
            )


@dataclass(frozen=True)
class ResizeNearest(_Resize):
    """Nearest neighbour, for elements of any type."""

    def _nearest(self, n: int, out: int) -> npt.NDArray[np.int32]:
        offset = np.float32(0.5 if self.half_pixel_centers else 0.0)
        source = (np.arange(out, dtype=np.float32) + offset) * self._scale(n, out)
        # Ties away from zero, as C's round(); float64 holds a float32 plus a half exactly.
        index = np.floor(source.astype(np.float64) + (0.5 if self.align_corners else 0.0))
        return np.minimum(index, n - 1).astype(np.int32)

    def _tables(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        return self._nearest(shape[1], self.size[0]), self._nearest(shape[2], self.size[1])

    def _resized(self, x: Array) -> Array:
        rows, columns = self._tables(x.shape)
        return x[:, rows[:, None], columns]

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        self._require_same(inputs[0], outputs[0])
        return [self._resized(arrays[0])]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self._resized(_images(arrays[0]))]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        self._require_same(inputs[0], outputs[0])
        rows, columns = self._tables(inputs[0].shape)
        return Lowered("ResizeNearest", {"rows": rows, "columns": columns})


@dataclass(frozen=True)
class ResizeBilinear(_Resize):
    """Bilinear interpolation."""

    method: ResizeMethod = ResizeMethod.FIXED

    def _fixed(self, n: int, out: int) -> Interpolation:
        """10-bit coordinates; divisions towards zero, as C's."""
        span, steps = (n - 1, out - 1) if self.align_corners and out > 1 else (n, out)
        scale = (_ONE * span + steps // 2) // steps
        source = np.arange(out, dtype=np.int64) * scale
        if self.half_pixel_centers:
            source += scale // 2 - _ONE // 2
        lower = np.maximum(source, 0) // _ONE
        upper = np.minimum(np.maximum(source + _ONE - 1, 0) // _ONE, n - 1)
        fraction = source - _ONE * lower
        # A scale rounded up can lead past the last row, where the reference reads beyond its input.
        beyond = lower > n - 1
        lower, fraction = np.where(beyond, n - 1, lower), np.where(beyond, 0, fraction)
        return Interpolation(
            lower.astype(np.int32),
            upper.astype(np.int32),
            (_ONE - fraction).astype(np.int32),
            fraction.astype(np.int32),
        )

    def _float32(self, n: int, out: int) -> Interpolation:
        """Coordinates in float32: ComputeInterpolationValues."""
        scale, half, one = self._scale(n, out), np.float32(0.5), np.float32(1.0)
        source = np.arange(out, dtype=np.float32)
        source = (source + half) * scale - half if self.half_pixel_centers else source * scale
        lower = np.maximum(np.floor(source).astype(np.int32), 0)
        upper = np.minimum(np.ceil(source).astype(np.int32), n - 1)
        fraction = source - lower.astype(np.float32)
        return Interpolation(lower, upper, one - fraction, fraction)

    def _interpolated(self, x: Array, rows: Interpolation, columns: Interpolation) -> Array:
        """The sum of the four products, in the type of x and in the template's order."""
        total = np.zeros((x.shape[0], *self.size, x.shape[3]), x.dtype)
        for j, wx in ((columns.lower, columns.lower_weight), (columns.upper, columns.upper_weight)):
            for i, wy in ((rows.lower, rows.lower_weight), (rows.upper, rows.upper_weight)):
                total += x[:, i[:, None], j] * wy[:, None, None] * wx[:, None]
        return total

    def _tables(self, shape: tuple[int, ...], method: ResizeMethod) -> tuple[Interpolation, Interpolation]:
        table = self._fixed if method is ResizeMethod.FIXED else self._float32
        return table(shape[1], self.size[0]), table(shape[2], self.size[1])

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        require_int8(inputs[0])
        self._require_same(inputs[0], outputs[0])
        tables = self._tables(inputs[0].shape, self.method)
        if self.method is ResizeMethod.FLOAT32:
            total = self._interpolated((arrays[0].view(np.uint8) ^ 128).astype(np.float32), *tables)
            return [((total + np.float32(0.5)).astype(np.uint8) ^ 128).view(np.int8)]
        total = self._interpolated(arrays[0].astype(np.int64), *tables)
        half = 1 << (2 * FRACTION_BITS - 1)
        return [(np.sign(total) * ((np.abs(total) + half) >> (2 * FRACTION_BITS))).astype(np.int8)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        x = _images(arrays[0])
        return [self._interpolated(x, *self._tables(x.shape, ResizeMethod.FLOAT32))]

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        require_int8(inputs[0])
        self._require_same(inputs[0], outputs[0])
        tables = self._tables(inputs[0].shape, self.method)
        weights = [(t.lower_weight, t.upper_weight) for t in tables]
        method = self.method.value
        if self.method is ResizeMethod.FLOAT32:
            if all(np.all(w * _EXACT == np.rint(w * _EXACT)) for pair in weights for w in pair):
                # Nothing is rounded but the sum, to nearest with ties up: integers do the same.
                method = "FIXED_UP"
                weights = [(a * _ONE, b * _ONE) for a, b in weights]
            else:
                weights = [(a.view(np.int32), b.view(np.int32)) for a, b in weights]
        rows, columns = (
            np.stack([t.lower, t.upper, *(w.astype(np.int32) for w in pair)])
            for t, pair in zip(tables, weights, strict=True)
        )
        return Lowered("ResizeBilinear", {"rows": rows, "columns": columns, "method": method})
