# SPDX-License-Identifier: Apache-2.0
"""Arguments and options that several commands share."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from ..convert import check_writable
from ..quantize.parameters import Level

Command = TypeVar("Command", bound=Callable[..., Any])


class FileType(click.Path):
    """A path. Existence is not click's to check: a missing file is an error of the system (exit code 1), not of usage."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; fails for an empty one, which would stand for the folder that one is in, and for '-'."""
        if not os.fspath(value):
            self.fail("expected a path, found an empty one", param, ctx)
        if os.fspath(value) == "-":
            self.fail(
                "expected a path, found '-': standard input and output are not for files here; name a file, or "
                "./- for one that is called so",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


FILE = FileType(path_type=Path)


def model_argument(command: Command) -> Command:
    """MODEL: a .nyb file, or a quantized .tflite or .onnx that is converted on the fly."""
    return click.argument("model", type=FILE)(command)


def execution_options(command: Command) -> Command:
    """--threads, --cpu and --prepack, as nybble.load takes them."""
    command = click.option(
        "--prepack",
        is_flag=True,
        help="Rewrite weights at load where that makes layers faster: more memory, the same outputs.",
    )(command)
    command = click.option(
        "--cpu",
        metavar="LEVEL",
        help="Highest CPU level to use, such as scalar, avx2 or neon; the best by default. "
        "The outputs are the same bits on every level. 'nybble verify --all-cpus' names this machine's.",
    )(command)
    return click.option(
        "--threads",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Threads of one invocation.",
    )(command)


def data_options(command: Command) -> Command:
    """--data, --labels and --pixels: samples to measure on, as nybble.evaluate takes them."""
    command = click.option(
        "--pixels",
        type=RangeType(),
        metavar="LOW..HIGH",
        help="What 0 and 255 of an image become, such as 0..1 or -1..1; what the model says by default.",
    )(command)
    command = click.option(
        "--labels",
        type=FILE,
        metavar="FILE",
        help="Text file with one class name a line, to which folders are matched; the model's own by default.",
    )(command)
    return click.option(
        "--data",
        type=FILE,
        required=True,
        metavar="DIR|SAMPLES.npz",
        help="A folder of images per class, a folder of images with labels.csv, or arrays x and y.",
    )(command)


class RangeType(click.ParamType[tuple[float, float]]):
    """Two numbers, LOW..HIGH."""

    name = "range"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Two finite, different numbers; fails otherwise."""
        if isinstance(value, tuple):
            return value
        try:
            low, high = (float(part) for part in str(value).split(".."))
        except ValueError:
            low = high = math.nan
        if not math.isfinite(high - low) or low == high:
            self.fail(f"expected LOW..HIGH, such as 0..1, found {value!r}", param, ctx)
        return low, high


class ShapeType(click.ParamType[tuple[str, tuple[int, ...]]]):
    """The shape of an input, NAME=1,3,224,224."""

    name = "shape"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        """The name and the numbers; fails for others."""
        if isinstance(value, tuple):
            return value
        # A name may hold the sign itself.
        name, _, sizes = str(value).rpartition("=")
        parts = [part.strip() for part in sizes.split(",")]
        if not name or not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(
                f"expected the name of an input and its sizes, such as x=1,3,224,224, found {value!r}",
                param,
                ctx,
            )
        return name, tuple(int(part) for part in parts)


def _by_name(
    ctx: click.Context, param: click.Parameter, given: Sequence[tuple[str, tuple[int, ...]]]
) -> dict[str, tuple[int, ...]]:
    result: dict[str, tuple[int, ...]] = {}
    for name, shape in given:
        if result.setdefault(name, shape) != shape:
            raise click.BadParameter(
                f"expected one shape of {name!r}, found {result[name]} and {shape}", ctx, param
            )
    return result


def shape_option(command: Command) -> Command:
    """--shape, as shapes of nybble.convert and nybble.quantize: a mapping by name."""
    return click.option(
        "--shape",
        "shapes",
        type=ShapeType(),
        multiple=True,
        callback=_by_name,
        metavar="NAME=1,3,224,224",
        help="The shape of an input of an .onnx network that leaves sizes open, in the file's order of axes; once for each "
        "such input. An open first dimension alone is 1 without it.",
    )(command)


def level_of(text: str) -> Level:
    """Bits of weights as a number, what is none as it is."""
    text = text.strip()
    return int(text) if text.isdigit() else text


def read_names(path: Path | None) -> tuple[str, ...]:
    """The lines of a text file of class names; none where there is no file."""
    if path is None:
        return ()
    try:
        return tuple(path.read_text("utf-8").splitlines())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file of class names in UTF-8, found: {error}") from None


def destination_beside(source: Path) -> Path:
    """Where a model goes unless something else is said: the source with the suffix .nyb.

    Raises IsADirectoryError for a folder, and ValueError where that is the source itself.
    """
    if source.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "is a folder; expected the file of a .tflite or .onnx network", str(source)
        )
    if source.suffix == ".nyb":
        raise ValueError(
            f"{source}: expected a .tflite or .onnx network, found the suffix of a .nyb model, which is converted already: "
            "nybble run, info and verify take it as it is; for another network of that suffix, name a destination"
        )
    return source.with_suffix(".nyb")


def json_option(command: Command) -> Command:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def force_option(command: Command) -> Command:
    """--force."""
    return click.option("--force", is_flag=True, help="Overwrite the destination if it exists.")(command)


def check_destination(path: Path, *, force: bool, sources: Iterable[Path | None] = ()) -> None:
    """Raise OSError where a file cannot be written, would be overwritten without leave, or is one of those that the
    command reads, with leave or without.
    """
    check_writable(path)
    if not path.exists():
        return
    if any(source is not None and source.exists() and path.samefile(source) for source in sources):
        raise FileExistsError(errno.EEXIST, "is read by this command; choose another destination", str(path))
    if not force:
        raise FileExistsError(errno.EEXIST, "exists already; --force overwrites it", str(path))
