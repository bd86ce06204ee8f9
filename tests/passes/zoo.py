"""Small models of every awkward kind that a pass may meet, with samples to run them on."""

# ruff: noqa: E501  (graphs as text)

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model and samples. `proto` builds it anew each time, so that no test sees another's changes."""

    text: str
    samples: tuple[Sample, ...]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    change: Callable[[onnx.ModelProto], None] = lambda proto: None
    opset: int = 17
    ir_version: int = 8
    imports: str = ""

    def proto(self) -> onnx.ModelProto:
        head = f'<ir_version: {self.ir_version}, opset_import: ["" : {self.opset}{self.imports}]>'
        proto = onnx.parser.parse_model(f"{head} {self.text}")
        for name, array in self.constants.items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        self.change(proto)
        return proto


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Uniform float32 numbers in [-2, 2), the same for the same arguments."""
    return np.random.default_rng([seed, *shape]).uniform(-2, 2, shape).astype(np.float32)


def ints(*items: int) -> np.ndarray:
    return np.array(items, dtype=np.int64)


def x_of(*shapes: tuple[int, ...]) -> tuple[Sample, ...]:
    """One sample of the input x per shape."""
    return tuple({"x": numbers(*shape, seed=7)} for shape in shapes)


def _duplicate_names(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        node.name = "same"
    proto.graph.node[0].name = ""


def _weights_as_inputs(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


def _sequence_input(proto: onnx.ModelProto) -> None:
    del proto.graph.input[:]
    proto.graph.input.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, ["N", 3]))


ZOO: dict[str, Case] = {
    "cnn": Case(
        """g (float[1,3,9,9] x) => (float[1,4] y) {
            p = Pad(x, pads) c = Conv<kernel_shape=[3,3]>(p, w)
            b = BatchNormalization(c, scale, shift, mean, variance) r = Relu(b)
            q = GlobalAveragePool(r) f = Flatten(q) y = Identity(f) }""",
        x_of((1, 3, 9, 9)),
        {
            "pads": ints(0, 0, 1, 1, 0, 0, 1, 1),
            "w": numbers(4, 3, 3, 3),
            "scale": numbers(4),
            "shift": numbers(4, seed=1),
            "mean": numbers(4, seed=2),
            "variance": np.abs(numbers(4, seed=3)) + 0.5,
        },
    ),
    "if reads outer values": Case(
        """g (float[2,3] x, bool flag) => (float[2,3] y) {
            h = Relu(x)
            k = Identity(h)
            r = If (flag) <
                then_branch = t () => (float[2,3] a) { z = Add(k, w) a = Mul(z, z) },
                else_branch = e () => (float[2,3] b) { z = Sub(x, w) b = Neg(z) }>
            y = Add(r, w) }""",
        tuple({"x": numbers(2, 3), "flag": np.array(flag)} for flag in (True, False)),
        {"w": numbers(3)},
    ),
    "if with a known condition": Case(
        """g (float[2,3] x) => (float[2,3] y, float[2,3] z) {
            a = Relu(x)
            y, z = If (yes) <
                then_branch = t () => (float[2,3] p, float[2,3] q) {
                    c = Constant<value = float[3] {1.0, 2.0, 3.0}>() a1 = Add(a, c) p = Identity(a1) q = Neg(a1) },
                else_branch = e () => (float[2,3] p2, float[2,3] q2) { p2 = Neg(a) q2 = Exp(a) }> }""",
        x_of((2, 3)),
        {"yes": np.array(True)},
    ),
    "nested if inlined over taken names": Case(
        """g (float[2] x, bool flag) => (float[2] y) {
            a = Relu(x)
            m = If (yes) <
                then_branch = t () => (float[2] o) {
                    i = If (flag) <then_branch = tt () => (float[2] v) { v = Add(a, a) },
                                   else_branch = te () => (float[2] v) { v = Sub(a, x) }>
                    o = Neg(i) },
                else_branch = e () => (float[2] o) { o = Exp(a) }>
            n = If (no) <
                then_branch = t2 () => (float[2] o) { o = Exp(a) },
                else_branch = e2 () => (float[2] o) { i = Sigmoid(a) o = Neg(i) }>
            y = Add(m, n) }""",
        tuple({"x": numbers(2), "flag": np.array(flag)} for flag in (True, False)),
        {"yes": np.array(True), "no": np.array([False])},
    ),
    "loop": Case(
        """g (float[3] x, int64 n) => (float[3] y, float[K,3] all) {
            h = Relu(x)
            k = Identity(h)
            y, all = Loop (n, yes, x) <body = b (int64 i, bool c, float[3] s) => (bool c2, float[3] s2, float[3] t) {
                c2 = Identity(c) t1 = Mul(s, w) t = Add(t1, k) s2 = Identity(t) }> }""",
        tuple({"x": numbers(3), "n": np.array(n)} for n in (1, 4)),
        {"w": numbers(3), "yes": np.array(True)},
    ),
    "shared and equal weights": Case(
        """g (float[1,2,5,5] x) => (float[1,2,3,3] y, float[1,2,3,3] z) {
            a = Conv(x, w) b = Conv(x, w) c = Conv(x, v) d = Relu(c) e = Relu(d)
            y = Add(a, e) z = Mul(b, c) }""",
        x_of((1, 2, 5, 5)),
        {"w": numbers(2, 2, 3, 3), "v": numbers(2, 2, 3, 3)},
    ),
    "optional inputs and outputs": Case(
        """g (float[3,2,4] x) => (float y) {
            c = Clip(x, , top) a, all, h = LSTM<hidden_size=5>(c, w, r, , , start)
            m, mask = Dropout(h) y = ReduceSum<keepdims=0>(m, ) }""",
        x_of((3, 2, 4)),
        {
            "top": np.array(0.5, np.float32),
            "w": numbers(1, 20, 4),
            "r": numbers(1, 20, 5),
            "start": numbers(1, 2, 5),
        },
        change=lambda proto: proto.graph.node[1].output.__setitem__(slice(None), ["", "h"]),
    ),
    "dynamic batch": Case(
        """g (float[N,4,6] x) => (float[N,24] y, float[N,2,12] z) {
            s = Shape(x) n0 = Gather(s, zero) n = Unsqueeze(n0, axes) t = Concat<axis=0>(n, rest)
            y = Reshape(x, t) m = Slice(s, first, second) u = Concat<axis=0>(m, two, minus) z = Reshape(y, u) }""",
        x_of((1, 4, 6), (3, 4, 6), (0, 4, 6)),
        {
            "zero": np.array(0),
            "axes": ints(0),
            "rest": ints(24),
            "first": ints(0),
            "second": ints(1),
            "two": ints(2),
            "minus": ints(12),
        },
    ),
    "dynamic batch and length": Case(
        """g (float[N,L,8] x) => (float[N,L,8] y) {
            s = Shape(x) n0 = Gather(s, zero) l0 = Gather(s, one) n = Unsqueeze(n0, axes) l = Unsqueeze(l0, axes)
            t = Concat<axis=0>(n, l, two, four) h = Reshape(x, t) p = Transpose<perm=[0,2,1,3]>(h)
            q = Transpose<perm=[0,2,1,3]>(p) u = Concat<axis=0>(n, l, eight) y = Reshape(q, u) }""",
        x_of((1, 3, 8), (2, 5, 8)),
        {
            "zero": np.array(0),
            "one": np.array(1),
            "axes": ints(0),
            "two": ints(2),
            "four": ints(4),
            "eight": ints(8),
        },
    ),
    "expand to a computed shape": Case(
        """g (float[N,1,3] x) => (float[N,4,3] y, float[N,1,3] z) {
            s = Shape(x) n = Slice(s, first, second) t = Concat<axis=0>(n, four, three)
            e = Equal(t, minus) f = Where(e, one, t) y = Expand(x, f) z = Expand(x, s) }""",
        x_of((1, 1, 3), (2, 1, 3)),
        {
            "first": ints(0),
            "second": ints(1),
            "four": ints(4),
            "three": ints(3),
            "minus": ints(-1),
            "one": ints(1),
        },
    ),
    "outputs of every kind": Case(
        """g (float[2,3] x) => (float[2,3] through, float[3] w, float[2,3] a, float[2,3] b, float[2,3] c, float[2,3] d) {
            through = Identity(x) r = Relu(x) a = Identity(r) b = Relu(x) c = Identity(a) d = Add(r, zero) }""",
        x_of((2, 3)),
        {"w": numbers(3), "zero": np.zeros(3, np.float32)},
    ),
    "weights as Constant nodes": Case(
        """g (float[2,3] x) => (float[2,2] y, float[3] k) {
            w = Constant<value = float[3,2] {1.0, -2.0, 3.0, 0.5, 0.25, -1.0}>() f = Constant<value_float = 0.5>()
            fs = Constant<value_floats = [0.5, 1.5]>() i = Constant<value_int = 1>() is = Constant<value_ints = [1, 2]>()
            k = Constant<value_floats = [1.0, 2.0, 3.0]>()
            m = MatMul(x, w) a = Mul(m, f) b = Add(a, fs) c = Cast<to=1>(i) d = Cast<to=1>(is)
            e = Mul(b, c) y = Div(e, d) }""",
        x_of((2, 3)),
    ),
    "no inputs": Case(
        "g () => (float[2] y, int64[2] s) { a = Add(w, w) y = Relu(a) s = Shape(v) }",
        ({},),
        {"w": numbers(2), "v": numbers(4, 5)},
    ),
    "integer inputs": Case(
        """g (int64[N,4] ids, int32[N,4] mask) => (float[N,4,3] y) {
            e = Gather(table, ids) m = Cast<to=1>(mask) u = Unsqueeze(m, axes) f = Cast<to=1>(u) y = Mul(e, f) }""",
        tuple({"ids": np.arange(4 * n).reshape(n, 4) % 5, "mask": np.ones((n, 4), np.int32)} for n in (1, 2)),
        {"table": numbers(5, 3), "axes": ints(-1)},
    ),
    "strings": Case(
        """g (string[N] x) => (string[K] y, string[K] z) {
            c = Constant<value_strings = ["a", "b"]>() d = Constant<value_strings = ["a", "b"]>()
            i = Identity(x) y = Concat<axis=0>(i, c) z = Concat<axis=0>(x, d) }""",
        ({"x": np.array(["p", "q"], dtype=object)},),
    ),
    "sequences": Case(
        """g (float[2,3] x) => (float[2,3] y, float[4,3] z) {
            s = SequenceConstruct(x, x) t = Identity(s) y = SequenceAt(t, one) z = ConcatFromSequence<axis=0>(s) }""",
        x_of((2, 3)),
        {"one": np.array(1)},
    ),
    "sequence input": Case(
        "g (float[2,3] s) => (float[K,3] z) { t = Identity(s) c = ConcatFromSequence<axis=0>(t) z = Relu(c) }",
        ({"s": [numbers(2, 3), numbers(1, 3)]},),  # type: ignore[dict-item]
        change=_sequence_input,
    ),
    "optional type": Case(
        "g (float[2] x) => (float[2] y) { o = Optional(x) p = Identity(o) e = OptionalGetElement(p) y = Relu(e) }",
        x_of((2,)),
    ),
    "zero-size tensors": Case(
        """g (float[N,4] x) => (float[N,4] y, float[K,2] z) {
            c = Concat<axis=0>(x, none) y = Reshape(c, copy) z = Reshape(c, half) }""",
        x_of((0, 4), (3, 4)),
        {"none": np.zeros((0, 4), np.float32), "copy": ints(0, 4), "half": ints(-1, 2)},
    ),
    "weights as inputs": Case(
        "g (float[2,3] x) => (float[2,3] y) { m = Mul(x, w) y = Add(m, b) }",
        x_of((2, 3)),
        {"w": numbers(3), "b": np.zeros(3, np.float32)},
        change=_weights_as_inputs,
        ir_version=3,
        opset=8,
    ),
    "model functions": Case(
        """g (float[2,3] x) => (float[2,3] y, float[2,3] z) {
            a = local.twice(x) y = local.twice(a) z = local.scaled<alpha = 3.0>(x) }
        <domain: "local", opset_import: ["" : 17]> twice (v) => (w) { t = Add(v, v) w = Identity(t) }
        <domain: "local", opset_import: ["" : 17, "local" : 1]> scaled <alpha>(v) => (w) {
            c = Constant<value_float: float = @alpha>() d = local.twice(v) w = Mul(d, c) }""",
        x_of((2, 3)),
        imports=', "local" : 1',
    ),
    "old operators": Case(
        """g (float[1,4,6,6] x) => (float[1,4,12,12] y, float[1,4] p) {
            b = BatchNormalization(x, g, g, g, g) d, mask = Dropout<ratio = 0.3>(b)
            u = Upsample<mode = "nearest">(d, scales) s = Slice<starts = [0], ends = [4], axes = [1]>(u)
            y = Clip<min = -1.0, max = 1.0>(s) r = ReduceMean<axes = [2,3]>(x) q = Squeeze<axes = [2,3]>(r)
            p = Softmax<axis = 1>(q) }""",
        x_of((1, 4, 6, 6)),
        {"g": np.abs(numbers(4)) + 0.5, "scales": np.array([1, 1, 2, 2], np.float32)},
        opset=9,
        ir_version=4,
    ),
    "chains of moves": Case(
        """g (float[2,3,4] x) => (float[2,3,4] a, float[4,2,3] b, float[6,4] c, float[2,3,4] d, float[2,3,4] e) {
            t = Transpose<perm=[1,2,0]>(x) a = Transpose<perm=[2,0,1]>(t) b = Transpose<perm=[1,2,0]>(t)
            r = Reshape(x, flat) c = Reshape(r, pairs) s = Unsqueeze(x, axes) d = Squeeze(s, axes)
            u = Reshape(x, pairs) v = Reshape(u, back) e = Relu(v) }""",
        x_of((2, 3, 4)),
        {"flat": ints(-1), "pairs": ints(6, -1), "axes": ints(0), "back": ints(2, 3, 4)},
    ),
    "neutral constants": Case(
        """g (float[3] x) => (float[3] a, float[2,3] b, float[3] c, float[3] d, float[3] e, float[3] f) {
            a0 = Add(x, zero) a = Relu(a0) b = Add(x, zeros) c0 = Mul(one, x) c = Neg(c0)
            d0 = Sub(zero, x) d = Neg(d0) e0 = Pow(x, two_one) e = Neg(e0) f0 = Div(x, one) f = Exp(f0) }""",
        x_of((3,)),
        {
            "zero": np.zeros(1, np.float32),
            "zeros": np.zeros((2, 1), np.float32),
            "one": np.array(1, np.float32),
            "two_one": np.array([2, 1, 1], np.float32),
        },
    ),
    "operators that do nothing": Case(
        """g (float[1,2,4,4] x) => (float[1,2,4,4] y) {
            a = Identity(x) b = Cast<to=1>(a) c = Transpose<perm=[0,1,2,3]>(b) d = Pad(c, none) e = Tile(d, once)
            f = Expand(e, once) h = Slice(f, begin, end) i = Concat<axis=1>(h) j = Resize(i, , scales)
            k = MaxPool<kernel_shape=[1,1]>(j) l = AveragePool<kernel_shape=[1,1]>(k) m, mask = Dropout(l)
            n = Flatten<axis=1>(m) o = Reshape(n, shape) y = Relu(o) }""",
        x_of((1, 2, 4, 4)),
        {
            "none": ints(0, 0, 0, 0, 0, 0, 0, 0),
            "once": ints(1, 1, 1, 1),
            "begin": ints(0, 0, 0, 0),
            "end": ints(1, 2, 4, 4),
            "scales": np.ones(4, np.float32),
            "shape": ints(1, 2, 4, 4),
        },
    ),
    "operators that nearly do nothing": Case(
        """g (float[1,2,4,4] x) => (float[1,2,4,4] a, float[1,2,4,4] b, float[1,2,2,2] c, float[1,2,4,4] d, float[1,4,2,4] e) {
            a = Slice(x, last, first, axis, back) b = Resize<mode = "linear">(x, , scales)
            c = MaxPool<kernel_shape=[1,1], strides=[2,2]>(x) i = Cast<to=7>(x) d = Cast<to=1>(i)
            e = Transpose<perm=[0,2,1,3]>(x) }""",
        x_of((1, 2, 4, 4)),
        {
            "last": ints(-1),
            "first": ints(-100),
            "axis": ints(3),
            "back": ints(-1),
            "scales": np.array([1, 1, 1.1, 1.1], np.float32),
        },
    ),
    "equal nodes": Case(
        """g (float[2,3] x) => (float[2,3] y, float[2,3] z, float[2,3] u) {
            a = Relu(x) b = Relu(x) c = Exp(a) d = Exp(b) y = Neg(c) z = Neg(d) u = Add(c, d) }""",
        x_of((2, 3)),
    ),
    "random numbers": Case(
        """g (float[4] x) => (float[4] y) {
            r = RandomNormal<shape=[4]>() s = RandomNormal<shape=[4]>() d = Sub(r, s) e = Equal(d, zero)
            n = Cast<to=1>(e) y = Add(x, n) }""",
        x_of((4,)),
        {"zero": np.zeros(4, np.float32)},
    ),
    "already quantized": Case(
        """g (float[2,3] x) => (float[2,2] y) {
            q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) w = DequantizeLinear(wq, s)
            m = MatMul(d, w) y = Relu(m) }""",
        x_of((2, 3)),
        {
            "s": np.array(0.05, np.float32),
            "z": np.array(3, np.int8),
            "wq": np.arange(6, dtype=np.int8).reshape(3, 2),
        },
    ),
    "names that repeat": Case(
        """g (float[2] x, bool f) => (float[2] y) {
            a = Relu(x) b = Neg(a)
            c = If (f) <then_branch = t () => (float[2] v) { n = Exp(b) v = Neg(n) },
                        else_branch = e () => (float[2] v) { n = Abs(b) v = Neg(n) }>
            y = Add(c, a) }""",
        tuple({"x": numbers(2), "f": np.array(flag)} for flag in (True, False)),
        change=_duplicate_names,
    ),
    "vendor operators": Case(
        "g (float[2,3] x) => (float[2,3] y) { a = com.microsoft.Gelu(x) b = Identity(a) y = Relu(b) }",
        x_of((2, 3)),
        imports=', "com.microsoft" : 1, "ai.onnx.ml" : 2',
    ),
    "double": Case(
        "g (double[2,3] x) => (double[2,3] y) { a = Add(x, w) b = Cast<to=11>(a) y = Mul(b, one) }",
        ({"x": numbers(2, 3).astype(np.float64)},),
        {"w": numbers(3).astype(np.float64), "one": np.ones(1, np.float64)},
    ),
    "dead branches": Case(
        """g (float[2,3] x, float[2] unused) => (float[2,3] y) {
            a = Exp(x) b = Neg(a) p, q = Split<axis=1>(x, parts) i, v = TopK(x, k) y = Relu(x) }""",
        ({"x": numbers(2, 3), "unused": numbers(2)},),
        {"parts": ints(1, 2), "k": ints(1), "w": numbers(7)},
    ),
    "large constants": Case(
        """g (float[1,1] x) => (float y) {
            z = ConstantOfShape<value = float[1] {2.0}>(shape) e = Expand(tiny, shape) a = Add(z, e)
            s = ReduceSum<keepdims=0>(a) y0 = Add(x, s) y = ReduceSum<keepdims=0>(y0) }""",
        x_of((1, 1)),
        {"shape": ints(600, 1000), "tiny": np.full((1, 1), 0.5, np.float32)},
    ),
    "dynamic picture": Case(
        """g (float[N,3,H,W] x) => (float[N,4,OH,OW] y, float[N,K] f) {
            c = Conv<pads=[1,1,1,1], kernel_shape=[3,3]>(x, w) s = Shape(c) hw = Slice(s, two, four)
            d = Mul(hw, double) nc = Slice(s, zero, two) t = Concat<axis=0>(nc, d)
            y = Resize<mode = "nearest">(c, , , t) n = Slice(s, zero, one) m = Concat<axis=0>(n, minus)
            f = Reshape(y, m) }""",
        x_of((1, 3, 4, 5), (2, 3, 6, 4)),
        {
            "w": numbers(4, 3, 3, 3),
            "zero": ints(0),
            "one": ints(1),
            "two": ints(2),
            "four": ints(4),
            "double": ints(2, 2),
            "minus": ints(-1),
        },
    ),
}
