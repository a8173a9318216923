# SPDX-License-Identifier: Apache-2.0
"""Mixed precision explored: the front, budgets, the same bytes from any number of workers and after a kill."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from click.testing import CliRunner
from onnx_networks import Network

import nybble
from nybble.cli import main
from nybble.convert import convert_graph
from nybble.graph import evaluate_outputs
from nybble.importers.onnx import import_onnx
from nybble.measure.explore import Budget, Exploration, explore
from nybble.measure.memory import read_plan
from nybble.measure.report import verdict
from nybble.measure.results import Results, content_key
from nybble.measure.task import Part, Task, before_softmax
from nybble.measure.trial import Trial, Work, loss_of, try_work
from nybble.quantize import Override, Recipe, read_samples
from nybble.quantize.apply import Progress, quantize_graph
from nybble.quantize.observe import observe
from nybble.quantizing import prepare


def network(name: str = "net", head: str = "Softmax") -> bytes:
    """Four layers and a head, with a name that a page must escape."""
    net = Network(3)
    y = net.node("Relu", net.conv(net.input([1, 3, 8, 8]), (16, 3, 3, 3), pads=[1, 1, 1, 1]))
    y = net.node("Relu", net.conv(y, (16, 1, 3, 3), group=16, pads=[1, 1, 1, 1]))
    y = net.node("Relu", net.conv(y, (32, 16, 3, 3), strides=[2, 2]))
    y = net.gemm(net.node("Flatten", y), 32 * 9, 5)
    net.nodes[0].name = "<script>alert(1)</script>"
    return net.model(net.node(head, y) if head else y)


def samples(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def labels(model: bytes, x: np.ndarray) -> np.ndarray:
    """What the float network answers, with every tenth sample changed."""
    graph = import_onnx(model, name="net")
    inputs, _ = read_samples(x, graph)
    found = [evaluate_outputs(graph, s, real=True)[0].argmax() for s in zip(*inputs, strict=True)]
    y = np.array(found, np.int64)
    y[::10] = (y[::10] + 1) % 5
    return y


MODEL = network()
CALIBRATION, TEST = samples(24, 1), samples(30, 2)
LABELS = labels(MODEL, CALIBRATION), labels(MODEL, TEST)


def run(budget: str = "bytes=70%", **options: object) -> Exploration:
    options.setdefault("recipe", Recipe(method="mse"))  # quick
    return explore(
        MODEL,
        CALIBRATION,
        labels=LABELS[0],
        test=TEST,
        test_labels=LABELS[1],
        budget=budget,
        candidates=5,
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def found() -> Exploration:
    return run()


def lasting(exploration: Exploration) -> object:
    """The document without what depends on this machine's clock."""
    document = exploration.document()
    for candidate in document["candidates"]:
        del candidate["latency_ns"], candidate["front"]
    return document


def test_usual_levels_are_candidates_and_never_above_the_front(found: Exploration) -> None:
    usual = {c.name: c for c in found.candidates if c.name.startswith("W")}
    assert {name: c.bits for name, c in usual.items()} == {
        "W8": (8, 8, 8, 8),
        "W4": (4, 4, 4, 4),
        "W2": (2, 2, 2, 2),
        "W4 ends 8": (8, 4, 4, 8),
        "W2 ends 8": (8, 2, 2, 8),
    }
    for one in usual.values():
        assert any(c.file_bytes <= one.file_bytes and c.loss <= one.loss for c in found.front)


def test_every_candidate_is_remade_by_quantize(found: Exploration) -> None:
    assert len(found.candidates) >= 5
    for candidate in found.candidates:
        assert nybble.quantize(MODEL, CALIBRATION, recipe=candidate.recipe).model == candidate.model


def test_losses_and_scores_are_those_of_the_models(found: Exploration) -> None:
    for candidate in found.candidates:
        scores = nybble.load(candidate.model)(TEST.transpose(0, 2, 3, 1))
        assert candidate.test is not None
        assert candidate.test.right == int((scores.reshape(30, -1).argmax(axis=1) == LABELS[1]).sum())
    by_size = sorted(found.candidates, key=lambda c: c.file_bytes)
    assert by_size[0].loss > by_size[-1].loss
    assert found.candidates[0].predicted == found.candidates[0].loss


