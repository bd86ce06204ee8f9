"""Files are read only where they are files; what is written never replaces anything else."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from knight.errors import OutputError
from knight.files import content, open_file, other_kind, write_file


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(path.parent)  # the name of a socket is short
        try:
            one.bind(path.name)
        finally:
            os.chdir(before)


STRANGE: dict[str, Callable[[Path], None]] = {
    "a named pipe": os.mkfifo,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file_is_neither_opened_nor_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    STRANGE[kind](path)
    assert other_kind(path) == f"is {kind}"
    for read in (open_file, content):
        with pytest.raises(OSError, match=f"is {kind}, not a file"):
            read(path)
    with pytest.raises(OutputError, match=f"cannot write to .*it: is {kind}; name another file"):
        write_file(path, b"text")
    assert other_kind(path) == f"is {kind}"


def test_a_folder(tmp_path: Path) -> None:
    assert other_kind(tmp_path) is None
    with pytest.raises(IsADirectoryError, match="is a folder, not a file"):
        content(tmp_path)
    with pytest.raises(OutputError, match=f"cannot write to {tmp_path}: is a folder"):
        write_file(tmp_path, b"text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_names_that_no_file_can_have(name: str) -> None:
    assert other_kind(name) is None
    with pytest.raises(OSError, match="no file can have such a name"):
        content(name)


def test_files_are_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(bytes(1 << 20))
    assert content(path, 1 << 20) == bytes(1 << 20)
    path.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(OSError, match="has more than 1 MB"):
        content(path, 1 << 20)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_text("mine")
    link.symlink_to(other)
    write_file(link, b"new")
    assert (other.read_text(), link.read_text(), link.is_symlink()) == ("mine", "new", False)


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_stands_in_the_way_of_writing_is_removed_and_not_followed(tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    beside = tmp_path / ".it.writing"
    beside.symlink_to(other) if kind == "link" else beside.mkdir()
    write_file(tmp_path / "it", b"new")
    assert (other.read_text(), (tmp_path / "it").read_text()) == ("mine", "new")
    assert not os.path.lexists(beside)
