"""One target: inputs that reach new lines are kept and changed further, findings are made small and kept."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from scripts.fuzz import targets
from scripts.fuzz._coverage import Line
from scripts.fuzz._process import Answer, Worker

_SHRINKING = 400  # inputs that making a finding smaller may take
_SHRINKING_SECONDS = 40.0
_MOST_LARGE = 200_000  # bytes above which an input is not kept for further changes


@dataclass
class Found:
    """What came of one target. findings: by signature. refused: inputs that a KnightError answered."""

    target: str
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    lines: set[Line] = field(default_factory=set)
    kept: int = 0
    findings: dict[str, tuple[bytes, Answer]] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)


class Fuzzer:
    """Fuzzes one target by a worker. out: folder for findings and for the inputs that are kept, or None."""

    def __init__(self, target: str, worker: Worker, seed: int, out: Path | None = None) -> None:
        self.found = Found(target)
        self._worker, self._out = worker, out
        self._mutator = targets.load(target).mutator
        self._random = Random(f"{target} {seed}")
        self._corpus: list[bytes] = []
        self._chosen: list[int] = []

    def run(self, more: Callable[[Found], bool]) -> Found:
        """Until `more` says that it is enough; seeds, and what earlier runs left in `out`, come first."""
        start = time.monotonic()
        for data in (*targets.seeds(self.found.target), *self._earlier()):
            self._try(data, keep=True)
        while more(self.found):
            place = self._choose()
            self._try(self._mutator.mutate(self._corpus[place], self._corpus, self._random))
            self.found.seconds = time.monotonic() - start
        self.found.seconds = time.monotonic() - start
        return self.found

    def _choose(self) -> int:
        """A kept input: the least used one of three, so that new ones have their turn soon."""
        places = [self._random.randrange(len(self._corpus)) for _ in range(3)]
        place = min(places, key=lambda one: self._chosen[one])
        self._chosen[place] += 1
        return place

    def _try(self, data: bytes, keep: bool = False) -> None:
        answer = self._worker.run(self.found.target, data)
        self.found.inputs += 1
        self.found.cpu += answer.seconds
        new = answer.lines - self.found.lines
        self.found.lines |= new
        if answer.outcome.kind:
            self._tell(data, answer)
        else:
            self.found.refused += bool(answer.outcome.text)
        if keep or (new and not answer.outcome.kind and len(data) < _MOST_LARGE):
            self._corpus.append(data)
            self._chosen.append(0)
            self.found.kept += not keep
            if not keep:
                self._write("kept", digest(data), data)

    def _tell(self, data: bytes, answer: Answer) -> None:
        signature = answer.outcome.signature
        self.found.times[signature] += 1
        if signature in self.found.findings:
            return
        self.found.findings[signature] = data, answer
        self._write("findings", digest(data), data, answer)
        small = self._small(data, answer)
        if small != data:
            self.found.findings[signature] = small, answer
            self._write("findings", digest(data), small, answer)

    def _small(self, data: bytes, answer: Answer) -> bytes:
        """The smallest input with the same finding that some hundred tries lead to."""
        end, tries = time.monotonic() + _SHRINKING_SECONDS, 0
        again = True
        while again:
            again = False
            for less in self._mutator.smaller(data):
                if len(less) >= len(data):
                    continue
                tries += 1
                if tries > _SHRINKING or time.monotonic() > end:
                    return data
                got = self._worker.run(self.found.target, less)
                self.found.cpu += got.seconds
                if got.outcome.signature == answer.outcome.signature:
                    data, again = less, True
                    break
        return data

    def _earlier(self) -> Iterator[bytes]:
        if self._out is not None:
            for kind in ("kept", "suspects"):
                for path in sorted(self._out.glob(f"{self.found.target}/{kind}/*")):
                    yield path.read_bytes()

    def _write(self, kind: str, name: str, data: bytes, answer: Answer | None = None) -> None:
        if self._out is None:
            return
        folder = self._out / self.found.target / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        if answer is not None:
            (folder / f"{name}.txt").write_text(
                f"{answer.outcome.signature}\n\n{answer.outcome.text}\n", "utf-8", "backslashreplace"
            )


def digest(data: bytes) -> str:
    """The name of a file with this content."""
    return hashlib.sha256(data).hexdigest()[:12]
