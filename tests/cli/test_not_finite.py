"""Float models whose outputs overflow: a run ends with its result, and says that its figures tell nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

Run = Callable[..., Result]


@pytest.mark.parametrize("factor", [3e38, np.nan])
def test_float_outputs_that_are_not_finite_are_told_and_stand_in_the_report(
    run: Run, tmp_path: Path, factor: float
) -> None:
    """BatchNormalization stays in float, so nothing else looks at what it makes."""
    weights = {name: np.full(3, value, np.float32) for name, value in zip("sbmv", (1, 0, 0, 1), strict=True)}
    weights["s"][:] = factor
    weights["w"] = np.full((3, 3, 1, 1), 100, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("BatchNormalization", ["r", "s", "b", "m", "v"], ["y"], "norm"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 4, 4)) for name in "xy"]
    graph = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(a, n) for n, a in weights.items()]
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    ran = run("--chip", "onnxruntime", "quant", "-m", path, "--save-dir", tmp_path / "out")
    assert ran.exit_code == 0, ran.stderr
    (line,) = (line for line in ran.stdout.splitlines() if "warning" in line)
    assert line.startswith("  warning: output 'y' of the float model is not finite in places (Inf or NaN)")
    report = json.loads((tmp_path / "out" / "net_report.json").read_text("utf-8"))
    assert [f"  warning: {text}" for text in report["warnings"]] == [line]
