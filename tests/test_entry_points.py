"""The cache of entry points: right whatever happens to packages and file, and no scan while it is good."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from knight import entry_points as module
from knight.entry_points import EntryPoint, entry_points, installed

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is installed but what the test installs, and the cache is the test's own."""
    (tmp_path / "site").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    installed.cache_clear()


def install(folder: Path, name: str, version: str, entries: str) -> Path:
    """A distribution as an installer leaves it."""
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir(parents=True, exist_ok=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (place / "entry_points.txt").write_text(entries)
    return place


def found(group: str = "knight.colours") -> dict[str, str]:
    """What a process that starts now sees: name -> distribution."""
    installed.cache_clear()
    return {entry.name: entry.distribution for entry in entry_points(group)}


def caches(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.*"))


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item per look at the metadata of all packages."""
    seen: list[int] = []
    real = importlib.metadata.distributions

    def counted():
        seen.append(1)
        return real()

    monkeypatch.setattr(importlib.metadata, "distributions", counted)
    return seen


def test_it_says_what_the_standard_library_says(tmp_path: Path) -> None:
    install(
        tmp_path / "site",
        "paint",
        "1.2",
        "[knight.colours]\nred = paint.red:value\nblue=paint\n[other]\nx=y\n",
    )
    install(tmp_path / "site", "chalk", "2", "[knight.tools]\nwhite = chalk:deep.value [extra]\n")
    for group in ("knight.colours", "knight.tools", "knight.none"):
        wanted = {(one.name, one.value) for one in importlib.metadata.entry_points(group=group)}
        installed.cache_clear()
        assert {(one.name, one.value) for one in entry_points(group)} == wanted
        assert {(one.name, one.value) for one in entry_points(group)} == wanted, "from the cache"
    assert {one.group for one in installed().entries} == {"knight.colours", "knight.tools"}


def test_metadata_are_read_once_until_packages_change(tmp_path: Path, scans: list[int]) -> None:
    site = tmp_path / "site"
    place = install(site, "paint", "1.2", "[knight.colours]\nred = paint:red\n")
    for _ in range(3):
        assert found() == {"red": "paint 1.2"}
    assert len(scans) == 1

    install(site, "chalk", "2", "[knight.colours]\nwhite = chalk:white\n")
    assert found() == {"red": "paint 1.2", "white": "chalk 2"}

    place.rename(site / "paint-1.3.dist-info")
    (site / "paint-1.3.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: paint\nVersion: 1.3\n"
    )
    assert found() == {"red": "paint 1.3", "white": "chalk 2"}

    text = (site / "paint-1.3.dist-info" / "entry_points.txt").read_text()
    (site / "paint-1.3.dist-info" / "entry_points.txt").write_text(text.replace("red =", "rot ="))
    assert found() == {"rot": "paint 1.3", "white": "chalk 2"}, "written in place, to the same size"

    for file in (site / "chalk-2.dist-info").iterdir():
        file.unlink()
    (site / "chalk-2.dist-info").rmdir()
    assert found() == {"rot": "paint 1.3"}
    assert len(scans) == 5
    assert len(caches(tmp_path)) == 1, "one file per environment"


def test_what_the_path_shadows_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "paint", "1.2", "[knight.colours]\nred = paint:red\n")
    install(tmp_path / "first", "Paint", "9", "[knight.colours]\nblue = paint:blue\n")
    assert found() == {"red": "paint 1.2"}
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nowhere"), str(tmp_path / "first"), *sys.path])
    assert found() == {"blue": "Paint 9"}


def test_no_packages_at_all_is_an_answer_to_keep(scans: list[int]) -> None:
    assert found() == found() == {}
    assert len(scans) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_made_anew(tmp_path: Path, data: st.DataObject) -> None:
    install(tmp_path / "site", "paint", "1.2", "[knight.colours]\nred = paint:red\n")
    assert found() == {"red": "paint 1.2"}
    (file,) = caches(tmp_path)
    whole = file.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from([whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]])
        | st.binary(max_size=40).map(lambda more: whole[:place] + more + whole[place:]).filter(whole.__ne__)
    )
    file.write_bytes(damaged)
    assert found() == {"red": "paint 1.2"}
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, scans: list[int]) -> None:
    install(tmp_path / "site", "paint", "1.2", "[knight.colours]\nred = paint:red\n")
    (tmp_path / "cache").write_text("in the way")
    assert found() == found() == {"red": "paint 1.2"}
    assert len(scans) == 2


def test_a_file_that_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    install(tmp_path / "site", "paint", "1.2", "[knight.colours]\nred = paint:red\n")
    found()
    (file,) = caches(tmp_path)
    file.unlink()
    file.mkdir()
    assert found() == {"red": "paint 1.2"}
    assert caches(tmp_path) == [file], "what was begun beside it is removed"


def test_packages_with_broken_metadata_stop_nobody(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(site, "paint", "1.2", "[knight.colours]\nred = paint:red\n")
    install(site, "torn", "3", "[knight.colours]\nthis is no entry\n")
    (site / "empty-1.dist-info").mkdir()
    (install(site, "nameless", "1", "[knight.colours]\ngrey = os:sep\n") / "METADATA").write_text("\n")
    assert found() == {"red": "paint 1.2", "grey": "a distribution without a name"}
    (torn,) = installed().unreadable
    assert torn.distribution == "torn 3" and torn.reason
    assert found()["red"] == "paint 1.2" and installed().unreadable == (torn,), "from the cache"


def test_an_odd_folder_name_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scans: list[int]
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff\n\tname")
    os.mkdir(odd)
    install(Path(odd), "paint", "1.2", "[knight.colours]\nred = paint:red\n")
    monkeypatch.setattr(sys, "path", [odd])
    assert found() == found() == {"red": "paint 1.2"}
    assert len(scans) == 1


def test_an_archive_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "packed.zip"
    for name in ("red", "blue"):
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr(
                "packed-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: packed\nVersion: 1\n"
            )
            packed.writestr("packed-1.dist-info/entry_points.txt", f"[knight.colours]\n{name} = os:sep\n")
        monkeypatch.setattr(sys, "path", [str(archive)])
        importlib.invalidate_caches()
        assert found() == {name: "packed 1"}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("os", os), ("os:sep", os.sep), ("os:path.sep", os.sep), ("os : sep [extra]", os.sep)],
)
def test_loading_follows_the_reference(value: str, wanted: object) -> None:
    assert EntryPoint("knight.colours", "red", value, "paint 1.2").load() is wanted


def test_the_cache_is_the_users_and_where_the_system_keeps_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert module.cache_folder() == "/somewhere/knight"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification wants such a value ignored
    monkeypatch.setenv("HOME", "/home/me")
    assert module.cache_folder() == "/home/me/.cache/knight"


def test_a_good_cache_spares_the_import_of_the_machinery(tmp_path: Path) -> None:
    code = "import sys; from knight.entry_points import installed; installed(); print(*sys.modules)"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "other")}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    ]
    cold, warm = (set(run.stdout.split()) for run in runs)
    assert "importlib.metadata" in cold and "importlib.metadata" not in warm
