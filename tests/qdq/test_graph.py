"""A model as a comparison reads it: roots behind roundings, constants, rows, and the nodes of each row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from knight import operators
from knight.qdq.graph import Graph, evaluate
from tests.compare._reference import all_values
from tests.compare._small import net, quantized

FLOAT = TensorProto.FLOAT
SCALES = {"s": np.float32(0.1), "z": np.uint8(128), "ws": np.float32(0.05), "wz": np.int8(0)}


def model(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    weights: dict[str, np.ndarray] | None = None,
    inputs: Sequence[str] = ("x",),
    opset: int = 19,
) -> ir.Model:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, FLOAT, [1, 4, 6, 6]) for name in inputs],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        tensors,
    )
    return ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    )


def node(op: str, inputs: Sequence[str], outputs: Sequence[str] | str, **given: object) -> onnx.NodeProto:
    outputs = [outputs] if isinstance(outputs, str) else list(outputs)
    return helper.make_node(op, list(inputs), outputs, f"node_{outputs[0]}", **given)


def rounding(value: str) -> list[onnx.NodeProto]:
    """`value` -> value_q -> value_r."""
    return [
        node("QuantizeLinear", [value, "s", "z"], f"{value}_q"),
        node("DequantizeLinear", [f"{value}_q", "s", "z"], f"{value}_r"),
    ]


def fused() -> Graph:
    """x, Conv with a rounded weight, Relu, MaxPool; x, the Relu and the MaxPool are rounded."""
    random = np.random.default_rng(0)
    weights = {**SCALES, "wq": random.integers(-99, 99, (5, 4, 1, 1)).astype(np.int8)}
    nodes = [
        *rounding("x"),
        node("DequantizeLinear", ["wq", "ws", "wz"], "w"),
        node("Conv", ["x_r", "w"], "c"),
        node("Relu", ["c"], "r"),
        *rounding("r"),
        node("MaxPool", ["r_r"], "p", kernel_shape=[2, 2]),
        *rounding("p"),
    ]
    return Graph(model(nodes, ["p_r"], weights))


def named(values: Sequence[ir.Value]) -> list[str]:
    return [value.name or "" for value in values]


# Roots, constants and names --------------------------------------------------------------------------------


def test_the_root_lies_before_all_roundings() -> None:
    nodes = [
        *rounding("x"),
        node("Identity", ["x_r"], "same"),
        *rounding("same"),
        node("Relu", ["same_r"], "y"),
    ]
    graph = Graph(model(nodes, ["y"], SCALES))
    x = graph.values["x"]
    for name in ("x", "x_q", "x_r", "same", "same_q", "same_r"):
        assert graph.root(graph.values[name]) is x
    assert graph.root(graph.values["y"]) is graph.values["y"]
    assert list(graph.names(x)) == ["x", "x_q", "x_r", "same", "same_q", "same_r"]
    assert [(reader.op_type, place) for reader, place in graph.readers(x)] == [("Relu", 0)]
    assert named(graph.rows()) == ["x", "y"]


def test_what_depends_on_no_input_is_a_constant() -> None:
    nodes = [
        node("DequantizeLinear", ["wq", "ws", "wz"], "w"),
        node("Transpose", ["w"], "wt", perm=[1, 0]),
        node("Constant", [], "one", value=numpy_helper.from_array(np.float32(1))),
        node("RandomNormal", [], "noise", shape=[4, 3]),
        node("Mul", ["one", "one"], "product"),
        node("MatMul", ["x", "wt"], "m"),
        node("Add", ["m", "product"], "y"),
        node("Add", ["noise", "one"], "other"),
    ]
    graph = Graph(model(nodes, ["y", "other"], {**SCALES, "wq": np.ones((3, 6), np.int8)}))
    constant = {value.name for value in graph.constant}
    assert constant == {*SCALES, "wq", "w", "wt", "one", "product"}
    weight = graph.values["wt"]
    assert graph.root(weight) is weight
    assert named(graph.rows()) == ["x", "noise", "m", "y", "other"]


def test_a_weight_that_is_an_input_as_well_may_be_fed() -> None:
    found = Graph(
        model([node("MatMul", ["x", "w"], "y")], ["y"], {"w": np.ones((1, 4, 6, 6), np.float32)}, ("x", "w"))
    )
    assert found.values["w"] not in found.constant
    assert named(found.rows()) == ["x", "y"]


def test_a_rounded_weight_is_no_quantizer_of_an_activation() -> None:
    weights = {**SCALES, "wf": np.ones((1, 4, 6, 6), np.float32)}
    nodes = [*rounding("wf"), node("Mul", ["x", "wf_r"], "y"), *rounding("y")]
    graph = Graph(model(nodes, ["y_r"], weights))
    assert named(list(graph.quantizers)) == ["y"]


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_the_numbers_of_constants(axis: int | None) -> None:
    random = np.random.default_rng(0)
    size = 1 if axis is None else (5, 6)[axis]
    weights = {
        "wq": random.integers(-99, 99, (5, 6)).astype(np.int8),
        "ws": random.random(size).astype(np.float32) if axis is not None else np.float32(0.3),
        "wz": random.integers(-9, 9, size).astype(np.int8) if axis is not None else np.int8(3),
    }
    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        node("DequantizeLinear", ["wq", "ws", "wz"], "w", **attributes),
        node("Transpose", ["w"], "wt", perm=[1, 0]),
        node("MatMul", ["x", "wt"], "y"),
    ]
    source = model(nodes, ["y"], weights)
    graph = Graph(source)
    found = evaluate(graph, [graph.values[name] for name in ("w", "wt", "wq")])
    wanted = all_values(source, {"x": np.zeros((1, 4, 6, 6), np.float32)})
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)
        assert array.dtype == wanted[name].dtype
    assert list(found) == ["w", "wq", "wt"]
    assert len(list(source.graph)) == 3  # the model itself is left as it is


# Rows and units --------------------------------------------------------------------------------------------


def test_a_conv_and_its_relu_are_one_row() -> None:
    graph = fused()
    rows = graph.rows()
    assert named(rows) == ["x", "r", "p"]
    unit = graph.unit(graph.values["r"], set(rows))
    assert [made.op_type for made in unit.nodes if made.op_type != "DequantizeLinear"] == ["Conv", "Relu"]
    assert unit.main is not None
    assert unit.main.op_type == "Conv"
    assert named(unit.frontier) == ["x"]
    assert named(unit.constants) == ["w"]
    assert not unit.has_body
    pool = graph.unit(graph.values["p"], set(rows))
    assert ([made.op_type for made in pool.nodes], named(pool.frontier)) == (["MaxPool"], ["r"])


def test_quantizers_by_their_root() -> None:
    graph = fused()
    found = {
        root.name: (quantizer.quantize.name, quantizer.dequantize and quantizer.dequantize.name)
        for root, quantizer in graph.quantizers.items()
    }
    assert found == {
        "x": ("node_x_q", "node_x_r"),
        "r": ("node_r_q", "node_r_r"),
        "p": ("node_p_q", "node_p_r"),
    }


def test_an_input_is_a_unit_without_nodes() -> None:
    graph = fused()
    unit = graph.unit(graph.values["x"], set(graph.rows()))
    assert (unit.nodes, unit.main) == ([], None)


@pytest.mark.parametrize("reason", ["read twice", "an output", "rounded itself", "the relu is not rounded"])
def test_an_activation_keeps_its_own_row(reason: str) -> None:
    weights = {**SCALES, "w": np.ones((5, 4, 1, 1), np.float32)}
    nodes = [node("Conv", ["x", "w"], "c")]
    source = "c"
    if reason == "rounded itself":
        nodes += rounding("c")
        source = "c_r"
    nodes.append(node("Relu", [source], "r"))
    outputs = ["r_r"]
    if reason == "the relu is not rounded":
        outputs = ["r"]
    else:
        nodes += rounding("r")
    if reason == "read twice":
        nodes.append(node("Abs", ["c"], "other"))
        outputs.append("other")
    if reason == "an output":
        outputs.append("c")
    graph = Graph(model(nodes, outputs, weights))
    rows = graph.rows()
    assert named(rows)[:3] == ["x", "c", "r"]
    unit = graph.unit(graph.values["r"], set(rows))
    assert [made.op_type for made in unit.nodes] == ["Relu"]
    assert named(unit.frontier) == ["c"]


def test_every_output_of_a_node_is_a_row() -> None:
    nodes = [
        *rounding("x"),
        node("Split", ["x_r", "parts"], ["a", "b"], axis=1),
        *rounding("a"),
        *rounding("b"),
        node("Add", ["a_r", "b_r"], "y"),
    ]
    graph = Graph(model(nodes, ["y"], {**SCALES, "parts": np.array([2, 2])}))
    rows = graph.rows()
    assert named(rows) == ["x", "a", "b", "y"]
    for name in ("a", "b"):
        unit = graph.unit(graph.values[name], set(rows))
        assert ([made.op_type for made in unit.nodes], named(unit.frontier)) == (["Split"], ["x"])
        assert unit.output.name == name
    unit = graph.unit(graph.values["y"], set(rows))
    assert named(unit.frontier) == ["a", "b"]


def test_an_output_that_nobody_names_is_no_row() -> None:
    nodes = [node("MaxPool", ["x"], ["p", ""], kernel_shape=[2, 2]), node("Relu", ["p"], "y")]
    assert named(Graph(model(nodes, ["y"])).rows()) == ["x", "p", "y"]


def test_a_unit_goes_back_to_what_is_known() -> None:
    nodes = [node("Relu", ["x"], "a"), node("Neg", ["a"], "b"), node("Add", ["a", "b"], "y")]
    graph = Graph(model(nodes, ["y"]))
    values = graph.values
    unit = graph.unit(values["y"], {values["x"]})
    assert [made.op_type for made in unit.nodes] == ["Relu", "Neg", "Add"]  # each once, in order
    assert named(unit.frontier) == ["x"]
    assert unit.main is not None
    assert unit.main.op_type == "Add"
    near = graph.unit(values["y"], {values["x"], values["a"]})
    assert ([made.op_type for made in near.nodes], named(near.frontier)) == (["Neg", "Add"], ["a"])


def test_integers_that_leave_the_model_are_those_of_the_value(tmp_path: Path) -> None:
    """A fixed-point output is QuantizeLinear and Cast; both are the Gemm's."""
    source, data = net("conv_net", tmp_path)
    graph = Graph(quantized(source, data, "TX5368AV200"))
    assert [made.op_type for made in graph.graph][-2:] == ["QuantizeLinear", "Cast"]
    rows = graph.rows()
    assert named(rows) == ["x", "relu", "pool", "flat", "scores_before_quantization"]
    last = rows[-1]
    assert list(graph.names(last))[1:] == ["scores_QuantizeLinear_output", "scores"]
    assert graph.quantizers[last].dequantize is None
    unit = graph.unit(last, set(rows))
    assert unit.main is not None
    assert unit.main.op_type == "Gemm"


