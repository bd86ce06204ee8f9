"""Ends the graph at the values that the user names, and removes what only the old outputs needed."""

from __future__ import annotations

import onnx_ir as ir

from knight import model as models
from knight.errors import ConfigError, did_you_mean
from knight.model import name_of
from knight.passes import PassOptions, infer_shapes, remove_unused
from knight.runner import Session


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of outputs, inputs, nodes and initializers removed or added.

    Names are of values, or of nodes (then all outputs of the node that are in use). Raises ConfigError for a
    name that the graph does not have, or that is not computed.
    """
    graph = model.graph
    if not options.output_names:
        return 0
    wanted = list(dict.fromkeys(value for name in options.output_names for value in _find(graph, name)))
    before = list(graph.outputs)
    if wanted == before:
        return 0
    idle = {value for value in graph.inputs if not value.uses()}
    graph.outputs[:] = wanted
    changes = len(set(wanted) ^ set(before)) + remove_unused.run(model, options)
    kept = [value for value in graph.inputs if value.uses() or value in idle]
    changes += len(graph.inputs) - len(kept)
    graph.inputs[:] = kept
    _fill_types(model)
    return changes or 1  # the same outputs in another order


def _find(graph: ir.Graph, name: str) -> list[ir.Value]:
    computed = {name_of(value): value for node in graph for value in node.outputs if value.name}
    if name in computed:
        return [computed[name]]
    nodes = {node.name: node for node in graph if node.name}
    if name in nodes:
        return [
            value for value in nodes[name].outputs if value.name and (value.uses() or value.is_graph_output())
        ]
    if any(value.name == name for value in models.values(graph)):
        raise ConfigError(
            f"output name {name!r}: is an input or a constant of the model; name a computed value"
        )
    raise ConfigError(
        f"output name {name!r}: the model has no such value or node; "
        f"{did_you_mean(name, computed.keys() | nodes.keys(), list_all=False)}"
    )


def _fill_types(model: ir.Model) -> None:
    """Outputs must have a type. Where shape inference does not know the operator, ONNX Runtime does."""
    infer_shapes.infer(model)
    unknown = [value for value in model.graph.outputs if value.type is None]
    if not unknown:
        return
    known = {output.name: output for output in Session(model, level="none").outputs}
    for value in unknown:
        info = known[name_of(value)]
        if info.dtype is not None:
            value.type = ir.TensorType(ir.DataType.from_numpy(info.dtype))
            value.shape = ir.Shape(info.shape)
