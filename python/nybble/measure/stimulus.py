# SPDX-License-Identifier: Apache-2.0
"""Inputs that are the same bytes on every machine, for models whose data is not at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..emit.golden import golden_input
from ..graph import DType, Tensor
from ..session import Port

Array = npt.NDArray[Any]


def random_inputs(ports: Sequence[Port], sample: int = 0) -> list[Array]:
    """Integers over the whole range of each input; sample 0 is the one of a file's golden section."""
    first = sample * len(ports)
    return [golden_input(_tensor(port), first + index) for index, port in enumerate(ports)]


def extreme_inputs(ports: Sequence[Port]) -> list[list[Array]]:
    """Two samples: all inputs at their smallest, all at their largest."""
    ranges = [(DType.of(port.dtype).lowest, DType.of(port.dtype).highest) for port in ports]
    return [
        [np.full(port.shape, limits[end], port.dtype) for port, limits in zip(ports, ranges, strict=True)]
        for end in (0, 1)
    ]


def stimuli(ports: Sequence[Port], random: int) -> Iterator[list[Array]]:
    """``random`` samples of random integers, then the extreme ones."""
    for sample in range(random):
        yield random_inputs(ports, sample)
    yield from extreme_inputs(ports)


def _tensor(port: Port) -> Tensor:
    return Tensor(port.name, DType.of(port.dtype), port.shape)
