"""Shape inference fills in what follows from the inputs and constants, whatever the size of the weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from knight.errors import ModelError
from knight.passes import PassOptions, fold_constants
from knight.passes.infer_shapes import run
from tests.passes.equivalence import build
from tests.passes.zoo import ZOO, Case, numbers


def test_constants_are_propagated() -> None:
    model = ir.from_proto(ZOO["dynamic batch"].proto())
    assert run(model, PassOptions()) > 0
    shapes = {value.name: value.shape for node in model.graph for value in node.outputs}
    assert shapes["t"] == ir.Shape([2])
    assert list(shapes["y"])[1] == 24
    assert run(model, PassOptions()) == 0


def test_large_weights_keep_their_numbers_and_inputs_stay() -> None:
    case = Case("g (float[2,100] x) => (float[K,L] y) { y = MatMul(x, w) }", (), {"w": numbers(100, 50)})
    model = ir.from_proto(case.proto())
    tensor = model.graph.initializers["w"].const_value
    run(model, PassOptions())
    assert model.graph.initializers["w"].const_value is tensor
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert model.graph.outputs[0].shape == ir.Shape([2, 50])


def test_a_source_that_shares_types_is_left_alone() -> None:
    source = ir.from_proto(ZOO["cnn"].proto())
    copy = source.clone()
    assert run(copy, PassOptions()) > 0
    assert all(value.shape is None for node in source.graph for value in node.outputs if value.name != "y")


def test_contradictions_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few make ONNX fail at all, and which ones differs between its versions."""

    def fail(*args: object, **keywords: object) -> onnx.ModelProto:
        raise onnx.shape_inference.InferenceError("(op_type:Relu) 2 vs\n3")

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", fail)
    with pytest.raises(ModelError, match=r"^the model's shapes contradict each other: .*Relu\) 2 vs 3$"):
        run(ir.from_proto(ZOO["cnn"].proto()), PassOptions())


def test_a_loop_whose_count_is_computed_first_is_judged_once_it_is_known() -> None:
    step = "(int64 i, bool c, float[1] s) => (bool d, float[1] t) { d = Identity(c) t = Neg(s) }"
    nodes = f"m = Mul(n, n) y = Loop (m, yes, x) <body = g {step}>"
    constants = {"n": np.array(1 << 20), "yes": np.array(True)}
    model = build(nodes, constants, inputs={"x": (1,)})
    run(model, PassOptions())
    fold_constants.run(model, PassOptions())
    with pytest.raises(ModelError, match=r"the model: node .* \(Loop\) turns 1\.1e\+12 times"):
        run(model, PassOptions())
