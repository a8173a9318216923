# SPDX-License-Identifier: Apache-2.0
"""nybble quantize."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..quantize.calibration import CALIBRATIONS
from ..quantize.methods import METHODS
from ..quantize.recipe import ACTIVATION_BITS, GRANULARITIES, GROUP_SIZES, WEIGHT_LEVELS
from .options import (
    FILE,
    check_destination,
    destination_beside,
    force_option,
    level_of,
    shape_option,
)
from .terminal import Column, count_text, print_table, printable, short_text, stages

if TYPE_CHECKING:
    from ..measure.layers import LayerReport
    from ..quantizing import Quantized

_LEVEL = click.Choice([str(level) for level in WEIGHT_LEVELS])


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--data",
    type=FILE,
    required=True,
    metavar="SAMPLES.npz",
    help="Samples to calibrate on: float32 arrays [N, ...] named as the inputs, or x for the only one.",
)
@click.option(
    "--recipe",
    "recipe_file",
    type=FILE,
    metavar="FILE.yaml",
    help="What becomes of each layer (docs/quantize.md); the options below go before it.",
)
@click.option(
    "--weights", type=_LEVEL, help="Bits of the weights, or ternary: -1, 0 and 1 in 2 bits; 8 by default."
)
@click.option(
    "--group",
    type=click.Choice([str(size) for size in GROUP_SIZES]),
    help="Weights of 4 and 2 bits and ternary: this many neighbouring ones share a factor, a byte in the file. None by "
    "default.",
)
@click.option(
    "--granularity",
    type=click.Choice(list(GRANULARITIES)),
    help="Whether each output channel of a layer's weights has a scale, or the layer has one; channel by default.",
)
@click.option("--first", type=_LEVEL, help="Bits of the first layer's weights.")
@click.option("--last", type=_LEVEL, help="Bits of the last layer's weights.")
@click.option(
    "--activations",
    type=click.Choice([str(bits) for bits in ACTIVATION_BITS]),
    help="Bits of the activations between the layers; 8 by default. Inputs and outputs keep 8, or have 16 as well.",
)
@click.option(
    "--calibration",
    type=click.Choice(list(CALIBRATIONS)),
    help="How the ranges of activations are found; by default minmax or mse, by samples that ranges are not of, "
    "mse for fewer than 8 bits, minmax for 16.",
)
@click.option(
    "--percentile",
    type=click.FloatRange(50, 100, min_open=True),
    help="Part of the numbers within the range, in %, with --calibration percentile; 99.99 by default.",
)
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    help="How weights become integers (docs/weight-methods.md); adaround by default.",
)
@click.option(
    "--pair-safe",
    is_flag=True,
    help="8-bit weights that kernels with 16-bit sums can take (AVX2 without VNNI, ARMv7): two neighbours reach 128.",
)
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
@click.option(
    "--layers/--no-layers",
    "with_layers",
    default=True,
    help="Print what each layer costs, measured on up to 32 of the samples (about 20 seconds at most).",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Try what would help, each change quantized and run (about two minutes at most), and rank it by its gain.",
)
@shape_option
@force_option
def quantize(
    model: Path,
    data: Path,
    recipe_file: Path | None,
    weights: str | None,
    group: str | None,
    granularity: str | None,
    first: str | None,
    last: str | None,
    activations: str | None,
    calibration: str | None,
    percentile: float | None,
    method: str | None,
    pair_safe: bool,
    output: Path | None,
    test: Path | None,
    labels_key: str,
    with_layers: bool,
    explain: bool,
    shapes: dict[str, tuple[int, ...]],
    force: bool,
) -> None:
    """Quantize a float MODEL (.onnx or .tflite) to a .nyb model.

    Activations become int8 by the ranges that the samples reach, weights 8, 4 or 2 bits or ternary; 4 and 2 bits of
    an activation are int8 in memory, of which 16 or 4 levels are used; 16 bits are int16. The result is
    run on the integer core and compared with the float network: signal-to-noise ratio of each output,
    how often the largest element is the same one, and accuracy where there are labels. Sizes that an .onnx
    network leaves open are those of the samples.

    \b
    The table of layers, measured by stepping the integer core:
      SNR, cosine  of the layer's output against the float network's, with all errors before it
      own SNR      against the float layer on the same integer inputs: the error that this layer adds
      cut          outputs that are clamped where the float layer's are beyond the range
      costs        dB that the network's outputs (before a final softmax) gain where the float layer takes
                   this one's place
      a-1 bit      dB that they change by where this layer's output has one bit less

    \b
    Example:
      nybble quantize mobilenet.onnx --data samples.npz --weights 4 --first 8 --last 8
    """
    from ..measure.inputs import read_array
    from ..quantize import Recipe
    from ..quantizing import quantize as quantize_file

    target = destination_beside(model) if output is None else output
    check_destination(target, force=force, sources=(model, data, test, recipe_file))
    measured_on = data if test is None else test
    # The library itself reads labels named y, and takes their absence.
    labels = None if labels_key == "y" else read_array(measured_on, labels_key)
    bits = {"weights": weights, "group": group, "first": first, "last": last, "activations": activations}
    given = {key: level_of(text) for key, text in bits.items() if text is not None} | {
        key: value
        for key, value in (
            ("granularity", granularity),
            ("calibration", calibration),
            ("percentile", percentile),
            ("method", method),
            ("pair_safe", pair_safe or None),
        )
        if value is not None
    }
    base = Recipe() if recipe_file is None else Recipe.from_yaml(recipe_file)
    recipe = Recipe.from_dict(base.to_dict() | given)
    calibrations = (recipe.calibration, *(one.calibration for one in recipe.overrides))
    if percentile is not None and "percentile" not in calibrations:
        raise click.UsageError(
            "--percentile is part of --calibration percentile, which is not asked for: give both, or neither"
        )
    with stages() as show:
        result = quantize_file(
            model,
            data,
            recipe=recipe,
            test=test,
            labels=labels,
            destination=target,
            shapes=shapes,
            progress=lambda done, of: show("quantizing", done, of),
        )
    click.echo(f"{model} -> {target}")
    source_bytes = count_text(model.stat().st_size)
    click.echo(f"  file        {count_text(result.file_bytes)} bytes (source {source_bytes})")
    click.echo(f"  weights     {count_text(result.weight_bytes)} bytes")
    for warning in result.warnings:
        click.echo(printable(str(warning)), err=True)
    measured = result.comparison
    click.echo(f"  measured on the integer core against float32, {measured.samples} samples")
    for line in measured.lines():
        click.echo(f"  {printable(line)}")
    if with_layers or explain:
        _print_layers(result, explain)


def _print_layers(result: Quantized, explain: bool) -> None:
    report = result.layers()
    click.echo()
    columns = (
        Column("#", True),
        Column("kind"),
        Column("name"),
        Column("w bits", True),
        Column("a bits", True),
        Column("bytes", True),
        Column("SNR dB", True),
        Column("cosine", True),
        Column("own SNR", True),
        Column("cut", True),
        Column("costs dB", True),
        Column("a-1 bit dB", True),
    )
    rows = [
        (
            str(one.index),
            one.kind,
            short_text(one.name),
            str(one.weight_bits or ""),
            str(one.activation_bits),
            count_text(one.weight_bytes) if one.weight_bytes else "",
            _decibels(one.snr_db),
            "" if one.cosine is None else f"{one.cosine:.4f}",
            _decibels(one.own_snr_db),
            f"{one.saturation:.2%}" if one.saturation else "",
            "" if one.gain_db is None else f"{one.gain_db:.2f}",
            "" if one.coarser_db is None else f"{one.coarser_db:.2f}",
        )
        for one in report.layers
    ]
    print_table(columns, rows)
    click.echo()
    _print_culprit(report)
    if explain:
        _print_remedies(result, report)


def _print_culprit(report: LayerReport) -> None:
    culprit = report.culprit
    on = f"measured on the integer core, {report.samples} samples"
    if culprit is None:
        click.echo(f"no single layer costs the outputs much ({on})")
        return
    click.echo(
        f"culprit: layer {culprit.index}, {printable(short_text(culprit.name))!r}: exact, it would give the outputs "
        f"{culprit.gain_db:+.1f} dB over {report.snr_db:.1f} ({on})"
    )


def _print_remedies(result: Quantized, report: LayerReport) -> None:
    found = result.remedies(report)
    now = f"{found.snr_db:.1f} dB" + ("" if found.right is None else f", {found.right} right")
    click.echo(
        f"\nwhat would help, each quantized and run on the integer core, {found.samples} samples (now {now}):"
    )
    columns = [Column("gain dB", True), Column("more bytes", True), Column("right", True), Column("change")]
    rows = [
        (
            f"{one.gain_db:+.2f}",
            f"{one.bytes:+,}",
            "" if one.right is None else str(one.right),
            one.text,
        )
        for one in found.tried
    ]
    if rows:
        print_table(columns, rows)
    else:
        click.echo("  nothing left to try")
    if found.untried:
        click.echo(f"  {found.untried} more were not tried for lack of time")


def _decibels(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if math.isfinite(value) else "exact" if value > 0 else "none"
