"""Divisions that the processor refuses, inside ONNX Runtime: the process ends, and says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent


def net(path: Path, operator: str, dtype: type[np.signedinteger], *, constant: bool, divisor: int) -> Path:
    """y = x + (the smallest integer by `divisor`), where the divisor is a constant or comes out of x."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    tensors = [numpy_helper.from_array(np.full(4, np.iinfo(dtype).min, dtype), "least")]
    if constant:
        tensors.append(numpy_helper.from_array(np.full(4, divisor, dtype), "d"))
        nodes = []
    else:
        tensors += [
            numpy_helper.from_array(np.zeros(4, np.float32), "zero"),
            numpy_helper.from_array(np.full(4, divisor, np.float32), "shift"),
        ]
        nodes = [
            helper.make_node("Mul", ["x", "zero"], ["none"], "mul"),
            helper.make_node("Add", ["none", "shift"], ["number"], "shifted"),
            helper.make_node("Cast", ["number"], ["d"], "cast", to=kind),
        ]
    nodes += [
        helper.make_node(operator, ["least", "d"], ["q"], "culprit"),
        helper.make_node("Cast", ["q"], ["real"], "back", to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "real"], ["y"], "add"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph(nodes, "net", [x], [y], tensors)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def knight(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "knight", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(("operator", "dtype"), [("Div", np.int64), ("Mod", np.int32), ("Mod", np.int64)])
def test_the_node_is_named(
    tmp_path: Path, operator: str, dtype: type[np.signedinteger], constant: bool
) -> None:
    model = net(tmp_path / "net.onnx", operator, dtype, constant=constant, divisor=-1)
    done = knight("infer", "-m", model, "-i", 1)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("knight: error: ONNX Runtime divided integers") and "'culprit'" in line


def test_parts_of_size_zero(tmp_path: Path) -> None:
    """ONNX Runtime divides by the size of the parts, where that is a constant."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4)) for name in "xy"]
    size = numpy_helper.from_array(np.array(0), "size")
    nodes = [
        helper.make_node("SplitToSequence", ["x", "size"], ["parts"], "culprit", axis=1),
        helper.make_node("ConcatFromSequence", ["parts"], ["y"], "joined", axis=1),
    ]
    graph = helper.make_graph(nodes, "net", infos[:1], infos[1:], [size])
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    done = knight("infer", "-m", path, "-i", 1)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("knight: error: ONNX Runtime divided integers") and "'culprit'" in line


def test_a_result_that_was_there_stays(tmp_path: Path) -> None:
    good = net(tmp_path / "net.onnx", "Div", np.int64, constant=False, divisor=2)
    words = ("--chip", "onnxruntime", "quant", "-m", good, "-i", 1, "--save-dir", tmp_path / "out")
    assert knight(*words).returncode == 0
    earlier = (tmp_path / "out" / "net_quantize.onnx").read_bytes()
    net(good, "Div", np.int64, constant=False, divisor=-1)
    assert knight(*words).returncode == 1
    assert (tmp_path / "out" / "net_quantize.onnx").read_bytes() == earlier
    net(good, "Div", np.int64, constant=False, divisor=2)
    assert knight(*words).returncode == 0


@pytest.mark.parametrize("divisor", [1, 3, -3])
def test_other_divisions_compute(tmp_path: Path, divisor: int) -> None:
    model = net(tmp_path / "net.onnx", "Div", np.int64, constant=False, divisor=divisor)
    assert knight("infer", "-m", model, "-i", 1).returncode == 0
