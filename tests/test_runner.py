"""Sessions: taps, and buffers that are used again."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from knight.errors import DataError, ModelError
from knight.runner import Session, available_threads
from tests.passes.equivalence import build, random

CONV = {"w": random(4, 4, 3, 3)}


def test_taps_come_after_the_outputs() -> None:
    model = build("c = Conv(x, w) r = Relu(c) y = Neg(r)", CONV)
    x = random(2, 4, 9, 9)
    y, r = Session(model, taps=["r"]).run({"x": x})
    np.testing.assert_array_equal(y, -r)
    np.testing.assert_array_equal(r, np.maximum(Session(model, taps=["c"]).run({"x": x})[1], 0))


@pytest.mark.parametrize("shape", [(2, 4, 9, 9), ("n", 4, "h", 9)])
def test_in_place_gives_the_same_for_changing_shapes(shape: tuple[int | str, ...]) -> None:
    model = build("c = Conv(x, w) y = Relu(c)", CONV, inputs={"x": shape})
    session = Session(model, taps=["c"])
    shapes = [(2, 4, 9, 9)] * 2 if shape[0] == 2 else [(1, 4, 9, 9), (3, 4, 7, 9), (1, 4, 9, 9)]
    for number, dims in enumerate(shapes):
        x = random(*dims, seed=number)
        wanted = session.run({"x": x})
        for got, want in zip(session.run_in_place({"x": x}), wanted, strict=True):
            np.testing.assert_array_equal(got, want)


def test_in_place_uses_its_buffers_again() -> None:
    session = Session(build("y = Relu(x)", inputs={"x": (2, 3)}))
    first = session.run_in_place({"x": random(2, 3)})[0]
    second = session.run_in_place({"x": random(2, 3, seed=1)})[0]
    assert first is second


def test_sizes_that_depend_on_the_numbers() -> None:
    model = build("n = NonZero(x) y = Cast<to = 1>(n)", inputs={"x": (2, 3)}, infer=False)
    session = Session(model)
    for x in (np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32), random(2, 3)):
        np.testing.assert_array_equal(session.run_in_place({"x": x})[0], np.array(np.nonzero(x), np.float32))


def test_what_does_not_load_or_run_is_one_line() -> None:
    bad = build("y = Relu(x)", inputs={"x": (2, 3)})
    next(iter(bad.graph)).op_type = "Frobnicate"
    with pytest.raises(ModelError, match=r"cannot load the model.*Frobnicate") as caught:
        Session(bad)
    assert "\n" not in str(caught.value)
    session = Session(build("y = Reshape(x, s)", {"s": np.array([7])}, inputs={"x": ("n", 3)}, infer=False))
    for run in (session.run, session.run_in_place):
        with pytest.raises(DataError, match="failed on this sample"):
            run({"x": random(2, 3)})


def test_threads_are_those_of_the_machine_at_most() -> None:
    assert 1 <= available_threads(1000) < 1000 and available_threads(0) == 1


def test_inputs_and_outputs_are_described() -> None:
    session = Session(build("y = Relu(x)", inputs={"x": ("n", 3)}))
    assert str(session.inputs[0]) == "x float[?x3]" and session.inputs[0].shape == (None, 3)
    assert isinstance(ir.to_proto(build("y = Relu(x)")).SerializeToString(), bytes)
