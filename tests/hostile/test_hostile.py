"""Files of strangers, by the command line: no code of theirs runs, and nothing outside is written or read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.case import SECRET, Hostile, Place
from tests.hostile.make import CASES, make

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 300
"""Seconds after which a command hangs; none needs a tenth of them."""
_NOT_OURS = {".ses"}
"""ONNX Runtime's own, made in the folder of temporary files when it is imported."""


def listed(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything in `folder`, with what would tell a change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        regular = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = (path.lstat().st_mode, path.read_bytes() if regular else b"")
    return found


def processes(mark: str) -> list[str]:
    """What still runs of a command that was started with `mark` in its environment."""
    found = []
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        try:
            if entry.name.isdigit() and os.fsencode(mark) in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:  # it has just ended, or is another user's
            continue
    return found


def open_it(case: Hostile, place: Place, base: Path) -> subprocess.CompletedProcess[str]:
    """The command of the case, at home in folders of its own."""
    home, temporary, out = base / "home", base / "tmp", base / "out"
    for folder in (home, temporary):
        folder.mkdir()
    mark = f"HOSTILE={base}"
    own = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "XDG_CACHE_HOME": str(base / "cache"),  # Knight's and ONNX Runtime's own
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(ROOT),
    }
    words = (sys.executable, "-m", "knight", *case.words(place.folder), "--save-dir", out)
    before = listed(home), listed(place.folder), listed(place.secret.parent)
    done = subprocess.run(
        list(map(str, words)),
        cwd=home,
        env={**os.environ, **own, "HOSTILE": str(base)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    for folder, earlier in zip((home, place.folder, place.secret.parent), before, strict=True):
        after = listed(folder)
        assert not {name for name in after.keys() | earlier.keys() if after.get(name) != earlier.get(name)}
    assert {path.name for path in temporary.iterdir()} <= _NOT_OURS
    assert not processes(mark)
    return done


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_is_refused_before_anything_runs(case: Hostile, tmp_path: Path) -> None:
    place = make(case, tmp_path)
    done = open_it(case, place, tmp_path)
    assert not place.marker.exists()
    assert SECRET[:16] not in (done.stdout + done.stderr).encode()
    out = tmp_path / "out"
    assert all(SECRET[:16] not in path.read_bytes() for path in out.rglob("*") if path.is_file())
    if case.said:
        assert done.returncode in (1, 2), done.stdout + done.stderr
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("knight: error: "), done.stderr
        assert case.said in done.stderr and "unexpected" not in done.stderr, done.stderr
        assert not out.exists()
    else:
        assert done.returncode == 0, done.stderr


def test_there_are_sixty_of_all_formats() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_files_would_do_it(tmp_path: Path) -> None:
    """What the pickles call is called where they are trusted; else the others prove nothing."""
    import pickle

    from tests.hostile.pickles import Evil

    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(Evil(marker)))
    assert marker.exists()
