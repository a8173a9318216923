# SPDX-License-Identifier: Apache-2.0
"""What a model said: best classes, and archives of its outputs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..session import Port

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Score:
    """One class: its index, its integer as the model gave it, and the real number that stands for."""

    index: int
    integer: int
    value: float


def is_classes(port: Port) -> bool:
    """Whether an output is one vector of at least two scores."""
    size = int(np.prod(port.shape, dtype=np.int64))
    return size >= 2 and max(port.shape) == size


def top_scores(port: Port, output: Array, count: int) -> list[Score]:
    """The ``count`` largest elements of an output, largest first, the lower index first among equals."""
    integers = output.reshape(-1)
    values = port.dequantize(integers)
    order = np.argsort(-integers.astype(np.int64), kind="stable")[:count]
    return [Score(int(i), int(integers[i]), float(values[i])) for i in order]


def archive(ports: Sequence[Port], outputs: Sequence[Array]) -> bytes:
    """A .npz of one array per output, by name: integers, or float32 where the source network has float32.

    A name used twice gets its index appended.
    """
    names = [port.name for port in ports]
    keys = [f"{name}.{i}" if names.count(name) > 1 else name for i, name in enumerate(names)]
    arrays = [p.dequantize(y) if p.real else y for p, y in zip(ports, outputs, strict=True)]
    return npz(dict(zip(keys, arrays, strict=True)))


def npz(arrays: Mapping[str, Array]) -> bytes:
    """A compressed .npz of arrays by name. Equal arrays give equal bytes: numpy.savez stamps the time."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue(), zipfile.ZIP_DEFLATED)
    return content.getvalue()
