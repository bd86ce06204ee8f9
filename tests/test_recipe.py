"""Which operator gets what: names, kinds, wildcards, first and last, and rules that match nothing."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from knight.errors import ConfigError
from knight.recipe import FLOAT, Choice, Recipe, Rule
from tests.passes.equivalence import build, random

WIDE = Choice(16, 16, "min_max")
MSE = Choice(method="mse")


def net() -> ir.Model:
    """MatMul, Relu, MatMul, Add, MatMul: node0 to node4."""
    nodes = "a = MatMul(x, v) r = Relu(a) b = MatMul(r, v) s = Add(b, a) y = MatMul(s, v)"
    return build(nodes, {"v": random(4, 4)}, inputs={"x": (2, 4)})


def chosen(recipe: Recipe) -> dict[str, object]:
    """Node -> choice, where it is not the default."""
    found = recipe.choose(net().graph)
    return {node.name or "": one.choice for node, one in found.items() if one.choice != recipe.default}


def test_without_rules_all_have_the_default() -> None:
    assert chosen(Recipe()) == {}


@pytest.mark.parametrize(
    ("names", "matched"),
    [
        (("node2",), {"node2"}),
        (("b",), {"node2"}),  # the value that it makes
        (("node?",), {f"node{number}" for number in range(5)}),
        (("*0", "s"), {"node0", "node3"}),
    ],
)
def test_a_rule_names_operators_or_the_values_that_they_make(
    names: tuple[str, ...], matched: set[str]
) -> None:
    assert chosen(Recipe(rules=[Rule(FLOAT, names)])) == dict.fromkeys(matched, FLOAT)


def test_a_rule_names_kinds() -> None:
    assert set(chosen(Recipe(rules=[Rule(WIDE, op_types=("Mat*", "Add"))]))) == {
        "node0",
        "node2",
        "node3",
        "node4",
    }


def test_brackets_in_a_name_are_taken_as_they_are() -> None:
    model = build("y = MatMul(x, v)", {"v": random(4, 4)}, inputs={"x": (2, 4)})
    next(iter(model.graph)).name = "layers[0]/MatMul"
    for pattern in ("layers[0]/MatMul", "layers[0]/*", "*[?]*"):
        found = Recipe(rules=[Rule(FLOAT, (pattern,))]).choose(model.graph)
        assert [one.choice for one in found.values()] == [FLOAT]
    with pytest.raises(ConfigError, match="no operator is called"):  # 0 is no member of a set
        Recipe(rules=[Rule(FLOAT, ("layers[[0]]/*",))]).choose(model.graph)


def test_names_win_over_kinds_and_later_rules_over_earlier_ones() -> None:
    rules = [Rule(WIDE, ("node0",)), Rule(MSE, ("a",)), Rule(FLOAT, op_types=("MatMul",))]
    assert chosen(Recipe(rules=rules)) == {"node0": MSE, "node2": FLOAT, "node4": FLOAT}


def test_the_first_and_the_last_are_counted_among_operators_with_weights() -> None:
    recipe = Recipe(keep_first=1, keep_last=1)
    assert chosen(recipe) == {"node0": FLOAT, "node4": FLOAT}
    origins = {one.origin for one in recipe.choose(net().graph).values() if one.choice == FLOAT}
    assert origins == {"--keep-first", "--keep-last"}
    assert len(chosen(Recipe(keep_first=9))) == 3


def test_what_matches_nothing_is_named_with_what_is_near() -> None:
    with pytest.raises(ConfigError, match=r"--disable-names: no operator is called 'nod2' .*'node2'"):
        Recipe(rules=[Rule(FLOAT, ("node0", "nod2"), origin="--disable-names")]).choose(net().graph)
    with pytest.raises(ConfigError, match=r"no operator of type 'Matmul': did you mean 'MatMul'"):
        Recipe(rules=[Rule(FLOAT, op_types=("Matmul",))]).choose(net().graph)


def test_the_widths_that_it_asks_for_decide_the_opset() -> None:
    assert not Recipe().needs_wide_opset
    assert Recipe(rules=[Rule(WIDE, ("b",))]).needs_wide_opset
    assert Recipe(Choice(4, 8)).needs_wide_opset


def test_exclusion_wins_over_whatever_names_an_operator() -> None:
    rules = [Rule(FLOAT, op_types=("MatMul",), excludes=True), Rule(MSE, ("node0",))]
    assert set(chosen(Recipe(rules=rules)).values()) == {FLOAT}


def test_what_a_folded_relu_makes_is_made_by_its_operator_too() -> None:
    model = build("a = MatMul(x, v) r = Relu(a) y = Neg(r)", {"v": random(4, 4)}, inputs={"x": (2, 4)})
    found = Recipe(rules=[Rule(FLOAT, ("r",))]).choose(model.graph)
    assert [one.choice == FLOAT for one in found.values()] == [True, True, False]
    shared = build("a = MatMul(x, v) r = Relu(a) y = Add(r, a)", {"v": random(4, 4)}, inputs={"x": (2, 4)})
    found = Recipe(rules=[Rule(FLOAT, ("r",))]).choose(shared.graph)
    assert [one.choice == FLOAT for one in found.values()] == [False, True, False]


def test_rules_for_another_graph_name_what_it_has() -> None:
    kept = Rule(FLOAT, ("c", "gone"), ("Gone", "Rel?"), "a file")
    recipe = Recipe(rules=(Rule(FLOAT, ("gone",)), kept, Rule(FLOAT, op_types=("Gone",))))
    graph = build("c = Conv(x, w) y = Relu(c)", {"w": random(4, 4, 3, 3)}).graph
    assert recipe.fitting(graph).rules == (Rule(FLOAT, ("c",), ("Rel?",), "a file"),)
    with pytest.raises(ConfigError, match="gone"):
        recipe.choose(graph)
    assert recipe.fitting(graph).choose(graph)
