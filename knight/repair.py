"""What other tools write and ONNX Runtime runs, though ONNX forbids it: put right before the check."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from knight.errors import ModelError
from knight.protos import bodies

_FREE_WEIGHTS = 4  # the first IR version whose initializers need not be graph inputs


def repair(proto: onnx.ModelProto, where: str) -> bool:
    """Raises the IR version to what the file holds, and sorts its nodes; True where anything had to change.

    where: names the model in errors. Raises ModelError where the nodes form a cycle.
    """
    graph = proto.graph
    inputs = {value.name for value in graph.input}
    old = proto.ir_version < _FREE_WEIGHTS and any(each.name not in inputs for each in graph.initializer)
    if old:
        proto.ir_version = _FREE_WEIGHTS
    order = _order(graph, where)
    if order is not None:
        nodes = [graph.node[place] for place in order]
        graph.ClearField("node")
        graph.node.extend(nodes)
    return old or order is not None


def _order(graph: onnx.GraphProto, where: str) -> list[int] | None:
    """The nodes' places, each behind those that it reads, else as they were; None where they are sorted."""
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    needs = [{makers[name] for name in _read(node) if name in makers} for node in graph.node]
    if all(place > max(need, default=-1) for place, need in enumerate(needs)):
        return None
    order: list[int] = []
    done: set[int] = set()
    for start in range(len(needs)):
        path: dict[int, Iterator[int]] = {} if start in done else {start: iter(sorted(needs[start]))}
        while path:
            place = next(reversed(path))
            following = next((need for need in path[place] if need not in done), None)
            if following is None:
                del path[place]
                done.add(place)
                order.append(place)
            elif following in path:
                node = graph.node[following]
                name = node.name or node.output[0]
                raise ModelError(
                    f"{where}: node {name!r} ({node.op_type}) reads what is made of its own output"
                )
            else:
                path[following] = iter(sorted(needs[following]))
    return order


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Names that `node` reads, also inside its bodies (a name made there may be among them)."""
    yield from node.input
    for body in bodies(node):
        made = {name for each in body.node for name in each.output}
        for each in body.node:
            yield from (name for name in _read(each) if name not in made)
        yield from (output.name for output in body.output if output.name not in made)


def without_outside_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights in other files are inputs: for onnx's check, which else looks for those files in
    the working folder.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    inputs = {value.name for value in copy.graph.input}
    kept = []
    for tensor in copy.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            kept.append(tensor)
        elif tensor.name not in inputs:
            shape = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            copy.graph.input.append(shape)
    copy.graph.ClearField("initializer")
    copy.graph.initializer.extend(kept)
    return copy
