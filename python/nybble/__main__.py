# SPDX-License-Identifier: Apache-2.0
"""``python -m nybble``: the command ``nybble``."""

from .cli import main

main(prog_name="nybble")
