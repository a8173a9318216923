# SPDX-License-Identifier: Apache-2.0
"""The command nybble: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

import nybble
from models.small import small_graph
from nybble.cli import main, terminal
from nybble.convert import convert_graph
from nybble.emit.nyb import hash_position
from nybble.graph import Blocker, Graph, UnsupportedError
from nybble.measure import digits
from nybble.measure.durations import duration_text
from nybble.quantize import Recipe
from nybble.session import Session, cpu_levels
from oracle.single_op import OpSpec, TensorSpec, build

COMMANDS = ("convert", "info", "run", "verify", "bench", "quantize", "evaluate", "compare", "diff", "demo")


def cli(*arguments: object) -> Result:
    """Run the command; an exception that is not an exit code fails the test."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def fails(*arguments: object) -> str:
    """What the command says on standard error where it ends with exit code 1."""
    result = cli(*arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert result.stderr.startswith("nybble: ")
    return result.stderr


def write_graph(path: Path, graph: Graph) -> Path:
    path.write_bytes(convert_graph(graph))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """int8 [1, 4, 4, 2] -> int8 scores [1, 48]."""
    return write_graph(tmp_path / "small.nyb", small_graph())


def reshape_tflite(dtype: str = "uint8", scale: float = 1.0, zero_point: int = 0) -> bytes:
    """The identity from an image [1, 2, 2, 3] to scores [1, 12]."""
    quantized = (dtype, scale, zero_point)
    return build(
        {
            "image": TensorSpec((1, 2, 2, 3), *quantized),
            "shape": TensorSpec((2,), "int32", data=np.array([1, 12])),
            "scores": TensorSpec((1, 12), *quantized),
        },
        [OpSpec("RESHAPE", ("image", "shape"), ("scores",), {"new_shape": (1, 12)})],
        inputs=("image",),
        outputs=("scores",),
    )


@pytest.fixture
def tflite(tmp_path: Path) -> Path:
    path = tmp_path / "identity.tflite"
    path.write_bytes(reshape_tflite())
    return path


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, np.ndarray[Any, Any]]:
    """A 2x2 picture in a file, and its pixels."""
    pillow = pytest.importorskip("PIL.Image")
    pixels = np.arange(10, 250, 20, dtype=np.uint8).reshape(2, 2, 3)
    path = tmp_path / "picture.png"
    pillow.fromarray(pixels).save(path)
    return path, pixels


# Help, version, exit codes.


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, flag: str) -> None:
    result = cli(command, flag)
    assert result.exit_code == 0
    assert f"  nybble {command}" in result.output.partition("Example")[2]


def test_help_names_all_commands_and_the_exit_codes() -> None:
    output = cli("--help").output
    assert all(f"  {command} " in output for command in COMMANDS)
    assert "Exit codes: 0" in output


def test_version() -> None:
    assert cli("--version").output.startswith("nybble ")


