"""A quantized model taken apart gives the same numbers when it is put together in NumPy."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings, strategies as st
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic

import knight
from knight import model as models
from knight.outputs import output_scales
from knight.qdq.absorb import Absorbed, absorb
from knight.qdq.recognise import is_integer_operator, recognise
from knight.runner import Session
from knight.types import QuantSpec
from tests import small_models
from tests.compare import _kit
from tests.compare._small import NETS, Feeds, net as small, quantized
from tests.compare._tools import by_onnxruntime, net
from tests.qdq._replay import replay
from tests.qdq._writings import SHAPE, WEIGHTS, WRITINGS, nncf, node, numbers, nvidia, pair, tensorflow

TARGETS = ("onnxruntime", "TX5368AV200", "generic", "tensorrt")


def own_outputs(model: ir.Model, feeds: Feeds) -> dict[str, np.ndarray]:
    """Of the quantized model, without any optimization; fixed-point ones as real numbers."""
    session, scales = Session(model, level="none"), output_scales(model)
    found = dict(zip((info.name for info in session.outputs), session.run(feeds), strict=True))
    for name, stated in scales.items():
        steps = found[name] - np.float32(stated["zero_point"])
        found[name] = steps * np.float32(stated["scale"])
    return found


def check(model: ir.Model, data: Sequence[Feeds], tolerance: float = 1e-6) -> Absorbed:
    """The parts give the model's own outputs, to `tolerance` of the largest."""
    before = models.to_bytes(model)
    found = absorb(model)
    assert models.to_bytes(model) == before
    onnx.checker.check_model(models.to_proto(found.model), full_check=True)
    session = Session(found.model)
    fed = [value.name for value in model.graph.inputs if not value.is_initializer()]
    assert [info.name for info in session.inputs] == fed
    assert [info.name for info in session.outputs] == [value.name for value in model.graph.outputs]
    for feeds in data:
        wanted, got = own_outputs(model, feeds), replay(found, feeds)
        for name, array in wanted.items():
            assert got[name].shape == array.shape
            worst = np.abs(got[name] - array).max(initial=0)
            assert worst <= tolerance * max(1.0, np.abs(array).max(initial=0)), name
        assert all(np.isfinite(array).all() for array in session.run(feeds))
    remaining = {node.name for node in found.model.graph.all_nodes() if is_integer_operator(node)}
    assert remaining == set(found.left)
    initializers = found.model.graph.initializers
    assert {*found.weights, *found.biases} <= set(initializers)
    for name, params in found.weights.items():
        array = models.constant(initializers[name])
        assert array is not None and array.dtype == np.float32
        axis = params.spec.axis
        assert params.scale.shape == (() if axis is None else (array.shape[axis],))
    return found


def value_names(model: ir.Model) -> set[str | None]:
    return {value.name for value in models.values(model.graph)}


def pictures(count: int = 2, shape: tuple[int, ...] = SHAPE) -> list[Feeds]:
    random = np.random.default_rng(1)
    return [{"x": random.normal(size=shape).astype(np.float32)} for _ in range(count)]


# ONNX Runtime -----------------------------------------------------------------------------------------

KINDS = {
    "uint8": (QuantType.QUInt8, QuantType.QInt8),
    "int8": (QuantType.QInt8, QuantType.QInt8),
    "uint8 both": (QuantType.QUInt8, QuantType.QUInt8),
    "int16": (QuantType.QInt16, QuantType.QInt8),
}


