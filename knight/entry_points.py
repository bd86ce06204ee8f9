"""What other distributions add: their entry points of the groups ``knight.*``, from a cache.

Reading the metadata of every installed package takes longer than all else that ``knight --help`` does. So
what was found is kept in a file of the user's cache folder, together with the state of the installed packages
that it was found in: as long as they are the same, the file answers. It is made anew when it cannot be
read, is damaged or speaks of other packages; where it cannot be written, the metadata are read each time.

(https://packaging.python.org/specifications/entry-points, XDG Base Directory Specification)
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_PREFIX = "knight."
_TITLE = "entry points of knight, 1"


class EntryPoint(NamedTuple):
    """One entry of another distribution.

    value: ``module:object``, or a module alone. distribution: its name and version, for people.
    """

    group: str
    name: str
    value: str
    distribution: str

    @property
    def module(self) -> str:
        """Name of the module that the entry stands in."""
        return self.value.partition(":")[0].strip()

    def load(self) -> Any:
        """The object; imports its module. Raises whatever that raises."""
        found: Any = importlib.import_module(self.module)
        path = self.value.partition(":")[2].partition("[")[0].strip()
        for attribute in filter(None, path.split(".")):
            found = getattr(found, attribute)
        return found


class Unreadable(NamedTuple):
    """A distribution whose entry points cannot be read, and why."""

    distribution: str
    reason: str


class Installed(NamedTuple):
    """All that is installed beside Knight and concerns it."""

    entries: tuple[EntryPoint, ...]
    unreadable: tuple[Unreadable, ...]


def entry_points(group: str) -> tuple[EntryPoint, ...]:
    """The entries of one group, by name."""
    return tuple(entry for entry in installed().entries if entry.group == group)


@cache
def installed() -> Installed:
    """What the installed packages add, as of the first call."""
    state = _state()
    file = os.path.join(cache_folder(), f"entry_points-{_check(_folders(state))}.txt")
    text = _cached(file, state)
    if text is None:
        text = _text(state, _scanned())
        _keep(file, text)
    return _parsed(text, state)


def cache_folder() -> str:
    """Where Knight keeps what it can find out again."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "knight")


def _state() -> str:
    """One line per installed distribution: its folder, which has name and version, and when its entry points
    were written; and one per archive that modules are imported from.
    """
    lines: list[str] = []
    for folder in dict.fromkeys(path or os.getcwd() for path in sys.path):
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info")))
        except NotADirectoryError:
            lines.append(f"{folder}\t\t{_written(folder)}")
            continue
        except OSError:  # sys.path may name what is not there
            continue
        names += ["EGG-INFO"] if folder.endswith(".egg") else []
        lines += [f"{folder}\t{name}\t{_written(f'{folder}/{name}/entry_points.txt')}" for name in names]
    return "\n".join(lines)


def _written(file: str) -> str:
    """Changes whenever the file is written, by whatever tool; empty where there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return ""
    return f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_size}"


def _folders(state: str) -> str:
    """The part of the state that stays when packages come and go: one file per environment is enough."""
    return "\n".join(dict.fromkeys(line.partition("\t")[0] for line in state.split("\n")))


def _scanned() -> Installed:
    """What the metadata say. Of two distributions of one name the first on the path counts."""
    from importlib.metadata import distributions

    entries: list[EntryPoint] = []
    unreadable: list[Unreadable] = []
    seen: set[str] = set()
    for distribution in distributions():
        name, version = _identity(distribution)
        label = f"{name or 'a distribution without a name'} {version}"
        key = name.lower().replace("_", "-")
        if key in seen:
            continue
        seen |= {key} if key else set()
        try:
            found = [one for one in distribution.entry_points if one.group.startswith(_PREFIX)]
        except Exception as error:  # what is wrong in there is no business of a run that does not need it
            unreadable.append(Unreadable(label, f"{type(error).__name__}: {error}"))
            continue
        entries += [EntryPoint(one.group, one.name, one.value, label) for one in found]
    return Installed(tuple(entries), tuple(unreadable))


def _identity(distribution: Distribution) -> tuple[str, str]:
    """Name and version, empty where the metadata do not tell: half-removed packages are common."""
    try:
        return distribution.metadata["Name"] or "", distribution.version or ""
    except Exception:  # Python's versions raise different errors here
        return "", ""


def _text(state: str, found: Installed) -> str:
    """The cache file: title, state, what was found, and a checksum of all of it."""
    rows = sorted(found.entries) + sorted(found.unreadable)
    lines = ["\t".join(" ".join(field.split()) for field in row) for row in rows]
    body = "\n".join([_TITLE, state, "", *lines, ""])
    return f"{body}{_check(body)}\n"


def _check(text: str) -> str:
    return f"{crc32(text.encode(errors='surrogateescape')):08x}"


def _cached(file: str, state: str) -> str | None:
    """The text of the file; None unless it is whole and speaks of the same packages."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            text = stream.read()
    except OSError:
        return None
    body, check = text[:-9], text[-9:]
    whole = check == f"{_check(body)}\n"
    return text if whole and body.startswith(f"{_TITLE}\n{state}\n\n") else None


def _parsed(text: str, state: str) -> Installed:
    lines = text[len(f"{_TITLE}\n{state}\n\n") : -len("01234567\n")].split("\n")
    rows = [line.split("\t") for line in lines if line]
    entries = tuple(EntryPoint(*row) for row in rows if len(row) == len(EntryPoint._fields))
    return Installed(entries, tuple(Unreadable(*row) for row in rows if len(row) == len(Unreadable._fields)))


def _keep(file: str, text: str) -> None:
    """Writes the cache, whole or not at all; that it cannot be written is none of the user's trouble."""
    beside = f"{file}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(beside, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(text)
        os.replace(beside, file)
    except OSError:
        with suppress(OSError):
            os.remove(beside)
