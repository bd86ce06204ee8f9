"""Ends of memory: they hold inside their block, the least of several counts, and nothing stays behind."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading

import numpy as np
import pytest

from knight import memory

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counted by Linux alone")
MEGABYTE = 1 << 20


def end() -> int:
    return resource.getrlimit(resource.RLIMIT_AS)[0]


def test_what_goes_beyond_the_end_is_a_memory_error_and_the_end_goes_with_the_block() -> None:
    before = end()
    with pytest.raises(MemoryError), memory.at_most(64 * MEGABYTE):
        np.ones(512 * MEGABYTE, np.uint8)
    assert end() == before
    with memory.at_most(1024 * MEGABYTE):
        assert np.ones(256 * MEGABYTE, np.uint8).size == 256 * MEGABYTE
        assert memory.left() <= 1024 * MEGABYTE


def test_the_least_of_several_holds_in_whatever_order_they_go() -> None:
    before = end()
    wide, narrow = memory.at_most(2048 * MEGABYTE), memory.at_most(1024 * MEGABYTE)
    wide.__enter__()
    first = end()
    narrow.__enter__()
    second = end()
    wide.__exit__(None, None, None)
    assert end() == second < first
    narrow.__exit__(None, None, None)
    assert end() == before


def test_ends_of_several_threads_leave_nothing_behind() -> None:
    before = end()

    def many() -> None:
        for _ in range(200):
            with memory.at_most_available():
                pass

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert end() == before


def test_a_limit_of_the_process_counts_as_its_memory() -> None:
    code = (
        "import resource; from knight import memory; "
        f"resource.setrlimit(resource.RLIMIT_AS, ({1 << 30},) * 2); "
        "print(memory.total(), memory.available() < memory.total())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(1 << 30), "True"]


def test_ends_do_not_make_the_memory_look_smaller() -> None:
    total, available = memory.total(), memory.available()
    with memory.at_most(MEGABYTE * 256):
        assert memory.total() == total
        assert memory.available() > min(available, MEGABYTE * 512) // 2


@pytest.mark.parametrize(
    ("size", "text"),
    [(999_999, "999999 bytes"), (1_000_000, "1.0 MB"), (68_719_476_736, "68.7 GB"), (2**90, "1.24e+09 EB")],
)
def test_sizes_are_written_in_units_of_a_thousand(size: int, text: str) -> None:
    assert memory.text(size) == text
