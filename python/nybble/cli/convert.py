# SPDX-License-Identifier: Apache-2.0
"""nybble convert."""

from __future__ import annotations

from pathlib import Path

import click

from ..convert import write_whole
from ..measure.conversion import convert_file
from ..quantize.requantize_weights import SAFE_RUNS
from .options import FILE, check_destination, destination_beside, force_option, shape_option
from .terminal import count_text


@click.command()
@click.argument("source", type=FILE)
@click.argument("destination", type=FILE, required=False)
@click.option(
    "--cut",
    is_flag=True,
    help="Where the network goes on in float32 after its last integer tensors, end it there.",
)
@click.option(
    "--golden/--no-golden",
    default=None,
    help="Hold inputs and the digest of every operator's answer, with which verify proves a device bit "
    "by bit; by default where numpy computes them in about a second.",
)
@click.option(
    "--weight-bits",
    type=click.Choice(["4", "2"]),
    help="Round the int8 weights of convolutions and fully connected layers to fewer bits. For measuring speed: "
    "nobody looks after accuracy; 'nybble quantize' does.",
)
@click.option(
    "--weights",
    type=click.Choice(list(SAFE_RUNS)),
    help="Round the int8 weights until 16 bits hold the sum of any two (pair-safe) or four (quad-safe) products, "
    "which faster kernels rely on. For measuring speed, too.",
)
@shape_option
@force_option
def convert(
    source: Path,
    destination: Path | None,
    cut: bool,
    golden: bool | None,
    weight_bits: str | None,
    weights: str | None,
    shapes: dict[str, tuple[int, ...]],
    force: bool,
) -> None:
    """Convert a quantized SOURCE (.tflite, or .onnx: QDQ or QOperator) to a .nyb model.

    DESTINATION is SOURCE with the suffix .nyb unless it is given. It is written whole or not at all.
    Where the network holds anything that nybble does not run, a table lists every such node, and
    nothing is written.

    \b
    Examples:
      nybble convert mobilenet.tflite mobilenet.nyb
      nybble convert mobilenet_qdq.onnx --shape x=1,3,224,224
    """
    if weight_bits is not None and weights is not None:
        raise click.UsageError(
            f"weights of {weight_bits} bits are {weights} already: leave one of the two out"
        )
    target = destination_beside(source) if destination is None else destination
    check_destination(target, force=force, sources=(source,))
    conversion = convert_file(
        source,
        cut=cut,
        golden=golden,
        weight_bits=None if weight_bits is None else int(weight_bits),
        weights=weights,
        shapes=shapes,
    )
    write_whole(target, conversion.content)
    click.echo(f"{source} -> {target}")
    click.echo(
        f"  file        {count_text(len(conversion.content))} bytes "
        f"(source {count_text(conversion.source_bytes)})"
    )
    click.echo(f"  operators   {conversion.operators}")
    click.echo(
        f"  activations {count_text(conversion.arena_bytes)} bytes (no plan can take less than "
        f"{count_text(conversion.arena_lower_bound)})"
    )
