"""Sessions that go on at a lower level of optimization, and say so."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from knight.compare import fallback
from knight.compare.fallback import SteadySession
from knight.errors import DataError, ModelError
from knight.listener import Listener
from knight.runner import Session
from tests.compare._tools import net


class Ear(Listener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def warn(self, text: str) -> None:
        self.heard.append(text)


class Fragile(Session):
    """Fails as an optimized graph that ONNX Runtime got wrong does: when it loads, or when it runs."""

    def __init__(self, *args: object, level: str, **options: object) -> None:
        if level == "all":
            raise ModelError("ONNX Runtime cannot load the model: a kernel is missing")
        super().__init__(*args, level=level, **options)  # type: ignore[arg-type]
        self.level = level

    def run_in_place(self, feeds: object) -> list[np.ndarray]:
        if self.level == "extended":
            raise DataError("ONNX Runtime failed on this sample: indices out of range")
        return super().run_in_place(feeds)  # type: ignore[arg-type]


MODEL = net([helper.make_node("Neg", ["x"], ["y"])], {}, inputs={"x": (2,)}, outputs=["y"])
X = np.array([1, -2], np.float32)


def test_a_lower_level_takes_over_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "Session", Fragile)
    ear = Ear()
    session = SteadySession(MODEL, what="the quantized model", listener=ear)
    assert [info.name for info in session.inputs] == ["x"] and len(ear.heard) == 1
    for _ in range(2):
        np.testing.assert_array_equal(session.run_in_place({"x": X})[0], -X)
    assert len(ear.heard) == 2 and "indices out of range" in ear.heard[1]
    assert all(text.startswith("the quantized model runs at optimization level") for text in ear.heard)
    assert "'basic'" in ear.heard[1]


def test_what_fails_at_every_level_is_the_first_error() -> None:
    ear = Ear()
    session = SteadySession(MODEL, what="the model", listener=ear)
    with pytest.raises(DataError, match="ONNX Runtime failed on this sample"):
        session.run({"x": np.zeros((2, 2, 2), np.float32)})
    np.testing.assert_array_equal(session.run({"x": X})[0], -X)
    assert not ear.heard


def test_later_samples_do_not_change_the_level() -> None:
    """Once it has run, a failure is the sample's."""
    ear = Ear()
    session = SteadySession(MODEL, what="the model", listener=ear)
    session.run({"x": X})
    with pytest.raises(DataError):
        session.run({"x": np.zeros((2, 2, 2), np.float32)})
    assert not ear.heard
