# SPDX-License-Identifier: Apache-2.0
"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

#: Existence is not click's to check: a missing file is an error of the system (exit code 1), not of usage.
FILE = click.Path(path_type=Path)


def model_argument(command: Command) -> Command:
    """MODEL: a .nyb file, or a quantized .tflite that is converted on the fly."""
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


def json_option(command: Command) -> Command:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def force_option(command: Command) -> Command:
    """--force."""
    return click.option("--force", is_flag=True, help="Overwrite the destination if it exists.")(command)


def check_destination(path: Path, *, force: bool) -> None:
    """Raise FileExistsError where a file would be overwritten without leave."""
    if path.exists() and not force:
        raise FileExistsError(17, "exists already; --force overwrites it", str(path))
