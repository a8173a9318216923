# SPDX-License-Identifier: Apache-2.0
"""nybble run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import FILE, check_destination, execution_options, force_option, model_argument, read_names
from .terminal import Column, print_table, printable, shape_text

if TYPE_CHECKING:
    from ..measure.outputs import Score


@click.command()
@model_argument
@click.argument("inputs", metavar="INPUT...", type=FILE, nargs=-1, required=True)
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Classes to print.")
@click.option("--labels", type=FILE, help="Text file with one class name a line; the model's own by default.")
@click.option("-o", "--output", type=FILE, metavar="OUT.npz", help="Write the outputs, print no classes.")
@force_option
@execution_options
def run(
    model: Path,
    inputs: tuple[Path, ...],
    top: int,
    labels: Path | None,
    output: Path | None,
    force: bool,
    threads: int,
    cpu: str | None,
    prepack: bool,
) -> None:
    """Run MODEL on files and print the best classes.

    MODEL is a .nyb file, or a quantized .tflite or .onnx that is converted on the fly. Each INPUT serves one
    input of the model, in order; with more files than inputs, the next sample begins. A file may
    hold a batch.

    \b
      .npy        integers of the input's type, or floats (quantized with its scale; channels first
                  where the source network has them so)
      .npz        the same for all inputs, by name or in order, or x for the only one
      .raw .bin   the input's integers as bytes, little endian
      other       an image (needs pillow: pip install nybble[image])

    An image is resized bilinearly to the input's size, grey for one channel. Its pixels p of 0..255
    become p * scale + offset, quantized, where the model has preprocessing metadata. Without it, a
    uint8 input takes p, and an int8 input takes p - 128 if its scale and zero point stand for
    0..255, 0..1 or -1..1; any other is an error.

    OUT.npz gets one array per output, by name, samples joined along the first dimension: the
    model's integers, or float32 where the source network has float32.

    \b
    Examples:
      nybble run mobilenet.nyb cat.jpg dog.jpg --top 3
      nybble run model.nyb input.npy -o output.npz
    """
    from .. import load
    from ..convert import write_whole
    from ..measure.conversion import as_nyb
    from ..measure.inputs import read_samples
    from ..measure.metadata import read_metadata
    from ..measure.outputs import archive, is_classes, top_scores

    if output is not None:
        if output.suffix.lower() != ".npz":
            raise click.UsageError(
                f"-o: expected a name that ends in .npz, found {str(output)!r}: an archive is written, with one array for "
                "each output"
            )
        check_destination(output, force=force, sources=(model, labels, *inputs))
    source = as_nyb(model)
    session = load(source, threads=threads, cpu=cpu, prepack=prepack)
    metadata = read_metadata(source if isinstance(source, bytes) else source.read_bytes())
    names = metadata.labels if labels is None else read_names(labels)
    samples = read_samples(inputs, session.inputs, metadata)
    outputs = session.run(samples.arrays)
    if output is not None:
        joined = [y.reshape(-1, *p.shape[1:]) for p, y in zip(session.outputs, outputs, strict=True)]
        write_whole(output, archive(session.outputs, joined))
        for port, array in zip(session.outputs, joined, strict=True):
            click.echo(f"{output}: {printable(port.name)!r} {shape_text(array.shape)}")
        return
    for index, sample in enumerate(samples.names):
        for port, array in zip(session.outputs, outputs, strict=True):
            click.echo(f"{sample}: {printable(port.name)!r}")
            if is_classes(port):
                _print_scores(top_scores(port, array[index], top), names)
            else:
                values = port.dequantize(array[index])
                span = f"{values.min():.6g}..{values.max():.6g}" if values.size else "empty"
                click.echo(f"  {shape_text(port.shape)}, {span}; -o OUT.npz writes it")


def _print_scores(scores: list[Score], labels: tuple[str, ...]) -> None:
    columns = [Column("class", True), Column("score", True), Column("integer", True)]
    rows = [[str(s.index), f"{s.value:.6g}", str(s.integer)] for s in scores]
    if labels:
        columns.append(Column("label"))
        for row, score in zip(rows, scores, strict=True):
            row.append(labels[score.index] if score.index < len(labels) else "")
    print_table(columns, rows)
