# SPDX-License-Identifier: Apache-2.0
"""Solved layers are recalled for the same problem only, and never change what is computed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from nybble.quantize.layer import Grid, IntegerLayer, LayerProblem
from nybble.quantize.solved import Solved, digest


def problem() -> LayerProblem:
    random = np.random.default_rng(0)
    weights, gram = random.normal(size=(2, 3, 4)), random.normal(size=(2, 4, 4))
    return LayerProblem(weights, gram, weights + 1, gram[:, 0], weights[:, :, 0], weights[:, :, 1], count=9)


def solution(size: int) -> IntegerLayer:
    return IntegerLayer(np.zeros((1, 1, size)), np.ones((1, 1)), np.zeros((1, 1)))


@pytest.mark.parametrize("name", [field.name for field in fields(LayerProblem)])
def test_every_part_of_a_problem_counts(name: str) -> None:
    one = problem()
    value = getattr(one, name)
    if isinstance(value, np.ndarray):
        changed = value.copy()
        changed.reshape(-1)[-1] = np.nextafter(changed.reshape(-1)[-1], 9)
    else:
        changed = value + 1 if isinstance(value, int) else (one,)
    assert digest(one) == digest(problem())
    assert digest(replace(one, **{name: changed})) != digest(one)


def test_grids_and_methods_count() -> None:
    keys = [
        digest(problem(), grid, method, group)
        for grid in (Grid(-7, 7), Grid(-8, 7), Grid(-7, 7, 128), Grid(-7, 7, shared=True))
        for method in ("adaround", "gptq")
        for group in (None, 64)
    ]
    assert len(set(keys)) == len(keys)


def test_parts_do_not_run_into_each_other() -> None:
    a, b = np.arange(3.0), np.arange(3.0, 6.0)
    keys = [digest(a, b), digest(np.concatenate((a, b))), digest((a,), b), digest((a, b)), digest(b, a)]
    keys += [
        digest("a", "bc"),
        digest("ab", "c"),
        digest(a.reshape(1, 3), b),
        digest(a.astype(np.float32), b),
    ]
    assert len(set(keys)) == len(keys)


def test_what_is_known_is_not_solved_again() -> None:
    solved, one = Solved(), solution(4)
    assert solved.recall(b"a", lambda: one) is one

    def refuse() -> IntegerLayer:
        raise AssertionError("solved again")

    assert solved.recall(b"a", refuse) is one
    with pytest.raises(AssertionError, match="solved again"):
        solved.recall(b"b", refuse)


def test_the_longest_unasked_goes_first() -> None:
    solved = Solved(limit=3 * 8 * 12)
    kept = {key: solved.recall(key, lambda: solution(10)) for key in (b"a", b"b", b"c")}
    assert solved.recall(b"a", lambda: solution(1)) is kept[b"a"]
    solved.recall(b"d", lambda: solution(10))
    assert solved.recall(b"a", lambda: solution(1)) is kept[b"a"]
    assert solved.recall(b"c", lambda: solution(1)) is kept[b"c"]
    assert solved.recall(b"b", lambda: solution(2)) is not kept[b"b"]


def test_what_exceeds_the_limit_is_not_kept() -> None:
    solved = Solved(limit=8)
    first = solved.recall(b"a", lambda: solution(10))
    assert solved.recall(b"a", lambda: solution(10)) is not first
