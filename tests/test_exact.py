"""What is made for exact kernels computes what the file did, by ONNX's reference evaluator."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings, strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from knight import model as models
from knight.exact import LARGEST, exact
from knight.runner import Session

SCALE, ZERO = np.float32(0.02), np.uint8(120)


class Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name

    def add(self, op_type: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def pair(self, value: str) -> str:
        numbers = [self.constant("s", SCALE), self.constant("z", ZERO)]
        q = self.add("QuantizeLinear", [value, *numbers], f"{value}_q")
        return self.add("DequantizeLinear", [q, *numbers], f"{value}_d")

    def model(self, shape: tuple[int, ...], output: str, kind: int = TensorProto.FLOAT) -> ir.Model:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", kind, shape)],
            [
                helper.make_tensor_value_info(
                    output, _result_type(self.nodes[-1].op_type), [None] * len(shape)
                )
            ],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=9))


def _result_type(op_type: str) -> int:
    if op_type.startswith("QLinear"):
        return TensorProto.UINT8
    return TensorProto.INT32 if "Integer" in op_type or op_type == "If" else TensorProto.FLOAT


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def reference(model: ir.Model, x: np.ndarray) -> np.ndarray:
    (result,) = ReferenceEvaluator(models.to_proto(model)).run(None, {"x": x})
    return np.asarray(result)


def int8_weights(model: ir.Model) -> list[str]:
    found = []
    for name, value in model.graph.initializers.items():
        array = models.constant(value)
        if array is not None and array.dtype == np.int8 and value.uses() and array.size > 8:
            found.append(name)
    return found


def layer(graph: Graph, op_type: str, x: str, y: str, w: str, *, zero: bool, moved: bool) -> None:
    """One operator behind a pair, with the weight `w`, which layers may share."""
    axis = 0 if op_type == "Conv" else 1
    channels = graph.constants[w].shape[axis]
    inputs = [w, graph.constant(f"{w}_s", np.full(channels, 0.01, np.float32))]
    if zero:
        inputs.append(graph.constant(f"{w}_z", np.zeros(channels, np.int8)))
    real = graph.add("DequantizeLinear", inputs, f"{y}_w", axis=axis)
    if moved and op_type != "Conv":  # twice transposed
        real = graph.add("Transpose", [real], f"{y}_wt", perm=[1, 0])
        real = graph.add("Transpose", [real], f"{y}_wtt", perm=[1, 0])
    graph.add(op_type, [graph.pair(x), real], y, **({"pads": [1] * 4} if op_type == "Conv" else {}))


# Sums that would saturate


@pytest.mark.parametrize("op_type", ["Conv", "Gemm", "MatMul"])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_pairs_compute_the_same_to_the_bit(op_type: str, data: st.DataObject) -> None:
    zero, moved, shared = data.draw(st.booleans()), data.draw(st.booleans()), data.draw(st.booleans())
    seed = data.draw(st.integers(0, 99))
    shape = (1, 6, 5, 5) if op_type == "Conv" else (3, 6)
    graph = Graph()
    for name in ("w", "v"):
        graph.constant(name, weights(6, 6, *((3, 3) if op_type == "Conv" else ()), seed=seed))
    layer(graph, op_type, "x", "a", "w", zero=zero, moved=moved)
    layer(graph, op_type, "a", "y", "w" if shared else "v", zero=zero, moved=moved)
    if shared:
        del graph.constants["v"]
    model = graph.model(shape, "y")
    before = models.to_bytes(model)
    changed = exact(model, saturates=True)
    assert models.to_bytes(model) == before
    assert int8_weights(model) and not int8_weights(changed)
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(reference(changed, x), reference(model, x))
    onnx.checker.check_model(models.to_proto(changed), full_check=True)
    Session(changed, kernels="host").run({"x": x})


INTEGER_OPERATORS = {
    "MatMulInteger": (["x", "w"], ["x", "w", "xz", "wz"]),
    "QLinearMatMul": (["x", "s", "xz", "w", "ws", "wz", "s", "xz"],),
    "QLinearConv": (["x", "s", "xz", "w", "ws", "wz", "s", "xz"],),
    "ConvInteger": (["x", "w"], ["x", "w", "xz", "wz"]),
}


@pytest.mark.parametrize(
    ("op_type", "inputs"), [(name, each) for name, forms in INTEGER_OPERATORS.items() for each in forms]
)
def test_integer_operators(op_type: str, inputs: list[str]) -> None:
    is_conv = "Conv" in op_type
    shape = (1, 6, 5, 5) if is_conv else (3, 6)
    graph = Graph()
    graph.constants = {
        "w": weights(6, 6, 3, 3) if is_conv else weights(6, 6),
        "s": SCALE,
        "xz": ZERO,
        "ws": np.float32(0.01),
        "wz": np.int8(3),
    }
    graph.add(op_type, inputs, "y")
    graph.constants = {name: value for name, value in graph.constants.items() if name in inputs}
    model = graph.model(shape, "y", TensorProto.UINT8)
    changed = exact(model, saturates=True)
    assert not int8_weights(changed)
    x = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    np.testing.assert_array_equal(reference(changed, x), reference(model, x))


def test_int8_by_int8_stays_whether_the_graph_states_the_type_or_the_zero_point_does() -> None:
    for zero in (np.int8(3), None):
        graph = Graph()
        graph.constants = {"w": weights(6, 6)} | ({} if zero is None else {"xz": zero})
        graph.add("MatMulInteger", ["x", "w"] + ([] if zero is None else ["xz"]), "y")
        model = graph.model((3, 6), "y", TensorProto.INT8)
        if zero is not None:
            model.graph.inputs[0].dtype = None
        assert exact(model, saturates=True) is model


def test_computed_integers_are_shifted_where_they_are_read() -> None:
    graph = Graph()
    graph.constants = {"w": weights(6, 6), "swap": np.array([1, 0, 3, 2, 5, 4])}
    graph.add("Gather", ["w", "swap"], "g", axis=0)
    graph.add("MatMulInteger", ["x", "g"], "y")
    model = graph.model((3, 6), "y", TensorProto.UINT8)
    next(iter(model.graph)).outputs[0].dtype = ir.DataType.INT8
    changed = exact(model, saturates=True)
    assert changed is not model
    x = np.random.default_rng(1).integers(0, 256, (3, 6)).astype(np.uint8)
    np.testing.assert_array_equal(reference(changed, x), reference(model, x))
    np.testing.assert_array_equal(Session(changed, kernels="host").run({"x": x})[0], reference(model, x))


def test_a_body_of_an_if_is_not_forgotten() -> None:
    graph = Graph()
    graph.constants = {"w": weights(6, 6), "yes": np.array(True)}
    branches = {}
    for name in ("then_branch", "else_branch"):
        node = helper.make_node("MatMulInteger", ["x", "w"], [name])
        output = helper.make_tensor_value_info(name, TensorProto.INT32, None)
        branches[name] = helper.make_graph([node], name, [], [output])
    graph.add("If", ["yes"], "y", **branches)
    model = graph.model((3, 6), "y", TensorProto.UINT8)
    changed = exact(model, saturates=True)
    assert not int8_weights(changed)
    x = np.full((3, 6), 255, np.uint8)
    np.testing.assert_array_equal(reference(changed, x), x.astype(np.int64) @ weights(6, 6).astype(np.int64))


def test_what_cannot_saturate_stays_as_it_is() -> None:
    small = np.clip(weights(6, 6), -LARGEST, LARGEST)
    assert 2 * 255 * LARGEST < 2**15 < 2 * 255 * (LARGEST + 1)
    graph = Graph()
    graph.constants = {"w": small}
    layer(graph, "MatMul", "x", "y", "w", zero=True, moved=False)
    model = graph.model((3, 6), "y")
    assert exact(model, saturates=True) is model
    graph = Graph()  # the second operand of an Add is no factor of a sum of products
    graph.constants = {"w": weights(1, 6), "ws": np.float32(0.1), "wz": np.int8(0)}
    real = graph.add("DequantizeLinear", ["w", "ws", "wz"], "wd")
    graph.add("Add", [graph.pair("x"), real], "y")
    model = graph.model((3, 6), "y")
    assert exact(model, saturates=True) is model


# A Softmax that would be rounded down


def attention(reader: str = "QuantizeLinear") -> ir.Model:
    graph = Graph()
    soft = graph.add("Softmax", [graph.pair("x")], "p", axis=-1)
    numbers = [graph.constant("one", np.float32(1 / 255)), graph.constant("none", np.uint8(0))]
    if reader == "QuantizeLinear":
        soft = graph.add("QuantizeLinear", [soft, *numbers], "pq")
        graph.add("DequantizeLinear", [soft, *numbers], "y")
    else:
        graph.add(reader, [soft], "y")
    return graph.model((4, 65), "y")


def test_softmax_is_that_of_the_reference_evaluator() -> None:
    x = np.random.default_rng(3).normal(size=(4, 65)).astype(np.float32)
    model = attention()
    changed = exact(model, saturates=False)
    np.testing.assert_array_equal(reference(changed, x), reference(model, x))
    onnx.checker.check_model(models.to_proto(changed), full_check=True)
    session = Session(model, taps=["p"])
    got, p = session.run({"x": x})
    assert not session.is_host
    np.testing.assert_allclose(got, reference(model, x), atol=1e-6)
    assert p.dtype == np.float32 and p.sum(axis=-1) == pytest.approx(1, abs=1e-6)
    (rounded,) = Session(model, kernels="host").run({"x": x})
    assert (rounded <= got).all() and (rounded < got).any()  # where this holds no more, `exact` can let it be


def test_a_softmax_in_float_stays() -> None:
    model = attention("Neg")
    assert exact(model, saturates=False) is model
