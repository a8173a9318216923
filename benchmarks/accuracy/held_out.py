# SPDX-License-Identifier: Apache-2.0
"""How far integer networks are from the float one on calibration samples that they were not solved on.

    python -m benchmarks.accuracy.held_out --networks kws_dscnn_float32 --levels w8a8,w4a8 --methods default,gptq

For choosing how nybble quantizes: test samples are for counting, once it is chosen. Every other calibration sample
quantizes the network, which then answers those between on the integer core; and the other way round.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import click
import numpy as np

import nybble
from nybble.convert import convert_graph
from nybble.graph import Array, Graph, evaluate_batches
from nybble.measure.task import before_softmax
from nybble.measure.trial import loss_of, run_batches
from nybble.quantize import Recipe, read_samples
from nybble.quantizing import prepare, quantize_to_graph

from .rows import recipe
from .tasks import collection, shipped, write_samples


def measured(reference: Graph, samples: Array, wanted: Recipe) -> tuple[list[float], list[float]]:
    """(divergence in nats, signal over noise in dB) of either half, of the scores before a final Softmax."""
    float_graph = before_softmax(prepare(reference, wanted))
    name = float_graph.outputs[0].tensor
    divergences, ratios = [], []
    for half in (0, 1):
        graph = quantize_to_graph(reference, samples[half::2], wanted)
        session = nybble.load(convert_graph(before_softmax(graph), golden=False))
        others, _ = read_samples(samples[1 - half :: 2], reference)
        found = run_batches(session, others)[0]
        parts = [values[name] for values in evaluate_batches(float_graph, others, keep=[name])]
        exact = np.concatenate(parts).reshape(found.shape)
        divergences.append(loss_of(exact, found, classes=True))
        ratios.append(-10 * math.log10(max(loss_of(exact, found, classes=False), 1e-12)))
    return divergences, ratios


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--networks", default="digits", show_default=True, help="Names with commas, as of benchmarks.accuracy."
)
@click.option("--levels", default="w8a8,w4a8,w2a8", show_default=True, help="As of benchmarks.accuracy.")
@click.option("--methods", default="default", show_default=True, help="As of benchmarks.accuracy.")
def main(networks: str, levels: str, methods: str) -> None:
    """Tell methods of nybble's quantizer apart by calibration samples that were not solved on."""
    known = collection()
    print("| network | level | method | divergence, 0.001 nat | halves | signal over noise, dB |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as place:
        for name in networks.split(","):
            folder = Path(place) / name
            if name != "digits" and name not in known:
                raise click.BadParameter(f"no network {name!r}; there are {', '.join([*known, 'digits'])}")
            task = shipped(folder) if name == "digits" else known[name]
            write_samples(task, folder)
            samples, reference = np.load(folder / "calibration.npy"), nybble.import_model(task.source)
            for level in levels.split(","):
                for method in methods.split(","):
                    nats, decibels = measured(reference, samples, recipe(level, method))
                    halves = " ".join(f"{1000 * one:.2f}" for one in nats)
                    mean, ratio = 1000 * float(np.mean(nats)), float(np.mean(decibels))
                    print(
                        f"| {name} | {level} | {method} | {mean:.2f} | {halves} | {ratio:.1f} |", flush=True
                    )


if __name__ == "__main__":
    main()
