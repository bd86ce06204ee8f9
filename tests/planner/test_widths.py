"""One value at two widths: one statistic, two tensors, and the numbers that NumPy computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from knight import model as models
from knight.errors import ConfigError
from knight.observing import observe
from knight.planner import make_plan
from knight.preparing import Prepared, prepare_model
from knight.realizing import realize
from knight.recipe import FLOAT, Choice, Recipe, Rule
from knight.runner import Session
from knight.targets import load_target
from tests.passes.equivalence import build, random
from tests.stages import plan_of

GENERIC = load_target("generic")
WIDE = Choice(16, 16, "min_max")
NARROW = Choice(8, 8, "min_max")
WEIGHTS = {"v": random(6, 5, seed=1), "wa": random(5, 4, seed=2), "wb": random(5, 3, seed=3)}
SAMPLES = [random(3, 6, seed=seed) for seed in range(4)]


def net() -> ir.Model:
    """What the first MatMul makes is read by two others."""
    nodes = "t = MatMul(x, v) a = MatMul(t, wa) b = MatMul(t, wb)"
    return build(nodes, WEIGHTS, inputs={"x": (3, 6)}, outputs=("a", "b"))


def rounded(x: np.ndarray, low: float, high: float, bits: int) -> np.ndarray:
    """A uint with zero point of this width, as ONNX states QuantizeLinear and DequantizeLinear."""
    low, high, most = min(low, 0.0), max(high, 0.0), 2**bits - 1
    scale = np.float32((high - low) / most)
    zero = np.rint(-low / ((high - low) / most))
    return ((np.clip(np.rint(x / scale) + zero, 0, most) - zero) * scale).astype(np.float32)


def weight(w: np.ndarray, bits: int) -> np.ndarray:
    """Symmetric per column."""
    scale = (np.abs(w).max(axis=0) / (2 ** (bits - 1) - 1)).astype(np.float32)
    return (np.rint(w / scale) * scale).astype(np.float32)


def test_one_value_at_two_widths_is_one_statistic_two_pairs_and_what_numpy_says() -> None:
    recipe = Recipe(NARROW, [Rule(WIDE, names=("b",))])
    prepared = prepare_model(net(), GENERIC, recipes=[recipe])
    plan = make_plan(prepared, GENERIC, recipe)
    assert plan.of_value("t") == ("t", "t_16bit")
    assert [plan.spec(key).bits for key in plan.of_value("t")] == [8, 16]

    def feed(executor: object) -> None:
        for sample in SAMPLES:
            executor.forward(sample)  # type: ignore[attr-defined]

    with observe(prepared, plan, feed) as seen:
        assert list(seen.statistics.observers).count("t") == 1 and "t_16bit" not in seen.statistics.observers
        quantized = realize(prepared, plan, seen.statistics).model
    assert models.opset(quantized) == 21
    onnx.checker.check_model(ir.to_proto(quantized), full_check=True)
    (t,) = (value for value in models.values(quantized.graph) if value.name == "t")
    pairs = [node for node, _ in t.uses()]
    assert [node.op_type for node in pairs] == ["QuantizeLinear", "QuantizeLinear"]
    assert [node.outputs[0].dtype for node in pairs] == [ir.DataType.UINT8, ir.DataType.UINT16]

    every = np.concatenate(SAMPLES)
    made = every @ WEIGHTS["v"]
    x = rounded(SAMPLES[0], every.min(), every.max(), 8)
    exact = x @ weight(WEIGHTS["v"], 8)
    ranges = {"a": made @ WEIGHTS["wa"], "b": made @ WEIGHTS["wb"]}
    wanted = []
    for name, bits in (("a", 8), ("b", 16)):
        read = rounded(exact, made.min(), made.max(), bits)
        result = read @ weight(WEIGHTS[f"w{name}"], bits)
        wanted.append(rounded(result, ranges[name].min(), ranges[name].max(), bits))
    for got in (
        Session(quantized).run({"x": SAMPLES[0]}),
        onnx.reference.ReferenceEvaluator(ir.to_proto(quantized)).run(None, {"x": SAMPLES[0]}),
    ):
        for name, bits, ours, theirs in zip("ab", (8, 16), got, wanted, strict=True):
            step = (max(ranges[name].max(), 0) - min(ranges[name].min(), 0)) / (2**bits - 1)
            assert np.abs(ours - theirs).max() <= 1.01 * step  # a sum on the edge of two steps
            assert np.mean(np.abs(ours - theirs) > 0.5 * step) < 0.2


def test_what_moves_values_goes_with_its_readers() -> None:
    nodes = "t = MatMul(x, v) r = Transpose<perm = [1, 0]>(t) b = MatMul(r, w)"
    constants = {"v": random(6, 5), "w": random(3, 2)}
    model = build(nodes, constants, inputs={"x": (3, 6)}, outputs=("b",), opset=21)
    plan = plan_of(model, GENERIC, Recipe(NARROW, [Rule(WIDE, names=("b",))]))
    assert [(key, plan.spec(key).bits) for key in plan.tensors] == [("x", 8), ("t", 16), ("r", 16), ("b", 16)]
    assert plan.tensors["r"].group == "t"


def test_a_folded_relu_goes_with_its_producer() -> None:
    model = build("t = MatMul(x, v) y = Relu(t)", {"v": random(6, 5)}, inputs={"x": (3, 6)}, opset=21)
    plan = plan_of(model, GENERIC, Recipe(NARROW, [Rule(WIDE, op_types=("MatMul",))]))
    assert [(key, plan.spec(key).bits) for key in plan.tensors] == [("x", 16), ("y", 16)]
    assert plan.accumulators["node0"].result == "y"


def test_a_constant_at_two_widths_is_two_weights() -> None:
    nodes = "t = MatMul(x, v) y = MatMul(t, v)"
    model = build(nodes, {"v": random(5, 5)}, inputs={"x": (3, 5)}, opset=21)
    plan = plan_of(model, GENERIC, Recipe(NARROW, [Rule(WIDE, names=("y",))]))
    assert {key: one.spec.bits for key, one in plan.weights.items()} == {"v": 8, "v_16bit": 16}
    assert (plan.reads["node0", 1], plan.reads["node1", 1]) == ("v", "v_16bit")


def test_a_constant_at_two_widths_is_not_taken_for_one_that_bears_the_name() -> None:
    nodes = "s = MatMul(x, v) t = MatMul(s, v) y = MatMul(t, v_16bit)"
    numbers = {"v": random(5, 5, seed=1), "v_16bit": random(5, 5, seed=2)}
    model = build(nodes, numbers, inputs={"x": (3, 5)}, opset=21)
    plan = plan_of(model, GENERIC, Recipe(NARROW, [Rule(WIDE, names=("t", "y"))]))
    read = [plan.weights[plan.reads[f"node{place}", 1]] for place in range(3)]
    assert [(weight.constant, weight.spec.bits) for weight in read] == [("v", 8), ("v", 16), ("v_16bit", 16)]


def test_reduce_range_is_for_weights_of_eight_bits() -> None:
    nodes = "t = MatMul(x, v) y = MatMul(t, w)"
    numbers = {"v": random(5, 5, seed=1), "w": random(5, 5, seed=2)}
    model = build(nodes, numbers, inputs={"x": (3, 5)}, opset=21)
    plan = plan_of(model, GENERIC, Recipe(NARROW, [Rule(WIDE, names=("y",))], reduce_range=True))
    assert {key: one.spec.bits for key, one in plan.weights.items()} == {"v": 7, "w": 16}


def test_weights_of_four_bits_stand_in_blocks() -> None:
    w = random(70, 6, seed=4)
    model = build("y = MatMul(x, w)", {"w": w}, inputs={"x": (3, 70)}, opset=21)
    prepared = Prepared(model)
    recipe = Recipe(Choice(4, 8, "min_max"))
    plan = make_plan(prepared, GENERIC, recipe)
    x = random(3, 70, seed=5)
    with observe(prepared, plan, lambda executor: executor.forward(x)) as seen:
        quantized = realize(prepared, plan, seen.statistics).model
    proto = ir.to_proto(quantized)
    onnx.checker.check_model(proto, full_check=True)
    stored = next(tensor for tensor in proto.graph.initializer if tensor.name == "w_quantized")
    assert stored.data_type == onnx.TensorProto.INT4
    blocks = [w[start : start + 32] for start in (0, 32, 64)]
    steps = [(np.abs(block).max(axis=0) / 7).astype(np.float32) for block in blocks]
    near = np.concatenate([np.rint(b / s).clip(-8, 7) * s for b, s in zip(blocks, steps, strict=True)])
    read = rounded(x, float(x.min()), float(x.max()), 8)
    made = x @ w
    wanted = rounded(read @ near.astype(np.float32), float(made.min()), float(made.max()), 8)
    got = onnx.reference.ReferenceEvaluator(proto).run(None, {"x": x})[0]
    assert np.abs(got - wanted).max() <= 1.01 * (made.max() - made.min()) / 255


def test_widths_that_the_chip_lacks_are_refused_by_the_rule_that_asks() -> None:
    model = build("y = MatMul(x, v)", {"v": random(6, 5)}, inputs={"x": (3, 6)}, opset=21)
    recipe = Recipe(NARROW, [Rule(WIDE, names=("y",), origin="-mc mix.json")])
    with pytest.raises(ConfigError, match=r"-mc mix.json, operator 'node0': onnxruntime has no w16a16"):
        plan_of(model, load_target("onnxruntime"), recipe)


def test_an_operator_of_few_widths_takes_one_of_them_unless_told() -> None:
    target = replace(GENERIC, widths={"MatMul": ("w16a16",)})
    model = build("y = MatMul(x, v)", {"v": random(6, 5)}, inputs={"x": (3, 6)}, opset=21)
    plan = plan_of(model, target, Recipe(NARROW))
    assert [plan.spec(key).bits for key in plan.tensors] == [16, 16]
    with pytest.raises(ConfigError, match="has no w8a8 for MatMul, which it runs as w16a16"):
        plan_of(model, target, Recipe(WIDE, [Rule(NARROW, names=("y",))]))


def test_a_model_of_an_older_opset_is_not_raised_by_number_only() -> None:
    model = build("y = MatMul(x, v)", {"v": random(6, 5)}, inputs={"x": (3, 6)}, opset=20)
    with pytest.raises(ConfigError, match="need opset 21"):
        plan_of(model, GENERIC, Recipe(WIDE))


def test_operators_that_a_rule_leaves_in_float_read_and_make_floats() -> None:
    recipe = Recipe(NARROW, [Rule(FLOAT, names=("a",), origin="--disable-names")])
    plan = plan_of(net(), GENERIC, recipe)
    assert plan.float_nodes == {"node1": "left in float by --disable-names"}
    assert "a" not in plan.tensors and ("node1", 1) not in plan.reads
    assert plan.reads["node1", 0] == "t"  # what integers make is read as it is
