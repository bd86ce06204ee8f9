"""The README says what the program says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_generated_parts_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("readme", ROOT / "scripts" / "readme.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.filled(README) == README, "run python scripts/readme.py"


def test_files_that_it_names_exist() -> None:
    named = re.findall(r"(?:examples|scripts)/[\w./-]+", README)
    assert named
    assert not [name for name in named if not (ROOT / name.rstrip("./")).exists()]


def test_the_two_commands_are_on_the_first_screen() -> None:
    first = "\n".join(README.splitlines()[:40])
    assert "bash scripts/demo" in first and "bash scripts/test" in first
