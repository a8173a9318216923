# SPDX-License-Identifier: Apache-2.0
"""What the commands print: plain text; tables and progress bars of rich on a terminal that has it.

rich comes with ``pip install nybble[cli]``. Files and pipes get plain text either way, so that what a
program reads does not depend on what is installed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import click

from ..graph import Blocker, grouped

T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and whether it holds numbers (aligned to the right)."""

    heading: str
    number: bool = False


def _is_rich(stream: IO[str]) -> bool:
    return stream.isatty() and importlib.util.find_spec("rich") is not None


def printable(text: str) -> str:
    """The text with '?' for what could steer a terminal: anyone may have written the names in a file."""
    return "".join(c if c.isprintable() else "?" for c in text)


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, error: bool = False) -> None:
    """Print a table. error: to standard error."""
    stream = sys.stderr if error else sys.stdout
    cells = [[printable(cell) for cell in row] for row in rows]
    if _is_rich(stream):
        _print_rich_table(columns, cells, stream)
        return
    lines = [[c.heading for c in columns], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = [
            cell.rjust(width) if column.number else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        click.echo("  ".join(padded).rstrip(), err=error)


def _print_rich_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], stream: IO[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.heading, justify="right" if column.number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(file=stream).print(table)


def print_json(document: Any) -> None:
    """Print a document for programs: JSON, indented, non-ASCII escaped."""
    click.echo(json.dumps(document, indent=2))


def progress(items: Sequence[T], description: str) -> Iterable[T]:
    """The items, with a progress bar on standard error where that is a terminal that rich can draw on."""
    if not _is_rich(sys.stderr):
        return items
    return _rich_progress(items, description)


def _rich_progress(items: Sequence[T], description: str) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description, console=Console(stderr=True), transient=True)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A function of (what, done, of) that shows a bar for each stage of a long work where ``progress`` would."""
    if not _is_rich(sys.stderr):
        yield lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        known: dict[str, Any] = {}

        def show(what: str, done: int, of: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what)
            bars.update(known[what], completed=done, total=of)

        yield show


def print_blockers(model: str, blockers: Sequence[Blocker]) -> None:
    """Print why a model cannot be taken, every reason, to standard error."""
    plural = "" if len(blockers) == 1 else "s"
    click.echo(f"nybble: {printable(model)}: {len(blockers)} blocker{plural}", err=True)
    columns = (Column("count"), Column("first node"), Column("reason"), Column("remedy"))
    rows = [(str(count), b.node, b.reason, b.remedy) for count, b in grouped(blockers)]
    print_table(columns, rows, error=True)


def shape_text(shape: Sequence[int]) -> str:
    """'1x32x32x3', or 'scalar'."""
    return "x".join(str(n) for n in shape) if shape else "scalar"


def short_text(text: str, width: int = 36) -> str:
    """The text, its middle left out where it is wider: names of networks differ at their ends."""
    if len(text) <= width:
        return text
    end = (width - 2) * 2 // 3
    return f"{text[: width - 2 - end]}..{text[-end:]}"


def count_text(number: int) -> str:
    """'1,234,567'."""
    return f"{number:,}"


def duration_text(nanoseconds: float) -> str:
    """Three or more digits in ns, us, ms or s."""
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= factor:
            return f"{nanoseconds / factor:.3f} {unit}"
    return f"{nanoseconds:.0f} ns"
