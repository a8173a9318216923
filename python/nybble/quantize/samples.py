# SPDX-License-Identifier: Apache-2.0
"""Samples of a network's inputs: from arrays or a .npz file to one float32 array per input."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..graph import Array, Graph, Port
from .archive import open_archive

Float32 = npt.NDArray[np.float32]

#: A .npz path, an array for the only input, or one array per input, in order or by name.
Data: TypeAlias = "str | os.PathLike[str] | Array | Sequence[Array] | Mapping[str, Array]"


def read_samples(data: Data, graph: Graph) -> tuple[list[Float32], Array | None]:
    """(per input of the graph an array [N, *shape], labels or None).

    Arrays are floating point, [N, ...] as the source network takes them: where the graph has an
    NCHW input of the source as NHWC, the samples are transposed here. A .npz holds arrays named as
    the inputs, or ``x`` for the only input, and labels as ``y`` if there are any.

    Raises OSError, TypeError for integers and ValueError for other shapes, names or numbers.
    """
    arrays, labels = arrays_of(data, [port.name for port in graph.inputs])
    samples = [_as_input(array, port, graph) for array, port in zip(arrays, graph.inputs, strict=True)]
    counts = {len(array) for array in samples}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"expected at least one sample, as many for every input, found {sorted(counts)}")
    return samples, labels


def arrays_of(data: Data, names: Sequence[str]) -> tuple[list[Array], Array | None]:
    """(an array per input of these names, as given, labels or None). Raises as read_samples does."""
    labels = None
    if isinstance(data, str | os.PathLike):
        data, labels = _npz(Path(data), names)
    if isinstance(data, Mapping):
        missing = [name for name in names if name not in data]
        if missing:
            raise ValueError(f"no samples for input {missing[0]!r}; found {', '.join(map(repr, data))}")
        arrays = [np.asarray(data[name]) for name in names]
    elif len(names) == 1 and not (isinstance(data, Sequence) and len(data) == 1):
        arrays = [np.asarray(data)]
    else:
        arrays = [np.asarray(array) for array in data]
    if len(arrays) != len(names):
        raise ValueError(f"expected samples for {len(names)} inputs, found {len(arrays)}")
    return arrays, labels


def _npz(path: Path, names: Sequence[str]) -> tuple[Mapping[str, Array], Array | None]:
    with open_archive(path) as archive:
        found = [name for name in archive.names if name != "y"]
        keys = ["x"] if len(names) == 1 and names[0] not in found and "x" in found else names
        if not set(keys) <= set(found):
            wanted = "'x'" if len(names) == 1 else ", ".join(map(repr, names))
            raise ValueError(
                f"{path}: expected arrays {wanted}, found {', '.join(map(repr, found)) or 'none'}"
            )
        arrays = {name: archive.read(key) for name, key in zip(names, keys, strict=True)}
        return arrays, archive.read("y") if "y" in archive.names else None


def source_order(graph: Graph, port: Port) -> tuple[int, ...] | None:
    """The axes of a port's tensor in the order of the source network; None where it is the same."""
    layout = graph.metadata.get(f"source_layout/{port.name}")
    return None if layout is None else tuple("NHWC".index(axis) for axis in layout)


def _as_input(array: Array, port: Port, graph: Graph) -> Float32:
    shape = graph.tensors[port.tensor].shape
    if array.dtype.kind != "f":
        raise TypeError(
            f"input {port.name!r}: expected float32 as the network takes it, found {array.dtype}; "
            "scale integers as in training and convert them with astype(numpy.float32)"
        )
    order = source_order(graph, port)
    source = shape if order is None else tuple(shape[axis] for axis in order)
    if array.shape[1:] != source:
        joined = source and array.shape[1:] == source[1:] and source[0] and array.shape[0] % source[0] == 0
        if not joined:
            raise ValueError(
                f"input {port.name!r}: expected samples of shape {source}, or N of them, found {array.shape}"
            )
        array = array.reshape(-1, *source)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"input {port.name!r}: expected finite numbers")
    if order is not None:
        array = array.transpose(0, *(1 + i for i in np.argsort(order)))
    return np.ascontiguousarray(array, np.float32)
