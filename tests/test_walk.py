"""A model run in pieces is the model run at once, and what changes behind a stop changes what comes after."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from knight import walk as walking
from knight.errors import OutputError
from knight.runner import Session
from knight.walk import Walk
from tests.passes.equivalence import build, random

WEIGHTS = {
    "w": random(4, 4, 3, 3, seed=1),
    "b": random(4, seed=2),
    "v": random(4, 4, 1, 1, seed=3),
    "c": random(4, seed=4),
}
SCALES = {"s": np.float32(0.02), "z": np.uint8(128)}
PADS = "pads = [1, 1, 1, 1]"
GRAPHS = {
    "chain": f"a = Conv<{PADS}>(x, w, b) r = Relu(a) d = Conv(r, v, c) e = Relu(d) y = Conv(e, v, b)",
    "skip": f"a = Conv<{PADS}>(x, w, b) d = Conv(a, v, c) e = Add(d, x) g = Conv(e, v) y = Add(g, a)",
    "two ways": f"a = Conv<{PADS}>(x, w, b) d = Conv(x, v, c) k = Add(a, d) e = Conv(k, v) y = Add(e, a)",
    "integers": f"""
        q = QuantizeLinear(x, s, z) f = DequantizeLinear(q, s, z) a = Conv<{PADS}>(f, w, b)
        t = Tanh(a) h = QuantizeLinear(t, s, z) i = DequantizeLinear(h, s, z) d = Conv(i, v, c) e = Add(d, i)
        y = Conv(e, v, b)
    """,
    "shapes": f"""
        n = Shape(x) a = Conv<{PADS}>(x, w, b) t = Reshape(a, n) d = Conv(t, v, c) p = Cast<to = 7>(d)
        m = Cast<to = 1>(p) e = Add(m, t) y = Conv(e, v)
    """,
}
SAMPLES = [{"x": random(2, 4, 9, 9, seed=seed)} for seed in range(3)]


def convolutions(model: ir.Model) -> list[str]:
    return [node.name or "" for node in model.graph if node.op_type == "Conv"]


def at_once(model: ir.Model, node: str) -> list[np.ndarray]:
    (name,) = (one.outputs[0].name or "" for one in model.graph if one.name == node)
    session = Session(model, taps=[name])
    return [session.run(feeds, [name])[0] for feeds in SAMPLES]


def assert_close(got: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("graph", GRAPHS)
def test_each_stop_gives_what_the_whole_model_gives(graph: str) -> None:
    model = build(GRAPHS[graph], {**WEIGHTS, **SCALES})
    names = convolutions(model)
    assert len(names) >= 3
    for chosen in (names, names[1:], names[::2], names[-1:]):
        seen = []
        for node, outputs in Walk(model, SAMPLES).stops(chosen):
            seen.append(node.name)
            assert_close(list(outputs), at_once(model, node.name or ""))
        assert seen == chosen


@pytest.mark.parametrize("graph", GRAPHS)
def test_what_changes_at_a_stop_is_in_what_comes_after(graph: str) -> None:
    model = build(GRAPHS[graph], {**WEIGHTS, **SCALES})
    names = convolutions(model)
    first = next(node for node in model.graph if node.name == names[0])
    before = at_once(model, names[1])
    for node, outputs in Walk(model, SAMPLES).stops(names):
        got = list(outputs)
        assert_close(got, at_once(model, node.name or ""))  # of the model as it is now
        if node is first:
            first.inputs[2].const_value = ir.tensor(WEIGHTS["b"] + 3)
    if graph != "two ways":
        assert not np.allclose(at_once(model, names[1])[0], before[0])


def test_what_nobody_looks_at_is_run_all_the_same() -> None:
    model = build(GRAPHS["skip"], WEIGHTS)
    first, second, last = convolutions(model)
    for node, outputs in Walk(model, SAMPLES).stops([first, second, last]):
        if node.name == first:
            next(outputs)
        if node.name == last:
            assert_close(list(outputs), at_once(model, last))


def test_integers_are_kept_in_place_of_the_numbers_that_they_become(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(GRAPHS["integers"], {**WEIGHTS, **SCALES})
    kinds: list[list[str]] = []
    write = walking._write

    def noting(file: Any, arrays: list[np.ndarray]) -> None:
        kinds.append([array.dtype.name for array in arrays])
        write(file, arrays)

    monkeypatch.setattr(walking, "_write", noting)
    for _ in Walk(model, SAMPLES[:1]).stops(convolutions(model)):
        pass
    assert kinds[:2] == [["uint8"], ["uint8"]]


def test_what_a_body_reads_is_kept_for_it() -> None:
    body = onnx.parser.parse_graph("body () => (float[2,4,9,9] r) { r = Add(a, d) }")
    model = build(f"a = Conv<{PADS}>(x, w, b) d = Conv(a, v, c) e = Relu(d) y = Conv(e, v)", WEIGHTS)
    proto = ir.to_proto(model)
    choice = onnx.helper.make_node("If", ["yes"], ["e"], "choice", then_branch=body, else_branch=body)
    proto.graph.node[2].CopyFrom(choice)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    model = ir.from_proto(proto)
    for node, outputs in Walk(model, SAMPLES).stops(convolutions(model)):
        assert_close(list(outputs), at_once(model, node.name or ""))


def test_a_full_disk_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    model = build(GRAPHS["chain"], WEIGHTS)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        for _ in Walk(model, SAMPLES).stops(convolutions(model)):
            pass
    assert not list(tmp_path.iterdir())
