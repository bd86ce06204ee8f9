"""Integer operators in the place of pairs: the numbers of the QDQ model, stated in NumPy's int64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto

from knight import model as models
from knight.errors import ModelError
from knight.exporters import export
from knight.exporters.qoperator import LEFT
from knight.qdq.integer_operators import COMPUTING, MOVING
from knight.runner import Session
from tests import integers
from tests.exporters._qdq import Net

PICTURE = (2, 4, 9, 9)
OUTSIDE = "QuantizeLinear DequantizeLinear"
UNIT = 0.02 * 0.01
Build = Callable[[Net], str]


def exported(model: ir.Model) -> ir.Model:
    """The model as a file of integer operators; checked, and the QDQ model untouched."""
    before = models.to_bytes(model)
    twin = export("qoperator", model).model
    assert models.to_bytes(model) == before
    assert models.to_bytes(twin) == models.to_bytes(export("qoperator", model).model)
    proto = ir.to_proto(twin)
    onnx.checker.check_model(proto, full_check=True)
    used = {name for node in proto.graph.node for name in node.input}
    assert {tensor.name for tensor in proto.graph.initializer} <= used
    return twin


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def check(net: Net, model: ir.Model, expected: str, share: float = 0.02) -> ir.Model:
    """Operators, and every integer on those that arrive: at most one step off, and few of them."""
    twin = exported(model)
    assert operators(twin) == Counter(expected.split())
    feeds = net.feeds()
    taps = [node.outputs[0].name or "" for node in model.graph if node.op_type == "QuantizeLinear"]
    session = Session(twin, taps=taps, level="none")
    assert [info.name for info in session.outputs][: len(model.graph.outputs)] == [
        output.name for output in model.graph.outputs
    ]
    given = dict(zip((info.name for info in session.outputs), session.run(feeds), strict=True))
    for name, apart in integers.steps_apart(model, feeds, given):
        assert apart.max() <= 1 and np.mean(apart) <= share, (name, apart.max(), np.mean(apart))
        assert np.unique(given[name]).size > 3  # integers all alike would show nothing
    stated, optimised = integers.outputs(model, feeds), Session(twin).run(feeds)
    for output, wanted, found in zip(model.graph.outputs, stated, optimised, strict=True):
        for got in (given[output.name or ""], found):
            assert got.dtype == wanted.dtype and got.shape == wanted.shape
            np.testing.assert_allclose(got, wanted, atol=0.051, rtol=1e-5)
    return twin


# Operators that compute -------------------------------------------------------------------------------

COMPUTE: dict[str, tuple[str, Build]] = {
    "conv": (
        "QLinearConv",
        lambda n: n.op("Conv", n.fed(*PICTURE), n.weight(6, 4, 3, 3), n.bias(6, unit=UNIT), pads=[1] * 4),
    ),
    "conv per channel": (
        "QLinearConv",
        lambda n: n.op(
            *("Conv", n.fed(*PICTURE), n.weight(6, 4, 3, 3, axis=0)),
            n.bias(6, unit=UNIT * np.linspace(0.5, 1.5, 6)),
            strides=[2, 1],
        ),
    ),
    "conv without bias": (
        "QLinearConv",
        lambda n: n.op("Conv", n.fed(*PICTURE), n.weight(6, 4, 3, 3, axis=0), dilations=[2, 2]),
    ),
    "conv in groups": (
        "QLinearConv",
        lambda n: n.op("Conv", n.fed(*PICTURE), n.weight(6, 2, 3, 3, axis=0), group=2),
    ),
    "conv depthwise": (
        "QLinearConv",
        lambda n: n.op("Conv", n.fed(*PICTURE), n.weight(4, 1, 3, 3, axis=0, scale=0.03), group=4),
    ),
    "conv of one dimension": (
        "QLinearConv",
        lambda n: n.op("Conv", n.fed(2, 4, 30), n.weight(6, 4, 3, axis=0)),
    ),
    "conv of a moved weight": (
        "Transpose QLinearConv",
        lambda n: n.op(
            "Conv",
            n.fed(*PICTURE),
            n.pair(n.op("Transpose", n.weight(4, 6, 3, 3), perm=[1, 0, 2, 3]), 0.01, 0, np.int8),
        ),
    ),
    "matmul": ("QLinearMatMul", lambda n: n.op("MatMul", n.fed(3, 5, 8), n.weight(8, 7))),
    "matmul per column": (
        "QLinearMatMul",
        lambda n: n.op("MatMul", n.fed(3, 5, 8), n.weight(8, 7, axis=1)),
    ),
    "matmul of two activations": (
        "QuantizeLinear QLinearMatMul",
        lambda n: n.op("MatMul", n.fed(3, 5, 8), n.fed(3, 8, 6)),
    ),
    "gemm": (
        "QGemm",
        lambda n: n.op("Gemm", n.fed(5, 8), n.weight(8, 7), n.bias(7, unit=UNIT)),
    ),
    "gemm per column": (
        "QGemm",
        lambda n: n.op(
            "Gemm", n.fed(5, 8), n.weight(8, 7, axis=1), n.bias(7, unit=UNIT * np.linspace(0.5, 1.5, 7))
        ),
    ),
    "gemm turned": (
        "QGemm",
        lambda n: n.op(
            *("Gemm", n.fed(5, 8), n.weight(7, 8, axis=0)),
            n.bias(7, unit=UNIT * np.linspace(0.5, 1.5, 7)),
            transB=1,
        ),
    ),
    "gemm without bias": (
        "QGemm",
        lambda n: n.op("Gemm", n.fed(8, 5), n.weight(7, 8), transA=1, transB=1),
    ),
    "add": (
        "QuantizeLinear QLinearAdd",
        lambda n: n.op("Add", n.fed(*PICTURE), n.fed(*PICTURE, scale=0.013)),
    ),
    "add of a constant": (
        "QLinearAdd",
        lambda n: n.op("Add", n.fed(*PICTURE), n.weight(4, 1, 1, kind=n.kind, zero=3)),
    ),
    "mul": (
        "QuantizeLinear QLinearMul",
        lambda n: n.op("Mul", n.fed(*PICTURE), n.fed(*PICTURE, scale=0.013)),
    ),
    "sigmoid": ("QLinearSigmoid", lambda n: n.op("Sigmoid", n.fed(*PICTURE))),
    "leaky relu": ("QLinearLeakyRelu", lambda n: n.op("LeakyRelu", n.fed(*PICTURE), alpha=0.2)),
    "global average": ("QLinearGlobalAveragePool", lambda n: n.op("GlobalAveragePool", n.fed(*PICTURE))),
    "average": (
        "QLinearAveragePool",
        lambda n: n.op("AveragePool", n.fed(*PICTURE), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ),
    "average of the border too": (
        "QLinearAveragePool",
        lambda n: n.op(
            "AveragePool", n.fed(*PICTURE), kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
        ),
    ),
    "average rounded up": (
        "QLinearAveragePool",
        lambda n: n.op("AveragePool", n.fed(*PICTURE), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    ),
    "concat": (
        "QuantizeLinear QLinearConcat",
        lambda n: n.op("Concat", n.fed(*PICTURE), n.fed(*PICTURE, scale=0.013), axis=1),
    ),
    "where": (
        "QuantizeLinear QLinearWhere",
        lambda n: n.op(
            *("Where", n.constant(np.arange(9) % 2 == 0)),
            *(n.fed(*PICTURE), n.fed(*PICTURE, scale=0.013)),
        ),
    ),
}
KINDS = pytest.mark.parametrize("kind", [np.uint8, np.int8])


def test_no_operator_of_the_tables_goes_untested() -> None:
    written = {word for expected, _ in COMPUTE.values() for word in expected.split()}
    assert set(COMPUTING) <= written | set(LEFT)
    elsewhere = {"Relu", "Split", "TopK", "ArgMax", "ArgMin"}
    no_integers = {"GlobalMaxPool", "Upsample"}
    assert set(MOVING) <= set(MOVE) | set(LEFT) | elsewhere | no_integers
    assert {"Trilu", "GlobalMaxPool"} <= set(STAY)


@KINDS
@pytest.mark.parametrize("case", COMPUTE)
def test_operators_that_compute(case: str, kind: type[np.integer]) -> None:
    expected, build = COMPUTE[case]
    net = Net(kind)
    model = net.model(net.pair(build(net), 0.05))
    check(net, model, f"{OUTSIDE} {expected}")


def test_gemm_gives_real_numbers_where_nobody_wants_integers() -> None:
    net = Net()
    twin = check(
        net,
        net.model(net.op("Gemm", net.fed(5, 8), net.weight(8, 7), net.bias(7, unit=UNIT))),
        "QuantizeLinear QGemm",
    )
    assert [output.dtype for output in twin.graph.outputs] == [ir.DataType.FLOAT]


@pytest.mark.parametrize(("alpha", "beta", "kind"), [(2.0, 2.0, "QGemm"), (2.0, 1.0, "Gemm")])
def test_gemm_stretches_its_bias_too(alpha: float, beta: float, kind: str) -> None:
    net = Net()
    gemm = net.op("Gemm", net.fed(5, 8), net.weight(8, 7), net.bias(7, unit=UNIT), alpha=alpha, beta=beta)
    model = net.model(net.pair(gemm, 0.05))
    twin = exported(model)
    assert operators(twin)[kind] == 1
    (wanted,), (got,) = (Session(each, level="none").run(net.feeds()) for each in (model, twin))
    np.testing.assert_allclose(got, wanted, atol=0.0501)
    assert np.mean(got != wanted) < 0.05


@KINDS
def test_a_residual_block(kind: type[np.integer]) -> None:
    """A value of three readers, one of them the output: each reads the same integers."""
    net = Net(kind)
    x = net.fed(*PICTURE)
    bias = net.bias(4, unit=UNIT * np.linspace(0.5, 1.5, 4))
    conv = net.pair(net.op("Conv", x, net.weight(4, 4, 3, 3, axis=0), bias, pads=[1] * 4), 0.1)
    total = net.pair(net.op("Add", conv, x), 0.09)
    joined = net.pair(net.op("Concat", conv, total, x, axis=1), 0.1)
    model = net.model(joined, conv)
    twin = check(
        net, model, "QuantizeLinear QLinearConv QLinearAdd QLinearConcat DequantizeLinear DequantizeLinear"
    )
    assert {node.name for node in twin.graph} <= {node.name for node in model.graph}


def test_uint8_weights_around_the_middle() -> None:
    net = Net()
    weight = net.weight(6, 4, 3, 3, axis=0, kind=np.uint8, zero=128)
    model = net.model(net.pair(net.op("Conv", net.fed(*PICTURE), weight), 0.05))
    check(net, model, f"{OUTSIDE} QLinearConv")


# Operators that move numbers --------------------------------------------------------------------------

MOVE: dict[str, Build] = {
    "Reshape": lambda n: n.op("Reshape", n.fed(*PICTURE), n.constant([2, -1])),
    "Transpose": lambda n: n.op("Transpose", n.fed(*PICTURE), perm=[0, 2, 3, 1]),
    "Flatten": lambda n: n.op("Flatten", n.fed(*PICTURE)),
    "MaxPool": lambda n: n.op("MaxPool", n.fed(*PICTURE), kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]),
    "ReduceMax": lambda n: n.op("ReduceMax", n.fed(*PICTURE), axes=[1]),
    "ReduceMin": lambda n: n.op("ReduceMin", n.fed(*PICTURE), axes=[1]),
    "Squeeze": lambda n: n.op("Squeeze", n.fed(1, 4, 9), n.constant([0])),
    "Unsqueeze": lambda n: n.op("Unsqueeze", n.fed(4, 9), n.constant([0])),
    "Tile": lambda n: n.op("Tile", n.fed(4, 9), n.constant([2, 1])),
    "Identity": lambda n: n.op("Identity", n.fed(4, 9)),
    "GatherElements": lambda n: n.op(
        "GatherElements", n.fed(4, 9), n.constant(np.ones((2, 9), np.int64)), axis=0
    ),
    "GatherND": lambda n: n.op("GatherND", n.fed(*PICTURE), n.constant([[0, 1], [1, 3]])),
    "Compress": lambda n: n.op("Compress", n.fed(4, 9), n.constant(np.arange(9) % 2 == 0), axis=1),
    "ReverseSequence": lambda n: n.op("ReverseSequence", n.fed(4, 9), n.constant(np.arange(1, 10) % 4 + 1)),
    "SpaceToDepth": lambda n: n.op("SpaceToDepth", n.fed(1, 4, 6, 6), blocksize=2),
    "Min": lambda n: n.op("Min", n.fed(*PICTURE), n.fed(*PICTURE)),
    "ScatterND": lambda n: n.op("ScatterND", n.fed(4, 9), n.constant([[2]]), n.fed(1, 9)),
    "Slice": lambda n: n.op("Slice", n.fed(*PICTURE), n.constant([1]), n.constant([3]), n.constant([1])),
    "Gather": lambda n: n.op("Gather", n.fed(*PICTURE), n.constant([2, 0]), axis=1),
    "Resize": lambda n: n.op(
        "Resize", n.fed(*PICTURE), "", n.constant(np.float32([1, 1, 2, 2])), mode="nearest"
    ),
    "DepthToSpace": lambda n: n.op("DepthToSpace", n.fed(*PICTURE), blocksize=2),
    "Expand": lambda n: n.op("Expand", n.fed(4, 1, 9), n.constant([2, 4, 3, 9])),
    "Pad": lambda n: n.op("Pad", n.fed(*PICTURE), n.constant([0, 0, 1, 1, 0, 0, 1, 1])),
    "Concat": lambda n: n.op("Concat", n.fed(*PICTURE), n.fed(*PICTURE), axis=1),
    "Where": lambda n: n.op("Where", n.constant(np.arange(9) % 2 == 0), n.fed(*PICTURE), n.fed(*PICTURE)),
    "Max": lambda n: n.op("Max", n.fed(*PICTURE), n.fed(*PICTURE)),
    "ScatterElements": lambda n: n.op(
        "ScatterElements", n.fed(3, 9), n.constant(np.zeros((1, 9), np.int64)), n.fed(1, 9)
    ),
    "Clip": lambda n: n.op("Clip", n.fed(*PICTURE), n.constant(np.float32(-0.5)), n.constant(np.float32(1))),
}


@KINDS
@pytest.mark.parametrize("case", MOVE)
def test_operators_that_move_numbers(case: str, kind: type[np.integer]) -> None:
    net = Net(kind)
    model = net.model(net.pair(MOVE[case](net)))
    twin = check(net, model, f"{'QuantizeLinear ' * len(net.inputs)} DequantizeLinear {case}", share=0.0)
    assert all(node.domain == "" for node in twin.graph)


def test_relu_of_integers_is_a_clip_at_their_zero() -> None:
    net = Net()
    check(net, net.model(net.pair(net.op("Relu", net.fed(*PICTURE)))), f"{OUTSIDE} Clip", share=0.0)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad_fills_in_the_integer_of_the_number(mode: str) -> None:
    net = Net()
    fill = [net.constant(np.float32(0.73))] if mode == "constant" else []
    pad = net.op("Pad", net.fed(3, 9), net.constant([0, 2, 0, 1]), *fill, mode=mode)
    check(net, net.model(net.pair(pad)), f"{OUTSIDE} Pad", share=0.0)


def test_split_into_parts_of_which_one_is_idle() -> None:
    net = Net()
    first, _, last = net.op("Split", net.fed(3, 9), net.constant([4, 3, 2]), outputs=3, axis=1)
    check(net, net.model(net.pair(first), net.pair(last)), f"{OUTSIDE} DequantizeLinear Split", share=0.0)


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
def test_the_place_of_the_largest_number_is_that_of_the_largest_integer(op_type: str) -> None:
    net = Net()
    model = net.model(net.op(op_type, net.fed(4, 300), axis=1), kind=TensorProto.INT64)
    check(net, model, f"QuantizeLinear {op_type}")


def test_the_largest_numbers_in_order() -> None:
    net = Net()
    numbers, places = net.op("TopK", net.fed(4, 30), net.constant([5]), outputs=2)
    model = net.model(net.pair(numbers))
    model.graph.outputs.append(next(v for v in models.values(model.graph) if v.name == places))
    check(net, model, f"{OUTSIDE} TopK", share=0.0)


# Relu and Clip behind an operator ---------------------------------------------------------------------

BOUNDS = {  # scale and zero point behind it, what is left of it
    "relu, one-sided": ("Relu", (), (0.02, 0), ""),
    "relu, two-sided": ("Relu", (), (0.02, 120), "Clip"),
    "clip at the ends": ("Clip", (-0.5, 4.6), (0.02, 25), ""),
    "clip within": ("Clip", (-0.5, 4.0), (0.02, 25), "Clip"),
    "clip below": ("Clip", (0.5,), (0.02, 0), "Clip"),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_bounds_go_where_the_integers_saturate_there(case: str) -> None:
    op_type, limits, (scale, zero), left = BOUNDS[case]
    net = Net()
    conv = net.op("Conv", net.fed(*PICTURE), net.weight(6, 4, 3, 3, axis=0))
    bound = net.op(op_type, conv, *(net.constant(np.float32(limit)) for limit in limits))
    check(net, net.model(net.pair(bound, scale, zero)), f"{OUTSIDE} QLinearConv {left}")


def test_several_bounds_are_one() -> None:
    net = Net(np.int8)
    bound = net.op("Add", net.fed(*PICTURE), net.fed(*PICTURE))
    bound = net.op("Clip", bound, "", net.constant(np.float32(1)))
    bound = net.op("Relu", bound)
    twin = check(net, net.model(net.pair(bound, 0.02, 0)), f"{OUTSIDE} QuantizeLinear QLinearAdd Clip")
    clip = next(node for node in twin.graph if node.op_type == "Clip")
    assert [int(models.constant(value)) for value in clip.inputs[1:]] == [0, 50]  # type: ignore[arg-type]


# What stays as it is ----------------------------------------------------------------------------------

STAY: dict[str, Build] = {
    "Softmax": lambda n: n.op("Softmax", n.fed(4, 9)),  # the integer operator rounds down
    "ReduceMean": lambda n: n.op("ReduceMean", n.fed(4, 9), axes=[1]),
    "Tanh": lambda n: n.op("Tanh", n.fed(4, 9)),
    "Trilu": lambda n: n.op("Trilu", n.fed(4, 9)),
    "GlobalMaxPool": lambda n: n.op("GlobalMaxPool", n.fed(*PICTURE)),
    "Resize": lambda n: n.op(
        "Resize", n.fed(*PICTURE), "", n.constant(np.float32([1, 1, 2, 2])), mode="linear"
    ),
    "Resize outside": lambda n: n.op(
        *("Resize", n.fed(*PICTURE), n.constant(np.float32([0, 0, 0.2, 0.2, 1, 1, 1.4, 1.4]))),
        *("", n.constant([2, 4, 9, 9])),
        mode="nearest",
        coordinate_transformation_mode="tf_crop_and_resize",
    ),
    "AveragePool": lambda n: n.op("AveragePool", n.fed(*PICTURE), kernel_shape=[2, 2], dilations=[2, 2]),
    "MatMul of matrices": lambda n: n.op("MatMul", n.fed(3, 5, 8), n.weight(3, 8, 7, axis=2)),
    "Conv about several zeros": lambda n: n.op("Conv", n.fed(*PICTURE), _with_several_zeros(n)),
    "Pad with computed numbers": lambda n: n.op(
        "Pad", n.fed(3, 9), n.constant([0, 2, 0, 1]), n.op("ReduceMax", n.input(1, 3), keepdims=0)
    ),
    "Clip at computed numbers": lambda n: n.op(
        "Clip", n.fed(3, 9), "", n.op("ReduceMax", n.input(1, 3), keepdims=0)
    ),
    "ConvTranspose": lambda n: n.op("ConvTranspose", n.fed(*PICTURE), n.weight(4, 6, 3, 3)),
    "Add": lambda n: n.op("Add", n.fed(*PICTURE), n.constant(np.float32(0.3))),  # not quantized
    "Transpose": lambda n: n.op("Transpose", n.fed(4, 9, scale=0.03)),  # to another scale
    "Conv": lambda n: n.op("Conv", n.fed(*PICTURE), n.weight(6, 4, 3, 3, axis=1)),
    "MatMul": lambda n: n.op("MatMul", n.fed(4, 9), n.weight(9, 6, axis=0)),
    "Gemm": lambda n: n.op("Gemm", n.fed(4, 9), n.weight(9, 6), n.constant(np.ones(6, np.float32))),
}


def _with_several_zeros(net: Net) -> str:
    weight = net.constant(np.random.default_rng(3).integers(0, 255, (6, 4, 3, 3)).astype(np.uint8))
    numbers = net.numbers(np.full(6, 0.01), np.arange(120, 126), np.uint8)
    made: str = net.op("DequantizeLinear", weight, *numbers, axis=0)
    return made


@pytest.mark.parametrize("case", STAY)
def test_what_has_no_integer_operator_keeps_its_pairs(case: str) -> None:
    net = Net(opset=19 if case == "AveragePool" else 17)
    model = net.model(net.pair(STAY[case](net)))
    assert models.to_bytes(exported(model)) == models.to_bytes(model)


@pytest.mark.parametrize(("op_type", "domain"), [("QLinearReduceMean", "com.microsoft"), ("Trilu", "")])
def test_what_is_left_for_want_of_a_kernel(op_type: str, domain: str) -> None:
    """As soon as ONNX Runtime has it, it need not be left."""
    numbers = {"s": np.float32(0.1), "z": np.uint8(3)}
    inputs, attributes = (
        (["x"], {}) if op_type == "Trilu" else (["x", "s", "z", "s", "z"], {"axes": [1], "keepdims": 1})
    )
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op_type, inputs, ["y"], domain=domain, **attributes)],
        "one",
        [onnx.helper.make_tensor_value_info("x", TensorProto.UINT8, [4, 4])],
        [onnx.helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in numbers.items()],
    )
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = ir.from_proto(onnx.helper.make_model(graph, opset_imports=imports, ir_version=8))
    with pytest.raises(ModelError, match="Could not find an implementation"):
        Session(model)


def test_windows_without_gaps_are_those_of_the_integer_operator() -> None:
    net = Net(opset=19)
    pool = net.op("AveragePool", net.fed(*PICTURE), kernel_shape=[2, 2], dilations=[1, 1])
    model = net.model(net.pair(pool, 0.013))  # of the input's scale, means of four lie between two steps
    check(net, model, f"{OUTSIDE} QLinearAveragePool")


def test_a_bias_in_another_unit_keeps_its_pairs() -> None:
    net = Net()
    conv = net.op("Conv", net.fed(*PICTURE), net.weight(6, 4, 3, 3), net.bias(6, unit=UNIT * 2))
    model = net.model(net.pair(conv))
    assert models.to_bytes(exported(model)) == models.to_bytes(model)


def test_signed_numbers_times_unsigned_weights_keep_their_pairs() -> None:
    net = Net(np.int8)
    conv = net.op("Conv", net.fed(*PICTURE), net.weight(6, 4, 3, 3, kind=np.uint8, zero=128))
    model = net.model(net.pair(conv))
    assert models.to_bytes(exported(model)) == models.to_bytes(model)


@pytest.mark.parametrize("kinds", [(np.int16, np.int16), (np.uint8, np.uint16), (np.uint8, np.int8)])
def test_tensors_of_other_or_of_two_widths_keep_their_pairs(kinds: tuple[Any, Any]) -> None:
    net = Net(opset=21)
    x = net.fed(*PICTURE, kind=kinds[0], zero=0)
    conv = net.op("Conv", x, net.weight(6, 4, 3, 3, axis=0))
    model = net.model(net.pair(conv, 0.05, 0, kinds[1]))
    assert models.to_bytes(exported(model)) == models.to_bytes(model)


def test_a_value_that_a_float_operator_reads_too_keeps_its_pairs() -> None:
    net = Net()
    conv = net.op("Conv", net.fed(*PICTURE), net.weight(6, 4, 3, 3))
    model = net.model(net.pair(conv), net.op("Erf", conv))
    assert models.to_bytes(exported(model)) == models.to_bytes(model)


def test_an_output_that_is_not_quantized_stays_one() -> None:
    net = Net()
    conv = net.op("Conv", net.fed(*PICTURE), net.weight(6, 4, 3, 3))
    model = net.model(net.pair(conv), conv)
    assert models.to_bytes(exported(model)) == models.to_bytes(model)


def test_an_opset_without_integer_operators_is_told() -> None:
    model = ir.from_proto(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 12]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
        )
    )
    with pytest.raises(ModelError, match="opset 13 or newer, and the model has 12"):
        export("qoperator", model)


# For whom the file is ---------------------------------------------------------------------------------


def test_a_chip_gets_standard_operators_alone() -> None:
    net = Net(np.int8, runtime="chip")
    x = net.fed(*PICTURE, zero=0)
    bias = net.bias(4, unit=UNIT * np.linspace(0.5, 1.5, 4))
    conv = net.op("Conv", x, net.weight(4, 4, 3, 3, axis=0), bias, pads=[1] * 4)
    relu = net.pair(net.op("Relu", conv), 0.1, 0)
    total = net.pair(net.op("Add", relu, x), 0.09, 0)
    flat = net.pair(net.op("Reshape", total, net.constant([2, -1])), 0.09, 0)
    weight = net.weight(324, 5, axis=1, scale=0.001)
    model = net.model(net.pair(net.op("MatMul", flat, weight), 0.05, 0))
    left = f"{OUTSIDE} DequantizeLinear DequantizeLinear QuantizeLinear"
    twin = check(net, model, f"{left} QLinearConv Clip Add Reshape QLinearMatMul")
    assert {node.domain for node in twin.graph} == {""} and set(twin.opset_imports) == {""}


def test_outputs_that_are_integers_held_in_float() -> None:
    """Fixed-point outputs: the integers of the last operator, cast."""
    net = Net(np.int8, runtime="chip")
    conv = net.op("Conv", net.fed(*PICTURE, zero=0), net.weight(6, 4, 3, 3, axis=0))
    integer = net.op("QuantizeLinear", conv, *net.numbers(0.05, 0, np.int8))
    model = net.model(net.op("Cast", integer, to=TensorProto.FLOAT))
    twin = exported(model)
    assert operators(twin) == Counter(("QuantizeLinear", "QLinearConv", "Cast"))
    (wanted,), (got,) = integers.outputs(model, net.feeds()), Session(twin).run(net.feeds())
    assert np.abs(got - wanted).max() <= 1 and np.mean(got != wanted) < 0.02
    np.testing.assert_array_equal(got, np.rint(got))


def test_a_body_reads_what_it_read() -> None:
    """An If that captures dequantized numbers."""
    net = Net()
    relu = net.pair(net.op("MaxPool", net.fed(*PICTURE), kernel_shape=[2, 2]))
    yes = net.constant(np.array(True))
    model = net.model(_if(net, yes, relu))
    twin = exported(model)
    assert operators(twin) == Counter(("QuantizeLinear", "MaxPool", "DequantizeLinear", "If"))
    (wanted,), (got,) = (Session(each).run(net.feeds()) for each in (model, twin))
    np.testing.assert_array_equal(got, wanted)


def _if(net: Net, condition: str, captured: str) -> str:
    bodies = {}
    for name, op_type in (("then_branch", "Neg"), ("else_branch", "Abs")):
        output = onnx.helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        node = onnx.helper.make_node(op_type, [captured], [f"{name}_y"], f"{name}_{op_type}")
        bodies[name] = onnx.helper.make_graph([node], name, [], [output])
    made: str = net.op("If", condition, **bodies)
    return made


def test_zero_points_left_out_are_stated() -> None:
    net = Net()
    scale = net.constant(np.float32(0.03))
    x = net.op("DequantizeLinear", net.op("QuantizeLinear", net.input(*PICTURE), scale), scale)
    sigmoid = net.op("Sigmoid", x)
    model = net.model(net.op("DequantizeLinear", net.op("QuantizeLinear", sigmoid, scale), scale))
    twin = exported(model)
    assert operators(twin) == Counter((*OUTSIDE.split(), "QLinearSigmoid"))
    (wanted,), (got,) = (Session(each, level="none").run(net.feeds()) for each in (model, twin))
    np.testing.assert_allclose(got, wanted, atol=0.0301)
