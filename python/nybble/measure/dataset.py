# SPDX-License-Identifier: Apache-2.0
"""Samples and labels to measure on, for any runner: arrays and .npz files, folders of images."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..graph import Array
from ..quantize.samples import Data, arrays_of, read_samples
from .inputs import as_batch, image_input
from .metadata import Preprocessing
from .runner import BATCH, Runner

#: In a folder of images, the file that names their classes where they are not in a folder each.
LABELS_FILE = "labels.csv"


class Dataset(Protocol):
    """Samples, and what they are.

    count: samples. labels: [N] or [N, ...] as they were given, None where there are none. classes: what
    the class numbers are called, empty where nobody said. rule: how labels became class numbers.
    """

    @property
    def count(self) -> int: ...
    @property
    def labels(self) -> Array | None: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def rule(self) -> str: ...

    def batches(self, runner: Runner, size: int = BATCH) -> Iterator[list[Array]]:
        """The samples in order, up to ``size`` at a time, as ``runner.run`` takes them."""
        ...


class ArrayDataset:
    """Arrays in memory: float32 as the source network takes them, or integers as one of the models does.

    models: where the samples are integers, one of these takes them; the others get what they stand for.
    """

    classes: tuple[str, ...] = ()
    rule = "y"

    def __init__(self, data: Data, models: Sequence[Runner], labels: npt.ArrayLike | None = None) -> None:
        arrays, found = arrays_of(data, [port.name for port in models[0].inputs])
        self.labels = (
            None if found is None and labels is None else np.asarray(found if labels is None else labels)
        )
        self._prepared: dict[int, list[Array]] = {}
        if any(array.dtype.kind in "iub" for array in arrays):
            self._prepare_integers(arrays, models)
        else:
            for runner in models:
                self._prepared[id(runner)] = list(
                    read_samples(self._named(arrays, models[0], runner), runner.interface)[0]
                )
        counts = {len(array) for arrays in self._prepared.values() for array in arrays}
        if len(counts) != 1 or 0 in counts:
            raise ValueError(f"expected at least one sample, as many for every input, found {sorted(counts)}")
        self.count = counts.pop()
        if self.labels is not None and len(np.atleast_1d(self.labels)) != self.count:
            raise ValueError(
                f"expected a label for each of {self.count} samples, found {len(np.atleast_1d(self.labels))}"
            )

    @staticmethod
    def _named(arrays: Sequence[Array], first: Runner, runner: Runner) -> Data:
        """The arrays as another model takes them: by name where it has the same names, else in order."""
        names = [port.name for port in first.inputs]
        if {port.name for port in runner.inputs} == set(names):
            return dict(zip(names, arrays, strict=True))
        return list(arrays)

    def _prepare_integers(self, arrays: Sequence[Array], models: Sequence[Runner]) -> None:
        owners = [m for m in models if all(p.dtype == a.dtype for p, a in zip(m.inputs, arrays, strict=True))]
        if not owners:
            wanted = " or ".join(dict.fromkeys(str(port.dtype) for m in models for port in m.inputs))
            raise TypeError(
                f"expected samples of float32 as the source network takes them, or the model's own {wanted}, "
                f"found {', '.join(str(a.dtype) for a in arrays)}; scale integers as in training and convert them "
                "with astype(numpy.float32)"
            )
        owner = owners[0]
        own = [as_batch(p, a, f"input {p.name!r}") for p, a in zip(owner.inputs, arrays, strict=True)]
        reals = [p.dequantize(a) if p.scale else a for p, a in zip(owner.inputs, own, strict=True)]
        for runner in models:
            same = [(p.dtype, p.scale, p.zero_point) for p in runner.inputs] == [
                (p.dtype, p.scale, p.zero_point) for p in owner.inputs
            ]
            self._prepared[id(runner)] = list(own if same else reals)

    def batches(self, runner: Runner, size: int = BATCH) -> Iterator[list[Array]]:
        """See Dataset."""
        arrays = self._prepared[id(runner)]
        for first in range(0, self.count, size):
            yield [array[first : first + size] for array in arrays]


class ImageDataset:
    """Images in files, read when they are needed.

    preprocessing: what pixels become, instead of what each model says itself.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str] = (),
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self.paths, names = _listed(folder)
        numbers, self.classes, self.rule = _numbered(names, classes, folder)
        self.labels: Array | None = numbers
        self.count = len(self.paths)
        self._preprocessing = preprocessing

    def batches(self, runner: Runner, size: int = BATCH) -> Iterator[list[Array]]:
        """See Dataset. Raises OSError, and ValueError where a file is no image or the model takes none."""
        if len(runner.inputs) != 1:
            raise ValueError(f"{runner.name}: expected one input to take images, found {len(runner.inputs)}")
        port = runner.inputs[0]
        preprocessing = self._preprocessing or runner.preprocessing
        for first in range(0, self.count, size):
            images = [image_input(path, port, preprocessing) for path in self.paths[first : first + size]]
            yield [np.stack(images).reshape(-1, *port.shape)]


