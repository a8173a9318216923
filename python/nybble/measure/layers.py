# SPDX-License-Identifier: Apache-2.0
"""What each layer costs: an integer network stepped on the integer core, beside its float network."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import ops
from ..graph import Array, Graph, Node, evaluate
from ..session import Layer, Port, Session
from .compare import Tally, ratio_db

#: Samples that a report takes at most, and the seconds after which it takes no more.
SAMPLES = 32
SECONDS = 20.0

#: A layer that costs the output less than this is not called a culprit.
WORTH_DB = 0.1


@dataclass(frozen=True)
class LayerError:
    """One operator of an integer network.

    index, kind, name: as in Session.layers; output: its tensor. weight_bits: 0 where there are no weights.
    The rest is None where the float network has no tensor of that name:

    snr_db, cosine: of its output against the float network's, with all errors of the layers before it.
    own_snr_db: of its output against what the float operator makes of the same integer inputs: the error
    that this layer adds. saturation: share of its outputs that are the smallest or largest level where that
    float operator's number is beyond it by more than half a step. gain_db: what the network's output gains
    where the integer core gets this layer's output from the float operator, rounded to the output's
    integers: the part of the error that is this layer's to mend.
    """

    index: int
    kind: str
    name: str
    output: str
    weight_bits: int
    activation_bits: int
    weight_bytes: int
    snr_db: float | None = None
    cosine: float | None = None
    own_snr_db: float | None = None
    saturation: float | None = None
    gain_db: float | None = None
    coarser_db: float | None = None


@dataclass(frozen=True)
class LayerReport:
    """All operators, measured on the integer core on ``samples`` samples.

    snr_db: of the network's outputs (before a final Softmax, which hides small differences and enlarges others)
    on these samples: of the mean over outputs of noise by signal.
    """

    layers: tuple[LayerError, ...]
    samples: int
    snr_db: float

    @property
    def culprit(self) -> LayerError | None:
        """The layer that costs the output most; None where none costs WORTH_DB."""
        measured = [layer for layer in self.layers if layer.gain_db is not None and layer.gain_db >= WORTH_DB]
        return max(measured, key=lambda layer: layer.gain_db or 0.0, default=None)

    def document(self) -> Mapping[str, Any]:
        """JSON values; infinite ratios are null."""

        def number(value: float | None) -> float | None:
            return value if value is not None and math.isfinite(value) else None

        culprit = self.culprit
        return {
            "samples": self.samples,
            "snr_db": number(self.snr_db),
            "culprit": None if culprit is None else culprit.index,
            "layers": [
                {
                    "index": one.index,
                    "kind": one.kind,
                    "name": one.name,
                    "output": one.output,
                    "weight_bits": one.weight_bits,
                    "activation_bits": one.activation_bits,
                    "weight_bytes": one.weight_bytes,
                    "snr_db": number(one.snr_db),
                    "cosine": one.cosine,
                    "own_snr_db": number(one.own_snr_db),
                    "saturation": one.saturation,
                    "gain_db": number(one.gain_db),
                    "coarser_db": number(one.coarser_db),
                }
                for one in self.layers
            ],
        }


@dataclass
class _Sums:
    """Of one layer: its output against the float network's and against its own float operator's; of the network's
    outputs without its error, and with its output on a coarser grid.
    """

    output: Tally = field(default_factory=Tally)
    own: Tally = field(default_factory=Tally)
    mended: list[Tally] = field(default_factory=list)
    coarser: list[Tally] = field(default_factory=list)
    beyond: int = 0
    elements: int = 0


def measure_layers(
    reference: Graph,
    session: Session,
    samples: Sequence[Array],
    *,
    integers: Graph | None = None,
    limit: int = SAMPLES,
    seconds: float = SECONDS,
) -> LayerReport:
    """Step an integer network on the integer core beside the float network that it was quantized from.

    reference: the float graph as it was quantized (passes.prepare_float and what follows), whose tensors
    have the names of the integer ones. samples: per input float32 [N, *shape]. integers: the integer graph, which
    says where an activation uses only some levels of its type. limit: how many of them to
    take at most, evenly spread; seconds: take no further one after that time, but one at least.

    Raises ValueError where the inputs or outputs of the two differ.
    """
    if len(reference.inputs) != len(session.inputs) or len(reference.outputs) != len(session.outputs):
        raise ValueError(
            f"expected a network of {len(session.inputs)} inputs and {len(session.outputs)} outputs, found "
            f"{len(reference.inputs)} and {len(reference.outputs)}"
        )
    layers = session.layers()
    stepped = _Stepped(reference, session, layers, integers)
    chosen = evenly(len(samples[0]), limit)
    end = time.monotonic() + seconds
    done = 0
    for i in _spread(chosen):
        stepped.add([array[i] for array in samples])
        done += 1
        if time.monotonic() > end:
            break
    return LayerReport(tuple(stepped.result(layer) for layer in layers), done, combined_db(stepped.outputs))


def scores(reference: Graph, session: Session) -> list[str]:
    """Of every output the tensor that it is judged by: the input of a final Softmax, else the output itself."""
    written = {layer.output.name for layer in session.layers()}
    producers = reference.producers()
    names = []
    for port in reference.outputs:
        node = producers.get(port.tensor)
        before = node.inputs[0] if node is not None and isinstance(node.op, ops.Softmax) else port.tensor
        names.append(before if before in written else port.tensor)
    missing = [name for name in names if name not in written]
    if missing:
        raise ValueError(f"the integer network writes no tensor {missing[0]!r} of the float one")
    return names


def evenly(count: int, limit: int) -> Array:
    """Numbers of at most ``limit`` of ``count`` samples, evenly spread over them, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))


