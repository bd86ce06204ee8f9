"""The plug mechanism, on a package made for the test."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from knight import registry
from knight.errors import ConfigError
from knight.registry import Registry

PACKAGE = "registry_test_package"


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[str]:
    """A registry of `tmp_path`'s package: red.py works, broken.py fails on import, _helper.py is no entry."""
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "red.py").write_text("value = 'red entry'\n")
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_helper.py").write_text("value = 'helper'\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield Registry("colour", PACKAGE, "knight.colours", "value")
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]


def install(monkeypatch: pytest.MonkeyPatch, **plugins: str) -> None:
    """Makes other distributions declare `plugins`, name -> object reference."""
    found = [EntryPoint(name, value, "knight.colours") for name, value in plugins.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == "knight.colours" else [])


def test_names_are_known_without_importing(entries: Registry[str]) -> None:
    assert entries.names() == ("broken", "red")
    assert f"{PACKAGE}.red" not in sys.modules


def test_get_imports_the_one_module(entries: Registry[str]) -> None:
    assert entries.get("red") == "red entry"
    assert f"{PACKAGE}.broken" not in sys.modules


def test_an_entry_that_fails_to_import_is_not_hidden(entries: Registry[str]) -> None:
    with pytest.raises(RuntimeError, match="imported"):
        entries.get("broken")


def test_unknown_name(entries: Registry[str]) -> None:
    with pytest.raises(ConfigError, match="unknown colour 'rad': did you mean 'red'"):
        entries.get("rad")
    with pytest.raises(ConfigError, match="unknown colour '_helper'"):
        entries.get("_helper")


def test_plugins_stand_beside_the_built_in(entries: Registry[str], monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, blue="os:sep")
    assert entries.names() == ("blue", "broken", "red")
    assert entries.get("blue") == "/"


def test_a_plugin_must_not_repeat_a_name(entries: Registry[str], monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, red="os:sep")
    with pytest.raises(ConfigError, match=r"colour 'red' is defined twice: os:sep"):
        entries.names()


def test_built_in_entries_need_no_plugins(entries: Registry[str], monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, red="os:sep")
    assert entries.get("red") == "red entry"
