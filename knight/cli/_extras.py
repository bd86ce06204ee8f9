"""Flags that other distributions add to subcommands.

An entry of the group ``knight.flags`` is a `Flag` or a sequence of them, each naming its `commands`. Such a
flag is one like all others: in --help, in a run-config and its schema, among the arguments that are shown
and recorded. Its value travels as data, in the `extras` of a run, to passes, infer functions and converters.
"""

from __future__ import annotations

from collections.abc import Sequence

from knight.cli import flags
from knight.cli._flags import Flag
from knight.errors import ConfigError

_EVERYWHERE = ("-ch", "--chip", "chip", "-h", "--help", "help")
"""Names that every subcommand has beside its table."""


def added(command: str, own: Sequence[Flag]) -> tuple[tuple[Flag, ...], tuple[str, ...]]:
    """The flags that `command` gets beside its `own`, and what is wrong with the entries left out."""
    taken = {name: f"knight {command}" for flag in own for name in _claims(flag)}
    taken |= dict.fromkeys(_EVERYWHERE, f"knight {command}")
    found: list[Flag] = []
    wrong: list[str] = []
    for entry in flags.names():
        try:
            mine = [flag for flag in _several(entry) if command in flag.commands]
            taken = _with(taken, mine, f"flags {entry!r} of {flags.origin(entry)}")
            found += mine
        except ConfigError as error:
            wrong.append(str(error))
    return tuple(found), tuple(wrong)


def _with(taken: dict[str, str], flags: Sequence[Flag], whose: str) -> dict[str, str]:
    """Name -> who has it, with those of `flags`. Raises ConfigError for one that is taken."""
    claimed = dict(taken)
    for name in (name for flag in flags for name in _claims(flag)):
        if name in claimed:
            raise ConfigError(
                f"{whose}: {name} is a name of {claimed[name]} already; mend that package or uninstall it"
            )
        claimed[name] = whose
    return claimed


def _claims(flag: Flag) -> tuple[str, ...]:
    return (*flag.names, flag.key)


def _several(entry: str) -> tuple[Flag, ...]:
    loaded = flags.get(entry)
    several = tuple(loaded) if isinstance(loaded, (list, tuple)) else (loaded,)
    for flag in several:
        if not isinstance(flag, Flag):
            raise ConfigError(
                f"flags {entry!r} of {flags.origin(entry)}: holds {flag!r:.60}, which is no Flag; "
                f"mend that package or uninstall it"
            )
    return several
