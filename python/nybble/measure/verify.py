# SPDX-License-Identifier: Apache-2.0
"""Proof that this machine computes the bits of a model, on any CPU level and number of threads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..graph import ModelError
from ..session import Session, load_nyb
from .stimulus import stimuli

#: Random samples that the digest covers, besides the two extreme ones.
RANDOM_SAMPLES = 2


@dataclass(frozen=True)
class Verification:
    """One way to run a model. fault: '' where every bit is right. digest: of the outputs, hexadecimal."""

    cpu: str
    threads: int
    digest: str
    fault: str


def output_digest(session: Session) -> str:
    """SHA-256 of the outputs (little endian, in order) for the stimuli; equal on all machines."""
    digest = hashlib.sha256()
    for inputs in stimuli(session.inputs, RANDOM_SAMPLES):
        for output in session.run(inputs):
            digest.update(np.ascontiguousarray(output, output.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def has_golden(model: Path | bytes) -> bool:
    """Whether a .nyb model has golden digests to compare with."""
    return load_nyb(model, cpu="scalar").has_golden


def verify_everywhere(
    model: Path | bytes, levels: Iterable[str], threads: Sequence[int]
) -> Iterator[Verification]:
    """Verify a .nyb model on every CPU level with every number of threads.

    Each proves the file (:meth:`Session.verify`: hash, certificates, golden digests), and its outputs
    for the stimuli are compared with those of scalar code on one thread. Raises ModelError where the
    model cannot be opened.
    """
    expected = output_digest(load_nyb(model, cpu="scalar"))
    for cpu in levels:
        for count in threads:
            session = load_nyb(model, cpu=cpu, threads=count)
            digest = output_digest(session)
            yield Verification(cpu, count, digest, _fault(session, digest, expected))


def _fault(session: Session, digest: str, expected: str) -> str:
    try:
        session.verify()
    except ModelError as error:
        return str(error)
    return "" if digest == expected else f"expected the outputs of scalar code, {expected[:16]}"
