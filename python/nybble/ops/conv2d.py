# SPDX-License-Identifier: Apache-2.0
"""2D convolution, grouped or not.

x int8 or int16 [batch, height, width, channels], weights [outputs, kh, kw, channels / groups] in 8, 4 or 2 bits,
bias int32 [outputs] or absent -> the same type [batch, out_height, out_width, outputs]:

    acc[o] = bias[o] + sum over the window of (x - zero_point_x) * (w[o] - zero_point_w)
    y[o]   = clamp(requantize(acc[o]) + zero_point_y)

Where the weights have scale groups (graph.ScaleGroups), the sum of each is multiplied by its factor. Outside the
image x is its zero point. |acc| fits int32, or of int16 a number of bits beside the multiplier's (checked when folded).
Source: ConvPerChannel, tensorflow/lite/kernels/internal/reference/integer_ops/conv.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..graph import Array, Lowered, Operator, Rounding, Tensor
from .activation import Activation
from .exact import Float64, grid, integer_product, product_bits
from .requantize import finish, output_fields, requantize, require_activations
from .weights import Weights, accumulate, fold, require_weights
from .window import Window

#: Elements of patches that the real convolution makes at a time (8 bytes each).
_AT_ONCE = 1 << 19


@dataclass(frozen=True)
class Conv2d(Operator):
    """Convolution with a window, groups and a fused activation. legacy, multiplier_bits: see weights.fold."""

    window: Window
    groups: int = 1
    activation: Activation = Activation.NONE
    rounding: Rounding = field(default=Rounding.DOUBLE)
    legacy: bool = False
    multiplier_bits: int = 31

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        x, w = inputs[0].shape, inputs[1].shape
        if len(x) != 4 or len(w) != 4:
            raise ValueError(f"expected an input and weights of 4 dimensions, found {x} and {w}")
        if w[1:3] != self.window.size or w[3] * self.groups != x[3] or w[0] % self.groups:
            raise ValueError(
                f"weights {w} do not fit an input {x}, a window {self.window.size} and {self.groups} groups"
            )
        return [(x[0], *self.window.output(x[1], x[2]), w[0])]

    def folded(self, inputs: Sequence[Tensor], output: Tensor) -> Weights:
        """The weights as [groups, outputs / groups, kh * kw * channels / groups] with their constants."""
        values = require_weights(inputs[1])
        grouped = values.reshape(self.groups, values.shape[0] // self.groups, -1)
        bias = inputs[2] if len(inputs) > 2 else None
        return fold(
            inputs[0],
            inputs[1],
            grouped,
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
        patches = self.window.patches(arrays[0], inputs[0].zero_point)
        per_group = patches.shape[-1] // self.groups
        parts = []
        for g, (w, bias) in enumerate(
            zip(weights.multiplied, np.split(weights.bias, self.groups), strict=True)
        ):
            rows = patches[..., g * per_group : (g + 1) * per_group].reshape(-1, w.shape[1])
            parts.append(accumulate(rows, w, bias))
        acc = np.concatenate(parts, axis=1).reshape(outputs[0].shape)
        scaled = requantize(acc, weights.multiplier, weights.shift, self.rounding)
        return [finish(scaled, outputs[0], self.activation)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        w, bias = arrays[1], arrays[2] if len(arrays) > 2 else None
        x = arrays[0].reshape(-1, *arrays[0].shape[-3:])
        out_h, out_w = self.window.output(x.shape[1], x.shape[2])
        k, n = w[0].size, w.shape[0] // self.groups
        bits = product_bits(k)
        weights, exponents = grid(w.reshape(w.shape[0], k), bits[1], (1,))
        columns = weights.reshape(self.groups, n, k).transpose(0, 2, 1)
        y = np.empty((len(x), out_h, out_w, w.shape[0]), np.float32)
        images = max(_AT_ONCE // (out_h * out_w * k), 1)
        rows = out_h if images > 1 else max(_AT_ONCE // (out_w * k), 1)
        for i in range(0, len(x), images):
            integers, exponent = grid(x[i : i + images], bits[0], (1, 2, 3))
            patches = self.window.patches(integers, 0.0)
            for row in range(0, out_h, rows):
                part = self._sums(patches[:, row : row + rows], columns)
                part *= np.ldexp(1.0, exponent + exponents[:, 0])
                if bias is not None:
                    part += bias
                y[i : i + images, row : row + rows] = part
        return [self.activation.real(y)]

    def _sums(self, patches: Array, columns: Float64) -> Float64:
        """[batch, rows, out_width, outputs] of integers; columns: the weights [groups, k, outputs / groups]."""
        channels = patches.shape[-1] // self.groups
        parts = []
        for g, weights in enumerate(columns):
            flat = patches[..., g * channels : (g + 1) * channels].reshape(-1, weights.shape[0])
            parts.append(integer_product(flat, weights))
        y = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return y.reshape(*patches.shape[:3], -1)

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        require_activations(inputs[0], outputs[0])
        return Lowered(
            "Conv2d",
            {
                "window": self.window.fields(),
                "groups": self.groups,
                "pad_value": inputs[0].zero_point,
                "weights": self.folded(inputs, outputs[0]),
                "output": output_fields(outputs[0], self.activation, self.rounding),
            },
        )

    def macs(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
        return outputs[0].size * int(np.prod(inputs[1].shape[1:]))