def test_python_m_nybble(model: Path) -> None:
    paths = [str(Path(nybble.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "nybble"]
    good = subprocess.run(
        [*command, "info", model], env=environment, capture_output=True, text=True, check=False
    )
    assert good.returncode == 0
    assert "Conv2d" in good.stdout
    bad = subprocess.run(
        [*command, "info", "none.nyb"], env=environment, capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1
    assert bad.stderr == "nybble: none.nyb: No such file or directory\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["info"],
        ["bench", "m.nyb", "--runs", "0"],
        ["run", "m.nyb"],
        ["run", "m.nyb", "x", "--threads", "0"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: Sequence[str]) -> None:
    assert cli(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["info", "bench", "verify"])
def test_missing_file(command: str, tmp_path: Path) -> None:
    message = fails(command, tmp_path / "none.nyb")
    assert "none.nyb: No such file" in message


@pytest.mark.parametrize("command", ["info", "bench", "verify"])
def test_truncated_model(command: str, model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-64])
    assert "small.nyb: expected a data section that ends with the file" in fails(command, model)


def test_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert "notes.txt: expected" in fails("info", tmp_path / "notes.txt")


@pytest.mark.parametrize("cpu", ["pentium", "neon" if "avx2" in cpu_levels() else "avx2"])
@pytest.mark.parametrize("command", ["bench", "run"])
def test_unknown_cpu(command: str, cpu: str, model: Path) -> None:
    inputs = ["none.npy"] if command == "run" else []
    assert cpu in fails(command, model, *inputs, "--cpu", cpu)


# convert


def test_convert_writes_what_the_library_writes(tflite: Path) -> None:
    result = cli("convert", tflite)
    assert result.exit_code == 0
    assert tflite.with_suffix(".nyb").read_bytes() == nybble.convert(tflite)
    assert "operators" in result.output
    assert "no plan can take less than 64" in result.output


def test_convert_overwrites_by_force_only(tflite: Path, tmp_path: Path) -> None:
    target = tmp_path / "there.nyb"
    target.write_text("precious")
    assert "there.nyb: exists already; --force" in fails("convert", tflite, target)
    assert target.read_text() == "precious"
    assert cli("convert", tflite, target, "--force").exit_code == 0
    assert target.read_bytes() == nybble.convert(tflite)


def test_convert_lists_all_blockers_and_writes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "two.tflite"
    tensor = TensorSpec((1, 4), "float32")
    operators = [OpSpec("MUL", ("a", "a"), ("b",)), OpSpec("ADD", ("b", "b"), ("c",))]
    source.write_bytes(build({"a": tensor, "b": tensor, "c": tensor}, operators, ("a",), ("c",)))
    message = fails("convert", source)
    with pytest.raises(UnsupportedError) as refusal:
        nybble.convert(source)
    assert refusal.value.blockers
    assert all(b.node in message and b.reason in message for b in refusal.value.blockers)
    assert not source.with_suffix(".nyb").exists()


def test_convert_cuts_a_float_tail_if_asked_to(tmp_path: Path) -> None:
    source = tmp_path / "tail.tflite"
    real = TensorSpec((1, 4), "float32")
    source.write_bytes(
        build(
            {"x": TensorSpec((1, 4), "int8", 0.5, 3), "a": real, "b": real},
            [OpSpec("DEQUANTIZE", ("x",), ("a",)), OpSpec("MUL", ("a", "a"), ("b",))],
            inputs=("x",),
            outputs=("b",),
        )
    )
    assert "--cut" in fails("convert", source)
    assert cli("convert", source, "--cut").exit_code == 0
    assert source.with_suffix(".nyb").read_bytes() == nybble.convert(source, cut=True)


def test_convert_says_what_it_cannot_take(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = model.read_bytes()
    message = fails("convert", model)
    assert "small.nyb: expected a .tflite or .onnx network, found the suffix of a .nyb model" in message
    assert "found a .nyb model" in fails("convert", model, model.with_name("other.nyb"))
    assert model.read_bytes() == content
    monkeypatch.chdir(model.parent)
    assert ".: is a folder" in fails("convert", ".")
    assert ".: is a folder" in fails("quantize", ".", "--data", "none.npz")
    empty = cli("convert", "")
    assert empty.exit_code == 2
    assert "expected a path, found an empty one" in empty.stderr


def test_convert_leaves_the_golden_section_out_if_asked_to(tflite: Path) -> None:
    assert cli("convert", tflite, "--no-golden").exit_code == 0
    content = tflite.with_suffix(".nyb").read_bytes()
    assert content == nybble.convert(tflite, golden=False)
    assert content != nybble.convert(tflite)


def test_convert_into_a_folder_that_does_not_exist(tflite: Path, tmp_path: Path) -> None:
    assert "none: there is no such folder" in fails("convert", tflite, tmp_path / "none" / "x.nyb")


def test_nothing_but_files_is_written(tflite: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "pipe: is a device or a pipe" in fails("convert", tflite, pipe, "--force")
    assert pipe.is_fifo()
    assert "is a folder, expected a file" in fails("convert", tflite, tmp_path, "--force")


def test_behind_a_link_the_file_is_written(tflite: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target.nyb", tmp_path / "link.nyb"
    target.write_bytes(b"old")
    link.symlink_to(target)
    assert cli("convert", tflite, link, "--force").exit_code == 0
    assert link.is_symlink()
    assert target.read_bytes() == nybble.convert(tflite)


@pytest.mark.parametrize("leave", [(), ("--force",)])
def test_what_a_command_reads_is_not_written(
    leave: Sequence[str], tflite: Path, model: Path, tmp_path: Path
) -> None:
    before = tflite.read_bytes()
    assert "is read by this command" in fails("convert", tflite, tflite, *leave)
    (tmp_path / "link").symlink_to(tflite)
    assert "is read by this command" in fails("convert", tflite, tmp_path / "link", *leave)
    assert tflite.read_bytes() == before
    inputs = tmp_path / "x.npz"
    np.savez(inputs, random_image(1))
    assert "is read by this command" in fails("run", model, inputs, "-o", inputs, *leave)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_convert_leaves_nothing_where_writing_fails(
    code: int, tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    before = set(tmp_path.iterdir())
    assert os.strerror(code) in fails("convert", tflite)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_convert_into_a_folder_without_permission(tflite: Path, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    assert "Permission denied" in fails("convert", tflite, folder / "x.nyb")


# info


def test_info_prints_operators_and_totals(model: Path) -> None:
    output = cli("info", model).output
    assert f"{model}: {model.stat().st_size:,} bytes" in output
    assert "input 'image': int8 1x4x4x2" in output
    conv = next(line for line in output.splitlines() if " Conv2d " in line)
    assert conv.split()[3:6] == ["conv", "1x4x4x3", "864"]
    session = nybble.load(model)
    assert output.splitlines()[-1].split() == ["session", "arena", f"{session.arena_bytes:,}"]


def test_info_json_is_the_session(model: Path) -> None:
    document = json.loads(cli("info", model, "--json").output)
    session = nybble.load(model)
    assert document["session_bytes"] == session.arena_bytes
    assert document["activation_bytes"] == session.activation_bytes
    assert document["file_bytes"] == model.stat().st_size
    assert [o["macs"] for o in document["operators"]] == [864, 0]
    assert document["macs"] == 864
    assert document["weight_bytes"] == sum(layer.weight_bytes for layer in session.layers())
    assert document["inputs"][0]["shape"] == [1, 4, 4, 2]
    assert document["outputs"][0]["bytes"] == 48


def test_info_of_a_tflite(tflite: Path) -> None:
    document = json.loads(cli("info", tflite, "--json").output)
    assert document["inputs"][0]["dtype"] == "uint8"


def test_names_cannot_steer_the_terminal(model: Path) -> None:
    content = model.read_bytes().replace(b"flatten", b"\x1b[31mab")
    at = hash_position(content)
    model.write_bytes(content[:at] + bytes(32) + content[at + 32 :])
    output = cli("info", model).output
    assert "\x1b" not in output
    assert "?[31mab" in output


# run


def scores(model: Path, values: np.ndarray[Any, Any], path: Path) -> np.ndarray[Any, Any]:
    """The array that `run -o` writes for values in a .npy file."""
    source, target = path / "x.npy", path / "y.npz"
    np.save(source, values)
    assert cli("run", model, source, "-o", target, "--force").exit_code == 0
    with np.load(target) as archive:
        assert archive.files == ["scores"]
        return np.asarray(archive["scores"])


def random_image(count: int, seed: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(-128, 128, (count, 4, 4, 2)).astype(np.int8)


@pytest.mark.parametrize("cpu", cpu_levels())
def test_run_writes_the_outputs_of_the_session(cpu: str, model: Path, tmp_path: Path) -> None:
    x = random_image(3)
    expected = nybble.load(model).run([x])[0]
    np.save(tmp_path / "x.npy", x)
    result = cli("run", model, tmp_path / "x.npy", "-o", tmp_path / "y.npz", "--cpu", cpu, "--threads", 2)
    assert result.exit_code == 0
    assert "'scores' 3x48" in result.output
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["scores"], expected)


def test_run_accepts_one_sample_without_its_batch_dimension(model: Path, tmp_path: Path) -> None:
    x = random_image(1)
    np.testing.assert_array_equal(scores(model, x[0], tmp_path), scores(model, x, tmp_path))
    np.testing.assert_array_equal(scores(model, x[None], tmp_path), scores(model, x, tmp_path))


def test_run_quantizes_floats(model: Path, tmp_path: Path) -> None:
    port = nybble.load(model).inputs[0]
    x = random_image(2)
    np.testing.assert_array_equal(scores(model, port.dequantize(x), tmp_path), scores(model, x, tmp_path))


def test_run_reads_raw_bytes_and_archives(model: Path, tmp_path: Path) -> None:
    x = random_image(2)
    (tmp_path / "x.bin").write_bytes(x.tobytes())
    np.savez(tmp_path / "named.npz", other=x[::-1], image=x)
    np.savez(tmp_path / "ordered.npz", only=x)
    expected = scores(model, x, tmp_path)
    for name in ("x.bin", "named.npz", "ordered.npz"):
        assert cli("run", model, tmp_path / name, "-o", tmp_path / "y.npz", "--force").exit_code == 0
        np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["scores"], expected)


def test_run_takes_samples_as_other_commands_do(model: Path, tmp_path: Path) -> None:
    image = random_image(3)
    np.savez(tmp_path / "samples.npz", x=image, y=np.arange(3))
    expected = scores(model, image, tmp_path)
    output = tmp_path / "samples.out.npz"
    assert cli("run", model, tmp_path / "samples.npz", "-o", output).exit_code == 0
    with np.load(output) as archive:
        assert np.array_equal(archive[archive.files[0]], expected)


def test_run_takes_floats_in_the_order_of_the_source(tmp_path: Path) -> None:
    graph = small_graph()
    graph.metadata[f"source_layout/{graph.inputs[0].name}"] = "NCHW"
    path = write_graph(tmp_path / "small.nyb", graph)
    (port,) = nybble.load(path).inputs
    real = port.dequantize(random_image(2))
    there = np.moveaxis(real, -1, -3)
    assert np.array_equal(scores(path, there, tmp_path), scores(path, real, tmp_path))
    assert "NCHW there" in cli("info", path).output
    with pytest.raises(ValueError, match="moveaxis"):
        nybble.load(path)(there)


def test_run_archives_are_the_same_bytes_every_time(model: Path, tmp_path: Path) -> None:
    scores(model, random_image(1), tmp_path)
    first = (tmp_path / "y.npz").read_bytes()
    scores(model, random_image(1), tmp_path)
    assert (tmp_path / "y.npz").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "y.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_run_takes_several_files_as_samples(model: Path, tmp_path: Path) -> None:
    for index in range(2):
        np.save(tmp_path / f"{index}.npy", random_image(1, index))
    output = cli("run", model, tmp_path / "0.npy", tmp_path / "1.npy", "--top", 1).output
    assert "0.npy: 'scores'" in output
    assert "1.npy: 'scores'" in output


def test_run_prints_the_best_classes_with_labels(model: Path, tmp_path: Path) -> None:
    x = random_image(1)
    np.save(tmp_path / "x.npy", x)
    session = nybble.load(model)
    y = session.run([x])[0].reshape(-1)
    order = sorted(range(48), key=lambda i: (-int(y[i]), i))[:4]
    named = max(order)  # labels for all but the highest of the classes shown
    (tmp_path / "labels.txt").write_text("\n".join(f"name {i}" for i in range(named)))
    output = cli("run", model, tmp_path / "x.npy", "--top", 4, "--labels", tmp_path / "labels.txt").output
    lines = output.splitlines()[2:]
    found = [line.split() for line in lines]
    assert [int(row[0]) for row in found] == order
    assert [int(row[2]) for row in found] == [int(y[i]) for i in order]
    assert all(
        row[3:] == ([] if i == named else ["name", str(i)]) for row, i in zip(found, order, strict=True)
    )


@pytest.fixture
def difference(tmp_path: Path) -> Path:
    """int8 minuend [1, 4] - int8 subtrahend [1, 4] -> scores [1, 4], all of scale 1."""
    spec = TensorSpec((1, 4), "int8", 1.0, 0)
    path = tmp_path / "difference.tflite"
    names = ("minuend", "subtrahend", "scores")
    path.write_bytes(
        build(dict.fromkeys(names, spec), [OpSpec("SUB", names[:2], names[2:])], names[:2], names[2:])
    )
    return path


def test_run_takes_a_file_for_each_input(difference: Path, tmp_path: Path) -> None:
    arrays = {f"{i}.npy": np.full((1, 4), value, np.int8) for i, value in enumerate((50, 8, 7, 9))}
    for name, array in arrays.items():
        np.save(tmp_path / name, array)
    files = [tmp_path / name for name in arrays]
    assert cli("run", difference, *files, "-o", tmp_path / "y.npz").exit_code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["scores"], [[42] * 4, [-2] * 4])
    output = cli("run", difference, *files, "--top", 1).output
    assert "0.npy 1.npy: 'scores'" in output
    assert "2.npy 3.npy: 'scores'" in output
    assert "expected a file for each of 2 inputs, found 1" in fails("run", difference, *files[:3])


def test_run_reads_inputs_by_name_before_order(difference: Path, tmp_path: Path) -> None:
    left, right = np.full((2, 4), 50, np.int8), np.full((2, 4), 8, np.int8)
    np.savez(tmp_path / "x.npz", subtrahend=right, minuend=left)
    assert cli("run", difference, tmp_path / "x.npz", "-o", tmp_path / "y.npz").exit_code == 0
    assert (np.load(tmp_path / "y.npz")["scores"] == 42).all()
    np.savez(tmp_path / "x.npz", subtrahend=right[:1], minuend=left)
    message = fails("run", difference, tmp_path / "x.npz")
    assert "expected as many samples for every input, found [1, 2]" in message
    np.save(tmp_path / "x.npy", left[:1])
    message = fails("run", difference, tmp_path / "x.npy", tmp_path / "x.npz")
    assert "expected a file for input 'subtrahend' alone, found a .npz" in message


def test_run_uses_the_labels_of_the_model(tmp_path: Path) -> None:
    graph = small_graph()
    labels = tuple(f"kind {i}" for i in range(48))
    model = write_graph(tmp_path / "m.nyb", Graph(**(vars(graph) | {"labels": labels})))
    np.save(tmp_path / "x.npy", random_image(1))
    rows = cli("run", model, tmp_path / "x.npy", "--top", 3).output.splitlines()[2:]
    assert all(row.split()[3:] == ["kind", row.split()[0]] for row in rows)


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "offset"),
    [
        ("uint8", 0.3, 7, 0),
        ("int8", 1.0, -128, -128),
        ("int8", 1 / 255, -128, -128),
        ("int8", 2 / 255, -1, -128),
    ],
)
def test_run_images(
    dtype: str,
    scale: float,
    zero_point: int,
    offset: int,
    image: tuple[Path, np.ndarray[Any, Any]],
    tmp_path: Path,
) -> None:
    path, pixels = image
    (tmp_path / "m.tflite").write_bytes(reshape_tflite(dtype, scale, zero_point))
    assert cli("run", tmp_path / "m.tflite", path, "-o", tmp_path / "y.npz").exit_code == 0
    written = np.load(tmp_path / "y.npz")["scores"]
    np.testing.assert_array_equal(written.reshape(-1), pixels.reshape(-1).astype(int) + offset)


def test_run_images_by_the_metadata_of_the_model(
    image: tuple[Path, np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    path, pixels = image
    graph = nybble.import_model(reshape_tflite("int8", 0.02, 3))
    preprocessing = {"scale": [0.01, 0.02, 0.005], "offset": [-1.0], "channels": "BGR"}
    model = write_graph(tmp_path / "m.nyb", Graph(**(vars(graph) | {"preprocessing": preprocessing})))
    assert cli("run", model, path, "-o", tmp_path / "y.npz").exit_code == 0
    real = pixels[..., ::-1].astype(np.float32) * np.array([0.01, 0.02, 0.005], np.float32) - np.float32(1)
    expected = nybble.load(model).inputs[0].quantize(real)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["scores"].reshape(-1), expected.reshape(-1))


def test_run_refuses_an_image_without_a_rule(
    image: tuple[Path, np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    (tmp_path / "m.tflite").write_bytes(reshape_tflite("int8", 0.1, 0))
    assert "no rule for pixels" in fails("run", tmp_path / "m.tflite", image[0])


def test_run_says_that_an_image_needs_pillow(
    tflite: Path, image: tuple[Path, np.ndarray[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, "PIL")
    assert "pip install nybble[image]" in fails("run", tflite, image[0])


def write_inputs(folder: Path) -> Mapping[str, Path]:
    """Files that do not fit the small model."""
    files = {
        name: folder / name
        for name in (
            "shape.npy", "type.npy", "cut.npy", "text.npy", "size.raw", "cut.npz", "two.npz", "objects.npz",
            "array.npz", "archive.npy",
        )
    }  # fmt: skip
    np.save(files["shape.npy"], np.zeros((1, 4, 4, 3), np.int8))
    np.save(files["type.npy"], np.zeros((1, 4, 4, 2), np.int32))
    np.savez(files["two.npz"], a=random_image(1), b=random_image(1))
    np.save(files["cut.npy"], random_image(1))
    files["cut.npy"].write_bytes(files["cut.npy"].read_bytes()[:-1])
    files["cut.npz"].write_bytes(files["two.npz"].read_bytes()[:-30])
    np.savez(files["objects.npz"], image=np.array([random_image(1), None], object))
    files["array.npz"].write_bytes(files["type.npy"].read_bytes())
    files["archive.npy"].write_bytes(files["two.npz"].read_bytes())
    files["text.npy"].write_text("no array")
    files["size.raw"].write_bytes(bytes(33))
    return files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shape.npy", r"expected shape (1, 4, 4, 2) or a batch of it, found (1, 4, 4, 3)"),
        ("type.npy", "expected int8 or floats, found int32"),
        ("cut.npy", "cut.npy: the array is corrupt"),
        ("cut.npz", "cut.npz: the archive is corrupt"),
        ("objects.npz", "objects.npz: the array 'image' holds Python objects, expected numbers"),
        ("array.npz", "array.npz: expected a .npz archive of named arrays, found a single array"),
        ("archive.npy", "archive.npy: expected a single array, found a .npz archive"),
        ("text.npy", "text.npy: expected a numpy file"),
        ("two.npz", "expected arrays named image or x; found a, b"),
        ("size.raw", "expected 32 bytes per sample (int8, (1, 4, 4, 2)), found 33"),
        ("none.npy", "none.npy: No such file"),
        ("none.png", "takes no image"),
    ],
)
def test_run_refuses_files_that_do_not_fit(name: str, message: str, model: Path, tmp_path: Path) -> None:
    if name.endswith(".png"):
        pytest.importorskip("PIL.Image")
    write_inputs(tmp_path)
    assert message in fails("run", model, tmp_path / name)


def test_a_damaged_image_is_named(tflite: Path, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    pillow.fromarray(noise).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    assert "cut.png: the image is damaged" in fails("run", tflite, tmp_path / "cut.png")
    (tmp_path / "notes.png").write_text("hello")
    assert "notes.png: expected an image" in fails("run", tflite, tmp_path / "notes.png")
    (tmp_path / "photos" / "0").mkdir(parents=True)
    (tmp_path / "cut.png").rename(tmp_path / "photos" / "0" / "cut.png")
    assert "0/cut.png: the image is damaged" in fails("evaluate", tflite, "--data", tmp_path / "photos")


def test_run_overwrites_by_force_only(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", random_image(1))
    (tmp_path / "y.npz").write_text("precious")
    assert "--force" in fails("run", model, tmp_path / "x.npy", "-o", tmp_path / "y.npz")
    assert (tmp_path / "y.npz").read_text() == "precious"


def test_names_that_are_no_text_are_refused(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", random_image(1))
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe")
    message = fails("run", model, tmp_path / "x.npy", "--labels", tmp_path / "names.txt")
    assert "names.txt: expected a text file of class names in UTF-8" in message


@pytest.mark.parametrize("name", ["out.npy", "out", "-"])
def test_run_writes_archives_alone(
    name: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", random_image(1))
    result = cli("run", model, "x.npy", "-o", name)
    assert result.exit_code == 2
    assert ("./- for one that is called so" if name == "-" else "a name that ends in .npz") in result.stderr
    assert not Path(name).exists()


def test_not_enough_memory(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(nybble, "load", fail)
    assert fails("info", model) == "nybble: not enough memory\n"


# verify


def test_verify_prints_one_line_per_level_and_threads(model: Path) -> None:
    result = cli("verify", model, "--all-cpus")
    assert result.exit_code == 0
    rows = [line.split() for line in result.output.splitlines()]
    assert [(row[0], row[1]) for row in rows] == [(c, n) for c in cpu_levels() for n in "12"]
    assert len({row[4] for row in rows}) == 1
    assert all(row[-1] == "ok" for row in rows)


def test_verify_says_that_there_are_no_golden_outputs(tmp_path: Path) -> None:
    path = tmp_path / "m.nyb"
    path.write_bytes(convert_graph(small_graph(), golden=False))
    *rows, last = cli("verify", path).output.splitlines()
    assert [row.endswith("  ok") for row in rows] == [True, True]
    assert last == "the file has no golden outputs: nothing was compared with the machine that built it"


def test_verify_uses_the_best_level_alone(model: Path) -> None:
    rows = cli("verify", model).output.splitlines()
    assert [row.split()[0] for row in rows] == [cpu_levels()[-1]] * 2


def test_verify_finds_a_changed_weight(model: Path) -> None:
    content = bytearray(model.read_bytes())
    content[-64] ^= 1
    model.write_bytes(content)
    result = cli("verify", model)
    assert result.exit_code == 1
    assert "MISMATCH: " in result.output


def test_verify_finds_a_wrong_kernel(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Session.run

    def wrong_beside_scalar(self: Session, *arguments: Any) -> list[Any]:
        outputs = run(self, *arguments)
        return outputs if self._cpu == "scalar" else [y ^ 1 for y in outputs]

    monkeypatch.setattr(Session, "run", wrong_beside_scalar)
    result = cli("verify", model, "--all-cpus")
    assert [("MISMATCH" in line) for line in result.output.splitlines()] == [
        cpu != "scalar" for cpu in cpu_levels() for _ in range(2)
    ]
    assert result.exit_code == (1 if len(cpu_levels()) > 1 else 0)


# bench


def test_bench_prints_the_profile(model: Path) -> None:
    output = cli("bench", model, "--runs", 2, "--cpu", "scalar").output
    assert "2 runs, scalar, 1 thread\n" in output
    assert "median" in output
    assert re.search(
        rf"^loaded in [\d.]+ \w?s; memory grew by [\d,]+ bytes: arena [\d,]+, file {model.stat().st_size:,}$",
        output,
        re.M,
    )
    conv = next(line for line in output.splitlines() if " Conv2d " in line)
    assert "864" in conv
    assert "%" in conv


def test_bench_json(model: Path) -> None:
    document = json.loads(cli("bench", model, "--runs", 3, "--threads", 2, "--json").output)
    assert document["runs"] == 3
    assert document["threads"] == 2
    assert document["cpu"] == cpu_levels()[-1]
    assert document["arena_bytes"] == nybble.load(model, threads=2).arena_bytes
    assert document["load_ns"] > 0
    assert 0 < document["min_ns"] <= document["median_ns"] <= document["max_ns"]
    assert [o["macs"] for o in document["operators"]] == [864, 0]
    assert sum(o["share"] for o in document["operators"]) == pytest.approx(1)


def test_bench_explains(model: Path) -> None:
    output = cli("bench", model, "--runs", 2, "--explain").output
    heading, conv, reshape = (line for line in output.splitlines() if re.match("#|[01] ", line))
    assert heading.endswith("of ceiling")
    assert re.search(r"\d%  +[\d.]+  +\d+%$", conv)
    assert reshape.endswith("%")
    variant = nybble.load(model).layers()[0].variant
    assert re.search(
        rf"^ceiling of a core, from its caches: [\d.]+ GMAC/s \(gemm, 8-bit weights, {variant}\)$",
        output,
        re.M,
    )
    assert re.search(r"^(nothing stands out|[\d.]+% of the time: .* \(operator [\d, ]+\))$", output, re.M)


def test_bench_explains_as_json(model: Path) -> None:
    document = json.loads(cli("bench", model, "--runs", 2, "--explain", "--json").output)
    [ceiling] = document["ceilings"]
    conv, reshape = document["operators"]
    assert (ceiling["family"], ceiling["weight_bits"], ceiling["variant"]) == ("gemm", 8, conv["variant"])
    assert conv["ceiling_share"] == pytest.approx(conv["gmacs_per_second"] / ceiling["gmacs_per_second"])
    assert isinstance(conv["advice"], str)
    assert reshape["ceiling_share"] == 0


@pytest.mark.parametrize("command", [["info"], ["bench", "--runs", 1], ["bench", "--runs", 1, "--explain"]])
def test_every_json_key_is_documented(command: Sequence[object], model: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text("utf-8")
    document = json.loads(cli(*command, model, "--json").output)
    tables = [document, document["operators"][0], *document.get("inputs", []), *document.get("ceilings", [])]
    assert all(f"`{key}`" in page for table in tables for key in table)


# Plain text, and rich where it is.


class Terminal:
    """A stream that claims to be a terminal and keeps what is written."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def forbid(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Make a package look as if it were not installed."""
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


COLUMNS = (terminal.Column("name"), terminal.Column("MACs", True))
ROWS = (("conv", "12"), ("x", "3456"))
PLAIN = "name  MACs\nconv    12\nx     3456\n"


def test_a_table_on_a_terminal_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    forbid(monkeypatch, "rich")
    terminal.print_table(COLUMNS, ROWS)
    assert stream.text == PLAIN
    assert list(terminal.progress([1, 2], "counting")) == [1, 2]


def test_progress_on_a_terminal_without_rich_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with terminal.stages() as show:
        show("layers", 9, 10)
        show("done", 1, 1)
    assert stream.text == "\rlayers 9 of 10\rdone 1 of 1   \r           \r"


def test_progress_in_a_pipe_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 10.0, 31.0, 31.0, 40.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.stages() as show:
        for done in range(3):
            show("layers", done, 3)
    assert capsys.readouterr().err == "layers 1 of 3\n"


def test_a_table_in_a_pipe_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table(COLUMNS, ROWS)
    assert capsys.readouterr().out == PLAIN


def test_a_table_on_a_terminal_with_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", Terminal())
    terminal.print_table(COLUMNS, ROWS)
    assert stream.text != PLAIN
    assert "conv" in click.unstyle(stream.text)
    assert list(terminal.progress([1, 2], "counting")) == [1, 2]


def test_markup_in_a_name_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.print_table((terminal.Column("name"),), [("[red]conv[/red]",)])
    assert "[red]conv[/red]" in stream.text


def test_blockers_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_blockers("m.tflite", [Blocker("SVDF 1", "no kernel", "cut it"), Blocker("X 2", "odd", "")])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[0] == "nybble: m.tflite: 2 blockers"
    assert "SVDF 1" in captured.err


@pytest.mark.parametrize(
    ("nanoseconds", "text"), [(999, "999 ns"), (1500, "1.500 us"), (2e6, "2.000 ms"), (3e9, "3.000 s")]
)
def test_durations(nanoseconds: float, text: str) -> None:
    assert duration_text(nanoseconds) == text


# quantize


@pytest.fixture
def float_model(tmp_path: Path) -> Path:
    """A float network from x [1, 8] to scores [1, 3]: a fully connected layer."""
    rng = np.random.default_rng(3)
    path = tmp_path / "float.tflite"
    path.write_bytes(
        build(
            {
                "x": TensorSpec((1, 8), "float32"),
                "w": TensorSpec((3, 8), "float32", data=rng.normal(size=(3, 8)).astype(np.float32)),
                "scores": TensorSpec((1, 3), "float32"),
            },
            [OpSpec("FULLY_CONNECTED", ("x", "w", None), ("scores",))],
            inputs=("x",),
            outputs=("scores",),
        )
    )
    return path


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """20 samples of the float network; labels that are right for all (y) and for none (z)."""
    path = tmp_path / "samples.npz"
    x = np.random.default_rng(4).normal(size=(20, 8)).astype(np.float32)
    weights = np.random.default_rng(3).normal(size=(3, 8)).astype(np.float32)
    y = (x @ weights.T).argmax(axis=1)
    np.savez(path, x=x, y=y, z=(y + 1) % 3)
    return path


@pytest.mark.parametrize("bits", ["8", "4", "2"])
def test_quantize_writes_a_model(bits: str, float_model: Path, samples: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.nyb"
    result = cli("quantize", float_model, "--data", samples, "--weights", bits, "-o", target)
    assert result.exit_code == 0
    assert nybble.load(target).layers()[0].weight_bits == int(bits)
    assert f"file        {target.stat().st_size:,} bytes" in result.output
    assert "SNR" in result.output
    assert "was 20 of 20, 100.0 %" in result.output
    assert "FULLY_CONNECTED 0" in result.output.partition("own SNR")[2]


def test_quantize_reads_the_labels_asked_for(float_model: Path, samples: Path) -> None:
    result = cli("quantize", float_model, "--data", samples, "--labels-key", "z")
    assert "accuracy 0 of 20, 0.0 %; was 0 of 20, 0.0 %" in result.output
    assert float_model.with_suffix(".nyb").exists()


def test_quantize_says_that_labels_are_no_class_numbers(
    float_model: Path, samples: Path, tmp_path: Path
) -> None:
    with np.load(samples) as archive:
        np.savez(tmp_path / "floats.npz", x=archive["x"], y=archive["y"].astype(np.float32))
    result = cli("quantize", float_model, "--data", tmp_path / "floats.npz")
    assert "accuracy not counted: expected an integer for each label, found float32 (20,)" in result.output


def test_quantize_looks_at_the_destination_first(float_model: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "none" / "out.nyb"
    with pytest.raises(FileNotFoundError, match="no such folder"):
        nybble.quantize(float_model, tmp_path / "no_samples.npz", destination=nowhere)


def test_quantize_takes_bits_of_the_first_and_last_layer(float_model: Path, samples: Path) -> None:
    cli("quantize", float_model, "--data", samples, "--weights", "2", "--first", "4")
    assert nybble.load(float_model.with_suffix(".nyb")).layers()[0].weight_bits == 4


def test_quantize_takes_ternary_weights_and_one_scale(float_model: Path, samples: Path) -> None:
    options = ("--method", "mse", "--no-layers", "--force")
    cli("quantize", float_model, "--data", samples, "--weights", "ternary", *options)
    ternary = float_model.with_suffix(".nyb").read_bytes()
    assert nybble.load(ternary).layers()[0].weight_bits == 2
    recipe = Recipe("ternary", method="mse")
    assert ternary == nybble.quantize(float_model, samples, recipe=recipe).model
    cli("quantize", float_model, "--data", samples, "--weights", "4", "--granularity", "tensor", *options)
    recipe = Recipe(4, method="mse", granularity="tensor")
    assert (
        float_model.with_suffix(".nyb").read_bytes()
        == nybble.quantize(float_model, samples, recipe=recipe).model
    )


def test_quantize_takes_groups(float_model: Path, samples: Path) -> None:
    cli("quantize", float_model, "--data", samples, "--weights", "2", "--no-layers")
    plain = nybble.load(float_model.with_suffix(".nyb"))
    cli(
        "quantize",
        float_model,
        "--data",
        samples,
        "--weights",
        "2",
        "--group",
        "16",
        "--no-layers",
        "--force",
    )
    fine = nybble.load(float_model.with_suffix(".nyb"))
    assert sum(x.weight_bytes for x in fine.layers()) > sum(x.weight_bytes for x in plain.layers())


def test_a_quantized_network_is_shown_in_a_line(float_model: Path, samples: Path) -> None:
    result = nybble.quantize(float_model, samples, weights=4)
    size = len(result.model)
    shown = f"<nybble.Quantized float.tflite: weights 4 bits, file {size} bytes, measured on 20 samples>"
    assert repr(result) == shown


def test_quantize_measures_on_other_samples(float_model: Path, samples: Path, tmp_path: Path) -> None:
    with np.load(samples) as known:
        np.savez(tmp_path / "test.npz", x=known["x"][:7], truth=known["z"][:7])
    arguments = ("quantize", float_model, "--data", samples, "--test", tmp_path / "test.npz", "--force")
    result = cli(*arguments)
    assert ", 7 samples" in result.output
    assert "accuracy" not in result.output
    assert "accuracy 0 of 7" in cli(*arguments, "--labels-key", "truth").output


@pytest.fixture
def open_model(tmp_path: Path) -> Path:
    """A float .onnx network from images x [N, 3, H, W]."""
    pytest.importorskip("onnx")
    from onnx_networks import Network

    net = Network()
    y = net.conv(net.input(["N", 3, "H", "W"]), (4, 3, 3, 3))
    path = tmp_path / "open.onnx"
    path.write_bytes(net.model(net.node("Flatten", net.node("GlobalAveragePool", y))))
    np.savez(
        tmp_path / "images.npz", x=np.random.default_rng(5).normal(size=(6, 3, 8, 10)).astype(np.float32)
    )
    return path


def test_quantize_takes_open_sizes_from_the_samples(open_model: Path) -> None:
    images = open_model.with_name("images.npz")
    options = ("--no-layers", "--weights", "4", "--method", "mse", "--force")
    assert cli("quantize", open_model, "--data", images, *options).exit_code == 0
    target = open_model.with_suffix(".nyb")
    found = target.read_bytes()
    assert nybble.load(target).inputs[0].shape == (1, 8, 10, 3)
    assert cli("quantize", open_model, "--data", images, "--shape", "x=1,3,8,10", *options).exit_code == 0
    assert target.read_bytes() == found
    message = fails("quantize", open_model, "--data", images, "--shape", "x=1,3,9,10", *options)
    assert "expected samples of shape (1, 3, 9, 10)" in message
    np.savez(images, x=np.zeros((6, 8, 10, 3), np.float32))
    message = fails("quantize", open_model, "--data", images, *options)
    assert "input 'x': expected samples of shape [N, 3, H, W], or N of them, found (6, 8, 10, 3)" in message


def test_evaluate_takes_open_sizes_from_the_samples(open_model: Path) -> None:
    images = open_model.with_name("images.npz")
    with np.load(images) as known:
        np.savez(images, x=known["x"], y=np.zeros(6, np.int64))
    output = cli("evaluate", open_model, "--data", images).output
    assert "float32, numpy, 6 samples" in output
    folder = open_model.with_name("photos")
    folder.mkdir()
    assert "has open dimensions [N, 3, H, W]" in cli("evaluate", open_model, "--data", folder).stderr


def test_convert_takes_shapes(tmp_path: Path, tflite: Path) -> None:
    pytest.importorskip("onnx")
    from onnx_networks import Network

    net = Network()
    grid = (net.constant(0.02), net.constant(0, np.int8))
    y = net.node("DequantizeLinear", net.node("QuantizeLinear", net.input(["N", "C"]), *grid), *grid)
    y = net.node("DequantizeLinear", net.node("QuantizeLinear", net.node("Relu", y), *grid), *grid)
    source = tmp_path / "qdq.onnx"
    source.write_bytes(net.model(y))
    refused = cli("convert", source)
    assert refused.exit_code == 1
    assert "--shape x=1,C" in refused.stderr
    assert cli("convert", source, "--shape", "x=1,12").exit_code == 0
    assert nybble.load(source.with_suffix(".nyb")).inputs[0].shape == (1, 12)
    for wrong in ("x", "=1,2", "x=1,none", "x=0,2", "x="):
        result = cli("convert", source, "--shape", wrong)
        assert result.exit_code == 2
        assert "expected the name of an input and its sizes" in result.stderr
    assert cli("convert", source, "--shape", "x=1,12", "--shape", "x=1,11").exit_code == 2
    assert "expected the name of an input ('x')" in fails("convert", source, "--shape", "y=1,2", "--force")
    assert "shapes are for .onnx networks" in fails("convert", tflite, "--shape", "image=1,2,2,3")


def test_quantize_refuses_a_percentile_that_nothing_takes(float_model: Path, samples: Path) -> None:
    common = ("quantize", float_model, "--data", samples, "--no-layers", "--percentile", "99")
    assert "--calibration percentile" in cli(*common).stderr
    assert cli(*common).exit_code == 2
    assert cli(*common, "--calibration", "mse").exit_code == 2
    assert not float_model.with_suffix(".nyb").exists()
    assert cli(*common, "--calibration", "percentile").exit_code == 0


def test_quantize_fails_with_a_message(
    float_model: Path, samples: Path, tflite: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.nyb"
    common = ("--data", samples, "-o", target)
    assert "found x, y, z" in fails("quantize", float_model, *common, "--labels-key", "none")
    assert "none.npz: No such file" in fails("quantize", float_model, "--data", tmp_path / "none.npz")
    np.save(tmp_path / "x.npy", np.zeros((3, 8), np.float32))
    message = fails("quantize", float_model, "--data", tmp_path / "x.npy")
    assert "x.npy: expected a .npz archive of named arrays" in message
    assert "numpy.savez('x.npz', x=samples, y=labels)" in message
    np.savez(tmp_path / "objects.npz", x=np.array([[1.0], None], object))
    assert "objects.npz: the array 'x'" in fails("quantize", float_model, "--data", tmp_path / "objects.npz")
    assert "is quantized already" in fails("quantize", tflite, *common)
    assert cli("quantize", float_model, *common, "--weights", "3").exit_code == 2
    assert not target.exists()
    target.write_text("precious")
    assert "--force" in fails("quantize", float_model, *common)
    assert target.read_text() == "precious"


def test_quantize_says_that_onnx_is_missing(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, "onnx")
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08")
    assert "pip install nybble[onnx]" in fails("quantize", tmp_path / "model.onnx", "--data", samples)


# demo


def test_demo() -> None:
    result = cli("demo")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert all(len(line) <= 4 * 16 + 3 * 3 for line in lines[:8])
    assert "digit 3: 3 3 3" in lines[8]
    rows = {row[0]: row for row in (line.split() for line in lines) if len(row) > 6 and row[2] == "of"}
    assert [(bits, row[1], row[3]) for bits, row in rows.items()] == [
        ("8", "494", "497"),
        ("4", "493", "497"),
        ("2", "490", "497"),
    ]
    sizes = [int(row[5].replace(",", "")) for row in rows.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_demo_files_are_quantized_as_the_demo_is(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    assert cli("demo", "--files", tmp_path / "files").exit_code == 0
    files = tmp_path / "files"
    result = cli(
        "quantize", files / "digits.onnx", "--data", files / "calibration.npz", "--test", files / "test.npz"
    )
    assert "494 of 497" in result.output


def test_demo_files_overwrite_nothing_else(tmp_path: Path) -> None:
    assert cli("demo", "--files", tmp_path).exit_code == 0
    assert cli("demo", "--files", tmp_path).exit_code == 0
    (tmp_path / "test.npz").write_bytes(b"mine")
    assert "test.npz: exists already with other content" in fails("demo", "--files", tmp_path)
    assert (tmp_path / "test.npz").read_bytes() == b"mine"


@pytest.mark.parametrize("bits", digits.MODELS)
def test_demo_models_are_sound(bits: int, tmp_path: Path) -> None:
    path = tmp_path / "model.nyb"
    path.write_bytes(digits.model_content(bits))
    assert cli("verify", path, "--all-cpus").exit_code == 0
    layers = nybble.load(path).layers()
    assert bits in {layer.weight_bits for layer in layers}
    test = digits.test_digits()
    assert test.images.shape == (497, 8, 8)
    assert test.images.max() == digits.PIXEL_MAX


def test_demo_models_take_images_and_know_their_labels(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    (tmp_path / "model.nyb").write_bytes(digits.model_content(4))
    test = digits.test_digits()
    picture = (test.images[0].astype(np.float32) * (255 / digits.PIXEL_MAX)).round().astype(np.uint8)
    pillow.fromarray(picture).save(tmp_path / "digit.png")
    output = cli("run", tmp_path / "model.nyb", tmp_path / "digit.png", "--top", 1).output
    assert output.split()[-1] == str(test.labels[0])
