# SPDX-License-Identifier: Apache-2.0
"""Proof that an integer requantization is the same step function as a reference's real one.

Both map accumulators monotonically to at most 256 outputs, so they are equal on the whole reach of the
accumulator exactly where they agree at every step: at most 255 thresholds are compared.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..graph import Rounding, Tensor
from .requantize import quantize_multiplier, requantize, requantize_long


def _round_away(x: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    # C's round(); x + 0.5 would be rounded itself just below one half.
    whole = np.trunc(x)
    return (whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0)).astype(np.int64)


def equal_requantization(
    scales: npt.NDArray[np.float64], reach: npt.NDArray[np.int64], output: Tensor
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Rounding]:
    """Multipliers, shifts and a rounding that equal round(double(acc) * scale), clamped to the output's type, for
    every abs(acc) <= reach; scales and reach are [channels].

    Single rounding takes ties up, C's round() away from zero: where the reach holds a negative tie, the double
    rounding (away from zero) is the one that agrees. Raises ValueError where neither agrees in all channels.
    """
    for rounding in (Rounding.SINGLE, Rounding.DOUBLE):
        found = [_equal(float(s), int(r), output, rounding) for s, r in zip(scales, reach, strict=True)]
        pairs = [pair for pair in found if pair is not None]
        if len(pairs) == len(found):
            multipliers = np.array([m for m, _ in pairs], np.int64).astype(np.int32)
            return multipliers, np.array([s for _, s in pairs], np.int32), rounding
    raise ValueError("no 31-bit multipliers equal the reference's double products")


def long_requantization(
    scales: npt.NDArray[np.float64], reach: npt.NDArray[np.int64], output: Tensor
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """(multipliers, their lower 31 bits, shifts) that equal round(double(acc) * scale), clamped to int16, for every
    abs(acc) <= reach < 2^31, rounded once: 62 bits hold all of a double. Raises ValueError where they do not agree.
    """
    mantissas, exponents = np.frexp(scales)
    long = np.ldexp(mantissas, 62).astype(np.int64)
    parts = long >> 31, long & ((1 << 31) - 1), 31 - exponents.astype(np.int64)
    for scale, bound, *part in zip(scales, reach, *parts, strict=True):
        if bound >= 1 << 31 or not 1 <= part[2] <= 62:
            raise ValueError(f"the sums may reach {bound}, more than an int32 accumulator holds")
        near, wanted = _steps(float(scale), int(bound), output)
        first, last = output.lowest - output.zero_point, output.highest - output.zero_point
        if not np.array_equal(np.clip(requantize_long(near, *part), first, last), wanted):
            raise ValueError("no 62-bit multipliers equal the reference's double products")
    multiplier, low, shift = (part.astype(np.int32) for part in parts)
    return multiplier, low, shift


def _steps(scale: float, reach: int, output: Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(accumulators around every step of the reference, what it makes of them, clamped)."""
    first = output.lowest - output.zero_point
    last = output.highest - output.zero_point
    # Step k happens near (k - 0.5) / scale; a few neighbours on both sides decide which accumulator it is.
    centres = np.floor((np.arange(first + 1, last + 1) - 0.5) / scale)
    centres = centres[np.abs(centres) <= reach + 3]  # others say nothing that the ends do not
    near = np.clip(centres[:, None] + np.arange(-2, 4), -reach, reach).astype(np.int64)
    near = np.concatenate([near.reshape(-1), np.array([-reach, reach], np.int64)])
    return near, np.clip(_round_away(near.astype(np.float64) * scale), first, last)


def _equal(scale: float, reach: int, output: Tensor, rounding: Rounding) -> tuple[int, int] | None:
    """(multiplier, shift) of one channel, None where no multiplier near the scale agrees."""
    base, shift = quantize_multiplier(scale)
    if base == 0:
        return base, shift
    first = output.lowest - output.zero_point
    last = output.highest - output.zero_point
    near, wanted = _steps(scale, reach, output)
    for delta in (0, -1, 1, -2, 2):
        found = requantize(near, base + delta, shift, rounding)
        if 0 <= base + delta < 1 << 31 and np.array_equal(np.clip(found, first, last), wanted):
            return base + delta, shift
    return None
