# SPDX-License-Identifier: Apache-2.0
"""Accuracy on labelled data: every sample's outputs equal those of the reference interpreter.

    python tests/models/accuracy.py             run nybble, compare with the stored counts and digests
    python tests/models/accuracy.py --oracle    run the reference interpreter too (minutes) and compare every sample;
                                                prints what to store in accuracy.json

A digest is the SHA-256 of the raw outputs of all test samples, in order.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import nybble

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.golden import SHARED

STORED = Path(__file__).with_name("accuracy.json")


@dataclass(frozen=True)
class Task:
    """A network, the labelled set that it is tested on, and the side of the images."""

    model: str
    data: str
    size: int | None = None


TASKS = (
    Task("resnet8_cifar10_int8", "cifar10"),
    Task("kws_dscnn_int8", "kws"),
    Task("kws_dscnn_int8", "kws_int8"),
    Task("vww_96_int8", "vww"),
    Task("mobilenet_v1_0.25_128_quant", "imagenet", 128),
    Task("mobilenet_v1_0.25_224_quant", "imagenet", 224),
    Task("mobilenet_v1_0.5_160_quant", "imagenet", 160),
    Task("mobilenet_v2_1.0_224_quant", "imagenet", 224),
)


def loader() -> ModuleType:
    """The shared collection's door to its labelled sets."""
    spec = importlib.util.spec_from_file_location("shared_load", SHARED / "data/load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_load"] = module
    spec.loader.exec_module(module)
    return module


def samples(task: Task, session: nybble.Session) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(quantized inputs [N, *input shape], labels)."""
    load = loader()
    dataset = (
        load.load(task.data, part="test", size=task.size) if task.size else load.load(task.data, part="test")
    )
    port = session.inputs[0]
    if task.data == "kws_int8":
        x = dataset.x
    else:
        real = load.real_input(task.data, dataset.x)
        x = load.quantize(real, port.scale, port.zero_point, port.dtype.type)
    return x.reshape(len(dataset), *port.shape), dataset.y


def measure(task: Task) -> dict[str, Any]:
    """Count of right answers and digest of all outputs, computed by nybble."""
    session = nybble.load(SHARED / "models/tflite" / f"{task.model}.tflite", threads=2)
    x, y = samples(task, session)
    return summary(session.run([x])[0], y)


def summary(outputs: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> dict[str, Any]:
    """What is stored: right, of, digest."""
    flat = outputs.reshape(len(y), -1)
    return {
        "right": int((flat.argmax(axis=1) == y).sum()),
        "of": len(y),
        "digest": hashlib.sha256(np.ascontiguousarray(flat).tobytes()).hexdigest(),
    }


def oracle(task: Task) -> dict[str, Any]:
    """The same by the reference interpreter."""
    from oracle.interpreters import oracle_many

    path = SHARED / "models/tflite" / f"{task.model}.tflite"
    session = nybble.load(path)
    x, y = samples(task, session)
    content = path.read_bytes()
    outputs = []
    for start in range(0, len(x), 20):
        for answer in oracle_many([(content, [sample]) for sample in x[start : start + 20]]):
            assert isinstance(answer, tuple), answer
            outputs.append(answer[0][0])
    return summary(np.stack(outputs), y)


def main() -> int:
    """Print a line per task; 1 where something differs."""
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    ask = "--oracle" in sys.argv[1:]
    found, failed = {}, 0
    for task in TASKS:
        name = f"{task.model} on {task.data}"
        ours = measure(task)
        wanted = oracle(task) if ask else stored.get(name)
        found[name] = wanted
        equal = ours == wanted
        failed += not equal
        print(f"{'equal' if equal else 'DIFFERENT':10}{name:48}{ours['right']} of {ours['of']}", flush=True)
    if ask:
        print(json.dumps(found, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
