# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG inside a page: text and shapes that take their colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from .memory import MemoryPlan

_WIDTH, _HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 26, 42


@dataclass(frozen=True)
class Mark:
    """A point of a chart. style: a class of the style sheet; label: text beside it; title: shown on hovering;
    low, high: ends of an interval of y.
    """

    x: float
    y: float
    style: str
    title: str
    label: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Axis:
    """An axis from ``low`` to ``high``; logarithmic where both are above 0 and ``log`` says so."""

    title: str
    low: float
    high: float
    log: bool = False
    text: Callable[[float], str] = lambda value: f"{value:g}"

    def place(self, value: float) -> float:
        """0..1 along the axis; values beyond its ends are put there."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return (value - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[float]:
        """Round numbers within the axis."""
        if self.log:
            powers = range(
                math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1
            )
            every = max(1, math.ceil(len(powers) / 6))
            return [10.0**p for p in powers if p % every == 0]
        step = _round_step((self.high - self.low) / 4)
        return [
            i * step
            for i in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        ]


def _round_step(rough: float) -> float:
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * (1 - 1e-9))


def log_axis(title: str, values: Sequence[float], least: float, text: Callable[[float], str]) -> Axis:
    """A logarithmic axis over values, in whole powers of ten; what is below ``least`` is put at its end."""
    above = [max(v, least) for v in values]
    low, high = math.floor(math.log10(min(above))), math.ceil(math.log10(max(above)))
    return Axis(title, 10.0**low, 10.0 ** max(high, low + 1), True, text)


def linear_axis(
    title: str, values: Sequence[float], text: Callable[[float], str], zero: bool = False
) -> Axis:
    """A linear axis over values, from 0 where ``zero`` says so, with a little room at the ends."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    return Axis(title, min(0.0, low) if zero else low - room, high + room, False, text)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'


def scatter(x: Axis, y: Axis, marks: Sequence[Mark], line: Sequence[tuple[float, float]], name: str) -> str:
    """Points over two axes, and a line through some places. name: read out for those who cannot see it."""
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def at(u: float, v: float) -> tuple[float, float]:
        return _LEFT + x.place(u) * (right - _LEFT), bottom - y.place(v) * (bottom - _TOP)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(name)}">']
    for value in y.ticks():
        _, level = at(x.low, value)
        parts.append(f'<path class="grid" d="M{_LEFT} {_number(level)}H{right}"/>')
        parts.append(_text(_LEFT - 6, level + 4, y.text(value), "end"))
    for value in x.ticks():
        place, _ = at(value, y.low)
        parts.append(f'<path class="grid" d="M{_number(place)} {_TOP}V{bottom}"/>')
        parts.append(_text(place, bottom + 16, x.text(value), "middle"))
    parts.append(_text(right, bottom + 34, x.title, "end", "axis"))
    parts.append(_text(4, 14, y.title, "start", "axis"))
    if line:
        places = " ".join(f"{_number(a)},{_number(b)}" for a, b in (at(*point) for point in line))
        parts.append(f'<polyline class="front" points="{places}"/>')
    for mark in marks:
        a, b = at(mark.x, mark.y)
        if mark.low is not None and mark.high is not None:
            low, high = at(mark.x, mark.low)[1], at(mark.x, mark.high)[1]
            parts.append(f'<path class="whisker" d="M{_number(a)} {_number(low)}V{_number(high)}"/>')
        title = f"<title>{escape(mark.title)}</title>"
        parts.append(f'<circle class="{mark.style}" cx="{_number(a)}" cy="{_number(b)}">{title}</circle>')
        if mark.label:
            anchor = "end" if a > right - 60 else "start"
            shift = -9 if anchor == "end" else 9
            parts.append(_text(a + shift, b - 7, mark.label, anchor, "label"))
    parts.append("</svg>")
    return "".join(parts)


def memory_map(plan: MemoryPlan, size_text: Callable[[float], str]) -> str:
    """The arena over time: a column per operator, a rectangle per tensor."""
    width, height, left, top, bottom = 880, 300, 58, 26, 42
    columns = plan.operators + 2  # the inputs before, the outputs after
    column = (width - left) / columns
    axis = Axis("bytes of the arena", 0, max(plan.arena, 1), False, size_text)
    tall = height - top - bottom
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="memory plan of the arena">']
    for value in axis.ticks():
        level = height - bottom - axis.place(value) * tall
        parts.append(f'<path class="grid" d="M{left} {_number(level)}H{width}"/>')
        parts.append(_text(left - 6, level + 4, size_text(value), "end"))
    for i, place in enumerate(plan.places):
        x = left + (place.first + 1) * column
        wide = (place.last - place.first + 1) * column
        y = height - bottom - axis.place(place.offset + place.size) * tall
        high = max(axis.place(place.size) * tall, 1.0)
        until = "the end" if place.last == plan.operators else f"operator {place.last}"
        since = "the start" if place.first < 0 else f"operator {place.first}"
        title = f"{place.name}: {place.size:,} bytes at {place.offset:,}, from {since} to {until}"
        parts.append(
            f'<rect class="tensor t{i % 3}" x="{_number(x)}" y="{_number(y)}" width="{_number(wide)}" '
            f'height="{_number(high)}"><title>{escape(title)}</title></rect>'
        )
    every = max(1, math.ceil(plan.operators / 24))
    for step in range(0, plan.operators, every):
        parts.append(_text(left + (step + 1.5) * column, height - bottom + 16, str(step), "middle"))
    parts.append(_text(width - 2, height - 8, "operator", "end", "axis"))
    parts.append(_text(4, 14, axis.title, "start", "axis"))
    parts.append("</svg>")
    return "".join(parts)
