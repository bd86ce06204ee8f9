"""Pairs are found by name and by structure, whatever way of writing QDQ a tool has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import knight
from knight import model as models
from knight.compare.models import Options, forms, real_graph
from knight.compare.pairing import Pairing, pair
from knight.qdq.graph import Graph
from tests.compare._kit import samples
from tests.compare._tools import by_onnxruntime, net, renamed
from tests.compare.test_other_tools import compared

RNG = np.random.default_rng(5)
W1 = RNG.normal(size=(8, 3, 3, 3)).astype(np.float32)
W2 = RNG.normal(size=(8, 8, 3, 3)).astype(np.float32) / 5
W3 = RNG.normal(size=(8, 4)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)
X = {"x": (1, 3, 8, 8)}
FEEDS = [{"x": RNG.normal(size=X["x"]).astype(np.float32)} for _ in range(3)]


def float_net(names: str = "c1 r1 c2 r2 s p f m y") -> ir.Model:
    """Conv, Relu, Conv, Relu, a sum with the first Relu, a pooled head of MatMul and Add."""
    c1, r1, c2, r2, s, p, f, m, y = names.split()
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "w1"], [c1], pads=[1] * 4),
        make("Relu", [c1], [r1]),
        make("Conv", [r1, "w2"], [c2], pads=[1] * 4),
        make("Relu", [c2], [r2]),
        make("Add", [r1, r2], [s]),
        make("GlobalAveragePool", [s], [p]),
        make("Flatten", [p], [f]),
        make("MatMul", [f, "w3"], [m]),
        make("Add", [m, "b"], [y]),
    ]
    return net(nodes, {"w1": W1, "w2": W2, "w3": W3, "b": BIAS}, inputs=X, outputs=[y])


# Ways of writing QDQ ----------------------------------------------------------------------------------


class Writer:
    """Collects nodes and weights of a quantized form of `float_net`. prefix: of all names that it gives."""

    def __init__(self, prefix: str = "q/", kind: str = "uint8", domain: str = "") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray | onnx.TensorProto] = {"b": BIAS}
        self.prefix, self.kind, self.domain = prefix, kind, domain

    def node(self, op_type: str, inputs: list[str], output: str, **attributes: object) -> str:
        name = f"{self.prefix}{output}" if output != "y" else "y"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def number(self, name: str, array: np.ndarray | onnx.TensorProto) -> str:
        self.weights[f"{self.prefix}{name}"] = array
        return f"{self.prefix}{name}"

    def rounded(self, value: str, largest: float, *, signed: bool = True) -> str:
        """`value` behind a pair of its own, in the range up to `largest`."""
        base = f"{value.removeprefix(self.prefix)}_{len(self.nodes)}"
        top = np.iinfo(self.kind).max
        zero = np.array((top + 1) // 2 if signed else 0, self.kind)
        scale = np.float32(largest / (top // 2 if signed else top))
        numbers = [self.number(f"{base}/scale", scale), self.number(f"{base}/zero", zero)]
        q = self.node("QuantizeLinear", [value, *numbers], f"{base}/q", domain=self.domain)
        return self.node("DequantizeLinear", [q, *numbers], f"{base}/dq", domain=self.domain)


Weight = Callable[[Writer, str, np.ndarray], str]


def per_channel(writer: Writer, name: str, array: np.ndarray) -> str:
    """int8, one scale per output channel, which is axis 0 but for the MatMul's."""
    axis = 0 if array.ndim == 4 else 1
    others = tuple(each for each in range(array.ndim) if each != axis)
    scale = np.abs(array).max(others) / 127
    shape = [-1 if each == axis else 1 for each in range(array.ndim)]
    integers = np.rint(array / scale.reshape(shape)).astype(np.int8)
    inputs = [
        writer.number(f"{name}_int", integers),
        writer.number(f"{name}_scale", scale.astype(np.float32)),
    ]
    return writer.node("DequantizeLinear", inputs, f"{name}_dq", axis=axis)


def from_float(writer: Writer, name: str, array: np.ndarray) -> str:
    """The float numbers stay in the file, behind Quantize- and DequantizeLinear (PyTorch, ModelOpt)."""
    scale = writer.number(f"{name}_scale", np.float32(np.abs(array).max() / 127))
    zero = writer.number(f"{name}_zero", np.int8(0))
    q = writer.node("QuantizeLinear", [writer.number(name, array), scale, zero], f"{name}_q")
    return writer.node("DequantizeLinear", [q, scale, zero], f"{name}_dq")


