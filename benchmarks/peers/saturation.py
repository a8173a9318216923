# SPDX-License-Identifier: Apache-2.0
"""Which rows add up exactly on this CPU: measured, because it depends on the instructions that a library picks.

x86 without VNNI multiplies uint8 by int8 with vpmaddubsw, which clips the sum of two products to 16 bits. One
convolution of all the largest inputs with all the largest weights tells: its sum comes out half as large.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from .made import Layer, Made, write
from .runtimes import Array, Runtime

_K, _OUTPUTS, _SIZE = 64, 32, 12
#: Steps of the output that the exact sum is worth.
_EXPECTED = 240


def probe() -> Made:
    """A 1x1 convolution whose weights are all 127."""
    weights = np.full((_OUTPUTS, 1, 1, _K), 127, np.int8)
    scale = np.full(_OUTPUTS, 2**-7, np.float32)
    output = float(np.float32(_K * 255 * 127 * 2**-15 / _EXPECTED))
    layer = Layer("conv", weights, scale, np.zeros(_OUTPUTS, np.int32), 1, output)
    return Made(_SIZE, _K, 2**-8, (layer,))


def write_probe(folder: Path) -> None:
    """Write the probe in every form."""
    write(probe(), folder)


def sums_exactly(runtime: Runtime, folder: Path) -> bool:
    """Whether a runtime's answer to the probe is the exact one. Raises what the runtime raises."""

    def largest(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Array:
        return np.full(shape, np.iinfo(np.dtype(dtype)).max, dtype)

    runtime.load(folder, largest)
    runtime.run()
    answer = np.asarray(runtime.output())
    steps = answer.astype(np.int64) - (-128 if answer.dtype == np.int8 else 0)
    return bool((np.abs(steps - _EXPECTED) <= 1).all())
