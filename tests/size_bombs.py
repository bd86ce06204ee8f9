"""Small ONNX models that describe large computations: one a kind, with the node that is to be named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node
HUGE, ROOT = 1 << 44, 1 << 22  # elements that no machine has memory for, and what they are the square of


def numbers(name: str, values: object) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def reals(name: str, values: object) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), name)


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[TensorProto] = (),
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """float32 [1, 4] "x" -> "y" of the same shape; `nodes` make "r", whose largest element is added to x."""
    tail = [
        node("Cast", ["r"], ["real"], "cast", to=TensorProto.FLOAT),
        node("ReduceMax", ["real"], ["most"], "most", keepdims=0),
        node("Add", ["x", "most"], ["y"], "add"),
    ]
    graph = helper.make_graph(
        [*nodes, *tail],
        "bomb",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)


def save(proto: onnx.ModelProto, folder: Path, name: str = "bomb") -> Path:
    path = folder / f"{name}.onnx"
    onnx.save(proto, path)
    return path


def doubled(start: str, first: str, times: int) -> list[onnx.NodeProto]:
    """`times` Concats, each of the last one with itself, from `start`; the last makes "r"."""
    names = [start, *(f"{first}{place}" for place in range(1, times)), "r"]
    return [
        node("Concat", [names[place]] * 2, [names[place + 1]], f"double{place}", axis=0)
        for place in range(times)
    ]


def functions(depth: int) -> list[onnx.FunctionProto]:
    """`depth` functions of which each calls two of the next."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    last = helper.make_function("own", f"f{depth}", ["a"], ["b"], [node("Neg", ["a"], ["b"])], opsets)
    calling = [
        helper.make_function(
            "own",
            f"f{place}",
            ["a"],
            ["b"],
            [
                node(f"f{place + 1}", ["a"], ["t"], domain="own"),
                node(f"f{place + 1}", ["t"], ["b"], domain="own"),
            ],
            opsets,
        )
        for place in range(1, depth)
    ]
    return [*calling, last]


