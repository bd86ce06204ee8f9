"""After cleaning, weights are initializers and nothing else, and no function of the model is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from knight import model as models
from knight.errors import ModelError
from knight.passes import PassOptions
from knight.passes.clean_interface import run
from knight.runner import Session
from tests.passes.zoo import ZOO, Case, numbers

OPTIONS = PassOptions()


def cleaned(name: str) -> ir.Model:
    model = ir.from_proto(ZOO[name].proto())
    assert run(model, OPTIONS) > 0
    return model


def test_weights_stop_being_inputs() -> None:
    model = cleaned("weights as inputs")
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert set(model.graph.initializers) == {"w", "b"}
    assert model.ir_version == 4


def test_every_form_of_constant_is_lifted_with_its_numbers() -> None:
    model = cleaned("weights as Constant nodes")
    found = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    np.testing.assert_array_equal(found["w"], np.array([[1, -2], [3, 0.5], [0.25, -1]], np.float32))
    for name, wanted in {
        "f": np.array(0.5, np.float32),
        "fs": np.array([0.5, 1.5], np.float32),
        "i": np.array(1, np.int64),
        "is": np.array([1, 2], np.int64),
    }.items():
        assert found[name].dtype == wanted.dtype
        assert found[name].shape == wanted.shape
        np.testing.assert_array_equal(found[name], wanted)
    assert [node.outputs[0].name for node in model.graph if node.op_type == "Constant"] == ["k"], (
        "only a graph output stays"
    )


@pytest.mark.parametrize("kind", ["value_string", "value_strings", "value"])
def test_string_constants(kind: str) -> None:
    value = {
        "value_string": b"\xc3\xa4b",
        "value_strings": [b"\xc3\xa4b", b"c"],
        "value": onnx.helper.make_tensor("t", onnx.TensorProto.STRING, [2], [b"\xc3\xa4b", b"c"]),
    }[kind]
    proto = Case("g (string[N] x) => (string[K] y) { y = Concat<axis=0>(x, c) }", ({},), {}).proto()
    node = onnx.helper.make_node("Constant", [], ["c"], **{kind: value})
    proto.graph.node.insert(0, node)
    model = ir.from_proto(proto)
    assert run(model, OPTIONS) == 1
    tensor = onnx.load_from_string(ir.to_proto(model).SerializeToString()).graph.initializer[0]
    assert list(tensor.string_data) == (["äb".encode()] if kind == "value_string" else ["äb".encode(), b"c"])
    assert list(tensor.dims) == ([] if kind == "value_string" else [2])


def test_functions_are_inlined_and_their_domain_dropped() -> None:
    model = cleaned("model functions")
    assert not model.functions
    assert dict(model.opset_imports) == {"": 17}
    assert {node.op_type for node in model.graph} == {"Add", "Identity", "Mul"}


def test_a_function_of_another_opset_is_refused() -> None:
    proto = ZOO["model functions"].proto()
    proto.functions[0].opset_import[0].version = 13
    with pytest.raises(ModelError, match=r"twice.*export the model without functions"):
        run(ir.from_proto(proto), OPTIONS)


def test_negative_dimensions_become_unknown() -> None:
    proto = Case("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }", ()).proto()
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    model = ir.from_proto(proto)
    assert run(model, OPTIONS) == 2
    assert isinstance(model.graph.inputs[0].shape[0], ir.SymbolicDim)
    assert model.graph.inputs[0].shape[1] == 3


def test_unused_operator_sets_are_dropped() -> None:
    model = cleaned("vendor operators")
    assert dict(model.opset_imports) == {"": 17, "com.microsoft": 1}


def test_a_clean_model_is_left_alone() -> None:
    model = ir.from_proto(
        Case("g (float[3] x) => (float[3] y) { y = Add(x, w) }", (), {"w": numbers(3)}).proto()
    )
    assert run(model, OPTIONS) == 0


def test_the_standard_domain_by_its_long_name() -> None:
    proto = Case("g (float[3] x) => (float[3] y) { y = Relu(x) }", ()).proto()
    proto.opset_import[0].domain = proto.graph.node[0].domain = "ai.onnx"
    model = ir.from_proto(proto)
    assert run(model, OPTIONS) == 1
    assert dict(model.opset_imports) == {"": 17}
    assert run(model, OPTIONS) == 0


def test_weights_in_files_join_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = Case("g (float[3] x) => (float[3] y) { y = Add(x, w) }", (), {"w": numbers(3)}).proto()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    source = models.load(tmp_path / "m.onnx")
    model = source.clone()
    assert run(model, OPTIONS) == 1
    assert isinstance(source.graph.initializers["w"].const_value, ir.ExternalTensor)
    np.testing.assert_allclose(Session(model).run({"x": numbers(3)})[0], numbers(3) * 2)
    assert run(model, OPTIONS) == 0
