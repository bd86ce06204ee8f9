"""Raising the opset keeps what each old operator computed; ONNX Runtime runs the old and the new model."""

# ruff: noqa: E501  (one old operator per line)

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from knight import model as models
from knight.errors import ConfigError, ModelError
from knight.passes import PassOptions, infer_shapes
from knight.passes.raise_opset import run
from tests.passes.zoo import Case, Sample, ints, numbers

SCALES = {"s": np.array([1, 1, 2, 1.5], np.float32)}
BN = {key: np.abs(numbers(3, seed=seed)) + 0.5 for seed, key in enumerate("abcd")}
PICTURE = "float[1,3,4,6] x"

# operator as an old exporter wrote it, first opset that had this form, constants
OLD = [
    ('y = Upsample<mode="nearest", scales=[1.0,1.0,2.0,3.0]>(x)', 7, {}),
    ('y = Upsample<mode="linear", scales=[1.0,1.0,2.0,2.0]>(x)', 8, {}),
    ('y = Upsample<mode="linear">(x, s)', 9, SCALES),
    ('y = Resize<mode="nearest">(x, s)', 10, SCALES),
    ('y = Resize<mode="linear">(x, s)', 10, SCALES),
    ('y = Resize<mode="nearest">(x, s)', 10, {"s": np.array([1, 1, 0.6, 0.7], np.float32)}),
    ('y = Resize<mode="nearest">(x, s)', 10, {"s": np.array([1, 1, 1.7, 2.3], np.float32)}),
    ("y = Hardmax(x)", 7, {}),
    ('y = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, r, s)', 11, {"r": np.zeros(0, np.float32), **SCALES}),
    ("y = BatchNormalization<epsilon=0.1>(x, a, b, c, d)", 7, BN),
    ("y = BatchNormalization(x, a, b, c, d)", 9, BN),
    ("y, m = Dropout<ratio=0.4>(x)", 7, {}),
    ("y = Dropout<ratio=0.4>(x)", 10, {}),
    ("y = Slice<starts=[1,-3], ends=[3,9999], axes=[1,3]>(x)", 7, {}),
    ("y, i = TopK<k=2, axis=1>(x)", 7, {}),
    ('y = Pad<pads=[0,0,1,2,0,0,0,1], value=0.5>(x)', 7, {}),
    ('y = Pad<mode="reflect", pads=[0,0,1,2,0,0,0,1]>(x)', 7, {}),
    ("y = Clip<min=-0.5, max=0.5>(x)", 7, {}),
    ("y = Clip<max=0.5>(x)", 7, {}),
    ("y, z = Split<axis=1, split=[1,2]>(x)", 7, {}),
    ("y, z = Split<axis=2>(x)", 11, {}),
    ("y = Softmax(x)", 7, {}),
    ("y = Softmax<axis=3>(x)", 7, {}),
    ("y = Softmax<axis=-1>(x)", 11, {}),
    ("y = LogSoftmax<axis=2>(x)", 11, {}),
    ("y = Hardmax<axis=2>(x)", 11, {}),
    ("y = ReduceMean<axes=[1,3], keepdims=0>(x)", 7, {}),
    ("y = ReduceSum<axes=[-1]>(x)", 11, {}),
    ("y = ReduceSum(x)", 7, {}),
    ("y = ReduceMax<axes=[2]>(x)", 7, {}),
    ("y = ReduceL2<axes=[1]>(x)", 7, {}),
    ("u = Unsqueeze<axes=[0,5]>(x) y = Squeeze<axes=[0]>(u)", 7, {}),
    ("y = AveragePool<kernel_shape=[2,3], pads=[0,1,0,1], strides=[1,2]>(x)", 7, {}),
    ("y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)", 7, {}),
    ("y = Cast<to=7>(x)", 7, {}),
    ("y = Scatter<axis=1>(x, i, u)", 9, {"i": np.zeros((1, 1, 2, 2), np.int64), "u": numbers(1, 1, 2, 2)}),
    ("y = Flatten<axis=2>(x)", 7, {}),
    ("y = Gemm<transB=1>(f, w, v)", 7, {"f": numbers(2, 4), "w": numbers(3, 4), "v": numbers(3)}),
    ("y = ArgMax<axis=1>(x)", 7, {}),
    ("y = RoiAlign<output_height=2, output_width=2>(x, r, b)", 10, {"r": np.array([[0, 0, 3, 3]], np.float32), "b": ints(0)}),
    ('y = GridSample<mode="bilinear">(x, g)', 16, {"g": numbers(1, 2, 2, 2) / 2}),
    ('y = GridSample<mode="bicubic">(x, g)', 16, {"g": numbers(1, 2, 2, 2) / 2}),
    ("y = DepthToSpace<blocksize=1>(x)", 7, {}),
    ("y = InstanceNormalization(x, a, b)", 7, {"a": BN["a"], "b": BN["b"]}),
    ("y = PRelu(x, p)", 7, {"p": numbers(3, 1, 1)}),
    ("y = Elu(x)", 7, {}),
    ("q = QuantizeLinear(x, k, z) y = DequantizeLinear(q, k, z)", 10, {"k": np.array(0.1, np.float32), "z": np.array(3, np.uint8)}),
    ("y, h, c = LSTM<hidden_size=2>(t, w, r)", 7, {"t": numbers(4, 1, 3), "w": numbers(1, 8, 3), "r": numbers(1, 8, 2)}),
    ("y, h = GRU<hidden_size=2, linear_before_reset=1>(t, w, r)", 7, {"t": numbers(4, 1, 3), "w": numbers(1, 6, 3), "r": numbers(1, 6, 2)}),
    ("y = NonMaxSuppression(o, c, k, i, t)", 10, {"o": np.abs(numbers(1, 6, 4)), "c": numbers(1, 1, 6), "k": ints(3), "i": np.array([0.5], np.float32), "t": np.array([0.0], np.float32)}),
]  # fmt: skip


