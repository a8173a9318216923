# SPDX-License-Identifier: Apache-2.0
"""From files to the integers of a model's inputs: images, .npy, .npz, raw bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..quantize.archive import open_archive, read_npy
from ..session import Port
from .metadata import Metadata, Preprocessing

Array = npt.NDArray[Any]

RAW_SUFFIXES = (".raw", ".bin")

#: Real ranges of an int8 input that pixels of 0..255 fill, and so have the rule pixel - 128.
PIXEL_RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))

#: How far, as a part of the range, an input's ends may be from those of PIXEL_RANGES: calibration moves them.
_RANGE_SLACK = 0.02


@dataclass(frozen=True)
class Samples:
    """What to run: names of N samples, and per input an array [N, *shape] of its dtype."""

    names: tuple[str, ...]
    arrays: tuple[Array, ...]


def read_samples(paths: Sequence[Path], ports: Sequence[Port], metadata: Metadata) -> Samples:
    """Read the samples in files.

    A .npz holds one array per input, by name or in order, or x for the only input, whatever else is in it. Floats may
    have the source network's order of axes, which metadata states. Other files serve one input each, in the
    order of the inputs; with more files than inputs, the next sample begins. A file may hold a batch.

    Raises OSError, and ValueError where a file does not fit.
    """
    groups: list[tuple[str, list[Array]]] = []
    pending: list[Array] = []
    names: list[str] = []
    for path in paths:
        if path.suffix.lower() == ".npz":
            if pending:
                wanted = ports[len(pending)].name
                raise ValueError(f"{path}: expected a file for input {wanted!r} alone, found a .npz")
            groups.append((path.name, _npz(path, ports, metadata.layouts)))
            continue
        names.append(path.name)
        pending.append(_read(path, ports[len(pending)], metadata))
        if len(pending) == len(ports):
            groups.append((" ".join(names), pending))
            pending, names = [], []
    if pending:
        raise ValueError(
            f"expected a file for each of {len(ports)} inputs, found {len(pending)} for the last sample"
        )
    return _joined(groups)


def _joined(groups: Sequence[tuple[str, list[Array]]]) -> Samples:
    names: list[str] = []
    for name, arrays in groups:
        counts = {len(a) for a in arrays}
        if len(counts) != 1:
            raise ValueError(f"{name}: expected as many samples for every input, found {sorted(counts)}")
        count = counts.pop()
        names += [name] if count == 1 else [f"{name}[{i}]" for i in range(count)]
    columns = zip(*(arrays for _, arrays in groups), strict=True)
    return Samples(tuple(names), tuple(np.concatenate(column) for column in columns))


def _read(path: Path, port: Port, metadata: Metadata) -> Array:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return as_batch(port, read_npy(path), str(path), metadata.layouts.get(port.name, ""))
    if suffix in RAW_SUFFIXES:
        return _raw(path, port)
    return as_batch(port, image_input(path, port, metadata.preprocessing), str(path))


def read_array(path: Path, key: str) -> Array:
    """One array of a .npz archive. Raises OSError, and ValueError where there is none of that name."""
    with open_archive(path) as archive:
        if key not in archive.names:
            raise ValueError(f"{path}: expected an array {key!r}, found {', '.join(archive.names) or 'none'}")
        return archive.read(key)


def _npz(path: Path, ports: Sequence[Port], layouts: Mapping[str, str]) -> list[Array]:
    with open_archive(path) as archive:
        names = tuple(port.name for port in ports)
        if not set(names) <= set(archive.names):
            if len(ports) == 1 and "x" in archive.names:
                names = ("x",)
            elif len(archive.names) == len(ports):
                names = archive.names
            else:
                wanted = (
                    f"{names[0]} or x" if len(ports) == 1 else f"{', '.join(names)}, or {len(ports)} in order"
                )
                raise ValueError(
                    f"{path}: expected arrays named {wanted}; found {', '.join(archive.names) or 'none'}"
                )
        arrays = [archive.read(name) for name in names]
    return [
        as_batch(port, array, f"{path}: {name}", layouts.get(port.name, ""))
        for port, array, name in zip(ports, arrays, names, strict=True)
    ]


def _raw(path: Path, port: Port) -> Array:
    content = path.read_bytes()
    sample = int(np.prod(port.shape, dtype=np.int64)) * port.dtype.itemsize
    if not content or len(content) % sample:
        raise ValueError(
            f"{path}: expected {sample} bytes per sample ({port.dtype}, {port.shape}), found {len(content)}"
        )
    little = np.frombuffer(content, port.dtype.newbyteorder("<"))
    return little.astype(port.dtype).reshape(-1, *port.shape)


def as_batch(port: Port, values: Array, what: str, layout: str = "") -> Array:
    """The integers of N samples, [N, *port.shape], of an array of N samples or one.

    values: floats, which are quantized with the input's scale, or integers of its dtype. The dimension
    of samples may be joined with the first one of the input, and a first dimension of 1 may be absent.
    what: names the array in errors. layout: ``NCHW`` where the source network has channels first: floats may, too.
    Raises ValueError.
    """
    if values.dtype.kind == "f":
        if layout == "NCHW" and values.shape[-3:] == (port.shape[3], *port.shape[1:3]):
            values = np.moveaxis(values, -3, -1)
        values = port.quantize(values)
    if values.dtype != port.dtype:
        raise ValueError(f"{what}: expected {port.dtype} or floats, found {values.dtype}")
    shape = port.shape
    one_less = shape[1:]
    if (
        values.shape == shape
        or values.shape[1:] == shape
        or (shape and values.shape[1:] == one_less and values.ndim and values.shape[0] % shape[0] == 0)
        or (shape and shape[0] == 1 and values.shape == one_less)
    ):
        return values.reshape(-1, *shape)
    raise ValueError(f"{what}: expected shape {shape} or a batch of it, found {values.shape}")


def read_image(path: Path, port: Port, preprocessing: Preprocessing | None) -> npt.NDArray[np.uint8]:
    """The pixels [height, width, channels] of an image, resized bilinearly to [1, height, width, channels].

    Raises OSError, and ValueError where the input is not that of an image or pillow is absent.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise ValueError(
            f"{path}: reading an image needs pillow: pip install nybble[image]; or give .npy, .npz or .raw"
        ) from None
    if len(port.shape) != 4 or port.shape[0] != 1 or port.shape[3] not in (1, 3):
        raise ValueError(
            f"{path}: input {port.name!r} of shape {port.shape} takes no image (expected 1, height, width, 1 "
            f"or 3 channels); give .npy, .npz, or raw bytes as {' or '.join(RAW_SUFFIXES)}"
        )
    _, height, width, channels = port.shape
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file).convert("L" if channels == 1 else "RGB")
    except UnidentifiedImageError:
        raise ValueError(f"{path}: expected an image, found something that pillow cannot identify") from None
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # of the system, and names the file already
        # What pillow's decoders raise for damaged files is anything from OSError to struct.error.
        raise ValueError(f"{path}: the image is damaged or too large: {error}") from error
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.uint8)
    pixels = pixels.reshape(height, width, channels)
    return pixels[..., ::-1] if preprocessing is not None and preprocessing.channels == "BGR" else pixels