def test_a_cast_of_other_integers_is_an_operator() -> None:
    nodes = [
        node("ArgMax", ["x"], "place", axis=1),
        node("Cast", ["place"], "y", to=FLOAT),
    ]
    assert named(Graph(model(nodes, ["y"])).rows()) == ["x", "place", "y"]


# Bodies ----------------------------------------------------------------------------------------------------


def body(name: str, operator: str) -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node(operator, ["x"], [f"{name}_out"], f"{name}_node")],
        name,
        [],
        [helper.make_tensor_value_info(f"{name}_out", FLOAT, None)],
    )


def test_a_choice_between_two_bodies() -> None:
    nodes = [
        node("ReduceSum", ["x"], "sum", keepdims=0),
        node("Greater", ["sum", "zero"], "positive"),
        node("If", ["positive"], "y", then_branch=body("yes", "Relu"), else_branch=body("no", "Neg")),
    ]
    graph = Graph(model(nodes, ["y"], {"zero": np.float32(0)}))
    assert named(graph.rows()) == ["x", "sum", "positive", "y"]
    unit = graph.unit(graph.values["y"], set(graph.rows()))
    assert unit.has_body
    assert operators.has_subgraph(unit.nodes[-1])
    assert not any(operators.has_subgraph(made) for made in unit.nodes[:-1])


def test_what_a_body_makes_of_constants_is_none() -> None:
    """Its branches may read anything of the graph around it."""
    nodes = [node("If", ["always"], "y", then_branch=body("yes", "Relu"), else_branch=body("no", "Neg"))]
    graph = Graph(model(nodes, ["y"], {"always": np.bool_(True)}))
    assert graph.values["y"] not in graph.constant
    assert named(graph.rows()) == ["x", "y"]


def test_a_loop() -> None:
    inside = helper.make_graph(
        [
            helper.make_node("Add", ["state", "x"], ["next"], "add"),
            helper.make_node("Identity", ["going"], ["still"], "same"),
        ],
        "inside",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", FLOAT, None),
        ],
    )
    nodes = [node("Loop", ["three", "", "x"], "y", body=inside)]
    graph = Graph(model(nodes, ["y"], {"three": np.int64(3)}))
    assert named(graph.rows()) == ["x", "y"]
    assert graph.unit(graph.values["y"], set(graph.rows())).has_body