def turned(writer: Writer, name: str, array: np.ndarray) -> str:
    """Stored the other way round, with a Transpose between DequantizeLinear and operator."""
    scale = np.float32(np.abs(array).max() / 127)
    integers = np.rint(array.T / scale).astype(np.int8)
    inputs = [writer.number(f"{name}_int", integers), writer.number(f"{name}_scale", scale)]
    dq = writer.node("DequantizeLinear", inputs, f"{name}_dq")
    return writer.node("Transpose", [dq], f"{name}_t", perm=list(range(array.ndim))[::-1])


def reshaped(writer: Writer, name: str, array: np.ndarray) -> str:
    """Stored as a matrix, with a Reshape between DequantizeLinear and operator."""
    scale = np.float32(np.abs(array).max() / 127)
    integers = np.rint(array.reshape(array.shape[0], -1) / scale).astype(np.int8)
    inputs = [writer.number(f"{name}_int", integers), writer.number(f"{name}_scale", scale)]
    dq = writer.node("DequantizeLinear", inputs, f"{name}_dq")
    return writer.node("Reshape", [dq, writer.number(f"{name}_shape", np.array(array.shape))], f"{name}_r")


def blocks(writer: Writer, name: str, array: np.ndarray) -> str:
    """The MatMul's as int4 in blocks of four rows (opset 21), the others per channel."""
    if array.ndim != 2:
        return per_channel(writer, name, array)
    scale = np.abs(array.reshape(2, 4, 4)).max(1).astype(np.float32) / 7
    integers = np.rint(array / np.repeat(scale, 4, 0)).astype(int)
    tensor = helper.make_tensor(f"{writer.prefix}{name}_int", TensorProto.INT4, array.shape, integers.ravel())
    inputs = [writer.number(f"{name}_int", tensor), writer.number(f"{name}_scale", scale)]
    return writer.node("DequantizeLinear", inputs, f"{name}_dq", axis=0, block_size=4)


def quantized_net(writer: Writer, weight: Weight, *, opset: int = 17, relu: bool = True) -> ir.Model:
    """`float_net` in this writing; every reader has a pair of its own. relu: else left to saturation."""

    def conv(source: str, name: str, array: np.ndarray, out: str) -> str:
        value = writer.node("Conv", [source, weight(writer, name, array)], out, pads=[1] * 4)
        return writer.node("Relu", [value], f"{out}_relu") if relu else value

    r1 = conv(writer.rounded("x", 4), "w1", W1, "one")
    again = writer.rounded(r1, 20, signed=False)
    r2 = conv(writer.rounded(r1, 20, signed=False) if relu else again, "w2", W2, "two")
    total = writer.node("Add", [again, writer.rounded(r2, 20, signed=False)], "sum")
    pooled = writer.node("GlobalAveragePool", [writer.rounded(total, 30, signed=False)], "pool")
    flat = writer.node("Flatten", [writer.rounded(pooled, 8, signed=False)], "flat")
    product = writer.node("MatMul", [flat, weight(writer, "w3", W3)], "product")
    writer.node("Add", [product, "b"], "y")
    return net(writer.nodes, writer.weights, inputs=X, outputs=["y"], opset=opset)  # type: ignore[arg-type]


WRITINGS: dict[str, Callable[[], ir.Model]] = {
    "per channel": lambda: quantized_net(Writer(), per_channel),
    "weights from float": lambda: quantized_net(Writer(), from_float),
    "transposed weights": lambda: quantized_net(Writer(), turned),
    "reshaped weights": lambda: quantized_net(Writer(), reshaped),
    "int4 in blocks": lambda: quantized_net(Writer(), blocks, opset=21),
    "16 bit, opset 21": lambda: quantized_net(Writer(kind="uint16"), per_channel, opset=21),
    "16 bit, com.microsoft": lambda: quantized_net(
        Writer(kind="uint16", domain="com.microsoft"), per_channel
    ),
    "Relu left out": lambda: quantized_net(Writer(), per_channel, relu=False),
}
TWINS = {"one": "c1", "one_relu": "r1", "two": "c2", "two_relu": "r2", "sum": "s", "pool": "p"}
TWINS |= {"flat": "f", "product": "m", "y": "y", "x": "x"}


