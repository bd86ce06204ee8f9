"""Labels of samples that are files: a labels.txt with a name and a class, or a name and a text, per line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from knight.errors import DataError, did_you_mean
from knight.tasks._labels import lines
from knight.tasks._samples import Sample


def read_labels(file: Path, samples: Sequence[Sample], *, texts: bool) -> dict[str, tuple[str, str]]:
    """Name of each sample -> (its label, "FILE, line N"). Lines for other files are passed over.

    texts: a line is a name, a TAB and a text, which may be empty; else a name, a blank or a comma, and a
    class. A name may leave out its suffix. Raises DataError naming the line.
    """
    known = {key: sample.name for sample in samples for key in (Path(sample.name).stem, sample.name)}
    found: dict[str, tuple[str, str]] = {}
    for where, line in lines(file):
        given, label = _text(line, where, known) if texts else _class(line, where)
        name = known.get(PurePosixPath(given.replace("\\", "/")).name)
        if name is None:
            continue
        before, there = found.setdefault(name, (label, where))
        if before != label:
            raise DataError(f"{where}: {name} is {label!r} here and {before!r} in {there}")
    missing = [sample.name for sample in samples if sample.name not in found]
    if len(missing) == len(samples):
        raise DataError(f"{file}: the labels are for other files than {missing[0]} and those beside it")
    if missing:
        raise DataError(f"{file}: no label for {missing[0]} ({len(missing)} of {len(samples)} have none)")
    return found


def class_of(label: str, where: str, names: Sequence[str]) -> int:
    """The number that a label means, or its place in `names`. Raises DataError for one that is neither."""
    if label in names:
        return names.index(label)
    if not re.fullmatch(r"\d+", label):
        hint = did_you_mean(label, names) if names else "the key names gives classes their names"
        raise DataError(f"{where}: {label!r} is no class number: {hint}")
    return int(label)


def _text(line: str, where: str, known: dict[str, str]) -> tuple[str, str]:
    name, tab, text = line.partition("\t")
    if not tab and name.strip() not in known:
        raise DataError(f"{where}: no TAB in {line[:60]!r}; a line is a file's name, a TAB and its text")
    return name.strip(), " ".join(text.split())


def _class(line: str, where: str) -> tuple[str, str]:
    parts = re.split(r"[\s,;]+", line.strip())
    if len(parts) < 2:
        raise DataError(f"{where}: {line.strip()!r} has one column; a line is a file's name and its class")
    return parts[0], parts[1]
