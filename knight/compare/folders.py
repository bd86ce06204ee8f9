"""Compares two dump folders: what two models gave for every layer, call by call, from .npy files.

Folders are those of `knight.compare.dump`, or any that hold ``NNNN:OpType_outname/batch_k.npy`` (with ``_``
where a file system has no colon). One tensor of either side is looked at a time.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np

from knight.compare.comparison import Comparison, HistogramPair, Layer, Unpaired
from knight.compare.dump import FLOAT, INDEX, QUANT, Entry, read_index, safe_name, stem
from knight.compare.metrics import figures
from knight.compare.tally import Tally
from knight.errors import DataError, did_you_mean
from knight.evaluation import sqnr_db
from knight.files import open_file
from knight.listener import SILENT, Listener

OWN_MISSING = "dumps hold no models"
"""Why the layers of a comparison of dumps have no own error."""

_FOLDER = re.compile(r"(\d{4,})[:_\uf03a\uf022](.*)", re.DOTALL)  # the last two: a colon on Windows shares
_BATCH = re.compile(r"batch_(\d+)\.npy")
_SAMPLED = 1 << 16  # elements of a layer, over all its files, that its histogram is made of
_BINS = 64
_AGAIN = "take a whole copy of the dump, or dump again"


@dataclass(frozen=True)
class Place:
    """One layer's folder in one half. number: its NNNN. batches: its files in order, never none."""

    number: int
    entry: Entry
    folder: Path
    batches: tuple[Path, ...]

    @property
    def stem(self) -> str:
        """The folder's name without the number."""
        return _FOLDER.sub(r"\2", self.folder.name, count=1)

    @property
    def alias(self) -> str:
        """The value's name in the quantized model."""
        return self.entry.quantized_output or self.entry.output


@dataclass
class _Sums:
    """What is gathered of one layer while its files are read."""

    shape: tuple[int, ...]
    tally: Tally = field(default_factory=Tally)
    low: float | None = None
    high: float | None = None
    whole: bool = True
    samples: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def update(self, reference: np.ndarray, result: np.ndarray, sample: int) -> None:
        """Adds one call's tensors. sample: elements to keep for the histogram."""
        self.tally.update(reference, result)
        self._extremes(reference)
        self.whole = self.whole and reference.dtype.kind in "biu" and result.dtype.kind in "biu"
        left, right = reference.reshape(-1), result.reshape(-1)
        if left.size > sample:  # at random, so that no stride meets one channel alone
            chosen = np.sort(np.random.default_rng(0).integers(0, left.size, sample))
            left, right = left[chosen], right[chosen]
        self.samples.append((left.astype(np.float64), right.astype(np.float64)))

    def _extremes(self, array: np.ndarray) -> None:
        low, high = _bounds(array)
        if not (np.isfinite(low) and np.isfinite(high)):
            low, high = _bounds(array[np.isfinite(array)])
        if low <= high:
            self.low = low if self.low is None else min(low, self.low)
            self.high = high if self.high is None else max(high, self.high)

    def histogram(self) -> HistogramPair | None:
        """Of the sampled finite elements; None where there are none, or they span more than a float can."""
        left, right = (
            values[np.isfinite(values)] for values in map(np.concatenate, zip(*self.samples, strict=True))
        )
        both = np.concatenate([left, right])
        if not both.size:
            return None
        edges = _edges(float(both.min()), float(both.max()), self.whole)
        if edges is None:
            return None
        return HistogramPair(
            edges, *(np.histogram(values, edges)[0].astype(np.int64) for values in (left, right))
        )


def _bounds(array: np.ndarray) -> tuple[float, float]:
    """Minimum and maximum, infinities the wrong way round where there is no element."""
    return (float(array.min()), float(array.max())) if array.size else (np.inf, -np.inf)


def _edges(low: float, high: float, whole: bool) -> np.ndarray | None:
    """Edges of at most 64 bins. whole: of whole numbers, one bin for each where that is possible."""
    if whole and high - low < _BINS and max(-low, high) < 1 << 52:  # above, floats know no halves
        return np.arange(low, high + 2) - 0.5
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.unique(np.linspace(low, high, _BINS + 1))
    if not np.isfinite(edges).all():
        return None
    half = max(abs(low), 1.0) / 2
    return edges if edges.size > 1 else np.asarray([low - half, low + half])


def halves(dump: Path) -> tuple[Path, Path]:
    """The float and the quant half of a dump folder, or of the folder that holds ``dump``.

    Raises DataError where one is missing.
    """
    for folder in (dump, dump / "dump"):
        found = [half for half in (FLOAT, QUANT) if (folder / half).is_dir()]
        if len(found) == 2:
            return folder / FLOAT, folder / QUANT
        if found:
            missing = QUANT if found == [FLOAT] else FLOAT
            raise DataError(f"{folder} holds {found[0]}/ but no {missing}/; {_AGAIN}")
    reason = "holds neither float/ nor quant/" if dump.is_dir() else "is no folder"
    raise DataError(f"{dump} {reason}; name a folder that -du wrote, or two halves with -sd")


