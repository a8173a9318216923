# SPDX-License-Identifier: Apache-2.0
"""An exploration as one HTML page that needs nothing else, and as a picture."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from ..convert import producer
from ..quantize.levels import parts_of
from ..quantize.parameters import Level, level_text
from .durations import duration_text
from .memory import read_plan
from .svg import Mark, linear_axis, log_axis, memory_map, scatter

if TYPE_CHECKING:
    from .bench import LayerTime
    from .explore import Candidate, Exploration
    from .trial import Score

#: Losses below are drawn at the end of the axis.
_LEAST_LOSS = 1e-4


def bytes_text(value: float) -> str:
    """'12', '1.5k', '20k', '1.2M'."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def loss_text(loss: float) -> str:
    """Three digits."""
    return "0" if abs(loss) < 5e-7 else f"{loss:.3g}" if abs(loss) >= 1e-3 else f"{loss:.1e}"


def short_name(name: str) -> str:
    """The first of the names that a converter joined with ';'."""
    return name.split(";")[0] or "(no name)"


def lost_text(score: Score | None) -> str:
    """'0.50 (-0.3..1.2)': the points lost and their 95 % interval, or '-'."""
    lost = None if score is None else score.points_lost()
    if score is None or lost is None:
        return "-"
    interval = score.interval()
    return f"{lost:.2f}" + ("" if interval is None else f" ({interval[0]:.1f}..{interval[1]:.1f})")


def bits_text(bits: Sequence[Level]) -> str:
    """'8 8 4x6 2': runs of equal bits joined."""
    runs = [(b, len(list(run))) for b, run in itertools.groupby(bits)]
    return " ".join(str(b) if n == 1 else f"{b}x{n}" for b, n in runs)


def _style(candidate: Candidate, found: Exploration) -> str:
    return "chosen" if candidate is found.chosen else "mixed" if len(set(candidate.bits)) > 1 else "uniform"


def _label(candidate: Candidate, found: Exploration) -> str:
    return candidate.name if candidate is found.chosen or len(set(candidate.bits)) == 1 else ""


def loss_title(found: Exploration) -> str:
    """What the loss of an exploration is."""
    return "divergence from float (nats)" if found.classes else "noise / signal of the outputs"


def _charts(found: Exploration) -> str:
    candidates = found.candidates
    sizes = linear_axis("bytes of the file", [c.file_bytes for c in candidates], bytes_text)
    losses = log_axis(
        loss_title(found),
        [v for c in candidates for v in (c.loss, c.predicted)],
        _LEAST_LOSS,
        lambda v: f"{v:g}",
    )
    steps = [(float(c.file_bytes), c.loss) for c in candidates if c.front]
    marks = [
        Mark(c.file_bytes, c.predicted, "predicted", f"{c.name}: predicted {loss_text(c.predicted)}")
        for c in candidates
    ]
    marks += [
        Mark(
            c.file_bytes,
            c.loss,
            _style(c, found),
            f"{c.name}: {c.file_bytes:,} bytes, loss {loss_text(c.loss)}",
            _label(c, found),
        )
        for c in candidates
    ]
    charts = [scatter(sizes, losses, marks, steps, "loss over bytes of the file")]
    what, scores = ("test", [c.test for c in candidates])
    if found.float_test is None:
        what, scores = "calibration", [c.calibration for c in candidates]
    lost = [s.points_lost() for s in scores if s is not None]
    shown = [
        (c, s, p) for c, s, p in zip(candidates, scores, lost, strict=True) if s is not None and p is not None
    ]
    if shown:
        axis = linear_axis(
            f"points lost, {what} samples", [p for _, _, p in shown], lambda v: f"{v:g}", zero=True
        )
        marks = []
        for c, s, p in shown:
            low, high = s.interval() or (None, None)
            title = f"{c.name}: {c.file_bytes:,} bytes, {lost_text(s)} points lost"
            marks.append(Mark(c.file_bytes, p, _style(c, found), title, _label(c, found), low, high))
        charts.append(scatter(sizes, axis, marks, [], "points lost over bytes of the file"))
    times = linear_axis("ms of one invocation", [c.latency / 1e6 for c in candidates], lambda v: f"{v:g}")
    marks = [
        Mark(
            c.latency / 1e6,
            c.loss,
            _style(c, found),
            f"{c.name}: {duration_text(c.latency)}, loss {loss_text(c.loss)}",
            _label(c, found),
        )
        for c in candidates
    ]
    charts.append(scatter(times, losses, marks, [], "loss over latency"))
    return "".join(f"<figure>{chart}</figure>" for chart in charts)


