"""Which models are quantized, how far, and who did it; said without running them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from onnxruntime.quantization import quantize_dynamic

from knight import model as models
from knight.qdq.recognise import Quantized, recognise
from tests import small_models
from tests.compare._kit import FILES
from tests.compare._small import NETS, TARGETS, net as small, quantized
from tests.compare._tools import by_onnxruntime, net
from tests.qdq._writings import WRITINGS, node, numbers, pair


@pytest.mark.parametrize("name", NETS)
def test_float_models(name: str, tmp_path: Path) -> None:
    assert recognise(small(name, tmp_path)[0]) is None


@pytest.mark.parametrize("file", FILES)
def test_the_kits_models_are_float(kit: Path, file: str) -> None:
    assert recognise(models.load(kit / "onnx" / file)) is None


@pytest.mark.parametrize("target", TARGETS)
def test_knights(target: str, tmp_path: Path) -> None:
    source, data = small("conv_net", tmp_path)
    assert recognise(quantized(source, data, target)) == Quantized("static", "knight", 2, 2, 2)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("named", [True, False])
def test_onnxruntimes(form: str, named: bool, tmp_path: Path) -> None:
    _, data = small("conv_net", tmp_path)
    model = by_onnxruntime(small_models.conv_net(tmp_path), tmp_path, data, form, prepared=False)
    if not named:  # after other tools only the names in the graph tell
        model.producer_name = ""
        model.metadata_props.clear()
    tool = "onnxruntime" if named or form == "QDQ" else None
    assert recognise(model) == Quantized("static", tool, 2, 2, 2)


@pytest.mark.parametrize("write", WRITINGS)
def test_other_tools(write: Callable[[], ir.Model]) -> None:
    found = recognise(write())
    assert found is not None
    assert (found.kind, found.tool, found.integer_share) == ("static", write.__name__, 1.0)


def test_dynamic_quantization(tmp_path: Path) -> None:
    path, target = small_models.two_inputs(tmp_path), tmp_path / "dynamic.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(str(path), str(target))
    assert recognise(models.load(target)) == Quantized("dynamic", "onnxruntime", 2, 2, 2)


def _linear(*kinds: str) -> ir.Model:
    """A chain of MatMuls: "float", "weights" (a DequantizeLinear before the weight) or "whole"."""
    weights = numbers("n", 0.1, 0, np.int8)
    nodes, last = [], "x"
    for place, kind in enumerate(kinds):
        weight = np.eye(6)
        weights[f"w{place}"] = weight.astype(np.float32 if kind == "float" else np.int8)
        if kind == "whole":
            nodes += pair(last, "n", (f"{last}_q", f"{last}_r"))
            last = f"{last}_r"
        if kind != "float":
            nodes += [
                node("DequantizeLinear", f"w{place} n_s n_z", f"d{place}"),
                node("Transpose", f"d{place}", f"t{place}", perm=[1, 0]),
            ]
        read = f"w{place}" if kind == "float" else f"t{place}"
        nodes.append(node("MatMul", f"{last} {read}", f"m{place}"))
        last = f"m{place}"
    return net(nodes, weights, inputs={"x": (2, 6)}, outputs=[last])


@pytest.mark.parametrize(
    ("kinds", "found", "share", "mostly_float"),
    [
        (("whole", "whole"), Quantized("static", None, 2, 2, 2), 1.0, False),
        (("whole", "weights", "float"), Quantized("static", None, 3, 2, 1), 1 / 3, False),
        (("whole", "float", "float", "float"), Quantized("static", None, 4, 1, 1), 0.25, False),
        (("weights", "weights"), Quantized("weights", None, 2, 2, 0), 0.0, False),
        (("weights", "float", "float"), Quantized("weights", None, 3, 1, 0), 0.0, True),
    ],
)
def test_coverage(kinds: tuple[str, ...], found: Quantized, share: float, mostly_float: bool) -> None:
    assert recognise(_linear(*kinds)) == found
    assert (found.integer_share, found.mostly_float) == (share, mostly_float)


def test_what_only_moves_rounded_numbers_gives_rounded_numbers() -> None:
    weights = {**numbers("n", 0.1, 0, np.int8), "w": np.eye(6).astype(np.int8), "shape": np.array([2, 6])}
    nodes = [
        *pair("x", "n", ("q", "r")),
        node("Relu", "r", "relu"),
        node("Reshape", "relu shape", "flat"),
        node("DequantizeLinear", "w n_s n_z", "d"),
        node("MatMul", "flat d", "y"),
    ]
    assert recognise(net(nodes, weights, inputs={"x": (2, 3, 2)}, outputs=["y"])) == Quantized(
        "static", None, 1, 1, 1
    )


def test_weights_in_blocks() -> None:
    weights = {"w": np.zeros((8, 2, 8), np.uint8), "s": np.ones(16, np.float32)}
    blocks = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=32, N=8, bits=4, block_size=16
    )
    model = net([blocks], weights, inputs={"x": (2, 32)}, outputs=["y"])
    assert recognise(model) == Quantized("weights", None, 1, 1, 0)


def test_a_product_of_two_activations_is_no_compute_operator() -> None:
    nodes = [*pair("x", "n", ("q", "r")), node("MatMul", "r r", "y")]
    model = net(nodes, numbers("n", 0.1, 0), inputs={"x": (6, 6)}, outputs=["y"])
    assert recognise(model) == Quantized("static", None, 0, 0, 0)


def test_operators_of_that_name_in_other_domains_are_others() -> None:
    nodes = [helper.make_node("QLinearConv", ["x"], ["y"], domain="my.own")]
    assert recognise(net(nodes, {}, inputs={"x": (2, 6)}, outputs=["y"])) is None


def test_what_stands_in_a_function() -> None:
    model = _linear("whole", "weights")
    imports = [helper.make_opsetid("", 17)]
    double = ir.from_proto(
        helper.make_function("my.own", "Double", ["a"], ["b"], [node("Add", "a a", "b")], imports)
    )
    assert isinstance(double, ir.Function)
    model.functions[double.identifier()] = double
    model.opset_imports["my.own"] = 1
    first = next(iter(model.graph))
    model.graph.insert_before(
        first, call := ir.Node("my.own", "Double", [model.graph.inputs[0]], name="call")
    )
    first.replace_input_with(0, call.outputs[0])
    assert recognise(model) == Quantized("static", None, 2, 2, 1)
    assert len(model.functions) == 1, "the model stays as it is"
