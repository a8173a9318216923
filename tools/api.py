# SPDX-License-Identifier: Apache-2.0
"""Write docs/api.md: every public name of the Python package with its signature and what it says of itself.

python tools/api.py            write it
python tools/api.py --check    exit with 1 where it is not what the package says
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs/api.md"

#: Modules and the names that a user takes from them; None: all that the module exports.
MODULES: dict[str, tuple[str, ...] | None] = {
    "nybble": None,
    "nybble.quantize": ("Recipe", "Override"),
    "nybble.measure.intervals": ("wilson", "paired", "Paired"),
}

HEAD = """# The Python interface

Written by `python tools/api.py` from the package itself. [The command line](command-line.md) does the same from a shell;
[2, 4 or 8 bits?](levels.md) is the guide to begin with.
"""


def page() -> str:
    """The whole of docs/api.md."""
    parts = [HEAD]
    for name, names in MODULES.items():
        module = importlib.import_module(name)
        parts.append(f"## {name}\n")
        for one in sorted(module.__all__ if names is None else names, key=lambda n: (n[0].isupper(), n)):
            parts += _entry(one, getattr(module, one))
    return "\n".join(parts)


def _entry(name: str, found: Any) -> Iterator[str]:
    yield f"### {name}\n"
    if inspect.isclass(found):
        if issubclass(found, Exception):
            yield _code(f"class {name}({found.__mro__[1].__name__})")
        elif dataclasses.is_dataclass(found):
            yield _code(f"class {name}:\n" + "\n".join(f"    {line}" for line in _fields(found)))
        else:
            yield _code(f"class {name}")
        yield _text(found)
        for member, value in vars(found).items():
            if not member.startswith("_") and isinstance(value, property):
                yield _item(f"{name}.{member}", _first(value.fget))
            elif not member.startswith("_") and inspect.isfunction(value):
                yield f"#### {name}.{member}\n"
                yield _code(signature(member, value))
                yield _text(value)
            elif member == "__call__":
                yield f"#### {name}()\n"
                yield _code(signature(name.lower(), value))
                yield _text(value)
        return
    yield _code(signature(name, found))
    yield _text(found)


def signature(name: str, function: Any) -> str:
    """A function with its parameters, one to a line where they are long."""
    found = inspect.signature(function)
    texts, star = [], False
    for parameter in found.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            texts.append("*")
        mark = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = "" if parameter.default is parameter.empty else f" = {_value(parameter.default)}"
        texts.append(f"{mark}{parameter.name}: {_annotation(parameter.annotation)}{default}")
        star = star or bool(mark)
    returned = f") -> {_annotation(found.return_annotation)}"
    line = f"{name}({', '.join(texts)}{returned}"
    return (
        line if len(line) <= 110 else "\n".join([f"{name}(", *(f"    {text}," for text in texts), returned])
    )


def _value(found: Any) -> str:
    return f'"{found}"' if isinstance(found, str) else repr(found)


def _annotation(found: Any) -> str:
    return str(found).replace("npt.", "").replace("_core.", "")


def _fields(found: Any) -> list[str]:
    lines = []
    for field in dataclasses.fields(found):
        value = "" if field.default is dataclasses.MISSING else f" = {_value(field.default)}"
        if field.default_factory is not dataclasses.MISSING:
            value = f" = {field.default_factory()!r}"
        lines.append(f"{field.name}: {_annotation(field.type)}{value}")
    return lines


def _code(text: str) -> str:
    return f"```python\n{text}\n```\n"


def _text(found: Any) -> str:
    return f"{_markdown(inspect.getdoc(found) or '')}\n"


def _first(found: Any) -> str:
    return " ".join(_markdown(inspect.getdoc(found) or "").split())


def _markdown(text: str) -> str:
    return re.sub(r":(?:func|meth|class):", "", text).replace("``", "`")


def _item(name: str, text: str) -> str:
    return f"- `{name}`: {text}\n"


def main() -> int:
    """Write the page, or check it."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        return int(not PAGE.exists() or PAGE.read_text() != wanted)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
