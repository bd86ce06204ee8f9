"""ONNX files whose weights are elsewhere, and whose operators are somebody's code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.case import Hostile, Place

SIZE = (2, 4)  # float32: fewer bytes than the secret has


def _weights(location: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(SIZE, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "32")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _save(folder: Path, nodes: list[onnx.NodeProto], weights: list[TensorProto], domain: str = "") -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    (folder / "net.onnx").write_bytes(model.SerializeToString())


def _outside(location: Callable[[Place], str]) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        weights = [_weights(location(place))]
        _save(place.folder, [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")], weights)

    return make


def _link(place: Place) -> str:
    os.symlink(place.secret, place.folder / "weights.data")
    return "weights.data"


def _hard_link(place: Place) -> str:
    os.link(place.secret, place.folder / "weights.data")
    return "weights.data"


def _pipe(place: Place) -> str:
    os.mkfifo(place.folder / "weights.data")
    return "weights.data"


def _folder(place: Place) -> str:
    (place.folder / "weights.data").mkdir()
    return "weights.data"


def _linked_folder(place: Place) -> str:
    os.symlink(place.secret.parent, place.folder / "weights")
    return f"weights/{place.secret.name}"


def _in_a_body(place: Place) -> None:
    y = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    matmul = helper.make_node("MatMul", ["x", "w"], ["z"], "matmul")
    body = helper.make_graph([matmul], "body", [], [y], [_weights(str(place.secret))])
    condition = numpy_helper.from_array(np.array(True), "c")
    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=body, else_branch=body)
    _save(place.folder, [node], [condition])


def _in_an_attribute(place: Place) -> None:
    constant = helper.make_node("Constant", [], ["w"], "constant")
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(
        _weights(str(place.secret))
    )
    _save(place.folder, [constant, helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")], [])


def _custom(domain: str, op_type: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        node = helper.make_node(
            op_type, ["x"], ["y"], "custom", domain=domain, module="os", func="system", code="import os"
        )
        _save(place.folder, [node], [], domain)

    return make


def _quant(folder: Path) -> tuple[object, ...]:
    return "--chip", "onnxruntime", "quant", "-m", folder / "net.onnx"


CASES = tuple(
    Hostile(f"onnx {name}", make, _quant, said)
    for name, make, said in (
        ("absolute", _outside(lambda place: str(place.secret)), "net.onnx"),
        ("parents", _outside(lambda place: f"../../{place.secret.name}"), "net.onnx"),
        ("parents behind a folder", _outside(lambda place: f"a/../../{place.secret.name}"), "net.onnx"),
        ("link", _outside(_link), "net.onnx"),
        ("linked folder", _outside(_linked_folder), "net.onnx"),
        ("hard link", _outside(_hard_link), "net.onnx"),
        ("pipe", _outside(_pipe), "net.onnx"),
        ("device", _outside(lambda place: "/dev/zero"), "net.onnx"),
        ("folder", _outside(_folder), "net.onnx"),
        ("in a body", _in_a_body, "net.onnx"),
        ("in an attribute", _in_an_attribute, "net.onnx"),
        ("python operator", _custom("ai.onnx.contrib", "PyOp"), "PyOp"),
        ("aten operator", _custom("org.pytorch.aten", "ATen"), "ATen"),
    )
)
