# SPDX-License-Identifier: Apache-2.0
"""nybble: integer-only neural networks in 8, 4 and 2 bits, the same bits on every CPU.

import nybble
session = nybble.load("model.nyb")        # or a quantized .tflite or .onnx
scores = session(image)                    # float32 in, float32 out; or the model's own integers
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from .convert import convert, import_model, model_path, version
from .graph import Blocker, ModelError, QuantizationError, UnsupportedError
from .importers.torch import from_torch

# Binds ``quantize`` to the function, after the import of the package of that name inside has bound it to that.
from .quantizing import Quantized, quantize

if TYPE_CHECKING:
    from .measure.compare import Comparison, compare
    from .measure.evaluate import Evaluation, evaluate
    from .measure.explore import Budget, Exploration, explore
    from .session import Layer, Port, Session

__all__ = [
    "Blocker",
    "Budget",
    "Comparison",
    "Evaluation",
    "Exploration",
    "Layer",
    "ModelError",
    "Port",
    "QuantizationError",
    "Quantized",
    "Session",
    "UnsupportedError",
    "compare",
    "convert",
    "cpu_levels",
    "evaluate",
    "explore",
    "from_torch",
    "import_model",
    "include_dir",
    "load",
    "quantize",
]


def load(
    source: str | os.PathLike[str] | bytes,
    *,
    threads: int = 1,
    cpu: str | None = None,
    prepack: bool = False,
) -> Session:
    """A session of a model, ready to run.

    source: path or bytes of a .nyb model (mapped) or of a quantized .tflite or .onnx (converted on the fly).
    threads: how many threads an invocation uses; the outputs are the same bytes for any number.
    cpu: the highest CPU level to use ('scalar', 'avx2', 'neon', ...; ``cpu_levels()`` lists this machine's), for
    comparing them; None for the best.
    prepack: rewrite weights at load where that makes layers faster; takes memory (``Session.arena_bytes``), and the
    outputs are the same bytes. By default weights stay packed in the model.

    Raises ModelError, UnsupportedError, OSError, or ValueError for wrong options.
    """
    from .session import load_nyb

    if isinstance(source, bytes):
        head = source[4:8]
    else:
        with model_path(source).open("rb") as file:
            head = file.read(8)[4:8]
    if head != b"NYB0":
        source = convert(source, golden=False)
    return load_nyb(source, threads=threads, cpu=cpu, prepack=prepack)


#: What needs the extension, by the module that defines it. It is loaded when first used, so that conversion works
#: where there is no compiler.
_RUNNING = {
    "Budget": "measure.explore",
    "Comparison": "measure.compare",
    "Evaluation": "measure.evaluate",
    "Exploration": "measure.explore",
    "Layer": "session",
    "Port": "session",
    "Session": "session",
    "compare": "measure.compare",
    "cpu_levels": "session",
    "evaluate": "measure.evaluate",
    "explore": "measure.explore",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version()
    if name in _RUNNING:
        return getattr(import_module(f".{_RUNNING[name]}", __name__), name)
    raise AttributeError(f"module 'nybble' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is to use, loaded or not."""
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})


def include_dir() -> Path:
    """The directory of the C header ``nybble.h`` that belongs to this package."""
    return Path(__file__).parent / "include"
