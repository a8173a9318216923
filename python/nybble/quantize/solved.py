# SPDX-License-Identifier: Apache-2.0
"""Layers that were solved, for whoever meets the same problem again: another recipe changes what comes after the
first layer that it changes, and nothing before it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass

import numpy as np

from .layer import IntegerLayer

#: Bytes of solutions that are kept; those not asked for the longest go first.
LIMIT = 128 << 20


def digest(*parts: object) -> bytes:
    """The hash of arrays, numbers, strings, and of tuples and dataclasses of them."""
    found = hashlib.sha256()
    _add(found, parts)
    return found.digest()


def _add(found: hashlib._Hash, part: object) -> None:
    if isinstance(part, np.ndarray):
        found.update(repr((part.dtype.str, part.shape)).encode())
        found.update(np.ascontiguousarray(part).data)
    elif isinstance(part, tuple):
        found.update(b"(%d" % len(part))
        for one in part:
            _add(found, one)
    elif is_dataclass(part):
        _add(found, tuple(getattr(part, field.name) for field in fields(part)))
    else:
        text = repr(part).encode()
        found.update(b"%d:" % len(text) + text)


class Solved:
    """Solutions by the hash of everything that they depend on."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._bytes = 0
        self._known: OrderedDict[bytes, IntegerLayer] = OrderedDict()

    def recall(self, key: bytes, solve: Callable[[], IntegerLayer]) -> IntegerLayer:
        """The solution of a key, solved where it is not known."""
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        found = self._known[key] = solve()
        self._bytes += _size(found)
        while self._bytes > self._limit:
            _, oldest = self._known.popitem(last=False)
            self._bytes -= _size(oldest)
        return found


def _size(solution: IntegerLayer) -> int:
    return solution.integers.nbytes + solution.scales.nbytes + solution.bias.nbytes
