"""Loading ahead keeps order and bound, passes exceptions on, and never hangs."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator

import pytest

from knight.tasks._ahead import ahead

LONG = 30.0
"""Seconds after which something hangs; nothing waits that long when all is well."""


def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "knight-ahead"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = loaders()
    yield
    for thread in loaders():
        if thread not in before:
            thread.join(LONG)
            assert not thread.is_alive(), "the loading thread goes on after its iterator is done"


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_all_results_in_order(depth: int) -> None:
    assert list(ahead(range(20), lambda item: item * item, depth)) == [item * item for item in range(20)]
    assert list(ahead([], str, depth)) == []
    assert list(ahead([1, 2], lambda item: None, depth)) == [None, None]


def test_loads_run_in_another_thread_while_the_consumer_works() -> None:
    """The consumer holds the first result until the second is loaded: without a thread it never would be."""
    second = threading.Event()

    def load(item: int) -> str:
        if item == 1:
            second.set()
        return threading.current_thread().name

    results = ahead(range(2), load)
    assert next(results) == "knight-ahead"
    assert second.wait(LONG)
    results.close()


def test_never_more_than_depth_results_wait() -> None:
    loaded: list[int] = []
    worst = 0
    for taken, item in enumerate(ahead(range(50), lambda item: loaded.append(item) or item, 3), start=1):
        assert item == taken - 1
        worst = max(worst, len(loaded) - taken)
    assert worst <= 3
    assert loaded == list(range(50))


def test_an_exception_comes_at_its_items_place() -> None:
    def load(item: int) -> int:
        if item == 2:
            raise OSError("picture 2 is cut")
        return item

    results = ahead(range(5), load)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="picture 2 is cut"):
        next(results)
    assert list(results) == []


def test_an_exception_of_the_items_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield 7
        raise ValueError("no more")

    results = ahead(items(), lambda item: item)
    assert next(results) == 7
    with pytest.raises(ValueError, match="no more"):
        next(results)


def test_even_an_exit_from_the_loader_reaches_the_consumer() -> None:
    def load(item: int) -> int:
        raise SystemExit(5)

    with pytest.raises(SystemExit):
        next(ahead(range(3), load))


@pytest.mark.parametrize("drop", [False, True], ids=["closed", "dropped"])
def test_the_thread_ends_when_the_consumer_does_not_come_back(drop: bool) -> None:
    third = threading.Event()

    def load(item: int) -> int:
        if item == 2:
            third.set()
        return item

    results = ahead(range(100), load, 2)
    assert next(results) == 0
    assert third.wait(LONG)  # after this one there is no room: the thread waits for it
    assert loaders()
    if not drop:
        results.close()
    del results
    gc.collect()


def test_a_consumer_that_fails_ends_the_thread() -> None:
    def consume() -> None:
        for _ in ahead(iter(int, 1), lambda item: item):
            raise RuntimeError("the model fails")

    with pytest.raises(RuntimeError, match="the model fails"):
        consume()


def test_control_c_does_not_wait_for_a_load() -> None:
    go_on = threading.Event()
    main = threading.get_ident()

    def load(item: int) -> int:
        signal.pthread_kill(main, signal.SIGINT)
        go_on.wait(LONG)
        return item

    results = ahead(range(3), load)
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert not go_on.is_set()
    assert any(thread.is_alive() for thread in loaders()), "the load was waited for"
    results.close()
    go_on.set()


def test_no_thread_before_the_first_result_is_asked_for() -> None:
    before = len(loaders())
    results = ahead(range(3), lambda item: item)
    assert len(loaders()) == before
    results.close()


def test_a_depth_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="depth is 0"):
        ahead(range(3), lambda item: item, 0)