FORMS = [("QDQ", kind) for kind in KINDS] + [("QOperator", kind) for kind in KINDS if kind != "int16"]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("form", "kind"), FORMS)
@pytest.mark.parametrize("name", NETS)
def test_onnxruntime(name: str, form: str, kind: str, per_channel: bool, tmp_path: Path) -> None:
    source, data = small(name, tmp_path)
    activation, weight = KINDS[kind]
    path = getattr(small_models, name)(tmp_path)
    model = by_onnxruntime(
        path,
        tmp_path,
        data,
        form,
        prepared=False,
        per_channel=per_channel,
        activation_type=activation,
        weight_type=weight,
        reduce_range=weight == QuantType.QInt8,  # else 16-bit sums saturate on some processors
    )
    found = check(model, data, 1e-6 if form == "QDQ" else 0.02)  # integer kernels round ties their own way
    assert (found.tool, found.integer_share, found.left) == ("onnxruntime", 1.0, {})
    spec = next(iter(found.activations.values())).spec
    assert (spec.bits, spec.signed) == (16 if kind == "int16" else 8, kind in ("int8", "int16"))
    weights = set(source.graph.initializers)
    assert {*found.weights, *found.biases} <= weights
    assert value_names(found.model) <= value_names(source) | {
        f"{value}_before_relu" for value in value_names(source)
    }
    if name == "conv_net":
        assert [each.op_type for each in found.model.graph] == [each.op_type for each in source.graph]
        assert found.weights["w"].spec.axis == (0 if per_channel else None)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_the_relu_that_onnxruntime_drops_stands_there_again(form: str, tmp_path: Path) -> None:
    source, data = small("conv_net", tmp_path)
    model = by_onnxruntime(small_models.conv_net(tmp_path), tmp_path, data, form, prepared=False)
    assert "Relu" not in {each.op_type for each in model.graph}
    found = absorb(model)
    (name,) = found.restored
    assert name in {each.name for each in found.model.graph if each.op_type == "Relu"}
    for feeds in data:  # nothing but the weights is rounded any more
        (wanted,), (got,) = Session(source).run(feeds), Session(found.model).run(feeds)
        assert np.linalg.norm(got - wanted) < 0.02 * np.linalg.norm(wanted)


def test_a_relu6_that_onnxruntime_drops_ends_at_six(tmp_path: Path) -> None:
    weights = {"w": WEIGHTS["w1"] * 5, "low": np.float32(0), "high": np.float32(6)}
    nodes = [node("Conv", "x w", "c"), node("Clip", "c low high", "r"), node("GlobalMaxPool", "r", "y")]
    source = net(nodes, weights, inputs={"x": SHAPE}, outputs=["y"])
    models.save(source, tmp_path / "net.onnx")
    model = by_onnxruntime(tmp_path / "net.onnx", tmp_path, pictures(), "QDQ", prepared=False)
    assert "Clip" not in {each.op_type for each in model.graph}
    found = check(model, pictures())
    clip = next(each for each in found.model.graph if each.op_type == "Clip")
    assert clip.name in found.restored
    assert [float(models.constant(value)) for value in clip.inputs[1:]] == [0.0, 6.0]  # type: ignore[arg-type]


@pytest.mark.parametrize("opset", [10, 17])
@pytest.mark.parametrize(("top", "op_type"), [(6.0, "Clip"), (6.1, "Relu")])
def test_bounds_are_put_back_in_old_models_too(opset: int, top: float, op_type: str) -> None:
    weights = {**numbers("x", 0.05, 128), **numbers("c", top / 255, 0), "w": WEIGHTS["w1"]}
    nodes = [
        *pair("x", "x", ("x_q", "x_r")),
        node("Conv", "x_r w", "c"),
        *pair("c", "c", ("c_q", "c_r")),
        node("GlobalAveragePool", "c_r", "p"),
        *pair("p", "c", ("p_q", "y")),
    ]
    found = check(net(nodes, weights, inputs={"x": SHAPE}, outputs=["y"], opset=opset), pictures())
    assert [each.op_type for each in found.model.graph] == ["Conv", op_type, "GlobalAveragePool"]
    assert set(found.activations) == {"x", "c", "y"}


