# SPDX-License-Identifier: Apache-2.0
"""Pack weights once, in the one layout that every instruction set uses in place (docs/adr/0001)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..graph import ScaleGroups
from ..ops.weights import Weights


@dataclass(frozen=True)
class Layout:
    """Panels of ``nr`` output channels; inside, groups of ``kr`` consecutive k per channel.

    Below 8 bits a byte holds 8 / bits planes, the first plane in the lowest bits. Order 0: planes along k, those
    of plane p being ``kr`` p further on. Order 1: planes along the channels of a panel, those of plane p being
    nr * bits / 8 p further on. k is padded with zeros to a multiple of ``step``, n to a multiple of nr.
    """

    bits: int
    nr: int
    kr: int
    order: int = 0

    @property
    def planes(self) -> tuple[int, int]:
        """Weights per byte: along the channels, along k."""
        return (8 // self.bits, 1) if self.order else (1, 8 // self.bits)

    @property
    def step(self) -> int:
        """k that stand side by side."""
        return self.kr * self.planes[1]

    def fields(self) -> Mapping[str, int]:
        """The Layout struct of the file."""
        return {"bits": self.bits, "nr": self.nr, "kr": self.kr, "order": self.order}


def gemm_layout(bits: int) -> Layout:
    """The layout of matrix weights."""
    return Layout(bits, 8, 4)


def depthwise_layout(bits: int) -> Layout:
    """The layout of depthwise weights: k counts the taps of the window, of which none is padding."""
    return Layout(bits, 8, 1, order=int(bits < 8))


def pack(values: npt.NDArray[np.int8], layout: Layout) -> npt.NDArray[np.uint8]:
    """Bytes of weights [groups, n, k]: byte ((panel * steps + step) * columns + n % columns) * kr + k % kr.

    columns: nr, or nr * bits / 8 with planes along the channels.
    """
    groups, n, k = values.shape
    step, (along_n, along_k) = layout.step, layout.planes
    panels, steps = -(-n // layout.nr), -(-k // step)
    padded = np.zeros((groups, panels * layout.nr, steps * step), np.int8)
    padded[:, :n, :k] = values
    columns = layout.nr // along_n
    shaped = padded.reshape(groups, panels, along_n, columns, steps, along_k, layout.kr)
    ordered = shaped.transpose(0, 1, 4, 2, 5, 3, 6).astype(np.uint8)
    planes = ordered.reshape(groups * panels * steps, along_n * along_k, columns * layout.kr)
    mask = np.uint8((1 << layout.bits) - 1)
    result = np.zeros((planes.shape[0], planes.shape[2]), np.uint8)
    for plane in range(planes.shape[1]):
        result |= (planes[:, plane] & mask) << np.uint8(plane * layout.bits)
    return result.reshape(-1)


def certificate(weights: Weights) -> Mapping[str, int]:
    """The Certificate struct: what kernels with narrower sums may rely on."""
    groups, n, k = weights.values.shape
    magnitude = np.zeros((groups * n, -(-k // 4) * 4), np.int64)
    magnitude[:, :k] = np.abs(weights.values.astype(np.int64)).reshape(groups * n, k)
    fours = magnitude.reshape(groups * n, -1, 4)
    pairs = fours.reshape(groups * n, -1, 2)
    return {
        "accumulator": int(weights.reach.max(initial=0)),
        "pair": int(pairs.sum(axis=2).max(initial=0)),
        "quad": int(fours.sum(axis=2).max(initial=0)),
    }


def channel_constants(weights: Weights, layout: Layout) -> npt.NDArray[np.int32]:
    """bias, multiplier, shift and weight sum of every channel, int32 [4, n']; each group padded to whole panels."""
    groups, n, _ = weights.values.shape
    padded = -(-n // layout.nr) * layout.nr
    result = np.zeros((4, groups, padded), np.int32)
    result[2] = 31  # a valid shift for the padding
    rows = (
        weights.bias,
        weights.multiplier,
        weights.shift,
        (weights.multiplied + weights.zero_point).sum(axis=2).astype(np.int32),
    )
    for target, row in zip(result, rows, strict=True):
        target[:, :n] = row.reshape(groups, n)
    return result.reshape(4, groups * padded)


def pack_factors(scale_groups: ScaleGroups, groups: int, layout: Layout) -> npt.NDArray[np.int8]:
    """Factors [groups * n, scale groups] as int8 [panel][scale group][nr], each group padded to whole panels."""
    if scale_groups.size % layout.step:
        raise ValueError(
            f"expected {layout.bits}-bit weights in groups of a multiple of {layout.step}, found {scale_groups}"
        )
    by_group = scale_groups.factors.reshape(groups, -1, scale_groups.factors.shape[1])
    panels = -(-by_group.shape[1] // layout.nr)
    padded = np.zeros((groups, panels * layout.nr, by_group.shape[2]), np.int8)
    padded[:, : by_group.shape[1]] = by_group
    return padded.reshape(groups * panels, layout.nr, -1).transpose(0, 2, 1).reshape(-1)


def weight_fields(weights: Weights, layout: Layout) -> Mapping[str, Any]:
    """The Weights table of the file."""
    groups, n, k = weights.values.shape
    scale_groups: Mapping[str, Any] = {}
    if weights.scale_groups is not None:
        scale_groups = {
            "scale_group": weights.scale_groups.size,
            "scale_factors": pack_factors(weights.scale_groups, groups, layout),
        }
    longer: Mapping[str, Any] = {}
    if weights.multiplier_low is not None:
        padded = np.zeros((groups, -(-n // layout.nr) * layout.nr), np.int32)
        padded[:, :n] = weights.multiplier_low.reshape(groups, n)
        longer = {"multiplier_low": padded.reshape(-1)}
    return {
        **scale_groups,
        **longer,
        "data": pack(weights.values, layout),
        "layout": layout.fields(),
        "outputs": n,
        "depth": k,
        "zero_point": weights.zero_point,
        "channels": channel_constants(weights, layout),
        "certificate": certificate(weights),
        "minimum": int(weights.values.min(initial=0)),
    }
