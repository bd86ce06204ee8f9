"""``knight plugins``: list what can be added to Knight, what is, and what failed."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from textwrap import wrap
from typing import Any

import click

import knight
from knight.entry_points import installed
from knight.errors import ConfigError, did_you_mean
from knight.registry import Registry

_WIDTH = 110

EXAMPLE = """\b
Examples:
  knight plugins
  knight plugins --passes
"""


@click.command(epilog=EXAMPLE)
@click.option(
    "--passes", is_flag=True, help="print the order of the passes instead, with what is added to it"
)
def command(passes: bool) -> None:
    """List all kinds of plug-ins with their entries: where each comes from, and why one cannot be loaded.

    Other packages add entries through the entry-point group that stands beside each kind.
    """
    for line in _order() if passes else _overview():
        click.echo(line)


def _overview() -> Iterator[str]:
    found = registries()
    for registry in found:
        yield f"{registry.kind} ({registry.group})"
        built_in = " ".join(sorted(registry.built_in)) or "-"
        yield from wrap(f"built in: {built_in}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
        for name, entries in sorted(registry.plugins.items()):
            yield from (f"  {entry.distribution}: {name} ({entry.value})" for entry in entries)
    failures = dict.fromkeys((*_failures(found), *_left_out(), *_unread(found)))
    if failures:
        yield "Failed:"
    yield from (f"  {' '.join(failure.split())}" for failure in failures)


def registries() -> list[Registry[Any]]:
    """Every registry of Knight, by its group; each stands in a package, as a rule that of its entries."""
    found: dict[str, Registry[Any]] = {}
    for module in pkgutil.walk_packages(knight.__path__, f"{knight.__name__}."):
        if module.ispkg:
            here = vars(import_module(module.name)).values()
            found |= {each.group: each for each in here if isinstance(each, Registry)}
    return [found[group] for group in sorted(found)]


def _failures(found: list[Registry[Any]]) -> Iterator[str]:
    """One text per entry of another distribution that cannot be used."""
    for registry in found:
        for name in registry.plugins:
            try:
                registry.get(name)
            except ConfigError as error:
                yield str(error)


def _left_out() -> Iterator[str]:
    """Flags that load, and that their command cannot take."""
    from knight.cli import commands, flags
    from knight.cli._command import FlagCommand

    for name in sorted(commands.built_in - commands.plugins.keys()) if flags.plugins else ():
        command = commands.get(name)
        if isinstance(command, FlagCommand):
            yield from command.left_out


def _unread(found: list[Registry[Any]]) -> Iterator[str]:
    """Entries of groups that there are not, and distributions whose metadata are damaged."""
    groups = [registry.group for registry in found]
    for entry in installed().entries:
        if entry.group not in groups:
            near = did_you_mean(entry.group, groups)
            yield f"{entry.name!r} of {entry.distribution}: no group is called {entry.group!r}; {near}"
    for distribution, reason in installed().unreadable:
        yield f"{distribution}: its entry points cannot be read: {reason}"


def _order() -> Iterator[str]:
    from knight.passes import ORDER, TIDY, order, tidy_order

    yield "Before quantization:"
    yield from _numbered(order(), ORDER)
    yield "After conversion:"
    yield from _numbered(tidy_order(), TIDY)


def _numbered(order: tuple[str, ...], listed: tuple[str, ...]) -> Iterator[str]:
    from knight.passes import passes, slot

    for number, name in enumerate(order, 1):
        added = "" if name in listed else f"  ({' '.join(slot(name))}; {passes.origin(name)})"
        yield f"{number:>4}  {name}{added}"
