# SPDX-License-Identifier: Apache-2.0
"""What would help? Other recipes, each quantized and run on the integer core, ranked by what they gain."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..graph import Array, Graph, evaluate_batches
from ..quantize.calibration import CALIBRATIONS
from ..quantize.methods import METHODS
from ..quantize.recipe import Recipe
from ..session import Session, load_nyb
from .compare import Tally
from .layers import LayerReport, combined_db, evenly, real_numbers, scores
from .summary import summarize

#: Samples that remedies are measured on at most, and the seconds after which no further one is tried.
SAMPLES = 128
SECONDS = 120.0

#: Layers that are tried with more bits, those that cost the output most.
LAYERS = 6


@dataclass(frozen=True)
class Remedy:
    """A recipe that was tried.

    text: what it changes. gain_db: of the network's outputs (before a final Softmax) over the recipe in
    question, negative where it is worse. bytes: weight bytes that it adds. right: of ``samples``, those
    whose largest score is the label's; None without labels.
    """

    text: str
    recipe: Recipe
    gain_db: float
    bytes: int
    samples: int
    right: int | None

    def __str__(self) -> str:
        text = f"{self.text}: {self.gain_db:+.1f} dB for {self.bytes:,} bytes"
        return text if self.right is None else f"{text}, {self.right} of {self.samples} right"


@dataclass(frozen=True)
class Remedies:
    """The recipes that were tried, the largest gain first, and how many there was no time for.

    snr_db, right: what the gains are over, on ``samples`` samples.
    """

    tried: tuple[Remedy, ...]
    untried: int
    samples: int
    snr_db: float
    right: int | None

    def document(self) -> Mapping[str, Any]:
        """JSON values."""
        return {
            "samples": self.samples,
            "untried": self.untried,
            "snr_db": self.snr_db if math.isfinite(self.snr_db) else None,
            "right": self.right,
            "remedies": [
                {
                    "text": one.text,
                    "gain_db": one.gain_db if math.isfinite(one.gain_db) else None,
                    "bytes": one.bytes,
                    "right": one.right,
                    "layers": dict(one.recipe.layers),
                }
                for one in self.tried
            ],
        }


@dataclass(frozen=True)
class _Score:
    """One model: its distance from the float network, its weights, and what it has right."""

    snr_db: float
    weight_bytes: int
    right: int | None


class Judge:
    """Measures integer networks against one float network, which is computed once.

    reference, samples: as measure_layers takes them; labels: [N] or None. At most ``limit`` samples, evenly spread.
    """

    def __init__(
        self, reference: Graph, samples: Sequence[Array], labels: Array | None, limit: int = SAMPLES
    ) -> None:
        self.reference = reference
        chosen = evenly(len(samples[0]), limit)
        self.samples = [array[chosen] for array in samples]
        self.labels = None if labels is None else labels[chosen]
        self._wanted: list[dict[str, Array]] = []

    @property
    def count(self) -> int:
        """Samples."""
        return len(self.samples[0])

    def score(self, session: Session) -> _Score:
        """Run a network on the integer core."""
        names = scores(self.reference, session)
        if not self._wanted:
            for values in evaluate_batches(self.reference, self.samples, keep=names):
                count = len(values[names[0]])
                self._wanted += [{name: values[name][i] for name in names} for i in range(count)]
        ports = {layer.output.name: layer.output for layer in session.layers()}
        tallies = [Tally() for _ in names]
        right = 0
        for i, sample in enumerate(zip(*self.samples, strict=True)):
            integers = [port.quantize(x) for port, x in zip(session.inputs, sample, strict=True)]
            answers = session.run(integers, dump=names)
            found = answers[len(session.outputs) :]
            for tally, name, array in zip(tallies, names, found, strict=True):
                wanted = self._wanted[i][name]
                tally.add(wanted, real_numbers(ports[name], array).reshape(wanted.shape))
            if self.labels is not None:
                right += int(answers[0].argmax() == self.labels[i])
        weight_bytes = summarize(session).weight_bytes
        return _Score(combined_db(tallies), weight_bytes, None if self.labels is None else right)


def find_remedies(
    judge: Judge,
    recipe: Recipe,
    report: LayerReport,
    build: Callable[[Recipe], bytes],
    *,
    seconds: float = SECONDS,
    progress: Callable[[str], None] | None = None,
) -> Remedies:
    """Try other recipes than ``recipe``, whose layers are reported.

    build: makes the .nyb model of a recipe; what it raises (a recipe that the network does not allow)
    leaves that one out where it is a ValueError. seconds: no further one is tried after that time. progress:
    is told what is tried.
    """
    end = time.monotonic() + seconds
    before = judge.score(load_nyb(build(recipe)))
    tried: list[Remedy] = []
    untried = 0
    for text, other in candidates(recipe, report):
        if time.monotonic() > end:
            untried += 1
            continue
        if progress is not None:
            progress(text)
        try:
            model = build(other)
        except ValueError:
            continue
        after = judge.score(load_nyb(model))
        gain = 0.0 if after.snr_db == before.snr_db else after.snr_db - before.snr_db
        more = after.weight_bytes - before.weight_bytes
        tried.append(Remedy(text, other, gain, more, judge.count, after.right))
    tried.sort(key=lambda one: (-one.gain_db, one.bytes, one.text))
    return Remedies(tuple(tried), untried, judge.count, before.snr_db, before.right)


def candidates(recipe: Recipe, report: LayerReport) -> Iterator[tuple[str, Recipe]]:
    """Recipes worth a try, the most promising first: more bits for the layers that cost most, finer scales,
    other methods and calibrations, more bits for several layers, for all.
    """
    costly = sorted(
        (one for one in report.layers if 0 < one.weight_bits < 8 and one.gain_db is not None),
        key=lambda one: -(one.gain_db or 0.0),
    )
    names = list(dict.fromkeys(one.name for one in costly))
    yield from (
        (f"{name!r} at {bits} bits", with_layers(recipe, [name], bits))
        for name, bits in _widened([(one.name, one.weight_bits) for one in costly[:LAYERS]])
    )
    for count in sorted({2, 3, len(names) // 2}):
        if 2 <= count < len(names):
            yield f"the {count} costliest layers at 8 bits", with_layers(recipe, names[:count], 8)
    if names:
        for size in (64, 16):
            if not recipe.wide and (recipe.group is None or size < recipe.group):
                yield f"a factor for every {size} k", replace(recipe, group=size)
    if recipe.granularity != "channel":
        yield "a scale of weights per channel", replace(recipe, granularity="channel")
    for row in METHODS:
        if row != recipe.method:
            yield f"method {row}", replace(recipe, method=row)
    if recipe.activations < 8:
        yield "activations at 8 bits", replace(recipe, activations=8, calibration=None)
    for row in CALIBRATIONS:
        if row != (recipe.calibration or {16: "minmax", 8: None}.get(recipe.activations, "mse")):
            yield f"calibration {row}", replace(recipe, calibration=row)
    narrowest = min((one.weight_bits for one in costly), default=8)
    for bits in (4, 8):
        if narrowest < bits:
            kept = {one.name: one.weight_bits for one in report.layers if one.weight_bits > bits}
            text = f"all layers at {bits} bits{' or more' if kept else ''}"
            yield text, replace(recipe, weights=bits, first=None, last=None, layers=kept)


def _widened(layers: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Every name with all wider forms."""
    for name, bits in dict(layers).items():
        yield from ((name, wider) for wider in (4, 8) if wider > bits)


def with_layers(recipe: Recipe, names: Sequence[str], bits: int) -> Recipe:
    """The recipe with other bits for some layers."""
    return replace(recipe, layers={**recipe.layers, **dict.fromkeys(names, bits)})
