# SPDX-License-Identifier: Apache-2.0
"""AVERAGE_POOL_2D and MAX_POOL_2D."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble import ops
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_core_equals_meaning, assert_equals_oracle
from .test_conv2d import drawn_image, drawn_window


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_equals_the_oracle(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)


@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    x = drawn_image(data, data.draw(st.integers(1, 20)))
    window = drawn_window(data, *x.shape[1:3])
    # A window that lies in the padding alone has no average; no importer makes one.
    pads = tuple(tuple(min(p, window.size[i] - 1) for p in window.padding[i]) for i in (0, 1))
    window = replace(window, padding=pads, dilation=(1, 1))
    activation = data.draw(st.sampled_from(list(ops.Activation)))
    op: ops.AveragePool2d | ops.MaxPool2d = ops.MaxPool2d(window, activation)
    if data.draw(st.booleans()):
        op = ops.AveragePool2d(window, activation, data.draw(st.sampled_from(list(ops.AverageRounding))))
    try:
        y = drawing.tensor("y", op.shapes([x])[0], x.quantized)
    except ValueError:
        return  # the window does not fit
    assert_core_equals_meaning(op, [x], y, [data.draw(drawing.arrays(x.shape))])
