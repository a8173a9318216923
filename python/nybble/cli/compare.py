# SPDX-License-Identifier: Apache-2.0
"""nybble compare."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FILE, data_options, json_option, read_names
from .terminal import print_json, printable


@click.command()
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@data_options
@json_option
def compare(
    first: Path,
    second: Path,
    data: Path,
    labels: Path | None,
    pixels: tuple[float, float] | None,
    as_json: bool,
) -> None:
    """Measure how far SECOND is from FIRST on the same samples.

    Each is a .nyb file or a quantized .tflite or .onnx, which run on the integer core, or a float .onnx
    or .tflite, which is computed in float32 with numpy. DATA is what 'nybble evaluate' takes; labels
    may be absent. Integers in a .npz are those of either model; the other one gets the numbers that
    they stand for.

    \b
    Printed for every output: the signal-to-noise ratio (FIRST is the signal, the difference the noise), the
    cosine, the largest difference, and on how many samples the largest element is the same one. With
    labels also what both have right, and the 95 % interval of the difference (paired: Newcombe).

    \b
    Example:
      nybble compare mobilenet.onnx mobilenet.nyb --data test.npz
    """
    from ..measure.compare import compare as measure

    result = measure(first, second, data, classes=read_names(labels), pixels=pixels)
    if as_json:
        print_json({"data": str(data), **result.document()})
        return
    for line in str(result).splitlines():
        click.echo(printable(line))
