# SPDX-License-Identifier: Apache-2.0
"""runtime/base/float32.h against the float32 of this machine."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"
COUNT = 1 << 20
Float32 = npt.NDArray[np.float32]

SHIM = r"""
#include "base/float32.h"
static uint32_t bits_of(nyb_float32 x) {
    if (x.mantissa == 1u << 24) {
        x.mantissa >>= 1;
        x.exponent++;
    }
    return x.mantissa == 0 ? 0 : (x.mantissa & 0x7FFFFF) | (uint32_t)(x.exponent + 150) << 23;
}
void all(uint32_t count, const uint32_t *a, const uint32_t *b,
         uint32_t *product, uint32_t *sum, uint32_t *less) {
    for (uint32_t i = 0; i < count; i++) {
        const nyb_float32 x = nyb_float32_read(a[i]), y = nyb_float32_read(b[i]);
        product[i] = bits_of(nyb_float32_mul(x, y));
        sum[i] = bits_of(nyb_float32_add(x, y, false));
        less[i] = bits_of(nyb_float32_add(x, y, true));
    }
}
"""


def _numbers(rng: np.random.Generator, spread: int) -> Float32:
    """0, powers of two and their neighbours, and random mantissas, over ``spread`` binary orders."""
    near_one = 1 + 2.0**-23 * np.arange(3)
    mantissa = np.where(
        rng.random(COUNT) < 0.5,
        rng.choice([*near_one, 1.5, 1.5 + 2.0**-23, 2 - 2.0**-22, 2 - 2.0**-23], COUNT),
        rng.integers(1 << 23, 1 << 24, COUNT) * 2.0**-23,
    )
    values: Float32 = (mantissa * 2.0 ** rng.integers(-spread, 1, COUNT)).astype(np.float32)
    values[rng.random(COUNT) < 0.02] = 0
    return values


@pytest.mark.parametrize("spread", [1, 3, 27, 60])
def test_products_sums_and_differences(tmp_path: Path, spread: int) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    flags = ["-std=c11", "-O2", "-shared", "-fPIC", f"-I{RUNTIME}"]
    subprocess.run([compiler, *flags, "-o", library, source], check=True)
    rng = np.random.default_rng(spread)
    a, b = _numbers(rng, spread), _numbers(rng, spread)
    found = np.empty((3, COUNT), np.float32)
    pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (a, b, *found)]
    ctypes.CDLL(str(library)).all(ctypes.c_uint32(COUNT), *pointers)
    wanted = (a * b, a + b, np.maximum(a - b, np.float32(0)))
    for name, f, w in zip(("products", "sums", "differences"), found, wanted, strict=True):
        wrong = np.flatnonzero(f.view(np.uint32) != w.view(np.uint32))
        assert wrong.size == 0, f"{name}: {wrong.size} differ, first {a[wrong[0]]!r}, {b[wrong[0]]!r}"
