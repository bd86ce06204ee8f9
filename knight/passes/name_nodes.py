"""Gives every node and every value a name that nothing else of its kind has.

Everything after preparation is keyed by these names. The first owner of a name keeps it: graph inputs and
outputs before the rest, the top-level graph before the bodies of If, Loop and Scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import onnx_ir as ir

from knight.names import Names
from knight.operators import all_graphs
from knight.passes import PassOptions

Named = TypeVar("Named", ir.Node, ir.Value)


def run(model: ir.Model, options: PassOptions) -> int:
    """Returns the number of nodes and values renamed."""
    graphs = tuple(all_graphs(model.graph))
    nodes = [node for graph in graphs for node in graph]
    values = list(dict.fromkeys(value for graph in graphs for value in _values(graph)))
    return _make_unique(nodes, _node_name) + _make_unique(values, _value_name)


def _make_unique(things: Sequence[Named], default: Callable[[Named], str]) -> int:
    """Keeps each name's first owner, then names the others and the nameless after what they are."""
    owners: dict[str, Named] = {}
    for thing in things:
        if thing.name:
            owners.setdefault(thing.name, thing)
    homeless = [thing for thing in things if not thing.name or owners[thing.name] is not thing]
    names = Names(owners)
    for thing in homeless:
        thing.name = names.fresh(thing.name or default(thing))
    return len(homeless)


def _node_name(node: ir.Node) -> str:
    first = next((output.name for output in node.outputs if output.name), "")
    return f"{node.op_type}_{first}" if first else node.op_type


def _value_name(value: ir.Value) -> str:
    producer = value.producer()
    return f"{producer.name}_output" if producer is not None else "value"


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    """All values that `graph` owns, the interface first. An empty name is an output that is not asked for."""
    yield from graph.inputs
    yield from graph.outputs
    yield from graph.initializers.values()
    for node in graph:
        yield from (output for output in node.outputs if output.name != "")
