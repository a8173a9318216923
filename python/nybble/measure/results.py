# SPDX-License-Identifier: Apache-2.0
"""Results on disk, so that what was interrupted goes on where it was.

An entry is a line of JSON and, after it, the bytes that belong to it. Its name is the hash of everything
that the result depends on; it is there as a whole or not at all, and one that is damaged counts as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..convert import write_whole


def content_key(*parts: object) -> str:
    """The hash, 64 hexadecimal digits, of JSON values and bytes."""
    digest = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _digest(document: str, content: bytes) -> str:
    return hashlib.sha256(document.encode() + b"\n" + content).hexdigest()


class Results:
    """Entries in a directory; in memory alone where it is None."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._memory: dict[str, tuple[Mapping[str, Any], bytes]] = {}
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)

    def read(self, key: str) -> tuple[Mapping[str, Any], bytes] | None:
        """(document, bytes) of an entry; None where there is none or it is damaged."""
        if key not in self._memory and self._directory is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                head, _, content = (self._directory / key).read_bytes().partition(b"\n")
                entry = json.loads(head)
                if entry["digest"] == _digest(entry["document"], content):
                    self._memory[key] = json.loads(entry["document"]), content
        return self._memory.get(key)

    def write(self, key: str, document: Mapping[str, Any], content: bytes = b"") -> None:
        """Keep an entry. Raises OSError where it cannot be written."""
        text = json.dumps(document, sort_keys=True)
        if self._directory is not None:
            head = json.dumps({"digest": _digest(text, content), "document": text})
            write_whole(self._directory / key, head.encode() + b"\n" + content)
        self._memory[key] = json.loads(text), content
