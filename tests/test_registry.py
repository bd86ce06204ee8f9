"""The plug mechanism, on a package made for the test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from knight import registry
from knight.entry_points import EntryPoint
from knight.errors import ConfigError
from knight.registry import FileRegistry, Registry

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


def install(monkeypatch: pytest.MonkeyPatch, *plugins: tuple[str, str]) -> None:
    """Makes another distribution declare `plugins`: name and object reference of each."""
    found = tuple(EntryPoint("knight.colours", name, value, "paint 1.2") for name, value in plugins)
    monkeypatch.setattr(registry, "entry_points", lambda group: found if group == "knight.colours" else ())


def test_names_are_known_without_importing(entries: Registry[str]) -> None:
    assert entries.names() == ("broken", "red")
    assert registry.names(PACKAGE, "knight.colours") == ("broken", "red")
    assert not [name for name in sys.modules if name.startswith(PACKAGE)]


def test_get_imports_the_one_module(entries: Registry[str]) -> None:
    assert entries.get("red") == "red entry"
    assert entries.origin("red") == "built in"
    assert f"{PACKAGE}.broken" not in sys.modules


def test_an_entry_that_fails_to_import_is_not_hidden(entries: Registry[str]) -> None:
    with pytest.raises(RuntimeError, match="imported"):
        entries.get("broken")


def test_the_first_line_of_a_file_is_read_without_running_it(entries: Registry[str], tmp_path: Path) -> None:
    (tmp_path / PACKAGE / "broken.py").write_text('"""No colour.\n\nMore of it.\n"""\nraise RuntimeError\n')
    assert entries.headline("broken") == "No colour."
    assert entries.headline("red") == "", "there is no docstring"


def test_unknown_name(entries: Registry[str]) -> None:
    for ask in (entries.get, entries.origin, lambda name: entries.declared(name, "rank")):
        with pytest.raises(ConfigError, match="unknown colour 'rad': did you mean 'red'"):
            ask("rad")
    with pytest.raises(ConfigError, match="unknown colour '_helper'"):
        entries.get("_helper")


def test_plugins_stand_beside_the_built_in(entries: Registry[str], monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ("blue", "os:sep"), ("path", "os.path"), ("deep", "os:path.sep"))
    assert entries.names() == ("blue", "broken", "deep", "path", "red")
    assert entries.get("blue") == entries.get("deep") == os.sep and entries.get("path") is os.path
    assert entries.origin("blue") == "paint 1.2"


def test_a_name_that_is_there_twice_is_refused_and_no_other(
    entries: Registry[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, ("red", "os:sep"), ("blue", "os:sep"), ("grey", "os:sep"), ("grey", "os:curdir"))
    assert entries.names() == ("blue", "broken", "grey", "red")
    with pytest.raises(
        ConfigError, match=r"^colour 'red' is defined twice: by Knight itself and by paint 1\.2"
    ):
        entries.get("red")
    with pytest.raises(ConfigError, match=r"'grey' is defined twice: by paint 1\.2 \(os:sep\) and by paint"):
        entries.get("grey")
    assert entries.get("blue") == os.sep


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("no_such_module_at_all:x", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("os:no_such_object", "AttributeError: .*no_such_object"),
        (f"{PACKAGE}.broken:value", "RuntimeError: imported"),
        (f"{PACKAGE}.leaves", "SystemExit: 3"),
    ],
)
def test_what_cannot_be_loaded_names_its_distribution(
    entries: Registry[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, why: str
) -> None:
    (tmp_path / PACKAGE / "leaves.py").write_text("raise SystemExit(3)\n")
    install(monkeypatch, ("blue", value))
    for ask in (entries.get, lambda name: entries.declared(name, "rank")):
        with pytest.raises(
            ConfigError, match=rf"^colour 'blue' of paint 1\.2 cannot be loaded \(.*\): {why}"
        ):
            ask("blue")
    assert entries.get("red") == "red entry" and set(entries.names()) > {"blue", "red"}


def test_what_stands_beside_an_entry(
    entries: Registry[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / PACKAGE / "broken.py").write_text("value = 'mended'\nrank = 7\n")
    (tmp_path / PACKAGE / "first.py").write_text("value = 'first'\nrank = 2\n")
    (tmp_path / PACKAGE / "last.py").write_text("value = 'last'\nrank = 99\n")
    install(monkeypatch, ("blue", "os:sep"), ("early", f"{PACKAGE}.first:value"))
    assert entries.declared("broken", "rank") == 7 and entries.declared("early", "rank") == 2
    assert entries.declared("blue", "rank") is None and entries.declared("blue", "sep", "?") == os.sep
    assert entries.ranked() == ("early", "first", "broken", "blue", "red", "last")


def test_without_a_package_all_entries_are_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ("blue", "os:sep"))
    entries = Registry[str]("colour", "", "knight.colours", "")
    assert entries.names() == ("blue",) and entries.get("blue") == os.sep
    with pytest.raises(ConfigError, match="unknown colour 'red'"):
        entries.get("red")


def test_files_are_entries_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").write_text(f"GREEN = {str(tmp_path / 'green.tin')!r}\n")
    for place in (tmp_path / PACKAGE / "red.tin", tmp_path / "green.tin"):
        place.write_text(place.stem)
    monkeypatch.syspath_prepend(tmp_path)
    install(monkeypatch, ("green", f"{PACKAGE}:GREEN"))
    entries = FileRegistry("colour", PACKAGE, "knight.colours", ".tin")
    assert entries.names() == ("green", "red") and entries.built_in == {"red"}
    assert [entries.get(name).read_bytes() for name in entries.names()] == [b"green", b"red"]
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]