def test_loss_is_of_samples_that_weights_were_not_solved_on() -> None:
    """Every other sample answered by a network that learned from the rest, the divergence by another formula."""
    exploration = explore(MODEL, CALIBRATION, levels=(2,), budget="bytes=100%", candidates=2)
    graph = prepare(import_onnx(MODEL, name="net"), Recipe())
    x, _ = read_samples(CALIBRATION, graph)
    recipe = exploration.chosen.recipe
    ranges = observe(graph, x, recipe)
    wanted = np.array([evaluate_outputs(graph, s, real=True)[0] for s in zip(*x, strict=True)])
    losses, same = [], 0
    for held in (0, 1):
        half = quantize_graph(graph, ranges, recipe, [a[1 - held :: 2] for a in x])
        scores = nybble.load(convert_graph(before_softmax(half)))(x[0][held::2]).astype(np.float64)
        q = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        p = wanted[held::2].reshape(q.shape).astype(np.float64)
        losses += list((p * np.log(p / q)).sum(axis=-1))
        same += int((p.argmax(axis=-1) == q.argmax(axis=-1)).sum())
    assert exploration.chosen.loss == pytest.approx(np.mean(losses), abs=2e-6)
    assert exploration.chosen.calibration.same == same
    whole = nybble.load(exploration.chosen.model)
    assert whole(x[0]).shape[0] == 24


def test_ternary_is_a_level_like_others() -> None:
    override = Override(type="Conv2d", weights=8, granularity="tensor")
    exploration = run(levels=("ternary", 8), recipe=Recipe(method="mse", overrides=(override,)))
    assert exploration.levels == (8, "ternary")
    names = [c.name for c in exploration.candidates]
    assert "Wternary" in names
    assert "Wternary ends 8" in names
    assert len({len(set(c.bits)) for c in exploration.candidates}) == 2
    for one in exploration.candidates:
        assert one.recipe.overrides == (replace(override, weights=None),)
        assert nybble.quantize(MODEL, CALIBRATION, recipe=one.recipe).model == one.model
    json.dumps(exploration.document())


def test_folds_have_no_sample_in_common() -> None:
    samples = np.arange(7, dtype=np.float32)[:, None]
    part = Part((samples[::3],), (samples[::3],), np.arange(3))
    task = Task(None, {}, (samples,), (True,), part, np.arange(0, 7, 3), None)  # type: ignore[arg-type]
    assert task.folds == (2, 1)
    for number, held in ((0, [0, 6]), (1, [3])):
        (solved,), decided = task.fold(number)
        assert decided.inputs[0][:, 0].tolist() == held
        assert sorted([*solved[:, 0], *held]) == list(range(7))
    one = Task(None, {}, (samples[:1],), (True,), part.every(3, 0), np.arange(1), None)  # type: ignore[arg-type]
    assert one.folds == (1,)
    assert len(one.fold(0)[0][0]) == len(one.fold(0)[1]) == 1


def interacting(bits: tuple[int, ...]) -> int:
    """Losses that do not add up: every layer bears 4 bits, but not all of them together."""
    alone = sum({8: 0, 4: 100, 2: 1000 if i == 2 else 5000}[b] for i, b in enumerate(bits))
    return alone + (2000 if bits == (4, 4, 4, 4) else 0)


@pytest.mark.parametrize(
    ("start", "rounds", "bits"), [(8, 0, (4, 4, 4, 4)), (4, 0, (8, 8, 2, 4)), (8, 2, (8, 8, 2, 4))]
)
def test_layers_are_tried_again_around_the_best(
    monkeypatch: pytest.MonkeyPatch, start: int, rounds: int, bits: tuple[int, ...]
) -> None:
    def with_losses(task: Task, work: Work, progress: Progress | None = None) -> tuple[Trial, str]:
        trial, who = try_work(task, work, progress)
        if work.fold is None:
            return trial, who
        tried = [tuple(one.levels(task.graph).values()) for one in (work.recipe, *work.others)]
        return replace(trial, losses=tuple(map(interacting, tried))), who

    monkeypatch.setattr("nybble.measure.workers.try_work", with_losses)
    monkeypatch.setattr("nybble.measure.explore.ROUNDS", rounds)
    monkeypatch.setattr("nybble.measure.explore._Search.nearest", lambda self, budget: self.uniform(start))
    recipe = Recipe(method="mse")
    exploration = explore(MODEL, CALIBRATION, budget="weights=51%", candidates=2, recipe=recipe)
    assert exploration.chosen.bits == bits
    assert exploration.chosen.loss == pytest.approx(interacting(bits) * 1e-6)


