# SPDX-License-Identifier: Apache-2.0
"""Import .onnx networks as NHWC graphs: float ones, ready for nybble.quantize, and quantized ones (QDQ, QOperator).

The file's own shape arithmetic is computed here; see onnx_rules.py for the operators and
onnx_builder.py for the order of axes. Needs the package onnx: pip install nybble[onnx].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph import Array, Blocker, DType, Graph, ModelError, Port, UnsupportedError, fault_text, faults_of
from .onnx_builder import CHANNELS_LAST, Builder
from .onnx_integers import to_integers
from .onnx_quantized import expanded, is_quantized
from .onnx_rules import RULES, OnnxNode
from .refusal import Refusal

if TYPE_CHECKING:
    import onnx

_DOMAINS = ("", "ai.onnx")
_INPUT_TYPES = {1: DType.FLOAT32, 2: DType.UINT8, 3: DType.INT8}
#: Operators of a network that chooses its scales while it runs.
_QUANTIZED = (
    "DynamicQuantizeLinear",
    "ConvInteger",
    "MatMulInteger",
)


#: Operators after which a dequantized constant lies on its grid still.
_REARRANGING = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def _package() -> Any:
    try:
        import onnx
        import onnx.inliner
        import onnx.reference
    except ImportError:
        raise ImportError(
            "importing .onnx networks needs the package onnx: pip install nybble[onnx]"
        ) from None
    return onnx


def _load(source: str | Path | bytes, what: str, *, weights: bool = True) -> onnx.ModelProto:
    """weights: also those in files beside."""
    package = _package()
    try:
        model: onnx.ModelProto = (
            package.load_model_from_string(source)
            if isinstance(source, bytes)
            else package.load_model(str(source), load_external_data=weights)
        )
    except OSError:
        raise
    except Exception as error:  # protobuf's own kind of error
        raise ModelError(f"{what}: expected an ONNX model, found something else: {error}") from None
    return model


def _declared(info: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    """The shape of an input as the file has it: an open dimension is its name, '?' where it has none."""
    dims = info.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.dim_value > 0 else d.dim_param or "?" for d in dims)


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that no constant of the file stands for."""
    constants = {initializer.name for initializer in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in constants]


