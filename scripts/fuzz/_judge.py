"""What may come of an input: success, or a KnightError of one line that blames the right one.

Everything else is a finding, and so are a crash, a hang and too much memory, which the driver tells.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from knight.errors import KnightError, ScriptError

ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGE = str(ROOT / "knight")
_ALLOCATION = re.compile(r"bad_alloc|bad allocation|Failed to allocate memory|std::length_error")
_UNEXPECTED = re.compile(r"^unexpected |run again with -l 0")  # how an error that nobody foresaw is told
LONGEST = 20_000
"""Characters that a message may have; more of them fill the user's screen."""


@dataclass(frozen=True)
class Outcome:
    """kind: "" where all is well. where: the innermost place in Knight, which tells findings apart."""

    kind: str = ""
    where: str = ""
    text: str = ""

    @property
    def signature(self) -> str:
        """What two findings of one cause have in common."""
        return f"{self.kind} {self.where}"


def judged(run: Callable[[], object], *, model: bool) -> Outcome:
    """What comes of `run`. model: a model file is read, and no script of the user's can be at fault."""
    try:
        run()
    except KnightError as error:
        return _of_message(error, model)
    except MemoryError as error:
        return Outcome("memory", _place(error), _told(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a reader stumbles over is what is looked for
        return Outcome(type(error).__name__, _place(error), _told(error))
    return Outcome()


def kind_of(error: KnightError, model: bool = False) -> str:
    """What is wrong with an error that Knight raised on purpose; "" for a good one."""
    text = str(error)
    if any(isinstance(one, MemoryError) for one in _chain(error)) or _ALLOCATION.search(text):
        return "memory"
    if not text.strip():
        return "no message"
    if not text.isprintable():
        return "unprintable"
    if _UNEXPECTED.search(text):
        return "unexpected"
    if len(text) > LONGEST:
        return "endless message"
    return "blames the script" if model and isinstance(error, ScriptError) else ""


def _of_message(error: KnightError, model: bool) -> Outcome:
    text, kind = str(error), kind_of(error, model)
    return Outcome(kind, _place(error), _told(error)) if kind else Outcome(text=text[:500])


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _place(error: BaseException) -> str:
    """``file:line function`` of the innermost frame in Knight, of the first error of a chain."""
    first = list(_chain(error))[-1]
    for one in (first, error):
        frames = traceback.extract_tb(one.__traceback__)
        for frame in reversed(frames):
            if frame.filename.startswith(_PACKAGE):
                return f"{Path(frame.filename).relative_to(ROOT)}:{frame.name}"
    return type(error).__name__


def _told(error: BaseException) -> str:
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    text = "".join(lines)
    return text if len(text) < 6000 else f"{text[:2000]}\n...\n{text[-4000:]}"
