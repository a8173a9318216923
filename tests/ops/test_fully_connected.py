# SPDX-License-Identifier: Apache-2.0
"""FULLY_CONNECTED."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import Rounding
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_core_equals_meaning, assert_equals_oracle
from .test_conv2d import drawn_bias, drawn_output, drawn_weights


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int8x4"])
def test_equals_the_oracle(dtype: CaseType) -> None:
    assert_equals_oracle("FULLY_CONNECTED", dtype)


@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    depth, outputs = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 40))
    keep = data.draw(st.booleans())
    rows = data.draw(st.sampled_from(((1,), (3,), (2, 5))))
    x = drawing.tensor("x", (*rows, depth), data.draw(drawing.QUANTIZATIONS))
    w = drawn_weights(data, (outputs, depth), 0, data.draw(st.sampled_from((0, 0, 77))))
    op = ops.FullyConnected(
        keep, data.draw(st.sampled_from(list(ops.Activation))), data.draw(st.sampled_from(list(Rounding)))
    )
    tensors = [x, w] + ([drawn_bias(data, outputs)] if data.draw(st.booleans()) else [])
    y = drawn_output(data, op.shapes(tensors)[0], x, w)
    assert_core_equals_meaning(op, tensors, y, [data.draw(drawing.arrays(x.shape))])
