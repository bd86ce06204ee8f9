"""How large what a model computes would be, told before anything of it is computed.

A file of a few hundred bytes can describe terabytes: a Range to 2^40, forty doublings, functions that call
two of the next. Shapes cost next to nothing, so ONNX's shape inference tells them from the graph without its
weights; element count times element size is what a value takes. Functions are counted before they are
inlined. Shape inference itself writes down every element of a vector that it takes for a shape, and gets no
more memory than that takes for honest models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, TypeVar

import onnx
import onnx_ir as ir

from knight import memory
from knight.errors import ModelError, shown
from knight.protos import bodies
from knight.turns import check_turns

SHAPES = 1 << 30
"""Bytes that shape inference and conversion of operator sets may take: what a graph of 100,000 nodes needs
without its weights, several times over."""
MOST_CALLS = 10_000
"""Calls of functions once all are inlined; ONNX Runtime's time grows with the square of their number."""
MOST_NODES = 1_000_000
"""Operators once all functions are inlined; each takes about a kilobyte."""

MOST_LOOK_UPS = 3 * 10**8
"""Names that the bodies of control flow see around them, all together: ONNX copies them for each body."""

_SMALL = 1024  # bytes; shapes, axes and limits are among these constants, weights are not
_Key = tuple[str, str]
T = TypeVar("T")


def check(proto: onnx.ModelProto, where: str) -> None:
    """Raises ModelError where a value of the model needs more memory than there is, naming the node, or its
    functions call each other, or its loops turn, too often. What shape inference cannot tell is not judged.

    proto: its weights may be inside or in other files; it is left alone. where: names the model in errors.
    """
    check_functions(proto.functions, proto.graph.node, where)
    check_turns(proto.graph, where)
    _check_scopes(proto.graph, where)
    bare = light(proto)
    try:
        first = onnx.shape_inference.infer_shapes(bare).graph  # most bombs show without propagating any data
        check_values(first, where)
        if not _is_told(first):
            check_values(inferred(bare, where).graph, where)
    except onnx.shape_inference.InferenceError:
        return  # who needs the shapes reports it; others, such as infer, need none


def check_values(graph: onnx.GraphProto, where: str) -> None:
    """Raises ModelError for a value, of `graph` or of a body in it, that needs more memory than there is."""
    limit = memory.total()
    for inner in reversed(list(_graphs(graph))):  # a body before the node around it, which makes the same
        for value in (*inner.value_info, *inner.output, *inner.input):
            if _size(value) > limit:
                raise ModelError(
                    f"{where}: {_maker(graph, value.name)} makes {memory.text(_size(value))} "
                    f"(shape {_shape(value)}), and there are {memory.text(limit)} of memory here; "
                    f"export it with smaller sizes"
                )


def within_limits(act: Callable[[], T], proto: onnx.ModelProto, where: str) -> T:
    """What `act` gives, a function of ONNX that reads the graph `proto` and infers its shapes.

    Raises ModelError, which names the largest value known, where that takes more than `SHAPES` bytes.
    """
    try:
        with memory.at_most(SHAPES):
            return act()
    except MemoryError:
        _too_large(proto, where)


def check_functions(
    functions: Iterable[onnx.FunctionProto], nodes: Iterable[onnx.NodeProto], where: str
) -> None:
    """Raises ModelError where functions call themselves, or each other more often than can be inlined.

    nodes: of the graph that calls them.
    """
    named = {_key(one.domain, one.name): one for one in functions}
    if not named:
        return
    totals: dict[_Key, tuple[int, int]] = {}
    for key in _callees_first(named, where):
        totals[key] = _count(named[key].node, totals)
        _check_count(totals[key], f"function {shown(key[1])}", where)
    _check_count(_count(nodes, totals), "the graph", where)


def _check_count(count: tuple[int, int], what: str, where: str) -> None:
    nodes, calls = count
    if calls > MOST_CALLS or nodes > MOST_NODES:
        raise ModelError(
            f"{where}: {what} calls functions {calls:.5g} times once all are inlined, which "
            f"makes {nodes:.5g} operators; the most are {MOST_CALLS} and {MOST_NODES}; "
            f"export the model with fewer functions"
        )


def _check_scopes(graph: onnx.GraphProto, where: str) -> None:
    """Raises ModelError where bodies see so many names that shape inference would not end."""
    seen, ahead = 0, [(graph, 0)]
    while ahead:
        inner, outer = ahead.pop()
        names = outer + len(inner.initializer) + len(inner.input) + sum(len(one.output) for one in inner.node)
        within = [body for node in inner.node for body in bodies(node)]
        seen += names * len(within)
        ahead += [(body, names) for body in within]
    if seen > MOST_LOOK_UPS:
        raise ModelError(
            f"{where}: the bodies of its If, Loop and Scan nodes see {seen:.3g} names around them; "
            f"the most are {MOST_LOOK_UPS:.3g}; export it with fewer of these nodes"
        )


