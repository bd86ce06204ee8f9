"""Bytes of any form, and texts line by line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random

from scripts.fuzz.mutators import LARGEST

INTERESTING = (0, 1, -1, 2, 7, 8, 16, 127, 128, 255, 256, 32767, 65535, 1 << 20, (1 << 31) - 1, 1 << 31)
INTERESTING += (-(1 << 31), (1 << 32) - 1, 1 << 33, (1 << 63) - 1, -(1 << 63))
NUMBERS = (b"0", b"-1", b"1", b"1e999", b"-0", b"nan", b"inf", b"1e-400", b"2147483648", b"9" * 30, b"0x10")
NUMBERS += (b"1" + b"0" * 5000, b"18446744073709551616", b"0.5", b"1_000", "\u0664".encode(), b"+3")
WORDS = (
    b"\0",
    b"\x1b[31m",
    b"=1+1",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"../../x",
    b"/dev/zero",
    b"%s%n",
)
WORDS += ("\u2028\u202e".encode(), b"\r", b"\xef\xbb\xbf", b"a" * 5000, b"", b"con", b"{{{{", b"[" * 3000)


class Bytes:
    """Bits, bytes, numbers of 1 to 8 bytes, and runs of bytes that move, go, double, or come from others."""

    def mutate(self, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
        found = bytearray(data)
        for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
            random.choice(_CHANGES)(found, others, random)
        return bytes(found[:LARGEST])

    def smaller(self, data: bytes) -> Iterator[bytes]:
        size = len(data) // 2
        while size:
            for start in range(0, len(data), size):
                yield data[:start] + data[start + size :]
            size = size // 2 if len(data) // max(1, size // 2) <= 256 else 0


Change = Callable[[bytearray, Sequence[bytes], Random], None]


def _run(data: bytes | bytearray, random: Random) -> slice:
    start = random.randrange(len(data) + 1)
    return slice(start, start + random.choice((1, 1, 2, 4, 8, 32, random.randrange(1, len(data) + 2))))


def _flip(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice((0, 255, 127, 128, random.randrange(256)))


def _number(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    size, order = random.choice((1, 2, 4, 8)), random.choice(("little", "big"))
    value = random.choice(INTERESTING) & ((1 << 8 * size) - 1)
    start = random.randrange(len(data) + 1)
    data[start : start + size] = value.to_bytes(size, order)  # type: ignore[arg-type]


def _drop(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    del data[_run(data, random)]


def _double(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    place = _run(data, random)
    data[place.start : place.start] = data[place] * random.choice((1, 1, 2, 50))


def _move(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    part = data[_run(data, random)]
    start = random.randrange(len(data) + 1)
    data[start : start + len(part)] = part


def _take(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    other = random.choice(others)
    data[_run(data, random)] = other[_run(other, random)]


def _cut(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    del data[random.randrange(len(data) + 1) :]


def _word(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    start = random.randrange(len(data) + 1)
    data[start:start] = random.choice(WORDS)


_CHANGES: tuple[Change, ...] = (
    _flip,
    _flip,
    _set,
    _set,
    _number,
    _number,
    _drop,
    _double,
    _move,
    _take,
    _cut,
)
_CHANGES += (_word,)
_TOKEN = re.compile(rb"[\w.+-]+|\"[^\"\n]*\"|[^\w\s]")
_DIGITS = re.compile(rb"-?\d[\d.eE+-]*")


class Text:
    """Lines and words that go, double, change places, or come from others; numbers become odd ones."""

    def mutate(self, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
        for _ in range(random.choice((1, 1, 2, 4))):
            choice = random.randrange(10)
            if choice < 3:
                data = self._lines(data, others, random)
            elif choice < 5:
                data = self._replaced(data, _DIGITS, NUMBERS, random)
            elif choice < 8:
                words = (*WORDS, *_TOKEN.findall(random.choice(others)[:50_000]))
                data = self._replaced(data, _TOKEN, words, random)
            else:
                data = Bytes().mutate(data, others, random)
        return data[:LARGEST]

    def _lines(self, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
        lines = data.split(b"\n")
        place = random.randrange(len(lines))
        choice = random.randrange(4)
        if choice == 0:
            del lines[place]
        elif choice == 1:
            lines[place:place] = [lines[place]] * random.choice((1, 1, 2, 300))
        elif choice == 2:
            other = random.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        else:
            lines.insert(place, random.choice(random.choice(others).split(b"\n")))
        return b"\n".join(lines)

    def _replaced(
        self, data: bytes, pattern: re.Pattern[bytes], words: Sequence[bytes], random: Random
    ) -> bytes:
        found = list(pattern.finditer(data[:50_000]))
        if not found:
            return data + random.choice(words)
        match = random.choice(found)
        return data[: match.start()] + random.choice(words) + data[match.end() :]

    def smaller(self, data: bytes) -> Iterator[bytes]:
        lines = data.split(b"\n")
        for size in (len(lines) // 2, len(lines) // 4, 1):
            for start in range(0, len(lines) if size else 0, size or 1):
                yield b"\n".join(lines[:start] + lines[start + size :])
        yield from Bytes().smaller(data)
