# SPDX-License-Identifier: Apache-2.0
"""Each quantizer behind one face: float network and samples in, model file out; samples in, scores out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import nybble
from nybble.graph import evaluate_outputs
from nybble.measure.summary import summarize
from nybble.quantize import read_samples

from .rows import ENDS, Row, recipe

Array = npt.NDArray[Any]

#: Samples that a session runs at a time.
BATCH = 50


class NotHere(Exception):
    """Why a row cannot be measured here."""


@dataclass(frozen=True)
class Model:
    """A quantized model: what a user would ship, the bytes of its weights if the tool says them, and how it answers."""

    content: bytes
    weight_bytes: int | None
    scores: Callable[[Array], Array]


@dataclass(frozen=True)
class Network:
    """The forms of a float network that a quantizer may take."""

    source: Path
    onnx: Path | None
    tflite: Path | None

    def as_onnx(self) -> Path:
        """The .onnx form; NotHere where there is none."""
        if self.onnx is None:
            raise NotHere("there is no .onnx of this network")
        return self.onnx

    def as_tflite(self) -> Path:
        """The .tflite form; NotHere where there is none."""
        if self.tflite is None:
            raise NotHere("there is no .tflite of this network")
        return self.tflite


def quantizer(row: Row) -> Callable[[Network, Array, Row, Path], Model]:
    """What makes a row's model: from network, calibration samples, the row itself and a folder to write in."""
    return {
        "float": _float,
        "nybble": _nybble,
        "onnxruntime": _onnxruntime,
        "ai-edge-quantizer": _ai_edge_quantizer,
        "nncf": _nncf,
    }[row.quantizer]


def _float(network: Network, calibration: Array, row: Row, folder: Path) -> Model:
    """The float network by the runtime that its file is made for; by nybble's own evaluation where that is missing."""
    del calibration, row, folder
    content = network.source.read_bytes()
    try:
        run = onnx_scores(network.source) if network.source.suffix == ".onnx" else _tflite_scores(content)
    except ImportError:
        graph = nybble.import_model(network.source)

        def run(x: Array) -> Array:
            samples, _ = read_samples(x, graph)
            return np.stack([evaluate_outputs(graph, [one], real=True)[0] for one in samples[0]])

    return Model(content, None, run)


def _nybble(network: Network, calibration: Array, row: Row, folder: Path) -> Model:
    del folder
    try:
        wanted = recipe(row.level, row.method)
    except (TypeError, ValueError) as error:
        raise NotHere(str(error)) from None
    graph = nybble.import_model(network.source)
    # Counted below, on all test samples; what quantize() measures by itself is kept short.
    found = nybble.quantize(graph, calibration, recipe=wanted, test=calibration[:1])
    session = nybble.load(found.model, threads=2)

    def run(x: Array) -> Array:
        samples, _ = read_samples(x, graph)
        answers = []
        for first in range(0, len(x), BATCH):
            answer = session(*(array[first : first + BATCH] for array in samples))
            answers.append(answer[0] if isinstance(answer, tuple) else answer)
        return np.concatenate(answers)

    return Model(found.model, summarize(session).weight_bytes, run)


# Peers.


def onnx_scores(path: Path) -> Callable[[Array], Array]:
    """ONNX Runtime with exact kernels: those for AVX2 clip sums of two products to 16 bits."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]

    def run(x: Array) -> Array:
        shaped = [_one(sample, port.shape) for sample in x]
        return np.stack([session.run(None, {port.name: sample})[0] for sample in shaped])

    return run


def _one(sample: Array, shape: list[Any]) -> Array:
    """One sample as the network takes it, with its dimension of 1 in front."""
    return sample if sample.ndim == len(shape) else sample[np.newaxis]


def _tflite_scores(content: bytes) -> Callable[[Array], Array]:
    """LiteRT, with its usual kernels."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    given, found = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = given["quantization"]

    def run(x: Array) -> Array:
        answers = []
        for sample in x:
            shaped = sample.reshape(given["shape"])
            if given["dtype"] is not np.float32:
                limits = np.iinfo(given["dtype"])
                shaped = np.clip(np.round(shaped / scale) + zero_point, limits.min, limits.max)
            interpreter.set_tensor(given["index"], shaped.astype(given["dtype"]))
            interpreter.invoke()
            answers.append(interpreter.get_tensor(found["index"]).copy())
        return np.stack(answers)

    return run


