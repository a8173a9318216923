# SPDX-License-Identifier: Apache-2.0
"""Load models and run them on the integer core."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from .graph import ModelError

__all__ = ["Layer", "Port", "Session", "cpu_levels", "load_nyb", "resident_bytes"]

Array = npt.NDArray[Any]

#: CPU levels that ``cpu=`` takes, weakest first; a machine has some of them.
CPU_NAMES = ("scalar", *_core.cpu_names())

#: Of one session: more than any machine runs at once, and few enough to count their memory.
MOST_THREADS = 4096


def cpu_levels() -> tuple[str, ...]:
    """The CPU levels of this machine, weakest first."""
    return tuple(_instructions())


@functools.cache  # asking is dear in virtual machines
def _instructions() -> Mapping[str, int]:
    """Of each CPU level of this machine its instructions, as the core counts them."""
    found = {}
    for name in CPU_NAMES:
        with contextlib.suppress(ValueError):
            found[name] = _core.cpu_parse(name)
    return found


def resident_bytes() -> int:
    """Bytes of this process that are in memory, mapped files included; 0 where the system does not say."""
    return int(_core.resident_bytes())


@dataclass(frozen=True)
class Port:
    """An input, an output or an intermediate tensor: real = scale * (integer - zero_point).

    scale is 0 where the model states none. real: the network that the model came from has float32 here.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int
    real: bool

    def quantize(self, values: npt.ArrayLike) -> Array:
        """round(values / scale) + zero_point, ties away from zero, clamped to the type.

        Source: AffineQuantize, tensorflow/lite/kernels/internal/reference/quantize.h (float32 division).
        """
        if self.scale == 0:
            raise ValueError(f"{self.name!r} has no scale: give it {self.dtype} integers")
        ratio = np.asarray(values, np.float32) / np.float32(self.scale)
        if not np.all(np.isfinite(ratio)):
            raise ValueError(f"expected finite numbers for {self.name!r}")
        # In double, where adding one half is exact: 0.49999997 must not become 1.
        rounded = np.copysign(np.floor(np.abs(ratio.astype(np.float64)) + 0.5), ratio)
        limits = np.iinfo(self.dtype)
        result: Array = np.clip(rounded + self.zero_point, limits.min, limits.max).astype(self.dtype)
        return result

    def dequantize(self, values: Array) -> npt.NDArray[np.float32]:
        """scale * (values - zero_point) in float32; the integers themselves where there is no scale."""
        if self.scale == 0:
            return values.astype(np.float32)
        return (np.float32(self.scale) * (values.astype(np.int64) - self.zero_point)).astype(np.float32)


@dataclass(frozen=True)
class Layer:
    """One operator of a model: what it is, what runs it, and what it costs."""

    index: int
    kind: str
    name: str
    variant: str
    inputs: tuple[Port, ...]
    output: Port
    macs: int
    weight_bytes: int
    weight_bits: int


def _port(entry: Mapping[str, Any]) -> Port:
    return Port(
        entry["name"],
        tuple(entry["shape"]),
        np.dtype(entry["dtype"]),
        float(entry["scale"]),
        int(entry["zero_point"]),
        bool(entry["real"]),
    )


