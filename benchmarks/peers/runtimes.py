# SPDX-License-Identifier: Apache-2.0
"""The runtimes, each with its best settings for one thread.

``load`` makes a runtime ready on the folder of a network, its input filled with random numbers; ``run`` is then the bare
call, outputs staying where the runtime leaves them. A missing package raises ImportError, a missing file
FileNotFoundError: the row is skipped with that reason.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def filled(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Array:
    """A random input: integers over the whole type, floats of the size of a normalized image."""
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(size=shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(kind)


class Runtime(ABC):
    """A runtime on one network. file: what it reads in a network's folder; package: whose version is reported."""

    file = ""
    package = ""
    run: Callable[[], object]
    #: The only output as an array, after a run.
    output: Callable[[], Array]

    def load(self, folder: Path, feed: Callable[[npt.DTypeLike, tuple[int, ...]], Array] = filled) -> None:
        """Be ready to run the network in ``folder``; feed: makes the input, in a time that ``feeding`` tells."""
        self.feeding = 0.0

        def timed(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Array:
            start = time.perf_counter()
            values = feed(dtype, shape)
            self.feeding += time.perf_counter() - start
            return values

        self.feed = timed
        if not (folder / self.file).exists():
            self.prepare(folder)
        self.open(folder / self.file)

    def prepare(self, folder: Path) -> None:
        """Make ``file`` out of the others, for runtimes with a format of their own."""
        raise FileNotFoundError(f"no {self.file}")

    @abstractmethod
    def open(self, path: Path) -> None:
        """Load ``path``, fill the input, set ``run`` and ``output``."""


class Nybble(Runtime):
    """nybble itself, from a .nyb model that is made of int8.tflite once."""

    package = "nybble"

    def __init__(self, weights: str, cpu: str | None, threads: int, options: dict[str, Any]) -> None:
        self.weights, self.cpu, self.threads, self.options = weights, cpu, threads, options
        self.file = f"int8{weights and '_'}{weights}.nyb"

    def prepare(self, folder: Path) -> None:
        import nybble

        if not (folder / "int8.tflite").exists():
            raise FileNotFoundError("no int8.tflite")
        choice: dict[str, Any] = {"weights": self.weights or None}
        if self.weights in ("w4", "w2"):
            choice = {"weight_bits": int(self.weights[1])}
        nybble.convert(folder / "int8.tflite", folder / self.file, golden=False, **choice)

    def open(self, path: Path) -> None:
        import nybble

        session = nybble.load(path, threads=self.threads, cpu=self.cpu, **self.options)
        for i, port in enumerate(session.inputs):
            session.input_view(i)[...] = self.feed(port.dtype, port.shape)
        self.run = session.invoke
        self.output = lambda: session.output_view(0)


class LiteRt(Runtime):
    """LiteRT's interpreter with XNNPACK, which is its default."""

    package = "ai-edge-litert"

    def __init__(self, file: str) -> None:
        self.file = file

    def open(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        for x in interpreter.get_input_details():
            interpreter.set_tensor(x["index"], self.feed(x["dtype"], tuple(x["shape"])))
        self.run = interpreter.invoke
        self.output = lambda: interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


class OnnxRuntime(Runtime):
    """ONNX Runtime with every graph optimization and bound inputs and outputs."""

    package = "onnxruntime"
    _TYPES = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(float)": np.float32}  # noqa: RUF012

    def __init__(self, file: str, **entries: str) -> None:
        self.file, self.entries = file, entries

    def open(self, path: Path) -> None:
        import onnxruntime as ort

        ort.set_default_logger_severity(3)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        for key, value in self.entries.items():
            options.add_session_config_entry(f"session.{key}", value)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for x in session.get_inputs():
            shape = tuple(size if isinstance(size, int) else 1 for size in x.shape)
            binding.bind_ortvalue_input(
                x.name, ort.OrtValue.ortvalue_from_numpy(self.feed(self._TYPES[x.type], shape))
            )
        for y in session.get_outputs():
            binding.bind_output(y.name)
        # The first run allocates the outputs; bound themselves, they are written in place from then on.
        session.run_with_iobinding(binding)
        outputs = binding.get_outputs()
        for y, value in zip(session.get_outputs(), outputs, strict=True):
            binding.bind_ortvalue_output(y.name, value)
        self.run = lambda: session.run_with_iobinding(binding)
        self.output = lambda: outputs[0].numpy()


class OpenVino(Runtime):
    """OpenVINO's CPU plugin for latency, one thread and one stream."""

    package = "openvino"

    def __init__(self, file: str) -> None:
        self.file = file

    def open(self, path: Path) -> None:
        import openvino

        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # the process is pinned already
        }
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        request = compiled.create_infer_request()
        for i, x in enumerate(compiled.inputs):
            values = self.feed(x.get_element_type().to_dtype(), tuple(x.shape))
            request.set_input_tensor(i, openvino.Tensor(values))
        self.run = lambda: request.infer(share_outputs=True)
        self.output = lambda: request.get_output_tensor(0).data


class Ncnn(Runtime):
    """ncnn; its int8 has symmetric activations of its own, and float between layers that need it."""

    package = "ncnn"

    def __init__(self, file: str) -> None:
        self.file = file

    def load(self, folder: Path, feed: Callable[[npt.DTypeLike, tuple[int, ...]], Array] = filled) -> None:
        # The .param does not tell the shape of its input.
        sample = folder / "input.npy"
        if sample.exists():
            self.shape = np.load(sample, mmap_mode="r").shape
        else:
            from nybble import import_model

            graph = import_model(folder / "int8.tflite")
            self.shape = graph.tensors[graph.inputs[0].tensor].shape
        super().load(folder, feed)

    def open(self, path: Path) -> None:
        import ncnn

        lines = [line.split() for line in path.read_text().splitlines()[2:]]
        first = next(words[4] for words in lines if words[0] == "Input")
        last = lines[-1][3 + int(lines[-1][2]) + int(lines[-1][3]) :][0]
        shape = self.shape[1:]
        planar = (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape
        values = self.feed(np.float32, planar)
        x = ncnn.Mat(values).clone()
        net = self.net = ncnn.Net()
        net.opt.num_threads = 1
        net.opt.use_vulkan_compute = False
        net.load_param(str(path))
        net.load_model(str(path.with_suffix(".bin")))

        def run() -> Any:
            extractor = net.create_extractor()
            extractor.input(first, x)
            return extractor.extract(last)

        self.run = run
        self.output = lambda: np.array(run()[1])


class MnnFloat(Runtime):
    """MNN in float; its own int8 takes none of these files."""

    package = "MNN"
    file = "float.mnn"

    def prepare(self, folder: Path) -> None:
        if not (folder / "float.onnx").exists():
            raise FileNotFoundError("no float.onnx")
        tool = Path(sys.executable).with_name("mnnconvert")
        arguments = ["--modelFile", folder / "float.onnx", "--MNNModel", folder / self.file]
        command = [tool, "-f", "ONNX", "--bizCode", "nybble", *arguments]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)

    def open(self, path: Path) -> None:
        import MNN

        interpreter = self.interpreter = MNN.Interpreter(str(path))
        session = interpreter.createSession({"numThread": 1, "backend": "CPU", "precision": "normal"})
        x = interpreter.getSessionInput(session)
        values = self.feed(np.float32, tuple(x.getShape()))
        order = MNN.Tensor_DimensionType_Caffe
        x.copyFrom(MNN.Tensor(values.shape, MNN.Halide_Type_Float, values, order))
        self.run = lambda: interpreter.runSession(session)


class TfliteMicro(Runtime):
    """TensorFlow Lite for Microcontrollers as its wheel has it: the portable reference kernels."""

    package = "tflite-micro"
    file = "int8.tflite"

    def open(self, path: Path) -> None:
        from tflite_micro.python.tflite_micro import runtime

        interpreter = runtime.Interpreter.from_file(str(path))
        x = interpreter.get_input_details(0)
        interpreter.set_input(self.feed(x["dtype"], tuple(x["shape"])), 0)
        self.run = interpreter.invoke
        self.output = lambda: interpreter.get_output(0)


@dataclass(frozen=True)
class Row:
    """A row of the tables: its name, and what makes its runtime.

    probed: whether its sums are to be probed for saturation (integers, and the probe's own weights). wall: measured by
    the clock on the wall, because several cores work for it.
    """

    name: str
    make: Callable[[], Runtime]
    probed: bool = True
    ours: bool = False
    wall: bool = False


_PEERS = (
    Row("litert", lambda: LiteRt("int8.tflite")),
    Row("ort_u8s8", lambda: OnnxRuntime("u8s8.onnx")),
    Row("ort_u8s8_exact", lambda: OnnxRuntime("u8s8.onnx", x64quantprecision="1")),
    Row("ort_u8u8", lambda: OnnxRuntime("u8u8.onnx")),
    Row("ort_s8s8", lambda: OnnxRuntime("s8s8.onnx")),
    Row("openvino", lambda: OpenVino("u8s8.onnx")),
    Row("ncnn", lambda: Ncnn("int8.param")),
    Row("tflite_micro", TfliteMicro),
    Row("litert_float", lambda: LiteRt("float.tflite"), probed=False),
    Row("ort_float", lambda: OnnxRuntime("float.onnx"), probed=False),
    Row("openvino_float", lambda: OpenVino("float.onnx"), probed=False),
    Row("ncnn_float", lambda: Ncnn("float.param"), probed=False),
    Row("mnn_float", MnnFloat, probed=False),
)
PEERS = {row.name: row for row in _PEERS}

#: nybble[+WEIGHTS][+prepack][+THREADSt][@LEVEL]
_NYBBLE = re.compile(r"nybble(?:\+(pair-safe|quad-safe|w4|w2))?(\+prepack)?(?:\+(\d)t)?(?:@([a-z0-9]+))?")
NYBBLE_ROWS = (
    "nybble",
    "nybble+prepack",
    "nybble+pair-safe",
    "nybble+w4",
    "nybble+w2",
    "nybble+2t",
    "nybble@avx2",
    "nybble+prepack@avx2",
    "nybble+pair-safe@avx2",
    "nybble+w4@avx2",
    "nybble+w2@avx2",
)


def row(name: str, cpu: str | None = None) -> Row:
    """The row of a name; ValueError where there is none. cpu: nybble's level where its row names none."""
    if name in PEERS:
        return PEERS[name]
    match = _NYBBLE.fullmatch(name)
    if match is None:
        raise ValueError(
            f"expected nybble[+pair-safe|+quad-safe|+w4|+w2][+prepack][+2t][@LEVEL] or one of {', '.join(PEERS)}; "
            f"found {name!r}"
        )
    weights, prepack, threads, level = match.groups()
    if level is not None:
        from nybble.session import CPU_NAMES

        if level not in CPU_NAMES:
            raise ValueError(f"{name!r}: expected a CPU level of {', '.join(CPU_NAMES)}")
    count = int(threads or 1)
    options = {"prepack": True} if prepack else {}
    return Row(
        name,
        lambda: Nybble(weights or "", level or cpu, count, options),
        probed=not weights,
        ours=True,
        wall=count > 1,
    )
