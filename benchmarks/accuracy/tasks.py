# SPDX-License-Identifier: Apache-2.0
"""Networks with labelled samples: those of the shared collection, a made one, and a user's own."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
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


def shipped(folder: Path) -> Task:
    """The classifier of handwritten digits that the package ships, for where there is no collection."""
    from nybble.measure import digits

    folder.mkdir(parents=True, exist_ok=True)
    onnx, samples = folder / "digits.onnx", folder / "digits.npz"
    onnx.write_bytes(digits.float_content())
    calibration, test = digits.calibration_digits(), digits.test_digits()
    shape = digits.FLOAT_SHAPE
    np.savez(samples, calibration=calibration.inputs(shape), test=test.inputs(shape), labels=test.labels)
    return Task("digits", onnx, str(samples), onnx=onnx)


def made_images(count: int, folder: Path) -> Task:
    """A network on ``count`` made images of 224x224 to calibrate on, to see what memory that takes.

    Its layers are MobileNetV1's at a quarter of the width; the images are coarse noise, and one of them is counted.
    """
    from benchmarks.peers import made

    folder.mkdir(parents=True, exist_ok=True)
    onnx, samples = folder / "made_224.onnx", folder / "made_224.npz"
    layers: list[tuple[str, int, int, int]] = [("conv", 3, 8, 2)]
    for outputs, stride in (
        (16, 1),
        (32, 2),
        (32, 1),
        (64, 2),
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
    ):
        layers += [("depthwise", 3, layers[-1][2], stride), ("conv", 1, outputs, 1)]
    onnx.write_bytes(made.onnx_float(made.chain(224, 3, *layers)))
    random = np.random.default_rng(1)
    images = np.empty((count, 3, 224, 224), np.float32)
    for image in images:
        image[...] = np.kron(random.normal(size=(3, 14, 14)), np.ones((1, 16, 16)))
    np.savez(samples, calibration=images, test=images[:1], labels=np.zeros(1, np.int64))
    return Task("made_224", onnx, str(samples), onnx=onnx)


def with_onnx(task: Task, folder: Path) -> Task:
    """The task with an .onnx of its .tflite, where there is none and one can be written."""
    if task.onnx is not None:
        return task
    from nybble import import_model

    from .to_onnx import to_onnx

    path = folder / f"{task.name}.onnx"
    try:
        path.write_bytes(to_onnx(import_model(task.source)))
    except (ImportError, ValueError):
        return task
    return replace(task, onnx=path)


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
