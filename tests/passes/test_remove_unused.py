"""What no output depends on goes; what bodies, outputs and the interface need stays."""

from __future__ import annotations

import onnx_ir as ir

from knight.passes import PassOptions
from knight.passes.remove_unused import run
from tests.passes.equivalence import build, check_fused, check_untouched, operators
from tests.passes.zoo import ZOO, ints, numbers


def test_dead_branches_and_weights() -> None:
    model = ir.from_proto(ZOO["dead branches"].proto())
    assert run(model, PassOptions()) == 7  # four nodes, three weights
    assert operators(model) == {"Relu": 1}
    assert not model.graph.initializers
    assert [value.name for value in model.graph.inputs] == ["x", "unused"]


def test_optional_outputs() -> None:
    model = build(
        "d, mask = Dropout(x) p, i = MaxPool<kernel_shape=[2]>(d) y = Relu(p)", inputs={"x": (1, 1, 4)}
    )
    check_fused(model, run, "Dropout MaxPool Relu")
    run(model, PassOptions())
    assert [len(node.outputs) for node in model.graph] == [1, 1, 1]


def test_an_optional_output_in_front_of_one_in_use_loses_its_name() -> None:
    model = build(
        "all, y = LSTM<hidden_size=2>(x, w, r)",
        {"w": numbers(1, 8, 3), "r": numbers(1, 8, 2)},
        inputs={"x": (4, 1, 3)},
    )
    check_fused(model, run, "LSTM")
    run(model, PassOptions())
    assert [value.name for value in model.graph[0].outputs] == ["", "y"]


def test_required_outputs_stay() -> None:
    model = build("a, y = Split<axis=0>(x, parts)", {"parts": ints(1, 2)}, inputs={"x": (3,)})
    check_untouched(model, run)


def test_what_only_a_body_reads_stays() -> None:
    model = ir.from_proto(ZOO["if reads outer values"].proto())
    assert run(model, PassOptions()) == 0
    assert operators(model) == {"Relu": 1, "Identity": 1, "If": 1, "Add": 1}


def test_a_dead_body_frees_what_it_read() -> None:
    model = ir.from_proto(ZOO["if reads outer values"].proto())
    add = model.graph[3]
    add.replace_input_with(0, model.graph.inputs[0])
    assert run(model, PassOptions()) == 3
    assert operators(model) == {"Add": 1}
