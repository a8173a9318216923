# SPDX-License-Identifier: Apache-2.0
"""What differs between two model files: nothing in equal ones, every change by name in others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_evaluate import cli

import nybble
from models.small import small_graph
from nybble.compile.pack import Layout, depthwise_layout, gemm_layout, pack
from nybble.convert import convert_graph
from nybble.emit.read import read_model, span
from nybble.graph import Graph, Port, Quantization
from nybble.measure.diff import _codes, diff_models
from nybble.measure.digits import model_content


def changed(name: str, **fields: object) -> Callable[[Graph], Graph]:
    """A small graph with one tensor changed."""

    def change(graph: Graph) -> Graph:
        tensors = {**graph.tensors, name: replace(graph.tensors[name], **fields)}  # type: ignore[arg-type]
        return replace(graph, tensors=tensors)

    return change


def weights(graph: Graph, places: int) -> Graph:
    data = graph.tensors["weights"].data
    assert data is not None
    other = data.copy().reshape(-1)
    other[:places] = np.where(other[:places] > 0, other[:places] - 2, other[:places] + 2)
    return changed("weights", data=other.reshape(data.shape))(graph)


def found(change: Callable[[Graph], Graph], bits: int = 8) -> dict[tuple[str, str], tuple[str, str]]:
    first = convert_graph(small_graph(bits), golden=False)
    second = convert_graph(change(small_graph(bits)), golden=False)
    return {(one.where, one.what): (one.first, one.second) for one in diff_models(first, second).differences}


def test_equal_files_do_not_differ() -> None:
    content = convert_graph(small_graph())
    assert diff_models(content, content).differences == ()
    assert found(lambda graph: graph) == {}


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_changed_weights_are_counted(bits: int) -> None:
    # Outside of the type where the smallest are, so that a few bits change less.
    result = found(lambda graph: weights(graph, 0 if bits == 2 else 5), bits)
    key = ("0 Conv2d conv", "weights")
    assert result.get(key, ("", ""))[1] == ("" if bits == 2 else "5 changed, by 2 at most")


@given(
    st.sampled_from([8, 4, 2]), st.sampled_from([gemm_layout, depthwise_layout]), st.integers(0, 2**32 - 1)
)
def test_codes_are_the_packed_integers(bits: int, layout: Callable[[int], Layout], seed: int) -> None:
    """Every weight is among the codes, the rest is padding with zeros."""
    low = -(1 << (bits - 1))
    values = np.random.default_rng(seed).integers(low, -low, (2, 5, 11)).astype(np.int8)
    codes = _codes(pack(values, layout(bits)).tobytes(), bits)
    wanted = np.bincount(values.reshape(-1).astype(int) - low, minlength=-2 * low)
    wanted[-low] += codes.size - values.size
    assert np.bincount(codes.astype(int) - low, minlength=-2 * low).tolist() == wanted.tolist()


def test_changes_are_named() -> None:
    scale = Quantization.per_tensor(0.1, 3)
    result = found(changed("image", quantization=scale))
    assert result[("input image", "scale")] == ("0.0500000007", "0.100000001")
    assert result[("0 Conv2d conv", "rescaling")][1] == "3 changed, by 100 % at most"
    result = found(changed("bias", data=np.array([1, -2, 301], np.int32)))
    assert result == {("0 Conv2d conv", "bias"): ("8 channels", "1 changed, by 1 at most")}
    result = found(lambda graph: replace(graph, metadata={"author": "someone"}))
    assert result[("model", "metadata author")] == ("", "someone")
    result = found(lambda graph: replace(graph, labels=("cat", "dog")))
    assert result[("model", "labels")] == ("", "cat, dog")
    result = found(
        lambda graph: replace(graph, preprocessing={"scale": [0.5], "offset": [0.0], "channels": "L"})
    )
    assert ("model", "preprocessing") in result


def test_added_and_removed_operators() -> None:
    def without_reshape(graph: Graph) -> Graph:
        return graph.rebuilt(graph.nodes[:1], outputs=(Port("features", "scores"),))

    result = found(without_reshape)
    assert result[("1 Reshape flatten", "removed")] == ("outputs flat", "")
    first = convert_graph(without_reshape(small_graph()), golden=False)
    second = convert_graph(small_graph(), golden=False)
    kinds = {(one.where, one.what) for one in diff_models(first, second).differences}
    assert ("1 Reshape flatten", "added") in kinds


def test_bits_and_bytes_per_layer() -> None:
    result = diff_models(model_content(8), model_content(4))
    bits = {
        one.where: (one.first, one.second) for one in result.differences if one.what == "weights layout bits"
    }
    assert set(bits.values()) == {("8", "4")}
    assert not any(one.what == "weights layout order" for one in result.differences)  # bits say it
    assert len(bits) == len(result.layers) == 5
    convolution = next(one for one in result.layers if one.name == "3 Conv2d conv2")
    assert (convolution.first, convolution.second) == (18432, 9216)


def test_the_reader_finds_what_was_written() -> None:
    content = convert_graph(small_graph(), golden=True)
    model = read_model(content)
    session = nybble.load(content)
    assert [t["name"] for t in model["tensors"]] == ["image", "features", "flat"]
    assert [op["name"] for op in model["operators"]] == [layer.name for layer in session.layers()]
    convolution = model["operators"][0]
    assert convolution["options_type"] == "Conv2d"
    assert convolution["options"]["window"]["pad_left"] == 1
    assert convolution["options"]["output"]["rounding"] == "DOUBLE"
    assert len(span(content, convolution["options"]["weights"]["data"])) == session.layers()[0].weight_bytes
    assert model["golden"] is not None
    with pytest.raises(nybble.ModelError, match="expected 8 bytes at offset"):
        span(content, {"offset": len(content), "size": 8})


def test_broken_files_are_refused_or_read(tmp_path: Path) -> None:
    content = bytearray(convert_graph(small_graph()))
    for at in range(0, len(content), 3):
        broken = bytes(content[:at]) + bytes([content[at] ^ 0xFF]) + bytes(content[at + 1 :])
        try:
            diff_models(bytes(content), broken)
        except nybble.ModelError:
            continue


def test_command(tmp_path: Path) -> None:
    for bits in (8, 4):
        (tmp_path / f"w{bits}.nyb").write_bytes(model_content(bits))
    result = cli("diff", tmp_path / "w8.nyb", tmp_path / "w4.nyb")
    assert result.exit_code == 1
    assert "3 Conv2d conv2               18,432   9,216  -9,216" in result.output
    result = cli("diff", tmp_path / "w8.nyb", tmp_path / "w8.nyb")
    assert (result.exit_code, result.output) == (0, "")
    document = json.loads(cli("diff", tmp_path / "w8.nyb", tmp_path / "w4.nyb", "--json").output)
    assert document["equal"] is False
    assert document["weight_bytes"][0]["first"] > document["weight_bytes"][0]["second"]
    assert cli("diff", tmp_path / "w8.nyb", tmp_path / "none.nyb").exit_code == 2
    (tmp_path / "no.nyb").write_bytes(b"no model")
    result = cli("diff", tmp_path / "w8.nyb", tmp_path / "no.nyb")
    assert result.exit_code == 2
    assert "expected a .tflite or .onnx network" in result.stderr
