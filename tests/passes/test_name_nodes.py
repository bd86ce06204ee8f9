"""Every node and value has a name of its own, existing names first."""

from __future__ import annotations

import onnx_ir as ir
from hypothesis import given, settings, strategies as st

from knight import model as models
from knight.passes import PassOptions
from knight.passes.name_nodes import run
from tests.passes.zoo import ZOO, Case


def all_names(model: ir.Model) -> tuple[list[str | None], list[str | None]]:
    graphs = [model.graph, *model.graph.subgraphs()]
    nodes = [node.name for graph in graphs for node in graph]
    values = {id(v): v for graph in graphs for v in (*graph.inputs, *graph.initializers.values())}
    values |= {id(v): v for graph in graphs for node in graph for v in node.outputs if v.name != ""}
    return nodes, [value.name for value in values.values()]


def assert_unique(model: ir.Model) -> None:
    for names in all_names(model):
        assert all(names)
        assert len(set(names)) == len(names)


def test_bodies_give_way_to_the_graph_around_them() -> None:
    model = ir.from_proto(ZOO["names that repeat"].proto())
    assert run(model, PassOptions()) > 0
    assert_unique(model)
    assert [value.name for node in model.graph for value in node.outputs] == ["a", "b", "c", "y"]
    assert model.graph[1].name == "same", "the first owner keeps a name"
    assert run(model, PassOptions()) == 0


def test_outputs_that_are_not_asked_for_stay_nameless() -> None:
    model = ir.from_proto(ZOO["optional inputs and outputs"].proto())
    run(model, PassOptions())
    assert model.graph[1].outputs[0].name == ""
    assert_unique(model)


def test_a_generated_name_does_not_take_an_existing_one() -> None:
    proto = Case("g (float[2] x) => (float[2] y) { a = Relu(x) b = Neg(a) y = Exp(b) }", ()).proto()
    for node, name in zip(proto.graph.node, ("n", "n", "n_1"), strict=True):
        node.name = name
    model = ir.from_proto(proto)
    assert run(model, PassOptions()) == 1
    assert [node.name for node in model.graph] == ["n", "n_2", "n_1"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["", "n", "n_1", "n_2", "Relu_v0"]), min_size=1, max_size=8))
def test_any_names(names: list[str]) -> None:
    nodes = " ".join(f"v{k} = Relu({'x' if k == 0 else f'v{k - 1}'})" for k in range(len(names)))
    proto = Case(f"g (float[2] x) => (float[2] v{len(names) - 1}) {{ {nodes} }}", ()).proto()
    for node, name in zip(proto.graph.node, names, strict=True):
        node.name = name
    model, twin = ir.from_proto(proto), ir.from_proto(proto)
    changed = run(model, PassOptions())
    assert_unique(model)
    for node, name in zip(model.graph, names, strict=True):
        if name and names.count(name) == 1:
            assert node.name == name
    assert changed == sum(node.name != name for node, name in zip(model.graph, names, strict=True))
    run(twin, PassOptions())
    assert models.to_bytes(model) == models.to_bytes(twin)
