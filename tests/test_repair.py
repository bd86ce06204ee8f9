"""Models that ONNX Runtime runs though ONNX forbids their form: they load, and compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from knight import model as models
from knight.errors import ModelError
from knight.runner import Session
from tests import small_models
from tests.passes.equivalence import random

X = random(1, 3, 8, 8)


def same_as_runtime(path: Path, feeds: dict[str, np.ndarray]) -> None:
    wanted = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds)
    for a, b in zip(wanted, Session(models.load(path)).run(feeds), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_old_ir_version_with_free_weights(tmp_path: Path) -> None:
    proto = onnx.load(small_models.conv_net(tmp_path))
    proto.ir_version = 3
    onnx.save(proto, tmp_path / "old.onnx")
    with pytest.raises(onnx.checker.ValidationError, match="not in graph input"):
        onnx.checker.check_model(str(tmp_path / "old.onnx"))
    same_as_runtime(tmp_path / "old.onnx", {"x": X})


@pytest.mark.parametrize("seed", range(5))
def test_unsorted_nodes(tmp_path: Path, seed: int) -> None:
    proto = onnx.load(small_models.conv_net(tmp_path))
    wanted = [list(node.output) for node in proto.graph.node]
    nodes = [proto.graph.node[place] for place in np.random.default_rng(seed).permutation(len(wanted))]
    proto.graph.ClearField("node")
    proto.graph.node.extend(nodes if [list(n.output) for n in nodes] != wanted else nodes[::-1])
    onnx.save(proto, tmp_path / "mixed.onnx")
    with pytest.raises(onnx.checker.ValidationError, match="sorted"):
        onnx.checker.check_model(str(tmp_path / "mixed.onnx"))
    same_as_runtime(tmp_path / "mixed.onnx", {"x": X})


def test_unsorted_nodes_with_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    proto = onnx.load(small_models.conv_net(tmp_path))
    nodes = list(proto.graph.node)[::-1]
    proto.graph.ClearField("node")
    proto.graph.node.extend(nodes)
    onnx.save_model(
        proto, tmp_path / "apart.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    same_as_runtime(tmp_path / "apart.onnx", {"x": X})


def test_what_a_body_reads_comes_before_it(tmp_path: Path) -> None:
    def body(name: str, op_type: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, (2,))
        return helper.make_graph([helper.make_node(op_type, ["late"], [name])], name, [], [output])

    branch = helper.make_node(
        "If", ["c"], ["y"], then_branch=body("a", "Neg"), else_branch=body("b", "Identity")
    )
    graph = helper.make_graph(
        [branch, helper.make_node("Add", ["x", "w"], ["late"])],
        "net",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, (2,)),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2,))],
        [numpy_helper.from_array(np.ones(2, np.float32), "w")],
    )
    path = tmp_path / "body.onnx"
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)
    x = np.array([1, 2], np.float32)
    (y,) = Session(models.load(path)).run({"c": np.array(True), "x": x})
    np.testing.assert_array_equal(y, -(x + 1))


def test_a_cycle_is_an_error_that_names_it(tmp_path: Path) -> None:
    proto = onnx.load(small_models.conv_net(tmp_path))
    proto.graph.node[0].input[0] = proto.graph.node[-1].output[0]
    onnx.save(proto, tmp_path / "cycle.onnx")
    with pytest.raises(ModelError, match="reads what is made of its own output") as caught:
        models.load(tmp_path / "cycle.onnx")
    names = [name for node in proto.graph.node for name in (node.name, *node.output) if name]
    assert any(repr(name) in str(caught.value) for name in names)


def test_a_sound_model_stays_as_it_is(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    before = onnx.load(path)
    loaded = models.to_proto(models.load(path))
    assert [list(n.output) for n in loaded.graph.node] == [list(n.output) for n in before.graph.node]
    assert loaded.ir_version == before.ir_version
