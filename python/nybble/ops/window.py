# SPDX-License-Identifier: Apache-2.0
"""Sliding windows over height and width: sizes, padding, and the patches as rows (im2col)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..graph import Array

#: ((top, bottom), (left, right))
Padding = tuple[tuple[int, int], tuple[int, int]]
NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Window:
    """Size, stride, dilation and explicit padding; pairs are (height, width)."""

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding = NO_PADDING

    def __post_init__(self) -> None:
        if min(*self.size, *self.stride, *self.dilation) < 1:
            raise ValueError(f"expected a window, stride and dilation of at least 1, found {self}")
        if min(*self.padding[0], *self.padding[1]) < 0:
            raise ValueError(f"expected padding of at least 0, found {self.padding}")

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Positions of the window in (height, width)."""
        result = []
        for axis, extent in enumerate((height, width)):
            reach = self.dilation[axis] * (self.size[axis] - 1) + 1
            result.append((extent + sum(self.padding[axis]) - reach) // self.stride[axis] + 1)
        if min(result) < 1:
            raise ValueError(f"a window of {self.size} does not fit into {height} x {width}")
        return result[0], result[1]

    def fields(self) -> Mapping[str, int]:
        """The Window struct of the file."""
        return {
            "height": self.size[0],
            "width": self.size[1],
            "stride_height": self.stride[0],
            "stride_width": self.stride[1],
            "dilation_height": self.dilation[0],
            "dilation_width": self.dilation[1],
            "pad_top": self.padding[0][0],
            "pad_left": self.padding[1][0],
        }

    def patches(self, x: Array, pad_value: float) -> Array:
        """[batch, out_height, out_width, height, width, channels] of x [batch, height, width, channels], a view
        that may not be written.
        """
        (dh, dw), (sh, sw) = self.dilation, self.stride
        reach = (dh * (self.size[0] - 1) + 1, dw * (self.size[1] - 1) + 1)
        self.output(x.shape[1], x.shape[2])
        padded = self._padded(x, pad_value)
        view = np.lib.stride_tricks.sliding_window_view(padded, reach, (1, 2))
        return view[:, ::sh, ::sw, :, ::dh, ::dw].transpose(0, 1, 2, 4, 5, 3)

    def taps(self, x: Array, pad_value: float) -> Iterator[tuple[int, int, Array]]:
        """(row, column, view [batch, out_height, out_width, channels]) of each position in the window."""
        out_h, out_w = self.output(x.shape[1], x.shape[2])
        padded = self._padded(x, pad_value)
        for i in range(self.size[0]):
            top = i * self.dilation[0]
            rows = slice(top, top + (out_h - 1) * self.stride[0] + 1, self.stride[0])
            for j in range(self.size[1]):
                left = j * self.dilation[1]
                columns = slice(left, left + (out_w - 1) * self.stride[1] + 1, self.stride[1])
                yield i, j, padded[:, rows, columns]

    def _padded(self, x: Array, pad_value: float) -> Array:
        if self.padding == NO_PADDING:
            return x
        return np.pad(x, ((0, 0), *self.padding, (0, 0)), constant_values=pad_value)


def same_padding(
    extent: tuple[int, int], size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Padding:
    """The padding of SAME: ceil(extent / stride) outputs, the odd pixel at the end (kernels/padding.h)."""
    pads = []
    for e, k, s, d in zip(extent, size, stride, dilation, strict=True):
        total = max((-(-e // s) - 1) * s + d * (k - 1) + 1 - e, 0)
        pads.append((total // 2, total - total // 2))
    return pads[0], pads[1]
