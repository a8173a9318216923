# SPDX-License-Identifier: Apache-2.0
"""Durations as text."""

from __future__ import annotations


def duration_text(nanoseconds: float) -> str:
    """Three or more digits in ns, us, ms or s."""
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= factor:
            return f"{nanoseconds / factor:.3f} {unit}"
    return f"{nanoseconds:.0f} ns"
