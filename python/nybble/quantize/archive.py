# SPDX-License-Identifier: Apache-2.0
"""Numpy's files: the arrays of a .npz archive, one by one, and the one of a .npy file.

What numpy raises for a damaged file depends on which byte is wrong (zlib.error, NotImplementedError, struct.error,
...), so that whatever comes after the file was opened is that file's fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..graph import Array

_NPY_START = b"\x93NUMPY"
#: Of an archive with entries, and of one without.
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")


class Archive:
    """The arrays of an open .npz file."""

    def __init__(self, path: Path, file: np.lib.npyio.NpzFile) -> None:
        self._path = path
        self._file = file

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays, in the file's order."""
        return tuple(self._file.files)

    def read(self, name: str) -> Array:
        """One array. Raises ValueError where it is corrupt, or holds anything but numbers and text."""
        with _faults_of(self._path, f"the array {name!r}"):
            return np.asarray(self._file[name])


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """A .npz file, open for reading. Raises OSError, and ValueError where it is no such file."""
    with path.open("rb") as file:
        start = _start(file)
        if start == _NPY_START:
            raise ValueError(
                f"{path}: expected a .npz archive of named arrays, found a single array (.npy); "
                f"numpy.savez({path.stem + '.npz'!r}, x=samples, y=labels) makes an archive, y only where there "
                "are labels"
            )
        if not start.startswith(_ZIP_STARTS):
            raise ValueError(f"{path}: expected a .npz archive (numpy.savez), found the beginning of none")
        with _faults_of(path, "the archive"):
            opened: np.lib.npyio.NpzFile = np.load(file, allow_pickle=False)
        with opened:
            yield Archive(path, opened)


def read_npy(path: Path) -> Array:
    """The array of a .npy file. Raises OSError, and ValueError where it is no such file."""
    with path.open("rb") as file:
        start = _start(file)
        if start.startswith(_ZIP_STARTS):
            raise ValueError(
                f"{path}: expected a single array, found a .npz archive: give it the suffix .npz"
            )
        if start != _NPY_START:
            raise ValueError(f"{path}: expected a numpy file (.npy), found the beginning of none")
        with _faults_of(path, "the array"):
            return np.asarray(np.load(file, allow_pickle=False))


def _start(file: BinaryIO) -> bytes:
    start = file.read(len(_NPY_START))
    file.seek(0)
    return start


@contextmanager
def _faults_of(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if "Object arrays" in str(error):
            raise ValueError(
                f"{path}: {what} holds Python objects, expected numbers: numpy.stack makes one array of arrays "
                "of one shape"
            ) from None
        found = str(error) or type(error).__name__
        if isinstance(error, MemoryError):
            raise ValueError(f"{path}: {what} does not fit into memory: {found}") from error
        raise ValueError(f"{path}: {what} is corrupt: {found}; write or copy the file again") from error