def test_layers_are_measured_one_by_one(found: Exploration) -> None:
    assert [layer.kind for layer in found.layers] == ["Conv2d", "DepthwiseConv2d", "Conv2d", "FullyConnected"]
    for layer in found.layers:
        assert layer.loss[8] == 0 < layer.loss[2]
        assert layer.weight_bytes[8] > layer.weight_bytes[4] > layer.weight_bytes[2]
        assert len(layer.operators) == 1


@pytest.mark.parametrize("share", [95, 70, 55])
def test_budget_of_bytes(found: Exploration, share: int) -> None:
    whole = found.candidates[0].file_bytes
    chosen = run(f"bytes={share}%", results=None).chosen
    assert chosen.file_bytes <= whole * share / 100
    assert run(f"bytes={whole * share // 100}").chosen.sha256 == chosen.sha256


def test_budget_of_weights(found: Exploration) -> None:
    chosen = run("weights=50%").chosen
    assert chosen.weight_bytes <= found.candidates[0].weight_bytes // 2


def test_budget_of_points() -> None:
    exploration = run("points=5")
    lost = exploration.chosen.calibration.points_lost()
    assert lost is not None
    assert lost <= 5
    assert exploration.chosen.file_bytes < exploration.candidates[0].file_bytes


def test_few_samples_are_said_to_tell_little() -> None:
    exploration = run("points=5")
    assert "to tell a loss" not in verdict(exploration)
    few = replace(exploration, budget=Budget("points", 0.5))
    count = exploration.chosen.calibration.count
    assert (
        f"One of {count} calibration samples is {100 / count:.3g} points: to tell a loss of 0.5 takes 200"
        in verdict(few)
    )


def test_budget_of_latency(found: Exploration) -> None:
    chosen = run("latency=1s").chosen
    assert chosen.loss == min(c.loss for c in found.candidates)


@pytest.mark.parametrize("budget", ["bytes=10", "latency=1ns"])
def test_budget_that_nothing_meets(budget: str) -> None:
    with pytest.raises(nybble.QuantizationError, match="no candidate meets the budget") as caught:
        run(budget)
    nearest, heads, *rows = str(caught.value).splitlines()
    assert heads.startswith("model ")
    assert {"W8", "W4", "W2"} <= {row.split("  ")[0] for row in rows}
    if budget.startswith("bytes"):
        assert nearest.endswith("the nearest is W2:")


def test_budget_of_points_that_nothing_meets() -> None:
    with pytest.raises(nybble.QuantizationError, match="no candidate loses at most 0 points") as caught:
        explore(MODEL, CALIBRATION, levels=(2,), budget="points=0", candidates=2, recipe=Recipe(method="mse"))
    assert "the nearest is W2 ends 2" not in str(caught.value)
    assert "the nearest is W2:\n" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes=2,",
        "arena=2ms",
        "bytes=",
        "bytes=2ms",
        "latency=2",
        "points=1%",
        "points=-1",
        "size=3",
    ],
)
def test_budget_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected a budget such as"):
        Budget.parse(text)


def test_points_need_classes() -> None:
    with pytest.raises(nybble.QuantizationError, match="a budget of points needs classes"):
        explore(network(head=""), CALIBRATION, candidates=2)


def test_without_classes_the_loss_is_noise() -> None:
    exploration = explore(
        network(head=""), CALIBRATION, budget="bytes=70%", candidates=2, recipe=Recipe(method="mse")
    )
    assert not exploration.classes
    assert exploration.chosen.calibration.same is None
    assert "noise / signal" in exploration.html()


