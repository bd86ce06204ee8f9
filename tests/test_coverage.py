"""What is counted as integer, on models that ONNX Runtime really optimises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import knight
from knight import model as models
from knight.coverage import optimised_coverage
from tests.passes.equivalence import build, random

CONV = {"w": random(4, 4, 3, 3), "b": random(4), "v": random(196, 3), "c": random(3)}
CASES = {
    "r = Conv(x, w, b) y = Relu(r)": ((), 1),
    "r = Conv(x, w, b) f = Flatten(r) y = Gemm(f, v, c)": ((), 3),
    "r = Conv(x, w, b) e = Erf(r) y = Conv(e, w)": (("Erf",), 2),
}


@pytest.mark.parametrize("nodes", CASES)
def test_onnx_runtime_is_asked_what_it_runs(nodes: str, tmp_path: Path) -> None:
    words = nodes.replace("(", " ").replace(")", " ").replace(",", " ").split()
    constants = {name: array for name, array in CONV.items() if name in words}
    source = build(nodes, constants, inputs={"x": (1, 4, 9, 9)})
    done = knight.quantize(source, [random(1, 4, 9, 9)], target="onnxruntime")
    found = optimised_coverage(done.model)
    floats, integers = CASES[nodes]
    assert tuple(name.split(" ")[0] for name in found.float_operators) == floats
    assert found.integer == integers and found.float_compute == ()
    assert done.report["integer_operators"] == integers
    assert done.report["float_operators"] == len(floats)


def test_a_float_model_has_no_integers() -> None:
    found = optimised_coverage(build("r = Conv(x, w, b) y = Relu(r)", CONV | {}, inputs={"x": (1, 4, 9, 9)}))
    assert found.integer == 0 and found.conversions == 0
    assert len(found.float_compute) == 1


def test_a_chip_is_counted_by_its_plan() -> None:
    source = build("r = Conv(x, w, b) y = Erf(r)", {k: CONV[k] for k in "wb"}, inputs={"x": (1, 4, 9, 9)})
    done = knight.quantize(source, [random(1, 4, 9, 9)], target="TX5368AV200")
    assert done.report["integer_operators"] == 1
    assert done.report["float_operator_names"] == ["Erf node1"]
    assert models.opset(done.model) >= 20 and np.isfinite(done.report["sqnr_db"])
