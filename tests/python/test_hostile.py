# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile files, wrong arguments, failing disks: a clear error, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nybble
from models.small import small_graph
from nybble import ops
from nybble.compile import compile_graph
from nybble.convert import convert_graph, write_whole
from nybble.emit import emit_nyb, nyb
from nybble.graph import DType, Graph, Node, Port, Quantization, Tensor
from nybble.measure import inputs
from nybble.measure.conversion import convert_file
from nybble.quantize import samples as quantize_samples

pytest.importorskip("nybble._core", reason="the extension is not built")

MODEL = convert_graph(small_graph())
#: What conversion may raise for a file that it cannot take.
REFUSALS = (nybble.ModelError, nybble.UnsupportedError)


def opens_or_refuses(content: bytes) -> bool:
    """Run a damaged model where it opens; True where it was refused."""
    try:
        session = nybble.load(content)
    except nybble.ModelError:
        return True
    session.invoke()
    session.layers()
    return False


def changed(content: bytes, count: int, most: int) -> Iterator[bytes]:
    """Copies with up to ``most`` bytes of others' values, the same ones every time."""
    random = np.random.default_rng(7)
    for _ in range(count):
        copy = bytearray(content)
        for at in random.integers(0, len(copy), int(random.integers(1, most + 1))):
            copy[at] = int(random.integers(0, 256))
        yield bytes(copy)


@pytest.fixture(scope="module")
def tflite() -> bytes:
    """A small convolution with padding as a .tflite model."""
    from oracle.random_ops import random_case

    return random_case("PAD_CONV_2D", np.random.default_rng(3)).model_bytes


def test_every_truncation_is_refused() -> None:
    assert all(opens_or_refuses(b"xxxxNYB0" + MODEL[8:n]) for n in range(8, len(MODEL), 7))


@pytest.mark.parametrize("value", [0x00, 0xFF, 0x80, 0x01])
def test_every_changed_byte_runs_or_is_refused(value: int) -> None:
    refused = 0
    for at in range(8, len(MODEL), 3):
        refused += opens_or_refuses(MODEL[:at] + bytes([value]) + MODEL[at + 1 :])
    assert refused  # structure is checked


@pytest.mark.parametrize("value", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x00010000])
def test_every_changed_word_runs_or_is_refused(value: int) -> None:
    for at in range(8, len(MODEL) - 4, 4):
        opens_or_refuses(MODEL[:at] + value.to_bytes(4, "little") + MODEL[at + 4 :])


def test_a_changed_weight_is_found_by_verify() -> None:
    session = nybble.load(MODEL[:-1] + bytes([MODEL[-1] ^ 1]))
    with pytest.raises(nybble.ModelError, match="SHA-256"):
        session.verify()


@pytest.mark.parametrize("content", [b"", b"NYB0", b"\0" * 64, b"\0\0\0\0NYB0", os.urandom(200)])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(nybble.ModelError):
        nybble.load(content)


def test_a_network_that_takes_long_to_check_is_refused() -> None:
    """A chain of maxima, then very many inputs that are all the network's first tensor."""
    scale = Quantization.per_tensor(0.1, 0)
    names = [f"x{i}" for i in range(300)]
    tensors = [Tensor(name, DType.INT8, (1, 1), scale) for name in names]
    chain = [Node(ops.Maximum(), (a, a), (b,)) for a, b in pairwise(names)]

    def model(inputs: int) -> bytes:
        joined = Tensor("y", DType.INT8, (1, inputs + 1), scale)
        last = Node(ops.Concat(1), (names[0],) * inputs + (names[-1],), ("y",))
        graph = Graph(
            {t.name: t for t in (*tensors, joined)}, (*chain, last), (Port("x0", "x0"),), (Port("y", "y"),)
        )
        return emit_nyb(compile_graph(graph), "test")

    nybble.load(model(100)).invoke()
    with pytest.raises(nybble.ModelError, match="live for fewer operators"):
        nybble.load(model(5000))


