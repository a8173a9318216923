# SPDX-License-Identifier: Apache-2.0
"""ARG_MAX."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nybble import ops
from nybble.graph import DType, Quantization, Tensor
from oracle.random_ops import DType as CaseType

from . import drawing
from .equality import assert_core_equals_meaning, assert_equals_oracle
from .hostile import assert_refused, single

ONE = Quantization.per_tensor(1.0, 0)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_random_models(dtype: CaseType) -> None:
    assert_equals_oracle("ARG_MAX", dtype)


@settings(deadline=None)
@given(st.data())
def test_core_equals_meaning(data: st.DataObject) -> None:
    shape = data.draw(drawing.SHAPES.filter(len))
    axis = data.draw(st.integers(0, len(shape) - 1))
    output = Tensor(
        "y", data.draw(st.sampled_from((DType.INT32, DType.INT64))), (*shape[:axis], *shape[axis + 1 :])
    )
    array = data.draw(drawing.arrays(shape))
    assert_core_equals_meaning(ops.ArgMax(axis), [drawing.tensor("x", shape, ONE)], output, [array])


def test_the_first_of_equal_maxima_wins() -> None:
    x, y = drawing.tensor("x", (2, 4), ONE), Tensor("y", DType.INT64, (2,))
    array = np.array([[5, 9, 9, 1], [-128, -128, -128, -128]], np.int8)
    [found] = ops.ArgMax(1).integer([array], [x], [y])
    assert found.tolist() == [1, 0]
    assert_core_equals_meaning(ops.ArgMax(1), [x], y, [array])


def test_an_axis_that_does_not_fit_is_refused() -> None:
    x, y = drawing.tensor("x", (2, 3), ONE), Tensor("y", DType.INT32, (2,))
    assert_refused(single(ops.ArgMax(1), [x], y), "without the axis", axis=0)
    assert_refused(single(ops.ArgMax(1), [x], y), "an axis", axis=2)
    with pytest.raises(ValueError, match="axis 2 does not fit"):
        ops.ArgMax(2).shapes([x])
    with pytest.raises(ValueError, match="int32 or int64"):
        ops.ArgMax(1).lower([x], [Tensor("y", DType.INT16, (2,))])
