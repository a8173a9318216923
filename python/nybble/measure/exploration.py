# SPDX-License-Identifier: Apache-2.0
"""What an exploration found, and the files that tell of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..convert import producer, write_whole
from ..quantize.levels import parts_of
from ..quantize.parameters import Level
from ..quantize.recipe import Recipe
from ..session import load_nyb
from .bench import LayerTime
from .budget import Budget
from .durations import duration_text
from .memory import read_plan
from .report import bits_text, html_report, loss_text, lost_text, png_report
from .trial import Score


@dataclass(frozen=True)
class LayerSensitivity:
    """A layer with weights. operators: its positions in the model of the highest level. Per level: weight_bytes as the
    file stores them; loss: by which the network's loss rises where this layer alone has the level (0 at the highest).
    """

    name: str
    kind: str
    operators: tuple[int, ...]
    weight_bytes: Mapping[Level, int]
    loss: Mapping[Level, float]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A recipe, and what was measured of its model on the integer core.

    bits: the level of each layer. predicted: the additive model's loss; loss: the measured one, on the calibration
    samples. latency: nanoseconds of one invocation on this machine. front: whether no other
    candidate has as little of loss, bytes, activations' memory and latency and less of one of them (latencies within
    LATENCY_NOISE are equal).
    """

    name: str
    recipe: Recipe
    bits: tuple[Level, ...]
    predicted: float
    loss: float
    weight_bytes: int
    model: bytes
    calibration: Score
    test: Score | None
    latency: float
    front: bool = False

    @property
    def file_bytes(self) -> int:
        """Bytes of the model file."""
        return len(self.model)

    @cached_property
    def activation_bytes(self) -> int:
        """Bytes of the arena that activations take."""
        return read_plan(self.model).arena

    @property
    def sha256(self) -> str:
        """Of the model file, in hexadecimal digits."""
        return hashlib.sha256(self.model).hexdigest()


@dataclass(frozen=True, eq=False)
class Exploration:
    """What an exploration found.

    candidates: by bytes of the file, largest first. chosen: the one that the budget asks for; times: of its
    operators, on this machine.
    float_calibration, float_test: the float network's own score. classes: whether losses are divergences
    of classes' scores in nats; the power of the error over that of the output otherwise.
    """

    name: str
    levels: tuple[Level, ...]
    layers: tuple[LayerSensitivity, ...]
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    budget: Budget
    classes: bool
    float_calibration: Score
    float_test: Score | None
    times: tuple[LayerTime, ...]

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The candidates that no other beats."""
        return tuple(c for c in self.candidates if c.front)

    def rows(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """(headings, a row of text per candidate)."""
        return candidate_rows(self.candidates, self.chosen)

    def table(self) -> str:
        """The candidates as lines of text."""
        return text_table(*self.rows())

    def html(self) -> str:
        """The report: one page that needs nothing else."""
        return html_report(self)

    def png(self) -> bytes:
        """The front as a picture; needs matplotlib (ImportError)."""
        return png_report(self)

    def recipe_text(self) -> str:
        """The chosen recipe as YAML."""
        return recipe_text(self.chosen.recipe)

    def document(self) -> dict[str, Any]:
        """Everything as JSON values. The times and what follows from them are this machine's; the rest is equal
        everywhere.
        """
        return {
            "producer": producer(),
            "network": self.name,
            "budget": str(self.budget),
            "loss": "kl_nats" if self.classes else "noise_over_signal",
            "float": {
                "calibration": _score_document(self.float_calibration),
                "test": _score_document(self.float_test),
            },
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "operators": list(layer.operators),
                    "levels": {
                        str(bits): {"weight_bytes": layer.weight_bytes[bits], "loss": layer.loss[bits]}
                        for bits in self.levels
                    },
                }
                for layer in self.layers
            ],
            "candidates": [
                {
                    "name": c.name,
                    "bits": list(c.bits),
                    "recipe": c.recipe.to_dict(),
                    "file_bytes": c.file_bytes,
                    "weight_bytes": c.weight_bytes,
                    "activation_bytes": c.activation_bytes,
                    "sha256": c.sha256,
                    "predicted_loss": c.predicted,
                    "loss": c.loss,
                    "calibration": _score_document(c.calibration),
                    "test": _score_document(c.test),
                    "latency_ns": c.latency,
                    "front": c.front,
                    "chosen": c is self.chosen,
                }
                for c in self.candidates
            ],
        }


def layer_operators(model: bytes) -> dict[str, tuple[int, ...]]:
    """Positions of the operators with weights in a model, by the layers' names."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in load_nyb(model).layers():
        if layer.weight_bytes:
            found[layer.name] = (*found.get(layer.name, ()), layer.index)
    return found


def candidate_rows(
    candidates: Sequence[Candidate], chosen: Candidate | None = None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(headings, a row of text per candidate); the arena where levels name activations."""
    arena = any(parts_of(bits)[1] for c in candidates for bits in c.bits)
    heads = (
        "model",
        "bits of the layers",
        "file",
        "weights",
        *["arena"] * arena,
        "predicted",
        "loss",
        "points lost",
        "test",
        "latency",
        "",
    )
    return heads, [
        (
            c.name,
            bits_text(c.bits),
            f"{c.file_bytes:,}",
            f"{c.weight_bytes:,}",
            *[f"{c.activation_bytes:,}"] * arena,
            loss_text(c.predicted),
            loss_text(c.loss),
            lost_text(c.calibration),
            lost_text(c.test),
            duration_text(c.latency),
            "chosen" if c is chosen else "front" if c.front else "",
        )
        for c in candidates
    ]


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of text, columns aligned to the left."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    )


def _score_document(score: Score | None) -> dict[str, Any] | None:
    return None if score is None else asdict(score)


def recipe_text(recipe: Recipe) -> str:
    """A recipe as YAML; where PyYAML is not installed as JSON, which is a part of it."""
    try:
        return recipe.to_yaml()
    except ImportError:
        return json.dumps(recipe.to_dict(), indent=2) + "\n"


def write_reports(found: Exploration, directory: Path) -> list[str]:
    """Write report.html, explore.json, front.png where matplotlib is, and every candidate's recipe; returns what
    was written.
    """
    recipes = directory / "recipes"
    recipes.mkdir(parents=True, exist_ok=True)
    files = {
        "report.html": found.html().encode(),
        "explore.json": json.dumps(found.document(), indent=2).encode() + b"\n",
    }
    with contextlib.suppress(ImportError):
        files["front.png"] = found.png()
    for name, content in files.items():
        write_whole(directory / name, content)
    texts = {
        f"{candidate.name.replace(' ', '-')}.yaml": recipe_text(candidate.recipe).encode()
        for candidate in found.candidates
    }
    for old in recipes.glob("*.yaml"):
        if old.name not in texts:  # of another exploration, whose candidates had other numbers
            old.unlink()
    for name, content in texts.items():
        write_whole(recipes / name, content)
    return [*files, f"{len(found.candidates)} recipes"]