def _check_shapes(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError unless every shape is one that an input of its name may have."""
    declared = {info.name: _declared(info) for info in _inputs(model)}
    for name, given in shapes.items():
        if name not in declared:
            raise ValueError(
                f"shapes: expected the name of an input ({', '.join(map(repr, declared))}), found {name!r}"
            )
        if not all(isinstance(n, int | np.integer) and n > 0 for n in given):
            raise ValueError(f"shapes: expected positive integers for {name!r}, found {given!r}")
        fits = len(given) == len(declared[name]) and all(
            d == n or isinstance(d, str) for d, n in zip(declared[name], given, strict=True)
        )
        if not fits:
            raise ValueError(
                f"shapes: {tuple(given)} does not fit the input {name!r} of shape {_shape_text(declared[name])}"
            )


def _shape_text(shape: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _input_shape(
    info: onnx.ValueInfoProto, given: tuple[int, ...] | None
) -> tuple[tuple[int, ...], Blocker | None]:
    """The shape of an input, its first dimension 1 where open, and what is unknown about it."""
    if given is not None:
        return tuple(map(int, given)), None
    declared = _declared(info)
    if declared and isinstance(declared[0], str):
        closed: tuple[int | str, ...] = (1, *declared[1:])
    else:
        closed = declared
    shape = tuple(0 if isinstance(d, str) else d for d in closed)
    if info.type.tensor_type.elem_type not in _INPUT_TYPES:
        return shape, Blocker(
            f"input {info.name!r}", "is neither float32 nor 8 bits", "export the network with float32 inputs"
        )
    if 0 in shape:
        example = f"{info.name}={','.join(map(str, closed))}"
        return shape, Blocker(
            f"input {info.name!r}",
            f"has open dimensions {_shape_text(declared)}",
            f"say them: --shape {example} of convert and quantize, with numbers in place of names; shapes= in Python",
        )
    return shape, None


def declared_inputs(source: str | Path | bytes, name: str = "") -> dict[str, tuple[int | str, ...]]:
    """The shapes of a network's inputs as the file has them, by name; an open dimension is its name.

    Raises ImportError and ModelError as import_onnx does.
    """
    what = name or ("model" if isinstance(source, bytes) else Path(source).name)
    return {info.name: _declared(info) for info in _inputs(_load(source, what, weights=False))}


def _constant(initializer: onnx.TensorProto, what: str) -> Array:
    try:
        array: Array = _package().numpy_helper.to_array(initializer)
    except Exception as error:  # what the package's decoders meet in a wrong file
        raise ModelError(
            f"{what}: the constant {initializer.name!r} cannot be read, its data, type or shape is wrong: "
            f"{fault_text(error)}"
        ) from error
    return array


def _info(name: str, dtype: np.dtype[Any]) -> onnx.ValueInfoProto:
    helper = _package().helper
    info: onnx.ValueInfoProto = helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(dtype), None
    )
    return info


def _fold(node: OnnxNode, proto: onnx.NodeProto, g: Builder) -> None:
    """Compute a node whose inputs are all constants, by the onnx package's own reference."""
    package = _package()
    names = [name for name in node.inputs if name]
    graph = package.helper.make_graph(
        [proto],
        "constant",
        [_info(name, g.constants[name].dtype) for name in names],
        [package.helper.make_tensor_value_info(name, 0, None) for name in node.outputs if name],
    )
    model = package.helper.make_model(graph, opset_imports=[package.helper.make_opsetid("", node.opset)])
    try:
        results = package.reference.ReferenceEvaluator(model).run(None, {n: g.constants[n] for n in names})
    except Exception as error:  # the reference raises whatever its numpy code does
        raise Refusal(f"constants that cannot be computed: {error}", "simplify the network") from error
    for name, array in zip((n for n in node.outputs if n), results, strict=True):
        g.constants[name] = np.asarray(array)
        if node.kind in _REARRANGING and node.x in g.grids:
            g.grids[name] = g.grids[node.x]


def _convert(g: Builder, node: OnnxNode, proto: onnx.NodeProto) -> None:
    """Take one node, or raise Refusal."""
    known = [name for name in node.inputs if name]
    if node.kind in ("Shape", "Size") and not g.is_constant(node.x):
        shape = g.shape(node.x)
        if node.kind == "Size":
            g.constants[node.y] = np.array(np.prod(shape), np.int64)
        else:
            end = node.get("end", len(shape))
            g.constants[node.y] = np.array(shape[node.get("start", 0) : end], np.int64)
    elif node.kind == "DequantizeLinear":
        RULES[node.kind](g, node)
    elif all(g.is_constant(name) for name in known) and not any(
        a.HasField("g") or a.graphs for a in proto.attribute
    ):
        _fold(node, proto, g)
    elif node.kind in _QUANTIZED:
        raise Refusal("is quantized while it runs", "start from the float network, or quantize statically")
    elif node.kind not in RULES or proto.domain not in _DOMAINS:
        raise Refusal("operator not supported", "cut the network before it, or replace it")
    else:
        RULES[node.kind](g, node)


def _label(proto: onnx.NodeProto) -> str:
    """What errors, layers and recipes call a node: its name, or else its output."""
    return str(proto.name or (proto.output[0] if proto.output else proto.op_type))


def _supported(proto: onnx.NodeProto) -> bool:
    return proto.op_type in (*RULES, "Shape", "Size", "Constant") and proto.domain in _DOMAINS


def _attribute(proto: onnx.AttributeProto, label: str, what: str) -> Any:
    value = _package().helper.get_attribute_value(proto)
    if value is None:
        raise ModelError(f"{what}: {label}: the attribute {proto.name!r} says no type")
    return value


def _nodes(g: Builder, protos: Sequence[onnx.NodeProto], opset: int, what: str) -> list[Blocker]:
    blockers = []
    unknown: set[str] = set()
    for proto in protos:
        node = OnnxNode(
            proto.op_type,
            _label(proto),
            tuple(proto.input),
            tuple(proto.output),
            {a.name: _attribute(a, _label(proto), what) for a in proto.attribute},
            opset,
        )
        for name in node.inputs:
            if name and name not in unknown and name not in g.values and not g.is_constant(name):
                raise ModelError(
                    f"{what}: {node.kind} {node.label!r} reads {name!r}, which nothing has written"
                )
        called = f"{node.kind} {node.label!r}"
        if node.kind == "If" and node.x in g.constants:
            blockers += _branch(g, node, what)
            unknown.update(name for name in node.outputs if name not in g.values and not g.is_constant(name))
            continue
        if any(name in unknown for name in node.inputs if name):
            # It hangs on a node that was refused; only what is certain is said about it.
            unknown.update(node.outputs)
            if not _supported(proto):
                blockers.append(
                    Blocker(called, "operator not supported", "cut the network before it, or replace it")
                )
            continue
        try:
            _convert(g, node, proto)
        except Refusal as refusal:
            blockers.append(Blocker(called, refusal.reason, refusal.remedy))
            unknown.update(node.outputs)
        except IndexError:
            raise ModelError(f"{what}: {called}: too few inputs or outputs") from None
        except ModelError as error:
            raise ModelError(f"{what}: {error}") from error
        except UnsupportedError:
            raise
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            # An attribute of another type, or numbers that do not fit: the rule meets them where it computes.
            found = fault_text(error)
            raise ModelError(f"{what}: {called}: its attributes or inputs do not fit: {found}") from error
    return blockers


def _branch(g: Builder, node: OnnxNode, what: str) -> list[Blocker]:
    """Take the branch of an If that a constant chooses, in the place of the If."""
    chosen: onnx.GraphProto = node.attributes["then_branch" if g.array(node.x).item() else "else_branch"]
    for initializer in chosen.initializer:
        g.constants[initializer.name] = _constant(initializer, what)
    blockers = _nodes(g, chosen.node, node.opset, what)
    for name, inner in zip(node.outputs, chosen.output, strict=True):
        if g.is_constant(inner.name):
            g.constants[name] = g.array(inner.name)
        elif inner.name in g.values:
            g.values[name] = g.values[inner.name]
    return blockers


def _without_unread_outputs(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes, QOperators written as what they are, without names for outputs beyond the first that nothing reads."""
    read = {info.name for info in graph.output}
    waiting = list(graph.node)
    while waiting:
        node = waiting.pop()
        read.update(node.input)
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                read.update(info.name for info in inner.output)
                waiting += inner.node
    protos = expanded(graph.node)
    for i, node in enumerate(protos):
        if any(name and name not in read for name in node.output[1:]):
            protos[i] = copy = type(node)()
            copy.CopyFrom(node)
            copy.output[1:] = [name if name in read else "" for name in node.output[1:]]
    return protos


#: Operators that see a channels-first image.
_SPATIAL = (
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool",
    "GlobalMaxPool", "MaxPool", "Resize", "SpaceToDepth", "Upsample",
)  # fmt: skip
#: Operators that take any order of axes: a look ahead for the others passes through them.
_ANY_ORDER = (
    "Abs", "Add", "Cast", "Clip", "Concat", "DequantizeLinear", "Div", "Dropout", "Elu", "Erf",
    "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min", "Mish",
    "Mul", "Neg", "PRelu", "Pad", "Pow", "QuantizeLinear", "Relu", "Sigmoid", "Slice", "Softplus",
    "Split", "Sqrt", "Sub", "Sum", "Swish", "Tanh",
)  # fmt: skip


def _is_image(name: str, readers: Mapping[str, Sequence[onnx.NodeProto]]) -> bool:
    """Whether an input of rank 4 is a channels-first image: every use of it is, maybe behind a
    normalization.
    """
    waiting, seen, found = [name], {name}, False
    while waiting:
        tensor = waiting.pop()
        for node in readers.get(tensor, []):
            if node.op_type in _SPATIAL and node.input[0] == tensor:
                found = True
            elif node.op_type not in _ANY_ORDER:
                return False
            elif not seen.issuperset(node.output):
                seen.update(node.output)
                waiting += node.output
    return found


def import_onnx(
    source: str | Path | bytes,
    *,
    name: str = "",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Graph:
    """Read an .onnx model (a path or its bytes): a graph of float32 tensors, or of integers where its activations are.

    Images are NHWC, at inputs and outputs too; where the file has NCHW there, the graph's metadata
    says so (``source_layout/NAME``: ``NCHW``). An open first dimension becomes 1. shapes: of inputs
    with other open dimensions, by name, as in the file.

    Raises ImportError without the package onnx, ModelError where the file is wrong, ValueError for shapes that do not
    fit, and UnsupportedError with every blocker where nybble lacks something.
    """
    what = name or ("model" if isinstance(source, bytes) else Path(source).name)
    model = _load(source, what)
    _check_shapes(model, shapes or {})
    with faults_of(what):
        return _graph(model, shapes or {}, what)


def _graph(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], what: str) -> Graph:
    package = _package()
    if model.functions:
        model = package.inliner.inline_local_functions(model)
    if not model.graph.node:
        raise ModelError(f"{what}: expected an ONNX network, found no nodes")
    opset = max((o.version for o in model.opset_import if o.domain in _DOMAINS), default=0)
    if not opset:
        raise ModelError(f"{what}: expected a version of ONNX's operators, found none")
    protos = _without_unread_outputs(model.graph)
    g = Builder(quantized=is_quantized(protos))
    for initializer in model.graph.initializer:
        g.constants[initializer.name] = _constant(initializer, what)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for proto in protos:
        for read in set(proto.input):
            readers.setdefault(read, []).append(proto)
    metadata: dict[str, str] = {}
    blockers, inputs = [], []
    for info in _inputs(model):
        shape, blocker = _input_shape(info, shapes.get(info.name))
        if blocker is not None:
            blockers.append(blocker)
        order = tuple(range(len(shape)))
        if len(shape) == 4 and _is_image(info.name, readers):
            order = CHANNELS_LAST[4]
            metadata[f"source_layout/{info.name}"] = "NCHW"
        dtype = _INPUT_TYPES.get(info.type.tensor_type.elem_type, DType.FLOAT32)
        held = tuple(shape[axis] for axis in order)
        g.define(info.name, g.add_tensor(info.name, held, dtype), order)
        inputs.append(Port(info.name, info.name, real=dtype is DType.FLOAT32))
    if blockers:
        # Without shapes only the kinds of operators can be told.
        blockers += [
            Blocker(
                f"{p.op_type} {_label(p)!r}",
                "operator not supported",
                "cut the network before it, or replace it",
            )
            for p in protos
            if p.op_type not in RULES and any(name in g.values for name in p.input)
        ]
        raise UnsupportedError(what, blockers)
    blockers = _nodes(g, protos, opset, what)
    if blockers:
        raise UnsupportedError(what, blockers)
    outputs = []
    for info in model.graph.output:
        if info.name not in g.values:
            raise ModelError(f"{what}: the output {info.name!r} is not computed from the inputs")
        value = g.values[info.name]
        tensor = value.tensor
        if value.order == CHANNELS_LAST[4]:
            metadata[f"source_layout/{info.name}"] = "NCHW"
        else:
            tensor = g.plain(info.name, f"output {info.name}")
        real = info.type.tensor_type.elem_type == 1
        if info.name in g.unsigned and not real:
            tensor = g.as_unsigned(tensor, info.name)
        outputs.append(Port(tensor, info.name, real))
    graph = Graph(g.tensors, tuple(g.nodes), tuple(inputs), tuple(outputs), name=what, metadata=metadata)
    return to_integers(graph.rebuilt()) if g.quantized else graph.rebuilt()
