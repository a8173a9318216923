# SPDX-License-Identifier: Apache-2.0
"""What a model may take: bytes of the file or of memory, time, points of accuracy."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


@dataclass(frozen=True)
class Budget:
    """What a model may take. kind: 'bytes' (of the file), 'weights' (bytes of the packed weights alone), 'arena' (bytes
    of memory for activations), 'latency' (ns, of one invocation on this machine) or 'points' (hundredths of the
    calibration samples lost against the float network). share: whether bytes are a part (0..1) of what the highest
    level takes. others: what has to hold besides.
    """

    kind: str
    value: float
    share: bool = False
    others: tuple[Budget, ...] = ()

    @staticmethod
    def parse(text: str) -> Budget:
        """From 'bytes=50000', 'bytes=50%', 'weights=50%', 'arena=50%', 'latency=2ms' (ns, us, ms, s) or 'points=0.5', or
        several of them with commas between.

        Raises ValueError.
        """
        first, *others = text.split(",")
        return replace(Budget._parse(first), others=tuple(map(Budget._parse, others)))

    @staticmethod
    def _parse(text: str) -> Budget:
        kind, _, rest = text.partition("=")
        match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%|ns|us|ms|s)?", rest.strip())
        unit = match[2] if match else None
        sized = unit in (None, "%")
        fits = dict.fromkeys(("bytes", "weights", "arena"), sized)
        fits |= {"latency": unit in _UNITS, "points": unit is None}
        if match is None or not fits.get(kind, False):
            raise ValueError(
                "expected a budget such as bytes=50000, bytes=50%, weights=50%, arena=50%, latency=2ms or points=0.5, "
                f"found {text!r}"
            )
        value = float(match[1])
        if kind == "latency":
            return Budget(kind, value * _UNITS[str(unit)])
        return Budget(kind, value / 100, True) if unit == "%" else Budget(kind, value)

    def __str__(self) -> str:
        return ",".join((self._text(), *map(str, self.others)))

    def _text(self) -> str:
        if self.kind == "latency":
            unit, factor = (
                ("ms", 1e6) if self.value >= 1e6 else ("us", 1e3) if self.value >= 1e3 else ("ns", 1.0)
            )
            return f"latency={self.value / factor:g}{unit}"
        return f"{self.kind}={self.value * 100:g}%" if self.share else f"{self.kind}={self.value:g}"
