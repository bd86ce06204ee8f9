"""A click command whose options come from the table of flags.

click already takes ``-qm`` for a name of its own. What it lacks is ``-i 5 10 20``: before click parses, each
further word is given its flag again, so that click sees ``-i 5 -i 10 -i 20``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import click
from click.core import ParameterSource

from knight.cli import _extras
from knight.cli._console import echo
from knight.cli._flags import GROUPS, POSTPONED, QUANT, Flag, frameworks
from knight.cli._run_config import is_text, read_section
from knight.cli._words import (
    check_dashes,
    check_single_hyphens,
    check_values,
    framework_word,
    is_flag,
    unknown_options,
    without_equals,
)
from knight.errors import ConfigError, did_you_mean, printable, shown
from knight.files import is_too_long, other_kind

_METAVARS = {bool: "", int: "N", float: "X", str: "NAME", object: "FILE"}
LARGEST = 2**63 - 1
"""Of all whole numbers: what is larger can neither be computed with nor written into a model."""

CHIP = click.Option(
    ["-ch", "--chip", "chip"],
    multiple=True,
    metavar="NAME|FILE.toml",
    help="the chip to quantize for; the first one given counts (see: knight chips)",
)


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """Whole numbers that belong together, as `spread` joins them."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(map(int, re.split(r"[,x\s]+", value.strip())))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers such as 1 3 224 224", param, ctx)


class FlagOption(click.Option):
    """The click option of one flag."""

    def __init__(self, flag: Flag) -> None:
        self.flag = flag
        kind: Any = Numbers() if flag.grouped else click.UNPROCESSED if flag.kind is object else flag.kind
        settings: dict[str, Any] = {"is_flag": True} if flag.kind is bool else {"type": kind}
        if flag.several:
            settings["multiple"] = True
        if flag.default is not None:  # to click None is a default too, and nothing is asked for then
            settings["default"] = flag.default
        super().__init__(
            [*flag.names, flag.key],
            required=flag.required,
            show_default=flag.default not in (None, False),
            metavar=flag.metavar or _METAVARS[flag.kind] + "..." * flag.several,
            help=flag.text,
            callback=_read_run_config if flag.key == "run_config" else _checked,
            is_eager=flag.key == "run_config",
            **settings,
        )


def _checked(context: click.Context, option: click.Parameter, value: Any) -> Any:
    assert isinstance(option, FlagOption)
    for item in value if option.flag.several else (value,):
        if item is not None:
            check_value(option.flag, item)
    return value


def check_value(flag: Flag, value: Any) -> None:
    """Raises ConfigError for a value that is none of the choices, a number out of bounds, a text that names
    nothing, and in place of a file what can never be read to its end.
    """
    choices = flag.known
    if choices and value not in choices:
        known = did_you_mean(str(value), map(str, choices))
        raise ConfigError(f"{flag.label}: unknown value {str(value)!r}: {known}")
    if flag.kind in (int, float):
        for number in value if flag.grouped else (value,):
            _check_number(flag, number)
    elif isinstance(value, str):
        _check_text(flag, value)


def _check_number(flag: Flag, value: float) -> None:
    low, high = flag.least, flag.most
    if flag.kind is int and high is None:
        high = LARGEST
    if flag.kind is float and not math.isfinite(value):
        raise ConfigError(f"{flag.label} is {value}; it has to be a finite number")
    if low is not None and value < low:
        raise ConfigError(f"{flag.label} is {_shortened(value)}; it has to be at least {low}")
    if high is not None and value > high:
        raise ConfigError(f"{flag.label} is {_shortened(value)}; it has to be at most {high}")


