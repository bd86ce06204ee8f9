"""Operators that change nothing disappear, and only those."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings, strategies as st

from knight.passes import PassOptions, infer_shapes
from knight.passes.eliminate_identity import run
from knight.passes.remove_unused import run as remove_unused
from tests.passes.equivalence import build, check_fused, check_untouched, operators, outputs_of
from tests.passes.zoo import ZOO, ints, numbers

PICTURE = {"x": (2, 3, 4, 5)}
CONSTANTS = {
    "one": np.array(1, np.float32),
    "zero": np.zeros((1, 1), np.float32),
    "full": np.zeros((2, 3, 4, 5), np.float32),
    "wide": np.zeros((1, 1, 1, 1, 1), np.float32),
    "rows": np.zeros((4, 1), np.float32),
    "ones": ints(1, 1, 1, 1),
    "none": ints(0, 0, 0, 0, 0, 0, 0, 0),
    "some": ints(0, 0, 0, 0, 0, 0, 0, 1),
    "own": ints(2, 3, 4, 5),
    "copy": ints(0, 0, 0, 0),
    "begin": ints(0, 0),
    "later": ints(0, 1),
    "last": ints(-1, -1),
    "end": ints(4, 2**62),
    "first": ints(-99, -99),
    "axes": ints(2, 3),
    "back": ints(-1, -1),
    "forth": ints(1, 1),
    "every": ints(1, 2),
    "scales": np.ones(4, np.float32),
    "nearly": np.array([1, 1, 1.05, 1.0], np.float32),
    "off": np.array(False),
    "on": np.array(True),
    "ratio": np.array(0.5, np.float32),
}


def graph(nodes: str, *, opset: int = 17) -> ir.Model:
    used = {name: array for name, array in CONSTANTS.items() if f" {name}" in nodes or f"({name}" in nodes}
    return build(nodes, used, inputs=PICTURE, opset=opset)


@pytest.mark.parametrize(
    "node",
    [
        "Identity(x)",
        "Dropout(x)",
        "Dropout(x, ratio, off)",
        "Cast<to=1>(x)",
        "CastLike(x, one)",
        "Transpose<perm=[0,1,2,3]>(x)",
        "Reshape(x, own)",
        "Reshape(x, copy)",
        "Expand(x, ones)",
        "Expand(x, own)",
        "Tile(x, ones)",
        "Pad(x, none)",
        "Slice(x, begin, end, axes)",
        "Slice(x, begin, end, axes, forth)",
        "Concat<axis=1>(x)",
        "Sum(x)",
        "Max(x)",
        "Resize(x, , scales)",
        'Resize<mode="linear">(x, , , own)',
        'Resize<mode="cubic", coordinate_transformation_mode="align_corners">(x, , scales)',
        'Resize<coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , scales)',
        "MaxPool<kernel_shape=[1,1]>(x)",
        "AveragePool<kernel_shape=[1,1], strides=[1,1], pads=[0,0,0,0]>(x)",
        "Add(x, zero)",
        "Add(zero, x)",
        "Add(x, full)",
        "Sub(x, zero)",
        "Mul(one, x)",
        "Div(x, one)",
        "Pow(x, one)",
    ],
)
def test_removed(node: str) -> None:
    inner = re.sub(r"\bx\b", "a", node)
    check_fused(graph(f"a = Relu(x) b = {inner} y = Neg(b)"), run_and_tidy, "Relu Neg")


def run_and_tidy(model: ir.Model, options: PassOptions) -> int:
    return run(model, options) + remove_unused(model, options)


@pytest.mark.parametrize(
    "node",
    [
        "Dropout(x, ratio, on)",
        "Cast<to=6>(x)",
        "Transpose<perm=[0,1,3,2]>(x)",
        "Reshape(x, back)",
        "Pad(x, some)",
        "Slice(x, later, end, axes)",
        "Slice(x, last, first, axes, back)",
        "Slice(x, begin, end, axes, every)",
        "Concat<axis=1>(x, x)",
        "Resize(x, , nearly)",
        'Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(x, roi, scales)',
        "MaxPool<kernel_shape=[1,1], strides=[2,1]>(x)",
        "AveragePool<kernel_shape=[1,2]>(x)",
        "AveragePool<kernel_shape=[1,1], pads=[0,0,0,1], count_include_pad=1>(x)",
        "Add(x, wide)",
        "Add(x, one)",
        "Sub(zero, x)",
        "Div(one, x)",
        "Pow(one, x)",
        "GlobalAveragePool(x)",
    ],
)
def test_kept(node: str) -> None:
    known = dict(CONSTANTS, roi=np.arange(8, dtype=np.float32) / 8)
    if "Reshape" in node:
        known["back"] = ints(5, -1)
    used = {name: array for name, array in known.items() if f" {name}" in node or f"({name}" in node}
    model = build(f"y = {node}", used, inputs=PICTURE, infer=False)
    infer_shapes.infer(model)
    assert run(model, PassOptions()) == 0


def test_a_constant_that_broadcasts_stays() -> None:
    model = build("y = Add(x, rows)", {"rows": CONSTANTS["rows"]}, inputs={"x": (1, 5)})
    check_untouched(model, run)


def test_output_names_and_ways_from_input_to_output() -> None:
    model = ir.from_proto(ZOO["outputs of every kind"].proto())
    infer_shapes.infer(model)
    assert run(model, PassOptions()) > 0
    assert [value.name for value in model.graph.outputs] == ["through", "w", "a", "b", "c", "d"]
    assert model.graph.outputs[0].producer().op_type == "Identity"
    assert operators(model) == {"Relu": 2, "Identity": 3}, "one value cannot have two output names"


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ("a = Transpose<perm=[1,2,0,3]>(x) y = Transpose<perm=[2,0,1,3]>(a)", "Identity"),
        ("a = Transpose<perm=[1,2,0,3]>(x) y = Transpose<perm=[1,2,0,3]>(a)", "Transpose"),
        ("a = Transpose(x) b = Transpose<perm=[1,0,2,3]>(a) y = Transpose(b)", "Transpose"),
        ("a = Reshape(x, flat) y = Reshape(a, pairs)", "Reshape"),
        ("a = Reshape(x, flat) b = Reshape(a, own) y = Relu(b)", "Relu"),
        ("a = Unsqueeze(x, zero) b = Squeeze(a, zero) y = Relu(b)", "Relu"),
        ("a = Flatten(x) b = Reshape(a, own) y = Relu(b)", "Relu"),
        ("a = Reshape(x, pairs) y = Flatten(a)", "Reshape"),
        ("a = Reshape(x, pairs) y = Reshape(a, copies)", "Reshape"),
    ],
)
def test_merged(nodes: str, left: str) -> None:
    constants = {
        "flat": ints(-1),
        "pairs": ints(6, 4, -1),
        "own": ints(2, 3, 4, 5),
        "zero": ints(0),
        "copies": ints(0, -1),
    }
    used = {name: array for name, array in constants.items() if f", {name})" in nodes}
    check_fused(build(nodes, used, inputs=PICTURE), run_and_tidy, left)


def test_several_readers_of_a_transpose() -> None:
    model = build(
        "a = Transpose<perm=[1,0,2,3]>(x) y = Transpose<perm=[1,0,2,3]>(a) z = Relu(a)",
        inputs=PICTURE,
        outputs=("y", "z"),
    )
    check_fused(model, run, "Identity Transpose Relu")


def test_dynamic_shapes() -> None:
    model = build(
        "a = Flatten(x) b = Reshape(a, t) y = Relu(b)",
        {"t": ints(-1, 12)},
        inputs={"x": ("N", 12)},
        infer=False,
    )
    infer_shapes.infer(model)
    check_fused(model, run_and_tidy, "Relu")


def test_an_unknown_dimension_is_not_taken_for_another() -> None:
    model = build("y = Reshape(x, t)", {"t": ints(-1, 2)}, inputs={"x": ("N", "M")}, infer=False)
    infer_shapes.infer(model)
    assert run(model, PassOptions()) == 0


MOVES = {
    "Transpose<perm=[1,2,0]>({})": lambda a: a.transpose(1, 2, 0),
    "Transpose<perm=[0,2,1]>({})": lambda a: a.transpose(0, 2, 1),
    "Reshape({}, p)": lambda a: a.reshape(4, 3, 2),
    "Reshape({}, q)": lambda a: a.reshape(2, 3, 4),
    "Identity({})": lambda a: a,
    "Add({}, z)": lambda a: a,
    "Cast<to=1>({})": lambda a: a,
    "Neg({})": lambda a: -a,
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(MOVES)), min_size=1, max_size=8), st.integers(0, 7))
def test_any_chain(steps: list[str], branch: int) -> None:
    x = numbers(2, 3, 4)
    nodes, wanted, value, middle = [], x, "x", x
    for number, step in enumerate(steps):
        nodes.append(f"v{number} = {step.format(value)}")
        value, wanted = f"v{number}", MOVES[step](wanted)
        if number == branch:
            middle = wanted
    taken = f"v{branch}" if branch < len(steps) else "x"
    constants = {"p": ints(4, 3, 2), "q": ints(2, 3, 4), "z": np.zeros(1, np.float32)}
    used = {name: array for name, array in constants.items() if any(f", {name})" in node for node in nodes)}
    model = build(
        " ".join(nodes) + f" y = Identity({value}) k = Relu({taken})",
        used,
        inputs={"x": (2, 3, 4)},
        outputs=("y", "k"),
    )
    run(model, PassOptions())
    for _ in range(2):
        remove_unused(model, PassOptions())
    y, k = outputs_of(model, {"x": x})
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(k, np.maximum(middle, 0))
    assert run(model, PassOptions()) == 0
    assert operators(model).get("Identity", 0) <= 1
