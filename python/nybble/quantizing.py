# SPDX-License-Identifier: Apache-2.0
"""From a float network and samples to a .nyb model: import, quantize, compile, measure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy.typing as npt

from .convert import convert_graph, import_model, write_whole
from .graph import DType, Graph, QuantizationError
from .passes import prepare_float
from .quantize.apply import quantize_graph
from .quantize.observe import observe
from .quantize.recipe import Recipe
from .quantize.samples import Data, read_samples
from .quantize.ties import separate_given

if TYPE_CHECKING:
    from .measure.compare import Comparison


@dataclass(frozen=True)
class Quantized:
    """A quantized network and the truth about it.

    model: the bytes of the .nyb file. graph: the integer network; reference: the float one that it
    is measured against. weight_bytes: packed weights as the file stores them.
    """

    model: bytes
    graph: Graph
    reference: Graph
    recipe: Recipe
    comparison: Comparison
    weight_bytes: int

    @property
    def file_bytes(self) -> int:
        """Bytes of the model file."""
        return len(self.model)

    def __str__(self) -> str:
        weights = f"weights {self.weight_bytes} bytes ({self.recipe.weights} bits)"
        file = f"file {self.file_bytes} bytes"
        return f"{self.graph.name}: {weights}, {file}\n{self.comparison}"


def quantize_to_graph(reference: Graph, data: Data, recipe: Recipe) -> Graph:
    """The integer graph of a float one, calibrated on samples: minimum and maximum of every
    activation.

    Raises QuantizationError, and what read_samples raises.
    """
    wrong = [
        port.name for port in reference.inputs if reference.tensors[port.tensor].dtype is not DType.FLOAT32
    ]
    if wrong:
        raise QuantizationError(
            f"{reference.name}: is quantized already (input {wrong[0]!r}): use nybble.convert"
        )
    graph = separate_given(prepare_float(reference))
    samples, _ = read_samples(data, reference)
    return quantize_graph(graph, observe(graph, samples), recipe)


def quantize(
    source: str | os.PathLike[str] | bytes | Graph,
    data: Data,
    *,
    weights: int = 8,
    activations: int = 8,
    destination: str | os.PathLike[str] | None = None,
    recipe: Recipe | None = None,
    labels: npt.ArrayLike | None = None,
    test: Data | None = None,
) -> Quantized:
    """Quantize a float network to integers and measure the result on the integer core.

    source: path or bytes of a float .onnx or .tflite network, or its graph. data: samples to
    calibrate on, float32 [N, ...] as the source takes them: an array, one per input (in order or by
    name), or the path of a .npz with ``x`` (or the inputs' names) and maybe ``y``. weights: bits of
    weights, 8, 4 or 2; activations: 8. recipe: bits layer by layer; it takes the place of weights
    and activations. test: samples to measure on, given as data is; the calibration samples
    themselves where it is None. labels: class numbers of the samples measured on. destination:
    where to write the model.

    Equal inputs give equal bytes. Raises ModelError, UnsupportedError with all blockers,
    QuantizationError, OSError, and TypeError or ValueError for wrong arguments.
    """
    # The session needs the extension; quantize_to_graph does not.
    from .measure.compare import compare
    from .measure.summary import summarize
    from .session import load_nyb

    if recipe is None:
        recipe = Recipe(weights, activations)
    reference = source if isinstance(source, Graph) else import_model(source)
    graph = quantize_to_graph(reference, data, recipe)
    model = convert_graph(graph)
    session = load_nyb(model)
    comparison = compare(reference, session, data if test is None else test, labels)
    if destination is not None:
        write_whole(Path(destination), model)
    return Quantized(model, graph, reference, recipe, comparison, summarize(session).weight_bytes)
