# SPDX-License-Identifier: Apache-2.0
"""Fused activations: clamps, in the real and in the quantized domain."""

from __future__ import annotations

import enum
import math

import numpy as np
import numpy.typing as npt

from ..graph import Tensor


class Activation(enum.Enum):
    """A clamp that an operator applies to its result; the value holds its real bounds."""

    NONE = (-math.inf, math.inf)
    RELU = (0.0, math.inf)
    RELU6 = (0.0, 6.0)
    RELU_N1_TO_1 = (-1.0, 1.0)

    def limits(self, output: Tensor) -> tuple[int, int]:
        """The clamp in the output's integers; source: CalculateActivationRangeQuantized, kernels/kernel_util.cc.

        The bound is divided by the scale in float32 and rounded with ties away from zero.
        """
        low, high = output.lowest, output.highest

        def quantized(bound: float) -> int:
            ratio = float(np.float32(bound) / np.float32(output.scale))
            return output.zero_point + int(math.copysign(math.floor(abs(ratio) + 0.5), ratio))

        if math.isfinite(self.value[0]):
            low = max(low, quantized(self.value[0]))
        if math.isfinite(self.value[1]):
            high = min(high, quantized(self.value[1]))
        return low, high

    def real(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The clamp on real numbers."""
        if self is Activation.NONE:
            return x
        return np.clip(x, np.float32(self.value[0]), np.float32(self.value[1]))
