# SPDX-License-Identifier: Apache-2.0
"""Run every .tflite network of the shared collection and compare with its stored reference outputs.

    python tests/models/golden.py [NAME ...]     prints a line per network: equal, refused or DIFFERENT

The right answer follows the oracle rule: TFLite Micro's outputs where they are stored (they are only where they
differ from LiteRT's reference kernels), else those of LiteRT's reference. Every CPU level of this machine runs, with
1 and 2 threads. NYBBLE_SHARED names the collection's directory.
"""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import nybble

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("NYBBLE_SHARED", ROOT.parent / "shared"))

#: The networks that must be equal.
REQUIRED = (
    "ad01_int8",
    "automl_flowers_labeler",
    "cifar10_q",
    "conv_fc_mnist_a16w4",
    "conv_fc_mnist_a16w8",
    "conv_fc_mnist_srq_a8w8",
    "deeplabv3_mnv2_dm05_pascal_quant",
    "hello_world_int8",
    "kws_dscnn_16x8",
    "kws_dscnn_int8",
    "micro_speech_quantized",
    "mnist_dw_q",
    "mnist_valid_q",
    "mobilenet_v1_0.25_128_quant",
    "mobilenet_v1_0.25_224_quant",
    "mobilenet_v2_1.0_224_quant",
    "resnet8_cifar10_int8",
    "str_ww_ref_model_int8",
    "vww_96_int8",
)


@dataclass(frozen=True)
class Network:
    """A model file, its kind, and its stored outputs."""

    name: str
    path: Path
    kind: str
    golden: Path

    @property
    def litert(self) -> bool:
        """Whether LiteRT's reference rules although TFLite Micro runs the network: docs/tflite-arithmetic.md."""
        return "leaky_relu" in self.name


@dataclass(frozen=True)
class Outcome:
    """'equal', 'refused' or 'different', with the reason or the count of differing elements."""

    verdict: str
    detail: str = ""


def networks() -> Iterator[Network]:
    """The .tflite networks that have stored outputs."""
    with (SHARED / "models/MANIFEST.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            path = Path(row["file"] or "")
            if path.suffix != ".tflite":
                continue
            # converted/x and tflite/x are named x, tflite/seanet/x is named seanet_x.
            name = "_".join((*path.parent.parts[1:], path.stem))
            golden = SHARED / "golden" / f"{name}.npz"
            if golden.exists():
                yield Network(name, SHARED / "models" / path, row["kind"] or "", golden)


def compare(network: Network) -> Outcome:
    """Convert and run one network on its stored inputs, with weights in place and prepacked.

    Some are consecutive steps of a stream. What converts has no state, so that each step stands alone.
    """
    try:
        model = nybble.convert(network.path)
    except nybble.UnsupportedError as error:
        return Outcome("refused", "; ".join(sorted({b.reason for b in error.blockers})))
    with np.load(network.golden, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    for cpu in nybble.cpu_levels():
        for threads, prepack in ((1, False), (2, False), (2, True)):
            session = nybble.load(model, cpu=cpu, threads=threads, prepack=prepack)
            different, total = _differences(session, arrays, network.litert)
            if different:
                how = f"{cpu}, {threads} threads{', prepacked' if prepack else ''}"
                return Outcome("different", f"{different} of {total} ({how})")
    return Outcome("equal")


def _differences(session: nybble.Session, arrays: dict[str, np.ndarray], litert: bool) -> tuple[int, int]:
    different = total = 0
    engines = ("ref", "tfm") if litert else ("tfm", "ref")
    wanted = [
        next(arrays[f"y_{engine}{j}"] for engine in engines if f"y_{engine}{j}" in arrays)
        for j in range(len(session.outputs))
    ]
    for sample in range(len(wanted[0])):
        inputs = [
            port.quantize(x) if port.real else x
            for port, x in zip(
                session.inputs, (arrays[f"x{i}"][sample] for i in range(len(session.inputs))), strict=True
            )
        ]
        for port, found, want in zip(session.outputs, session.run(inputs), wanted, strict=True):
            if port.real:
                found = port.dequantize(found)
            different += (
                int((found != want[sample]).sum()) if found.shape == want[sample].shape else want[sample].size
            )
            total += want[sample].size
    return different, total


def main(names: list[str]) -> int:
    """Print the table; 1 where a network differs or a required one is refused, 2 where there is no collection."""
    manifest = SHARED / "models/MANIFEST.tsv"
    if not manifest.exists():
        print(
            f"golden.py: expected the shared collection, found no {manifest}: set NYBBLE_SHARED to its directory",
            file=sys.stderr,
        )
        return 2
    counts: Counter[str] = Counter()
    failed = 0
    for network in networks():
        if names and network.name not in names:
            continue
        outcome = compare(network)
        counts[outcome.verdict] += 1
        bad = outcome.verdict == "different" or (outcome.verdict != "equal" and network.name in REQUIRED)
        failed += bad
        mark = "DIFFERENT" if outcome.verdict == "different" else outcome.verdict
        print(f"{mark:10}{network.name:48}{network.kind:28}{outcome.detail}")
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
