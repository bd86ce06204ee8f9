"""The command line: ``knight [--chip NAME] quant|infer|...``, one file per subcommand.

Everything that goes wrong becomes one line on stderr and an exit code; heavy packages are imported by
the subcommand that needs them.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

import click

from knight import __version__
from knight.cli._console import echo
from knight.cli._streams import Unheard, guarded
from knight.errors import ConfigError, KnightError, did_you_mean, visible
from knight.registry import Registry
from knight.stopping import Stopped, stoppable

commands: Registry[click.Command] = Registry("command", "knight.cli", "knight.commands", "command")
flags: Registry[Any] = Registry("flags", "", "knight.flags", "")
"""A `Flag` or a sequence of them, from other distributions (see `_extras`)."""

INTERRUPTED = 130
UNREAD = 128 + 13  # as after SIGPIPE, which Python ignores
_LONGEST = 2000  # characters of an error, beyond all that a person reads
_CHIP = ("-ch", "--chip", "--default-chip")
_UNHEARD = logging.NullHandler()


class KnightGroup(click.Group):
    """The tree of subcommands, and the one place where errors meet the user."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(commands.names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return commands.get(cmd_name) if cmd_name in commands.names() else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line per subcommand; one that another distribution brings and that cannot be loaded says so."""
        width = formatter.width - 6 - max(map(len, commands.names()))
        with formatter.section("Commands"):
            formatter.write_dl([(name, _purpose(name, width)) for name in commands.names()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from knight.cli._words import check_dashes

        check_dashes(args, {name for option in self.get_params(ctx) for name in option.opts})
        for word, behind in pairwise(args):
            if word in commands.names():
                break
            if word in _CHIP and behind in commands.names():
                raise ConfigError(
                    f"{word} wants the name of a chip, and {behind} is a command; see knight chips"
                )
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities:
                raise
            raise ConfigError(
                f"{error.option_name} stands before a command, where there is no such option; write it "
                f"behind one, such as knight quant {error.option_name}"
            ) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in commands.names() and not args[0].startswith("-"):
            from knight.cli._run_config import ELSEWHERE

            if args[0].removeprefix("rne-") in ELSEWHERE:  # older versions of the vendor's: rne-compile
                raise ConfigError(
                    f"knight {args[0]} is the vendor's own tool, and not here; it takes the "
                    f"NAME_quantize.onnx that knight quant writes"
                )
            raise ConfigError(f"unknown command {args[0]!r}: {did_you_mean(args[0], commands.names())}")
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]  # click overloads it for a mode that is not offered here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **settings: Any
    ) -> NoReturn:
        settings["standalone_mode"] = False  # else click prints errors by itself, in several lines
        logging.getLogger().addHandler(_UNHEARD)  # else what libraries log goes to the terminal as it is
        with guarded():
            self._run(args, prog_name, settings)

    def _run(self, args: Sequence[str] | None, prog_name: str | None, settings: dict[str, Any]) -> NoReturn:
        try:
            with stoppable():
                code = super().main(args, prog_name, **settings)
                sys.stdout.flush()
        except KnightError as error:
            _fail(str(error), error.exit_code)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            _fail("interrupted; earlier results are as they were", INTERRUPTED)
        except Stopped as stopped:
            name = signal.Signals(stopped.number).name
            _fail(f"stopped by {name}; earlier results are as they were", 128 + stopped.number)
        except Unheard as error:
            if error.unread:
                _fail("nobody reads standard output any more; earlier results are as they were", UNREAD)
            _fail(f"cannot write to standard output: {error.reason}", 1)
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            _fail(f"{error.strerror or error}{where}", 1)
        except MemoryError:
            _fail("out of memory; use a smaller -bs, or a machine with more", 1)
        except Exception as error:  # a defect of Knight: say so, in one line like everything else
            from knight.executor import described

            _fail(f"unexpected {described(error)}; run again with -l 0 for details", 1)
        sys.exit(code if isinstance(code, int) else 0)


def _purpose(name: str, width: int) -> str:
    """What the subcommand does; of our own it is the first line of the file, so that none has to be run."""
    if name in commands.built_in:
        text = commands.headline(name).removeprefix(f"``knight {name}``: ")
        return text[:1].upper() + text[1:]
    try:
        return commands.get(name).get_short_help_str(width)
    except ConfigError:
        return "(cannot be loaded; see knight plugins)"


def _fail(message: str, code: int) -> NoReturn:
    text = visible(" ".join(message.split()))
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    echo(f"knight: error: {text}", err=True)
    sys.exit(code)


def _set_default_chip(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    from knight.cli._chip import remember_chip, settings_file

    click.echo(f"Default chip: {remember_chip(value)} (remembered in {settings_file()})")


@click.group(
    cls=KnightGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="\b\nExample:\n"
    "  knight --chip TX5368AV200 quant -m net.onnx -if infer_net -uds infer.py -i 100 --save-dir out",
)
@click.option(
    "-ch",
    "--chip",
    multiple=True,
    metavar="NAME|FILE.toml",
    help="The chip or runtime to quantize for; the first one given counts.",
)
@click.option(
    "--default-chip",
    metavar="NAME|FILE.toml",
    callback=_set_default_chip,
    help="Remember this chip for when --chip is not given.",
)
@click.version_option(__version__, "-v", "--version", prog_name="knight", message="%(prog)s %(version)s")
@click.pass_context
def knight(context: click.Context, chip: tuple[str, ...], default_chip: str | None) -> None:
    """Turn trained float models into integer ONNX models, without training them again."""
    context.obj = chip
    if context.invoked_subcommand is None:
        if chip:
            raise ConfigError("--chip is for a subcommand, and none is given; see knight --help")
        if default_chip is None:
            click.echo(context.get_help())


def main() -> NoReturn:
    """The scripts ``knight`` and ``Knight``."""
    try:
        knight.main(prog_name="knight")
    finally:  # all is told: a Ctrl-C from here on ends what Python does at its end, without a word
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
