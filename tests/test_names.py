"""Names that nothing else of a model has."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from hypothesis import given, strategies as st

from knight.names import Names
from tests.passes.equivalence import build
from tests.passes.zoo import ZOO


def test_numbers_start_at_one_and_go_on() -> None:
    names = Names(["a", "a_2", None])
    assert [names.fresh(base) for base in ("a", "a", "b", "b", "a_2")] == ["a_1", "a_3", "b", "b_1", "a_2_1"]


def test_a_name_that_is_added_is_taken() -> None:
    names = Names()
    assert "a" not in names
    names.add("a")
    assert "a" in names
    assert names.fresh("a") == "a_1"


@given(
    st.lists(st.sampled_from(["", "a", "a_1", "b", "a_1_1"])), st.lists(st.sampled_from(["a", "a_1", "b"]))
)
def test_each_is_the_first_that_is_free(taken: list[str], bases: list[str]) -> None:
    names, have = Names(taken), set(taken)
    for base in bases:
        wanted = base if base not in have else next(n for n in _numbered(base) if n not in have)
        assert names.fresh(base) == wanted
        have.add(wanted)


def _numbered(base: str) -> list[str]:
    return [f"{base}_{number}" for number in range(1, 100)]


def test_names_of_a_graph_are_those_of_its_values_and_nodes() -> None:
    model = build("a = Relu(x) y = Add(a, w)", {"w": np.ones(2, np.float32)}, inputs={"x": (2,)})
    names = Names.of(model.graph)
    assert all(name in names for name in ("x", "w", "a", "y", "node0", "node1"))
    assert "node2" not in names


def test_names_in_bodies_are_taken_too() -> None:
    model = ir.from_proto(ZOO["if reads outer values"].proto())
    inside = {value.name for node in model.graph.all_nodes() for value in node.outputs}
    names = Names.of(model.graph)
    assert all(name in names for name in inside)
    assert len(inside) > len(model.graph)
