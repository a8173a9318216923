# SPDX-License-Identifier: Apache-2.0
"""What bench --explain makes of measured times; no test depends on how fast this machine is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nybble
from models.small import small_graph
from nybble.convert import convert_graph
from nybble.measure import explain as explain_module
from nybble.measure.bench import Benchmark, LayerTime, Times
from nybble.measure.explain import Ceiling, Explanation, explain, measure_ceiling
from nybble.session import Layer, Port

CONV = nybble.load(convert_graph(small_graph())).layers()[0]


def port(*shape: int) -> Port:
    return Port("t", shape, np.dtype(np.int8), 0.1, 0, False)


def layer(
    kind: str, output: Port, depth: int, *, variant: str = "w8_simd", weight_bytes: int = 1 << 20
) -> Layer:
    macs = int(np.prod(output.shape)) * depth
    return replace(CONV, kind=kind, variant=variant, output=output, macs=macs, weight_bytes=weight_bytes)


def explained(monkeypatch: pytest.MonkeyPatch, *layers: Layer, gmacs: float, threads: int = 1) -> Explanation:
    """Each layer at this speed, and equal shares; kernels reach 100 GMAC/s."""
    monkeypatch.setattr(
        explain_module, "measure_ceiling", lambda family, bits, cpu: Ceiling(family, bits, "w8_simd", 100.0)
    )
    times = tuple(LayerTime(one, one.macs / gmacs or 1.0, 1 / len(layers)) for one in layers)
    return explain(Benchmark(1, Times(1, 1, 1), times, 0), threads=threads)


def advice(monkeypatch: pytest.MonkeyPatch, one: Layer, gmacs: float = 10) -> str:
    return explained(monkeypatch, one, gmacs=gmacs).operators[0].advice


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_ceiling_is_that_of_the_variant_that_runs(bits: int) -> None:
    ceiling = measure_ceiling("gemm", bits)
    assert ceiling.gmacs_per_second > 0
    assert ceiling.variant == nybble.load(convert_graph(small_graph(bits))).layers()[0].variant
    assert measure_ceiling("depthwise", bits).gmacs_per_second > 0


def test_shares_of_the_ceiling_count_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = layer("Conv2d", port(1, 8, 8, 64), 512)
    assert explained(monkeypatch, conv, gmacs=90).operators[0].ceiling_share == pytest.approx(0.9)
    assert explained(monkeypatch, conv, gmacs=90, threads=2).operators[0].ceiling_share == pytest.approx(0.45)


def test_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    good = layer("Conv2d", port(1, 8, 8, 64), 512)
    assert advice(monkeypatch, good, 90) == advice(monkeypatch, good, 40) == ""
    assert "4 bits" in advice(monkeypatch, layer("FullyConnected", port(1, 128), 640))
    assert advice(monkeypatch, layer("FullyConnected", port(1, 128), 640), 90) == ""
    assert advice(monkeypatch, layer("FullyConnected", port(1, 128), 640, weight_bytes=1000)) == ""
    assert "fewer than 32" in advice(monkeypatch, layer("Conv2d", port(1, 8, 8, 64), 27))
    assert "multiple of 8" in advice(monkeypatch, layer("Conv2d", port(1, 8, 8, 9), 512))
    assert advice(monkeypatch, layer("Conv2d", port(1, 8, 8, 65), 512)) != ""
    assert "though this CPU has w8_simd" in advice(monkeypatch, replace(good, variant="w8_scalar"))
    add = replace(good, kind="Add", variant="scalar", macs=0, weight_bits=0, weight_bytes=0)
    assert "Add in scalar code" in advice(monkeypatch, add)


def test_advice_is_grouped_and_small_shares_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = layer("FullyConnected", port(1, 128), 640)
    narrow = layer("Conv2d", port(1, 8, 8, 64), 27)
    found = explained(monkeypatch, narrow, dense, dense, gmacs=10).advice()
    assert [(text.split()[0], len(operators)) for text, operators in found.items()] == [
        ("few", 2),
        ("sums", 1),
    ]
    many = explained(
        monkeypatch, narrow, *[replace(dense, kind="Conv2d", output=port(1, 8, 8, 8))] * 99, gmacs=45
    )
    assert not any(text.startswith("sums of fewer") for text in many.advice())