def loop(turns: int, *, grows: bool, start: str = "x") -> onnx.ModelProto:
    """A Loop that adds what it has to itself, or with `grows` joins it to itself, `turns` times."""
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, None)
    turn, condition = (
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    )
    step = (
        node("Concat", ["v", "v"], ["w"], "join", axis=0) if grows else node("Add", ["v", "v"], ["w"], "sum")
    )
    body = helper.make_graph(
        [step, node("Identity", ["c"], ["d"], "on")],
        "body",
        [turn, condition, value],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    true = numpy_helper.from_array(np.array(True), "true")
    constants = [numbers("turns", turns), true, reals("one", [1])]
    return model([node("Loop", ["turns", "true", start], ["r"], "loop", body=body)], constants)


TOLD: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "Range": (
        lambda: model(
            [node("Range", ["a", "b", "c"], ["r"], "bomb")],
            [numbers("a", 0), numbers("b", HUGE), numbers("c", 1)],
        ),
        "bomb",
    ),
    "Range of reals": (
        lambda: model(
            [node("Range", ["a", "b", "c"], ["r"], "bomb")], [reals("a", 0), reals("b", HUGE), reals("c", 1)]
        ),
        "bomb",
    ),
    "Expand": (
        lambda: model([node("Expand", ["a", "s"], ["r"], "bomb")], [reals("a", 1), numbers("s", [HUGE])]),
        "bomb",
    ),
    "Expand to a computed shape": (
        lambda: model(
            [node("Concat", ["s", "s"], ["t"], "t", axis=0), node("Expand", ["a", "t"], ["r"], "bomb")],
            [reals("a", 1), numbers("s", [ROOT])],
        ),
        "bomb",
    ),
    "Tile": (
        lambda: model([node("Tile", ["a", "s"], ["r"], "bomb")], [reals("a", [1]), numbers("s", [HUGE])]),
        "bomb",
    ),
    "ConstantOfShape": (
        lambda: model([node("ConstantOfShape", ["s"], ["r"], "bomb")], [numbers("s", [ROOT, ROOT])]),
        "bomb",
    ),
    "Pad": (
        lambda: model([node("Pad", ["x", "s"], ["r"], "bomb")], [numbers("s", [0, 0, HUGE, 0])]),
        "bomb",
    ),
    "Resize": (
        lambda: model(
            [node("Resize", ["a", "", "s"], ["r"], "bomb")],
            [reals("a", np.ones((1, 1, 1, 1))), reals("s", [1, 1, ROOT, ROOT])],
        ),
        "bomb",
    ),
    "OneHot": (
        lambda: model(
            [node("OneHot", ["i", "d", "v"], ["r"], "bomb")],
            [numbers("i", [1]), numbers("d", HUGE), reals("v", [0, 1])],
        ),
        "bomb",
    ),
    "sum of a column and a row": (
        lambda: model(
            [
                node("Expand", ["a", "s"], ["column"], "column"),
                node("Transpose", ["column"], ["row"], "row", perm=[1, 0]),
                node("Add", ["column", "row"], ["r"], "bomb"),
            ],
            [reals("a", 1), numbers("s", [ROOT, 1])],
        ),
        "bomb",
    ),
    "outer product": (
        lambda: model(
            [
                node("Expand", ["a", "s"], ["v"], "v"),
                node("Einsum", ["v", "v"], ["r"], "bomb", equation="i,j->ij"),
            ],
            [reals("a", 1), numbers("s", [ROOT])],
        ),
        "bomb",
    ),
    "ConvTranspose of a wide stride": (
        lambda: model(
            [node("ConvTranspose", ["a", "w"], ["r"], "bomb", strides=[ROOT, ROOT])],
            [reals("a", np.ones((1, 1, 2, 2))), reals("w", np.ones((1, 1, 3, 3)))],
        ),
        "bomb",
    ),
    "forty doublings": (lambda: model(doubled("x", "d", 44)), "double"),
    "forty doublings of a shape": (
        lambda: model([node("Shape", ["x"], ["s"], "s"), *doubled("s", "d", 44)]),
        "double",
    ),
    "functions that call two of the next": (
        lambda: model([node("f1", ["x"], ["r"], domain="own")], functions=functions(40)),
        "f",
    ),
    "endless loop": (lambda: loop(1 << 40, grows=False), "loop"),
}
"""What a model's shapes and counts tell: how it is made, and the beginning of the name in the message."""


def computed_range() -> onnx.ModelProto:
    """A Range whose end is a product of constants: shape inference does not multiply scalars."""
    return model(
        [node("Mul", ["h", "h"], ["b"], "square"), node("Range", ["a", "b", "c"], ["r"], "bomb")],
        [numbers("a", 0), numbers("h", ROOT), numbers("c", 1)],
    )


def fed_range() -> onnx.ModelProto:
    """A Range whose end is computed from what the model is fed."""
    return model(
        [
            node("Cast", ["x"], ["whole"], "whole", to=TensorProto.INT64),
            node("ReduceMax", ["whole"], ["last"], "last", keepdims=0),
            node("Add", ["last", "h"], ["b"], "b"),
            node("Range", ["a", "b", "c"], ["r"], "bomb"),
        ],
        [numbers("a", 0), numbers("h", HUGE), numbers("c", 1)],
    )


def branch() -> onnx.ModelProto:
    """An If of which one branch, the one that is taken, holds a huge value."""
    branches = {
        key: helper.make_graph(
            [node("ConstantOfShape", ["s"], [f"{key}_r"], f"bomb_{key}")],
            key,
            [],
            [helper.make_tensor_value_info(f"{key}_r", TensorProto.FLOAT, None)],
        )
        for key in ("then_branch", "else_branch")
    }
    true = numpy_helper.from_array(np.array(True), "true")
    return model([node("If", ["true"], ["r"], "if", **branches)], [true, numbers("s", [HUGE])])


UNTOLD: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "computed Range": (computed_range, "bomb"),
    "fed Range": (fed_range, "bomb"),
    "branch of an If": (branch, ""),  # ONNX Runtime names it anew
    "Loop that doubles": (lambda: loop(44, grows=True), ""),
    "loop of constants that doubles": (lambda: loop(44, grows=True, start="one"), ""),
}
"""What only shows when it is computed: how it is made, and the beginning of the node's name, if known."""