def test_no_bound_is_put_where_someone_reads_what_is_below() -> None:
    weights = {**numbers("c", 0.05, 0), "w": WEIGHTS["w1"]}
    nodes = [
        node("Conv", "x w", "c"),
        *pair("c", "c", ("c_q", "c_r")),
        node("Add", "c c_r", "y"),
    ]
    found = check(net(nodes, weights, inputs={"x": SHAPE}, outputs=["y"]), pictures())
    assert found.restored == ()


# Knight's own results ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NETS)
def test_knights_results(name: str, target: str, tmp_path: Path) -> None:
    source, data = small(name, tmp_path)
    found = check(quantized(source, data, target), data)
    assert (found.tool, found.integer_share, found.left) == ("knight", 1.0, {})
    assert not any(key.startswith("knight.") for key in found.model.metadata_props)
    assert [each.op_type for each in found.model.graph] == [each.op_type for each in source.graph]
    assert value_names(found.model) - set(found.biases) <= value_names(source)
    assert recognise(found.model) is None


@pytest.mark.parametrize("dtype", [ir.DataType.UNDEFINED, ir.DataType.STRING, ir.DataType.BOOL, None])
def test_fixed_point_outputs_whose_type_is_stated_wrong_or_not(
    dtype: ir.DataType | None, tmp_path: Path
) -> None:
    """Types of values inside are what a file says; numbers are made of those that hold integers alone."""
    source, data = small(NETS[0], tmp_path)
    model = quantized(source, data, "TX5368AV200")
    (cast,) = (output.producer() for output in model.graph.outputs)
    assert cast is not None and cast.op_type == "Cast" and cast.inputs[0] is not None
    cast.inputs[0].type = None if dtype is None else ir.TensorType(dtype)
    found = absorb(model)
    known = dtype in (None, ir.DataType.UNDEFINED)  # then the zero point tells
    assert ("Cast" in {each.op_type for each in found.model.graph}) is not known


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("file", ["resnet20_cifar10.onnx", "vit_cifar10.onnx", "version-RFB-320.onnx"])
def test_knights_results_on_the_kit(kit: Path, file: str, target: str) -> None:
    data = _kit.samples(kit, file, 2)
    model = knight.quantize(kit / "onnx" / file, data, target=target, method="min_max").model
    found = check(model, data[:1])
    assert (found.tool, found.left) == ("knight", {})
    assert found.integer_share == 1.0


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("file", ["resnet20_cifar10.onnx", "mnist-8_onnxruntime_example.onnx"])
def test_onnxruntime_on_the_kit(kit: Path, tmp_path: Path, file: str, form: str) -> None:
    data = _kit.samples(kit, file, 2)
    model = by_onnxruntime(kit / "onnx" / file, tmp_path, data, form, prepared=False, reduce_range=True)
    found = check(model, data[:1], 1e-6 if form == "QDQ" else 0.05)
    assert (found.tool, found.left, found.integer_share) == ("onnxruntime", {}, 1.0)
    source = models.load(kit / "onnx" / file)
    (wanted,), (got,) = Session(source).run(data[0]), Session(found.model).run(data[0])
    assert np.linalg.norm(got - wanted) < 0.1 * np.linalg.norm(wanted)


# Other tools ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITINGS)
def test_other_tools(write: Callable[[], ir.Model]) -> None:
    found = check(write(), pictures())
    assert (found.tool, found.integer_share, found.left) == (write.__name__, 1.0, {})
    assert found.restored == ()


def test_tensorflows_weights_are_transposed_already() -> None:
    found = absorb(tensorflow())
    (name,) = found.weights
    assert name == "net/conv/kernel"
    weight = models.constant(found.model.graph.initializers[name])
    assert weight is not None and weight.shape == WEIGHTS["w1"].shape
    assert np.abs(weight - WEIGHTS["w1"]).max() <= float(found.weights[name].scale) * 0.5001
    assert set(found.activations) == {"x", "net/relu6:0", "y"}