def compare_folders(reference: Path, result: Path, *, listener: Listener = SILENT) -> Comparison:
    """Compares the folder of the float model's values with that of the quantized model's.

    Pairs layers by the names of their values in dump.json, else by their folders. Raises DataError, which
    names the layer and the file, where files are missing, cut short or do not fit each other.
    """
    start = time.perf_counter()
    left, right = read_places(reference), read_places(result)
    pairs, alone = pair(left, right)
    if not pairs:
        raise DataError(f"no layer of {reference} has a twin in {result}; dump the same model twice")
    listener.work(f"comparing {len(pairs)} layers")
    order = {id(place): index for index, place in enumerate(left)}
    layers, outputs = [], []
    for one, other in pairs:
        sums = _gather(one, other)
        layers.append(_layer(order[id(one)], one, other, sums))
        if one.entry.model_output:
            outputs.append(sums.tally)
    unpaired = [_unpaired(place, "float", result) for place in alone[0]]
    unpaired += [_unpaired(place, "quantized", reference) for place in alone[1]]
    return Comparison(
        str(reference),
        str(result),
        layers,
        unpaired,
        calls=max(len(one.batches) for one, _ in pairs),
        seconds=time.perf_counter() - start,
        output_sqnr=_over_outputs(outputs),
    )


