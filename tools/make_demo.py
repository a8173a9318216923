# SPDX-License-Identifier: Apache-2.0
"""Make the files of `nybble demo` from what tools/train_digits.py writes.

    python tools/train_digits.py --out build/digits
    python tools/make_demo.py build/digits

Quantizes digits_float.onnx to 8 bits, and the networks trained for few bits to theirs: digits_w4.onnx to
4 bits, digits_w2.onnx to 2 bits with 8 in the first and the last layer. Calibrates on the 100 calibration
images; the counts it prints are those of the 497 test images. The same inputs give the same bytes. The float network and
the images are put beside the models.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from nybble.convert import import_model, write_whole
from nybble.measure.digits import CALIBRATION, FLOAT_MODEL, FLOAT_SHAPE, MODELS, TEST, Digits
from nybble.measure.outputs import npz
from nybble.quantize import Recipe
from nybble.quantizing import quantize

DESTINATION = Path(__file__).resolve().parents[1] / "python/nybble/demo"
SOURCES = {8: FLOAT_MODEL, 4: "digits_w4.onnx", 2: "digits_w2.onnx"}
RECIPES = {8: Recipe(8), 4: Recipe(4), 2: Recipe(2, first=8, last=8)}
LABELS = tuple("0123456789")
#: For images of 0..255, white on black: the networks take 0..1.
PREPROCESSING = {"scale": [1 / 255], "offset": [0.0], "channels": "L"}


def main() -> None:
    """Quantize, measure, write."""
    parser = argparse.ArgumentParser(description="Make the files of nybble demo.")
    parser.add_argument("digits", type=Path, help="folder that tools/train_digits.py has written")
    folder: Path = parser.parse_args().digits
    with np.load(folder / "digits_data.npz") as file:
        data = dict(file)
    calibration, test = (
        Digits(data[f"{part}_images"], data[f"{part}_labels"]) for part in ("calibration", "test")
    )
    DESTINATION.mkdir(exist_ok=True)
    for digits, name in ((calibration, CALIBRATION), (test, TEST)):
        write_whole(DESTINATION / name, npz({"images": digits.images, "labels": digits.labels}))
    write_whole(DESTINATION / FLOAT_MODEL, (folder / FLOAT_MODEL).read_bytes())
    for bits, name in MODELS.items():
        network = replace(
            import_model(folder / SOURCES[bits]), name="digits", labels=LABELS, preprocessing=PREPROCESSING
        )
        result = quantize(
            network,
            calibration.inputs(FLOAT_SHAPE),
            recipe=RECIPES[bits],
            test=test.inputs(FLOAT_SHAPE),
            labels=test.labels,
            destination=DESTINATION / name,
        )
        print(name, result, sep="\n")


if __name__ == "__main__":
    main()
