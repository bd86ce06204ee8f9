"""Knight's results are known again as long as they compute what they did."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import knight
from knight import model as models
from knight.qdq import own
from tests.compare._small import net as small, quantized
from tests.compare._tools import net
from tests.qdq._writings import node


@pytest.fixture
def model(tmp_path: Path) -> ir.Model:
    source, data = small("conv_net", tmp_path)
    return quantized(source, data, "TX5368AV200")


def test_a_mark(model: ir.Model) -> None:
    del model.metadata_props[own.FINGERPRINT]  # results are signed
    assert own.is_ours(model) is None
    own.mark(model)
    assert own.is_ours(model) == "ours"
    assert (model.producer_name, model.producer_version) == ("knight", knight.__version__)
    assert len(model.metadata_props[own.FINGERPRINT]) == hashlib.sha256().digest_size * 2


@pytest.mark.parametrize("external", [False, True])
def test_saving_and_loading_changes_nothing(model: ir.Model, external: bool, tmp_path: Path) -> None:
    own.mark(model)
    models.save(model, tmp_path / "here.onnx", external=external)
    again = models.load(tmp_path / "here.onnx")
    assert own.is_ours(again) == "ours"
    (tmp_path / "there").mkdir()
    models.save(again, tmp_path / "there" / "other.onnx", external=not external)
    assert own.is_ours(models.load(tmp_path / "there" / "other.onnx")) == "ours"
    proto = onnx.load(tmp_path / "here.onnx")  # onnx's own reader and writer
    onnx.save(proto, tmp_path / "third.onnx")
    assert own.is_ours(models.load(tmp_path / "third.onnx")) == "ours"


@pytest.mark.parametrize("kit_file", ["resnet20_cifar10.onnx", "silero_vad_16k_op15.onnx"])
def test_real_models(kit: Path, kit_file: str, tmp_path: Path) -> None:
    model = models.load(kit / "onnx" / kit_file)
    own.mark(model)
    models.save(model, tmp_path / "out.onnx", external=True)
    assert own.is_ours(models.load(tmp_path / "out.onnx")) == "ours"


def _conv(model: ir.Model) -> ir.Node:
    return next(each for each in model.graph if each.op_type == "Conv")


def _scale(model: ir.Model) -> None:
    value = model.graph.initializers["w_scale"]
    array = np.array(models.constant(value))
    array.reshape(-1)[-1] = np.nextafter(array.reshape(-1)[-1], np.float32(1))
    value.const_value = ir.tensor(array, name="w_scale")


def _weight(model: ir.Model) -> None:
    value = model.graph.initializers["w_quantized"]
    array = np.array(models.constant(value))
    array.reshape(-1)[-1] ^= 1
    value.const_value = ir.tensor(array, name="w_quantized")


def _attribute(model: ir.Model) -> None:
    _conv(model).attributes["pads"] = ir.AttrInt64s("pads", [1, 1, 1, 0])


def _wiring(model: ir.Model) -> None:
    conv = _conv(model)
    conv.replace_input_with(2, None)


def _output(model: ir.Model) -> None:
    model.graph.outputs.append(_conv(model).outputs[0])


def _opset(model: ir.Model) -> None:
    model.opset_imports[""] += 1


def _type(model: ir.Model) -> None:
    model.graph.inputs[0].shape = ir.Shape([2, 3, 8, 8])


def _operator(model: ir.Model) -> None:
    next(each for each in model.graph if each.op_type == "Relu").op_type = "Elu"


@pytest.mark.parametrize("change", [_scale, _weight, _attribute, _wiring, _output, _opset, _type, _operator])
def test_a_change_is_seen(model: ir.Model, change: Callable[[ir.Model], None]) -> None:
    own.mark(model)
    change(model)
    assert own.is_ours(model) == "changed"


def test_what_does_not_count(model: ir.Model) -> None:
    own.mark(model)
    model.metadata_props["note"] = "from the laboratory"
    model.producer_version = "99"
    model.doc_string = model.graph.doc_string = "seen"
    model.graph.name = "renamed"
    _conv(model).doc_string = "the first"
    _conv(model).outputs[0].shape = ir.Shape([1, 5, 8, 8])
    tensors = list(model.graph.initializers.items())
    model.graph.initializers.clear()
    for name, value in reversed(tensors):
        model.graph.initializers[name] = value
    assert own.is_ours(model) == "ours"


def test_numbers_that_a_file_rounds_are_hashed_as_the_file_has_them(tmp_path: Path) -> None:
    """Attributes of every kind; a Python float has more digits than the file keeps."""
    body = helper.make_graph(
        [node("Identity", "w", "inner")], "body", [], [helper.make_tensor_value_info("inner", 1, None)]
    )
    nodes = [
        node("Elu", "x", "e", alpha=0.1),
        node("Constant", "", "t", value_strings=["a", "b"]),
        node("Constant", "", "u", value_floats=[0.1, float("nan"), -0.0]),
        node("Constant", "", "v", value=helper.make_tensor("v", 1, [2], [1.0, 2.0])),
        helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body),
    ]
    weights = {"w": np.float32([0.5]), "yes": np.bool_(True), "empty": np.zeros(0, np.int64)}
    weights["names"] = np.array(["one", "two"], object)
    made = net(nodes, weights, inputs={"x": (2,)}, outputs=["e", "y"])
    next(iter(made.graph)).attributes["alpha"] = ir.AttrFloat32("alpha", 0.1)
    made.graph.sort()
    found = own.fingerprint(made)
    models.save(made, tmp_path / "net.onnx")
    assert own.fingerprint(ir.load(tmp_path / "net.onnx")) == found
    next(iter(made.graph)).attributes["alpha"] = ir.AttrFloat32("alpha", 0.1 + 1e-7)
    assert own.fingerprint(made) != found


def test_a_name_may_not_slip_into_its_neighbour() -> None:
    both = [
        net([node("Add", inputs, "y", "n")], {}, inputs=dict.fromkeys(inputs.split(), (2,)), outputs=["y"])
        for inputs in ("ab c", "a bc")
    ]
    assert own.fingerprint(both[0]) != own.fingerprint(both[1])
