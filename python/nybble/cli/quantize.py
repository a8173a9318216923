# SPDX-License-Identifier: Apache-2.0
"""nybble quantize."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FILE, check_destination, force_option
from .terminal import count_text, printable

_BITS = click.Choice(["8", "4", "2"])


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--data",
    type=FILE,
    required=True,
    metavar="SAMPLES.npz",
    help="Samples to calibrate on: float32 arrays [N, ...] named as the inputs, or x for the only one.",
)
@click.option("--weights", type=_BITS, default="8", show_default=True, help="Bits of the weights.")
@click.option("--first", type=_BITS, help="Bits of the first layer's weights.")
@click.option("--last", type=_BITS, help="Bits of the last layer's weights.")
@click.option("-o", "--output", type=FILE, metavar="OUT.nyb", help="Destination; MODEL as .nyb by default.")
@click.option(
    "--test",
    type=FILE,
    metavar="SAMPLES.npz",
    help="Samples to measure the result on; the calibration samples by default.",
)
@click.option(
    "--labels-key",
    default="y",
    show_default=True,
    help="Array with the class number of each sample measured on, if there is one.",
)
@force_option
def quantize(
    model: Path,
    data: Path,
    weights: str,
    first: str | None,
    last: str | None,
    output: Path | None,
    test: Path | None,
    labels_key: str,
    force: bool,
) -> None:
    """Quantize a float MODEL (.onnx or .tflite) to a .nyb model.

    Activations become int8 by the ranges that the samples reach, weights 8, 4 or 2 bits. The result is
    run on the integer core and compared with the float network: signal-to-noise ratio of each output,
    how often the largest element is the same one, and accuracy where there are labels.

    \b
    Example:
      nybble quantize mobilenet.onnx --data samples.npz --weights 4 --first 8 --last 8
    """
    from ..measure.inputs import read_array
    from ..quantize import Recipe
    from ..quantizing import quantize as quantize_file

    target = model.with_suffix(".nyb") if output is None else output
    check_destination(target, force=force)
    measured_on = data if test is None else test
    # The library itself reads labels named y, and takes their absence.
    labels = None if labels_key == "y" else read_array(measured_on, labels_key)
    recipe = Recipe(
        int(weights), first=None if first is None else int(first), last=None if last is None else int(last)
    )
    result = quantize_file(model, data, recipe=recipe, test=test, labels=labels, destination=target)
    click.echo(f"{model} -> {target}")
    source_bytes = count_text(model.stat().st_size)
    click.echo(f"  file        {count_text(result.file_bytes)} bytes (source {source_bytes})")
    click.echo(f"  weights     {count_text(result.weight_bytes)} bytes")
    measured = result.comparison
    click.echo(f"  measured on the integer core against float32, {measured.samples} samples")
    for line in measured.lines():
        click.echo(f"  {printable(line)}")
