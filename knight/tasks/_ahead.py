"""Loads the next items in a thread while the model works on the present one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


def ahead(items: Iterable[T], load: Callable[[T], U], depth: int = 4) -> Generator[U, None, None]:
    """Gives `load(item)` for each item, in order; a thread keeps up to `depth` results ready.

    The thread starts with the first `next`. What `load` or `items` raise is raised at that item's place,
    after all results before it, and ends the iterator. The thread ends with the items, with an exception,
    and when the iterator is closed or dropped, after the one load that it may be in. Nothing waits for it,
    and it does not keep the process alive: neither Ctrl-C nor a consumer that fails hangs on a slow load.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}; at least one result has to be kept ready")
    return _consume(_Line(items, load, depth))


class _Line(Generic[T, U]):
    """What the two threads share. `places` is the bound: only the loader ever waits for room."""

    def __init__(self, items: Iterable[T], load: Callable[[T], U], depth: int) -> None:
        self.items = items
        self.load = load
        self.places = threading.Semaphore(depth)
        self.ready: SimpleQueue[list[U] | BaseException | None] = SimpleQueue()
        """[result], or an exception in an item's place, or None at the end."""
        self.closed = False

    def fill(self) -> None:
        """The loader's whole life. Always leaves an end or an exception, for which the consumer waits."""
        try:
            for item in self.items:
                self.places.acquire()
                if self.closed:
                    return
                self.ready.put([self.load(item)])
            self.ready.put(None)
        except BaseException as error:  # also SystemExit: it belongs to the thread that asked for the item
            self.ready.put(error)

    def close(self) -> None:
        """Lets the loader end, also where it waits for room."""
        self.closed = True
        self.places.release()


def _consume(line: _Line[T, U]) -> Generator[U, None, None]:
    try:  # Ctrl-C may come while the thread starts
        threading.Thread(target=line.fill, name="knight-ahead", daemon=True).start()
        while (got := line.ready.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            line.places.release()
            yield got.pop()
    finally:
        line.close()
