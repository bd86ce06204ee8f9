"""Statistics as npz: a header that lists values and kinds, then the arrays of every observer in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir

from knight import model as models
from knight.errors import ConfigError, DataError, OutputError, printable, shown
from knight.files import write_file
from knight.observer import OBSERVERS
from knight.scales import archives
from knight.scales.checks import check_name
from knight.scales.documents import Format, ModelDocument, content
from knight.scales.structure import check_structure, structure
from knight.statistics import Statistics

LARGEST = 1 << 30
"""Bytes that a file of statistics may have: 7000 histograms."""

_HEADER = "header.json"


class StatisticsDocument(ModelDocument, frozen=True):
    """The header. values: name -> its kinds of statistics (see `OBSERVERS`)."""

    values: dict[str, tuple[str, ...]]


STATISTICS = Format("statistics", 1, StatisticsDocument)


def save_statistics(statistics: Statistics, path: str | Path, model: ir.Model) -> Path:
    """Writes the statistics of the prepared `model`; the same ones give the same bytes, in whatever order.

    Raises ConfigError for those of another model, OutputError where the file cannot be written.
    """
    path = Path(path)
    observers = {name: dict(sorted(kinds.items())) for name, kinds in sorted(statistics.observers.items())}
    listed = {name: tuple(kinds) for name, kinds in observers.items()}
    before = STATISTICS.before(path)
    _check_values(listed, model, before)
    members = {_HEADER: STATISTICS.encode(path, {"model": structure(model), "values": listed})}
    for number, kinds in enumerate(observers.values()):
        for kind, observer in kinds.items():
            arrays = observer.state().items()
            members |= {_member(number, kind, key): archives.dump(array) for key, array in arrays}
    packed = archives.pack(members)
    if len(packed) > LARGEST:
        raise OutputError(f"{before}would have more than {LARGEST >> 20} MB, which none reads")
    return write_file(path, packed)


def load_statistics(path: str | Path, model: ir.Model) -> Statistics:
    """The statistics in `path`, which must be those of the prepared `model`.

    Raises ConfigError for a file that cannot be one, DataError for numbers that no data have: one line that
    names file, place and remedy.
    """
    path = Path(path)
    before = STATISTICS.before(path)
    members = archives.unpack(content(path, STATISTICS.what, LARGEST))
    try:
        name, data = next(members)
        if name != _HEADER:
            raise ValueError(f"begins with {shown(name)}; it has to be {_HEADER}")
        header = STATISTICS.decode(path, data)
        _check_values(header.values, model, before)
        check_structure(model, header.model, before)
        observers = {
            name: {kind: _observer(number, name, kind, members) for kind in kinds}
            for number, (name, kinds) in enumerate(header.values.items())
        }
        for name, _ in members:
            raise ValueError(f"has {shown(name)}, which its header does not list")
    except DataError as error:
        raise DataError(f"{before}{error}; observe again") from None
    except ValueError as error:
        raise ConfigError(f"{before}{error}; observe again") from None
    return Statistics(observers)


def _check_values(listed: Mapping[str, tuple[str, ...]], model: ir.Model, before: str) -> None:
    """Raises ConfigError for values that the model lacks, and for kinds that there are not or are twice."""
    known = {value.name or "" for value in models.values(model.graph)}
    for name, kinds in listed.items():
        check_name(name, known, before, "values", "value {} of the statistics is not in the model")
        for kind in kinds:
            check_name(kind, OBSERVERS, before, f"values.{name}", "there is no kind {}")
        if len(set(kinds)) < len(kinds):
            raise ConfigError(f"{before}values.{printable(name)}: names a kind twice; observe again")


def _member(number: int, kind: str, key: str) -> str:
    """Where the array `key` of a value's observer stands: values are numbered, for they have any names."""
    return f"{number}/{kind}/{key}.npy"


def _observer(number: int, name: str, kind: str, members: Iterator[tuple[str, memoryview]]) -> Any:
    """An observer from the `members` that come next."""
    observer = OBSERVERS[kind]()
    state = {}
    for key, like in observer.state().items():
        expected = _member(number, kind, key)
        member, data = next(members, ("its end", memoryview(b"")))
        if member != expected:
            raise ValueError(f"has {shown(member)} where {expected}, of value {shown(name)}, has to be")
        try:
            state[key] = archives.parse(data, like)
        except ValueError as error:
            raise ValueError(f"value {shown(name)}: {kind}: {key} {error}") from None
    try:
        observer.restore(state)
    except DataError as error:
        raise DataError(f"value {shown(name)}: {kind}: {error}") from None
    return observer
