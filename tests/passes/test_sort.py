"""Nodes come after what they read, and otherwise stay where they are."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from knight.errors import ModelError
from knight.passes import PassOptions
from knight.passes.sort import run
from tests.passes.zoo import ZOO, Case

CHAIN = Case("g (float[2] x) => (float[2] y) { a = Relu(x) b = Neg(x) c = Add(a, b) y = Exp(c) }", ())


def test_a_sorted_graph_is_left_alone() -> None:
    for case in ZOO.values():
        assert run(ir.from_proto(case.proto()), PassOptions()) == 0


def test_order_is_restored() -> None:
    model = ir.from_proto(CHAIN.proto())
    first, last = model.graph[0], model.graph[3]
    model.graph.remove(last)
    model.graph.insert_before(first, last)
    assert run(model, PassOptions()) == 1
    assert [node.op_type for node in model.graph] == ["Relu", "Neg", "Add", "Exp"]


def test_a_cycle_is_refused() -> None:
    model = ir.from_proto(CHAIN.proto())
    model.graph[0].replace_input_with(0, model.graph[2].outputs[0])
    with pytest.raises(ModelError, match="the model's graph has a cycle"):
        run(model, PassOptions())
