"""Samples kept on disk for what looks at data again: optimizers, and the check that one of them helps.

Of all forward calls, those with the smallest hashes of their bytes are kept, once each: which these are
depends on their content alone, never on their order. Whoever goes through them does so in the order of the
hashes.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import overload

import numpy as np

from knight.files import output_errors
from knight.temporary import TemporaryFolder

Feeds = dict[str, np.ndarray]

Samples = Sequence[Feeds]
"""Forward calls' data in the order of their hashes; read from the disk when it is asked for."""

LIMIT = 1 << 30
"""Bytes that kept samples may take on disk."""


def content_hash(feeds: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and bytes of what one forward call is fed."""
    digest = hashlib.sha256()
    for name, array in feeds.items():
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class KeptSamples(Samples):
    """At most `count` forward calls' worth of data, in a folder that goes when this is closed.

    Beyond `limit` bytes, fewer are kept: the smallest hashes that fit. Inputs that are no plain tensors of
    numbers (text, sequences) are not kept.
    """

    def __init__(self, count: int, limit: int = LIMIT) -> None:
        self._count = count
        self._limit = limit
        self._hashes: list[str] = []
        self._sizes: dict[str, int] = {}
        self._names: tuple[str, ...] = ()
        self._ceiling: str | None = None  # hashes from here on did not fit once, so none of them does
        self._folder: TemporaryFolder | None = None

    def __enter__(self) -> KeptSamples:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes all of it."""
        if self._folder is not None:
            self._folder.cleanup()
        self._folder, self._hashes, self._sizes = None, [], {}

    def offer(self, feeds: Mapping[str, np.ndarray]) -> None:
        """One forward call's data; copied where it is kept. Raises OutputError where the disk is full."""
        if self._count == 0 or not all(_is_plain(array) for array in feeds.values()):
            return
        name = content_hash(feeds)
        if name in self._sizes or (self._ceiling is not None and name >= self._ceiling):
            return
        if len(self._hashes) == self._count and name > self._hashes[-1]:
            return
        if self._folder is None:
            self._folder = TemporaryFolder()
        with output_errors(Path(self._folder.name)):
            np.savez(self._path(name), *feeds.values())
        self._names = tuple(feeds)
        self._sizes[name] = sum(array.nbytes for array in feeds.values())
        insort(self._hashes, name)
        self._shrink()

    def _shrink(self) -> None:
        while len(self._hashes) > self._count:
            self._drop()
        while sum(self._sizes.values()) > self._limit and len(self._hashes) > 1:
            self._ceiling = self._drop()

    def _drop(self) -> str:
        name = self._hashes.pop()
        del self._sizes[name]
        self._path(name).unlink()
        return name

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return Path(self._folder.name, f"{name}.npz")

    def __len__(self) -> int:
        return len(self._hashes)

    def __iter__(self) -> Iterator[Feeds]:
        """Each kept call's arrays by input name, smallest hash first."""
        for name in tuple(self._hashes):
            yield self._load(name)

    @overload
    def __getitem__(self, place: int) -> Feeds: ...

    @overload
    def __getitem__(self, place: slice) -> Samples: ...

    def __getitem__(self, place: int | slice) -> Feeds | Samples:
        """One call's arrays; a slice reads nothing yet."""
        if isinstance(place, slice):
            return _Some(self, range(len(self))[place])
        return self._load(self._hashes[place])

    def _load(self, name: str) -> Feeds:
        with np.load(self._path(name), allow_pickle=False) as stored:
            return {key: stored[f"arr_{place}"] for place, key in enumerate(self._names)}


@dataclass(frozen=True)
class _Some(Samples):
    """Those at some places of others."""

    whole: Samples
    places: range

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Feeds: ...

    @overload
    def __getitem__(self, place: slice) -> Samples: ...

    def __getitem__(self, place: int | slice) -> Feeds | Samples:
        if isinstance(place, slice):
            return _Some(self.whole, self.places[place])
        return self.whole[self.places[place]]


def _is_plain(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
