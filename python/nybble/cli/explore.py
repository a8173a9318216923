# SPDX-License-Identifier: Apache-2.0
"""nybble explore."""

from __future__ import annotations

from pathlib import Path

import click

from ..quantize.levels import sorted_levels
from ..quantize.parameters import Level
from .options import FILE, check_destination, force_option, level_of
from .terminal import Column, count_text, print_table, stages


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--data",
    type=FILE,
    required=True,
    metavar="SAMPLES.npz",
    help="Samples to calibrate on and to decide by: float32 arrays [N, ...] named as the inputs, or x for the only "
    "one; class numbers as y, if there are any.",
)
@click.option(
    "--test",
    type=FILE,
    metavar="SAMPLES.npz",
    help="Samples that are reported on only; nothing is decided by them.",
)
@click.option(
    "--budget",
    default="points=0.5",
    show_default=True,
    help="bytes=50000 or bytes=50% (of the file at the highest level), weights=50% (of the packed weights alone), "
    "arena=50% (of the memory of activations), latency=2ms (on this machine), or points=0.5 (accuracy lost on the "
    "calibration samples); several with commas between: the first is spent, the others have to hold.",
)
@click.option("-o", "--output", type=FILE, metavar="OUT.nyb", help="Write the chosen model.")
@click.option(
    "--directory",
    type=FILE,
    metavar="DIR",
    help="Reports, recipes and results; an interrupted exploration goes on from it. MODEL.explore by default.",
)
@click.option(
    "--levels",
    default="8,4,2",
    show_default=True,
    metavar="LEVELS",
    help="What a layer may have: bits of its weights, or ternary (-1, 0 and 1, in 2 bits); or of its weights and its "
    "activations, as w8a8,w4a8,w4a16. Activations of 16 bits take twice the memory of 8 and more time; of 4 and 2 bits "
    "they save neither: each takes a byte.",
)
@click.option(
    "--recipe",
    type=FILE,
    metavar="RECIPE.yaml",
    help="Everything but what levels choose: calibration, activations where no level names them, as nybble quantize "
    "takes it.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Calibration samples to measure on, evenly taken; all by default.",
)
@click.option(
    "--candidates",
    type=click.IntRange(min=2),
    default=12,
    show_default=True,
    help="Mixed candidates along the front to measure.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--dask", metavar="ADDRESS", help="Hand the work to a Dask scheduler (nybble[dask]).")
@force_option
def explore(
    model: Path,
    data: Path,
    test: Path | None,
    budget: str,
    output: Path | None,
    directory: Path | None,
    levels: str,
    recipe: Path | None,
    samples: int | None,
    candidates: int,
    jobs: int,
    dask: str | None,
    force: bool,
) -> None:
    """Find which level an application needs: weights of 8, 4 or 2 bits, activations of 8 or 16, layer by layer.

    Each layer of the float MODEL (.onnx or .tflite) is lowered alone to each level and the loss measured on
    the integer core. An exact search finds mixed levels for every size; candidates along the whole front,
    every uniform level, and every level for all but the first and the last layer are quantized and run; then
    layers are tried once more around the best within the budget. The calibration samples decide, each half
    answered by weights that were solved on the other; the test samples are only reported on.

    \b
    DIR gets report.html (one page, nothing else needed), front.png (with nybble[plot]), explore.json,
    and a recipe per candidate, of which nybble quantize makes the same bytes.

    \b
    Examples:
      nybble explore net.onnx --data calib.npz --test test.npz --budget bytes=50%
      nybble explore net.onnx --data calib.npz --budget latency=2ms -o net.nyb --jobs 2
      nybble explore net.onnx --data calib.npz --levels w8a16,w8a8,w4a16,w4a8 --budget bytes=60%,arena=75%
    """
    from ..convert import write_whole
    from ..measure.explore import Budget, write_reports
    from ..measure.explore import explore as explore_levels
    from ..measure.report import verdict
    from ..quantize import Recipe

    wanted = Budget.parse(budget)
    place = model.with_suffix(".explore") if directory is None else directory
    if output is not None:
        check_destination(output, force=force, sources=(model, data, test, recipe))
    bits = _levels(levels)
    try:
        with stages() as show:
            found = explore_levels(
                model,
                data,
                test=test,
                budget=wanted,
                recipe=None if recipe is None else Recipe.from_yaml(recipe),
                levels=bits,
                samples=samples,
                candidates=candidates,
                jobs=jobs,
                dask=dask,
                results=place / "results",
                progress=show,
            )
    except KeyboardInterrupt:
        click.echo(f"interrupted; the same command goes on from {place / 'results'}", err=True)
        raise
    heads, rows = found.rows()
    numbers = ("file", "weights", "arena", "predicted", "loss", "latency")
    print_table([Column(head, head in numbers) for head in heads], rows)
    click.echo()
    click.echo(verdict(found))
    written = write_reports(found, place)
    if output is not None:
        write_whole(output, found.chosen.model)
        click.echo(f"{output}: {count_text(found.chosen.file_bytes)} bytes")
    click.echo(f"{place}: {', '.join(written)}")


def _levels(text: str) -> tuple[Level, ...]:
    found = tuple(level_of(part) for part in text.split(","))
    try:
        sorted_levels(found, 8)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--levels") from None
    return found
