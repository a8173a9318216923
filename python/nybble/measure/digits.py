# SPDX-License-Identifier: Apache-2.0
"""The models and images of ``nybble demo``: one classifier of handwritten digits in float and in 8, 4 and 2 bit weights.

tools/train_digits.py trains the networks and says what the images are; tools/make_demo.py quantizes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

#: Bits of the weights, and the model file of each.
MODELS = {8: "digits_w8.nyb", 4: "digits_w4.nyb", 2: "digits_w2.nyb"}

#: The float network that the model with 8 bits was quantized from, and one input of it.
FLOAT_MODEL, FLOAT_SHAPE = "digits_float.onnx", (1, 8, 8)

#: The files of images: to calibrate on, to test on.
CALIBRATION, TEST = "digits_calibration.npz", "digits_test.npz"

#: Largest value of a pixel; the networks take pixel / PIXEL_MAX.
PIXEL_MAX = 16

_FILES = files("nybble").joinpath("demo")


@dataclass(frozen=True)
class Digits:
    """images: uint8 [N, 8, 8], 0..PIXEL_MAX. labels: uint8 [N], 0..9."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    def inputs(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Network inputs 0..1 for a model input of ``shape`` (one image): [N, *shape]."""
        return (self.images.astype(np.float32) / np.float32(PIXEL_MAX)).reshape(-1, *shape)


def model_content(bits: int) -> bytes:
    """The .nyb file of the model with weights of 8, 4 or 2 bits."""
    return _FILES.joinpath(MODELS[bits]).read_bytes()


def float_content() -> bytes:
    """The .onnx file of the float network."""
    return _FILES.joinpath(FLOAT_MODEL).read_bytes()


def test_digits() -> Digits:
    """The 497 test images, none of which was trained or calibrated on."""
    return _digits(TEST)


def calibration_digits() -> Digits:
    """The 100 images that the models were calibrated on."""
    return _digits(CALIBRATION)


def _digits(name: str) -> Digits:
    with _FILES.joinpath(name).open("rb") as file, np.load(file) as arrays:
        return Digits(arrays["images"], arrays["labels"])


def count_correct(scores: npt.NDArray[Any], digits: Digits) -> int:
    """Images whose largest score, of [N, ...] scores per image, is at the label."""
    predictions = scores.reshape(len(digits.labels), -1).argmax(axis=1)
    return int(np.count_nonzero(predictions == digits.labels))
