# SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions as convolutions.

All places of a block of stride x stride outputs are channels of their own of one convolution, and a move spreads the
blocks: no zero between inputs is multiplied.

Source: Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import ops
from ..graph import Array, Operator
from ..ops import Window

_Pair = tuple[int, int]

#: So many times the window is what it may be spread to.
_MOST_ZEROS = 1024


@dataclass(frozen=True)
class TransposedConv:
    """weights: [channels, outputs per group, *window]. extent: of the input, (height, width). first, size: (first row,
    first column) of the whole result that are kept, (height, width) kept.
    """

    weights: Array
    stride: _Pair
    dilation: _Pair
    groups: int
    extent: _Pair
    first: _Pair
    size: _Pair

    @property
    def _reach(self) -> _Pair:
        height, width = self.weights.shape[2:]
        return self.dilation[0] * (height - 1) + 1, self.dilation[1] * (width - 1) + 1

    @property
    def _taps(self) -> _Pair:
        reach, stride = self._reach, self.stride
        return -(-reach[0] // stride[0]), -(-reach[1] // stride[1])

    @property
    def block(self) -> int:
        """Outputs in a block, for each of which the convolution has channels."""
        return self.stride[0] * self.stride[1]

    def convolution_weights(self) -> Array:
        """[groups * block * outputs per group, *taps, channels per group], of the type of ``weights``."""
        channels, outputs = self.weights.shape[:2]
        taps, stride, reach = self._taps, self.stride, self._reach
        if min(self.weights.shape) < 1:
            raise ValueError(f"weights {self.weights.shape}")
        height, width = self.weights.shape[2:]
        if taps[0] * stride[0] * taps[1] * stride[1] > _MOST_ZEROS * height * width:
            raise ValueError(f"strides {stride} and dilations {self.dilation} of a window {height} x {width}")
        spread = np.zeros((channels, outputs, taps[0] * stride[0], taps[1] * stride[1]), self.weights.dtype)
        spread[:, :, : reach[0] : self.dilation[0], : reach[1] : self.dilation[1]] = self.weights
        # Output block u reads the inputs u - taps + 1 .. u: the kernel runs backwards, place by place.
        depth = channels // self.groups
        blocks = spread.reshape(self.groups, depth, outputs, taps[0], stride[0], taps[1], stride[1])
        held = blocks[:, :, :, ::-1, :, ::-1].transpose(0, 4, 6, 2, 3, 5, 1)
        return held.reshape(-1, *taps, depth)

    def for_each_place(self, values: Array) -> Array:
        """What there is one of per output, such as a bias, per channel of the convolution."""
        by_group = values.reshape(self.groups, 1, -1)
        return np.tile(by_group, (1, self.block, 1)).reshape(-1)

    def window(self) -> Window:
        """The convolution's window."""
        padding = []
        for (top, skipped), extent, count, s, t in zip(
            self._starts(), self.extent, self.size, self.stride, self._taps, strict=True
        ):
            needed = -(-(skipped + count) // s)
            padding.append((top, max(needed - (extent + top - t + 1), 0)))
        return Window(self._taps, (1, 1), (1, 1), (padding[0], padding[1]))

    def _starts(self) -> list[_Pair]:
        """Per axis (rows of padding before the input, rows of the spread result before those that are kept)."""
        starts = []
        for begin, s, t in zip(self.first, self.stride, self._taps, strict=True):
            top = max(t - 1 - begin // s, 0)
            starts.append((top, begin - (t - 1 - top) * s))
        return starts

    def spreading(self, blocks: tuple[int, ...]) -> list[tuple[Operator, tuple[int, ...]]]:
        """The operators that make the result of the convolution's, [N, rows, columns, channels], with their shapes."""
        n, high, wide, channels = blocks
        outputs, stride = channels // (self.block * self.groups), self.stride
        steps: list[tuple[Operator, tuple[int, ...]]] = []
        if self.block > 1:
            split = (n * high, wide, self.groups, *stride, outputs)
            order = (0, 3, 1, 4, 2, 5)
            steps.append((ops.Reshape(split), split))
            steps.append((ops.Transpose(order), tuple(split[axis] for axis in order)))
            high, wide = high * stride[0], wide * stride[1]
            joined = (n, high, wide, self.groups * outputs)
            steps.append((ops.Reshape(joined), joined))
        rows = [(skipped, skipped + n, 1) for (_, skipped), n in zip(self._starts(), self.size, strict=True)]
        if rows != [(0, high, 1), (0, wide, 1)]:
            kept = (n, *self.size, self.groups * outputs)
            steps.append((ops.Slice(((None, None, 1), *rows)), kept))
        return steps
