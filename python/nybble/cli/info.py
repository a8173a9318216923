# SPDX-License-Identifier: Apache-2.0
"""nybble info."""

from __future__ import annotations

from pathlib import Path

import click

from .options import json_option, model_argument
from .terminal import Column, count_text, print_json, print_table, printable, shape_text


@click.command()
@model_argument
@json_option
def info(model: Path, as_json: bool) -> None:
    """Print what MODEL is and costs: operators, MACs, bytes.

    MODEL is a .nyb file, or a quantized .tflite or .onnx that is converted on the fly. MACs are those of one
    invocation. The session arena is all the memory that one session needs on this machine:
    activations, plans, scratch.

    \b
    Example:
      nybble info mobilenet.nyb
    """
    from .. import load
    from ..measure.metadata import read_metadata
    from ..measure.summary import summarize

    session = load(model)
    summary = summarize(session)
    layouts = read_metadata(session.content).layouts
    file_bytes = model.stat().st_size
    if as_json:
        print_json(
            {
                "file": str(model),
                "file_bytes": file_bytes,
                **summary.document(),
                "source_layouts": dict(layouts),
            }
        )
        return
    click.echo(f"{model}: {count_text(file_bytes)} bytes")
    for what, ports in (("input", summary.inputs), ("output", summary.outputs)):
        for port in ports:
            quantized = f", {port.scale:.9g} * (q - {port.zero_point})" if port.scale else ""
            real = ", float32 in the source network" if port.real else ""
            if port.name in layouts:
                real += f", {printable(layouts[port.name])} there"
            name = printable(port.name)
            click.echo(f"{what} {name!r}: {port.dtype} {shape_text(port.shape)}{quantized}{real}")
    click.echo()
    columns = (
        Column("#", True),
        Column("kind"),
        Column("variant"),
        Column("name"),
        Column("output"),
        Column("MACs", True),
        Column("bits", True),
        Column("weight bytes", True),
    )
    rows = [
        (
            str(layer.index),
            layer.kind,
            layer.variant,
            layer.name,
            shape_text(layer.output.shape),
            count_text(layer.macs) if layer.macs else "",
            str(layer.weight_bits) if layer.weight_bits else "",
            count_text(layer.weight_bytes) if layer.weight_bytes else "",
        )
        for layer in summary.layers
    ]
    print_table(columns, rows)
    click.echo()
    for label, value in (
        ("operators", len(summary.layers)),
        ("MACs", summary.macs),
        ("weight bytes", summary.weight_bytes),
        ("activation bytes", summary.activation_bytes),
        ("session arena", summary.session_bytes),
    ):
        click.echo(f"{label:<17} {count_text(value):>13}")
