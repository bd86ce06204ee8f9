"""Subcommands that exist by name and say that they are not available yet."""

from __future__ import annotations

import click

from knight.errors import ConfigError


def unavailable(name: str, help: str) -> click.Command:
    """A command that takes any arguments and refuses to run."""

    def refuse(arguments: tuple[str, ...]) -> None:
        raise ConfigError(f"knight {name} is not available yet")

    return click.Command(
        name,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        callback=refuse,
        help=f"{help} Not available yet.",
        short_help=f"{help} (not available yet)",
        epilog=f"\b\nExample:\n  knight {name} --help",
        context_settings={"ignore_unknown_options": True},
        options_metavar="",
    )
