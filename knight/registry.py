"""The one plug mechanism: a registry is a package plus an entry-point group, a file is an entry.

The file name is the key and the entry is the object of a fixed name inside the file, so adding a
calibration method, a pass or a subcommand touches no list. Names are known without importing
anything; `get` imports the one module that is asked for. Modules whose name starts with an
underscore are helpers of their package, not entries.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from knight.errors import ConfigError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries of one kind, built in (`package`) and from other distributions (`group`)."""

    def __init__(self, kind: str, package: str, group: str, attribute: str) -> None:
        """`kind` names an entry in messages; `attribute` is the object that each module defines."""
        self.kind = kind
        self.package = package
        self.group = group
        self.attribute = attribute

    @cached_property
    def _built_in(self) -> frozenset[str]:
        package = importlib.import_module(self.package)
        modules = pkgutil.iter_modules(package.__path__)
        return frozenset(module.name for module in modules if not module.name.startswith("_"))

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        plugins: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            if entry.name in self._built_in or entry.name in plugins:
                raise ConfigError(
                    f"{self.kind} {entry.name!r} is defined twice: {entry.value} repeats an "
                    f"existing name; uninstall one of the two packages"
                )
            plugins[entry.name] = entry
        return plugins

    def names(self) -> tuple[str, ...]:
        """All keys, sorted; imports nothing but the package itself."""
        return tuple(sorted(self._built_in | self._plugins.keys()))

    def get(self, name: str) -> T:
        """The entry called `name`. Raises ConfigError with the nearest known names."""
        if name in self._built_in:
            module = importlib.import_module(f"{self.package}.{name}")
            entry: T = getattr(module, self.attribute)
            return entry
        if name in self._plugins:
            loaded: T = self._plugins[name].load()
            return loaded
        raise ConfigError(f"unknown {self.kind} {name!r}: {did_you_mean(name, self.names())}")
