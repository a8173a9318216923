# SPDX-License-Identifier: Apache-2.0
"""Element types and the affine quantization real = scale * (integer - zero_point)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


class DType(enum.Enum):
    """Element type of a tensor; the values are the names in nybble.fbs (and FLOAT32 before quantization)."""

    INT8 = "INT8"
    UINT8 = "UINT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    INT4 = "INT4"
    INT2 = "INT2"
    BOOL = "BOOL"
    FLOAT32 = "FLOAT32"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy type that holds one element (int4 and int2 are held in int8)."""
        if self in (DType.INT4, DType.INT2):
            return np.dtype(np.int8)
        found: np.dtype[Any] = np.dtype(self.value.lower())
        return found

    @property
    def bits(self) -> int:
        """Bits of one element as stored in a model file."""
        narrow = {DType.INT4: 4, DType.INT2: 2}
        return narrow.get(self, self.numpy.itemsize * 8)

    @property
    def lowest(self) -> int:
        """The smallest integer of the type."""
        return 0 if self in (DType.UINT8, DType.BOOL) else -(1 << (self.bits - 1))

    @property
    def highest(self) -> int:
        """The largest integer of the type."""
        if self is DType.BOOL:
            return 1
        return (1 << self.bits) - 1 if self is DType.UINT8 else (1 << (self.bits - 1)) - 1

    @staticmethod
    def of(dtype: npt.DTypeLike) -> DType:
        """The type of a numpy array's elements; ValueError where there is none."""
        name = np.dtype(dtype).name.upper()
        try:
            return DType(name)
        except ValueError:
            raise ValueError(f"no tensor type for numpy's {name.lower()}") from None


class Rounding(enum.Enum):
    """How a 64-bit product is rounded to the output (arithmetic in ops/requantize.py)."""

    DOUBLE = "DOUBLE"
    SINGLE = "SINGLE"


@dataclass(frozen=True, eq=False)
class ScaleGroups:
    """Finer scales of weights: runs of ``size`` k, and an integer factor for each run of each output channel.

    k counts a channel's weights in the order in which they are packed: window rows, window columns, input
    channels. factors: int8 [channels, ceil(k / size)]; the last run may be shorter.
    """

    size: int
    factors: npt.NDArray[np.int8]

    def __post_init__(self) -> None:
        if self.size < 1 or self.factors.ndim != 2 or self.factors.dtype != np.int8:
            raise ValueError(
                f"expected groups of at least 1 with factors int8 [channels, groups], found {self.size} "
                f"with {self.factors.dtype} {list(self.factors.shape)}"
            )

    def __str__(self) -> str:
        return f"groups of {self.size}"

    def along(self, k: int) -> npt.NDArray[np.int8]:
        """The factor of every weight, int8 [channels, k]."""
        if self.factors.shape[1] != -(-k // self.size):
            raise ValueError(
                f"{k} weights per channel in {self}: expected {-(-k // self.size)} factors, "
                f"found {self.factors.shape[1]}"
            )
        return np.repeat(self.factors, self.size, axis=1)[:, :k]


@dataclass(frozen=True)
class Quantization:
    """Scales (float32, positive) and zero points; one of each per tensor, or one per slice along ``axis``.

    groups: of weights, real = scale * factor * integer, the factor being that of the output channel's run
    along k; their zero point is 0. bits: of activations that use only 2^bits of an int8's levels, the integers
    from -2^(bits - 1) to 2^(bits - 1) - 1; None: all.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    groups: ScaleGroups | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.zero_point):
            raise ValueError(f"{len(self.scale)} scales but {len(self.zero_point)} zero points")
        if self.axis is None and len(self.scale) != 1:
            raise ValueError(f"{len(self.scale)} scales without an axis")
        if self.groups is not None and any(self.zero_point):
            raise ValueError("expected a zero point of 0 beside scale groups")

    @staticmethod
    def per_tensor(scale: float, zero_point: int, bits: int | None = None) -> Quantization:
        """One scale and zero point for the whole tensor."""
        return Quantization((float(np.float32(scale)),), (int(zero_point),), bits=bits)

    @property
    def scales(self) -> npt.NDArray[np.float32]:
        """The scales as float32 [1] or [channels]."""
        return np.array(self.scale, np.float32)

    @property
    def single_scale(self) -> float:
        """The scale of a per-tensor quantization."""
        if len(self.scale) != 1:
            raise ValueError("expected one scale per tensor, found one per channel")
        return self.scale[0]

    @property
    def single_zero_point(self) -> int:
        """The zero point of a per-tensor quantization, or the common one of all channels."""
        if len(set(self.zero_point)) != 1:
            raise ValueError("expected one zero point, found several")
        return self.zero_point[0]
