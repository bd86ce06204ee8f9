"""The folder of results: files appear in it whole or not at all, and one process writes at a time.

A result is written into a hidden folder inside, flushed to the disk, committed by renaming that folder, and
only then moved file by file to where users look. Whatever stops the process before the commit leaves the
earlier result as it was; what is stopped after it is completed by the next process that opens the folder.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from knight import model as models
from knight.errors import OutputError
from knight.files import flush, output_errors, remove
from knight.stopping import undisturbed

if TYPE_CHECKING:
    import onnx_ir as ir

LOCK = ".knight.lock"
_WRITING = ".knight-writing"
_COMMITTED = ".knight-committed"


class Result(Protocol):
    """What is stored of one quantization."""

    @property
    def model(self) -> ir.Model | None: ...

    @property
    def steps(self) -> Mapping[str, ir.Model]: ...

    @property
    def report(self) -> Mapping[str, Any]: ...

    @property
    def files(self) -> Mapping[str, bytes]: ...


class Store:
    """An exclusive hold on `folder`; use it in a ``with`` statement.

    Raises OutputError where the folder cannot be written to, or another process holds it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._made: list[Path] = []
        self._published = False
        self._lock: int | None = None
        with undisturbed():
            with output_errors(self.folder):
                self._make_folder()
            try:
                with output_errors(self.folder):
                    self._lock = self._acquire()
                    remove(self.folder / _WRITING)
                    self._complete()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def publish(self, result: Result, name: str, subdirectory: str | None = None) -> Path:
        """Writes ``NAME_quantize.onnx``, ``steps/*.onnx``, ``NAME_report.json`` and ``NAME_FILE`` of each of
        `result.files`; gives the model's path.

        subdirectory: of the folder, None for the folder itself. Raises as `write` does.
        """
        if result.model is None:
            raise ValueError("a result without a model cannot be published")
        steps = {f"steps/{step}.onnx": model for step, model in result.steps.items()}
        self.write(
            {f"{name}_quantize.onnx": result.model, **steps},
            {f"{name}_report.json": result.report},
            subdirectory,
            {f"{name}_{file}": content for file, content in result.files.items()},
        )
        return self.folder / (subdirectory or ".") / f"{name}_quantize.onnx"

    def write(
        self,
        graphs: Mapping[str, ir.Model],
        documents: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        subdirectory: str | None = None,
        files: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Writes ONNX models, JSON documents and files, all or none, by their path inside `subdirectory`.

        Raises OutputError (disk full, for one); the earlier files of these names are then as they were.
        """
        place = self.folder / (subdirectory or ".")
        writing = self.folder / _WRITING
        try:
            with output_errors(place):
                fresh = writing / (subdirectory or ".")
                written: list[Path] = []
                for file, model in graphs.items():
                    (fresh / file).parent.mkdir(parents=True, exist_ok=True)
                    written += models.save(model, fresh / file)
                for file, document in documents.items():
                    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
                    # JSON reads what "backslashreplace" makes of an undecodable byte of a path as that byte
                    (fresh / file).write_text(text + "\n", "utf-8", "backslashreplace")
                    written.append(fresh / file)
                for file, content in files.items():
                    (fresh / file).parent.mkdir(parents=True, exist_ok=True)
                    (fresh / file).write_bytes(content)
                    written.append(fresh / file)
                for path in written:
                    self._check_target(self.folder / path.relative_to(writing))
                    flush(path)
                with undisturbed():
                    writing.rename(self.folder / _COMMITTED)
                    self._published = True
                    self._complete()
                    self._remove_stale(place, [path.relative_to(fresh) for path in written])
        finally:
            with suppress(OSError):  # what is left, the next process removes
                remove(writing)

    def close(self) -> None:
        """Lets the folder go; a folder that was made for nothing is removed again."""
        if self._lock is not None:
            try:
                with output_errors(self.folder):
                    self._complete()
            finally:
                if self._made and not self._published:
                    (self.folder / LOCK).unlink(missing_ok=True)
                os.close(self._lock)
                self._lock = None
        if not self._published:
            for folder in reversed(self._made):
                try:
                    folder.rmdir()
                except OSError:  # somebody else has put something there: then it stays
                    break
        self._made = []

    def _make_folder(self) -> None:
        missing = []
        folder = self.folder
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self._made.append(folder)
        if not self.folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.folder))

    def _acquire(self) -> int:
        path = self.folder / LOCK
        while True:
            if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
                raise OutputError(f"{path} is no file of knight's own; remove it")
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise OutputError(
                    f"{self.folder} is in use by another run of knight; "
                    f"wait for it, or name another folder with --save-dir"
                ) from None
            except OSError:
                os.close(handle)
                raise
            if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
                return handle
            os.close(handle)  # its last holder removed the file between our opening and locking it

    def _complete(self) -> None:
        """Moves what is committed to its place: models last, so that none refers to weights yet to come."""
        committed = self.folder / _COMMITTED
        files = [] if committed.is_symlink() else list(_files(committed))
        for path in sorted(
            files, key=lambda path: (path.suffix == ".onnx", path.parent.name != "steps", path)
        ):
            target = self.folder / path.relative_to(committed)
            self._check_target(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        for folder in {path.parent for path in files}:
            flush(self.folder / folder.relative_to(committed))
        remove(committed)

    def _check_target(self, target: Path) -> None:
        """Raises OutputError where a file cannot take that place, or would land outside of the folder."""
        if target.is_dir() and not target.is_symlink():
            raise OutputError(
                f"cannot write to {target}: it is a folder; move it, or name another --save-dir"
            )
        for place in target.relative_to(self.folder).parents:
            inner = self.folder / place
            if place != Path() and os.path.lexists(inner) and not stat.S_ISDIR(inner.lstat().st_mode):
                raise OutputError(
                    f"cannot write to {target}: {inner} is no folder of its own; move it, or name another "
                    f"--save-dir"
                )

    @staticmethod
    def _remove_stale(place: Path, written: Sequence[Path]) -> None:
        """Deletes weight files of the models that were just replaced."""
        for model in (path for path in written if path.suffix == ".onnx"):
            weights = re.compile(rf"{re.escape(model.stem)}-[0-9a-f]{{12}}\.data")
            for path in (place / model.parent).iterdir():
                old = weights.fullmatch(path.name) and path.relative_to(place) not in written
                if old and not path.is_dir():
                    path.unlink()


def _files(folder: Path) -> Iterator[Path]:
    """The files below `folder`, without what links lead to."""
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
