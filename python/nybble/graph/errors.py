# SPDX-License-Identifier: Apache-2.0
"""What nybble raises besides ValueError and TypeError for wrong arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


class ModelError(ValueError):
    """The model file is wrong: truncated, corrupt, or it contradicts itself."""


class QuantizationError(ValueError):
    """The network cannot be expressed in the integers asked for."""


@dataclass(frozen=True)
class Blocker:
    """Why one node cannot be taken, and what to do about it."""

    node: str
    reason: str
    remedy: str


def grouped(blockers: Sequence[Blocker]) -> list[tuple[int, Blocker]]:
    """(count, first one) of the blockers of one kind of node, reason and remedy, in order."""
    groups: dict[tuple[str, str, str], list[Blocker]] = {}
    for blocker in blockers:
        key = (blocker.node.split(" ")[0], blocker.reason, blocker.remedy)
        groups.setdefault(key, []).append(blocker)
    return [(len(group), group[0]) for group in groups.values()]


class UnsupportedError(ValueError):
    """The model is valid, but nybble does not run it. ``blockers`` lists every reason, not the first only."""

    def __init__(self, model: str, blockers: Sequence[Blocker]) -> None:
        self.model = model
        self.blockers = tuple(blockers)
        super().__init__(self._table())

    def __reduce__(self) -> tuple[type[UnsupportedError], tuple[str, tuple[Blocker, ...]]]:
        return type(self), (self.model, self.blockers)

    def _table(self) -> str:
        rows = [("count", "first node", "reason", "remedy")]
        rows += [(str(n), b.node, b.reason, b.remedy) for n, b in grouped(self.blockers)]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        count = len(self.blockers)
        plural = "" if count == 1 else "s"
        return "\n".join([f"{self.model}: {count} blocker{plural}", *lines])


def fault_text(error: Exception) -> str:
    """What an error says, with its kind where that is needed: of a KeyError the text is the key alone."""
    text = str(error)
    return (
        text
        if text and isinstance(error, ValueError)
        else f"{type(error).__name__}: {text}".removesuffix(": ")
    )


@contextlib.contextmanager
def faults_of(name: str) -> Iterator[None]:
    """Whatever a file's contradictions break on the way (shapes that do not fit, indices beyond the end, attributes of
    another type, sizes beyond memory) is that file's fault: a ModelError, caused by what broke.

    A network may be wrong in more ways than rules can check, and each of them breaks something else: so all errors
    count but nybble's own, the system's (OSError) and packages that are missing (ImportError).
    """
    try:
        yield
    except (ModelError, QuantizationError, UnsupportedError, OSError, ImportError):
        raise
    except Exception as error:
        raise ModelError(f"{name}: the model contradicts itself: {fault_text(error)}") from error
