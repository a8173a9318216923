# SPDX-License-Identifier: Apache-2.0
"""What a model said: best classes, and archives of its outputs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
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
    return bool(port.shape) and port.shape[-1] >= 2 and np.prod(port.shape[:-1], dtype=np.int64) == 1


def top_scores(port: Port, output: Array, count: int) -> list[Score]:
    """The ``count`` largest elements of an output, largest first, the lower index first among equals."""
    integers = output.reshape(-1)
    values = port.dequantize(integers)
    order = np.argsort(-integers.astype(np.int64), kind="stable")[:count]
    return [Score(int(i), int(integers[i]), float(values[i])) for i in order]


def archive(ports: Sequence[Port], outputs: Sequence[Array]) -> bytes:
    """A .npz of one array per output, by name: integers, or float32 where the source network has float32.

    Equal outputs give equal bytes (numpy.savez stamps the time). A name used twice gets its index appended.
    """
    content = io.BytesIO()
    names = [port.name for port in ports]
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for index, (port, output) in enumerate(zip(ports, outputs, strict=True)):
            name = f"{port.name}.{index}" if names.count(port.name) > 1 else port.name
            entry = io.BytesIO()
            np.lib.format.write_array(entry, port.dequantize(output) if port.real else output)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue(), zipfile.ZIP_DEFLATED)
    return content.getvalue()
