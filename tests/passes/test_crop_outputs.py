"""The graph ends where the user says, and carries nothing that only the old outputs needed."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from knight import model as models
from knight.errors import ConfigError
from knight.passes import PassOptions
from knight.passes.crop_outputs import run
from tests.passes.zoo import Case, numbers

CASE = Case(
    """g (float[N,3] x, float[3] other, float[3] idle) => (float[N,3] y) {
        a = Relu(x) b = Add(a, w) p, q = Split<axis=1>(b, parts) g = com.microsoft.Gelu(b)
        c = Mul(b, other) y = Exp(c) }""",
    (),
    {"w": numbers(3), "parts": np.array([1, 2])},
    imports=', "com.microsoft" : 1',
)


def cropped(*names: str, count: int | None = None) -> ir.Model:
    proto = CASE.proto()
    for node in proto.graph.node:
        node.name = f"{node.op_type}_node"
    model = ir.from_proto(proto)
    changes = run(model, PassOptions(output_names=names))
    assert changes == count if count is not None else changes > 0
    onnx.checker.check_model(models.to_bytes(model), full_check=True)
    return model


def run_model(model: ir.Model) -> list[np.ndarray]:
    sample = {"x": numbers(2, 3), "other": numbers(3), "idle": numbers(3)}
    session = ort.InferenceSession(models.to_bytes(model), providers=["CPUExecutionProvider"])
    return session.run(None, {value.name: sample[value.name] for value in session.get_inputs()})


@pytest.mark.parametrize("name", ["b", "Add_node"])
def test_value_or_node(name: str) -> None:
    model = cropped(name)
    assert [node.op_type for node in model.graph] == ["Relu", "Add"]
    assert [value.name for value in model.graph.outputs] == ["b"]
    assert [value.name for value in model.graph.inputs] == ["x", "idle"], "other is no longer needed"
    assert set(model.graph.initializers) == {"w"}
    np.testing.assert_allclose(run_model(model)[0], np.maximum(numbers(2, 3), 0) + numbers(3))


def test_types_are_filled_also_behind_vendor_operators() -> None:
    model = cropped("b", "g")
    b, g = model.graph.outputs
    assert b.dtype == g.dtype == ir.DataType.FLOAT
    assert len(b.shape) == len(g.shape) == 2
    assert b.shape[1] == 3
    assert len(run_model(model)) == 2


def test_several_in_the_order_given_and_once_each() -> None:
    model = cropped("y", "a", "y", "Relu_node")
    assert [value.name for value in model.graph.outputs] == ["y", "a"]


def test_all_outputs_of_a_node() -> None:
    model = cropped("q", "p")
    assert [value.name for value in model.graph.outputs] == ["q", "p"]


def test_nothing_to_do() -> None:
    cropped("y", count=0)
    cropped(count=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Relu_nod", "output name 'Relu_nod': the model has no such value or node; did you mean 'Relu_node'"),
        ("zzzzzz", "no such value or node; known: "),
        ("x", "output name 'x': is an input or a constant"),
        ("w", "is an input or a constant"),
    ],
)
def test_wrong_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cropped(name)