def test_nncf_rounds_again_before_a_concat() -> None:
    found = absorb(nncf())
    assert set(found.activations) == {"x", "c1", "c2"}
    assert {edge: float(params.scale) for edge, params in found.edges.items()} == {
        ("join", 0): np.float32(0.25),
        ("join", 1): np.float32(0.25),
    }
    assert set(found.weights) == {"w1", "w2"}
    assert found.weights["w1"].spec == QuantSpec(8, True, True, 0)
    weight = models.constant(found.model.graph.initializers["w1"])
    assert weight is not None and 1 <= weight.max() < 1.1 < WEIGHTS["w1"].max()


def test_nvidias_pairs_are_their_readers_own() -> None:
    found = absorb(nvidia())
    assert set(found.activations) == {"x", "/conv1/out"}
    assert float(found.activations["/conv1/out"].scale) == np.float32(0.1)
    third, total = ("Conv_/conv3/out", 0), ("Add_sum", 0)
    assert set(found.edges) == {third}
    assert found.unrounded == {third, total}


@pytest.mark.parametrize("top", [255, 127])
@pytest.mark.filterwarnings("ignore")
def test_pytorch(top: int) -> None:
    """Fake quantization as torch.onnx exports it; 7 bits are a Clip between the two."""
    torch = pytest.importorskip("torch")
    quantization = torch.ao.quantization
    activation = quantization.FakeQuantize.with_args(
        observer=quantization.MovingAverageMinMaxObserver, quant_min=0, quant_max=top, dtype=torch.quint8
    )
    weight = quantization.FakeQuantize.with_args(
        observer=quantization.MovingAveragePerChannelMinMaxObserver,
        quant_min=-128,
        quant_max=127,
        dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
    )
    torch.manual_seed(0)
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(256, 5)
    )
    wrapped = quantization.QuantWrapper(plain.train())
    wrapped.qconfig = quantization.QConfig(activation=activation, weight=weight)
    trained = quantization.prepare_qat(wrapped)
    for feeds in pictures(3):
        trained(torch.from_numpy(feeds["x"]))
    trained.eval()
    trained.apply(quantization.disable_observer)
    file = io.BytesIO()
    sample = torch.from_numpy(pictures()[0]["x"])
    torch.onnx.export(trained, (sample,), file, input_names=["x"], opset_version=17, dynamo=False)
    found = check(ir.from_proto(onnx.load_from_string(file.getvalue())), pictures())
    assert (found.tool, found.integer_share, found.left) == ("pytorch", 1.0, {})
    assert [each.op_type for each in found.model.graph] == ["Conv", "Relu", "Flatten", "Gemm"]
    assert {params.spec.bits for params in found.activations.values()} == {8 if top == 255 else 7}
    assert {params.spec.axis for params in found.weights.values()} == {0}
    assert set(found.weights) == {"module.0.weight", "module.3.weight"}
    with torch.no_grad():
        wanted = trained(sample).numpy()
    (got,) = replay(found, pictures()[0]).values()
    assert np.abs(got - wanted).max() <= float(found.activations[next(reversed(found.activations))].scale)


# Single facts -----------------------------------------------------------------------------------------

CHAIN = {**numbers("a", 0.1, 128), **numbers("b", 0.3, 100), **numbers("c", 0.7, 0)}


def chain(nodes: list[onnx.NodeProto], outputs: Sequence[str], **more: np.ndarray) -> ir.Model:
    return net(nodes, {**CHAIN, **more}, inputs={"x": (2, 6)}, outputs=outputs)


def test_a_value_and_its_rounding_are_both_outputs() -> None:
    nodes = [node("Neg", "x", "n"), *pair("n", "a", ("n_q", "y"))]
    found = check(chain(nodes, ["n", "y"]), pictures(shape=(2, 6)))
    assert found.unrounded == {("", 0)}
    assert [each.op_type for each in found.model.graph] == ["Neg", "Identity"]


