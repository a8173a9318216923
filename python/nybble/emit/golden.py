# SPDX-License-Identifier: Apache-2.0
"""Golden inputs and what every operator answers to them, so that a device can prove itself bit by bit.

The answers come from the operators' meaning in numpy (``graph.evaluate``), so that full verification on any
machine proves the C core of that machine equal to the meaning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..compile import Compiled
from ..graph import Array, DType, Tensor, evaluate

#: Networks of more multiply-accumulates and elements get no golden section unless asked for; numpy takes about a
#: second for as many.
AUTOMATIC_MACS = 400_000_000


def golden_input(tensor: Tensor, index: int) -> Array:
    """Values over the full range of the tensor's type, the same on every machine and with every numpy.

    The elements are the bytes of SHA-256("nybble golden input" + index + block) for block = 0, 1, ...,
    index and block as 8 bytes each, little endian. A type of fewer values takes a byte modulo their number.
    """
    seed = b"nybble golden input" + index.to_bytes(8, "little")
    blocks = range(-(-tensor.nbytes // hashlib.sha256().digest_size))
    stream = b"".join(hashlib.sha256(seed + block.to_bytes(8, "little")).digest() for block in blocks)
    raw = np.frombuffer(stream[: tensor.nbytes], tensor.dtype.numpy.newbyteorder("<")).reshape(tensor.shape)
    if _takes_every_byte(tensor.dtype):
        return raw.astype(tensor.dtype.numpy)
    span = tensor.dtype.highest - tensor.dtype.lowest + 1
    small = raw.view(np.uint8).astype(np.int64) % span
    return (small + tensor.dtype.lowest).astype(tensor.dtype.numpy)


def _takes_every_byte(dtype: DType) -> bool:
    """Whether every pattern of bytes is a value of the type."""
    return dtype.highest - dtype.lowest + 1 == 1 << 8 * dtype.numpy.itemsize


def _bytes(array: Array, tensor: Tensor) -> bytes:
    return array.astype(tensor.dtype.numpy.newbyteorder("<")).tobytes()


def golden_fields(compiled: Compiled, wanted: bool | None = None) -> Mapping[str, Any] | None:
    """The fields of the Golden table: the digest of each operator's output, and the inputs' bytes where the core
    cannot make them itself (golden_input of a type that takes every byte needs no storage).

    A digest is the first 8 bytes, little endian, of SHA-256. wanted: None leaves it to the size of the
    network (AUTOMATIC_MACS). Returns None where there is to be no table.
    """
    graph = compiled.graph
    work = sum(n.op.macs(graph.inputs_of(n), graph.outputs_of(n)) for n in graph.nodes)
    work += sum(tensor.size for tensor in graph.tensors.values())
    if not (work <= AUTOMATIC_MACS if wanted is None else wanted):
        return None
    tensors = [graph.tensors[port.tensor] for port in graph.inputs]
    inputs = [golden_input(tensor, i) for i, tensor in enumerate(tensors)]
    values = evaluate(graph, inputs)
    digests = [
        hashlib.sha256(_bytes(values[node.outputs[0]], graph.tensors[node.outputs[0]])).digest()[:8]
        for node in compiled.nodes
    ]
    fields = {"digests": np.array([int.from_bytes(d, "little") for d in digests], np.uint64)}
    if not all(_takes_every_byte(tensor.dtype) for tensor in tensors):
        fields["inputs"] = np.frombuffer(b"".join(map(_bytes, inputs, tensors)), np.uint8)
    return fields
