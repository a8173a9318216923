# SPDX-License-Identifier: Apache-2.0
"""What becomes of each layer and each activation, as data: a frozen dataclass, a dictionary, or YAML."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from ..graph import Graph, Node
from ..ops import Quantize
from ..passes.fold_affine import OUTPUT_AXIS
from .calibration import CALIBRATIONS
from .methods import METHODS
from .parameters import WEIGHT_TYPES, Level
from .ties import KEEP_SCALE, given, tied

WEIGHT_LEVELS = tuple(WEIGHT_TYPES)
ACTIVATION_BITS = (16, 8, 4, 2)
#: k that may share a factor: whole steps of the packed layout for every number of bits.
GROUP_SIZES = (16, 32, 64, 128)
#: What has a scale of weights of its own.
GRANULARITIES = ("channel", "tensor")

T = TypeVar("T")


@dataclass(frozen=True)
class Override:
    """Other choices for the operators that both patterns fit (as file names in a shell: * ? [abc]).

    name: pattern of operators' names; type: of their kinds (Conv2d, DepthwiseConv2d, FullyConnected, Add, ...).
    weights, granularity, activations, calibration: as in Recipe; of the operator's weights, and of what it writes.
    """

    name: str = "*"
    type: str = "*"
    weights: Level | None = None
    activations: int | None = None
    calibration: str | None = None
    granularity: str | None = None

    def fits(self, node: Node) -> bool:
        """Whether the choices are for this operator."""
        return fnmatchcase(node.name, self.name) and fnmatchcase(node.op.name, self.type)

    @property
    def chooses(self) -> bool:
        """Whether there are any choices."""
        return self != Override(self.name, self.type)


@dataclass(frozen=True)
class Recipe:
    """Bits of weights (8, 4 or 2, or ``ternary``: -1, 0 and 1) and activations (16, 8, 4 or 2), and how both are found.

    first, last: as weights, of the first and the last layer, which suffer most from few bits. layers: as weights, by the
    names of nodes; they go before all others. overrides: for operators by name and type, later ones
    before earlier ones. granularity: weights have one scale per output ``channel`` or per ``tensor``. group: this many k
    (16, 32, 64 or 128) share a factor of their own besides, in 4-bit, 2-bit and ternary weights of convolutions and
    fully connected layers; None: they have none.
    calibration: how the ranges of activations are found, a row of calibration.CALIBRATIONS; None: minmax for 16
    bits, mse for fewer than 8, and for 8 the one of both that is better on samples that ranges are not of.
    percentile: of that method, above 50 up to 100. symmetric: activations have a zero point of 0. method: how weights
    become integers, a row of methods.METHODS. pair_safe: neighbouring 8-bit weights of at most 128 together, for
    kernels with 16-bit sums.

    Activations of 4 and 2 bits are int8 in memory, of which they use 16 and 4 levels; the network's inputs and outputs,
    what a final softmax reads, and what softmax, logistic and tanh write, keep 8 bits. 16 bits are always symmetric, and
    without group; an operator that writes them reads them too. Inputs have 16 bits where ``activations`` is 16, whatever
    overrides say; outputs as well, where no override is for the operator that writes them. A Quantize goes between
    operators of 8 and of 16 bits (widths.py).

    Raises ValueError for values that are not allowed.
    """

    weights: Level = 8
    activations: int = 8
    first: Level | None = None
    last: Level | None = None
    layers: Mapping[str, Level] = field(default_factory=dict)
    group: int | None = None
    granularity: str = "channel"
    calibration: str | None = None
    percentile: float = 99.99
    symmetric: bool = False
    overrides: tuple[Override, ...] = ()
    method: str = "adaround"
    pair_safe: bool = False

    def __post_init__(self) -> None:
        _check_weights("weights", self.weights)
        _check_activations("activations", self.activations)
        for key in ("first", "last"):
            if getattr(self, key) is not None:
                _check_weights(key, getattr(self, key))
        for name, level in self.layers.items():
            _check_weights(f"layers: {name!r}", level)
        _check_one_of("granularity", self.granularity, GRANULARITIES)
        if self.group is not None and self.group not in GROUP_SIZES:
            raise ValueError(f"group: expected {_listed(GROUP_SIZES)} k, found {self.group!r}")
        if self.calibration is not None:
            _check_one_of("calibration", self.calibration, CALIBRATIONS)
        if isinstance(self.percentile, bool) or not isinstance(self.percentile, int | float):
            raise ValueError(f"percentile: expected a number, found {self.percentile!r}")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile: expected more than 50 and at most 100, found {self.percentile!r}")
        if not isinstance(self.symmetric, bool):
            raise ValueError(f"symmetric: expected true or false, found {self.symmetric!r}")
        _check_one_of("method", self.method, METHODS)
        if not isinstance(self.pair_safe, bool):
            raise ValueError(f"pair_safe: expected true or false, found {self.pair_safe!r}")
        for i, one in enumerate(self.overrides):
            _check_override(f"overrides[{i}]", one)
        if self.wide and self.group is not None:
            raise ValueError(f"group: expected none beside activations of 16 bits, found {self.group!r}")

    @property
    def wide(self) -> bool:
        """Whether activations are int16, or may be where an override says so."""
        return 16 in (self.activations, *(one.activations for one in self.overrides))

    def levels(self, graph: Graph) -> dict[str, Level]:
        """What every layer's weights are, by its output tensor. ValueError where ``layers`` or an override names no such
        layer.
        """
        weighted = [node for node in graph.nodes if has_weights(node)]
        names = [node.name for node in weighted]
        unknown = sorted(set(self.layers) - set(names))
        if unknown:
            raise ValueError(f"no layer {unknown[0]!r} with weights; there are {', '.join(map(repr, names))}")
        result = {node.outputs[0]: self.weights for node in weighted}
        if weighted and self.first is not None:
            result[weighted[0].outputs[0]] = self.first
        if weighted and self.last is not None:
            result[weighted[-1].outputs[0]] = self.last
        result |= self._overridden(weighted, lambda one: one.weights)
        result.update({n.outputs[0]: self.layers[n.name] for n in weighted if n.name in self.layers})
        return result

    def granularities(self, graph: Graph) -> dict[str, str]:
        """The granularity of every layer's weights, by its output tensor. ValueError where an override names no layer."""
        weighted = [node for node in graph.nodes if has_weights(node)]
        result = dict.fromkeys((node.outputs[0] for node in weighted), self.granularity)
        return result | self._overridden(weighted, lambda one: one.granularity)

    def activation_bits(self, graph: Graph) -> dict[str, int]:
        """Bits of every float32 tensor's integers, by name; tensors that share a scale have the most bits of any's."""
        chosen = self._overridden(graph.nodes, lambda one: one.activations)
        groups, fixed = tied(graph)
        written, readers = graph.producers(), graph.consumers()
        whole = max(self.activations, 8)
        sizes = Counter(groups.values())

        def between(name: str) -> bool:
            """Whether a tensor is there for its readers alone (widths.py): of a Quantize, and of no other's scale."""
            return name in written and sizes[groups[name]] == 1 and isinstance(written[name].op, Quantize)

        most = dict.fromkeys(sizes, 0)
        for name, group in groups.items():
            if name not in written or between(name):
                continue
            op = written[name].op
            # Fewer bits than 16 reach past operators that only pass numbers on.
            passes = self.activations == 16 and isinstance(op, (*KEEP_SCALE, Quantize))
            if not passes or name in chosen:
                most[group] = max(most[group], chosen.get(name, self.activations))
        most |= {group: self.activations for group, bits in most.items() if not bits and sizes[group] > 1}
        for group in fixed:
            most[group] = max(most[group], 8)
        ends = [port.tensor for port in graph.outputs]
        # What a final softmax reads are the network's scores.
        for node in [written[name] for name in ends if name in written]:
            if given(node.op) is not None:
                ends += [written[name].inputs[0] if between(name) else name for name in node.inputs]
        named = {groups[name] for name in chosen if name in groups}
        for group in {groups[name] for name in ends if name in groups}:
            most[group] = max(most[group], 8) if group in named else whole
        most |= {groups[port.tensor]: whole for port in graph.inputs if port.tensor in groups}

        def wide(node: Node) -> bool:
            return most.get(groups.get(node.outputs[0], ""), self.activations) == 16

        def read(name: str) -> int:
            by = [wide(node) for node in readers.get(name, ())]
            return (16 if all(by) else 8) if by else whole

        return {name: most[group] or read(name) for name, group in groups.items()}

    def calibrations(self, graph: Graph, whole: str = "minmax") -> dict[str, str]:
        """The calibration of every float32 tensor, by name. whole: of 8 bits, where the recipe leaves it open."""
        chosen = self._overridden(graph.nodes, lambda one: one.calibration)
        rows = {16: "minmax", 8: whole}
        standard = {name: rows.get(bits, "mse") for name, bits in self.activation_bits(graph).items()}
        return {name: chosen.get(name, self.calibration or row) for name, row in standard.items()}

    def _overridden(self, nodes: Sequence[Node], key: Callable[[Override], T | None]) -> dict[str, T]:
        """What overrides choose, by output tensor; ValueError where one that chooses fits no node."""
        result: dict[str, T] = {}
        for i, one in enumerate(self.overrides):
            value = key(one)
            if value is None:
                continue
            fitting = [node for node in nodes if one.fits(node)]
            if not fitting:
                found = ", ".join(f"{node.op.name} {node.name!r}" for node in nodes)
                raise ValueError(
                    f"overrides[{i}]: no operator has a name like {one.name!r} and a type like {one.type!r} "
                    f"here; there are {found}"
                )
            for node in fitting:
                result.update(dict.fromkeys(node.outputs, value))
        return result

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON values, without what is as it is by default."""
        default = asdict(Recipe())
        held = {key: value for key, value in asdict(self).items() if value != default[key]}
        if self.overrides:
            held["overrides"] = [
                {key: value for key, value in asdict(one).items() if value not in (None, "*")}
                for one in self.overrides
            ]
        return {"weights": self.weights, "activations": self.activations, **held}

    @staticmethod
    def from_dict(values: Mapping[str, Any], where: str = "recipe") -> Recipe:
        """The recipe of JSON values.

        Raises ValueError, which begins with ``where`` and the key, for keys and values that are not allowed.
        """
        _check_keys(where, values, Recipe)
        held = dict(values)
        layers = held.get("layers", {})
        if not isinstance(layers, Mapping):
            raise ValueError(f"{where}: layers: expected names with bits, found {layers!r}")
        overrides = held.get("overrides", ())
        if isinstance(overrides, str) or not isinstance(overrides, Sequence):
            raise ValueError(f"{where}: overrides: expected a list, found {overrides!r}")
        for i, one in enumerate(overrides):
            _check_keys(f"{where}: overrides[{i}]", one, Override)
        held["layers"] = dict(layers)
        held["overrides"] = tuple(Override(**one) for one in overrides)
        try:
            return Recipe(**held)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    def to_yaml(self) -> str:
        """The recipe as YAML. Raises ImportError where PyYAML is not installed."""
        return str(_yaml().safe_dump(self.to_dict(), sort_keys=False))

    @staticmethod
    def from_yaml(path: str | os.PathLike[str]) -> Recipe:
        """The recipe of a YAML file, keys as the fields above.

        Raises OSError, ValueError that names the file and the key, and ImportError where PyYAML is not installed.
        """
        yaml, file = _yaml(), Path(path)
        try:
            text = file.read_text(encoding="utf-8")
            _check_once(yaml.compose(text, yaml.SafeLoader), file.name)
            values = yaml.safe_load(text)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{file.name}: is no YAML: {error}") from None
        return Recipe.from_dict({} if values is None else values, file.name)


def has_weights(node: Node) -> bool:
    """Whether a node multiplies its input with constant weights."""
    return type(node.op) in OUTPUT_AXIS


def _listed(values: Sequence[int]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"


def _check_weights(where: str, level: object) -> None:
    if isinstance(level, bool) or level not in WEIGHT_LEVELS:
        raise ValueError(f"{where}: expected weights of 8, 4 or 2 bits or ternary, found {level!r}")


def _check_activations(where: str, bits: object) -> None:
    if isinstance(bits, bool) or bits not in ACTIVATION_BITS:
        raise ValueError(f"{where}: expected activations of {_listed(ACTIVATION_BITS)} bits, found {bits!r}")


def _check_one_of(where: str, name: object, known: Collection[str]) -> None:
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{where}: expected one of {', '.join(known)}, found {name!r}")


def _check_override(where: str, one: Override) -> None:
    for key in ("name", "type"):
        if not isinstance(getattr(one, key), str):
            raise ValueError(f"{where}: {key}: expected a pattern, found {getattr(one, key)!r}")
    if one.weights is not None:
        _check_weights(f"{where}: weights", one.weights)
    if one.activations is not None:
        _check_activations(f"{where}: activations", one.activations)
    if one.calibration is not None:
        _check_one_of(f"{where}: calibration", one.calibration, CALIBRATIONS)
    if one.granularity is not None:
        _check_one_of(f"{where}: granularity", one.granularity, GRANULARITIES)
    if not one.chooses:
        raise ValueError(f"{where}: expected weights, granularity, activations or calibration, found none")


def _check_keys(where: str, values: object, kind: type[Any]) -> None:
    allowed = [one.name for one in fields(kind)]
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: expected keys with values, found {values!r}")
    unknown = [key for key in values if key not in allowed]
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join(allowed)}")


def _check_once(document: Any, where: str) -> None:
    """Raises ValueError where a key stands twice, of which YAML itself takes the last in silence.

    document: of yaml.compose; None for an empty one.
    """
    waiting, seen = [document], set()
    while waiting:
        node = waiting.pop()
        if node is None or node.id == "scalar" or id(node) in seen:
            continue
        seen.add(id(node))  # a node may hold itself
        if node.id == "sequence":
            waiting += node.value
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.id == "scalar" and key.value in lines:
                raise ValueError(
                    f"{where}:{line}: expected each key once, found {key.value!r} again (first in line "
                    f"{lines[key.value]}): leave one out"
                )
            if key.id == "scalar":
                lines[key.value] = line
            waiting.append(value)


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise ImportError("recipes in files need PyYAML: pip install 'nybble[cli]'") from None
    return yaml
