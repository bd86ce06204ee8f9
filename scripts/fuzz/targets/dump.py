"""Dump folders of strangers: each input is a ZIP archive of one."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path, PurePosixPath

from knight.compare.folders import compare_folders, halves
from scripts.fuzz.mutators.archives import Archive
from scripts.fuzz.mutators.trees import Json
from scripts.fuzz.targets import Target

_PIPE, _LOOP, _FOLDER = b"@pipe", b"@loop", b"@folder"


def run(data: bytes, folder: Path) -> None:
    """Compares the two halves."""
    try:
        unpack(data, folder)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError, EOFError, KeyError):
        return  # it is the dump that is read, not the archive
    compare_folders(*halves(folder))


def unpack(data: bytes, folder: Path) -> None:
    """Writes the members below `folder` and nowhere else; some contents stand for what is no file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            parts = [part for part in PurePosixPath(info.filename).parts if part not in ("/", "..")]
            path = folder.joinpath(*parts)
            content = archive.read(info)
            path.parent.mkdir(parents=True, exist_ok=True)
            if content == _PIPE:
                os.mkfifo(path)
            elif content == _LOOP:
                path.symlink_to(path.name)
            elif content == _FOLDER:
                path.mkdir()
            else:
                path.write_bytes(content)


target = Target(run, Archive({".json": Json()}, odd=(_PIPE, _LOOP, _FOLDER)))
