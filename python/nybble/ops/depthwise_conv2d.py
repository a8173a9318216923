# SPDX-License-Identifier: Apache-2.0
"""Depthwise 2D convolution: every channel with its own window.

x int8 or int16 [batch, height, width, channels], weights [1, kh, kw, channels] in 8, 4 or 2 bits, bias int32 [channels]
or absent -> the same type [batch, out_height, out_width, channels]:

    acc[c] = bias[c] + sum over the window of (x[c] - zero_point_x) * (w[c] - zero_point_w)
    y[c]   = clamp(requantize(acc[c]) + zero_point_y)

A depth multiplier above 1 is a grouped convolution: importers produce Conv2d for it.
Source: DepthwiseConvPerChannel, tensorflow/lite/kernels/internal/reference/integer_ops/depthwise_conv.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Operator, Rounding, Tensor
from .activation import Activation
from .requantize import finish, output_fields, requantize, require_activations
from .weights import Weights, fold, require_weights
from .window import Window


@dataclass(frozen=True)
class DepthwiseConv2d(Operator):
    """Depthwise convolution with a window and a fused activation. legacy, multiplier_bits: see weights.fold."""

    window: Window
    activation: Activation = Activation.NONE
    rounding: Rounding = field(default=Rounding.DOUBLE)
    legacy: bool = False
    multiplier_bits: int = 31

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        x, w = inputs[0].shape, inputs[1].shape
        if len(x) != 4 or w != (1, *self.window.size, x[3]):
            raise ValueError(f"weights {w} do not fit an input {x} and a window {self.window.size}")
        return [(x[0], *self.window.output(x[1], x[2]), x[3])]

    def folded(self, inputs: Sequence[Tensor], output: Tensor) -> Weights:
        """The weights as [1, channels, taps] with their constants."""
        values = require_weights(inputs[1])
        if inputs[1].quantized.groups is not None:
            raise ValueError("expected one scale per channel of depthwise weights, found scale groups")
        by_channel = np.ascontiguousarray(values.reshape(-1, values.shape[3]).T)[None]
        bias = inputs[2] if len(inputs) > 2 else None
        return fold(
            inputs[0],
            inputs[1],
            by_channel,
            bias,
            output,
            legacy=self.legacy,
            multiplier_bits=self.multiplier_bits,
        )

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        require_activations(inputs[0], outputs[0])
        weights = self.folded(inputs, outputs[0])
        patches = self.window.patches(arrays[0], inputs[0].zero_point).astype(np.int64)
        flat = patches.reshape(*patches.shape[:3], -1, patches.shape[-1])
        acc = (flat * weights.multiplied[0].T).sum(axis=3) + weights.bias
        scaled = requantize(acc, weights.multiplier, weights.shift, self.rounding)
        return [finish(scaled, outputs[0], self.activation)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        x, w = arrays[0].reshape(-1, *arrays[0].shape[-3:]), arrays[1][0]
        y = np.empty((len(x), *self.window.output(x.shape[1], x.shape[2]), x.shape[3]), np.float32)
        for image, sums in zip(x, y, strict=True):
            # One tap after the other: float32 rounds each step, in this order everywhere.
            sums[:] = arrays[2] if len(arrays) > 2 else 0
            for i, j, tap in self.window.taps(image[None], 0.0):
                sums += tap[0] * w[i, j]
        return [self.activation.real(y)]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        require_activations(inputs[0], outputs[0])
        return Lowered(
            "DepthwiseConv2d",
            {
                "window": self.window.fields(),
                "pad_value": inputs[0].zero_point,
                "weights": self.folded(inputs, outputs[0]),
                "output": output_fields(outputs[0], self.activation, self.rounding),
            },
        )

    def macs(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
        return outputs[0].size * self.window.size[0] * self.window.size[1]
