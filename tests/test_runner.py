"""Sessions: taps, buffers that are used again, sums that are right on every CPU."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from knight.errors import DataError, ModelError
from knight.exact import SATURATION
from knight.runner import Level, Session, available_threads, saturates
from tests import size_bombs
from tests.passes.equivalence import build, random

CONV = {"w": random(4, 4, 3, 3)}


def test_taps_come_after_the_outputs() -> None:
    model = build("c = Conv(x, w) r = Relu(c) y = Neg(r)", CONV)
    x = random(2, 4, 9, 9)
    y, r = Session(model, taps=["r"]).run({"x": x})
    np.testing.assert_array_equal(y, -r)
    np.testing.assert_array_equal(r, np.maximum(Session(model, taps=["c"]).run({"x": x})[1], 0))


@pytest.mark.parametrize("shape", [(2, 4, 9, 9), ("n", 4, "h", 9)])
def test_in_place_gives_the_same_for_changing_shapes(shape: tuple[int | str, ...]) -> None:
    model = build("c = Conv(x, w) y = Relu(c)", CONV, inputs={"x": shape})
    session = Session(model, taps=["c"])
    shapes = [(2, 4, 9, 9)] * 2 if shape[0] == 2 else [(1, 4, 9, 9), (3, 4, 7, 9), (1, 4, 9, 9)]
    for number, dims in enumerate(shapes):
        x = random(*dims, seed=number)
        wanted = session.run({"x": x})
        for got, want in zip(session.run_in_place({"x": x}), wanted, strict=True):
            np.testing.assert_array_equal(got, want)


def test_int8_pairs_of_a_newer_opset_load() -> None:
    """ONNX Runtime 1.31 refuses what two of its own optimizers make of them."""
    pair = "{0}q = QuantizeLinear({0}, {1}, z) {0}d = DequantizeLinear({0}q, {1}, z)"
    nodes = (
        f"{pair.format('x', 's')} wd = DequantizeLinear(w, s, z) c = Conv(xd, wd) {pair.format('c', 't')} "
        "y = Transpose<perm = [0, 2, 3, 1]>(cd)"
    )
    numbers = {"w": random(4, 4, 1, 1).astype(np.int8), "s": np.float32(0.1)}
    numbers |= {"t": np.float32(0.0371), "z": np.int8(0)}
    model = build(nodes, numbers, opset=21, infer=False)
    x = random(2, 4, 9, 9)
    (stated,) = Session(model, level="none").run({"x": x})
    (got,) = Session(model).run({"x": x})
    np.testing.assert_array_equal(got, stated)


def test_in_place_uses_its_buffers_again() -> None:
    session = Session(build("y = Relu(x)", inputs={"x": (2, 3)}))
    first = session.run_in_place({"x": random(2, 3)})[0]
    second = session.run_in_place({"x": random(2, 3, seed=1)})[0]
    assert first is second


def test_sizes_that_depend_on_the_numbers() -> None:
    model = build("n = NonZero(x) y = Cast<to = 1>(n)", inputs={"x": (2, 3)}, infer=False)
    session = Session(model)
    for x in (np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32), random(2, 3)):
        np.testing.assert_array_equal(session.run_in_place({"x": x})[0], np.array(np.nonzero(x), np.float32))


def test_what_does_not_load_or_run_is_one_line() -> None:
    bad = build("y = Relu(x)", inputs={"x": (2, 3)})
    next(iter(bad.graph)).op_type = "Frobnicate"
    with pytest.raises(ModelError, match=r"cannot load the model.*Frobnicate") as caught:
        Session(bad)
    assert "\n" not in str(caught.value)
    session = Session(build("y = Reshape(x, s)", {"s": np.array([7])}, inputs={"x": ("n", 3)}, infer=False))
    for run in (session.run, session.run_in_place):
        with pytest.raises(DataError, match="failed on this sample"):
            run({"x": random(2, 3)})


def test_threads_are_those_of_the_machine_at_most() -> None:
    assert 1 <= available_threads(1000) < 1000 and available_threads(0) == 1


def test_inputs_and_outputs_are_described() -> None:
    session = Session(build("y = Relu(x)", inputs={"x": ("n", 3)}))
    assert str(session.inputs[0]) == "x float[?x3]" and session.inputs[0].shape == (None, 3)
    assert isinstance(ir.to_proto(build("y = Relu(x)")).SerializeToString(), bytes)


# Exact sums


def largest_products(op_type: str, depth: int = 64) -> tuple[ir.Model, np.ndarray, np.ndarray]:
    """One operator on integers near the ends of their range, behind a pair; its input and its true result."""
    random = np.random.default_rng(0)
    steps = random.integers(200, 256, (4, depth))
    weights = random.integers(100, 128, (depth, 8))
    true = (steps @ weights).astype(np.float32)
    x, w, axis = steps.astype(np.float32), weights.astype(np.int8), 1
    if op_type == "Conv":
        x, w, axis = x.reshape(4, depth, 1, 1), w.T.reshape(8, depth, 1, 1), 0
    constants = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "w": w,
        "scales": np.ones(8, np.float32),
        "zeros": np.zeros(8, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "scales", "zeros"], ["v"], axis=axis),
        helper.make_node(op_type, ["d", "v"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "far", "zero"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "far", "zero"], ["z"]),
    ]
    constants["far"] = np.float32(true.max() / 255)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    result = (np.rint(true / constants["far"]) * constants["far"]).reshape(4, 8, *x.shape[2:])
    return ir.from_proto(model), x, result


@pytest.mark.parametrize("op_type", ["Conv", "Gemm", "MatMul"])
@pytest.mark.parametrize("level", ["none", "basic", "extended", "all"])
@pytest.mark.parametrize("as_file", [False, True])
def test_sums_are_those_of_the_file(tmp_path: Path, op_type: str, level: Level, as_file: bool) -> None:
    model, x, true = largest_products(op_type)
    source = tmp_path / "net.onnx"
    onnx.save(ir.to_proto(model), source)
    (got,) = Session(source if as_file else model, level=level).run({"x": x})
    np.testing.assert_allclose(got, true, rtol=1e-6)


@pytest.mark.parametrize("op_type", ["Conv", "Gemm", "MatMul"])
def test_the_kernels_of_this_cpu_give_other_sums(op_type: str) -> None:
    if not saturates():
        pytest.skip("ONNX Runtime's kernels for uint8 x int8 are exact on this CPU")
    model, x, true = largest_products(op_type)
    exact, host = Session(model), Session(model, kernels="host")
    assert not host.differs and exact.differs == {SATURATION}
    assert np.abs(host.run({"x": x})[0] - true).max() > 0.1 * true.max()


def test_where_the_kernels_are_exact_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knight.runner.saturates", lambda: False)
    assert not Session(largest_products("Conv")[0]).differs


def test_the_probe_agrees_with_what_the_cpu_says() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.is_file():
        pytest.skip("only x86 under Linux says so")
    flags = set(next(line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")).split())
    if "avx2" not in flags:
        pytest.skip("older kernels are exact again")
    assert saturates() is not bool(flags & {"avx_vnni", "avx512_vnni"})


def test_a_constant_that_a_small_file_blows_up_is_not_computed_while_loading(tmp_path: Path) -> None:
    """Computed while loading, it would be an initializer of the optimized file."""
    kept = {}
    for name, side in (("small", 1 << 10), ("large", 1 << 14)):
        constants = {"s": np.array([side, side]), "one": np.float32(1)}
        model = build(
            "e = Expand(one, s) m = ReduceMax<keepdims=0>(e) y = Add(x, m)", constants, inputs={"x": (4,)}
        )
        optimized = tmp_path / f"{name}.onnx"
        (y,) = Session(model, optimized=optimized).run({"x": np.zeros(4, np.float32)})
        np.testing.assert_array_equal(y, np.ones(4))
        kept[name] = [node.op_type for node in onnx.load(optimized).graph.node]
    assert kept == {"small": ["Add"], "large": ["Expand", "ReduceMax", "Add"]}


def test_a_run_with_too_little_memory_names_the_node() -> None:
    constants = {"zero": np.array(0), "one": np.array(1)}
    model = build("n = Cast<to=7>(x) r = Range(zero, n, one) y = Cast<to=1>(r)", constants, inputs={"x": ()})
    session = Session(model)
    assert session.run({"x": np.array(5, np.float32)})[0].size == 5
    with pytest.raises(DataError, match=r"node '.*' \(Range\) asks for 140\.7 TB, more than is free"):
        session.run({"x": np.array(2**44, np.float32)})


def test_a_run_with_a_loop_that_takes_too_long_is_stopped() -> None:
    turn = (
        "y = Loop (n, yes, x) <body = b (int64 i, bool c, float[4] v) => (bool c2, float[4] v2) "
        "{ c2 = Identity(c) v2 = Neg(v) }>"
    )
    constants = {"n": np.array(2**60), "yes": np.array(True)}
    session = Session(build(turn, constants, inputs={"x": (4,)}, infer=False))
    with pytest.raises(DataError, match=r"node '.*' \(Loop\) takes longer than 0 s|takes longer than 0 s"):
        session.run({"x": np.zeros(4, np.float32)}, seconds=0.01)


def test_functions_are_counted_before_they_are_inlined() -> None:
    calling = size_bombs.node("f1", ["x"], ["r"], domain="own")
    proto = size_bombs.model([calling], functions=size_bombs.functions(40))
    with pytest.raises(ModelError, match=r"the model: function 'f\d+' calls functions 16382 times"):
        Session(ir.from_proto(proto))


@pytest.mark.parametrize("op_type", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("in_place", [False, True])
def test_recurrent_layers_are_not_fed_nothing(op_type: str, in_place: bool) -> None:
    """A signal would end the process."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op_type]
    weights = {"w": random(1, 2 * gates, 3), "r": random(1, 2 * gates, 2)}
    model = build(f"y = {op_type}<hidden_size = 2>(x, w, r)", weights, inputs={"x": ("t", "n", 3)})
    session = Session(model)
    run = session.run_in_place if in_place else session.run
    assert run({"x": random(4, 1, 3)})[0].shape == (4, 1, 1, 2)
    for shape in ((0, 1, 3), (4, 0, 3)):
        with pytest.raises(DataError, match=f"input 'x' holds no numbers .shape {shape[0]}x{shape[1]}x3"):
            run({"x": np.zeros(shape, np.float32)})


def test_other_layers_may_be_fed_nothing() -> None:
    """The keys of a decoder's first step, for one."""
    model = build("y = Concat<axis = 1>(x, k)", inputs={"x": (1, 1, 4), "k": (1, "past", 4)})
    feeds = {"x": random(1, 1, 4), "k": np.zeros((1, 0, 4), np.float32)}
    np.testing.assert_array_equal(Session(model).run(feeds)[0], feeds["x"])
