"""Loops that the file itself lets turn too often; those that their body ends are not judged."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from knight.errors import ModelError
from knight.turns import MOST, check_turns
from tests.size_bombs import node, numbers


def body(inner: list[onnx.NodeProto], condition: str = "c") -> onnx.GraphProto:
    """A body that hands on `condition`, after the nodes `inner`."""
    return helper.make_graph(
        inner,
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info(condition, TensorProto.BOOL, [])],
    )


def graph(nodes: list[onnx.NodeProto], **turns: int) -> onnx.GraphProto:
    true = numpy_helper.from_array(np.array(True), "true")
    constants = [true, *(numbers(name, count) for name, count in turns.items())]
    return helper.make_graph(nodes, "g", [], [], constants)


def test_turns_of_one_loop() -> None:
    loop = node("Loop", ["n", ""], ["y"], "around", body=body([]))
    check_turns(graph([loop], n=MOST), "it")
    with pytest.raises(ModelError, match=rf"it: node 'around' \(Loop\) turns 1e\+08 times.* {MOST};"):
        check_turns(graph([loop], n=MOST + 1), "it")


def test_turns_of_loops_in_loops_are_multiplied() -> None:
    inner = node("Loop", ["m", ""], ["z"], "inner", body=body([]))
    outer = node("Loop", ["n", ""], ["y"], "outer", body=body([inner]))
    check_turns(graph([outer], n=10_000, m=10_000), "it")
    with pytest.raises(ModelError, match=r"node 'inner' \(Loop\) turns 1\.001e\+08 times"):
        check_turns(graph([outer], n=10_000, m=10_010), "it")


@pytest.mark.parametrize("ends", [False, True])
def test_a_body_that_decides_may_have_any_limit(ends: bool) -> None:
    step = node("Not" if ends else "Identity", ["c"], ["d"])
    loop = node("Loop", ["n", "true"], ["y"], "while", body=body([step], "d"))
    if ends:
        check_turns(graph([loop], n=2**63 - 1), "it")
    else:
        with pytest.raises(ModelError, match="node 'while'"):
            check_turns(graph([loop], n=2**63 - 1), "it")


def test_a_number_in_a_constant_node_counts() -> None:
    made = node("Constant", [], ["n"], "n", value_int=2**40)
    always = node("Constant", [], ["d"], value=numpy_helper.from_array(np.array(True)))
    loop = node("Loop", ["n", ""], ["y"], "around", body=body([always], "d"))
    with pytest.raises(ModelError, match=r"node 'around' \(Loop\) turns 1\.1e\+12 times"):
        check_turns(graph([made, loop]), "it")