def elements(reference: Path, result: Path, output: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The arrays of one layer, call by call, in the shape and type of the files.

    output: the value's name in either model, or the name of its folder. Raises DataError where there is no
    such layer, and as `compare_folders`.
    """
    pairs, _ = pair(read_places(reference), read_places(result))
    for called in (
        lambda one, _: one.entry.output,
        lambda _, other: other.alias,
        lambda one, _: one.folder.name,
        lambda _, other: other.folder.name,
    ):
        for one, other in pairs:
            if called(one, other) == output:
                return _calls(one, other)
    near = did_you_mean(output, [one.entry.output for one, _ in pairs], list_all=False)
    raise DataError(f"{reference} and {result} have no common layer {output!r}; {near}")


def read_places(half: Path) -> list[Place]:
    """The layers of one half in order, the inputs first. Raises DataError where one is not whole."""
    if not half.is_dir():
        raise DataError(f"{half} is no folder; name one of a dump's halves")
    found = {
        path.name: match
        for path in sorted(half.iterdir())
        if (match := _FOLDER.fullmatch(path.name)) and path.is_dir()
    }
    if not found:
        hint = "; its halves are compared by -qd" if (half / FLOAT).is_dir() else ""
        raise DataError(f"{half} holds no folder like 0001:Input_x; name one of a dump's halves{hint}")
    index = next((path for path in (half / INDEX, half.parent / INDEX) if os.path.lexists(path)), None)
    listed = _listed(read_index(index), found, half) if index else {}
    places = []
    for name, match in found.items():
        op_type, _, output = match[2].partition("_")
        entry = listed.get(name) or Entry(op_type, "", output or match[2])
        places.append(Place(int(match[1]), entry, half / name, _batches(half / name, entry)))
    return sorted(places, key=lambda place: (place.entry.op_type != "Input", place.number, place.folder.name))


def _listed(entries: Sequence[Entry], found: dict[str, re.Match[str]], half: Path) -> dict[str, Entry]:
    """The entries of dump.json by the names of the folders that there are.

    A copy may have changed the names of folders: then number and type find them. Lists of other tools name no
    folders; there the names of the values do, and what is not in the half is passed over.
    """
    by_number: dict[int, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for name, match in found.items():
        by_number.setdefault(int(match[1]), []).append(name)
        by_stem.setdefault(match[2], []).append(name)
    listed: dict[str, Entry] = {}
    for position, entry in enumerate(entries, 1):
        if entry.folder:
            place = _FOLDER.fullmatch(entry.folder)
            named, number = [entry.folder], int(place[1]) if place else position
        else:
            named, number = by_stem.get(stem(entry.op_type, entry.output), []), position
        alike = stem(entry.op_type, "")
        named = named + [name for name in by_number.get(number, []) if found[name][2].startswith(alike)]
        fresh = [name for name in named if name in found and name not in listed]
        if fresh:
            listed[fresh[0]] = entry
        elif entry.folder:
            raise DataError(f"layer {entry.output!r}: {half / entry.folder} is missing; {_AGAIN}")
    return listed


def _batches(folder: Path, entry: Entry) -> tuple[Path, ...]:
    numbered = {int(match[1]): path for path in folder.iterdir() if (match := _BATCH.fullmatch(path.name))}
    wanted = max(numbered, default=0) + 1 if entry.batches is None else entry.batches
    for number in range(max(wanted, 1)):
        if number not in numbered:
            raise DataError(f"layer {entry.output!r}: {folder / f'batch_{number}.npy'} is missing; {_AGAIN}")
    if len(numbered) > wanted:
        raise DataError(
            f"layer {entry.output!r}: {folder} holds {len(numbered)} files, "
            f"not {wanted} as {INDEX} says; {_AGAIN}"
        )
    return tuple(numbered[number] for number in range(wanted))


def pair(
    left: Sequence[Place], right: Sequence[Place]
) -> tuple[list[tuple[Place, Place]], tuple[list[Place], list[Place]]]:
    """The layers that both halves have, in the order of `left`, and those that only one has.

    By name, exact before changed for file systems; among several of one name type and number decide.
    """
    names: Sequence[Callable[[Place], str]] = (
        lambda place: place.entry.output,
        lambda place: place.alias,
        lambda place: safe_name(place.entry.output),
        lambda place: place.stem,
    )
    ties: Sequence[Callable[[Place], object]] = (
        lambda place: (place.entry.op_type, place.number),
        lambda place: place.entry.op_type,
        lambda place: None,
    )
    twins: dict[Path, Place] = {}
    for name, tie in product(names, ties):
        open_: dict[object, list[Place]] = {}
        taken = {place.folder for place in twins.values()}
        for place in right:
            if place.folder not in taken:
                open_.setdefault((name(place), tie(place)), []).append(place)
        for place in left:
            if place.folder not in twins and (group := open_.get((name(place), tie(place)))):
                twins[place.folder] = group.pop(0)
    taken = {place.folder for place in twins.values()}
    alone = [place for place in left if place.folder not in twins]
    pairs = [(place, twins[place.folder]) for place in left if place.folder in twins]
    return pairs, (alone, [place for place in right if place.folder not in taken])


def _unpaired(place: Place, side: str, other: Path) -> Unpaired:
    output = place.entry.output if side == "float" else place.alias
    return Unpaired(side, place.entry.op_type, output, f"{other} has no layer of this name")


def _gather(one: Place, other: Place) -> _Sums:
    sums: _Sums | None = None
    for reference, result in _calls(one, other):
        sums = sums or _Sums(reference.shape)
        sums.update(reference, result, max(1, _SAMPLED // len(one.batches)))
    assert sums is not None  # a place has at least one file
    return sums


def _calls(one: Place, other: Place) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The arrays of a pair, file by file."""
    if len(one.batches) != len(other.batches):
        raise DataError(
            f"layer {one.entry.output!r}: {len(one.batches)} files in {one.folder}, "
            f"but {len(other.batches)} in {other.folder}; dump both with the same data, or {_AGAIN}"
        )
    for left, right in zip(one.batches, other.batches, strict=True):
        reference, result = _load(left, one.entry.output), _load(right, one.entry.output)
        if reference.shape != result.shape:
            raise DataError(
                f"layer {one.entry.output!r}: {left} has shape {list(reference.shape)}, but {right} "
                f"{list(result.shape)}; dump both with the same data and batch size"
            )
        yield reference, result


def _load(path: Path, output: str) -> np.ndarray:
    """An .npy file mapped into memory; nothing in it is ever run."""
    try:
        open_file(path).close()  # a pipe would be waited for
        with np.errstate(over="ignore"):  # of a shape that no memory holds, which is refused
            array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy lets out whatever Python's parser says of a damaged header
        reason = " ".join(str(error).split())
        raise DataError(
            f"layer {output!r}: {path} is cut short or no array of numbers ({reason}); {_AGAIN}"
        ) from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"layer {output!r}: {path} holds {array.dtype} and not numbers; dump it as float32")
    return np.asarray(array)


def _layer(index: int, one: Place, other: Place, sums: _Sums) -> Layer:
    return Layer(
        index,
        one.entry.op_type,
        one.entry.op_name,
        one.entry.output,
        other.alias,
        sums.shape,
        figures(sums.tally),
        own_missing=OWN_MISSING,
        broken=sums.tally.broken,
        minimum=sums.low,
        maximum=sums.high,
        histogram=sums.histogram(),
    )


def _over_outputs(tallies: Sequence[Tally]) -> float | None:
    """SQNR over the model's outputs, each of the same weight, where the dump says which they are."""
    tallies = [tally for tally in tallies if tally.count]
    if not tallies:
        return None
    ratios = [10 ** (-sqnr_db(tally.signal, tally.noise) / 10) for tally in tallies]
    return sqnr_db(1.0, sum(ratios) / len(ratios))
