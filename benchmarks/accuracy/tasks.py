# SPDX-License-Identifier: Apache-2.0
"""Networks with labelled samples: those of the shared collection, a made one, and a user's own."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Task:
    """A float network in one or both forms, and where its samples come from.

    source: the file that nybble quantizes. samples: name of a set of the collection, or the path of a .npz with the
    arrays ``calibration``, ``test`` (float32 [N, ...] as the network takes them) and ``labels``. size: side of the images.
    """

    name: str
    source: Path
    samples: str
    onnx: Path | None = None
    tflite: Path | None = None
    size: int | None = None


def shared() -> Path:
    """The directory of the shared collection: NYBBLE_SHARED, or beside the checkout."""
    return Path(os.environ.get("NYBBLE_SHARED", ROOT.parent / "shared"))


def collection() -> dict[str, Task]:
    """The labelled networks of the shared collection, by name; none where there is no collection."""
    models = shared() / "models"
    if not (shared() / "data/load.py").exists():
        return {}
    found = {}
    for name, samples, size in (
        ("resnet8_cifar10", "cifar10", None),
        ("kws_dscnn_float32", "kws", None),
        ("mobilenet_v1_0.25_224", "imagenet", 224),
        ("vww_96", "vww", None),
    ):
        onnx, tflite = models / "onnx" / f"{name}_float.onnx", models / "tflite" / f"{name}_float.tflite"
        if name == "kws_dscnn_float32":
            # The .onnx of that name has dequantized 8-bit weights.
            onnx, tflite = models / "onnx/none", models / "converted/kws_dscnn_float32.tflite"
        forms = {"onnx": onnx if onnx.exists() else None, "tflite": tflite if tflite.exists() else None}
        source = forms["onnx"] or forms["tflite"]
        if source is not None:
            found[name] = Task(name, source, samples, size=size, **forms)
    return found


def _door() -> ModuleType:
    """The collection's own reader of its samples."""
    spec = importlib.util.spec_from_file_location("shared_load", shared() / "data/load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_load"] = module
    spec.loader.exec_module(module)
    return module


def write_samples(task: Task, folder: Path) -> None:
    """calibration.npy, test.npy (float32 [N, *one sample], as the network takes them) and labels.npy of a task.

    The samples to calibrate on are never among those to count on.
    """
    if Path(task.samples).suffix == ".npz":
        with np.load(task.samples, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("calibration", "test", "labels")}
    else:
        door = _door()
        options: Mapping[str, Any] = {} if task.size is None else {"size": task.size}
        everything = door.load(task.samples, **options)
        parts = {"calibration": everything.part("calib"), "test": everything.part("test")}
        arrays = {name: door.real_input(task.samples, part.x) for name, part in parts.items()}
        arrays["labels"] = parts["test"].y
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
