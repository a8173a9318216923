# SPDX-License-Identifier: Apache-2.0
"""nybble evaluate."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .options import data_options, json_option, model_argument, read_names
from .terminal import Column, print_json, print_table, printable

if TYPE_CHECKING:
    from ..measure.evaluate import Evaluation, Metric

#: Up to this many classes the confusion is printed as a matrix.
_MATRIX_CLASSES = 24

#: Kinds of mistakes that are printed where there are more classes.
_MISTAKES = 20


class TopType(click.ParamType[tuple[int, ...]]):
    """Positive integers with commas between."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The numbers; fails for others."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"expected numbers of at least 1, such as 1,5, found {value!r}", param, ctx)
        return tuple(int(part) for part in parts)


@click.command()
@model_argument
@data_options
@click.option("--top", type=TopType(), default="1,5", show_default=True, help="The k of top-k to count.")
@click.option("--confusion", is_flag=True, help="Print what was taken for what, class by class.")
@click.option(
    "--metric",
    metavar="MODULE:FUNCTION",
    help="Python function of (outputs, labels) that gives a number or a mapping of names to numbers. "
    "Labels may then be anything, or absent.",
)
@json_option
def evaluate(
    model: Path,
    data: Path,
    labels: Path | None,
    pixels: tuple[float, float] | None,
    top: tuple[int, ...],
    confusion: bool,
    metric: str | None,
    as_json: bool,
) -> None:
    """Count what MODEL has right on labelled samples.

    MODEL is a .nyb file or a quantized .tflite or .onnx, which run on the integer core, or a float .onnx
    or .tflite, which is computed in float32 with numpy.

    \b
    DATA is one of
      a folder with a folder of images for each class (needs pillow: pip install nybble[image])
      a folder of images with labels.csv, lines file,class
      a .npz with x and y: float32 as the source network takes it, or the model's own integers

    A folder's class is found by name among the model's labels or those of --labels; else its name
    is the class number; else the classes are the folders in order of name.

    \b
    Examples:
      nybble evaluate model.nyb --data test.npz --confusion
      nybble evaluate mobilenet.tflite --data photos/ --labels labels.txt --top 1,5
    """
    from ..measure.evaluate import evaluate as measure

    hook = None if metric is None else _imported(metric)
    result = measure(model, data, top=top, metric=hook, classes=read_names(labels), pixels=pixels)
    if as_json:
        print_json({"file": str(model), "data": str(data), **result.document(confusion=confusion)})
        return
    click.echo(f"{model}: {result.how}, {result.samples} samples of {data}")
    if result.classes:
        _print_counts(result, top if _was_given("top") else ())
    for name, value in result.metrics.items():
        click.echo(f"  {printable(name)}  {value:.6g}")
    if confusion and result.classes:
        _print_confusion(result)


def _imported(text: str) -> Metric:
    """The function MODULE:FUNCTION, of an installed module or one beside where the command was called."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise click.UsageError(f"expected --metric MODULE:FUNCTION, found {text!r}")
    sys.path.insert(0, os.getcwd())
    try:
        function: Metric = getattr(importlib.import_module(module.removesuffix(".py")), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--metric {text}: {error}") from None
    finally:
        sys.path.pop(0)
    return function


def _was_given(option: str) -> bool:
    """Whether an option stands on the command line."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def _print_counts(result: Evaluation, asked: Sequence[int]) -> None:
    """asked: the k of top-k that somebody asked for, which are answered even where there is nothing to count."""
    from ..measure.evaluate import count_text

    for k in dict.fromkeys((*result.top, *asked)):
        if k in result.top:
            click.echo(f"  top-{k}  {count_text(result.right_in_top(k), result.samples)}")
        else:
            click.echo(f"  top-{k}  not counted: there are only {result.classes} classes")
    low, high = result.interval
    click.echo(f"  95 % interval of the accuracy (Wilson): {100 * low:.1f} to {100 * high:.1f} %")
    seen = len(result.per_class())
    absent = "" if seen == result.classes else f"; {result.classes - seen} classes have no samples"
    click.echo(f"  {result.classes} classes, labels from {result.rule}{absent}")


def _print_confusion(result: Evaluation) -> None:
    click.echo()
    matrix = result.confusion()
    square = result.classes <= _MATRIX_CLASSES
    columns = [Column("class", True), Column("name"), Column("samples", True), Column("right", True)]
    columns += [Column("share", True), Column("95 % interval", True)]
    columns += [Column(f"as {j}", True) for j in range(result.classes)] if square else []
    rows = []
    for one in result.per_class():
        low, high = one.interval
        row = [str(one.number), one.name, str(one.samples), str(one.right)]
        row += [f"{one.right / one.samples:.1%}", f"{100 * low:.1f} to {100 * high:.1f} %"]
        row += [str(n) if n else "." for n in matrix[one.number]] if square else []
        rows.append(row)
    if not any(result.name_of(one.number) for one in result.per_class()):
        columns = [columns[0], *columns[2:]]
        rows = [[row[0], *row[2:]] for row in rows]
    print_table(columns, rows)
    if not square:
        click.echo()
        mistakes = result.mistakes()[:_MISTAKES]
        print_table(
            [Column("samples", True), Column("of class"), Column("taken for")],
            [[str(n), _called(result, i), _called(result, j)] for i, j, n in mistakes],
        )


def _called(result: Evaluation, number: int) -> str:
    return f"{number} {result.name_of(number)}".rstrip()
