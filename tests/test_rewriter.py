"""The QDQ model against an independent statement: NumPy's own quantization of the same graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from knight import model as models
from knight.coverage import optimised_coverage
from knight.outputs import output_scales
from knight.rewriter import rewrite
from knight.runner import Session
from knight.solver import Parameters, solve
from knight.targets import Target, load_target
from knight.types import QuantPlan
from tests.passes.equivalence import build, random
from tests.stages import plan_of, statistics_of

ORT = load_target("onnxruntime")
TX = load_target("TX5368AV200")
CONV = {"w": random(4, 4, 3, 3, seed=1), "b": random(4, seed=2)}
X = random(2, 4, 9, 9, seed=3)


def quantized(model: ir.Model, target: Target, x: np.ndarray = X) -> tuple[ir.Model, QuantPlan, Parameters]:
    plan = plan_of(model, target)
    params = solve(model, plan, statistics_of(model, plan, [{"x": x}]))
    return rewrite(model, plan, params), plan, params


def run(model: ir.Model, x: np.ndarray = X) -> list[np.ndarray]:
    return Session(model).run({"x": x})


def fake(x: np.ndarray, scale: np.ndarray, zero_point: int, low: int, high: int) -> np.ndarray:
    """Quantization as the ONNX specification states it, in NumPy alone."""
    return (np.clip(np.rint(x / scale) + zero_point, low, high) - zero_point) * scale


def test_one_matmul_equals_numpy() -> None:
    weight = random(9, 5)
    model = build("t = Tanh(x) m = MatMul(t, w) y = Relu(m)", {"w": weight}, inputs={"x": (3, 9)})
    x = random(3, 9, seed=5)
    twin, _, params = quantized(model, TX, x)
    t = fake(np.tanh(fake(x, *_of(params, "x"), -128, 127)), *_of(params, "t"), -128, 127)
    w = fake(weight, np.abs(weight).max(axis=0) / np.float32(127), 0, -128, 127)
    steps = np.rint(np.maximum(t @ w, 0) / params.activations["y"].scale)
    np.testing.assert_allclose(
        run(twin, x)[0], np.clip(steps, -128, 127), atol=1.0
    )  # one step: another sum order
    assert np.mean(run(twin, x)[0] != steps) < 0.1


def _of(params: Parameters, name: str) -> tuple[np.ndarray, int]:
    found = params.activations[name]
    return found.scale, int(found.zero_point)


@pytest.mark.parametrize(
    "target", [ORT, TX, load_target("tensorrt"), load_target("generic")], ids=lambda t: t.name
)
def test_checker_reference_and_runtime_agree(target: Target) -> None:
    nodes = "c = Conv<pads = [1, 1, 1, 1]>(x, w, b) r = Relu(c) a = Add(r, x) y = Conv(a, w, b)"
    twin, _, params = quantized(build(nodes, CONV, opset=target.opset), target)
    proto = ir.to_proto(twin)
    onnx.checker.check_model(proto, full_check=True)
    (expected,) = onnx.reference.ReferenceEvaluator(proto).run(None, {"x": X})
    step = (
        1.0
        if output_scales(twin)
        else float(params.activations["y"].scale)
        if "y" in params.activations
        else 0.05
    )
    np.testing.assert_allclose(run(twin)[0], expected, atol=step * 1.01)


def test_the_source_is_untouched_and_the_result_deterministic() -> None:
    model = build("c = Conv<pads = [1, 1, 1, 1]>(x, w, b) y = Relu(c)", CONV)
    before = models.to_bytes(model)
    first, plan, params = quantized(model, ORT)
    assert models.to_bytes(model) == before
    assert models.to_bytes(first) == models.to_bytes(rewrite(model, plan, params))


def test_names_of_values_and_outputs_stay() -> None:
    twin, _, _ = quantized(build("c = Conv<pads = [1, 1, 1, 1]>(x, w, b) y = Relu(c)", CONV), ORT)
    assert [value.name for value in twin.graph.outputs] == ["y"]
    assert {"x", "c", "y"} <= {value.name for value in models.values(twin.graph)}


def test_fixed_point_outputs_are_integers_in_float_with_their_scale_beside() -> None:
    twin, _, params = quantized(build("y = Conv<pads = [1, 1, 1, 1]>(x, w, b)", CONV), TX)
    (numbers,) = run(twin)
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, np.rint(numbers))
    scales = output_scales(twin)
    assert scales == {"y": {"scale": float(params.activations["y"].scale), "zero_point": 0}}
    exact = run(build("y = Conv<pads = [1, 1, 1, 1]>(x, w, b)", CONV))[0]
    assert np.abs(numbers * scales["y"]["scale"] - exact).max() < 0.03 * np.abs(exact).max()


def test_shared_weights_are_stored_once_and_biases_per_operator() -> None:
    nodes = "a = Conv<pads = [1, 1, 1, 1]>(x, w, b) y = Conv<pads = [1, 1, 1, 1]>(a, w, b)"
    twin, _, _ = quantized(build(nodes, CONV), ORT)
    stored = [value.const_value for value in twin.graph.initializers.values()]
    assert sum(tensor.dtype == ir.DataType.INT8 for tensor in stored if tensor and tensor.size > 4) == 1
    assert sum(tensor.dtype == ir.DataType.INT32 for tensor in stored if tensor and tensor.size == 4) >= 2
    assert "w" not in twin.graph.initializers  # the float weight has no reader left
    (integers,) = (value for name, value in twin.graph.initializers.items() if name == "w_quantized")
    ((dequantize, _),) = integers.uses()
    assert len(dequantize.outputs[0].uses()) == 2
    assert optimised_coverage(twin).float_operators == ()  # ONNX Runtime gives each reader its own again


def test_a_float_reader_keeps_the_float_weight() -> None:
    nodes = "a = Conv<pads = [1, 1, 1, 1]>(x, w) t = Tanh(w) y = ReduceMax<keepdims = 0>(t)"
    twin, _, _ = quantized(build(nodes, CONV, outputs=("a", "y")), ORT)
    assert "w" in twin.graph.initializers


def test_a_subgraph_that_reads_a_quantized_value_still_sees_it() -> None:
    nodes = """
        c = Conv<pads = [1, 1, 1, 1]>(x, w, b)
        r = ReduceSum<keepdims = 0>(c)
        zero = Constant<value_float = 0.0>()
        yes = Greater(r, zero)
        y = If(yes) <then_branch = t () => (float[unknown] p) { p = Neg(c) },
                     else_branch = e () => (float[unknown] q) { q = Abs(c) }>
    """
    model = build(nodes, CONV, infer=False)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(model)))
    twin, plan, params = quantized(model, ORT)
    assert "c" in plan.tensors
    error = np.abs(run(twin)[0] - run(model)[0]).max()
    assert 0 < error < 3 * float(params.activations["c"].scale)


def test_a_pad_stands_on_the_integers_themselves() -> None:
    """ONNX Runtime drops no pairs around a Pad; between them it would run on floats."""
    nodes = "c = Conv(x, w, b) p = Pad(c, pads) y = Conv(p, w)"
    model = build(nodes, {**CONV, "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, opset=20)
    twin, plan, params = quantized(model, ORT)
    pad = next(node for node in twin.graph if node.op_type == "Pad")
    assert plan.forms == {"node1": "on_integers"} and pad.outputs[0].dtype == ir.DataType.UINT8
    assert next(value for value in models.values(twin.graph) if value.name == "p").dtype == ir.DataType.FLOAT
    padded = Session(twin, taps=["p"]).run({"x": X})[1]
    assert not padded[:, :, -1].any() and not padded[:, :, :, -1].any()  # zero, not the zero point
    assert optimised_coverage(twin).float_operators == ()
    (expected,) = onnx.reference.ReferenceEvaluator(ir.to_proto(twin)).run(None, {"x": X})
    np.testing.assert_allclose(run(twin)[0], expected, atol=float(params.activations["y"].scale) * 1.01)
