# SPDX-License-Identifier: Apache-2.0
"""nybble verify."""

from __future__ import annotations

from pathlib import Path

import click

from .options import model_argument


@click.command()
@model_argument
@click.option("--all-cpus", is_flag=True, help="Every CPU level of this machine, not the best one only.")
@click.pass_context
def verify(ctx: click.Context, model: Path, all_cpus: bool) -> None:
    """Prove that this machine computes the bits of MODEL.

    For each CPU level, with 1 and 2 threads: the file's hash, its certificates and its golden
    digests (if it has any) are checked, and the outputs for fixed inputs (two random, all smallest, all largest) are
    compared with those of scalar code. One line each; the exit code is 1 on a mismatch. The digest
    is that of the outputs: the same model prints the same digest on every machine.

    \b
    Example:
      nybble verify mobilenet.nyb --all-cpus
    """
    from ..measure.conversion import as_nyb
    from ..measure.verify import has_golden, verify_everywhere
    from ..session import cpu_levels

    levels = cpu_levels() if all_cpus else cpu_levels()[-1:]
    source = as_nyb(model)
    failed = False
    for one in verify_everywhere(source, levels, (1, 2)):
        threads = f"{one.threads} thread{'s' if one.threads > 1 else ' '}"
        verdict = f"MISMATCH: {one.fault}" if one.fault else "ok"
        click.echo(f"{one.cpu:<10}  {threads}  outputs {one.digest[:16]}  {verdict}")
        failed = failed or bool(one.fault)
    if not has_golden(source):
        click.echo("the file has no golden outputs: nothing was compared with the machine that built it")
    ctx.exit(1 if failed else 0)