def _spread(chosen: Array) -> list[int]:
    """The samples in an order whose every beginning is spread over them: first, middle, quarters, ..."""
    count = len(chosen)
    order = sorted(range(count), key=lambda i: int(f"{i:0{max(1, (count - 1).bit_length())}b}"[::-1], 2))
    return [int(chosen[i]) for i in order]


def combined_db(tallies: Sequence[Tally]) -> float:
    """The ratio in dB of the mean over outputs of noise by signal: large outputs do not hide small ones."""
    noise = sum(t.noise / t.signal if t.signal else float(t.noise > 0) for t in tallies)
    return ratio_db(1.0, noise / len(tallies))


class _Stepped:
    """Sums over samples of every layer of one network."""

    def __init__(
        self, reference: Graph, session: Session, layers: Sequence[Layer], integers: Graph | None
    ) -> None:
        self.reference = reference
        self.session = session
        self.producers = reference.producers()
        self.matched = [layer for layer in layers if layer.output.name in self.producers]
        self.ports = {layer.output.name: layer.output for layer in layers}
        self.levels = {layer.output.name: _levels(layer.output, integers) for layer in layers}
        self.scores = scores(reference, session)
        self.sums = {layer.index: _Sums() for layer in self.matched}
        for sums in self.sums.values():
            sums.mended = [Tally() for _ in self.scores]
            sums.coarser = [Tally() for _ in self.scores]
        self.outputs = [Tally() for _ in self.scores]

    def add(self, sample: Sequence[Array]) -> None:
        """One more sample, float32 [*shape] per input."""
        integers = [p.quantize(x) for p, x in zip(self.session.inputs, sample, strict=True)]
        found = self._run(integers, [layer.output.name for layer in self.matched])
        floats = evaluate(self.reference, sample, real=True)
        known = {
            port.tensor: p.dequantize(x)
            for port, p, x in zip(self.reference.inputs, self.session.inputs, integers, strict=True)
        }
        known |= {name: self.ports[name].dequantize(array) for name, array in found.items()}
        self._count(self.outputs, floats, found)
        for layer in self.matched:
            name, port, sums = layer.output.name, layer.output, self.sums[layer.index]
            own = self._own(self.producers[name], known, name)
            sums.output.add(floats[name], known[name].reshape(floats[name].shape))
            sums.own.add(own, known[name].reshape(own.shape))
            levels = self.levels[name]
            mended = np.clip(_nearest(port, own), *levels).astype(port.dtype).reshape(port.shape)
            integer = found[name].reshape(port.shape)
            sums.beyond += _beyond(port, levels, own.reshape(port.shape), integer)
            sums.elements += integer.size
            for tallies, other in ((sums.mended, mended), (sums.coarser, _coarser(port, levels, integer))):
                # Where nothing is replaced, the outputs stay as they are.
                same = np.array_equal(other, integer)
                self._count(
                    tallies, floats, found if same else self._run(integers, self.scores, {name: other})
                )

    def _run(
        self, integers: Sequence[Array], names: Sequence[str], replaced: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """Tensors of one run, by name."""
        answers = self.session.run(integers, dump=names, replaced=replaced)
        return dict(zip(names, answers[len(self.session.outputs) :], strict=True))

    def _count(
        self, tallies: Sequence[Tally], floats: Mapping[str, Array], found: Mapping[str, Array]
    ) -> None:
        for tally, name in zip(tallies, self.scores, strict=True):
            tally.add(floats[name], real_numbers(self.ports[name], found[name]).reshape(floats[name].shape))

    def _own(self, node: Node, known: Mapping[str, Array], target: str) -> Array:
        """What the float operators compute from the nearest tensors that the integer network has."""

        def value(name: str) -> Array:
            tensor = self.reference.tensors[name]
            if tensor.data is not None:
                return tensor.data
            if name in known:
                return known[name].reshape(tensor.shape)
            return self._own(self.producers[name], known, name)  # fused into what the integer network has

        results = node.op.real([value(name) for name in node.inputs if name])
        return results[node.outputs.index(target)]

    def result(self, layer: Layer) -> LayerError:
        """What is known of a layer."""
        sums = self.sums.get(layer.index)
        low, high = self.levels[layer.output.name]
        known = (
            layer.index,
            layer.kind,
            layer.name,
            layer.output.name,
            layer.weight_bits,
            (high - low).bit_length(),
            layer.weight_bytes,
        )
        if sums is None:
            return LayerError(*known)
        before = combined_db(self.outputs)
        gained, coarser = (
            0.0 if after == before else after - before
            for after in (combined_db(sums.mended), combined_db(sums.coarser))
        )
        return LayerError(
            *known,
            sums.output.snr_db,
            sums.output.cosine,
            sums.own.snr_db,
            sums.beyond / sums.elements,
            gained,
            coarser,
        )


def real_numbers(port: Port, integers: Array) -> Array:
    """What integers stand for; themselves where the port has no scale."""
    return port.dequantize(integers) if port.scale else integers


def _levels(port: Port, integers: Graph | None) -> tuple[int, int]:
    """The smallest and the largest integer that a tensor may hold."""
    tensor = None if integers is None else integers.tensors.get(port.name)
    if tensor is not None and tensor.dtype.numpy == port.dtype:
        return tensor.lowest, tensor.highest
    limits = np.iinfo(port.dtype)
    return int(limits.min), int(limits.max)


def _nearest(port: Port, values: Array) -> Array:
    """The integers of a port nearest to real numbers; the numbers themselves where it has no scale."""
    return port.quantize(values) if port.scale else values.astype(port.dtype)


def _coarser(port: Port, levels: tuple[int, int], integers: Array) -> Array:
    """The integers rounded to an even distance from the zero point, odd ones up and down in turn."""
    low, high = levels
    steps = integers.astype(np.int64) - port.zero_point
    rounded = port.zero_point + 2 * np.rint(steps / 2).astype(np.int64)
    # At the ends of the levels the even distance inside is taken.
    fitting = np.where(rounded > high, rounded - 2, np.where(rounded < low, rounded + 2, rounded))
    return np.asarray(fitting, port.dtype)


def _beyond(port: Port, levels: tuple[int, int], real: Array, integer: Array) -> int:
    """How many integers are at an end of the levels, and stand for a number further out by over half a step."""
    if not port.scale:
        return 0
    steps = real.astype(np.float64) / port.scale + port.zero_point
    low, high = levels
    cut = ((integer == low) & (steps < low - 0.5)) | ((integer == high) & (steps > high + 0.5))
    return int(cut.sum())
