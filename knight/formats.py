"""Tells which framework a model file is of, so that a wrong -f is answered with the right one; opens ZIP
archives, which several frameworks write.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knight.errors import KnightError, ModelError

_SUFFIXES = {
    ".onnx": "onnx",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".pt2": "pytorch",
    ".prototxt": "caffe",
    ".caffemodel": "caffe",
    ".pdmodel": "paddle",
    ".pdiparams": "paddle",
    ".pdparams": "paddle",
    ".pb": "tensorflow",
    ".keras": "tensorflow",
    ".h5": "tensorflow",
    ".tflite": "tensorflow",
}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LEGACY_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_HEAD = 4096


def framework_of(path: Path) -> str | None:
    """The framework (a value of -f) that `path` seems to be of, None where nothing tells.

    The content decides where it has a signature, the suffix otherwise.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "tensorflow"
        return "paddle" if (path / "__model__").is_file() or any(path.glob("*.pdmodel")) else None
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return _SUFFIXES.get(path.suffix.lower())
    return _by_content(path, head) or _SUFFIXES.get(path.suffix.lower())


@contextmanager
def opened_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The ZIP archive `path`. Raises ModelError where it is damaged, also where that is found out inside."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except KnightError:
        raise
    except Exception as error:  # zipfile lets out whatever its decompressors raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(
            f"model {path}: damaged, or packed in an unknown way ({reason}); copy it again"
        ) from error


def hint(path: Path, wanted: str) -> str:
    """The end of an error message about `path`: what it looks like, if that is not `wanted`."""
    found = framework_of(path)
    return f" (it looks like {found}: use -f {found})" if found not in (None, wanted) else ""


def _by_content(path: Path, head: bytes) -> str | None:
    if head.startswith(_HDF5) or head[4:8] == b"TFL3":
        return "tensorflow"
    if head.startswith(_LEGACY_TORCH):
        return "pytorch"
    if head.startswith(b"PK"):
        return _of_archive(path)
    if head.lstrip()[:1] == b"{" and b'"program"' in head:
        return "paddle"
    if _is_text(head) and b"layer" in head and b"{" in head[1:]:
        return "caffe"
    return None


def _of_archive(path: Path) -> str | None:
    try:
        with opened_archive(path) as archive:
            members = {name.rpartition("/")[2] for name in archive.namelist()}
    except ModelError:
        return None
    if "model.weights.h5" in members:
        return "tensorflow"
    torch_members = {
        "data.pkl",
        "constants.pkl",
        "archive_format",
        "model.json",
        "serialized_exported_program.json",
    }
    return "pytorch" if members & torch_members else None


def _is_text(head: bytes) -> bool:
    return b"\0" not in head and not head.lstrip().startswith((b"{", b"["))
