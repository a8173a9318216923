# SPDX-License-Identifier: Apache-2.0
"""What differs between two .nyb files, structurally: nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..emit.read import read_model, span
from ..graph import Array

#: What follows from the weights, and would only repeat that they differ.
_DERIVED = ("certificate", "minimum", "data", "channels")

#: Fields of an operator that repeat what its output tensor says, or the bits of its weights.
_REPEATED = (("output", "zero_point"), ("weights layout", "order"))


@dataclass(frozen=True)
class Difference:
    """One thing that differs. where: 'model', 'input NAME', 'output NAME', or 'INDEX KIND NAME' of an operator; first,
    second: what it is in each file, '' where it is not there.
    """

    where: str
    what: str
    first: str
    second: str


@dataclass(frozen=True)
class LayerBytes:
    """Packed weight bytes of one operator in both files, 0 where it has none or is not there."""

    name: str
    first: int
    second: int


@dataclass(frozen=True)
class Diff:
    """All that differs, and the weight bytes of the operators where these differ."""

    differences: tuple[Difference, ...]
    layers: tuple[LayerBytes, ...]

    def document(self) -> Mapping[str, Any]:
        """JSON values."""
        return {
            "equal": not self.differences,
            "differences": [vars(one) for one in self.differences],
            "weight_bytes": [vars(one) for one in self.layers],
        }


@dataclass(frozen=True)
class _File:
    """A model file as it was read."""

    content: bytes
    model: Mapping[str, Any]

    @staticmethod
    def of(content: bytes) -> _File:
        return _File(content, read_model(content))

    def tensor(self, index: int) -> Mapping[str, Any]:
        tensors: Sequence[Mapping[str, Any]] = self.model["tensors"]
        if index < len(tensors):
            return tensors[index]
        return {"name": f"no tensor {index}", "type": "", "shape": (), "quantization": None}

    def key(self, operator: Mapping[str, Any]) -> str:
        """What an operator is found by in the other file: the name of its output."""
        outputs = operator["outputs"]
        return str(self.tensor(int(outputs[0]))["name"]) if len(outputs) else str(operator["name"])

    def weight_bytes(self, operator: Mapping[str, Any]) -> int:
        weights = (operator["options"] or {}).get("weights")
        return 0 if weights is None else len(span(self.content, weights["data"]))


def diff_models(first: bytes, second: bytes) -> Diff:
    """Compare two .nyb files. Raises ModelError where one cannot be read."""
    a, b = _File.of(first), _File.of(second)
    found = [*_headers(a, b), *_ports(a, b), *_operators(a, b)]
    if not found and first != second:
        found.append(Difference("model", "bytes", "the same structure", "in other bytes"))
    return Diff(tuple(found), tuple(_layer_bytes(a, b)))


def _headers(a: _File, b: _File) -> Iterator[Difference]:
    for field in ("version", "producer", "name", "arena_size"):
        yield from _changed("model", field, a.model[field], b.model[field])
    yield from _changed("model", "file bytes", len(a.content), len(b.content))
    weights = [sum(map(f.weight_bytes, f.model["operators"])) for f in (a, b)]
    yield from _changed("model", "weight bytes", *weights)
    yield from _changed("model", "labels", *(", ".join(f.model["labels"]) for f in (a, b)))
    yield from _nested("model", "preprocessing", a.model["preprocessing"], b.model["preprocessing"])
    entries = [{e["key"]: e["value"] for e in f.model["metadata"]} for f in (a, b)]
    for key in sorted(entries[0].keys() | entries[1].keys()):
        yield from _changed("model", f"metadata {key}", entries[0].get(key, ""), entries[1].get(key, ""))
    golden = ["no" if f.model["golden"] is None else "yes" for f in (a, b)]
    yield from _changed("model", "golden section", *golden)


def _ports(a: _File, b: _File) -> Iterator[Difference]:
    for kind in ("input", "output"):
        ports = [f.model[f"{kind}s"] for f in (a, b)]
        yield from _changed("model", f"{kind}s", len(ports[0]), len(ports[1]))
        for one, other in zip(*ports, strict=False):
            where = f"{kind} {one['name']}"
            yield from _changed(where, "name", one["name"], other["name"])
            yield from _changed(where, "float32 in the source", one["real"], other["real"])
            if kind == "input":  # an output is that of an operator
                yield from _tensors(where, a.tensor(one["tensor"]), b.tensor(other["tensor"]))


def _paired(a: _File, b: _File) -> Iterator[tuple[int, Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    """Operators that belong together, in the order of the first file, then those of the second alone.

    They belong together where their outputs have one name; where no name is in both files, by their place.
    """
    operators = [f.model["operators"] for f in (a, b)]
    keys = [[f.key(op) for op in f.model["operators"]] for f in (a, b)]
    if not set(keys[0]) & set(keys[1]):
        keys = [[str(i) for i in range(len(ops))] for ops in operators]
    others = dict(zip(keys[1], operators[1], strict=True))
    for index, (key, operator) in enumerate(zip(keys[0], operators[0], strict=True)):
        yield index, operator, others.get(key)
    known = set(keys[0])
    for index, (key, operator) in enumerate(zip(keys[1], operators[1], strict=True)):
        if key not in known:
            yield index, None, operator


def _operators(a: _File, b: _File) -> Iterator[Difference]:
    for index, one, other in _paired(a, b):
        if one is None or other is None:
            operator = one if one is not None else other
            assert operator is not None
            where = _where(index, operator)
            present = [
                f"outputs {_names(f, operator, 'outputs')}" if o else "" for f, o in ((a, one), (b, other))
            ]
            yield Difference(where, "removed" if other is None else "added", *present)
            continue
        where = _where(index, one)
        yield from _changed(where, "kind", one["options_type"], other["options_type"])
        yield from _changed(where, "name", one["name"], other["name"])
        yield from _changed(where, "inputs", _names(a, one, "inputs"), _names(b, other, "inputs"))
        for i, j in zip(one["outputs"], other["outputs"], strict=False):
            yield from _tensors(where, a.tensor(int(i)), b.tensor(int(j)))
        if one["options_type"] == other["options_type"]:
            yield from _options(where, a, b, one["options"] or {}, other["options"] or {})


def _where(index: int, operator: Mapping[str, Any]) -> str:
    return f"{index} {operator['options_type']} {operator['name']}"


def _names(file: _File, operator: Mapping[str, Any], field: str) -> str:
    return ", ".join(str(file.tensor(int(i))["name"]) for i in operator[field])


def _tensors(where: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    yield from _changed(where, "type", one["type"], other["type"])
    yield from _changed(where, "shape", *("x".join(str(n) for n in t["shape"]) for t in (one, other)))
    quantizations = [t["quantization"] or {"scale": (), "zero_point": ()} for t in (one, other)]
    for field in ("scale", "zero_point"):
        yield from _changed(where, field.replace("_", " "), *(_numbers(q[field]) for q in quantizations))


def _numbers(values: Sequence[Any]) -> str:
    return ", ".join(f"{float(v):.9g}" for v in values)


def _options(
    where: str, a: _File, b: _File, one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[Difference]:
    for field, value in one.items():
        if field == "weights" and value is not None and other[field] is not None:
            yield from _weights(where, a, b, value, other[field])
        elif _is_span(value) or _is_span(other[field]):
            yield from _spans(where, field, a, b, value, other[field])
        else:
            yield from _nested(where, field, value, other[field])


def _is_span(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"offset", "size"}


def _weights(
    where: str, a: _File, b: _File, one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[Difference]:
    for field, value in one.items():
        if field not in _DERIVED:
            if _is_span(value) or _is_span(other[field]):
                yield from _spans(where, field, a, b, value, other[field])
            else:
                yield from _nested(where, f"weights {field}", value, other[field])
    if one["layout"] != other["layout"]:
        return  # other bits or another order: all the rest follows
    files = ((a, one), (b, other))
    codes = [_codes(span(f.content, w["data"]), w["layout"]["bits"]) for f, w in files]
    yield from _arrays(where, "weights", codes[0], codes[1], "weights")
    constants = [_constants(span(f.content, w["channels"])) for f, w in files]
    yield from _arrays(where, "bias", constants[0][0], constants[1][0], "channels")
    yield from _rescaling(where, constants[0], constants[1])


def _constants(content: bytes) -> Array:
    """bias, multiplier, shift and weight sum of every channel, int32 [4, channels]."""
    words = np.frombuffer(content[: len(content) // 16 * 16], "<i4")
    return words.reshape(4, -1)


def _rescaling(where: str, one: Array, other: Array) -> Iterator[Difference]:
    """Multiplier and shift are one number to whoever reads: multiplier / 2 ** shift."""
    if one.shape != other.shape:
        return  # the biases say so
    factors = [table[1] * 2.0 ** -np.clip(table[2], 0, 62).astype(np.float64) for table in (one, other)]
    changed = (one[1:3] != other[1:3]).any(axis=0)
    if changed.any():
        apart = np.abs(factors[1] - factors[0])[changed] / np.maximum(np.abs(factors[0])[changed], 2.0**-60)
        text = f"{int(changed.sum())} changed, by {100 * float(apart.max()):.3g} % at most"
        yield Difference(where, "rescaling", f"{changed.size} channels", text)


def _spans(
    where: str, what: str, a: _File, b: _File, one: Mapping[str, int] | None, other: Mapping[str, int] | None
) -> Iterator[Difference]:
    first, second = (np.frombuffer(span(f.content, s), np.uint8) for f, s in ((a, one), (b, other)))
    yield from _arrays(where, what.replace("_", " "), first, second, "bytes")


def _codes(packed: bytes, bits: int) -> Array:
    """The integers of packed weights, in the order of the file, padding included."""
    data = np.frombuffer(packed, np.uint8)
    if bits not in (4, 2):
        return data.view(np.int8)
    planes = np.stack([data >> np.uint8(shift) & np.uint8((1 << bits) - 1) for shift in range(0, 8, bits)], 1)
    codes = planes.astype(np.int16)
    return np.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes).reshape(-1)


def _arrays(where: str, what: str, one: Array, other: Array, unit: str) -> Iterator[Difference]:
    """How many elements differ and by how much at most."""
    if one.shape != other.shape:
        yield Difference(where, what, f"{one.size} {unit}", f"{other.size} {unit}")
        return
    apart = np.abs(one.astype(np.int64) - other.astype(np.int64))
    changed = int(np.count_nonzero(apart))
    if changed:
        yield Difference(
            where, what, f"{one.size} {unit}", f"{changed} changed, by {int(apart.max())} at most"
        )


def _nested(where: str, what: str, one: Any, other: Any) -> Iterator[Difference]:
    """Differences of plain values, and of the fields of mappings."""
    if isinstance(one, dict) and isinstance(other, dict):
        for field in one:
            if (what, field) not in _REPEATED:
                yield from _nested(where, f"{what} {field}", one[field], other[field])
    else:
        yield from _changed(where, what, one, other)


def _changed(where: str, what: str, one: Any, other: Any) -> Iterator[Difference]:
    texts = [_text(value) for value in (one, other)]
    if texts[0] != texts[1]:
        yield Difference(where, what.replace("_", " "), *texts)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, np.ndarray | list | tuple):
        return ", ".join(str(v) for v in value)
    return f"{value:,}" if isinstance(value, int) and value >= 10000 else str(value)


def _layer_bytes(a: _File, b: _File) -> Iterator[LayerBytes]:
    for index, one, other in _paired(a, b):
        sizes = [0 if op is None else f.weight_bytes(op) for f, op in ((a, one), (b, other))]
        operator = one if one is not None else other
        if operator is not None and sizes[0] != sizes[1]:
            yield LayerBytes(_where(index, operator), *sizes)