def test_a_rounded_input_is_the_output() -> None:
    found = check(chain(pair("x", "a", ("x_q", "y")), ["y"]), pictures(shape=(2, 6)))
    assert [each.op_type for each in found.model.graph] == ["Identity"]
    assert set(found.activations) == {"x"}


def test_an_output_that_is_rounded_twice() -> None:
    nodes = [node("Neg", "x", "n"), *pair("n", "a", ("q1", "r1")), *pair("r1", "b", ("q2", "y"))]
    found = check(chain(nodes, ["y"]), pictures(shape=(2, 6)))
    assert set(found.activations) == {"y"} and set(found.edges) == {("", 0)}


def test_rounding_twice_alike_is_rounding_once() -> None:
    nodes = [*pair("x", "a", ("q1", "r1")), *pair("r1", "a", ("q2", "r2")), node("Neg", "r2", "y")]
    found = check(chain(nodes, ["y"]), pictures(shape=(2, 6)))
    assert (set(found.activations), found.edges) == ({"x"}, {})


def test_a_third_rounding_stays() -> None:
    nodes = [
        *pair("x", "a", ("q1", "r1")),
        *pair("r1", "b", ("q2", "r2")),
        *pair("r2", "c", ("q3", "r3")),
        node("Neg", "r3", "y"),
    ]
    found = check(chain(nodes, ["y"]), pictures(shape=(2, 6)))
    assert set(found.left) == {"QuantizeLinear_r2", "DequantizeLinear_r2"}
    assert set(found.edges) == {("QuantizeLinear_r2", 0)}


def test_integers_read_by_another_scale_stay() -> None:
    nodes = [
        node("QuantizeLinear", "x a_s a_z", "q", "quantize"),
        node("DequantizeLinear", "q b_s b_z", "other", "stretch"),
        node("DequantizeLinear", "q a_s a_z", "same"),
        node("Add", "other same", "y"),
    ]
    found = check(chain(nodes, ["y"]), pictures(shape=(2, 6)))
    assert set(found.left) == {"quantize", "stretch"}
    assert "another scale" in found.left["stretch"]
    assert set(found.activations) == {"x"}


@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize(
    ("dtype", "low", "high", "spec"),
    [
        (np.int8, -127, 127, QuantSpec(8, True, True, narrow=True)),
        (np.int8, -64, 63, QuantSpec(7, True, True)),
        (np.uint8, 0, 15, QuantSpec(4, False, False)),
    ],
)
def test_ranges_that_no_type_has(dtype: type, low: int, high: int, spec: QuantSpec, channels: bool) -> None:
    """Of activations and of weights, with one scale or several."""
    scale = np.linspace(0.02, 0.05, 6) if channels else 0.05
    weights = {
        **numbers("n", scale, 0, dtype),
        "low": np.asarray(low, dtype),
        "high": np.asarray(high, dtype),
    }
    weights["w"] = np.random.default_rng(3).normal(size=(2, 6)).astype(np.float32) * 4
    nodes = []
    for value in ("x", "w"):
        make, read = pair(value, "n", (f"{value}_q", f"{value}_r"), axis=1)
        read.input[0] = f"{value}_c"
        nodes += [make, node("Clip", f"{value}_q low high", f"{value}_c"), read]
    found = check(chain([*nodes, node("Add", "x_r w_r", "y")], ["y"], **weights), pictures(shape=(2, 6)))
    assert found.left == {}
    wanted = QuantSpec(spec.bits, spec.signed, spec.symmetric, 1 if channels else None, spec.narrow)
    assert (found.activations["x"].spec, found.weights["w"].spec) == (wanted, wanted)