def old_model(nodes: str, opset: int, constants: dict[str, np.ndarray]) -> ir.Model:
    proto = Case(
        f"g ({PICTURE}) => (float[unknown] y) {{ {nodes} }}", (), constants, opset=opset, ir_version=8
    ).proto()
    proto.graph.output[0].CopyFrom(onnx.ValueInfoProto(name="y"))
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def outputs(model: ir.Model, sample: Sample) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(models.to_bytes(model), options, providers=["CPUExecutionProvider"]).run(
        None, sample
    )


@pytest.mark.parametrize(("nodes", "opset", "constants"), OLD, ids=[f"{o}:{n}"[:50] for n, o, _ in OLD])
@pytest.mark.parametrize("wanted", [17, 21, 24])
def test_old_operators(nodes: str, opset: int, constants: dict[str, np.ndarray], wanted: int) -> None:
    if wanted >= 22 and "RoiAlign" in nodes:
        pytest.skip("ONNX Runtime has no RoiAlign of opset 22")
    source = old_model(nodes, opset, constants)
    model = source.clone()
    assert run(model, PassOptions(opset=wanted)) == 1
    assert models.opset(model) == wanted
    if model.graph.outputs[0].shape is not None:  # unknown where it depends on the numbers
        onnx.checker.check_model(models.to_bytes(model), full_check=True)
    sample = {"x": numbers(1, 3, 4, 6)}
    for got, want in zip(outputs(model, sample), outputs(source, sample), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_softmax_over_the_last_axis_stays_one_operator() -> None:
    model = old_model("y = Softmax<axis=3>(x)", 9, {})
    run(model, PassOptions())
    assert [node.op_type for node in model.graph] == ["Softmax"]


def test_bodies_are_raised_too() -> None:
    case = Case(
        """g (float[1,3] x, bool f) => (float[3] y) {
            y = If (f) <then_branch = t () => (float[3] a) { a = Squeeze<axes=[0]>(x) },
                        else_branch = e () => (float[3] b) { n = Neg(x) b = Squeeze<axes=[0]>(n) }> }""",
        (),
        opset=11,
    )
    source = ir.from_proto(case.proto())
    model = source.clone()
    run(model, PassOptions())
    onnx.checker.check_model(models.to_bytes(model), full_check=True)
    for flag in (True, False):
        sample = {"x": numbers(1, 3), "f": np.array(flag)}
        np.testing.assert_array_equal(outputs(model, sample)[0], outputs(source, sample)[0])


def test_large_weights_and_names_survive() -> None:
    weights = numbers(300, 6)
    model = old_model(
        "m = MatMul(x, w) y = Upsample<scales=[1.0,1.0,1.0,2.0]>(m)", 8, {"w": weights.T.copy()}
    )
    tensor = model.graph.initializers["w"].const_value
    names = [node.name for node in model.graph]
    model.graph[1].name = "up"
    run(model, PassOptions())
    assert model.graph.initializers["w"].const_value is tensor, "the weights went through the converter"
    np.testing.assert_array_equal(model.graph.initializers["w"].const_value.numpy(), weights.T)
    assert [value.name for value in model.graph.inputs] == ["x"]
    kept = {node.op_type: node.name for node in model.graph}
    assert kept["MatMul"] == names[0]
    assert kept["Resize"] == "up"


@pytest.mark.parametrize(("own", "wanted", "ir_version", "after"), [(17, 17, 8, (17, 8)), (21, 17, 10, (21, 10)), (13, 17, 7, (17, 8)), (13, 21, 7, (21, 10)), (17, 17, 3, (17, 8)), (13, 26, 7, (26, 13)), (17, 17, 14, (17, 13))])  # fmt: skip
def test_versions(own: int, wanted: int, ir_version: int, after: tuple[int, int]) -> None:
    model = ir.from_proto(Case("g (float[2] x) => (float[2] y) { y = Relu(x) }", (), opset=own).proto())
    model.ir_version = ir_version
    changed = run(model, PassOptions(opset=wanted))
    assert (models.opset(model), model.ir_version) == after
    assert changed == int((own, ir_version) != after)
    np.testing.assert_array_equal(outputs(model, {"x": numbers(2)})[0], np.maximum(numbers(2), 0))


def test_an_operator_that_cannot_be_raised_is_named() -> None:
    case = Case("g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax<axis=1>(x) }", (), opset=11)
    proto = case.proto()
    proto.graph.node[0].name = "culprit"
    proto.graph.node[0].op_type = "Softmux"
    with pytest.raises(ModelError, match=r"from opset 11 to 17.*Softmux.*export it again with opset 17"):
        run(ir.from_proto(proto), PassOptions())


def test_a_resize_that_newer_opsets_cannot_express_is_refused() -> None:
    model = old_model("y = Resize(x, s)", 10, {"s": np.array([1, 1, 2, 0.5], np.float32)})
    model.graph[0].name = "both"
    with pytest.raises(ModelError, match=r"Resize of node 'both' enlarges one axis and shrinks another"):
        run(model, PassOptions())


def test_an_opset_beyond_the_runtime_is_refused() -> None:
    model = ir.from_proto(Case("g (float[2] x) => (float[2] y) { y = Relu(x) }", ()).proto())
    with pytest.raises(ConfigError, match=r"opset 27.*up to 26"):
        run(model, PassOptions(opset=27))


def test_inference_before_knows_more_ranks() -> None:
    """The converter of Softmax needs the rank, which the order of the passes sees to."""
    model = old_model("r = Relu(x) y = Softmax<axis=3>(r)", 9, {})
    for node in model.graph:
        node.outputs[0].shape = None
    infer_shapes.infer(model)
    run(model, PassOptions())
    assert [node.op_type for node in model.graph] == ["Relu", "Softmax"]
