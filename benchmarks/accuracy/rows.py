# SPDX-License-Identifier: Apache-2.0
"""Who quantizes, to which bits, how: one row of the table each."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nybble.quantize import Recipe

#: What the first and the last layer keep where the others have fewer bits.
ENDS = 8


@dataclass(frozen=True)
class Row:
    """quantizer: nybble, or a peer's name. level: bits of weights and activations, w4a8. method: the quantizer's word
    for how.
    """

    quantizer: str
    level: str
    method: str

    @property
    def weights(self) -> int:
        """Bits of the weights."""
        return bits(self.level)[0]

    @property
    def activations(self) -> int:
        """Bits of the activations."""
        return bits(self.level)[1]

    def __str__(self) -> str:
        return f"{self.quantizer} {self.level} {self.method}"


#: What the peers can, at the levels where they can it.
PEERS = (
    *(
        Row("onnxruntime", "w8a8", f"{types} {method}")
        for method in ("minmax", "entropy", "percentile")
        for types in ("u8s8", "s8s8")
    ),
    *(Row("onnxruntime", "w4a8", f"u8s8 {method}") for method in ("minmax", "entropy", "percentile")),
    *(
        Row("ai-edge-quantizer", level, method)
        for level in ("w8a8", "w4a8")
        for method in ("minmax", "octav")
    ),
    *(Row("nncf", "w8a8", method) for method in ("fast bias correction", "bias correction")),
)

#: Networks are counted in float as they came.
FLOAT = Row("float", "float", "as it came")


def bits(level: str) -> tuple[int, int]:
    """(bits of weights, bits of activations) of w4a8."""
    found = re.fullmatch(r"w(\d+)a(\d+)", level)
    if found is None:
        raise ValueError(f"expected a level like w4a8, found {level!r}")
    return int(found[1]), int(found[2])


def recipe(level: str, method: str) -> Recipe:
    """The recipe of a row of nybble's: first and last layer keep 8 bits where the others have fewer.

    Raises ValueError, TypeError where there is no such recipe.
    """
    weights, activations = bits(level)
    ends: dict[str, Any] = {} if weights >= ENDS else {"first": ENDS, "last": ENDS}
    return Recipe(**({"weights": weights, "activations": activations} | ends | options(method)))


def options(method: str) -> dict[str, Any]:
    """Fields of a Recipe that a method's text sets: 'default', or field=value joined by +. A value that one field alone
    takes needs no field, nor does a switch (a field that is true or false).
    """
    if method == "default":
        return {}
    hints = get_type_hints(Recipe)
    known = {field.name: hints[field.name] for field in fields(Recipe)}
    found: dict[str, Any] = {}
    for word in method.split("+"):
        name, equals, text = word.partition("=")
        if not equals and known.get(name) is bool:
            found[name] = True
        elif not equals:
            owners = [
                key
                for key, kind in known.items()
                if word in map(str, choices(kind)) or _takes(key, kind, word)
            ]
            if len(owners) != 1:
                raise ValueError(
                    f"expected field=value or a word that one field of Recipe takes, found {word!r}"
                )
            found[owners[0]] = _value(word, known[owners[0]])
        elif name not in known:
            raise ValueError(f"no field {name!r} of Recipe; there are {', '.join(known)}")
        else:
            found[name] = _value(text, known[name])
    return found


def _takes(name: str, kind: Any, word: str) -> bool:
    """Whether a field of any text takes this one."""
    union = get_origin(kind) in (Union, UnionType)
    if kind is not str and not (union and str in get_args(kind)):
        return False
    try:
        Recipe(**{name: word})  # type: ignore[arg-type]
    except ValueError:
        return False
    return True


def choices(kind: Any) -> Sequence[Any]:
    """The values that an annotation lists: those of Literal and Enum, also as a part of a union."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [member.value for member in kind]
    if get_origin(kind) is Literal:
        return get_args(kind)
    return [value for part in get_args(kind) for value in choices(part)]


def _value(text: str, kind: Any) -> Any:
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and issubclass(part, Enum):
            return part(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
