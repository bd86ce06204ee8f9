"""ONNX models of a few operators each, float and quantized, that reach most of what reads models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

from knight import api, model as models
from knight.tasks.infer_auto import infer

_HEAD = '<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1, "own" : 1]>'
Arrays = Mapping[str, Any]


def _weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def _built(graph: str, constants: Arrays, functions: str = "", opset: int = 17) -> onnx.ModelProto:
    """A model in ONNX's text form, with its constants."""
    model = parser.parse_model(f"{_HEAD.format(opset=opset)} {graph} {functions}")
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


def _stored(graph: str, constants: Arrays, functions: str = "", opset: int = 17) -> bytes:
    return _built(graph, constants, functions, opset).SerializeToString()


_CONV = (
    """g (float[n, 3, 6, 6] x) => (float[n, 4] y) {
    c = Conv<pads = [1, 1, 1, 1]>(x, w, b) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p)
    y = Gemm<transB = 1>(f, v, d) }""",
    {"w": _weight(4, 3, 3, 3), "b": _weight(4), "v": _weight(4, 4), "d": _weight(4)},
)
_BLOCK = (
    """g (float[1, 4, 8, 8] x) => (float[1, 8, 8, 8] y, float[1, 4, 4, 4] z) {
    p = Pad(x, ends) c = Conv(p, w) n = BatchNormalization(c, s, t, s, u) g1 = Sigmoid(n) m = Mul(n, g1)
    a = Add(m, x) h, k = Split<axis = 1>(a, two) j = Concat<axis = 1>(h, k) q = MaxPool<kernel_shape = [2, 2],
    strides = [2, 2]>(j) r = Resize<mode = "nearest">(q, , scales) e = Concat<axis = 1>(r, a)
    y = Clip(e, low, high) l = Slice(q, zero, four, one) z = Transpose<perm = [0, 1, 3, 2]>(l) }""",
    {
        "ends": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "w": _weight(4, 4, 3, 3),
        "s": np.ones(4, np.float32),
        "t": _weight(4),
        "u": np.full(4, 2, np.float32),
        "two": np.array([2, 2]),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "low": np.float32(0),
        "high": np.float32(6),
        "zero": np.array([0]),
        "four": np.array([4]),
        "one": np.array([1]),
    },
)
_ATTENTION = (
    """g (float[1, 5, 8] x) => (float[1, 5, 8] y) {
    q = MatMul(x, wq) k = MatMul(x, wk) t = Transpose<perm = [0, 2, 1]>(k) s = MatMul(q, t) d = Div(s, root)
    o = Softmax<axis = -1>(d) v = MatMul(o, x) m = ReduceMean<axes = [-1]>(v) c = Sub(v, m) p = Pow(c, two)
    a = ReduceMean<axes = [-1]>(p) e = Add(a, eps) r = Sqrt(e) n = Div(c, r) g1 = Mul(n, gain)
    b = Add(g1, bias)    h = Div(b, root2) i = Erf(h) j = Add(i, one) l = Mul(b, j) y = Mul(l, half) }""",
    {
        **{"wq": _weight(8, 8), "wk": _weight(8, 8), "root": np.float32(2.8), "two": np.float32(2)},
        **{"eps": np.float32(1e-5), "gain": _weight(8), "bias": _weight(8), "root2": np.float32(2**0.5)},
        **{"one": np.float32(1), "half": np.float32(0.5)},
    },
)
_SHAPES = (
    """g (float[n, 4, 6] x, int64[n, 3] ids) => (float y, float z) {
    s = Shape(x) b = Gather(s, i0) u = Unsqueeze(b, a0) t = Concat<axis = 0>(u, rest) r = Reshape(x, t)
    e = Expand(r, t) k = Tile(e, reps) c = ConstantOfShape<value = float {2.0}>(u) f = Range(i0, i3, i1)
    o = OneHot(ids, depth, values) w = Where(yes, k, k) m = MatMul(w, v) y = Add(m, c)
    h = Gather(table, ids) l = Cast<to = 1>(f) z = MatMul(h, l2) }""",
    {
        **{
            "i0": np.int64(0),
            "i1": np.int64(1),
            "i3": np.int64(3),
            "a0": np.array([0]),
            "rest": np.array([4, 6]),
        },
        **{"reps": np.array([1, 1, 1]), "depth": np.int64(5), "values": np.array([0, 1], np.float32)},
        **{"yes": np.array([True]), "v": _weight(6, 2), "table": _weight(7, 4), "l2": _weight(4, 3)},
    },
)
_CONTROL = (
    """g (float[2, 4] x, bool t) => (float[2, 4] y) {
    i = If (t) <then_branch = a () => (float[2, 4] p) { p = Relu(x) }, else_branch = b () => (float[2, 4] q)
    { q = Neg(x) }>
    l = Loop (n, t, i) <body = c (int64 k, bool go, float[2, 4] v) => (bool more, float[2, 4] w)
    { more = Identity(go) w = Add(v, x) }>
    f = own.twice(l) m = MatMul(f, w4) y = com.microsoft.Gelu(m) }""",
    {"n": np.int64(2), "w4": _weight(4, 4)},
    '<domain: "own", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }',
)
_RECURRENT = (
    """g (float[5, 1, 3] x) => (float[5, 1, 1, 4] y, int64 k, float[1, 2] t) {
    y, h, c = LSTM<hidden_size = 4>(x, w, r, b) a = ReduceMax<axes = [0, 1], keepdims = 0>(x)
    u = Unsqueeze(a, zero) t, i = TopK<axis = 1>(u, two) k = ArgMax<axis = 0, keepdims = 0>(a) }""",
    {
        "w": _weight(1, 16, 3),
        "r": _weight(1, 16, 4),
        "b": _weight(1, 32),
        "zero": np.array([0]),
        "two": np.array([2]),
    },
)


