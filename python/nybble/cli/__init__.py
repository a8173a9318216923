# SPDX-License-Identifier: Apache-2.0
"""The command ``nybble``. It prints what other rooms compute; each command has a file of its own.

Exit codes: 0 where all went well; 1 where a model, an input or a file was at fault, or a verification found a
mismatch, with one message on standard error; 2 where the command line was wrong. ``diff``, like its namesake, ends
with 1 where there are differences and with 2 where a file is at fault.
"""

from __future__ import annotations

import errno

import click

from ..convert import producer
from ..graph import UnsupportedError
from .bench import bench
from .compare import compare
from .convert import convert
from .demo import demo
from .diff import diff
from .evaluate import evaluate
from .explore import explore
from .info import info
from .quantize import quantize
from .run import run
from .terminal import print_blockers, printable
from .verify import verify

__all__ = ["main"]

#: Exit codes of commands for which 1 means something else than a fault.
_TROUBLE = {"diff": 2}


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    return str(error)


class _Commands(click.Group):
    """A group whose commands end with a message and exit code 1 where they raise what nybble documents.

    ImportError: an optional package is not installed.
    """

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except UnsupportedError as error:
            print_blockers(error.model, error.blockers)
        except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # click ends quietly where the reader of a pipe is gone
            lines = [printable(line) for line in _message(error).splitlines()]
            click.echo("nybble: " + "\n".join(lines), err=True)
        return ctx.exit(_TROUBLE.get(ctx.invoked_subcommand or "", 1))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 success; 1 a model, an input or a file is at fault, or verification found a "
    "mismatch; 2 the command line is wrong.",
)
@click.version_option(producer(), message="%(version)s")
def main() -> None:
    """Integer-only neural networks in 8, 4 and 2 bits: the same bits on every CPU.

    \b
    Example:
      nybble convert mobilenet.tflite
      nybble run mobilenet.nyb cat.jpg --labels labels.txt
    """


for _command in (convert, info, run, verify, bench, quantize, evaluate, compare, diff, explore, demo):
    main.add_command(_command)
