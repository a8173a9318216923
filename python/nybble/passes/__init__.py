# SPDX-License-Identifier: Apache-2.0
"""Passes over graphs, in the order in which they run; the graph is checked after each."""

from __future__ import annotations

from ..graph import Graph
from .absorb_transpose import absorb_transpose
from .affine import scalars_to_affine
from .fold_affine import fold_affine
from .fuse_activation import fuse_activation
from .fuse_padding import fuse_padding
from .hard_swish import to_hard_swish
from .mean_of_all import mean_of_all
from .per_channel import per_channel_to_depthwise
from .remove_identities import remove_identities
from .remove_unread import remove_unread
from .shift_to_int8 import shift_to_int8
from .split_log_softmax import split_log_softmax
from .to_pointwise import to_pointwise

#: Over integer graphs, before they are compiled.
PIPELINE = (shift_to_int8, fuse_padding, remove_unread)

#: Over float graphs, before they are quantized. Folding runs again where a pass makes new
#: opportunities.
FLOAT_PIPELINE = (
    remove_identities,
    scalars_to_affine,
    fold_affine,
    to_hard_swish,
    to_pointwise,
    split_log_softmax,
    per_channel_to_depthwise,
    fold_affine,
    remove_identities,
    mean_of_all,
    fuse_activation,
    fuse_padding,
    absorb_transpose,
    remove_identities,
)


def run_passes(graph: Graph) -> Graph:
    """Make an integer graph one that the compiler takes: the same bits."""
    for step in PIPELINE:
        graph = step(graph)
    return graph


def prepare_float(graph: Graph) -> Graph:
    """Make a float graph fit to be quantized: the same function, up to float32's rounding, in fewer
    operators.
    """
    for step in FLOAT_PIPELINE:
        graph = step(graph)
    return graph
