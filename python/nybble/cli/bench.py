# SPDX-License-Identifier: Apache-2.0
"""nybble bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..measure.durations import duration_text
from .options import execution_options, json_option, model_argument
from .terminal import Column, count_text, print_json, print_table, shape_text

if TYPE_CHECKING:
    from ..measure.explain import Explanation


@click.command()
@model_argument
@click.option(
    "--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Invocations to measure."
)
@click.option(
    "--explain",
    "explained",
    is_flag=True,
    help="Compare every operator with what this core can do, measured now, and give advice.",
)
@execution_options
@json_option
def bench(
    model: Path,
    runs: int,
    explained: bool,
    threads: int,
    cpu: str | None,
    prepack: bool,
    as_json: bool,
) -> None:
    """Measure how long MODEL takes, operator by operator.

    The inputs are random; the time of an integer network does not depend on them. Operators are
    measured one by one in as many further invocations, so their sum is a little more than the whole.

    \b
    Example:
      nybble bench mobilenet.nyb --runs 200 --threads 2
    """
    from ..measure.bench import benchmark, measure_loading
    from ..measure.conversion import as_nyb
    from ..measure.explain import explain
    from ..session import cpu_levels

    session, loading = measure_loading(as_nyb(model), threads=threads, cpu=cpu, prepack=prepack)
    result = benchmark(session, runs)
    level = cpu if cpu is not None else cpu_levels()[-1]
    explanation = explain(result, threads=threads, cpu=cpu) if explained else None
    if as_json:
        document = explanation.document(result.document()) if explanation else result.document()
        options = {"file": str(model), "cpu": level, "threads": threads, "prepack": prepack}
        print_json({**options, **loading.document(), **document})
        return
    times = result.invocation
    how = f"{level}, {threads} thread{'s' if threads > 1 else ''}{', prepacked' if prepack else ''}"
    click.echo(f"{model}: {runs} runs, {how}")
    click.echo(
        f"median {duration_text(times.median)}, min {duration_text(times.minimum)}, "
        f"max {duration_text(times.maximum)}; {result.gmacs_per_second:.3f} GMAC/s"
    )
    click.echo(
        f"loaded in {duration_text(loading.nanoseconds)}; memory grew by {count_text(loading.resident_bytes)} bytes: "
        f"arena {count_text(loading.arena_bytes)}, file {count_text(loading.model_bytes)}"
    )
    click.echo()
    columns = [
        Column("#", True),
        Column("kind"),
        Column("variant"),
        Column("name"),
        Column("output"),
        Column("MACs", True),
        Column("time", True),
        Column("share", True),
        Column("GMAC/s", True),
    ]
    rows = [
        [
            str(one.layer.index),
            one.layer.kind,
            one.layer.variant,
            one.layer.name,
            shape_text(one.layer.output.shape),
            count_text(one.layer.macs) if one.layer.macs else "",
            duration_text(one.nanoseconds),
            f"{one.share:.1%}",
            f"{one.gmacs_per_second:.3f}" if one.layer.macs else "",
        ]
        for one in result.layers
    ]
    if explanation is None:
        print_table(columns, rows)
        return
    reached = [f"{one.ceiling_share:.0%}" if one.ceiling else "" for one in explanation.operators]
    columns.append(Column("of ceiling", True))
    print_table(columns, [[*row, share] for row, share in zip(rows, reached, strict=True)])
    _print_advice(explanation)


def _print_advice(explanation: Explanation) -> None:
    click.echo()
    for one in explanation.ceilings:
        click.echo(
            f"ceiling of a core, from its caches: {one.gmacs_per_second:.1f} GMAC/s "
            f"({one.family}, {one.bits}-bit weights, {one.variant})"
        )
    click.echo()
    advice = explanation.advice()
    for text, operators in advice.items():
        share = sum(one.time.share for one in operators)
        indices = ", ".join(str(one.time.layer.index) for one in operators)
        click.echo(f"{share:.1%} of the time: {text} (operator {indices})")
    if not advice:
        click.echo("nothing stands out")
