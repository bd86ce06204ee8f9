"""ZIP archives: their members by their own forms, their list of members, and the bytes around."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from scripts.fuzz.mutators import LARGEST, Mutator
from scripts.fuzz.mutators.raw import Bytes

_BROKEN = (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, OSError, KeyError)
_NAMES = ("x", "../x", "/x", "x/../y", "", "\x1b[31m", "n" * 250, "data.pkl", "a\nb")

Members = list[tuple[str, bytes]]


class Archive:
    """kinds: how members are changed, by the end of their names; others as bytes.

    odd: contents that stand for something else, such as a link, where the target takes them so.
    """

    def __init__(
        self, kinds: Mapping[str, Mutator], *, stored: bool = True, odd: Sequence[bytes] = ()
    ) -> None:
        self._kinds, self._odd = kinds, odd
        self._method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED

    def mutate(self, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
        if random.random() < 0.1:
            return Bytes().mutate(data, others, random)
        try:
            members = _members(data)
            foreign = _members(random.choice(others))
        except _BROKEN:
            return Bytes().mutate(data, others, random)
        for _ in range(random.choice((1, 1, 2, 4))):
            self._change(members, foreign, random)
        method = self._method if random.random() < 0.95 else zipfile.ZIP_BZIP2
        found = _packed(members, method)
        return found if len(found) < LARGEST else data

    def _change(self, members: Members, foreign: Members, random: Random) -> None:
        if not members:
            return
        place = random.randrange(len(members))
        name, content = members[place]
        choice = random.randrange(12)
        if choice == 0:
            del members[place]
        elif choice == 1:
            members.insert(place, (name, content))
        elif choice == 2 and foreign:
            members[place] = (name, random.choice(foreign)[1])
        elif choice == 3:
            members.append((random.choice((*_NAMES, *(name for name, _ in foreign))), content))
        elif choice == 4:
            other, _ = random.choice(members)
            part = random.choice((*other.split("/"), *_NAMES))
            members[place] = ("/".join([*name.split("/")[:-1], part]), content)
        elif choice == 5 and self._odd:
            members[place] = (name, random.choice(self._odd))
        else:
            alike = [part for other, part in foreign if _end(other) == _end(name)] or [content]
            members[place] = (name, self._kind(name).mutate(content, alike, random))

    def _kind(self, name: str) -> Mutator:
        return next((kind for end, kind in self._kinds.items() if name.endswith(end)), Bytes())

    def smaller(self, data: bytes) -> Iterator[bytes]:
        try:
            members = _members(data)
        except _BROKEN:
            yield from Bytes().smaller(data)
            return
        for place in range(len(members)):
            yield _packed(members[:place] + members[place + 1 :], self._method)
        for place, (name, content) in enumerate(members):
            for less in self._kind(name).smaller(content):
                yield _packed([*members[:place], (name, less), *members[place + 1 :]], self._method)


def _end(name: str) -> str:
    return name.rpartition(".")[2]


def _members(data: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def _packed(members: Members, method: int) -> bytes:
    import warnings

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name or "_", (1980, 1, 1, 0, 0, 0)), content, method)
    return stream.getvalue()
