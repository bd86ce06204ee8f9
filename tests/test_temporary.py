"""Folders for temporary files go with their process."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from knight.stopping import Stopped, stoppable
from knight.temporary import TemporaryFolder, remove_abandoned

ROOT = Path(__file__).resolve().parents[1]
HELD = """
import signal, sys
from knight.temporary import TemporaryFolder
folder = TemporaryFolder()
open(folder.name + "/weights", "w").close()
print(folder.name, flush=True)
signal.pause()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_with_the_statement_and_with_the_object(place: Path) -> None:
    with TemporaryFolder() as name:
        Path(name, "file").touch()
        assert Path(name).parent == place
    assert not list(place.iterdir())
    folder = TemporaryFolder()
    with pytest.warns(ResourceWarning):
        del folder
        gc.collect()
    assert not list(place.iterdir())


def test_what_a_killed_process_left_goes_and_what_a_running_one_needs_stays(place: Path) -> None:
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place)}
    process = subprocess.Popen([sys.executable, "-c", HELD], env=settings, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    with TemporaryFolder():
        assert (folder / "weights").exists()
    process.kill()
    process.communicate()
    assert (folder / "weights").exists()
    with TemporaryFolder() as name:
        assert [path.name for path in place.iterdir()] == [Path(name).name]


def test_what_is_not_ours_stays(place: Path) -> None:
    (place / "knight-notes").mkdir()
    (place / "else").mkdir()
    (place / "knight-run-link").symlink_to(place / "else")
    (place / "knight-run-file").touch()
    remove_abandoned()
    names = ["else", "knight-notes", "knight-run-file", "knight-run-link"]
    assert sorted(path.name for path in place.iterdir()) == names


def test_a_signal_while_it_is_made_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = tempfile.mkdtemp

    def interrupted(*words: str | None) -> str:
        name = make(*words)
        os.kill(os.getpid(), signal.SIGTERM)
        return name

    monkeypatch.setattr(tempfile, "mkdtemp", interrupted)
    with pytest.raises(Stopped), stoppable():
        TemporaryFolder()
    gc.collect()
    assert not list(place.iterdir())


def test_a_signal_while_it_is_removed_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed = os.unlink

    def interrupted(*words: object, **settings: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        removed(*words, **settings)  # type: ignore[arg-type]

    with pytest.raises(Stopped), stoppable(), TemporaryFolder() as name:
        for number in range(3):
            Path(name, str(number)).touch()
        monkeypatch.setattr(os, "unlink", interrupted)
    assert not list(place.iterdir())


def test_one_that_was_taken_for_abandoned_is_made_anew(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may look between making and locking it."""
    make, names = tempfile.mkdtemp, []

    def taken(*words: str | None) -> str:
        names.append(make(*words))
        if len(names) == 1:
            remove_abandoned()
        return names[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken)
    with TemporaryFolder() as name:
        assert names[1:] == [name] and not Path(names[0]).exists()
        assert Path(name).is_dir()