def light(proto: onnx.ModelProto) -> onnx.ModelProto:
    """`proto` with its large constants as inputs of the same name, type and shape, for shape inference."""
    small = onnx.ModelProto(ir_version=proto.ir_version)
    small.opset_import.extend(proto.opset_import)
    small.functions.extend(proto.functions)
    graph, own = small.graph, proto.graph
    graph.input.extend(own.input)
    graph.output.extend(own.output)
    graph.value_info.extend(own.value_info)
    inputs = {value.name for value in own.input}
    for tensor in own.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL and tensor.ByteSize() <= _SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(_as_input(tensor.name, tensor))
    for node in own.node:
        large = _large_constant(node)
        if large is None:
            graph.node.append(node)
        else:
            graph.input.append(_as_input(node.output[0], large))
    return small


def _as_input(name: str, tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)


def _large_constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or len(node.output) != 1 or node.ByteSize() <= _SMALL:
        return None
    return next((one.t for one in node.attribute if one.HasField("t")), None)


def inferred(proto: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """`proto` with the shapes that follow, constants propagated; raises as `within_limits`."""
    return within_limits(lambda: onnx.shape_inference.infer_shapes(proto, data_prop=True), proto, where)


def _too_large(proto: onnx.ModelProto, where: str) -> NoReturn:
    """Says which value is the largest as far as it is known without propagating any data."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    check_values(graph, where)
    values = [value for inner in _graphs(graph) for value in (*inner.value_info, *inner.output)]
    vectors = [value for value in values if len(value.type.tensor_type.shape.dim) == 1 and _size(value)]
    if not vectors:
        raise ModelError(
            f"{where}: its shapes take over {memory.text(SHAPES)} to work out; simplify the graph"
        )
    largest = max(vectors, key=_size)
    raise ModelError(
        f"{where}: its shapes take over {memory.text(SHAPES)} to work out; the longest vector is "
        f"{_shape(largest)}, which {_maker(graph, largest.name)} makes; export it with smaller sizes"
    )


def _is_told(graph: onnx.GraphProto) -> bool:
    """Whether the shapes of all values are known, in bodies too."""
    for inner in _graphs(graph):
        known = {value.name for value in (*inner.value_info, *inner.output) if _is_static(value)}
        if any(name and name not in known for node in inner.node for name in node.output):
            return False
    return True


def _is_static(value: onnx.ValueInfoProto) -> bool:
    """Whether it is a tensor whose dimensions are all known."""
    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    return tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in dims)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """`graph` and all bodies in it."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from _graphs(body)


def _size(value: onnx.ValueInfoProto) -> int:
    """Bytes of a tensor of known type and shape, while it is computed; 0 for anything else."""
    if not _is_static(value):
        return 0
    tensor = value.type.tensor_type
    kind = ir.DataType(tensor.elem_type)
    if kind in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        return 0
    return math.prod(max(0, dim.dim_value) for dim in tensor.shape.dim) * max(8, kind.bitwidth) // 8


def _shape(value: onnx.ValueInfoProto) -> str:
    return "x".join(str(dim.dim_value) for dim in value.type.tensor_type.shape.dim)


def _maker(graph: onnx.GraphProto, name: str) -> str:
    for inner in _graphs(graph):
        for node in inner.node:
            if name in node.output:
                return f"node {shown(node.name or name)} ({node.op_type})"
    return f"input {shown(name)}"


def _key(domain: str, name: str) -> _Key:
    return ("" if domain == "ai.onnx" else domain, name)


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """`nodes` and all in their bodies."""
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from _nodes(body.node)


def _count(nodes: Iterable[onnx.NodeProto], totals: dict[_Key, tuple[int, int]]) -> tuple[int, int]:
    """Operators and calls of functions in `nodes`, with all that their calls come to."""
    operators = calls = 0
    for node in _nodes(nodes):
        inner = totals.get(_key(node.domain, node.op_type))
        operators += 1 if inner is None else inner[0]
        calls += 0 if inner is None else 1 + inner[1]
    return operators, calls


def _callees_first(functions: dict[_Key, onnx.FunctionProto], where: str) -> list[_Key]:
    """All functions, each behind those that it calls. Raises ModelError for one that calls itself."""
    calls = {
        key: sorted({_key(node.domain, node.op_type) for node in _nodes(one.node)} & functions.keys())
        for key, one in functions.items()
    }
    done: dict[_Key, None] = {}
    for start in functions:
        path = {} if start in done else {start: iter(calls[start])}
        while path:
            key = next(reversed(path))
            following = next((other for other in path[key] if other not in done), None)
            if following is None:
                del path[key]
                done[key] = None
            elif following in path:
                raise ModelError(f"{where}: function {shown(following[1])} calls itself; export it without")
            else:
                path[following] = iter(calls[following])
    return list(done)