def test_a_clip_of_integers_to_other_bounds_is_a_clip() -> None:
    make, read = pair("x", "a", ("q", "r"))
    read.input[0] = "c"
    nodes = [make, node("Clip", "q low high", "c"), read, node("Neg", "r", "y")]
    bounds = {"low": np.uint8(90), "high": np.uint8(140)}
    found = check(chain(nodes, ["y"], **bounds), pictures(shape=(2, 6)))
    assert [each.op_type for each in found.model.graph] == ["Clip", "Neg"]
    assert found.left == {}


def test_two_readers_of_one_weight_share_its_floats() -> None:
    weights = {"w_quantized": np.arange(6, dtype=np.int8), **numbers("w", 0.1, 0, np.int8)}
    nodes = [
        node("DequantizeLinear", "w_quantized w_s w_z", "w1"),
        node("DequantizeLinear", "w_quantized w_s w_z", "w2"),
        node("Add", "x w1", "sum"),
        node("Mul", "sum w2", "y"),
    ]
    model = net(nodes, weights, inputs={"x": (2, 6)}, outputs=["y"])
    found = check(model, pictures(shape=(2, 6)))
    assert list(found.model.graph.initializers) == ["w"] and set(found.weights) == {"w"}


def test_a_float_model_comes_back(tmp_path: Path) -> None:
    source, data = small("conv_net", tmp_path)
    found = check(source, data)
    assert found.recognised is None and found.tool is None
    assert (found.activations, found.weights, found.left, found.integer_share) == ({}, {}, {}, 0.0)
    before, after = (models.to_proto(model).graph for model in (source, found.model))
    assert (list(before.node), list(before.initializer)) == (list(after.node), list(after.initializer))


def test_integer_inputs_whose_numbers_are_meant(tmp_path: Path) -> None:
    weights = {**numbers("one", 1.0, 0), **numbers("two", 2.0, 0)}
    for name, left in (("one", 0), ("two", 1)):
        nodes = [node("DequantizeLinear", f"x {name}_s {name}_z", "r", "read"), node("Neg", "r", "y")]
        model = net(nodes, weights, inputs={"x": (2, 6)}, outputs=["y"])
        model.graph.inputs[0].dtype = ir.DataType.UINT8
        feeds = {"x": np.arange(12, dtype=np.uint8).reshape(2, 6)}
        found = check(model, [feeds])
        assert len(found.left) == left
        assert next(iter(found.model.graph)).op_type == ("DequantizeLinear" if left else "Cast")
        assert set(found.activations) == (set() if left else {"r"})


def test_integers_that_leave_the_model_stay_integers() -> None:
    nodes = [node("Neg", "x", "n"), node("QuantizeLinear", "n a_s a_z", "y", "last")]
    model = chain(nodes, ["y"])
    model.graph.outputs[0].dtype = ir.DataType.UINT8
    found = check(model, pictures(shape=(2, 6)), tolerance=0)
    assert found.left == {"last": "its integers are an output of the model"}
    assert set(found.activations) == {"n"}


@st.composite
def tangles(draw: st.DrawFn) -> ir.Model:
    """Operators whose edges are rounded by nothing, or by one or more of three parameters in a row."""
    nodes: list[onnx.NodeProto] = []
    made = ["x"]

    def rounded(value: str) -> str:
        for which in draw(st.lists(st.sampled_from("abc"), max_size=3)):
            place = len(nodes)
            nodes.extend(pair(value, which, (f"q{place}", f"r{place}"), f"{place}_"))
            value = f"r{place}"
            made.append(value)
        return value

    for _ in range(draw(st.integers(1, 5))):
        op_type = draw(st.sampled_from(["Neg", "Add", "Mul", "Identity", "Relu"]))
        read = [rounded(draw(st.sampled_from(made))) for _ in range(1 + (op_type in ("Add", "Mul")))]
        name = f"v{len(nodes)}"
        nodes.append(node(op_type, " ".join(read), name, f"{op_type}_{len(nodes)}"))
        made.append(name)
    last = rounded(made[-1])
    outputs = draw(st.lists(st.sampled_from(made[1:]), max_size=2, unique=True))
    return chain(nodes, list(dict.fromkeys([last, *outputs])))


