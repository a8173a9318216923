# SPDX-License-Identifier: Apache-2.0
"""What the commands print: plain text; tables and progress bars of rich on a terminal that has it.

rich comes with ``pip install nybble[cli]``. Files and pipes get plain text either way, so that what a
program reads does not depend on what is installed. Progress goes to standard error: a bar, on a terminal without rich
a line that is written over, elsewhere a line now and then.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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


def progress(items: Sequence[T], description: str) -> Iterator[T]:
    """The items, with their progress on standard error."""
    with stages() as show:
        for done, item in enumerate(items):
            show(description, done, len(items))
            yield item


#: Seconds between lines of progress where there is no terminal.
_LINES_APART = 30.0


@contextmanager
def _plain_stages() -> Iterator[Callable[[str, int, int], None]]:
    terminal = sys.stderr.isatty()
    last, width = time.monotonic(), 0

    def show(what: str, done: int, of: int) -> None:
        nonlocal last, width
        text = f"{what} {done} of {of}"
        if terminal:
            click.echo(f"\r{text.ljust(width)}", err=True, nl=False)
            width = len(text)
        elif time.monotonic() - last >= _LINES_APART:
            click.echo(text, err=True)
            last = time.monotonic()

    try:
        yield show
    finally:
        if width:
            click.echo(f"\r{' ' * width}\r", err=True, nl=False)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A function of (what, done, of) that shows how far each stage of a long work is."""
    if not _is_rich(sys.stderr):
        with _plain_stages() as show_plain:
            yield show_plain
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
