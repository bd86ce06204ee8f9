"""Fills the generated parts of README.md from the program: command help, tables of chips and presets.

python scripts/readme.py           rewrites them
python scripts/readme.py --check   exits with 1 where they have drifted
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from click.testing import CliRunner

from knight.cli import knight
from knight.targets import families, load_target

README = Path(__file__).resolve().parent.parent / "README.md"


def helped(*arguments: str) -> str:
    """What the command line answers, in a code block."""
    result = CliRunner().invoke(knight, list(arguments), prog_name="knight", terminal_width=100)
    if result.exit_code or not result.output.strip():
        raise SystemExit(f"knight {' '.join(arguments)} answers nothing")
    return f"```\n{result.output.rstrip()}\n```"


def chips() -> str:
    """One row per family, from the target files."""
    rows = ["| family | schemes | activations | shapes | outputs | chips |", "|---|---|---|---|---|---|"]
    for target in map(load_target, families()):
        usual = target.schemes[0]
        numbers = f"{'int' if usual.activation_signed else 'uint'}{usual.activation_bits}"
        kind = f"{numbers} {'symmetric' if usual.activation_symmetric else 'with zero point'}"
        outputs = "fixed-point" if target.fixed_point_outputs else "float"
        schemes = " ".join(scheme.name for scheme in target.schemes)
        shapes = "static" if target.static_shapes else "dynamic"
        rows.append(
            f"| {target.name} | {schemes} | {kind} | {shapes} | {outputs} | {' '.join(target.chips)} |"
        )
    return "\n".join(rows)


def presets() -> str:
    """One row per preset, from its file."""
    rows = ["| preset | for |", "|---|---|"]
    for path in sorted((README.parent / "knight" / "tasks" / "presets").glob("*.json")):
        rows.append(f"| `{path.stem}` | {json.loads(path.read_text('utf-8'))['_about']} |")
    return "\n".join(rows)


BLOCKS = {
    "knight quant --help": lambda: helped("quant", "--help"),
    "knight convert --help": lambda: helped("convert", "--help"),
    "knight compare --help": lambda: helped("compare", "--help"),
    "knight infer --help": lambda: helped("infer", "--help"),
    "knight build --help": lambda: helped("build", "--help"),
    "knight template --help": lambda: helped("template", "--help"),
    "chips": chips,
    "presets": presets,
}


def filled(text: str) -> str:
    """`text` with each block between ``<!-- NAME -->`` and ``<!-- end -->`` made anew."""
    for name, make in BLOCKS.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda found, make=make: f"{found[1]}{make()}\n{found[2]}", text)
        if count != 1:
            raise SystemExit(f"README.md: {count} blocks called {name!r}, wanted one")
    return text


if __name__ == "__main__":
    before = README.read_text("utf-8")
    after = filled(before)
    if "--check" in sys.argv[1:]:
        sys.exit(0 if before == after else "README.md has drifted: run python scripts/readme.py")
    README.write_text(after, "utf-8")
