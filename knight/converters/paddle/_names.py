"""Names in the ONNX model after the source's layers, in place of paddle2onnx's counters.

paddle2onnx calls result i of the n-th operation ``pd_op.conv2d`` ``p2o.pd_op.conv2d.n.i`` and keeps the names
of parameters. The layer of an operation is the owner of its parameter (``conv2d_0`` owns ``conv2d_0.w_0``),
also where the parameter comes reshaped; an operation without is called after its kind, numbered: ``relu_0``.
"""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from knight import model as models
from knight.converters.paddle._program import Operation, Program
from knight.names import Names

_BATCH = "batch_size"
_CONSTANTS = ("pd_op.full", "pd_op.full_int_array", "pd_op.assign_value_")


def pair(model: ir.Model, program: Program) -> list[tuple[int, list[ir.Node]]]:
    """The nodes of each operation, by its position in `program`; Identity nodes are removed."""
    numbers, operations = _known_values(program)
    _use_known_names(model.graph, numbers)
    return _groups(model.graph, operations)


def rename(
    model: ir.Model,
    program: Program,
    groups: list[tuple[int, list[ir.Node]]],
    output_names: list[str],
) -> dict[str, int]:
    """Renames nodes, values and open dimensions of `model`; gives the program's number of each value."""
    numbers, _ = _known_values(program)
    layers = _layers(program)
    own = (*model.graph.inputs, *_parameters(model.graph, program))
    taken = Names([*(value.name for value in own), *output_names])
    _name_nodes(groups, layers)
    result = _name_values(model.graph, groups, layers, numbers, taken)
    for value, name, (_, number) in zip(model.graph.outputs, output_names, program.outputs, strict=True):
        value.name = name
        result[name] = number
    _name_dimensions(model.graph)
    return result


def _known_values(program: Program) -> tuple[dict[str, int], dict[str, int]]:
    """The program's number of a value, and the position of its operation, by paddle2onnx's names.

    Elements of a list of tensors have no number of their own, only an operation.
    """
    numbers: dict[str, int] = {}
    operations: dict[str, int] = {}
    by_number: dict[int, int] = {}
    for position, (count, op) in enumerate(program.numbered()):
        for index, value in enumerate(op.results):
            name = f"p2o.{op.name}.{count}.{index}"
            by_number[value.number] = operations[name] = position
            if value.count == 1 and value.shape is not None:
                numbers[name] = value.number
            for item in range(value.count):
                operations[f"{name}_{item}"] = position
    for index, (name, number) in enumerate(program.outputs):
        for alias in (name, f"fetch_name_{index}"):
            numbers[alias] = number
            operations[alias] = by_number[number]
    return numbers, operations


def _layers(program: Program) -> list[str]:
    """The layer of each operation, by its position."""
    owners: dict[int, str] = {}  # of values that are made of parameters alone
    constant: set[int] = {0, -1}
    counts: Counter[str] = Counter()
    layers = []
    for op in program.operations:
        inputs = [number for number in op.inputs if number > 0]
        owned = next((owners[number] for number in inputs if number in owners), "")
        if op.name == "builtin.parameter":
            owned = _owner(op)
        if not owned:
            owned = f"{op.short}_{counts[op.short]}"
            counts[op.short] += 1
        fixed = all(number in owners or number in constant for number in inputs)
        for value in op.results:
            if op.name == "builtin.parameter" or (fixed and any(number in owners for number in inputs)):
                owners[value.number] = owned
            elif op.name in _CONSTANTS and fixed:
                constant.add(value.number)
        layers.append(owned)
    return layers


def _owner(op: Operation) -> str:
    name = str(op.attributes["parameter_name"])
    return name.rpartition(".")[0] or name


def _use_known_names(graph: ir.Graph, numbers: dict[str, int]) -> None:
    """Removes Identity nodes; what went into one takes its name where that is a value of the program."""
    outputs = set(graph.outputs)
    for node in list(graph):
        if node.op_type != "Identity":
            continue
        (source,), (result,) = node.inputs, node.outputs
        assert source is not None
        if result not in outputs:
            result.replace_all_uses_with(source)
        elif source in outputs or source.producer() is None or models.is_constant(source):
            continue  # an input, a constant or another output handed out as it is
        else:
            source.type, source.shape = result.type, result.shape
            result.replace_all_uses_with(source, replace_graph_outputs=True)
        made_here = source.producer() is not None and source.name not in numbers
        name = result.name
        graph.remove(node, safe=True)
        if made_here and name in numbers:
            source.name = name


def _groups(graph: ir.Graph, operations: dict[str, int]) -> list[tuple[int, list[ir.Node]]]:
    """Nodes by the position of their operation: helpers come before the node with its result."""
    groups: list[tuple[int, list[ir.Node]]] = []
    waiting: list[ir.Node] = []
    for node in graph:
        if node.op_type == "Constant":
            continue
        waiting.append(node)
        position = next((operations[out.name] for out in node.outputs if out.name in operations), None)
        if position is not None:
            groups.append((position, waiting))
            waiting = []
    if waiting and groups:
        groups[-1][1].extend(waiting)
    return groups


def _parameters(graph: ir.Graph, program: Program) -> list[ir.Value]:
    names = set(program.parameters)
    made = [value for node in graph if node.op_type == "Constant" for value in node.outputs]
    return [value for value in [*graph.initializers.values(), *made] if value.name in names]


def _name_nodes(groups: list[tuple[int, list[ir.Node]]], layers: list[str]) -> None:
    """The first operation of a layer gives its name to the node with its result, all others take a suffix."""
    taken = Names()
    for position, nodes in groups:
        layer = layers[position]
        if layer not in taken:
            nodes[-1].name = taken.fresh(layer)
            nodes = nodes[:-1]
        for node in nodes:
            node.name = taken.fresh(f"{layer}/{node.op_type}")


def _name_values(
    graph: ir.Graph,
    groups: list[tuple[int, list[ir.Node]]],
    layers: list[str],
    numbers: dict[str, int],
    taken: Names,
) -> dict[str, int]:
    """Results of the program are ``conv2d_0.tmp_0`` and on, as in Paddle; others are named after nodes."""
    outputs = set(graph.outputs)
    result: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for position, nodes in groups:
        for node in nodes:
            for value in node.outputs:
                if value in outputs or not value.name:
                    continue
                number = numbers.get(value.name)
                layer = layers[position]
                if number is None:
                    value.name = taken.fresh(f"{node.name}:out")
                    continue
                value.name = taken.fresh(f"{layer}.tmp_{counts[layer]}")
                counts[layer] += 1
                result[value.name] = number
    for node in graph:
        if node.op_type == "Constant" and node.outputs[0].name:
            node.name = node.outputs[0].name
    return result


def _name_dimensions(graph: ir.Graph) -> None:
    """Open dimensions of inputs get names; those of other values, mere numbers, are left to inference."""
    for value in graph.inputs:
        if value.shape is not None:
            dims = [
                dim if isinstance(dim, int) else _BATCH if axis == 0 else f"{value.name}_dim_{axis}"
                for axis, dim in enumerate(value.shape)
            ]
            value.shape = ir.Shape(dims)
    for value in [*graph.outputs, *(value for node in graph for value in node.outputs)]:
        if value.shape is not None and not all(isinstance(dim, int) for dim in value.shape):
            value.shape = ir.Shape([dim if isinstance(dim, int) else None for dim in value.shape])