def paired(reference: ir.Model, result: ir.Model) -> Pairing:
    return pair(forms(reference, Options()), real_graph(result))


def by_name(pairing: Pairing) -> dict[str, str]:
    return {(root.name or "").removeprefix("q/"): twin.name or "" for root, twin in pairing.pairs.items()}


@pytest.mark.parametrize("writing", WRITINGS)
def test_foreign_names_and_writings(writing: str) -> None:
    reference, result = float_net(), WRITINGS[writing]()
    pairing = paired(reference, result)
    assert pairing.share == 1.0
    wanted = TWINS | ({"one": "r1", "two": "r2"} if writing == "Relu left out" else {})
    assert all(wanted[name] == twin for name, twin in by_name(pairing).items())
    assert not list(pairing.unpaired())
    found = compared(reference, result, FEEDS)
    own = {layer.output: layer.own_sqnr for layer in found.layers}
    assert all(
        number is not None and number > (15 if writing == "int4 in blocks" else 28) for number in own.values()
    )
    assert found.output_sqnr is not None and found.output_sqnr > 15


def test_a_relu_left_to_saturation_costs_nothing_of_the_weights() -> None:
    """What the Conv makes below zero is no error: the float model's Relu cuts it off as well."""
    found = compared(float_net(), WRITINGS["Relu left out"](), FEEDS)
    with_relu = compared(float_net(), WRITINGS["per channel"](), FEEDS)
    wanted = {layer.output: layer for layer in with_relu.layers}
    for layer in found.layers:
        if layer.output in ("r1", "r2"):
            other = wanted[layer.output]
            assert layer.op_type == "Conv" and layer.own_sqnr is not None and other.own_sqnr is not None
            assert abs(layer.own_sqnr - other.own_sqnr) < 0.5
            assert layer.best_sqnr is not None and layer.best_sqnr > 28
            assert (layer.cause and layer.cause.kind) == (other.cause and other.cause.kind)


# Names that lead astray -------------------------------------------------------------------------------


def test_shifted_numbers_pair_nothing_wrongly() -> None:
    """Value "12" of one export is another layer in the other."""
    numbers = [str(number) for number in range(10, 19)]
    shifted = [str(number) for number in range(11, 20)]
    pairing = paired(float_net(" ".join(numbers)), float_net(" ".join(shifted)))
    assert pairing.share == 1.0
    found = {root.name: twin.name for root, twin in pairing.pairs.items()}
    assert found == dict(zip(["x", *shifted], ["x", *numbers], strict=True))


def chain(names: list[str], weights: list[np.ndarray]) -> ir.Model:
    """Convolutions of one shape in a row."""
    ends = ["x", *names]
    nodes = [
        helper.make_node("Conv", [source, f"w{place}"], [name], pads=[1] * 4)
        for place, (source, name) in enumerate(zip(ends[:-1], names, strict=True))
    ]
    arrays = {f"w{place}": array for place, array in enumerate(weights)}
    return net(nodes, arrays, inputs={"x": (1, 8, 8, 8)}, outputs=[names[-1]])


def test_shifted_numbers_among_layers_of_one_shape() -> None:
    """Only the weights can tell here."""
    weights = [RNG.normal(size=W2.shape).astype(np.float32) for _ in range(6)]
    names = [str(number) for number in range(20, 26)]
    shifted = [str(number) for number in range(21, 27)]
    pairing = paired(chain(names, weights), chain(shifted, weights))
    found = {root.name: twin.name for root, twin in pairing.pairs.items()}
    assert found == dict(zip(["x", *shifted], ["x", *names], strict=True))


def test_a_name_on_a_weight_of_another_shape_is_no_pair() -> None:
    reference = float_net()
    result = float_net("c2 r1 c1 r2 s p f m y")  # two Convs have changed names
    found = {root.name: twin.name for root, twin in paired(reference, result).pairs.items()}
    assert found["c2"] == "c1" and found["c1"] == "c2"
    assert all(found[name] == name for name in ("x", "r1", "r2", "s", "p", "m", "y"))


