# SPDX-License-Identifier: Apache-2.0
"""Fully connected layer: a matrix product with constant weights.

x int8 or int16 [..., depth] (or any shape whose elements are a multiple of depth, unless ``keep_dimensions``),
weights [outputs, depth] in 8, 4 or 2 bits, bias int32 [outputs] or absent -> the same type [batch, outputs]:

    acc[o] = bias[o] + sum over k of (x[k] - zero_point_x) * (w[o, k] - zero_point_w)
    y[o]   = clamp(requantize(acc[o]) + zero_point_y)

Where the weights have scale groups (graph.ScaleGroups), the sum of each is multiplied by its factor.

Source: FullyConnected, tensorflow/lite/kernels/internal/reference/integer_ops/fully_connected.h, with the fixed-point
multiplier that TFLite Micro uses (micro/kernels/fully_connected.cc). LiteRT rounds once in double instead:
legacy uint8 networks, which only LiteRT runs, therefore take Rounding.SINGLE with multipliers proven equal
to that double product over the reach of the accumulator (ops/threshold.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..graph import Array, DType, Lowered, Operator, Rounding, Tensor
from .activation import Activation
from .exact import exact_matmul
from .requantize import finish, output_fields, requantize, requantize_long, require_activations
from .threshold import equal_requantization, long_requantization
from .weights import Weights, accumulate, fold, require_weights


@dataclass(frozen=True)
class FullyConnected(Operator):
    """Fully connected layer with a fused activation.

    legacy, multiplier_bits: see weights.fold. real_rounding: the reference rounds the double product
    acc * scale once (LiteRT, which alone runs uint8 and per-channel int4).
    """

    keep_dimensions: bool = False
    activation: Activation = Activation.NONE
    rounding: Rounding = field(default=Rounding.DOUBLE)
    legacy: bool = False
    multiplier_bits: int = 31
    real_rounding: bool = False

    def shapes(self, inputs: Sequence[Tensor]) -> list[tuple[int, ...]]:
        x, w = inputs[0], inputs[1].shape
        if len(w) != 2 or w[1] == 0 or x.size % w[1]:
            raise ValueError(f"weights {w} do not fit an input {x.shape}")
        if self.keep_dimensions:
            if x.shape[-1] != w[1]:
                raise ValueError(f"weights {w} do not fit an input {x.shape} that keeps its dimensions")
            return [(*x.shape[:-1], w[0])]
        return [(x.size // w[1], w[0])]

    def folded(self, inputs: Sequence[Tensor], output: Tensor) -> tuple[Weights, Rounding]:
        """The weights as [1, outputs, depth] with their constants, and the rounding that goes with them."""
        values = require_weights(inputs[1])
        bias = inputs[2] if len(inputs) > 2 else None
        weights = fold(
            inputs[0],
            inputs[1],
            values[None],
            bias,
            output,
            legacy=self.legacy,
            multiplier_bits=self.multiplier_bits,
        )
        if not self.real_rounding:
            return weights, self.rounding
        scales = np.broadcast_to(inputs[1].quantized.scales, (values.shape[0],))
        if self.legacy:
            products = (np.float32(inputs[0].scale) * scales).astype(np.float64)
        else:
            products = np.float64(inputs[0].scale) * scales.astype(np.float64)
        if inputs[0].dtype is DType.INT16:
            ratios = products / np.float64(output.scale)
            multiplier, low, shift = long_requantization(ratios, weights.reach, output)
            return replace(weights, multiplier=multiplier, multiplier_low=low, shift=shift), Rounding.SINGLE
        multiplier, shift, rounding = equal_requantization(
            products / np.float64(output.scale), weights.reach, output
        )
        return replace(weights, multiplier=multiplier, shift=shift), rounding

    def integer(
        self, arrays: Sequence[Array], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Array]:
        require_activations(inputs[0], outputs[0])
        weights, rounding = self.folded(inputs, outputs[0])
        rows = arrays[0].reshape(-1, weights.values.shape[2])
        acc = accumulate(rows, weights.multiplied[0], weights.bias)
        scaled = requantize(acc, weights.multiplier, weights.shift, rounding)
        if weights.multiplier_low is not None:
            scaled = requantize_long(acc, weights.multiplier, weights.multiplier_low, weights.shift)
        return [finish(scaled, outputs[0], self.activation).reshape(outputs[0].shape)]

    def real(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        x, w = arrays[0], arrays[1]
        y = exact_matmul(x.reshape(-1, w.shape[1]), w.T)
        if len(arrays) > 2:
            y += arrays[2]
        if self.keep_dimensions:
            y = y.reshape(*x.shape[:-1], w.shape[0])
        return [self.activation.real(y.astype(np.float32))]

    def batched(self, inputs: Sequence[Tensor]) -> Operator | None:
        return self if all(t.data is not None for t in inputs[1:]) else None

    def lower(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Lowered:
        require_activations(inputs[0], outputs[0])
        weights, rounding = self.folded(inputs, outputs[0])
        return Lowered(
            "FullyConnected",
            {
                "weights": weights,
                "output": output_fields(outputs[0], self.activation, rounding),
            },
        )

    def macs(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
        return inputs[0].size * inputs[1].shape[0]
