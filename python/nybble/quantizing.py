# SPDX-License-Identifier: Apache-2.0
"""From a float network and samples to a .nyb model: import, quantize, compile, measure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .convert import check_writable, convert_graph, import_model, open_inputs, write_whole
from .graph import Array, DType, Graph, QuantizationError
from .passes import prepare_float
from .quantize.apply import Progress, quantize_graph
from .quantize.observe import observe
from .quantize.parameters import Level, level_text
from .quantize.recipe import Recipe
from .quantize.samples import Data, arrays_of, read_samples
from .quantize.ties import SharedScale, separate_given, shared_scales
from .quantize.widths import separate_widths

if TYPE_CHECKING:
    from .measure.compare import Comparison
    from .measure.layers import LayerReport
    from .measure.remedies import Remedies


@dataclass(frozen=True)
class Quantized:
    """A quantized network and the truth about it.

    model: the bytes of the .nyb file. graph: the integer network; reference: the float one that it
    is measured against; prepared: the same with the passes that come before quantization, its tensors named
    as those of the integer network. weight_bytes: packed weights as the file stores them. calibrated_on,
    measured_on, labels: as they were given. warnings: where tensors of very different ranges share a scale.
    """

    model: bytes
    graph: Graph
    reference: Graph
    recipe: Recipe
    comparison: Comparison
    weight_bytes: int
    prepared: Graph
    calibrated_on: Data
    measured_on: Data
    labels: npt.ArrayLike | None
    warnings: tuple[SharedScale, ...] = ()

    @property
    def file_bytes(self) -> int:
        """Bytes of the model file."""
        return len(self.model)

    def layers(self, *, limit: int = 32, seconds: float = 20.0) -> LayerReport:
        """What each layer costs, measured on the integer core on at most ``limit`` of the samples that the network
        was measured on, and in not much more than ``seconds``.
        """
        from .measure.layers import measure_layers
        from .session import load_nyb

        samples, _ = read_samples(self.measured_on, self.reference)
        return measure_layers(
            self.prepared,
            load_nyb(self.model),
            samples,
            integers=self.graph,
            limit=limit,
            seconds=seconds,
        )

    def remedies(
        self,
        report: LayerReport | None = None,
        *,
        limit: int = 128,
        seconds: float = 120.0,
        progress: Callable[[str], None] | None = None,
    ) -> Remedies:
        """What would help: other recipes, each quantized and run on the integer core, ranked by what they gain.

        report: of :meth:`layers`, which names the layers to try. limit: samples to measure on at most.
        seconds: no further recipe is tried after that time. progress: is told what is tried.
        """
        from .measure.remedies import Judge, find_remedies

        samples, found = read_samples(self.measured_on, self.reference)
        given = found if self.labels is None else self.labels
        labels = None if given is None or self.comparison.paired is None else np.asarray(given).reshape(-1)

        def build(recipe: Recipe) -> bytes:
            return convert_graph(quantize_to_graph(self.reference, self.calibrated_on, recipe), golden=False)

        judge = Judge(self.prepared, samples, labels, limit)
        report = self.layers() if report is None else report
        return find_remedies(judge, self.recipe, report, build, seconds=seconds, progress=progress)

    def __repr__(self) -> str:
        return (
            f"<nybble.Quantized {self.graph.name}: weights {level_text(self.recipe.weights)}, file {self.file_bytes} "
            f"bytes, measured on {self.comparison.samples} samples>"
        )

    def __str__(self) -> str:
        weights = f"weights {self.weight_bytes} bytes ({level_text(self.recipe.weights)})"
        file = f"file {self.file_bytes} bytes"
        lines = [f"{self.graph.name}: {weights}, {file}", *map(str, self.warnings), str(self.comparison)]
        return "\n".join(lines)


def import_for(
    source: str | os.PathLike[str] | bytes | Graph,
    data: Data,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Graph:
    """The network that samples are for: sizes that it leaves open and ``shapes`` does not say are those of the samples,
    unless these are a folder's, which have none.

    Raises what nybble.import_model raises, and OSError, ValueError and TypeError where the samples do not fit.
    """
    if isinstance(source, Graph):
        if shapes:
            raise ValueError(
                f"{source.name}: shapes are for .onnx files; a graph has its own: leave them out"
            )
        return source
    given = dict(shapes or {})
    folder = isinstance(data, str | os.PathLike) and Path(data).is_dir()
    declared = {} if folder else open_inputs(source)
    if any(isinstance(n, str) for name, shape in declared.items() if name not in given for n in shape[1:]):
        arrays, _ = arrays_of(data, list(declared))
        for (name, shape), array in zip(declared.items(), arrays, strict=True):
            given.setdefault(name, _shape_in(array, name, shape))
    return import_model(source, shapes=given)


def _shape_in(samples: Array, name: str, declared: tuple[int | str, ...]) -> tuple[int, ...]:
    """The shape of an input that samples [N, *shape] have, or as many joined along its first dimension."""
    shape = samples.shape[1:]
    if samples.ndim == len(declared):
        first = declared[0] if declared else 1
        shape = (1 if isinstance(first, str) else first, *shape)
    fits = len(shape) == len(declared) and all(
        n == wanted or (isinstance(wanted, str) and n > 0) for n, wanted in zip(shape, declared, strict=True)
    )
    if not fits:
        wanted = f"[{', '.join(map(str, declared))}]"
        raise ValueError(
            f"input {name!r}: expected samples of shape {wanted}, or N of them, found {samples.shape}"
        )
    return shape


def prepare(reference: Graph, recipe: Recipe) -> Graph:
    """The float graph as it is quantized: passes, and a Quantize wherever scales, or 8 and 16 bits, have to meet.

    Raises QuantizationError where the network is quantized already.
    """
    require_float(reference)
    return separate_widths(separate_given(prepare_float(reference)), recipe)


def require_float(reference: Graph) -> None:
    """Raises QuantizationError where the network is quantized already."""
    wrong = [
        port.name for port in reference.inputs if reference.tensors[port.tensor].dtype is not DType.FLOAT32
    ]
    if wrong:
        raise QuantizationError(
            f"{reference.name}: is quantized already (input {wrong[0]!r}): use nybble.convert"
        )


def quantize_to_graph(
    reference: Graph, data: Data, recipe: Recipe, progress: Progress | None = None
) -> Graph:
    """The integer graph of a float one, calibrated on samples. progress: called with (steps done, of).

    Raises QuantizationError, and what read_samples raises.
    """
    return _with_warnings(reference, data, recipe, progress)[0]


def _with_warnings(
    reference: Graph, data: Data, recipe: Recipe, progress: Progress | None
) -> tuple[Graph, tuple[SharedScale, ...]]:
    graph = prepare(reference, recipe)
    samples, _ = read_samples(data, reference)
    ranges = observe(graph, samples, recipe)
    return quantize_graph(graph, ranges, recipe, samples, progress), shared_scales(graph, ranges)


def quantize(
    source: str | os.PathLike[str] | bytes | Graph,
    data: Data,
    *,
    weights: Level = 8,
    activations: int = 8,
    destination: str | os.PathLike[str] | None = None,
    recipe: Recipe | None = None,
    labels: npt.ArrayLike | None = None,
    test: Data | None = None,
    progress: Progress | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Quantized:
    """Quantize a float network to integers and measure the result on the integer core.

    source: path or bytes of a float .onnx or .tflite network, or its graph. data: samples to
    calibrate on, float32 [N, ...] as the source takes them: an array, one per input (in order or by
    name), or the path of a .npz with ``x`` (or the inputs' names) and maybe ``y``. weights: bits of
    weights, 8, 4 or 2, or 'ternary'; activations: 16, 8, 4 or 2. recipe: bits layer by layer; it takes the place of
    weights and activations. test: samples to measure on, given as data is; the calibration samples
    themselves where it is None. labels: class numbers of the samples measured on. destination:
    where to write the model. progress: called with (steps done, of). shapes: of the inputs of an .onnx network that
    leaves sizes open, by name, as the file has them, such as {"x": (1, 3, 224, 224)}; those of the samples where
    they are not given.

    Equal inputs give equal bytes. Raises ModelError, UnsupportedError with all blockers,
    QuantizationError, OSError, and TypeError or ValueError for wrong arguments.
    """
    # The session needs the extension; quantize_to_graph does not.
    from .measure.compare import compare
    from .measure.summary import summarize
    from .session import load_nyb

    if destination is not None:
        check_writable(Path(destination))
    if recipe is None:
        recipe = Recipe(weights, activations)
    reference = import_for(source, data, shapes)
    graph, warnings = _with_warnings(reference, data, recipe, progress)
    model = convert_graph(graph)
    session = load_nyb(model)
    comparison = compare(reference, session, data if test is None else test, labels)
    if destination is not None:
        write_whole(Path(destination), model)
    return Quantized(
        model,
        graph,
        reference,
        recipe,
        comparison,
        summarize(session).weight_bytes,
        prepare(reference, recipe),
        data,
        data if test is None else test,
        labels,
        warnings,
    )