def _onnxruntime(network: Network, calibration: Array, row: Row, folder: Path) -> Model:
    """onnxruntime.quantization, static, QDQ, one scale per output channel."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, prepared, result = network.as_onnx(), folder / "prepared.onnx", folder / "quantized.onnx"
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    types, method = row.method.split()
    name, shape = _onnx_input(prepared)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.samples: Iterator[Array] = iter(calibration)

        def get_next(self) -> dict[str, Array] | None:
            sample = next(self.samples, None)
            return None if sample is None else {name: _one(sample, shape)}

    quantize_static(
        str(prepared),
        str(result),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type={"u8": QuantType.QUInt8, "s8": QuantType.QInt8}[types[:2]],
        weight_type={8: QuantType.QInt8, 4: QuantType.QInt4}[row.weights],
        calibrate_method={
            "minmax": CalibrationMethod.MinMax,
            "entropy": CalibrationMethod.Entropy,
            "percentile": CalibrationMethod.Percentile,
        }[method],
        extra_options={
            "WeightSymmetric": True,
            "TensorQuantOverrides": _onnx_ends(prepared) if row.weights < 8 else {},
        },
    )
    return Model(result.read_bytes(), None, onnx_scores(result))


def _onnx_input(path: Path) -> tuple[str, list[Any]]:
    import onnx

    graph = onnx.load(str(path)).graph
    constants = {one.name for one in graph.initializer}
    port = next(one for one in graph.input if one.name not in constants)
    return port.name, list(port.type.tensor_type.shape.dim)


def _onnx_ends(path: Path) -> dict[str, Any]:
    """Overrides that leave 8 bits to the weights of the first and the last layer: per channel where those are
    convolutions, whose axis the tool takes in an override.
    """
    import onnx
    from onnxruntime.quantization import QuantType

    graph = onnx.load(str(path)).graph
    constants = {one.name for one in graph.initializer}
    kinds = ("Conv", "Gemm", "MatMul")
    layers = [node for node in graph.node if node.op_type in kinds and node.input[1] in constants]
    return {
        node.input[1]: [{"quant_type": QuantType.QInt8} | ({"axis": 0} if node.op_type == "Conv" else {})]
        for node in (layers[0], layers[-1])
    }


def _ai_edge_quantizer(network: Network, calibration: Array, row: Row, folder: Path) -> Model:
    """ai-edge-quantizer, static, one scale per output channel, run by LiteRT."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer

    del folder
    content, layers = _signed(network.as_tflite().read_bytes())
    tool = Quantizer(content)
    algorithm = {"minmax": AlgorithmName.MIN_MAX_UNIFORM_QUANT, "octav": AlgorithmName.OCTAV}[row.method]
    rules = [(".*", row.weights)]
    if row.weights < ENDS:
        # A later rule goes before an earlier one; a layer is known by the name of its output.
        rules += [(re.escape(name), ENDS) for name in (layers[0], layers[-1])]
    for pattern, bits in rules:
        tool.add_static_config(
            pattern, TFLOperationName.ALL_SUPPORTED, row.activations, bits, algorithm_key=algorithm
        )
    samples = [{"x": sample.reshape(1, *sample.shape)} for sample in calibration]
    seen = tool.calibrate({"serving_default": samples}, num_threads=1)
    found = bytes(tool.quantize(seen, enable_progress_report=False).quantized_model)
    return Model(found, None, _tflite_scores(found))


def _signed(content: bytes) -> tuple[bytes, list[str]]:
    """A .tflite of one input with the signature that ai-edge-quantizer asks for, and the output names of its layers
    with weights, in order.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for code in model.operatorCodes:
        # Old files have the operator in the older, narrower field only; ai-edge-quantizer reads the newer one.
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    ports = {b"x": graph.inputs, b"y": graph.outputs}
    maps = {}
    for name, tensors in ports.items():
        maps[name] = schema.TensorMapT()
        maps[name].name, maps[name].tensorIndex = name, int(tensors[0])
    signature.inputs, signature.outputs = [maps[b"x"]], [maps[b"y"]]
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    kinds = schema.BuiltinOperator
    weighted = (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D, kinds.FULLY_CONNECTED)
    layers = [
        graph.tensors[node.outputs[0]].name.decode()
        for node in graph.operators
        if model.operatorCodes[node.opcodeIndex].builtinCode in weighted
    ]
    return bytes(builder.Output()), layers


def _nncf(network: Network, calibration: Array, row: Row, folder: Path) -> Model:
    """nncf.quantize on the .onnx; fast is its default."""
    import nncf
    import onnx

    name, shape = _onnx_input(network.as_onnx())
    data = nncf.Dataset([{name: _one(sample, shape)} for sample in calibration])
    fast = row.method == "fast bias correction"
    result = nncf.quantize(
        onnx.load(str(network.as_onnx())), data, subset_size=len(calibration), fast_bias_correction=fast
    )
    path = folder / "quantized.onnx"
    onnx.save(result, str(path))
    return Model(path.read_bytes(), None, onnx_scores(path))
