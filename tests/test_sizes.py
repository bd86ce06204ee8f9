"""Models that describe more than there is memory for are refused, in one line and within bounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from knight import memory, model as models, sizes
from knight.errors import ModelError
from tests import size_bombs
from tests.size_bombs import node, numbers, reals

GIGABYTE = 1 << 30
BOUND = 3 * GIGABYTE


@pytest.mark.parametrize("name", size_bombs.TOLD)
def test_what_shapes_tell_is_refused_by_node(name: str, tmp_path: Path) -> None:
    make, culprit = size_bombs.TOLD[name]
    path = size_bombs.save(make(), tmp_path)
    with pytest.raises(ModelError) as caught:
        models.load(path)
    text = str(caught.value)
    assert text.startswith(f"model {path}: ") and f"'{culprit}" in text and "\n" not in text


def test_the_size_in_the_message_is_elements_times_their_bytes(tmp_path: Path) -> None:
    make, _ = size_bombs.TOLD["Range"]
    with pytest.raises(ModelError, match=r"node 'bomb' \(Range\) makes 140\.7 TB \(shape 17592186044416\)"):
        models.load(size_bombs.save(make(), tmp_path))  # 2^44 of eight bytes


ACT = """
import resource, sys
import numpy as np
from pathlib import Path
import knight
from knight import KnightError, api, model as models
from tests import size_bombs

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {bound},) * 2)
sample = np.full((1, 4), 2, np.float32)
for name, (make, _) in {{**size_bombs.TOLD, **size_bombs.UNTOLD}}.items():
    if name not in {names!r}:
        continue
    path = size_bombs.save(make(), Path({folder!r}))
    for action in {actions}:
        try:
            action(path, [sample])
            print(name, action.__name__, "went through")
        except KnightError as error:
            print(name, action.__name__, "|", type(error).__name__, error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def lines(names: list[str], actions: list[str], folder: Path) -> tuple[list[str], int]:
    """What each of `actions` says of each model, with an end of address space, and the peak of memory."""
    code = ACT.format(bound=BOUND, names=names, folder=str(folder), actions=f"({', '.join(actions)},)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    *said, peak = done.stdout.splitlines()
    return said, int(peak)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is not counted elsewhere")
@pytest.mark.parametrize("told", [True, False])
def test_memory_stays_bounded_whatever_the_entrance(told: bool, tmp_path: Path) -> None:
    bombs = size_bombs.TOLD if told else size_bombs.UNTOLD
    actions = ["api.infer", *([] if told else ["api.quantize"])]  # what is told is refused on loading
    said, peak = lines(list(bombs), actions, tmp_path)
    expected = [culprit for _, culprit in bombs.values() for _ in actions]
    for line, culprit in zip(said, expected, strict=True):
        assert " | ModelError " in line or " | DataError " in line, line
        assert f"node '{culprit}" in line or f"function '{culprit}" in line, line
        assert "infer function" not in line
    assert peak < BOUND


def test_an_input_that_no_sample_can_fill_is_named(tmp_path: Path) -> None:
    proto = size_bombs.model([node("Neg", ["x"], ["r"], "neg")])
    proto.graph.input.append(helper.make_tensor_value_info("big", TensorProto.FLOAT, [1 << 30, 1 << 20]))
    with pytest.raises(ModelError, match=r"input 'big' makes 4\.5 PB"):
        models.load(size_bombs.save(proto, tmp_path))


def test_what_the_machine_can_hold_goes_through(tmp_path: Path) -> None:
    side = 1 << 13  # 256 MB
    proto = size_bombs.model(
        [node("Expand", ["a", "s"], ["r"], "wide")], [reals("a", 1), numbers("s", [side, side])]
    )
    assert models.load(size_bombs.save(proto, tmp_path)).graph.node("wide").op_type == "Expand"


def test_the_limit_is_the_memory_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = onnx.shape_inference.infer_shapes(
        size_bombs.model([node("Tile", ["x", "s"], ["r"], "tiled")], [numbers("s", [1, 250])]), data_prop=True
    )
    monkeypatch.setattr(memory, "total", lambda: 4000)  # [1, 1000] float32
    sizes.check_values(proto.graph, "it")
    monkeypatch.setattr(memory, "total", lambda: 3999)
    with pytest.raises(ModelError, match=r"it: node 'tiled' \(Tile\) makes 4000 bytes \(shape 1x1000\)"):
        sizes.check_values(proto.graph, "it")


def test_values_in_bodies_count() -> None:
    body = helper.make_graph(
        [node("ConstantOfShape", ["t"], ["made"], "inner")],
        "body",
        [],
        [helper.make_tensor_value_info("made", TensorProto.FLOAT, [size_bombs.HUGE])],
        [numbers("t", [size_bombs.HUGE])],
    )
    proto = size_bombs.model(
        [
            node("ReduceMax", ["x"], ["m"], "m", keepdims=0),
            node("Cast", ["m"], ["c"], "c", to=TensorProto.BOOL),
            node("If", ["c"], ["r"], "if", then_branch=body, else_branch=body),
        ]
    )
    with pytest.raises(ModelError, match="node 'inner'"):
        sizes.check(proto, "it")


def test_shape_inference_gets_the_constants_that_tell_shapes_and_no_weights() -> None:
    weights = np.zeros((64, 64), np.float32)
    proto = size_bombs.model(
        [
            node("Constant", [], ["c"], "c", value=numbers("value", [2, 2])),
            node("Constant", [], ["big"], "big", value=reals("value", weights)),
            node("Expand", ["w", "c"], ["r"], "r"),
        ],
        [numbers("s", [3]), reals("w", weights)],
    )
    light = sizes.light(proto)
    assert [one.name for one in light.graph.initializer] == ["s"]
    assert {one.name for one in light.graph.input} == {"x", "w", "big"}
    assert [one.name for one in light.graph.node][:2] == ["c", "r"]
    assert len(proto.graph.initializer) == 2 and len(proto.graph.node) == 6  # left alone


def calls(depth: int, extra: int = 0) -> onnx.ModelProto:
    nodes = [node("f1", ["x"], ["r"], domain="own")]
    nodes += [node("f1", ["x"], [f"more{place}"], domain="own") for place in range(extra)]
    return size_bombs.model(nodes, functions=size_bombs.functions(depth))


def test_calls_are_counted_as_inlining_makes_them() -> None:
    fewest = calls(13, 0)  # 2^13 - 1 calls
    sizes.check_functions(fewest.functions, fewest.graph.node, "it")
    twice = calls(13, 1)
    with pytest.raises(
        ModelError, match=r"it: the graph calls functions 16382 times .* makes 8195 operators"
    ):
        sizes.check_functions(twice.functions, twice.graph.node, "it")


def test_calls_in_bodies_count() -> None:
    inner = helper.make_graph(
        [node("f1", ["x"], ["made"], domain="own")],
        "body",
        [],
        [helper.make_tensor_value_info("made", TensorProto.FLOAT, None)],
    )
    proto = size_bombs.model(
        [node("If", ["c"], ["r"], "if", then_branch=inner, else_branch=inner)],
        functions=size_bombs.functions(13),
    )
    with pytest.raises(ModelError, match="the graph calls functions 16382 times"):
        sizes.check_functions(proto.functions, proto.graph.node, "it")


def test_a_function_that_calls_itself_by_others_is_refused() -> None:
    opsets = [helper.make_opsetid("own", 1)]
    ring = [
        helper.make_function("own", name, ["a"], ["b"], [node(other, ["a"], ["b"], domain="own")], opsets)
        for name, other in (("f", "g"), ("g", "h"), ("h", "f"))
    ]
    with pytest.raises(ModelError, match="it: function 'f' calls itself"):
        sizes.check_functions(ring, [], "it")


def test_shape_inference_ends_where_it_takes_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "SHAPES", 1 << 27)
    bare = size_bombs.model([node("Shape", ["x"], ["s"], "s"), *size_bombs.doubled("s", "d", 24)])
    with pytest.raises(ModelError) as caught:
        sizes.inferred(bare, "it")
    assert str(caught.value).startswith(
        "it: its shapes take over 134.2 MB to work out; the longest vector is 33554432, which node 'double23'"
    )
    assert sizes.inferred(size_bombs.model(size_bombs.doubled("x", "d", 24)), "it")  # of floats: no shapes


def value(name: str, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, [1])


def test_bodies_that_see_too_many_names_are_refused_before_shapes_are_inferred(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time grows with the square of their number; few bodies, or few names, are none of that."""
    inner = helper.make_graph([node("Identity", ["x"], ["o"])], "b", [], [value("o")])
    branches = {"then_branch": inner, "else_branch": inner}
    nodes = [node("If", ["c"], [f"y{n}"], **branches) for n in range(20)]
    proto = helper.make_model(helper.make_graph(nodes, "g", [value("x"), value("c", TensorProto.BOOL)], []))
    monkeypatch.setattr(sizes, "MOST_LOOK_UPS", 40 * 22)  # 40 bodies, 20 outputs and 2 inputs
    sizes.check(proto, "model m")
    monkeypatch.setattr(sizes, "MOST_LOOK_UPS", 40 * 22 - 1)
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", None)
    with pytest.raises(
        ModelError, match=r"^model m: the bodies of its If, Loop and Scan nodes see 880 names"
    ):
        sizes.check(proto, "model m")