def pixels_to_input(pixels: npt.NDArray[np.uint8], port: Port, preprocessing: Preprocessing | None) -> Array:
    """What pixels become: the integers of an input, or the numbers of a float network's.

    With preprocessing metadata: pixel * scale + offset, quantized. Without: the pixels themselves for
    uint8; pixel - 128 for int8 whose scale and zero point cover one of PIXEL_RANGES. ValueError otherwise.
    """
    if preprocessing is not None:
        real = _normalized(pixels, preprocessing)
        return real if port.dtype.kind == "f" else port.quantize(real)
    if port.dtype == np.uint8:
        return pixels
    if port.dtype.kind == "f":
        raise ValueError(
            f"input {port.name!r} of a float network states no rule for pixels: say what 0..255 become, "
            "such as --pixels 0..1; or give prepared arrays"
        )
    low, high = (port.scale * (q - port.zero_point) for q in (-128, 127))
    if port.dtype == np.int8 and any(
        max(abs(low - least), abs(high - most)) <= _RANGE_SLACK * (most - least)
        for least, most in PIXEL_RANGES
    ):
        return (pixels.astype(np.int16) - 128).astype(np.int8)
    raise ValueError(
        f"input {port.name!r} states no rule for pixels: expected uint8, int8 of 0..255, 0..1 or -1..1, or "
        f"preprocessing metadata; found {port.dtype} of {low:.6g}..{high:.6g}; give prepared arrays instead"
    )


def image_input(path: Path, port: Port, preprocessing: Preprocessing | None) -> Array:
    """An image as one sample of an input, [height, width, channels]. Raises as read_image and pixels_to_input do."""
    return pixels_to_input(read_image(path, port, preprocessing), port, preprocessing)


def _normalized(pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    channels = pixels.shape[-1]
    factors: Mapping[str, tuple[float, ...]] = {
        "scale": preprocessing.scale or (1.0,),
        "offset": preprocessing.offset or (0.0,),
    }
    for name, values in factors.items():
        if len(values) not in (1, channels):
            raise ValueError(
                f"preprocessing metadata: expected 1 or {channels} values of {name}, found {len(values)}"
            )
    scale, offset = (np.asarray(values, np.float32) for values in factors.values())
    return (pixels.astype(np.float32) * scale + offset).astype(np.float32)
