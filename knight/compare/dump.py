"""Writes dump folders: what every layer of the float and of the quantized model gave, call by call.

``dump/float/NNNN:OpType_outname/batch_k.npy``, the same under ``dump/quant``, and ``dump/dump.json``, a list
with one object per layer. NNNN counts from 0001 in graph order; a layer's folder is called alike in both
halves. Names that file systems refuse are changed: the number tells the place, dump.json the real name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from knight.errors import DataError, OutputError
from knight.files import content, remove
from knight.json_keys import parsed
from knight.listener import SILENT, Listener
from knight.stopping import undisturbed

FLOAT, QUANT, INDEX = "float", "quant", "dump.json"
"""The two halves of a dump, and the list of its layers."""

_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|^\.+")
_LONGEST_TYPE, _LONGEST_NAME = 40, 200  # bytes; with the number below the 255 of most file systems
_BLOCK = 4096  # what a file or folder takes on the disk is a multiple of this
_LARGEST_INDEX = 1 << 28  # bytes of a list of layers
_HEADER = 128  # of an .npy file, up to some 20 dimensions
_SPARE = 0.05  # of the free space, which is left to others
_KEYS = {"output": "op_output_name", "quantized_output": "quantized_output_name"}  # the rest is called alike


@dataclass(frozen=True)
class Entry:
    """One layer of a dump, an object of dump.json.

    output: the value's name in the float model; quantized_output: in the other one, None where it is alike.
    op_type: "Input" for a model input. model_output: the value is an output of the model. The writer fills in
    the rest: folder in both halves; batches, the number of files in it; shape and dtype of the float half's
    first. All that is None or False is left out of the file.
    """

    op_type: str
    op_name: str
    output: str
    quantized_output: str | None = None
    model_output: bool = False
    folder: str | None = None
    batches: int | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The object of dump.json."""
        fields = {_KEYS.get(key, key): value for key, value in asdict(self).items()}
        if self.quantized_output == self.output:
            del fields["quantized_output_name"]
        return {key: value for key, value in fields.items() if value is not None and value is not False}

    @classmethod
    def from_json(cls, fields: Any, where: str) -> Entry:
        """Reads an object of dump.json, of this tool or of one that writes the three names only.

        Raises DataError, which names `where`.
        """
        names = ("op_type", "op_name", "op_output_name")
        wrong = [key for key in names if not isinstance(fields, dict) or not isinstance(fields.get(key), str)]
        if wrong:
            raise DataError(f"{where} has no text {wrong[0]!r}; take a whole copy of the dump, or dump again")
        batches, folder, twin = (fields.get(key) for key in ("batches", "folder", "quantized_output_name"))
        if not (batches is None or (type(batches) is int and batches >= 0)):
            raise DataError(f"{where}: batches is {batches!r}, not a number of files; dump again")
        return cls(
            op_type=fields["op_type"],
            op_name=fields["op_name"],
            output=fields["op_output_name"],
            quantized_output=twin if isinstance(twin, str) else None,
            model_output=fields.get("model_output") is True,
            folder=folder if isinstance(folder, str) else None,
            batches=batches,
        )


def read_index(path: Path) -> list[Entry]:
    """The layers that a dump.json lists. Raises DataError where it is no such list."""
    again = "; take a whole copy of the dump, or dump again"
    try:
        text = content(path, _LARGEST_INDEX)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}{again}") from error
    listed = parsed(text, f"{path} cannot be read: ", DataError, again, halves=True)
    if not isinstance(listed, list):
        raise DataError(f"{path} is not a list of layers{again}")
    return [Entry.from_json(fields, f"{path}, layer {number}") for number, fields in enumerate(listed, 1)]


def safe_name(name: str, longest: int = _LONGEST_NAME) -> str:
    """`name` as a part of a file name of at most `longest` bytes; a cut one ends in a hash of the whole."""
    text = _UNSAFE.sub("_", name)
    coded = text.encode()
    if len(coded) <= longest:
        return text
    short = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{coded[: longest - 9].decode('utf-8', 'ignore')}~{short}"