def _half() -> bytes:
    """Weights in float16, and in a file beside the model that is not there."""
    model = _built(
        "g (float16[1, 4] x) => (float16[1, 2] y) { y = MatMul(x, w) }", {"w": _weight(4, 2).astype("f2")}
    )
    tensor = model.graph.initializer.add(name="w2", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    model.graph.node.append(helper.make_node("Add", ["w2", "w2"], ["z"], "a"))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [4]))
    return bytes(model.SerializeToString())


def _quantized(target: str, **options: Any) -> bytes:
    """The first model, quantized here."""
    from onnx_ir import from_proto

    source = from_proto(_built(*_CONV))
    return models.to_bytes(api.quantize(source, infer, target=target, method="min_max", **options).model)


def _foreign() -> bytes:
    """Quantized by another tool's habits: per tensor, uint8, one DequantizeLinear read twice."""
    graph = """g (float[1, 3, 6, 6] x) => (float[1, 4, 4, 4] y) {
    q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) wd = DequantizeLinear<axis = 0>(w, ws, wz)
    bd = DequantizeLinear(b, bs) c = Conv(d, wd, bd) r = Relu(c) rq = QuantizeLinear(r, s2, z)
    rd = DequantizeLinear(rq, s2, z) a = Add(rd, rd) aq = QuantizeLinear(a, s2, z)
    y = DequantizeLinear(aq, s2, z) }"""
    constants = {
        **{"s": np.float32(0.02), "z": np.uint8(128), "s2": np.float32(0.1), "bs": np.float32(0.001)},
        **{"w": np.arange(108, dtype=np.int8).reshape(4, 3, 3, 3), "ws": np.full(4, 0.05, np.float32)},
        **{"wz": np.zeros(4, np.int8), "b": np.arange(4, dtype=np.int32)},
    }
    return _stored(graph, constants)


SEEDS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "onnx/conv.onnx": ("", partial(_stored, *_CONV)),
    "onnx/block.onnx": ("", partial(_stored, *_BLOCK)),
    "onnx/attention.onnx": ("", partial(_stored, *_ATTENTION)),
    "onnx/shapes.onnx": ("", partial(_stored, *_SHAPES)),
    "onnx/control.onnx": ("", partial(_stored, *_CONTROL)),
    "onnx/recurrent.onnx": ("", partial(_stored, *_RECURRENT)),
    "onnx/half.onnx": ("", _half),
    "onnx/qdq.onnx": ("", partial(_quantized, "onnxruntime")),
    "onnx/qoperator.onnx": ("", partial(_quantized, "onnxruntime", format="qoperator")),
    "onnx/fixed_point.onnx": (
        "",
        partial(_quantized, "TX5368AV200", mean=(1.0,), std=(2.0,), input_dtypes=("uint8",)),
    ),
    "onnx/foreign.onnx": ("", _foreign),
}
"""Path below ``seeds/`` -> package that making it needs, and what makes it."""
