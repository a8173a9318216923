# SPDX-License-Identifier: Apache-2.0
"""The golden section: the same on every machine; a model that computes anything else fails."""

from __future__ import annotations

import hashlib

import pytest

import nybble
from models.small import small_graph
from nybble.convert import convert_graph
from nybble.emit.golden import golden_input
from nybble.emit.nyb import hash_position
from nybble.graph import DType, ModelError, Tensor

pytest.importorskip("nybble._core")


def resealed(content: bytes) -> bytes:
    """The same file with the hash that belongs to its content."""
    at = hash_position(content)
    blank = content[:at] + bytes(32) + content[at + 32 :]
    return content[:at] + hashlib.sha256(blank).digest() + content[at + 32 :]


def test_inputs_are_the_same_on_every_machine() -> None:
    image = golden_input(Tensor("x", DType.INT8, (2, 5)), 1)
    assert image.tolist() == [[-108, -32, 13, -13, -125], [39, -67, -31, 122, -26]]


@pytest.mark.parametrize("dtype", [d for d in DType if d is not DType.FLOAT32])
def test_inputs_reach_the_whole_range(dtype: DType) -> None:
    values = golden_input(Tensor("x", dtype, (4096,)), 0)
    assert values.dtype == dtype.numpy
    if dtype.bits <= 8:
        assert set(values.tolist()) == set(range(dtype.lowest, dtype.highest + 1))


@pytest.mark.parametrize("cpu", nybble.cpu_levels())
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_verify_accepts_what_numpy_computed(bits: int, cpu: str) -> None:
    nybble.load(convert_graph(small_graph(bits)), cpu=cpu).verify()


def test_verify_refuses_another_digest() -> None:
    content = convert_graph(small_graph())
    graph_input = golden_input(small_graph().tensors["image"], 0)
    features = nybble.load(content).run([graph_input], dump=["features"])[1]
    digest = hashlib.sha256(features.tobytes()).digest()[:8]
    # Conv and reshape answer the same bytes; the digest of the convolution stands first.
    at = content.index(digest)
    changed = content[:at] + bytes([digest[0] ^ 1]) + content[at + 1 :]
    with pytest.raises(ModelError, match=r"golden digest.*operator 0"):
        nybble.load(resealed(changed)).verify()


def test_the_section_can_be_left_out_and_asked_for() -> None:
    graph = small_graph()
    without = convert_graph(graph, golden=False)
    assert convert_graph(graph) == convert_graph(graph, golden=True)
    assert without != convert_graph(graph)
    nybble.load(without).verify()