def test_siblings_are_told_apart_by_their_weights_and_parameters() -> None:
    """Branches that read one value with weights of one shape, and slices of it, in another order."""

    def model(order: list[int], names: str) -> ir.Model:
        nodes, ends = [], []
        for place in order:
            nodes.append(helper.make_node("Conv", ["x", f"w{place}"], [f"{names}{place}"], pads=[1] * 4))
        for place in order:
            inputs = ["x", f"start{place}", f"end{place}", "axis"]
            nodes.append(helper.make_node("Slice", inputs, [f"{names}s{place}"]))
        ends = [f"{names}{place}" for place in (0, 1, 2)] + [f"{names}s{place}" for place in (0, 1, 2)]
        nodes.append(helper.make_node("Concat", ends, ["y"], axis=1))
        numbers: dict[str, np.ndarray] = {"axis": np.array([1])}
        for place in order:
            numbers |= {f"w{place}": siblings[place], f"start{place}": np.array([2 * place])}
            numbers[f"end{place}"] = np.array([2 * place + 2])
        return net(nodes, numbers, inputs={"x": (1, 8, 8, 8)}, outputs=["y"])

    siblings = [RNG.normal(size=W2.shape).astype(np.float32) for _ in range(3)]
    pairing = paired(model([0, 1, 2], "a"), model([2, 0, 1], "b"))
    found = {
        (root.name or "").lstrip("b"): (twin.name or "").lstrip("a") for root, twin in pairing.pairs.items()
    }
    assert len(found) == 8 and all(root == twin for root, twin in found.items())


def test_a_removed_layer_is_listed_on_the_float_side() -> None:
    """A branch that the other model does not have; what is only fused is not listed."""
    make = helper.make_node
    reference = net(
        [make("Sin", ["x"], ["a"]), make("Cos", ["x"], ["b"]), make("Add", ["a", "b"], ["y"])],
        {},
        inputs={"x": (1, 4)},
        outputs=["y"],
    )
    result = net(
        [make("Sin", ["x"], ["a"]), make("Add", ["a", "a"], ["y"])], {}, inputs={"x": (1, 4)}, outputs=["y"]
    )
    pairing = pair([Graph(reference)], Graph(result))
    assert {(each.side, each.output) for each in pairing.unpaired()} <= {("float", "b"), ("quantized", "y")}
    assert {root.name: twin.name for root, twin in pairing.pairs.items()}["a"] == "a"


def test_a_factor_that_the_quantizer_added_says_so() -> None:
    make = helper.make_node
    factor = np.linspace(0.5, 2, 8).astype(np.float32)
    w = RNG.normal(size=(8, 4)).astype(np.float32)
    reference = net([make("MatMul", ["x", "w"], ["y"])], {"w": w}, inputs={"x": (2, 8)}, outputs=["y"])
    nodes = [make("Mul", ["x", "k"], ["smooth"]), make("MatMul", ["smooth", "w"], ["y"])]
    numbers = {"w": w / factor[:, None], "k": factor}
    pairing = paired(reference, net(nodes, numbers, inputs={"x": (2, 8)}, outputs=["y"]))
    (left,) = pairing.unpaired()
    assert (left.side, left.output) == ("quantized", "smooth") and "added by the quantizer" in left.reason


# Without names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "onnxruntime", "TX5368AV200"])
@pytest.mark.parametrize(
    "file", ["resnet20_cifar10.onnx", "squeezenet_v1.1.onnx", "mobilenet_v1_0.25_224.onnx"]
)
def test_nets_without_their_names(kit: Path, tmp_path: Path, file: str, form: str) -> None:
    source = models.load(kit / "onnx" / file)
    feeds = samples(kit, file, 2)
    if form.startswith("Q"):
        result = by_onnxruntime(kit / "onnx" / file, tmp_path, feeds, form, prepared=False)
    else:
        result = knight.quantize(source, feeds, target=form, method="min_max").model
    named = paired(source, result)
    assert named.share >= 0.95
    wanted = [named.pairs[value].name if value in named.pairs else None for value in named.result.rows()]
    for seed in range(2):
        found = paired(source, renamed(result, seed))
        assert found.share >= 0.95
        got = [found.pairs[value].name if value in found.pairs else None for value in found.result.rows()]
        assert len(got) == len(wanted)
        assert np.mean([a == b for a, b in zip(got, wanted, strict=True)]) >= 0.95
