# SPDX-License-Identifier: Apache-2.0
"""nybble demo."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..measure.durations import duration_text
from .terminal import Column, count_text, print_table, progress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SHOWN = 4
_LATENCY_RUNS = 50
_SHADES = " .:-=+*#@"


def _picture(image: npt.NDArray[np.uint8], largest: int) -> list[str]:
    """An image as text, two characters a pixel, so that it looks square."""
    return [
        "".join(_SHADES[int(pixel) * (len(_SHADES) - 1) // largest] * 2 for pixel in row) for row in image
    ]


def _write(folder: Path) -> None:
    """The files of --files."""
    from ..convert import check_writable, write_whole
    from ..measure.digits import FLOAT_SHAPE, calibration_digits, float_content, test_digits
    from ..measure.outputs import npz

    folder.mkdir(parents=True, exist_ok=True)
    contents = {"digits.onnx": float_content()}
    for name, digits in (("calibration.npz", calibration_digits()), ("test.npz", test_digits())):
        contents[name] = npz({"x": digits.inputs(FLOAT_SHAPE), "y": digits.labels})
    for name, content in contents.items():
        path = folder / name
        check_writable(path)
        if path.exists() and path.read_bytes() != content:
            raise FileExistsError(errno.EEXIST, "exists already with other content", str(path))
    for name, content in contents.items():
        write_whole(folder / name, content)
        click.echo(f"{folder / name}  {count_text(len(content))} bytes")


@click.command()
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the float network and its samples to FOLDER instead, to try the other commands on.",
)
def demo(files: Path | None) -> None:
    """Classify handwritten digits with one small network in 8, 4 and 2 bit weights.

    Models and images come with the package; nothing is downloaded. --files writes digits.onnx, calibration.npz (100
    samples) and test.npz (497), with the images as x and their labels as y.

    \b
    Example:
      nybble demo
      nybble demo --files digits
      nybble quantize digits/digits.onnx --data digits/calibration.npz --test digits/test.npz --weights 4
    """
    if files is not None:
        _write(files)
        return
    from .. import load
    from ..measure.bench import benchmark
    from ..measure.digits import MODELS, PIXEL_MAX, count_correct, model_content, test_digits
    from ..measure.summary import summarize

    digits = test_digits()
    rows = []
    predictions = {}
    for bits in progress(tuple(MODELS), "classifying"):
        content = model_content(bits)
        session = load(content)
        scores = session(digits.inputs(session.inputs[0].shape))
        summary = summarize(session)
        correct = count_correct(scores, digits)
        predictions[bits] = scores.reshape(len(digits.labels), -1).argmax(axis=1)
        latency = benchmark(session, _LATENCY_RUNS).invocation.median
        total = len(digits.labels)
        rows.append(
            (
                str(bits),
                f"{correct} of {total} ({correct / total:.1%})",
                count_text(len(content)),
                count_text(summary.weight_bytes),
                count_text(summary.session_bytes),
                duration_text(latency),
            )
        )

    pictures = [_picture(digits.images[i], PIXEL_MAX) for i in range(_SHOWN)]
    for lines in zip(*pictures, strict=True):
        click.echo("   ".join(lines).rstrip())
    captions = [
        f"digit {digits.labels[i]}: " + " ".join(str(predictions[bits][i]) for bits in MODELS)
        for i in range(_SHOWN)
    ]
    click.echo("   ".join(caption.ljust(len(pictures[0][0])) for caption in captions).rstrip())
    click.echo(f"predictions with weights of {', '.join(str(b) for b in MODELS)} bits\n")
    columns = (
        Column("weight bits", True),
        Column("correct"),
        Column("file bytes", True),
        Column("weight bytes", True),
        Column("arena bytes", True),
        Column("latency", True),
    )
    print_table(columns, rows)
    click.echo(
        "\nThe arena is all the memory that a session needs besides the file, scratch memory of this CPU's kernels "
        "included.\nThe scores are integers, bit-identical on every CPU; arena and latency are this machine's."
    )
