# SPDX-License-Identifier: Apache-2.0
"""What a model is and what it costs, without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..session import Layer, Port, Session


@dataclass(frozen=True)
class Summary:
    """Totals of a model.

    macs: multiply-accumulates of one invocation. weight_bytes: packed weights as the file stores them.
    activation_bytes: the arena's part that activations take; session_bytes: the whole arena.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layers: tuple[Layer, ...]
    macs: int
    weight_bytes: int
    activation_bytes: int
    session_bytes: int

    def document(self) -> Mapping[str, Any]:
        """The same as JSON values."""
        return {
            "inputs": [_port_document(p) for p in self.inputs],
            "outputs": [_port_document(p) for p in self.outputs],
            "operators": [_layer_document(layer) for layer in self.layers],
            "macs": self.macs,
            "weight_bytes": self.weight_bytes,
            "activation_bytes": self.activation_bytes,
            "session_bytes": self.session_bytes,
        }


def summarize(session: Session) -> Summary:
    """The summary of a session's model."""
    layers = session.layers()
    return Summary(
        session.inputs,
        session.outputs,
        layers,
        sum(layer.macs for layer in layers),
        sum(layer.weight_bytes for layer in layers),
        session.activation_bytes,
        session.arena_bytes,
    )


def port_bytes(port: Port) -> int:
    """Bytes of one sample."""
    return int(np.prod(port.shape, dtype=np.int64)) * port.dtype.itemsize


def _port_document(port: Port) -> Mapping[str, Any]:
    return {
        "name": port.name,
        "shape": list(port.shape),
        "dtype": str(port.dtype),
        "scale": port.scale,
        "zero_point": port.zero_point,
        "real": port.real,
        "bytes": port_bytes(port),
    }


def _layer_document(layer: Layer) -> Mapping[str, Any]:
    return {
        "index": layer.index,
        "kind": layer.kind,
        "variant": layer.variant,
        "name": layer.name,
        "output": _port_document(layer.output),
        "macs": layer.macs,
        "weight_bits": layer.weight_bits,
        "weight_bytes": layer.weight_bytes,
    }