def _table(headings: Sequence[tuple[str, str]], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """headings: (text, class of the column). rows: (class, cells as HTML)."""
    head = "".join(f'<th class="{style}">{escape(text)}</th>' for text, style in headings)
    lines = []
    for kind, cells in rows:
        parts = [f'<td class="{s}">{cell}</td>' for cell, (_, s) in zip(cells, headings, strict=True)]
        lines.append(f'<tr class="{kind}">{"".join(parts)}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _candidates(found: Exploration) -> str:
    has_points = found.chosen.calibration.points_lost() is not None
    arena = parts_of(found.levels[0])[1] is not None
    headings = [
        ("model", ""),
        ("bits of the layers", "name"),
        ("file", "n"),
        ("weights", "n"),
        *[("arena", "n")] * arena,
        ("predicted", "n"),
    ]
    headings += [("loss", "n")] + [("points lost (calibration)", "n")] * has_points
    if found.float_test is not None and has_points:
        headings.append(("points lost (test)", "n"))
    headings.append(("latency", "n"))
    rows = []
    for c in found.candidates:
        cells = [
            escape(c.name),
            bits_text(c.bits),
            f"{c.file_bytes:,}",
            f"{c.weight_bytes:,}",
            *[f"{c.activation_bytes:,}"] * arena,
            loss_text(c.predicted),
            loss_text(c.loss),
        ]
        cells += [lost_text(c.calibration)] * has_points
        if found.float_test is not None and has_points:
            cells.append(lost_text(c.test))
        cells.append(duration_text(c.latency))
        rows.append(("chosen" if c is found.chosen else "" if c.front else "beaten", cells))
    return _table(headings, rows)


def _bar(share: float, style: str) -> str:
    return f'<span class="bar {style}" style="width:{100 * min(max(share, 0.0), 1.0):.1f}%"></span>'


def _layers(found: Exploration, times: Sequence[LayerTime]) -> str:
    lower = found.levels[1:]
    largest = max((layer.loss[b] for layer in found.layers for b in lower), default=1.0)
    span = math.log10(max(largest, _LEAST_LOSS * 10) / _LEAST_LOSS)
    headings = [("layer", "name"), ("kind", ""), (f"bytes at {level_text(found.levels[0])}", "n")]
    headings += [(f"loss at {level_text(b)}", "measure") for b in lower] + [
        ("level", "n"),
        ("bytes", "n"),
        ("time", "n"),
    ]
    own: dict[str, list[float]] = {}
    for t in times:
        if t.layer.weight_bytes:
            own.setdefault(t.layer.name, []).append(t.nanoseconds)
    rows = []
    for layer, bits in zip(found.layers, found.chosen.bits, strict=True):
        cells = [
            f'<span title="{escape(layer.name)}">{escape(short_name(layer.name))}</span>',
            escape(layer.kind),
            f"{layer.weight_bytes[found.levels[0]]:,}",
        ]
        for b in lower:
            share = math.log10(max(layer.loss[b], _LEAST_LOSS) / _LEAST_LOSS) / span
            cells.append(f"{loss_text(layer.loss[b])}{_bar(share, f'b{parts_of(b)[0]}')}")
        cells.append(f'<span class="bits bits{parts_of(bits)[0]}">{bits}</span>')
        cells.append(f"{layer.weight_bytes[bits]:,}")
        cells.append(duration_text(sum(own.get(layer.name, ()))))
        rows.append(("", cells))
    return _table(headings, rows)


def _times(times: Sequence[LayerTime]) -> str:
    headings = [
        ("#", "n"),
        ("operator", "name"),
        ("kind", ""),
        ("kernel", ""),
        ("time", "n"),
        ("share", "measure"),
    ]
    most = max((t.share for t in times), default=1.0) or 1.0
    rows = [
        (
            "",
            [
                str(t.layer.index),
                f'<span title="{escape(t.layer.name)}">{escape(short_name(t.layer.name))}</span>',
                escape(t.layer.kind),
                escape(t.layer.variant),
                duration_text(t.nanoseconds),
                f"{t.share:.1%}{_bar(t.share / most, 'time')}",
            ],
        )
        for t in times
    ]
    return _table(headings, rows)


def verdict(found: Exploration) -> str:
    """One sentence: what was chosen, and what it costs."""
    chosen, highest = found.chosen, found.candidates[0]
    text = (
        f"Within {found.budget}: {chosen.name}, {chosen.file_bytes:,} bytes "
        f"({chosen.file_bytes / highest.file_bytes:.0%} of {highest.name}'s {highest.file_bytes:,})"
    )
    for what, score in (("calibration", chosen.calibration), ("test", chosen.test)):
        if score is not None and score.points_lost() is not None:
            text += f", {lost_text(score)} points lost on {score.count} {what} samples"
    text = f"{text}, {duration_text(chosen.latency)}."
    points = next((b.value for b in (found.budget, *found.budget.others) if b.kind == "points"), None)
    count = chosen.calibration.count
    if points and points * count < 100:
        text += (
            f" One of {count} calibration samples is {100 / count:.3g} points: to tell a loss of {points:g} takes "
            f"{math.ceil(100 / points):,} or more."
        )
    return text


def html_report(found: Exploration) -> str:
    """The page. Every name in it is escaped; it refers to nothing outside itself."""
    chosen = found.chosen
    plan = read_plan(chosen.model)
    facts = [("file", f"{chosen.file_bytes:,} bytes"), ("weights", f"{chosen.weight_bytes:,} bytes")]
    facts.append(("loss", loss_text(chosen.loss)))
    for what, score, reference in (
        ("calibration", chosen.calibration, found.float_calibration),
        ("test", chosen.test, found.float_test),
    ):
        if score is not None and reference is not None and score.right is not None:
            facts.append((f"right, {what}", f"{score.right} of {score.count} (float {reference.right})"))
        elif score is not None and score.same is not None:
            facts.append((f"as float, {what}", f"{score.same} of {score.count}"))
    facts += [("latency", duration_text(chosen.latency)), ("activations", f"{plan.arena:,} bytes")]
    labels = "points lost: right answers fewer than the float network's, per 100 samples, with their paired 95 % interval"
    how = (
        f"Each candidate was quantized and run on the integer core. Loss: {loss_title(found)} on "
        f"{found.float_calibration.count} calibration samples, each half answered by weights that were solved on the "
        "other, by which everything was decided. "
    )
    if found.float_test is not None:
        how += f"The {found.float_test.count} test samples were only reported on."
    times = found.times
    total = sum(t.nanoseconds for t in times)
    template = Template(files("nybble").joinpath("measure", "report.html").read_text("utf-8"))
    return template.substitute(
        title=escape(f"{found.name}: which level?"),
        verdict=escape(verdict(found)),
        facts="".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts),
        how=escape(how),
        charts=_charts(found),
        candidates=_candidates(found),
        candidates_note=escape(
            f"Grey: another candidate has no more of loss, bytes, memory and latency. {labels[0].upper()}{labels[1:]}."
            if chosen.calibration.points_lost() is not None
            else "Grey: another candidate has no more of loss, bytes, memory and latency."
        ),
        layers=_layers(found, times),
        arena=f"{plan.arena:,} bytes",
        memory=memory_map(plan, bytes_text),
        time_note=escape(
            f"Of one operator after the other on this machine, one thread: {duration_text(total)} in all."
        ),
        times=_times(times),
        sha256=chosen.sha256,
        recipe=escape(found.recipe_text()),
        producer=escape(producer()),
    )


def png_report(found: Exploration) -> bytes:
    """The front as a PNG. Raises ImportError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("a PNG needs matplotlib: pip install 'nybble[plot]'") from None
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colors = {"mixed": "#3b6fb6", "uniform": "#c2702a", "chosen": "#b3245a"}
    for axes, scale, what in ((left, 1.0, "file_bytes"), (right, 1e6, "latency")):
        if axes is left:
            front = [c for c in found.candidates if c.front]
            axes.plot(
                [c.file_bytes for c in front],
                [max(c.loss, _LEAST_LOSS) for c in front],
                color="#9db7da",
                lw=1,
            )
            axes.scatter(
                [c.file_bytes for c in found.candidates],
                [max(c.predicted, _LEAST_LOSS) for c in found.candidates],
                s=18,
                facecolors="none",
                edgecolors="#888888",
                label="predicted",
            )
        for kind, color in colors.items():
            of_kind = [c for c in found.candidates if _style(c, found) == kind]
            axes.scatter(
                [getattr(c, what) / scale for c in of_kind],
                [max(c.loss, _LEAST_LOSS) for c in of_kind],
                s=50 if kind == "chosen" else 26,
                color=color,
                label={"uniform": "one level", "mixed": "mixed", "chosen": f"chosen ({found.budget})"}[kind],
                zorder=3,
            )
        for c in found.candidates:
            if _label(c, found):
                place = (getattr(c, what) / scale, max(c.loss, _LEAST_LOSS))
                axes.annotate(c.name, place, xytext=(6, 5), textcoords="offset points", fontsize=8)
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
    left.set_xlabel("bytes of the file")
    left.set_ylabel(loss_title(found))
    right.set_xlabel("ms of one invocation on this machine")
    left.legend(fontsize=8, frameon=False)
    figure.suptitle(found.name, fontsize=10)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
