"""Every subcommand has help, an example, and says what each of its options is for."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from knight.cli import commands, knight


@pytest.mark.parametrize("name", commands.names())
class TestCommand:
    def test_is_named_after_its_file(self, name: str) -> None:
        command = commands.get(name)
        assert isinstance(command, click.Command)
        assert command.name == name or command.name == "command"

    def test_says_what_it_does(self, name: str) -> None:
        help = commands.get(name).help
        assert help and help.strip().split("\n")[0].endswith(".")
        assert commands.get(name).get_short_help_str(100)

    def test_has_an_example(self, name: str) -> None:
        result = CliRunner().invoke(knight, [name, "--help"], prog_name="knight")
        assert result.exit_code == 0, result.output
        assert "Example" in result.output and "\n  knight " in result.output.replace("\n    ", "\n  ")
        assert f"Usage: knight {name}" in result.output

    def test_documents_every_option(self, name: str) -> None:
        command = commands.get(name)
        output = CliRunner().invoke(knight, [name, "--help"], prog_name="knight").output
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, option.name
                assert all(spelling in output for spelling in option.opts), option.name

    def test_is_listed(self, name: str) -> None:
        assert f"  {name} " in CliRunner().invoke(knight, ["--help"]).output
