"""A watched run is asked to stop, and told why, where time or memory comes to an end."""

from __future__ import annotations

import threading

import pytest

from knight import memory
from knight.watch import Watch


class Run:
    """Works until it is asked to stop."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    @property
    def terminate(self) -> bool:
        return self.asked.is_set()

    @terminate.setter
    def terminate(self, value: bool) -> None:
        assert value
        self.asked.set()


def test_time_ends_it() -> None:
    run = Run()
    with Watch(run, 0.0) as watch:
        assert run.asked.wait(60)
    assert watch.cause == "takes longer than 0 s"


def test_memory_that_goes_bit_by_bit_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([8000, 4000, 1000, *[999] * 1000])
    monkeypatch.setattr(memory, "left", lambda: next(left))
    run = Run()
    with Watch(run, 3600.0) as watch:
        assert run.asked.wait(60)
    assert watch.cause == "takes more memory than is free"
    looks = 1003 - len(list(left))
    assert looks >= 4, "not before less than an eighth was left"


def test_a_run_that_ends_by_itself_is_left_alone() -> None:
    run = Run()
    with Watch(run, 3600.0) as watch:
        pass
    assert not run.terminate and not watch.cause
