"""What the tests of the command line share: a runner that keeps the user's own settings out of play."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from knight.cli import knight


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A configuration folder of the test's own; scripts loaded in the test leave nothing behind."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def run() -> Callable[..., Result]:
    """Runs the command line in this process: ``run("quant", "-m", path)``."""

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(knight, list(map(str, words)), prog_name="knight")

    return invoke
