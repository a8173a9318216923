# SPDX-License-Identifier: Apache-2.0
"""Write one convolution with and without scale groups, to count its instructions.

    python benchmarks/scale_groups.py FOLDER
    python tools/count_instructions.py pi-3 pi-5 --models FOLDER/conv_*.nyb

3x3, 64 channels to 64, on 16x16 pixels: 9.4 million multiply-accumulates; random weights of 4 and 2 bits, one scale
per channel (_0) or a factor for every 128 or 32 k.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from nybble import ops
from nybble.convert import convert_graph, write_whole
from nybble.graph import DType, Graph, Node, Port, Quantization, Rounding, ScaleGroups, Tensor


def convolution(dtype: DType, group: int) -> Graph:
    """The network; group: k that share a factor, 0 for none."""
    rng = np.random.default_rng(0)
    values = rng.integers(dtype.lowest, dtype.highest + 1, (64, 3, 3, 64)).astype(np.int8)
    groups = None
    if group:
        factors = rng.integers(1, 128, (64, -(-values[0].size // group))).astype(np.int8)
        groups = ScaleGroups(group, factors)
    shape = (1, 16, 16, 64)
    tensors = (
        Tensor("x", DType.INT8, shape, Quantization.per_tensor(1.0, 0)),
        Tensor("w", dtype, values.shape, Quantization((0.01,) * 64, (0,) * 64, 0, groups), values),
        Tensor("y", DType.INT8, shape, Quantization.per_tensor(100.0, 0)),
    )
    op = ops.Conv2d(ops.Window((3, 3), (1, 1), (1, 1), ((1, 1), (1, 1))), rounding=Rounding.SINGLE)
    node = Node(op, ("x", "w"), ("y",))
    return Graph({t.name: t for t in tensors}, (node,), (Port("x", "x"),), (Port("y", "y"),))


def main() -> None:
    """Write the six models."""
    folder = Path(sys.argv[1])
    for dtype in (DType.INT4, DType.INT2):
        for group in (0, 128, 32):
            write_whole(
                folder / f"conv_{dtype.value.lower()}_{group}.nyb", convert_graph(convolution(dtype, group))
            )


if __name__ == "__main__":
    main()
