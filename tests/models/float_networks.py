# SPDX-License-Identifier: Apache-2.0
"""Import every float network of the shared collection and compare its float meaning with the public runtime's.

    python tests/models/float_networks.py [NAME ...]    prints a line per network: the largest difference, or the blockers

The graph as imported and the graph that the quantizer starts from (passes.prepare_float) are both evaluated in numpy and
compared with ONNX Runtime without optimizations (.onnx) or LiteRT (.tflite). The largest difference of any output may be
1e-4 of its largest magnitude. Networks that are refused are listed with all their blockers. NYBBLE_SHARED names the
collection's directory.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nybble
from nybble.graph import Graph, evaluate_outputs
from nybble.graph.errors import grouped
from nybble.importers.onnx import import_onnx
from nybble.passes import prepare_float
from nybble.quantize.samples import source_order

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("NYBBLE_SHARED", ROOT.parent / "shared"))

#: The largest difference, as a part of the largest output, that float32 may make.
TOLERANCE = 1e-4

#: Open dimensions of inputs, as their publishers run them.
SHAPES = {"ppocr_cls": {"x": (1, 3, 48, 192)}}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outcome:
    """'equal', 'refused' or 'different', the largest relative difference, and what blocks."""

    verdict: str
    difference: float = 0.0
    detail: str = ""


def networks() -> Iterator[Path]:
    """The collection's files of float networks."""
    with (SHARED / "models/MANIFEST.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            kind, name = row["kind"] or "", row["file"] or ""
            onnx = name.startswith("onnx/") and kind.endswith("float")
            if onnx or (name.endswith(".tflite") and kind.startswith("float")):
                yield SHARED / "models" / name


def imported(path: Path) -> Graph:
    """The graph of a network, open dimensions fixed."""
    shapes = SHAPES.get(path.stem)
    return nybble.import_model(path) if shapes is None else import_onnx(path, shapes=shapes)


def compared(path: Path) -> Outcome:
    """Import one network and compare."""
    try:
        graph = imported(path)
    except nybble.UnsupportedError as error:
        reasons = (f"{count} {b.node.split()[0]}: {b.reason}" for count, b in grouped(error.blockers))
        return Outcome("refused", detail="; ".join(reasons))
    except nybble.ModelError as error:
        return Outcome("refused", detail=str(error))
    run = onnx_outputs if path.suffix == ".onnx" else litert_outputs
    random = np.random.default_rng(0)
    given, source = [], []
    for port in graph.inputs:
        tensor = graph.tensors[port.tensor]
        order = source_order(graph, port)
        shape = tensor.shape if order is None else tuple(tensor.shape[axis] for axis in order)
        low, step = sample_range(path)
        x = (low + step * random.integers(0, 256, size=shape)).astype(tensor.dtype.numpy)
        source.append(x)
        given.append(x if order is None else np.ascontiguousarray(x.transpose(np.argsort(order))))
    wanted = run(path, source)
    difference = 0.0
    for candidate in (graph, prepare_float(graph)):
        with np.errstate(invalid="ignore"):  # 1 / sqrt(-1)
            outputs = evaluate_outputs(candidate, given, real=True)
        for port, found, want in zip(candidate.outputs, outputs, wanted, strict=True):
            order = source_order(candidate, port)
            found = found if order is None else found.transpose(order)
            if found.shape != want.shape:
                return Outcome("different", detail=f"{port.name}: shape {found.shape}, not {want.shape}")
            difference = max(difference, relative_difference(found, want))
    return Outcome("equal" if difference <= TOLERANCE else "different", difference)


def relative_difference(found: Array, want: Array) -> float:
    """The largest difference as a part of the largest magnitude, where the runtime's answer is a number at all."""
    defined = np.isfinite(want)
    a, b = found[defined].astype(np.float64), want[defined].astype(np.float64)
    if not np.all(np.isfinite(a)):
        return math.inf
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) if a.size else 0.0


def sample_range(path: Path) -> tuple[float, float]:
    """(lowest, step of 255) of the inputs that the collection's stored outputs were made with; -2 to 2 without those."""
    stored = SHARED / "golden" / f"onnx_{path.stem}.npz"
    if path.suffix == ".onnx" and stored.exists():
        with np.load(stored, allow_pickle=False) as file:
            step, low = json.loads(str(file["meta"]))["affine"]
            return float(low), float(step)
    return -2.0, 4 / 255


def onnx_outputs(path: Path, inputs: Sequence[Array]) -> list[Array]:
    """ONNX Runtime, each node as written."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


def litert_outputs(path: Path, inputs: Sequence[Array]) -> list[Array]:
    """LiteRT with its usual kernels."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    for port, x in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(port["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(port["index"]) for port in interpreter.get_output_details()]


def main(names: list[str]) -> int:
    """Print the table; 1 where a network differs."""
    counts: Counter[str] = Counter()
    for path in networks():
        if names and path.stem not in names:
            continue
        outcome = compared(path)
        counts[outcome.verdict] += 1
        figure = f"{outcome.difference:.1e}" if outcome.verdict != "refused" else ""
        name = str(path.relative_to(SHARED / "models"))
        print(f"{outcome.verdict:10}{name:56}{figure:10}{outcome.detail}", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    return 1 if counts["different"] else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
