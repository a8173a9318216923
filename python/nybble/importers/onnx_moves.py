# SPDX-License-Identifier: Apache-2.0
"""Rules of operators that move elements, and of resizing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from .. import ops
from ..graph import Array, DType, ModelError, Operator, Tensor
from .onnx_builder import CHANNELS_LAST, Builder
from .onnx_node import OnnxNode, axes_of, axis_of, rule, without
from .refusal import Refusal


@rule("Transpose")
def _transpose(g: Builder, node: OnnxNode) -> None:
    value = g.value(node.x)
    rank = len(value.order)
    given = [int(a) for a in node.get("perm", range(rank)[::-1])]
    if sorted(given) != list(range(rank)):
        raise ModelError(f"{node.label}: expected an order of {rank} axes, found {given}")
    g.define(node.y, value.tensor, tuple(given.index(axis) for axis in value.order))


@rule("Identity", "Dropout", "Cast")
def _identity(g: Builder, node: OnnxNode) -> None:
    if any(node.outputs[1:]):
        raise Refusal("the mask of a dropout", "export the network for inference")
    value = g.value(node.x)
    if node.kind == "Cast" and (
        node.get("to", 1) not in (1, 10, 11) or g.tensors[value.tensor].dtype is not DType.FLOAT32
    ):
        raise Refusal("a cast to another kind of number", "cut the network before it")
    g.values[node.y] = value


def _to_shape(g: Builder, node: OnnxNode, shape: tuple[int, ...]) -> None:
    if math.prod(shape) != math.prod(g.shape(node.x)):
        raise ModelError(f"{node.label}: {g.shape(node.x)} cannot be reshaped to {shape}")
    x = g.plain(node.x, node.label)
    dtype = g.tensors[x].dtype
    g.define(node.y, g.emit(ops.Reshape(shape), [x], node.y, node.label, dtype))


@rule("Reshape")
def _reshape(g: Builder, node: OnnxNode) -> None:
    old = g.shape(node.x)
    given = g.integers(node.inputs[1]) if node.input(1) else [int(n) for n in node.get("shape", [])]
    if not node.get("allowzero", 0):
        given = [old[i] if n == 0 and i < len(old) else n for i, n in enumerate(given)]
    if -1 in given:
        rest = math.prod(n for n in given if n != -1)
        given[given.index(-1)] = math.prod(old) // max(rest, 1)
    _to_shape(g, node, tuple(given))


@rule("Flatten")
def _flatten(g: Builder, node: OnnxNode) -> None:
    shape = g.shape(node.x)
    axis = int(node.get("axis", 1))
    axis = axis + len(shape) if axis < 0 else axis
    _to_shape(g, node, (math.prod(shape[:axis]), math.prod(shape[axis:])))


@rule("Squeeze")
def _squeeze(g: Builder, node: OnnxNode) -> None:
    value, shape = g.value(node.x), g.shape(node.x)
    axes = axes_of(g, node, len(shape))
    if axes is None:
        axes = tuple(i for i, n in enumerate(shape) if n == 1)
    held = tuple(shape[axis] for axis in value.order if axis not in axes)
    if math.prod(held) != math.prod(shape):
        raise ModelError(f"{node.label}: axes {axes} of {shape} are not all 1")
    dtype = g.tensors[value.tensor].dtype
    y = g.emit(ops.Reshape(held), [value.tensor], node.y, node.label, dtype)
    g.define(node.y, y, without(value.order, axes))


@rule("Unsqueeze")
def _unsqueeze(g: Builder, node: OnnxNode) -> None:
    value, shape = g.value(node.x), g.shape(node.x)
    given = g.integers(node.input(1)) if node.input(1) else node.get("axes", ())
    rank = len(shape) + len(given)
    axes = {axis_of(node, int(axis), rank) for axis in given}
    old = [axis for axis in range(rank) if axis not in axes]
    held = (*(1 for _ in axes), *(shape[axis] for axis in value.order))
    dtype = g.tensors[value.tensor].dtype
    y = g.emit(ops.Reshape(held), [value.tensor], node.y, node.label, dtype)
    g.define(node.y, y, (*sorted(axes), *(old[axis] for axis in value.order)))


@rule("Expand")
def _expand(g: Builder, node: OnnxNode) -> None:
    shape = tuple(np.broadcast_shapes(g.shape(node.x), tuple(g.integers(node.inputs[1]))))
    x = g.plain(node.x, node.label)
    g.define(node.y, g.emit(ops.BroadcastTo(shape), [x], node.y, node.label))


@rule("Concat")
def _concat(g: Builder, node: OnnxNode) -> None:
    axis = axis_of(node, int(node.get("axis", 1)), len(g.shape(node.x)))
    operands, order = g.aligned(node.inputs, node.label)
    y = g.emit(ops.Concat(order.index(axis)), operands, node.y, node.label)
    g.define(node.y, y, order)


_WHOLE = (None, None, 1)


def _sliced(g: Builder, node: OnnxNode, axis: int, part: ops.move.Part, output: str) -> None:
    """One part of an axis, or one position, which drops the axis."""
    value = g.value(node.x)
    index = (*[_WHOLE] * value.order.index(axis), part)
    y = g.emit(ops.Slice(index), [value.tensor], output, node.label)
    dropped = (axis,) if isinstance(part, int) else ()
    g.define(output, y, without(value.order, dropped))


@rule("Slice")
def _slice(g: Builder, node: OnnxNode) -> None:
    value, shape = g.value(node.x), g.shape(node.x)
    if node.input(1):
        starts, ends = g.integers(node.inputs[1]), g.integers(node.inputs[2])
        axes = g.integers(node.input(3)) if node.input(3) else list(range(len(starts)))
        steps = g.integers(node.input(4)) if node.input(4) else [1] * len(starts)
    else:
        starts, ends = list(node.get("starts", [])), list(node.get("ends", []))
        axes, steps = list(node.get("axes", range(len(starts)))), [1] * len(starts)
    parts: list[ops.move.Part] = [_WHOLE] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise ModelError(f"{node.label}: expected steps other than 0")
        at = axis_of(node, axis, len(shape))
        first, last, _ = slice(start, end, step).indices(shape[at])
        parts[at] = (first, None if last < 0 else last, step)
    held = tuple(parts[axis] for axis in value.order)
    g.define(node.y, g.emit(ops.Slice(held), [value.tensor], node.y, node.label), value.order)


@rule("Split")
def _split(g: Builder, node: OnnxNode) -> None:
    shape = g.shape(node.x)
    axis = axis_of(node, int(node.get("axis", 0)), len(shape))
    sizes = g.integers(node.input(1)) if node.input(1) else node.get("split", None)
    if sizes is None:
        part = -(-shape[axis] // len(node.outputs))
        sizes = [min(part, shape[axis] - i * part) for i in range(len(node.outputs))]
    if sum(sizes) != shape[axis] or len(sizes) != len(node.outputs) or min(sizes) < 1:
        raise ModelError(f"{node.label}: parts of {list(sizes)} along axis {axis} of {shape}")
    begin = 0
    for output, size in zip(node.outputs, sizes, strict=True):
        if output:
            _sliced(g, node, axis, (begin, begin + int(size), 1), output)
        begin += int(size)


@rule("Gather")
def _gather(g: Builder, node: OnnxNode) -> None:
    shape = g.shape(node.x)
    axis = axis_of(node, int(node.get("axis", 0)), len(shape))
    chosen = g.array(node.inputs[1]).astype(np.int64)
    flat = [int(i) for i in chosen.reshape(-1)]
    if not flat or not all(-shape[axis] <= i < shape[axis] for i in flat):
        raise ModelError(f"{node.label}: expected positions of an axis of {shape[axis]}, found {flat[:6]}")
    flat = [i % shape[axis] for i in flat]
    if chosen.ndim == 0:
        _sliced(g, node, axis, flat[0], node.y)
        return
    value = g.value(node.x)
    y = g.taken(value.tensor, value.order.index(axis), flat, node.y, node.label)
    g.define(node.y, y, value.order)
    if chosen.ndim > 1:
        plain = g.plain(node.y, node.label)
        g.define(node.y, g.reshaped(plain, (*shape[:axis], *chosen.shape, *shape[axis + 1 :]), node.label))


@rule("DepthToSpace", "SpaceToDepth")
def _depth_and_space(g: Builder, node: OnnxNode) -> None:
    block = int(node.get("blocksize", 0))
    x = g.image(node.x, node.label)
    n, height, width, channels = g.tensors[x].shape
    rank = len(g.shape(node.x))
    to_space = node.kind == "DepthToSpace"
    fits = (
        channels % block**2 == 0
        if to_space and block > 0
        else block > 0 and not (height % block or width % block)
    )
    if rank != 4 or not fits:
        raise ModelError(f"{node.label}: blocks of {block} of an input {g.shape(node.x)}")
    if to_space:
        deep = channels // block**2
        column_row = node.text("mode", "DCR") == "CRD"
        split: tuple[int, ...] = (
            n * height,
            width,
            *((deep, block, block) if column_row else (block, block, deep)),
        )
        order = (0, 3, 1, 4, 2) if column_row else (0, 2, 1, 3, 4)
        target = (n, height * block, width * block, deep)
    else:
        split, order = (n * height // block, block, width // block, block, channels), (0, 2, 1, 3, 4)
        target = (n, height // block, width // block, channels * block**2)
    y = g.emit(ops.Transpose(order), [g.reshaped(x, split, node.label)], f"{node.y}/blocks", node.label)
    g.define_image(node.y, g.reshaped(y, target, node.label), 4, node.label)


@rule("Pad")
def _pad(g: Builder, node: OnnxNode) -> None:
    mode = node.text("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise ModelError(f"{node.label}: unknown mode {mode!r}")
    value, shape = g.value(node.x), g.shape(node.x)
    pads = g.integers(node.inputs[1]) if node.input(1) else [int(p) for p in node.get("pads", [])]
    axes = g.integers(node.input(3)) if node.input(3) else list(range(len(shape)))
    if len(pads) != 2 * len(axes):
        raise ModelError(f"{node.label}: borders {pads} of an input {shape}")
    before, after = [0] * len(shape), [0] * len(shape)
    for i, axis in enumerate(axes):
        at = axis_of(node, axis, len(shape))
        before[at], after[at] = pads[i], pads[len(axes) + i]
    y = value.tensor
    if min(pads, default=0) < 0:  # what is cut off; nothing else sees it
        if any(n + min(b, 0) + min(a, 0) < 1 for n, b, a in zip(shape, before, after, strict=True)):
            raise ModelError(f"{node.label}: borders {pads} of an input {shape}")
        kept = tuple((max(-before[a], 0), shape[a] + min(after[a], 0), 1) for a in value.order)
        y = g.emit(ops.Slice(kept), [y], f"{node.y}/kept", node.label)
        shape = tuple(n + min(b, 0) + min(a, 0) for n, b, a in zip(shape, before, after, strict=True))
        before, after = [max(n, 0) for n in before], [max(n, 0) for n in after]
    if mode != "constant":
        for i, axis in enumerate(value.order):
            if before[axis] or after[axis]:
                row = np.pad(np.arange(shape[axis]), (before[axis], after[axis]), mode)  # type: ignore[call-overload]
                y = g.taken(y, i, row.tolist(), node.y, node.label)
        g.define(node.y, y, value.order)
        return
    border = float(g.array(node.input(2)).item()) if node.input(2) else float(node.get("value", 0.0))
    inputs = [y]
    if border:
        inputs.append(g.add_constant(f"{node.y}/border", np.array([border])))
    op = ops.Pad(tuple(before[a] for a in value.order), tuple(after[a] for a in value.order))
    g.define(node.y, g.emit(op, inputs, node.y, node.label), value.order)


# Resizing


def _coordinates(node: OnnxNode, n: int, out: int, scale: np.float32) -> Array:
    """Where each output row lies in the input, in float32 and in the order of ONNX Runtime (GetOriginalCoordinate in
    upsamplebase.h): ties of nearest depend on both. What the modes mean: Resize in docs/Operators.md.
    """
    i = np.arange(out, dtype=np.float32)
    half = np.float32(0.5)
    mode = node.text("coordinate_transformation_mode", "half_pixel" if node.opset >= 11 else "asymmetric")
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * np.float32(n - 1) / np.float32(out - 1) if out > 1 else i * 0
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and out > 1):
        return (i + half) / scale - half
    if mode == "pytorch_half_pixel":
        return i * 0
    if mode == "half_pixel_symmetric":  # the same margin on both sides; from there on in float64
        adjustment = np.float32(out) / (scale * np.float32(n))
        offset = np.float32(n) * half * (np.float32(1) - adjustment)
        at = np.float64(offset) + (i.astype(np.float64) + 0.5) / np.float64(scale) - 0.5
        return at.astype(np.float32)
    raise Refusal(f"the coordinates {mode!r}", "use half_pixel, asymmetric or align_corners")


#: A coordinate so near to the middle of two rows lies there for ONNX Runtime: what its float32 loses is less.
_TIE = 1e-6


def _past_half(at: Array) -> Array:
    """How far coordinates lie behind the middle between the row before them and the next."""
    exact = at.astype(np.float64)
    past: Array = exact - np.floor(exact) - 0.5
    return past


#: How coordinates become rows.
_NEAREST: Mapping[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda at: np.floor(at) + (_past_half(at) >= _TIE),
    "round_prefer_ceil": lambda at: np.floor(at) + (_past_half(at) > -_TIE),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _rows(node: OnnxNode, n: int, out: int, scale: np.float32, nearest: bool) -> Array:
    """The row (or the place between two rows) that each output row shows."""
    at = _coordinates(node, n, out, scale)
    if nearest:
        mode = node.text("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor")
        if mode not in _NEAREST:
            raise ModelError(f"{node.label}: unknown nearest_mode {mode!r}")
        at = _NEAREST[mode](at)
    return np.clip(at, 0, n - 1)


def _target(g: Builder, node: OnnxNode, shape: tuple[int, ...]) -> tuple[list[int], list[np.float32]]:
    """(size, factor) of each axis of the result, in float32 as ONNX Runtime has them."""
    named = [axis_of(node, int(a), len(shape)) for a in node.get("axes", range(len(shape)))]
    target, factors = list(shape), [np.float32(1)] * len(shape)
    scales = node.input(1) if node.kind == "Upsample" or node.opset < 11 else node.input(2)
    if node.input(3):
        sizes = g.integers(node.input(3))
        wanted = [np.float32(size) / np.float32(shape[a]) for a, size in zip(named, sizes, strict=True)]
        policy = node.text("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            factor = min(wanted) if policy == "not_larger" else max(wanted)
            wanted = [factor] * len(wanted)
            sizes = [math.floor(float(np.float32(shape[axis]) * factor) + 0.5) for axis in named]
    else:
        given = g.array(scales).reshape(-1) if scales else np.array(node.get("scales", []))
        wanted = list(given.astype(np.float32))
        if not all(0 < factor < math.inf for factor in wanted):
            raise ModelError(f"{node.label}: expected finite factors above 0, found {given.tolist()}")
        sizes = [int(np.float32(shape[a]) * factor) for a, factor in zip(named, wanted, strict=True)]
    for axis, size, factor in zip(named, sizes, wanted, strict=True):
        target[axis], factors[axis] = size, factor
    if min(target) < 1:
        raise ModelError(f"{node.label}: expected sizes of at least 1, found {target} for an input {shape}")
    return target, factors


@rule("Resize", "Upsample")
def _resize(g: Builder, node: OnnxNode) -> None:
    shape = g.shape(node.x)
    rank, mode = len(shape), node.text("mode", "nearest")
    if mode not in ("nearest", "linear") or rank not in CHANNELS_LAST:
        raise Refusal(f"{mode} resizing of {rank} dimensions", "use nearest or linear on images")
    target, factors = _target(g, node, shape)
    if tuple(target[:2]) != shape[:2]:
        raise Refusal(f"resizing of {shape} to {target}", "only height and width can be resized")
    if tuple(target) == shape:  # whatever the factors say
        g.values[node.y] = g.value(node.x)
        return
    if node.get("antialias", 0) and min(factors) < 1:
        raise Refusal("antialiasing", "resize without it")
    extent, size, scale = shape[2:], target[2:], factors[2:]
    if rank == 3:
        extent, size, scale = (1, *extent), [1, *size], [np.float32(1), *scale]
    nearest = mode == "nearest"
    x = g.image(node.x, node.label)
    wanted = [_rows(node, n, t, f, nearest) for n, t, f in zip(extent, size, scale, strict=True)]
    kind = ops.ResizeNearest if nearest else ops.ResizeBilinear
    for align, half in ((False, False), (False, True), (True, False)):
        op = kind((size[0], size[1]), align, half)
        if all(np.allclose(_shown(op, g.tensors[x], i), rows, atol=1e-4) for i, rows in enumerate(wanted)):
            g.define_image(node.y, g.emit(op, [x], node.y, node.label), rank, node.label)
            return
    if not nearest:
        raise Refusal(
            "coordinates between pixels of another kind",
            "use half_pixel or align_corners, with sizes instead of factors",
        )
    for i, rows in enumerate(wanted):
        x = g.taken(x, 1 + i, [int(row) for row in rows], node.y, node.label)
    g.define_image(node.y, x, rank, node.label)


def _shown(op: Operator, x: Tensor, axis: int) -> Array:
    """Which row (axis 0) or column (axis 1) of x each one of the output shows, found on a ramp."""
    ramp = np.arange(x.shape[1 + axis], dtype=np.float32)
    image = np.broadcast_to(ramp[:, None] if axis == 0 else ramp, x.shape[1:3])[None, :, :, None]
    shown: Array = op.real([image])[0][0].take(0, 1 - axis)[:, 0]
    return shown
