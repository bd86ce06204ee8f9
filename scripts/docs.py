"""Writes the parts of the documentation that the program knows best, so that they cannot drift.

python scripts/docs.py           rewrites them
python scripts/docs.py --check   writes nothing; exits with 1 and names the files that have drifted

They are the pages of docs/commands/, and what stands between ``<!-- NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import click

import knight as package
from knight.cli import commands, knight
from knight.targets import families, load_target

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ROOT / "docs" / "commands"
MADE = "<!-- Made by scripts/docs.py from the command itself. -->"

Rows = Sequence[tuple[str, str]]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return (
        "\n".join(f"| {' | '.join(line)} |" for line in lines)
        .replace("| --- ", "|---")
        .replace("--- |", "---|")
    )


def code(text: str) -> str:
    """`text` as code in a cell of a table, where a bar would end the cell."""
    return f"`{text}`".replace("|", "\\|")


class Sections(click.HelpFormatter):
    """Keeps what a command would write of its options, as data. found: title -> (option, meaning)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Rows] = {}
        self._title = ""

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        self._title = name
        yield

    def write_dl(self, rows: Rows, col_max: int = 30, col_spacing: int = 2) -> None:
        self.found[self._title] = rows


def described(command: click.Command, name: str) -> tuple[str, str, dict[str, Rows], str]:
    """Usage, help, options by section, and examples of `command`."""
    context = click.Context(command, info_name=name, help_option_names=["-h", "--help"])
    sections = Sections()
    command.format_options(context, sections)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    epilog = inspect.cleandoc((command.epilog or "").replace("\b", "")).splitlines()
    examples = "\n".join(line.strip() for line in epilog if line.startswith(" "))
    return usage, "\n\n".join(" ".join(text.split()) for text in paragraphs), sections.found, examples


def command_page(name: str) -> str:
    """What ``knight NAME --help`` says."""
    usage, help, sections, examples = described(commands.get(name), f"knight {name}")
    parts = [MADE, f"# knight {name}", help, f"```text\n{usage}\n```"]
    for title, rows in sections.items():
        parts += [
            f"## {title}",
            table(("option", "meaning"), [(code(option), text) for option, text in rows]),
        ]
    parts += ["## Examples", f"```text\n{examples}\n```", "[All commands](README.md)"]
    return "\n\n".join(parts) + "\n"


def command_index() -> str:
    """The subcommands, and the options that stand before them."""
    usage, help, sections, _ = described(knight, "knight")
    rows = [
        (f"[`{name}`]({name}.md)", commands.get(name).get_short_help_str(200)) for name in commands.names()
    ]
    options = [(code(option), text) for option, text in sections["Options"]]
    parts = [MADE, "# Commands", help, f"```text\n{usage}\n```", table(("command", "does"), rows)]
    parts += ["Options before the command:", table(("option", "meaning"), options)]
    return "\n\n".join(parts) + "\n"


def chips() -> str:
    """One row per family, from the target files."""
    rows = []
    for target in map(load_target, families()):
        usual = target.schemes[0]
        numbers = "int" if usual.activation_signed else "uint"
        kind = f"{numbers}{usual.activation_bits} " + (
            "symmetric" if usual.activation_symmetric else "with zero point"
        )
        outputs = "fixed-point" if target.fixed_point_outputs else "float"
        schemes = " ".join(scheme.name for scheme in target.schemes)
        shapes = "static" if target.static_shapes else "dynamic"
        rows.append((target.name, schemes, kind, shapes, outputs, " ".join(target.chips)))
    return table(("family", "schemes", "activations", "shapes", "outputs", "chips"), rows)


def presets() -> str:
    """One row per preset, from its file."""
    files = sorted((ROOT / "knight" / "tasks" / "presets").glob("*.json"))
    return table(
        ("preset", "for"),
        [(code(file.stem), json.loads(file.read_text("utf-8"))["_about"]) for file in files],
    )


def entries(folder: str, head: Sequence[str]) -> str:
    """One row per entry of a registry, from the first paragraph of its file."""
    rows = []
    for file in sorted((ROOT / "knight" / folder).glob("[!_]*.py")):
        text = (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split("\n\n")[0]
        text = " ".join(text.split()).removeprefix(f"{file.stem}: ").replace("``", "`").replace("|", "\\|")
        rows.append((code(file.stem), text))
    return table(head, rows)


def below(name: str) -> str:
    """The string that stands below the public constant of this name where it is defined."""
    tree = ast.parse(inspect.getsource(import_module(package._HOMES[name])))
    for line, after in zip(tree.body, tree.body[1:], strict=False):
        targets = getattr(line, "targets", [getattr(line, "target", None)])
        named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        if named and isinstance(after, ast.Expr):
            return str(ast.literal_eval(after.value))
    raise LookupError(f"nothing stands below {name}")


def public_names() -> str:
    """One row per public name of the package."""
    rows = []
    for name in sorted(set(package.__all__) - {"__version__"}):
        value = getattr(package, name)
        text = (inspect.getdoc(value) if callable(value) else below(name)) or ""
        rows.append((code(f"knight.{name}"), " ".join(text.split("\n\n")[0].split()).replace("``", "`")))
    return table(("name", "what it is"), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "chips": chips,
    "methods": lambda: entries("calibration", ("method", "range")),
    "optimizers": lambda: entries("optimizers", ("optimizer", "what it does")),
    "presets": presets,
    "public names": public_names,
    "tasks": lambda: entries("tasks", ("`-if`", "feeds")),
}


def filled(text: str) -> str:
    """`text` with the blocks in it made anew."""

    def made(found: re.Match[str]) -> str:
        if found[2] not in BLOCKS:
            raise SystemExit(f"unknown block {found[2]!r}; known: {', '.join(BLOCKS)}")
        return f"{found[1]}\n{BLOCKS[found[2]]()}\n<!-- end -->"

    return re.sub(r"(<!-- ([\w ]+) -->)\n.*?<!-- end -->", made, text, flags=re.DOTALL)


def documentation() -> dict[Path, str]:
    """Every file that is made, or has blocks that are made -> what it has to be."""
    found = {COMMANDS / f"{name}.md": command_page(name) for name in commands.names()}
    found[COMMANDS / "README.md"] = command_index()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        text = path.read_text("utf-8")
        if "<!-- end -->" in text:
            found[path] = filled(text)
    return found


def drifted(wanted: dict[Path, str]) -> list[Path]:
    """Files that are not what they have to be, pages of commands that are no more among them."""
    changed = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    return sorted([*changed, *(set(COMMANDS.glob("*.md")) - set(wanted))])


def main(arguments: Sequence[str]) -> Any:
    wanted = documentation()
    paths = drifted(wanted)
    if "--check" in arguments:
        names = ", ".join(str(path.relative_to(ROOT)) for path in paths)
        return f"{names}: drifted; run python scripts/docs.py" if paths else 0
    COMMANDS.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if path in wanted:
            path.write_text(wanted[path], "utf-8")
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
