# SPDX-License-Identifier: Apache-2.0
"""From a network's file to a .nyb model."""

from __future__ import annotations

import errno
import functools
import os
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from .compile import compile_graph
from .emit import emit_nyb
from .emit.schema import IDENTIFIER
from .graph import Blocker, DType, Graph, ModelError, UnsupportedError, faults_of
from .importers.onnx import declared_inputs, import_onnx
from .importers.tflite import import_tflite
from .passes import run_passes
from .quantize.requantize_weights import SAFE_RUNS, bound_sums, narrow_weights

#: A protocol buffer whose first field is the number of ONNX's format (ir_version).
_ONNX_START = b"\x08"


@functools.cache  # reads the installed package's files
def version() -> str:
    """The version of the package, '0+unknown' where it runs without being installed."""
    try:
        return metadata.version("nybble")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def producer() -> str:
    """Who writes the files: the package and its version."""
    return "nybble (not installed)" if version() == "0+unknown" else f"nybble {version()}"


def import_model(
    source: str | os.PathLike[str] | bytes,
    *,
    cut: bool = False,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Graph:
    """Read a network of any format that nybble imports; the format is told by the content.

    cut, shapes: see :func:`convert`.

    Raises what :func:`convert` raises.
    """
    data = source if isinstance(source, bytes) else model_path(source).read_bytes()
    name = "model" if isinstance(source, bytes) else Path(source).name
    if data[4:8] == b"TFL3":
        if shapes:
            raise ValueError(f"{name}: shapes are for .onnx networks; a .tflite has its own: leave them out")
        with faults_of(name):
            return import_tflite(data, name=name, cut=cut)
    if data[:1] == _ONNX_START:
        return import_onnx(data if isinstance(source, bytes) else Path(source), name=name, shapes=shapes)
    if data[4:8] == IDENTIFIER:
        raise ModelError(
            f"{name}: expected a .tflite or .onnx network, found a .nyb model, which is converted already; nybble.load, "
            "nybble run, info and verify take it as it is, and convert and quantize the network that it was made of"
        )
    raise ModelError(
        f"{name}: expected a .tflite or .onnx network, or a .nyb model to run, found {_beginning(data)}; make or copy the "
        "file again"
    )


def open_inputs(source: str | os.PathLike[str] | bytes) -> dict[str, tuple[int | str, ...]]:
    """Of an .onnx network that leaves sizes open beyond the first dimension, the shapes of all inputs, by name; an
    open dimension is its name. Empty for other networks.
    """
    if isinstance(source, bytes):
        start = source[:1]
    else:
        with model_path(source).open("rb") as file:
            start = file.read(1)
    if start != _ONNX_START:
        return {}
    declared = declared_inputs(source if isinstance(source, bytes) else Path(source))
    return declared if any(isinstance(n, str) for shape in declared.values() for n in shape[1:]) else {}


def model_path(source: str | os.PathLike[str]) -> Path:
    """The path of a model. ValueError for an empty one, which would stand for the folder that one is in."""
    if not os.fspath(source):
        raise ValueError("expected the path of a model, found an empty one")
    return Path(source)


def _beginning(data: bytes) -> str:
    return f"a file that begins with {data[:8]!r}" if data else "an empty file"


def convert_graph(
    graph: Graph,
    *,
    golden: bool | None = None,
    weight_bits: int | None = None,
    weights: str | None = None,
) -> bytes:
    """The .nyb bytes of an integer graph; UnsupportedError where it is still in float32.

    golden, weight_bits, weights: see :func:`convert`.
    """
    _check_weights(weight_bits, weights)
    with faults_of(graph.name):
        return _converted(graph, golden, weight_bits, weights)


def _check_weights(weight_bits: int | None, weights: str | None) -> None:
    if weight_bits not in (None, 4, 2):
        raise ValueError(f"weight_bits: expected weights of 4 or 2 bits, found {weight_bits!r}")
    if weights is not None and weights not in SAFE_RUNS:
        raise ValueError(
            f"weights: expected weights of {' or '.join(SAFE_RUNS)}, found {weights!r}; weight_bits takes numbers"
        )
    if weight_bits is not None and weights is not None:
        raise ValueError(f"weights of {weight_bits} bits are {weights} already: leave one of the two out")


def _converted(graph: Graph, golden: bool | None, weight_bits: int | None, weights: str | None) -> bytes:
    if any(tensor.dtype is DType.FLOAT32 for tensor in graph.tensors.values() if tensor.data is None):
        reason = "computes in float32: the network is not quantized"
        raise UnsupportedError(
            graph.name, [Blocker(graph.name, reason, "nybble quantize MODEL --data SAMPLES")]
        )
    graph = run_passes(graph)
    if weight_bits is not None:
        graph = narrow_weights(graph, weight_bits)
    if weights is not None:
        graph = bound_sums(graph, SAFE_RUNS[weights])
    return emit_nyb(compile_graph(graph), producer(), golden)


def convert(
    source: str | os.PathLike[str] | bytes,
    destination: str | os.PathLike[str] | None = None,
    *,
    cut: bool = False,
    golden: bool | None = None,
    weight_bits: int | None = None,
    weights: str | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> bytes:
    """Convert a quantized network to a .nyb model.

    source: path or bytes of a .tflite or .onnx model. destination: where to write the model; nothing is written where it is
    None or where conversion fails. cut: where the network goes on in float32 after its last integer tensors, end it
    there. golden: whether the model holds inputs and the digest of each operator's answer, with which
    ``verify`` proves a device bit by bit; None: where numpy computes them in about a second.
    weight_bits (4 or 2), weights ('pair-safe' or 'quad-safe'): round the int8 weights to fewer bits, or until
    16 bits hold the sums of two or four products, for measuring speed: nobody looks after accuracy
    (quantize/requantize_weights.py). shapes: of the inputs of an .onnx network that leaves sizes open, by name, as the
    file has them, such as {"x": (1, 3, 224, 224)}; an open first dimension alone needs none.
    Returns the model's bytes; equal inputs give equal bytes everywhere.

    Raises ModelError where the source is wrong, UnsupportedError with all blockers where it cannot be taken, OSError, and
    ValueError for wrong arguments.
    """
    _check_weights(weight_bits, weights)
    graph = import_model(source, cut=cut, shapes=shapes)
    content = convert_graph(graph, golden=golden, weight_bits=weight_bits, weights=weights)
    if destination is not None:
        write_whole(Path(destination), content)
    return content


def check_writable(path: Path) -> None:
    """Raise OSError where :func:`write_whole` could not write: no folder, or none that may be written in, or there is
    something that is not a file, such as a device.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, expected a file", str(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "is a device or a pipe; only files are written", str(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write in", str(path.parent))
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "may not be written in", str(path.parent))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all: written beside, synced, renamed. Behind a symbolic
    link it is the file that is replaced.

    Raises OSError, which names the path and not the file beside it, as :func:`check_writable` does.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise
