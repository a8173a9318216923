# SPDX-License-Identifier: Apache-2.0
"""nybble bench."""

from __future__ import annotations

from pathlib import Path

import click

from .options import execution_options, json_option, model_argument
from .terminal import Column, count_text, duration_text, print_json, print_table, shape_text


@click.command()
@model_argument
@click.option(
    "--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Invocations to measure."
)
@execution_options
@json_option
def bench(model: Path, runs: int, threads: int, cpu: str | None, as_json: bool) -> None:
    """Measure how long MODEL takes, operator by operator.

    The inputs are random; the time of an integer network does not depend on them. Operators are
    measured one by one in as many further invocations, so their sum is a little more than the whole.

    \b
    Example:
      nybble bench mobilenet.nyb --runs 200 --threads 2
    """
    from ..measure.bench import benchmark, measure_loading
    from ..measure.conversion import as_nyb
    from ..session import cpu_levels

    session, loading = measure_loading(as_nyb(model), threads=threads, cpu=cpu)
    result = benchmark(session, runs)
    level = cpu if cpu is not None else cpu_levels()[-1]
    if as_json:
        print_json(
            {"file": str(model), "cpu": level, "threads": threads, **loading.document(), **result.document()}
        )
        return
    times = result.invocation
    click.echo(f"{model}: {runs} runs, {level}, {threads} thread{'s' if threads > 1 else ''}")
    click.echo(
        f"median {duration_text(times.median)}, min {duration_text(times.minimum)}, "
        f"max {duration_text(times.maximum)}; {result.gmacs_per_second:.3f} GMAC/s"
    )
    click.echo(
        f"loaded in {duration_text(loading.nanoseconds)}; memory grew by {count_text(loading.resident_bytes)} bytes: "
        f"arena {count_text(loading.arena_bytes)}, file {count_text(loading.model_bytes)}"
    )
    click.echo()
    columns = (
        Column("#", True),
        Column("kind"),
        Column("variant"),
        Column("name"),
        Column("output"),
        Column("MACs", True),
        Column("time", True),
        Column("share", True),
        Column("GMAC/s", True),
    )
    rows = [
        (
            str(one.layer.index),
            one.layer.kind,
            one.layer.variant,
            one.layer.name,
            shape_text(one.layer.output.shape),
            count_text(one.layer.macs) if one.layer.macs else "",
            duration_text(one.nanoseconds),
            f"{one.share:.1%}",
            f"{one.gmacs_per_second:.3f}" if one.layer.macs else "",
        )
        for one in result.layers
    ]
    print_table(columns, rows)