def test_jobs_do_not_matter(found: Exploration) -> None:
    assert lasting(run(jobs=2)) == lasting(found)


def test_dask_does_not_matter(found: Exploration) -> None:
    distributed = pytest.importorskip("distributed", reason="needs nybble[dask]")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        assert lasting(run(dask=cluster.scheduler_address)) == lasting(found)


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
import test_explore
from nybble.measure.results import Results
written, write = [], Results.write
def counting(self, *arguments):
    write(self, *arguments)
    written.append(1)
    if len(written) == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
Results.write = counting
test_explore.run(results={results!r})
"""


@pytest.mark.parametrize("after", [2, 9])
def test_killed_and_resumed(found: Exploration, tmp_path: Path, after: int) -> None:
    program = KILLED.format(
        path=[p for p in (str(Path(__file__).parent), *sys.path) if p], after=after, results=str(tmp_path)
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(kept) == after
    assert lasting(run(results=tmp_path)) == lasting(found)
    for name, content in kept.items():
        assert (tmp_path / name).read_bytes() == content


def test_nothing_is_tried_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(results=tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr("nybble.measure.workers.try_work", refuse)
    monkeypatch.setattr("nybble.measure.task.observe", refuse)
    monkeypatch.setattr("nybble.measure.explore.benchmark", refuse)
    assert run(results=tmp_path).document() == first.document()


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""]
)
def test_damaged_results_are_made_again(tmp_path: Path, found: Exploration, damage: object) -> None:
    run(results=tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert lasting(run(results=tmp_path)) == lasting(found)


def test_results_of_other_samples_do_not_count(tmp_path: Path) -> None:
    store = Results(tmp_path)
    store.write(content_key("a", b"b"), {"x": 1}, b"\n\0")
    assert Results(tmp_path).read(content_key("a", b"b")) == ({"x": 1}, b"\n\0")
    assert Results(tmp_path).read(content_key("ab", b"")) is None


def test_loss_of_equal_answers_is_nothing() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 3))
    assert loss_of(scores, scores, True) == loss_of(scores, scores, False) == 0
    assert loss_of(scores, scores + 1, True) < 1e-12 < loss_of(scores, scores + 1, False)


def test_softmax_in_the_middle_stays() -> None:
    net = Network(0)
    y = net.node("Softmax", net.gemm(net.input([1, 6]), 6, 4))
    graph = import_onnx(net.model(net.gemm(y, 4, 3)), name="net")
    assert [n.op.name for n in before_softmax(graph).nodes] == [n.op.name for n in graph.nodes]


class Page(HTMLParser):
    """Everything of a page that a browser might fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [
            a for a in attrs if a[0] in ("src", "href", "srcset", "data", "action") or a[0][:2] == "on"
        ]


def test_report_needs_nothing_else(found: Exploration) -> None:
    text = found.html()
    page = Page(text)
    assert not page.references
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"https?:|url\(|@import|//[a-z]", text)
    assert page.tags.count("svg") == 4
    for candidate in found.candidates:
        assert f"{candidate.file_bytes:,}" in text


def test_report_is_the_same_for_the_same_exploration(found: Exploration) -> None:
    assert found.html() == found.html()
    assert found.chosen.name in found.table()


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HEADLESS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
]
HEADLESS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.mark.skipif(BROWSER is None, reason="no chromium here to look at the report with")
def test_report_in_a_browser(found: Exploration, tmp_path: Path) -> None:
    """On a phone: light and dark differ, neither is blank, and nothing is wider than the window."""
    image = pytest.importorskip("PIL.Image", reason="needs nybble[image]")
    page = tmp_path / "report.html"
    # The page says in its title how wide it is: the one thing that a picture does not show.
    measure = (
        "<script>document.title = document.documentElement.scrollWidth + '/' + innerWidth</script></body>"
    )
    page.write_text(found.html().replace("</body>", measure), "utf-8")
    command = [
        str(BROWSER),
        *HEADLESS,
        "--window-size=500,2400",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    pictures = []
    for scheme in ("1", "0"):
        picture = tmp_path / f"{scheme}.png"
        arguments = [
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--screenshot={picture}",
            page.as_uri(),
        ]
        subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=120)
        pictures.append(np.asarray(image.open(picture).convert("L"), np.int64))
    light, dark = pictures
    assert light.mean() > 200 > 80 > dark.mean()
    assert min(light.std(), dark.std()) > 5
    dump = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], check=True, capture_output=True, timeout=120
    )
    title = re.search(r"<title>(\d+)/(\d+)</title>", dump.stdout.decode())
    assert title is not None
    assert int(title[1]) <= int(title[2])


