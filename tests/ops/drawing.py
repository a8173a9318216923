# SPDX-License-Identifier: Apache-2.0
"""What tests draw: scales and zero points of every kind, shapes, arrays of every kind of value."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from nybble.graph import Array, DType, Quantization, Tensor

#: Scales from 2^-20 to 2^4, as float32 holds them.
SCALES = st.floats(-20, 4).map(lambda octaves: float(np.float32(2.0**octaves)))
ZERO_POINTS = st.one_of(st.sampled_from((-128, 0, 127)), st.integers(-128, 127))
QUANTIZATIONS = st.builds(Quantization.per_tensor, SCALES, ZERO_POINTS)
SHAPES = st.lists(st.integers(1, 7), max_size=4).map(tuple)


def tensor(
    name: str, shape: tuple[int, ...], quantization: Quantization, dtype: DType = DType.INT8
) -> Tensor:
    """An activation."""
    return Tensor(name, dtype, shape, quantization)


def quantizations(dtype: DType) -> st.SearchStrategy[Quantization]:
    """Scales and zero points as activations of a type have them."""
    return QUANTIZATIONS if dtype is DType.INT8 else st.builds(Quantization.per_tensor, SCALES, st.just(0))


def zero_points(dtype: DType) -> st.SearchStrategy[int]:
    """Zero points of a type."""
    return ZERO_POINTS if dtype is DType.INT8 else st.just(0)


def rescaled(quantization: Quantization, factor: float) -> Quantization:
    """The same zero point, the scale multiplied."""
    return Quantization.per_tensor(quantization.single_scale * factor, quantization.single_zero_point)


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...], dtype: DType = DType.INT8) -> Array:
    """An array of a type: random, all lowest, all highest, or both in turns."""
    kind = draw(st.sampled_from(("random", "lowest", "highest", "turns")))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "random":
        return rng.integers(dtype.lowest, dtype.highest + 1, shape).astype(dtype.numpy)
    if kind == "turns":
        return np.where(rng.random(shape) < 0.5, dtype.lowest, dtype.highest).astype(dtype.numpy)
    return np.full(shape, dtype.lowest if kind == "lowest" else dtype.highest, dtype.numpy)


@st.composite
def broadcast_shapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast to each other."""
    full = draw(SHAPES)

    def reduced() -> tuple[int, ...]:
        ones = tuple(draw(st.sampled_from((n, 1))) for n in full)
        return ones[draw(st.integers(0, len(ones))) :]

    one, two = reduced(), reduced()
    return (full, two) if draw(st.booleans()) else (one, two)


def rescalings(
    dtype: str, count: int = 300, output: tuple[float, int] | None = None
) -> list[tuple[float, int, float, int]]:
    """Scale and zero point of the input and the output of a function of one byte, the same on every run.

    Input scales log-normal around 1/32; the output's scale near it and any zero point, unless given.
    """
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(256)
    result = []
    for _ in range(count):
        x_scale = float(np.float32(2.0 ** rng.normal(-5, 2)))
        y_scale = float(np.float32(x_scale * 2.0 ** rng.normal(0, 1)))
        x_zero_point, y_zero_point = rng.integers(limits.min, limits.max + 1, 2).tolist()
        result.append((x_scale, x_zero_point, *(output or (y_scale, y_zero_point))))
    return result
