"""How close the quantized model's outputs are to the float model's, sample by sample.

``SQNR = 10 log10(sum float^2 / sum (float - quantized)^2)`` and ``cosine = <f, q> / (|f| |q|)``, both over
all samples of an output together; over several outputs, the mean of their noise-to-signal ratios and of
their cosines.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from knight.errors import shown

_SAMPLED = 1024  # elements of an input that enter its fingerprint

SETTLED_CALLS = 8
SETTLED_DB = 0.05
"""The running figures have settled when the last `SETTLED_CALLS` moved the SQNR by less than `SETTLED_DB`."""


def fingerprint(feeds: Mapping[str, np.ndarray]) -> int:
    """A cheap number that tells most samples apart; equal samples have equal fingerprints."""
    code = 0
    for array in feeds.values():
        if not isinstance(array, np.ndarray) or array.dtype == object:  # a sequence, a map, strings
            code = zlib.crc32(repr(array).encode(), code)
            continue
        flat = array.reshape(-1)
        code = zlib.crc32(repr((array.shape, array.dtype.str)).encode(), code)
        code = zlib.crc32(np.ascontiguousarray(flat[:: max(1, flat.size // _SAMPLED)]).tobytes(), code)
    return code


@dataclass(frozen=True)
class _Place:
    """Where one array lies in the spool."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]


class OutputSpool:
    """The float model's outputs, kept in a file so that memory does not grow with the number of samples.

    Outputs are found again by the sample that made them, so the fixed-point pass may see the samples in any
    order, or only some of them. Of samples with equal fingerprints, the one of the same turn counts.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._turns: list[list[_Place]] = []
        self._turns_of: dict[int, list[int]] = {}

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()

    def put(self, sample: int, outputs: Sequence[np.ndarray]) -> None:
        """Stores the outputs of one forward call on the sample with fingerprint `sample`."""
        self._turns_of.setdefault(sample, []).append(len(self._turns))
        self._turns.append([self._store(array) for array in outputs])

    def _store(self, array: np.ndarray) -> _Place:
        offset = self._file.seek(0, 2)
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            return _Place(offset, np.dtype(np.bool_), (0,))  # no float tensor: not compared
        self._file.write(np.ascontiguousarray(array).data)
        return _Place(offset, array.dtype, array.shape)

    def get(self, sample: int, turn: int) -> list[np.ndarray] | None:
        """The outputs for a sample that is fed in this turn (from 0); None for a sample never stored."""
        turns = self._turns_of.get(sample)
        if turns is None:
            return None
        return [self._load(place) for place in self._turns[turn if turn in turns else turns[0]]]

    def _load(self, place: _Place) -> np.ndarray:
        self._file.seek(place.offset)
        count = int(np.prod(place.shape))
        return np.frombuffer(self._file.read(count * place.dtype.itemsize), place.dtype).reshape(place.shape)


class Agreement:
    """Running sums of signal, noise and product energy, per float output."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._signal = dict.fromkeys(names, 0.0)
        self._noise = dict.fromkeys(names, 0.0)
        self._quantized = dict.fromkeys(names, 0.0)
        self._product = dict.fromkeys(names, 0.0)
        self._seen: set[str] = set()
        self._recent: list[float] = []

    def update(self, reference: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        """Adds one forward call; arrays in the order of `names`. Outputs that are no floats are passed
        over.
        """
        for name, wanted, got in zip(self.names, reference, outputs, strict=True):
            if not isinstance(wanted, np.ndarray) or not isinstance(got, np.ndarray):
                continue  # a sequence or a map
            if wanted.dtype.kind != "f" or wanted.shape != got.shape:
                continue
            f, q = wanted.astype(np.float64).ravel(), got.astype(np.float64).ravel()
            with np.errstate(over="ignore", invalid="ignore"):  # an infinite output makes its sums infinite
                noise = f - q
                self._signal[name] += float(f @ f)
                self._quantized[name] += float(q @ q)
                self._noise[name] += float(noise @ noise)
                self._product[name] += float(f @ q)
            self._seen.add(name)
        self._recent = [*self._recent[-(SETTLED_CALLS - 1) :], self.sqnr_db() or 0.0]

    @property
    def settled(self) -> bool:
        """True when the last `SETTLED_CALLS` calls moved the running SQNR by less than `SETTLED_DB`."""
        recent = self._recent
        return len(recent) == SETTLED_CALLS and max(recent) - min(recent) < SETTLED_DB

    def output_sqnr_db(self, name: str) -> float | None:
        """SQNR of one output in dB; None when it is no float or was never seen; infinite noise-free is 200
        dB.
        """
        return None if name not in self._seen else _decibels(self._ratio(name))

    def sqnr_db(self) -> float | None:
        """SQNR over all float outputs."""
        if not self._seen:
            return None
        return _decibels(sum(self._ratio(name) for name in self._seen_in_order()) / len(self._seen))

    def cosine(self) -> float | None:
        """Mean cosine similarity of the float outputs; two zero vectors are alike, and what is not finite is
        like nothing.
        """
        if not self._seen:
            return None
        return sum(self._cosine(name) for name in self._seen_in_order()) / len(self._seen)

    def doubts(self) -> list[str]:
        """One line for each output that is not finite throughout: its figures tell nothing."""
        found = []
        for name in self._seen_in_order():
            kinds = (("float", self._signal), ("quantized", self._quantized))
            odd = [kind for kind, sums in kinds if not math.isfinite(sums[name])]
            if odd:
                found.append(
                    f"output {shown(name)} of the {odd[0]} model is not finite in places (Inf or NaN), so "
                    f"its SQNR and cosine tell nothing; check the samples and the model"
                )
        return found

    def _seen_in_order(self) -> list[str]:
        return [name for name in self.names if name in self._seen]

    def _ratio(self, name: str) -> float:
        if self._noise[name] == 0.0:
            return 0.0
        return self._noise[name] / self._signal[name] if self._signal[name] else math.inf

    def _cosine(self, name: str) -> float:
        norm = math.sqrt(self._signal[name] * self._quantized[name])
        if norm == 0.0:
            return float(self._signal[name] == self._quantized[name])
        alike = self._product[name] / norm
        return alike if math.isfinite(alike) else 0.0


def sqnr_db(signal: float, noise: float) -> float:
    """SQNR in dB of the energies of a signal and its noise, kept within -200 and 200."""
    if noise == 0.0:
        return 200.0
    return _decibels(noise / signal if signal else math.inf)


def _decibels(noise_to_signal: float) -> float:
    """dB of a noise-to-signal energy ratio, kept within -200 and 200 so that it is a plain JSON number."""
    if noise_to_signal <= 1e-20:
        return 200.0
    return max(-10.0 * math.log10(noise_to_signal), -200.0) if math.isfinite(noise_to_signal) else -200.0


def quantization_loss(metric_float: object, metric_quantized: object) -> float | None:
    """``|quantized - float| / |float| * 100``, None where a metric is no finite number or the float one is
    zero.
    """
    wanted, got = as_number(metric_float), as_number(metric_quantized)
    if wanted is None or got is None or wanted == 0.0:
        return None
    return abs(got - wanted) / abs(wanted) * 100.0


def as_number(metric: object) -> float | None:
    """A user function's result as a finite float; None for anything else."""
    if isinstance(metric, bool) or metric is None:
        return None
    try:
        number = float(np.asarray(metric).item()) if np.asarray(metric).size == 1 else math.nan
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