def stem(op_type: str, output: str) -> str:
    """``OpType_outname``, the part of a folder's name that is the same wherever the layer stands."""
    return f"{safe_name(op_type, _LONGEST_TYPE)}_{safe_name(output)}"


def folder_name(number: int, op_type: str, output: str) -> str:
    """``NNNN:OpType_outname``. number: from 1."""
    return f"{number:04d}:{stem(op_type, output)}"


class DumpWriter:
    """Writes one dump to `folder`, whole or not at all; use it in a ``with`` statement.

    entries: the layers in graph order, inputs first. limit: bytes that the dump may take. The files are
    written to a hidden folder beside, which takes the place of an earlier dump when the statement ends
    without an error. Raises OutputError where the folder cannot be written, or holds what is not a dump.
    """

    def __init__(
        self, folder: Path, entries: Sequence[Entry], *, limit: int, listener: Listener = SILENT
    ) -> None:
        self.folder = Path(os.path.realpath(folder)) if folder.is_symlink() else Path(folder)
        self.limit = limit
        self.calls = 0
        self.used = 2 * (len(entries) + 2) * _BLOCK
        self._entries = [
            replace(entry, folder=folder_name(number, entry.op_type, entry.output))
            for number, entry in enumerate(entries, 1)
        ]
        self._listener = listener
        self._allowed: int | None = None
        self._writing = self.folder.with_name(f".{self.folder.name}-writing")
        self._earlier = self.folder.with_name(f".{self.folder.name}-earlier")

    def __enter__(self) -> DumpWriter:
        with _output_errors(self.folder):
            if self._earlier.exists() and not self.folder.exists():
                self._earlier.rename(self.folder)  # a run was stopped between the two renames
            self._check_earlier()
            remove(self._writing)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self.calls:
                self._commit()
            elif error is None:
                self._listener.warn(f"no forward call was made, so nothing was dumped to {self.folder}")
        finally:
            shutil.rmtree(self._writing, ignore_errors=True)

    def announce(self, calls: int, bytes_per_call: int) -> int:
        """Says what the dump will take, before anything is written, and how many of the calls it will keep.

        calls: forward calls to come. bytes_per_call: of the arrays of both halves. Raises OutputError where
        not even one call fits within the limit, or on the disk.
        """
        each = bytes_per_call + 2 * len(self._entries) * (_BLOCK + _HEADER)
        free = self._free()
        room = min(self.limit, int(free * (1 - _SPARE)))
        fits = max(0, min(calls, (room - self.used) // each)) if each else calls
        bound = f"limit {_size(self.limit)} (--dump-limit), free {_size(free)}"
        need = self.used + calls * each
        if calls and not fits:
            raise OutputError(
                f"{self.folder}: dumping one forward call needs about {_size(self.used + each)}, {bound}; "
                f"raise --dump-limit, give smaller batches, or name another disk with --save-dir"
            )
        self._listener.announce(
            f"{self.folder}: dumping {len(self._entries)} layers x {calls} forward calls needs about "
            f"{_size(need)}, {bound}"
        )
        if fits < calls:
            self._listener.warn(
                f"{self.folder}: dumping {calls} forward calls needs about {_size(need)}, {bound}; only "
                f"the first {fits} are dumped; raise --dump-limit, lower -i, or name another --save-dir"
            )
        self._allowed = fits
        return fits

    def put(self, reference: Sequence[np.ndarray], result: Sequence[np.ndarray]) -> None:
        """Writes one forward call: an array per entry of either half. Calls beyond those kept are left out.

        Raises OutputError where the disk refuses (it is full, for one), DataError for values without numbers.
        """
        if self._allowed is None:
            raise ValueError("announce what is to be dumped first")
        if not len(reference) == len(result) == len(self._entries):
            raise ValueError(f"{len(self._entries)} arrays per half are wanted")
        if self.calls >= self._allowed:
            return
        halves = {half: self._storable(arrays) for half, arrays in ((FLOAT, reference), (QUANT, result))}
        size = sum(_on_disk(array) for arrays in halves.values() for array in arrays)
        if self.used + size > self.limit:  # the samples are larger than those of the estimate
            self._stop(size)
            return
        with _output_errors(self.folder):
            if not self.calls:
                self._begin(halves[FLOAT])
            for half, arrays in halves.items():
                for entry, array in zip(self._entries, arrays, strict=True):
                    _save(self._writing / half / str(entry.folder) / f"batch_{self.calls}.npy", array)
        self.used += size
        self.calls += 1

    def _storable(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [
            _storable(np.asarray(array), entry) for array, entry in zip(arrays, self._entries, strict=True)
        ]

    def _begin(self, reference: Sequence[np.ndarray]) -> None:
        self._entries = [
            replace(entry, shape=array.shape, dtype=str(array.dtype))
            for entry, array in zip(self._entries, reference, strict=True)
        ]
        for half in (FLOAT, QUANT):
            for entry in self._entries:
                (self._writing / half / str(entry.folder)).mkdir(parents=True)

    def _stop(self, size: int) -> None:
        text = (
            f"{self.folder}: forward call {self.calls + 1} would take the dump to {_size(self.used + size)}, "
            f"over the limit of {_size(self.limit)} (--dump-limit)"
        )
        if not self.calls:
            raise OutputError(f"{text}; raise it, or give smaller batches")
        self._listener.warn(f"{text}; only the first {self.calls} are dumped")
        self._allowed = self.calls

    def _free(self) -> int:
        place = self.folder.absolute().parent
        while not place.exists():
            place = place.parent
        with _output_errors(self.folder):
            return shutil.disk_usage(place).free

    def _check_earlier(self) -> None:
        if not self.folder.exists():
            return
        foreign = sorted(set(os.listdir(self.folder)) - {FLOAT, QUANT, INDEX})
        if foreign:
            raise OutputError(
                f"{self.folder} holds {foreign[0]!r}, which is no part of a dump, and would be replaced; "
                f"move it, or name another folder with --save-dir"
            )

    def _commit(self) -> None:
        with _output_errors(self.folder):
            listed = [replace(entry, batches=self.calls).to_json() for entry in self._entries]
            text = json.dumps(listed, indent=1, ensure_ascii=False)
            # JSON reads what "backslashreplace" makes of half a surrogate pair as that half
            (self._writing / INDEX).write_text(text + "\n", "utf-8", "backslashreplace")
            with undisturbed():
                self._replace()

    def _replace(self) -> None:
        remove(self._earlier)
        if self.folder.exists():
            self.folder.rename(self._earlier)
        try:
            self._writing.rename(self.folder)
        except OSError:
            if self._earlier.exists():
                self._earlier.rename(self.folder)
            raise
        remove(self._earlier)


def _storable(array: np.ndarray, entry: Entry) -> np.ndarray:
    """`array` in a type that .npy files know: bfloat16 and the 4 and 8 bit types become float32."""
    if array.dtype.kind == "V":
        try:
            return array.astype(np.float32)
        except (TypeError, ValueError):
            pass
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"output {entry.output!r} holds {array.dtype} and not numbers; leave it out of the dump"
        )
    return array


def _on_disk(array: np.ndarray) -> int:
    """Bytes that the file of an array takes, in whole blocks."""
    return -(-(array.nbytes + _HEADER) // _BLOCK) * _BLOCK


def _save(path: Path, array: np.ndarray) -> None:
    np.save(path, array, allow_pickle=False)
    if path.stat().st_size <= array.nbytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


@contextmanager
def _output_errors(folder: Path) -> Iterator[None]:
    """Turns the operating system's refusals into OutputErrors that name the folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise OutputError(
            f"cannot write the dump {folder}: {reason}; an earlier dump is as it was; "
            f"make room, or name another folder with --save-dir"
        ) from error