def open_dataset(
    data: Data,
    models: Sequence[Runner],
    *,
    labels: npt.ArrayLike | None = None,
    classes: Sequence[str] = (),
    pixels: tuple[float, float] | None = None,
) -> Dataset:
    """Samples for one or more models.

    data: a folder of images, or what quantize.read_samples takes; integers are those of one of the models.
    labels: instead of the data's own. classes: names of the classes in order, for folders; the first
    model's own otherwise. pixels: what 0 and 255 of an image become, instead of what the model says.

    Raises OSError, and TypeError or ValueError where something does not fit.
    """
    if isinstance(data, str | os.PathLike) and Path(data).is_dir():
        if labels is not None:
            raise ValueError(f"{data}: labels are given, and the folder has its own")
        preprocessing = None
        if pixels is not None:
            low, high = pixels
            preprocessing = Preprocessing(((high - low) / 255,), (low,), "")
        named = tuple(classes) or next((m.labels for m in models if m.labels), ())
        return ImageDataset(Path(data), named, preprocessing)
    return ArrayDataset(data, models, labels)


def _listed(folder: Path) -> tuple[list[Path], list[str]]:
    """(files, the name of each one's class), in an order that is the same everywhere."""
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    table = folder / LABELS_FILE
    if table in entries:
        return _table(table)
    folders = [p for p in entries if p.is_dir()]
    loose = [p for p in entries if not p.is_dir()]
    if not folders or loose:
        found = f"{loose[0].name!r}" if loose else "nothing"
        raise ValueError(
            f"{folder}: expected one folder of images per class, or images and {LABELS_FILE} "
            f"(a line for each: file,class); found {found}"
        )
    paths: list[Path] = []
    names: list[str] = []
    for one in folders:
        files = sorted(p for p in one.iterdir() if not p.name.startswith("."))
        if not files:
            raise ValueError(f"{one}: expected images of class {one.name!r}, found nothing")
        paths += files
        names += [one.name] * len(files)
    return paths, names


def _table(table: Path) -> tuple[list[Path], list[str]]:
    paths: list[Path] = []
    names: list[str] = []
    with table.open(newline="", encoding="utf-8-sig") as file:
        try:
            rows = list(csv.reader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{table}: expected lines file,class in UTF-8, found: {error}") from None
        for number, row in enumerate(rows, 1):
            if not row:
                continue
            if len(row) != 2:
                raise ValueError(f"{table}:{number}: expected file,class, found {len(row)} fields")
            path = table.parent / row[0].strip()
            if not path.is_file():
                if number == 1:
                    continue  # headings
                raise ValueError(f"{table}:{number}: no image {row[0].strip()!r}")
            paths.append(path)
            names.append(row[1].strip())
    if not paths:
        raise ValueError(f"{table}: expected a line file,class for each image, found none")
    return paths, names


def _numbered(
    names: Sequence[str], classes: Sequence[str], folder: Path
) -> tuple[Array, tuple[str, ...], str]:
    """(class number of each sample, names of the classes, how they were found)."""
    distinct = sorted(set(names))
    known = {name: i for i, name in enumerate(classes)}
    if all(name in known for name in distinct):
        return np.array([known[name] for name in names], np.int64), tuple(classes), "names of classes"
    if all(name.isascii() and name.isdigit() for name in distinct):
        return np.array([int(name) for name in names], np.int64), tuple(classes), "class numbers"
    if classes:
        unknown = next(name for name in distinct if name not in known)
        raise ValueError(
            f"{folder}: {unknown!r} is none of the {len(classes)} classes ({', '.join(classes[:5])}"
            f"{', ...' if len(classes) > 5 else ''})"
        )
    order = {name: i for i, name in enumerate(distinct)}
    return np.array([order[name] for name in names], np.int64), tuple(distinct), "folders in order of name"