class Session:
    """A model ready to run, with an arena of its own.

    One session serves one thread at a time; sessions of one model may run side by side. The GIL is released
    while the network runs. A session pickles as its model and options, so process pools can ship it.
    """

    def __init__(
        self, model: _core.Model, *, threads: int = 1, cpu: str | None = None, prepack: bool = False
    ) -> None:
        if not isinstance(threads, int) or not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"threads: expected 1 to {MOST_THREADS}, found {threads!r}")
        if cpu is not None and cpu not in cpu_levels():
            raise ValueError(
                f"expected a CPU level of this machine ({', '.join(cpu_levels())}), found {cpu!r}"
            )
        self._model = model
        self._threads = threads
        self._cpu = cpu
        self._prepack = prepack
        self._bits = _core.cpu_detect() if cpu is None else _instructions()[cpu]
        try:
            self._core = _core.Session(model, self._bits, threads, prepack)
        except RuntimeError as error:  # the system's limit
            raise ValueError(f"threads: {error}: ask for fewer") from None
        self._inputs = tuple(_port(p) for p in self._core.inputs())
        self._outputs = tuple(_port(p) for p in self._core.outputs())

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.content, self._threads, self._cpu, self._prepack)

    def __repr__(self) -> str:
        ports = ", ".join(f"{p.name} {p.dtype}{list(p.shape)}" for p in (*self._inputs, *self._outputs))
        return f"<nybble.Session {ports}>"

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs, in order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """The outputs, in order."""
        return self._outputs

    @property
    def content(self) -> bytes:
        """The bytes of the model file."""
        return bytes(self._model.bytes())

    @property
    def arena_bytes(self) -> int:
        """Bytes of the whole arena: activations, plans, prepacked weights and scratch memory."""
        return int(self._core.arena_bytes)

    @property
    def activation_bytes(self) -> int:
        """Bytes of the arena that activations take."""
        return int(self._core.activation_bytes)

    def run(
        self,
        inputs: Sequence[npt.ArrayLike],
        *,
        dump: Sequence[str] = (),
        replaced: Mapping[str, Array] | None = None,
    ) -> list[Array]:
        """Run on the model's own integers.

        inputs: one array per input, of the input's dtype and shape, or a batch: any N samples with the first
        dimension (or one more) N times larger. Returns one array per output, batched likewise. dump: names of
        intermediate tensors to return after the outputs (one sample only); the outputs stay the same. replaced:
        integers by the name of an intermediate tensor, which the rest of the network gets instead of
        what was computed (one sample only).

        Raises TypeError for other dtypes and ValueError for other shapes or names.
        """
        if len(inputs) != len(self._inputs):
            raise ValueError(f"expected {len(self._inputs)} inputs, found {len(inputs)}")
        arrays = []
        layouts = set()
        for port, given in zip(self._inputs, inputs, strict=True):
            array = np.asarray(given)
            if array.dtype != port.dtype:
                raise TypeError(_wrong_type(port, array))
            layouts.add(self._batch(port, array))
            arrays.append(np.ascontiguousarray(array))
        if len(layouts) != 1:
            raise ValueError(f"expected one batch size for all inputs, found {sorted(layouts)}")
        count, stacked = layouts.pop()
        if dump or replaced:
            return self._run_steps(arrays, count, dump, replaced or {})
        results: list[Array] = self._core.run(arrays, count)
        return [
            r if stacked else r.reshape(self._joined(p.shape, count))
            for p, r in zip(self._outputs, results, strict=True)
        ]

    @staticmethod
    def _joined(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
        if count == 1:
            return shape
        return (shape[0] * count, *shape[1:]) if shape else (count,)

    @staticmethod
    def _batch(port: Port, array: Array) -> tuple[int, bool]:
        """(samples, whether they are stacked along a dimension of their own)."""
        if array.shape[1:] == port.shape and array.ndim == len(port.shape) + 1:
            return array.shape[0], True
        if port.shape and array.ndim == len(port.shape) and array.shape[1:] == port.shape[1:]:
            if port.shape[0] and array.shape[0] % port.shape[0] == 0:
                return array.shape[0] // port.shape[0], False
        elif array.shape == port.shape:
            return 1, False
        first = len(port.shape) == 4 and array.shape[-3:] == (port.shape[3], *port.shape[1:3])
        hint = "; channels go last: numpy.moveaxis(x, -3, -1)" if first else ""
        raise ValueError(
            f"input {port.name!r}: expected shape {port.shape} or a batch of it, found {array.shape}{hint}"
        )

    def _run_steps(
        self, arrays: Sequence[Array], count: int, dump: Sequence[str], replaced: Mapping[str, Array]
    ) -> list[Array]:
        if count != 1:
            raise ValueError(f"dump and replaced take one sample, found {count}")
        unknown = [name for name in (*dump, *replaced) if name not in self._by_name]
        if unknown:
            raise ValueError(f"no intermediate tensor {unknown[0]!r}; layers() lists them")
        others = {}
        for name, given in replaced.items():
            index, port = self._by_name[name]
            if given.dtype != port.dtype or given.size != np.prod(port.shape, dtype=np.int64):
                raise ValueError(
                    f"tensor {name!r}: expected {port.dtype} {port.shape}, found {given.dtype} {given.shape}"
                )
            others[index] = np.ascontiguousarray(given)
        for i, array in enumerate(arrays):
            view = self._core.input_view(i)
            view[...] = array.reshape(view.shape)
        _, tensors = self._core.run_steps([self._by_name[name][0] for name in dump], others)
        outputs = [self._core.output_view(j).copy() for j in range(len(self._outputs))]
        return outputs + list(tensors)

    @functools.cached_property
    def _by_name(self) -> Mapping[str, tuple[int, Port]]:
        """Of every intermediate tensor, the operator that writes it, and what it is."""
        return {layer.output.name: (layer.index, layer.output) for layer in self.layers()}

    def __call__(self, *inputs: npt.ArrayLike) -> Any:
        """Run on float32 (quantized with each input's scale) or on integers; outputs are of the same kind.

        Returns one array, or a tuple where the model has several outputs.
        """
        given = [np.asarray(x) for x in inputs]
        real = any(x.dtype.kind == "f" for x in given)
        arrays = [
            port.quantize(x) if x.dtype.kind == "f" else x
            for port, x in zip(self._inputs, given, strict=False)
        ]
        outputs = self.run(arrays) if len(arrays) == len(given) else self.run(given)
        if real:
            outputs = [port.dequantize(y) for port, y in zip(self._outputs, outputs, strict=True)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def input_view(self, index: int) -> Array:
        """The bytes of an input in the arena, to be written before every :meth:`invoke`.

        IndexError where there is none of that index.
        """
        view: Array = self._core.input_view(_checked(index, len(self._inputs), "input"))
        return view

    def output_view(self, index: int) -> Array:
        """The bytes of an output in the arena, valid until the next :meth:`invoke`.

        IndexError where there is none of that index.
        """
        view: Array = self._core.output_view(_checked(index, len(self._outputs), "output"))
        return view

    def invoke(self) -> None:
        """Run on what the input views hold."""
        self._core.invoke()

    def layers(self) -> tuple[Layer, ...]:
        """The operators in execution order."""
        return tuple(
            Layer(
                index,
                entry["kind"],
                entry["name"],
                entry["variant"],
                tuple(_port(p) for p in entry["inputs"]),
                _port(entry["output"]),
                int(entry["macs"]),
                int(entry["weight_bytes"]),
                int(entry["weight_bits"]),
            )
            for index, entry in enumerate(self._core.operators())
        )

    def profile(self) -> list[int]:
        """Nanoseconds of each operator in one invocation on what the input views hold."""
        times, _ = self._core.run_steps([])
        return [int(t) for t in times]

    @property
    def has_golden(self) -> bool:
        """Whether the file has golden digests, so that :meth:`verify` compares every operator's output."""
        return bool(self._model.has_golden())

    def verify(self) -> None:
        """Prove the file: its hash, its certificates, and its golden digests, if it has any, on this CPU.

        Raises ModelError.
        """
        try:
            self._model.verify(self._bits, self._prepack)
        except _core.ModelFault as error:
            raise ModelError(str(error)) from None


def _checked(index: int, count: int, what: str) -> int:
    """An index as an int; IndexError where there is none such."""
    if not 0 <= operator.index(index) < count:
        raise IndexError(f"expected an {what} from 0 to {count - 1}, found {index}")
    return operator.index(index)


def _wrong_type(port: Port, array: Array) -> str:
    """What to do about an array that is not of an input's type."""
    found = f"input {port.name!r}: expected {port.dtype}, found {array.dtype}"
    if array.dtype.kind == "f":
        return f"{found}; session(x) quantizes real numbers, session.run takes integers alone"
    if array.dtype.kind not in "iu":
        return f"{found}; give one array of numbers"
    own = f"integers of the model's own as numpy.asarray(x, numpy.{port.dtype})"
    if port.scale == 0:
        return f"{found}; give {own}"
    return (
        f"{found}; give {own}, or, to have them quantized, real numbers scaled as in training (pixels, too) to "
        "session(x) as numpy.asarray(x, numpy.float32)"
    )


def _restore(data: bytes, threads: int, cpu: str | None, prepack: bool) -> Session:
    return load_nyb(data, threads=threads, cpu=cpu, prepack=prepack)


def load_nyb(
    source: str | os.PathLike[str] | bytes,
    *,
    threads: int = 1,
    cpu: str | None = None,
    prepack: bool = False,
) -> Session:
    """A session of a .nyb model: a path (mapped, nothing is copied) or its bytes."""
    what = "model"
    try:
        if isinstance(source, bytes):
            model = _core.Model.from_bytes(source)
        else:
            what = Path(source).name
            model = _core.Model.from_path(os.fspath(source))
    except _core.ModelFault as error:
        raise ModelError(f"{what}: {error}") from None
    return Session(model, threads=threads, cpu=cpu, prepack=prepack)