@settings(max_examples=60, deadline=None)
@given(tangles())
def test_tangles_of_roundings(model: ir.Model) -> None:
    found = check(model, pictures(1, (2, 6)))
    assert not found.left or "rounds what two others have rounded" in found.left.values()


# What cannot be absorbed ------------------------------------------------------------------------------


def test_dynamic_quantization_stays(tmp_path: Path) -> None:
    path, target = small_models.two_inputs(tmp_path), tmp_path / "dynamic.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(str(path), str(target))
    model = models.load(target)
    _, data = small("two_inputs", tmp_path)
    found = check(model, data)
    kinds = {each.op_type for each in found.model.graph}
    assert kinds == {each.op_type for each in model.graph}
    assert found.recognised is not None and found.recognised.kind == "dynamic"
    assert (found.activations, found.weights) == ({}, {})
    assert all("not fixed" in reason for reason in found.left.values())


def test_scales_that_are_computed_stay() -> None:
    nodes = [
        node("ReduceMax", "x", "top", keepdims=0),
        *[helper.make_node("QuantizeLinear", ["x", "top"], ["q"], "make")],
        *[helper.make_node("DequantizeLinear", ["q", "top"], ["y"], "read")],
    ]
    found = check(chain(nodes, ["y"]), pictures(shape=(2, 6)))
    assert set(found.left.values()) == {"its scale is computed while the model runs"}


def test_weights_in_blocks_stay() -> None:
    random = np.random.default_rng(0)
    weights = {
        "w_q": random.integers(-9, 9, (6, 4)).astype(np.int8),
        "w_s": random.random((3, 4)).astype(np.float32),
        **numbers("x", 0.05, 128),
    }
    nodes = [
        node("DequantizeLinear", "w_q w_s", "w", "blocks", axis=0, block_size=2),
        *pair("x", "x", ("x_q", "x_r")),
        node("MatMul", "x_r w", "y"),
    ]
    model = net(nodes, weights, inputs={"x": (2, 6)}, outputs=["y"], opset=21)
    found = check(model, pictures(shape=(2, 6)))
    assert found.left == {"blocks": "has one scale per block"}
    assert set(found.activations) == {"x"}


def test_matmulnbits_stays() -> None:
    random = np.random.default_rng(0)
    weights = {
        "w": random.integers(0, 255, (8, 2, 8)).astype(np.uint8),
        "s": random.random(16).astype(np.float32),
    }
    blocks = helper.make_node(
        "MatMulNBits",
        ["x", "w", "s"],
        ["y"],
        "nbits",
        domain="com.microsoft",
        K=32,
        N=8,
        bits=4,
        block_size=16,
    )
    model = net([blocks], weights, inputs={"x": (2, 32)}, outputs=["y"])
    found = absorb(model)
    assert list(found.left) == ["nbits"]
    assert found.recognised is not None
    assert (found.recognised.kind, found.recognised.weights, found.integer_share) == ("weights", 1, 0.0)
    assert "com.microsoft" in found.model.opset_imports


def test_roundings_in_a_body_stay() -> None:
    inside = helper.make_graph(
        [*pair("x", "a", ("x_q", "inner"))],
        "inside",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    outside = helper.make_graph(
        [node("Neg", "x_r", "other")],
        "outside",
        [],
        [helper.make_tensor_value_info("other", TensorProto.FLOAT, None)],
    )
    nodes = [
        *pair("x", "b", ("q", "x_r")),
        helper.make_node("If", ["yes"], ["y"], "if", then_branch=outside, else_branch=inside),
    ]
    model = chain(nodes, ["y"], yes=np.bool_(True))
    found = check(model, pictures(shape=(2, 6)))
    assert set(found.left.values()) == {"stands in the body of an If, Loop or Scan"}
    assert set(found.activations) == {"x"}
