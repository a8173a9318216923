# SPDX-License-Identifier: Apache-2.0
"""RESHAPE, SQUEEZE and EXPAND_DIMS."""

from __future__ import annotations

import pytest

from oracle.random_ops import DType as CaseType

from .equality import assert_equals_oracle


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op_name", ["RESHAPE", "SQUEEZE", "EXPAND_DIMS"])
def test_equals_the_oracle(op_name: str, dtype: CaseType) -> None:
    assert_equals_oracle(op_name, dtype)
