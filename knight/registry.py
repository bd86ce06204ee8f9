"""The one plug mechanism: a registry is a package plus an entry-point group, a file is an entry.

The file name is the key and the entry is the object of a fixed name inside the file, so adding a
calibration method, a pass or a subcommand touches no list. Names are known without importing
anything, not even the package; `get` imports the one module that is asked for. What else an entry has to say
(the slot of a pass, the rank of a method) stands beside it in its module, and `declared` reads it. Modules
whose name starts with an underscore are helpers of their package, not entries.

An entry of another distribution that cannot be loaded, or that repeats a name, is an error for whoever asks
for it by that name, and for nobody else.
"""

from __future__ import annotations

import sys
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from knight.entry_points import EntryPoint, entry_points
from knight.errors import ConfigError, did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

T = TypeVar("T")

UNRANKED = 50
"""Rank of an entry that states none: behind those that come first, before those that come last."""


class Registry(Generic[T]):
    """Entries of one kind, built in (`package`) and from other distributions (`group`)."""

    def __init__(self, kind: str, package: str, group: str, attribute: str) -> None:
        """`kind` names an entry in messages; `attribute` is the object that each module defines.

        package: "" where all entries come from other distributions.
        """
        self.kind = kind
        self.package = package
        self.group = group
        self.attribute = attribute

    @cached_property
    def built_in(self) -> frozenset[str]:
        """Names of the entries that are part of Knight."""
        return frozenset(self._files())

    def _files(self) -> Iterator[str]:
        if self.package:
            from pkgutil import iter_modules

            modules = iter_modules(_folders(self.package))
            yield from (module.name for module in modules if not module.name.startswith("_"))

    @cached_property
    def plugins(self) -> dict[str, tuple[EntryPoint, ...]]:
        """Name -> what other distributions register under it: more than one entry is a conflict."""
        plugins: dict[str, tuple[EntryPoint, ...]] = {}
        for entry in entry_points(self.group):
            plugins[entry.name] = (*plugins.get(entry.name, ()), entry)
        return plugins

    def names(self) -> tuple[str, ...]:
        """All keys, sorted; imports nothing."""
        return tuple(sorted(self.built_in | self.plugins.keys()))

    def ranked(self) -> tuple[str, ...]:
        """All keys by the `rank` that their modules state, `UNRANKED` where they state none, then by name."""
        return tuple(sorted(self.names(), key=lambda name: (self.declared(name, "rank", UNRANKED), name)))

    def get(self, name: str) -> T:
        """The entry called `name`.

        Raises ConfigError for an unknown name, with the nearest known ones, for one that is defined twice,
        and where another distribution's code cannot be loaded.
        """
        entry = self._plugin(name)
        found: T = self._own(name) if entry is None else self._loaded(entry)
        return found

    def declared(self, name: str, attribute: str, default: Any = None) -> Any:
        """What the module of the entry called `name` says beside the entry itself. Raises as `get` does."""
        entry = self._plugin(name)
        if entry is None:
            return getattr(import_module(f"{self.package}.{name}"), attribute, default)
        self._loaded(entry)
        return getattr(sys.modules[entry.module], attribute, default)

    def headline(self, name: str) -> str:
        """The first line of a built-in entry's file, which says what it is for; runs nothing of it."""
        return _headline(f"{self.package}.{name}")

    def origin(self, name: str) -> str:
        """Where the entry called `name` comes from, for messages."""
        entry = self._plugin(name)
        return "built in" if entry is None else entry.distribution

    def _plugin(self, name: str) -> EntryPoint | None:
        """The entry point called `name`; None for what is built in. Raises ConfigError unless it is one."""
        entries = self.plugins.get(name, ())
        sources = ["Knight itself"] if name in self.built_in else []
        sources += [f"{entry.distribution} ({entry.value})" for entry in entries]
        if not sources:
            raise ConfigError(f"unknown {self.kind} {shown(name)}: {did_you_mean(name, self.names())}")
        if len(sources) > 1:
            raise ConfigError(
                f"{self.kind} {name!r} is defined twice: by {' and by '.join(sources)}; "
                f"uninstall the package that should not have it"
            )
        return entries[0] if entries else None

    def _own(self, name: str) -> Any:
        return getattr(import_module(f"{self.package}.{name}"), self.attribute)

    def _loaded(self, entry: EntryPoint) -> Any:
        """The object. Raises ConfigError, naming the distribution, for all that goes wrong in its code."""
        try:
            return entry.load()
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"{self.kind} {entry.name!r} of {entry.distribution} cannot be loaded ({entry.value}): "
                f"{type(error).__name__}: {error}; mend that package or uninstall it"
            ) from error


class FileRegistry(Registry["Traversable"]):
    """Entries that are data files of one suffix; another distribution's entry loads to such a file's path."""

    def __init__(self, kind: str, package: str, group: str, suffix: str) -> None:
        super().__init__(kind, package, group, "")
        self.suffix = suffix

    def _files(self) -> Iterator[str]:
        from importlib.resources import files

        names = (file.name for file in files(self.package).iterdir())
        yield from (name.removesuffix(self.suffix) for name in names if name.endswith(self.suffix))

    def get(self, name: str) -> Traversable:
        """The file called `name`, to be read; it need not be on the disk. Raises as `Registry.get` does."""
        from pathlib import Path

        found: Traversable | str = super().get(name)
        file = Path(found) if isinstance(found, str) else found
        if not file.is_file():
            raise ConfigError(
                f"{self.kind} {name!r} of {self.origin(name)}: {file} is no file; mend that package"
            )
        return file

    def _own(self, name: str) -> Any:
        from importlib.resources import files

        return files(self.package).joinpath(f"{name}{self.suffix}")


def names(package: str, group: str) -> tuple[str, ...]:
    """The keys of the registry of that package and group; does not import it, as asking itself would."""
    return Registry[Any]("", package, group, "").names()


def _folders(package: str) -> list[str]:
    """Where the modules of a package are; imports the packages above it alone."""
    from importlib.util import find_spec

    spec = find_spec(package)
    return list(spec.submodule_search_locations or ()) if spec else []


def _headline(module: str) -> str:
    from importlib.util import find_spec

    spec = find_spec(module)
    source = getattr(spec.loader, "get_source", lambda name: None)(module) if spec else None
    return (source or "").partition('"""')[2].partition("\n")[0].partition('"""')[0].strip()
