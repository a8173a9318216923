# SPDX-License-Identifier: Apache-2.0
"""nybble diff."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FILE, json_option
from .terminal import Column, count_text, print_json, print_table, short_text


@click.command()
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@json_option
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Print what differs between two models: operators, attributes, bits, scales, weights, bytes.

    Each is a .nyb file, or a quantized .tflite or .onnx that is converted on the fly. Nothing is run;
    'nybble compare' measures how far their outputs are apart. Operators belong together where their outputs
    have the same name.

    Exit code 0: no difference. 1: there are differences. 2: trouble, such as a file that is no model.

    \b
    Example:
      nybble diff model_w8.nyb model_w4.nyb
    """
    from ..measure.conversion import as_nyb
    from ..measure.diff import diff_models

    contents = []
    for path in (first, second):
        source = as_nyb(path)
        contents.append(source if isinstance(source, bytes) else source.read_bytes())
    result = diff_models(*contents)
    if as_json:
        print_json({"first": str(first), "second": str(second), **result.document()})
    elif result.differences:
        rows = [
            [short_text(one.where, 48), one.what, short_text(one.first, 40), short_text(one.second, 40)]
            for one in result.differences
        ]
        print_table([Column("where"), Column("what"), Column(first.name), Column(second.name)], rows)
        if result.layers:
            click.echo("\nweight bytes, where they differ:")
            columns = [
                Column("operator"),
                Column(first.name, True),
                Column(second.name, True),
                Column("", True),
            ]
            print_table(
                columns,
                [
                    [
                        short_text(n.name, 48),
                        count_text(n.first),
                        count_text(n.second),
                        f"{n.second - n.first:+,}",
                    ]
                    for n in result.layers
                ],
            )
    if result.differences:
        raise click.exceptions.Exit(1)