@pytest.mark.parametrize("version", [1, 77, 0xFFFFFFFF])
def test_another_version_is_refused(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is whole but for the number in its version field."""
    monkeypatch.setattr(nyb, "VERSION", version)
    model = convert_graph(small_graph())
    expected = f"this format version (expected 0, found {version})"
    with pytest.raises(nybble.ModelError, match=re.escape(expected)):
        nybble.load(model)


def test_paths_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        nybble.load(tmp_path / "missing.nyb")
    with pytest.raises(OSError, match=r"directory|Permission"):
        nybble.load(tmp_path)
    (tmp_path / "empty.nyb").write_bytes(b"")
    with pytest.raises(nybble.ModelError, match=r"empty\.nyb: expected"):
        nybble.load(tmp_path / "empty.nyb")


def test_every_truncated_tflite_is_refused(tflite: bytes) -> None:
    for n in range(0, len(tflite) - 1, 5):
        with pytest.raises(REFUSALS):
            nybble.convert(tflite[:n], golden=False)


@pytest.mark.parametrize("value", [0x00, 0xFF, 0x7F])
def test_every_changed_byte_of_a_tflite_converts_or_is_refused(tflite: bytes, value: int) -> None:
    for at in range(0, len(tflite), 3):
        with contextlib.suppress(*REFUSALS):
            nybble.convert(tflite[:at] + bytes([value]) + tflite[at + 1 :], golden=False)


def test_every_changed_byte_of_a_tflite_is_reported_or_refused(tflite: bytes, tmp_path: Path) -> None:
    """What the command convert does refuses what nybble.convert refuses."""
    path = tmp_path / "changed.tflite"
    for at in range(0, len(tflite), 3):
        path.write_bytes(tflite[:at] + b"\xff" + tflite[at + 1 :])
        with contextlib.suppress(*REFUSALS):
            convert_file(path, golden=False)


@pytest.fixture(scope="module")
def onnx() -> tuple[bytes, bytes]:
    """A small float network and a quantized one as .onnx models."""
    pytest.importorskip("onnx")
    from onnx_networks import Network

    nets = Network(1), Network(2)
    for net in nets:
        x = net.input([1, 3, 8, 8])
        weights = net.constant(net.random.normal(size=(4, 3, 3, 3)))
        if net is nets[1]:
            grid = (net.constant(0.02), net.constant(0, np.int8))
            x = net.node("DequantizeLinear", net.node("QuantizeLinear", x, *grid), *grid)
            weights = net.constant(net.random.integers(-127, 128, (4, 3, 3, 3)), np.int8)
            weights = net.node("DequantizeLinear", weights, net.constant(0.01), grid[1])
        y = net.node("Conv", x, weights, pads=[1, 1, 1, 1], strides=[2, 2])
        y = net.node("MaxPool", net.node("Relu", y), kernel_shape=[2, 2], strides=[2, 2])
        y = net.node("Flatten", y) if net is nets[1] else net.gemm(net.node("Flatten", y), 16, 5)
        if net is nets[1]:
            net.node("DequantizeLinear", net.node("QuantizeLinear", y, *grid), *grid)
    first, second = (net.model(net.nodes[-1].output[0]) for net in nets)
    return first, second


@pytest.mark.parametrize("which", [0, 1], ids=["float", "quantized"])
def test_changed_bytes_of_an_onnx_import_or_are_refused(onnx: tuple[bytes, bytes], which: int) -> None:
    content = onnx[which]
    nybble.import_model(content)
    refused = 0
    for damaged in changed(content[1:], 500, 3):
        try:
            nybble.convert(content[:1] + damaged, golden=False)
        except REFUSALS:
            refused += 1
    assert refused > 100  # structure is checked


def test_what_is_wrong_in_an_onnx_is_named(onnx: tuple[bytes, bytes]) -> None:
    package = pytest.importorskip("onnx")

    def fault(change: Callable[[Any], None]) -> str:
        model = package.load_model_from_string(onnx[0])
        change(model.graph)
        with pytest.raises(nybble.ModelError) as caught:
            nybble.import_model(model.SerializeToString())
        return str(caught.value)

    def attribute(graph: Any, name: str) -> Any:
        return next(a for a in graph.node[0].attribute if a.name == name)

    assert "the constant 'constant0' cannot be read" in fault(
        lambda graph: setattr(graph.initializer[0], "data_type", 99)
    )
    assert "conv0.0: the attribute 'strides' says no type" in fault(
        lambda graph: attribute(graph, "strides").ClearField("type")
    )
    assert "Conv 'conv0.0': its attributes or inputs do not fit" in fault(
        lambda graph: setattr(attribute(graph, "strides"), "type", package.AttributeProto.INT)
    )


def test_a_nyb_is_no_network_to_convert(tmp_path: Path) -> None:
    path = tmp_path / "m.nyb"
    path.write_bytes(MODEL)
    with pytest.raises(nybble.ModelError, match=r"m\.nyb: .*found a \.nyb model, which is converted already"):
        nybble.convert(path)
    with pytest.raises(nybble.ModelError, match=r"or a \.nyb model to run, found an empty file"):
        nybble.load(b"")
    for take in (nybble.load, nybble.convert):
        with pytest.raises(ValueError, match="expected the path of a model, found an empty one"):
            take("")


@pytest.mark.parametrize(
    "options", [{"weight_bits": 3}, {"weights": "x"}, {"weight_bits": 2, "weights": "x"}]
)
def test_wrong_weights_are_no_fault_of_the_model(tflite: bytes, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(reversed(options))) as caught:
        nybble.convert(tflite, **options)
    assert not isinstance(caught.value, nybble.ModelError)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_archive_is_read_or_named(save: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    x = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype(np.float32)
    save(path, x=x, y=np.arange(4))
    whole = path.read_bytes()
    refused = 0
    for content in changed(whole, 300, 20):
        path.write_bytes(content)
        for read in (
            lambda: quantize_samples.read_samples(path, small_graph()),
            lambda: inputs.read_array(path, "y"),
        ):
            try:
                read()
            except ValueError as error:
                assert str(path) in str(error) or "finite" in str(error)  # noqa: PT017
                refused += 1
    assert refused > 300
    path.write_bytes(whole)
    np.testing.assert_array_equal(inputs.read_array(path, "y"), np.arange(4))


def test_wrong_inputs_are_named() -> None:
    session = nybble.load(MODEL)
    right = np.zeros((1, 4, 4, 2), np.int8)
    with pytest.raises(TypeError, match="expected int8, found int16"):
        session.run([right.astype(np.int16)])
    with pytest.raises(ValueError, match="expected shape"):
        session.run([right[:, :3]])
    with pytest.raises(ValueError, match="expected 1 inputs, found 2"):
        session.run([right, right])
    with pytest.raises(ValueError, match="finite"):
        session(np.full((1, 4, 4, 2), np.nan, np.float32))
    with pytest.raises(ValueError, match="no intermediate tensor 'nothing'"):
        session.run([right], dump=["nothing"])
    for index in (1, -1):
        with pytest.raises(IndexError, match=f"expected an input from 0 to 0, found {index}"):
            session.input_view(index)
        with pytest.raises(IndexError, match=f"expected an output from 0 to 0, found {index}"):
            session.output_view(index)


def test_inputs_of_another_type_are_told_what_to_be() -> None:
    session = nybble.load(MODEL)
    right = np.zeros((1, 4, 4, 2), np.int8)
    with pytest.raises(TypeError, match=r"found float32; session\(x\) quantizes real numbers"):
        session.run([right.astype(np.float32)])
    with pytest.raises(
        TypeError, match=r"found uint8; give .* numpy\.asarray\(x, numpy\.int8\), or, .* \(pixels, too\)"
    ):
        session(right.astype(np.uint8))
    with pytest.raises(TypeError, match=r"found int64; give .* numpy\.asarray\(x, numpy\.int8\)"):
        session(right.tolist())
    with pytest.raises(TypeError, match="found object; give one array of numbers"):
        session(right.astype(object))
    # What the messages advise is taken.
    np.testing.assert_array_equal(session(np.asarray(right.tolist(), np.int8)), session(right))
    assert session(np.asarray(right.astype(np.uint8), np.float32)).dtype == np.float32


def test_batches_and_strides() -> None:
    session = nybble.load(MODEL)
    x = np.random.default_rng(0).integers(-128, 128, (5, 4, 4, 2)).astype(np.int8)
    each = np.concatenate([session.run([row[None]])[0] for row in x])
    np.testing.assert_array_equal(session.run([x])[0], each)
    np.testing.assert_array_equal(session.run([x[:, None]])[0][:, 0], each)
    backwards = session.run([x[::-1]])[0]
    np.testing.assert_array_equal(backwards, each[::-1])
    assert session.run([x[:0]])[0].shape == (0, 48)


def test_dump_changes_nothing() -> None:
    session = nybble.load(MODEL)
    x = np.random.default_rng(1).integers(-128, 128, (1, 4, 4, 2)).astype(np.int8)
    (wanted,) = session.run([x])
    output, features = session.run([x], dump=["features"])
    np.testing.assert_array_equal(output, wanted)
    np.testing.assert_array_equal(features.reshape(1, 48), wanted)


@pytest.mark.parametrize(
    "options", [{"threads": 0}, {"threads": -1}, {"threads": 1.5}, {"threads": 10**12}, {"cpu": "pentium"}]
)
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        nybble.load(MODEL, **options)


def test_a_level_that_the_machine_lacks_is_refused() -> None:
    lacking = set(nybble.session.CPU_NAMES) - set(nybble.cpu_levels())
    for name in lacking:
        with pytest.raises(ValueError, match=f"{', '.join(nybble.cpu_levels())}.*{name}"):
            nybble.load(MODEL, cpu=name)


def test_a_destination_that_cannot_be_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing/m.nyb"
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(path, MODEL)
    assert caught.value.filename == str(path.parent)


def test_sessions_side_by_side() -> None:
    x = np.random.default_rng(4).integers(-128, 128, (200, 4, 4, 2)).astype(np.int8)
    (wanted,) = nybble.load(MODEL).run([x])

    def work(threads: int) -> bool:
        session = nybble.load(MODEL, threads=threads)
        return all(np.array_equal(session.run([x])[0], wanted) for _ in range(10))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, (1, 2, 3, 1)))


def test_a_session_pickles() -> None:
    session = nybble.load(MODEL, threads=2, cpu="scalar")
    copy = pickle.loads(pickle.dumps(session))
    x = np.random.default_rng(2).integers(-128, 128, (1, 4, 4, 2)).astype(np.int8)
    np.testing.assert_array_equal(copy.run([x])[0], session.run([x])[0])
    assert [layer.variant for layer in copy.layers()] == [layer.variant for layer in session.layers()]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_leaves_what_was_there(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model.nyb"
    target.write_bytes(b"precious")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    patched: Callable[..., None] = full
    monkeypatch.setattr(os, failing, patched)
    with pytest.raises(OSError, match="No space left"):
        write_whole(target, MODEL)
    monkeypatch.undo()
    assert target.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["model.nyb"]


def test_conversion_is_deterministic() -> None:
    assert convert_graph(small_graph()) == MODEL