def test_png(found: Exploration) -> None:
    pytest.importorskip("matplotlib", reason="needs nybble[plot]")
    assert found.png()[:4] == b"\x89PNG"


def test_memory_plan_is_that_of_the_file(found: Exploration) -> None:
    plan = read_plan(found.chosen.model)
    session = nybble.load(found.chosen.model)
    assert plan.arena == session.activation_bytes
    assert plan.operators == len(session.layers())
    names = {place.name for place in plan.places}
    assert {layer.output.name for layer in session.layers()} <= names
    for a in plan.places:
        assert a.offset + a.size <= plan.arena
        for b in plan.places:
            apart = a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
            meet = min(a.last, b.last) - max(a.first, b.first)
            assert a is b or apart or meet <= 0


def test_command(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(MODEL)
    np.savez(tmp_path / "calib.npz", x=CALIBRATION, y=LABELS[0])
    np.savez(tmp_path / "test.npz", x=TEST, y=LABELS[1])
    out = tmp_path / "out.nyb"
    command = ["explore", str(tmp_path / "net.onnx"), "--data", str(tmp_path / "calib.npz")]
    command += ["--test", str(tmp_path / "test.npz"), "--candidates", "3", "--budget", "bytes=70%"]
    (tmp_path / "quick.yaml").write_text("method: mse")
    command += ["--recipe", str(tmp_path / "quick.yaml"), "-o", str(out)]
    place = tmp_path / "net.explore"
    (place / "recipes").mkdir(parents=True)
    (place / "recipes/mixed-99.yaml").write_text("of an exploration before")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    document = json.loads((place / "explore.json").read_text())
    chosen = next(c for c in document["candidates"] if c["chosen"])
    assert out.stat().st_size == chosen["file_bytes"]
    assert "W8" in result.output
    assert (place / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert len(list((place / "recipes").iterdir())) == len(document["candidates"])
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 1
    assert "--force overwrites it" in again.output


@pytest.mark.parametrize("levels", ["3", "8,x", ""])
def test_command_refuses_levels(tmp_path: Path, levels: str) -> None:
    (tmp_path / "net.onnx").write_bytes(MODEL)
    np.savez(tmp_path / "calib.npz", x=CALIBRATION)
    command = [
        "explore",
        str(tmp_path / "net.onnx"),
        "--data",
        str(tmp_path / "calib.npz"),
        "--levels",
        levels,
    ]
    assert CliRunner().invoke(main, command).exit_code in (1, 2)


def test_recipe_holds_for_every_candidate() -> None:
    overrides = (Override(type="Conv2d", weights=2), Override(type="Conv2d", activations=4))
    exploration = run(
        "bytes=70%",
        recipe=Recipe(4, activations=8, calibration="percentile", method="mse", overrides=overrides),
    )
    assert {c.name for c in exploration.candidates} >= {"W8", "W4", "W2"}
    for candidate in exploration.candidates:
        assert candidate.recipe.calibration == "percentile"
        assert candidate.recipe.overrides == overrides[1:]
        assert nybble.quantize(MODEL, CALIBRATION, recipe=candidate.recipe).model == candidate.model


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="levels"):
        explore(MODEL, CALIBRATION, levels=())
    with pytest.raises(ValueError, match="at least 1 of jobs"):
        explore(MODEL, CALIBRATION, jobs=0)
    with pytest.raises(ValueError, match="labels"):
        explore(MODEL, CALIBRATION, labels=[1, 2])