def _shortened(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return "beyond all numbers"
    return str(value)


def _check_text(flag: Flag, value: str) -> None:
    names = {word for part in (flag.metavar or "").split("|") for word in part.replace(".", " ").split()}
    if "\0" in value:
        raise ConfigError(f"{flag.label}: {shown(value)} holds a zero byte, which no name can have")
    if not value and names & {"FILE", "FOLDER"}:
        raise ConfigError(f"{flag.label} is empty; give it a value, or leave it out")
    if names & {"FILE", "FOLDER"} and is_too_long(value):
        raise ConfigError(f"{flag.label} {printable(value)}: longer than a name of a file can be; shorten it")
    kind = other_kind(value) if "FILE" in names else None
    if kind is not None:
        raise ConfigError(f"{flag.label} {value}: {kind}, not a file; name a file")


def _read_run_config(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """What the file says becomes the default of the other options; the command line wins."""
    value = _checked(context, option, value) if value is None or not is_text(value) else value
    if value is not None and (not isinstance(option, FlagOption) or option.flag.works is None):
        assert isinstance(context.command, FlagCommand)
        context.default_map = read_section(value, context.command.name or "", context.command.flags)
    return value


class FlagCommand(click.Command):
    """A subcommand with the flags of a table and those that other distributions add to it.

    It refuses flags whose work is still to come. Options are made when they are needed.
    """

    def __init__(
        self,
        name: str,
        flags: Sequence[Flag] | Callable[[], Sequence[Flag]],
        callback: Callable[..., Any],
        **settings: Any,
    ) -> None:
        self._own = flags
        super().__init__(name, callback=callback, **settings)

    @cached_property
    def own(self) -> tuple[Flag, ...]:
        """The flags of its table."""
        return tuple(self._own() if callable(self._own) else self._own)

    @cached_property
    def _others(self) -> tuple[tuple[Flag, ...], tuple[str, ...]]:
        return _extras.added(self.name or "", self.own)

    @property
    def added(self) -> tuple[Flag, ...]:
        """The flags that other distributions add."""
        return self._others[0]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Why flags of other distributions are not there; one text per entry."""
        return self._others[1]

    @property
    def flags(self) -> tuple[Flag, ...]:
        """All of its flags."""
        return (*self.own, *self.added)

    @cached_property
    def _made(self) -> list[click.Parameter]:
        return [CHIP, *(FlagOption(flag) for flag in self.flags)]

    @property
    def params(self) -> list[click.Parameter]:
        """What click parses."""
        return self._made

    @params.setter
    def params(self, params: list[click.Parameter]) -> None:
        """click assigns the parameters that it was created with; here the table has them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for reason in self.left_out:
            echo(f"  warning: {reason}", err=True)
        left = super().parse_args(ctx, spread(self._meant(ctx, args), self.flags))
        for flag in self.flags:
            if given(ctx, flag.key):
                _refuse(flag, ctx.params[flag.key])
        return left

    def _meant(self, ctx: click.Context, words: Sequence[str]) -> list[str]:
        """The words for click. Raises ConfigError for those that it would take for something else."""
        known = {name for option in self.get_params(ctx) for name in option.opts}
        check_dashes(words, known)
        check_single_hyphens(words, known)
        words = without_equals(words, known)
        options = {name: _takes_value(option) for option in self.get_params(ctx) for name in option.opts}
        check_values(words, options)
        for name in unknown_options(words, known):
            self._refuse_unknown(name)
        if words and not is_flag(words[0]) and "framework" in {flag.key for flag in self.flags}:
            words, note = framework_word(words, frameworks())
            if note is not None:
                click.echo(f"  note: {note}")
        return list(words)

    def _refuse_unknown(self, name: str) -> None:
        """Raises ConfigError for an option of knight quant, and for one whose first letter click would
        name alone; what is left it tells by itself.
        """
        if self.name != "quant" and any(name in flag.names for flag in QUANT):
            raise ConfigError(f"{name} is an option of knight quant, not of knight {self.name}; leave it out")
        if not name.startswith("--"):
            raise ConfigError(f"no such option {name}; see knight {self.name} --help")

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception:
            if ctx.params.get("log_level") == 0:
                import traceback

                echo(traceback.format_exc(), err=True, keep="\n")
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for group in dict.fromkeys((*GROUPS, *(flag.group for flag in self.added))):
            self._write(
                ctx,
                formatter,
                group,
                [flag for flag in self.flags if flag.group == group and flag not in POSTPONED],
            )
        with formatter.section("Chip and help"):
            plain = [option for option in self.get_params(ctx) if not isinstance(option, FlagOption)]
            formatter.write_dl(_records(ctx, plain))
        self._write(ctx, formatter, "Not available yet", [flag for flag in self.flags if flag in POSTPONED])

    def _write(
        self, ctx: click.Context, formatter: click.HelpFormatter, title: str, flags: Sequence[Flag]
    ) -> None:
        options = [
            option for option in self.params if isinstance(option, FlagOption) and option.flag in flags
        ]
        if options:
            with formatter.section(title):
                formatter.write_dl(_records(ctx, options))


def _takes_value(option: click.Parameter) -> bool:
    return not (isinstance(option, click.Option) and option.is_flag)


def _records(ctx: click.Context, options: Iterable[click.Parameter]) -> list[tuple[str, str]]:
    return [record for record in (option.get_help_record(ctx) for option in options) if record is not None]


def added() -> tuple[Flag, ...]:
    """The flags that other distributions add to the command that runs."""
    command = click.get_current_context().command
    return command.added if isinstance(command, FlagCommand) else ()


def extras(values: Mapping[str, Any]) -> dict[str, Any]:
    """What these flags are set to, by key: the `extras` of a run."""
    return {flag.key: values[flag.key] for flag in added()}


def given(ctx: click.Context, key: str) -> bool:
    """The user wrote this parameter, on the command line or in a file for -rc."""
    return ctx.get_parameter_source(key) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)


def _refuse(flag: Flag, value: Any) -> None:
    if flag.works is None:
        return
    for item in value if flag.several else (value,):
        if item not in flag.works:
            what = flag.label if flag.kind is bool or not flag.works else f"{flag.label} {item}"
            raise ConfigError(f"{what} is not available yet; leave it out")


def spread(args: Sequence[str], flags: Iterable[Flag]) -> list[str]:
    """`args` with one flag per value: ``-i 5 10`` becomes ``-i 5 -i 10``; grouped values become one word.

    So does ``-i 5,10``; names of graph values are not split at commas, which they may contain.
    """
    several = {name: flag for flag in flags if flag.several for name in flag.names}
    done: list[str] = []
    words = list(args)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name not in several:
            done.append(word)
            if word == "--":
                return done + words
            continue
        values = [value] if equals else []
        while words and not is_flag(words[0]):
            values.append(words.pop(0))
        if several[name].grouped:
            done += [name, " ".join(values)]
            continue
        splits = several[name].kind is not str or several[name].key in (
            "quant_mode",
            "disable_types",
            "optimize",
        )
        parts = [part for value in values for part in (value.split(",") if splits else [value]) if part]
        done += [item for part in parts for item in (name, part)] or [name]
    return done
