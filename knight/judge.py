"""How near a quantized model's outputs are to the float model's, sample by sample, and whether another's are
nearer by more than chance explains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from knight import evaluation
from knight.executor import sample_count
from knight.kept_samples import Samples
from knight.outputs import real_session
from knight.runner import Session

_TOLERANCE = 1e-3
"""Largest change of a float model's outputs, as a fraction of their range, that float arithmetic explains."""


@dataclass(frozen=True)
class Closeness:
    """noise: of each sample, its share in the outputs' noise-to-signal energy ratio over all samples, which
    is their sum. Empty where the model has no float output, not finite where an output is not.
    """

    noise: NDArray[np.float64]

    @property
    def sqnr_db(self) -> float | None:
        """As `knight.evaluation` has it; None where nothing can be said."""
        total = float(self.noise.sum())
        return evaluation.sqnr_db(1.0, total) if self.noise.size and np.isfinite(total) else None

    def improves_on(self, other: Closeness) -> bool:
        """Whether there is less noise, by more than the standard error of the difference.

        Both of the same samples. Of a single sample the difference itself decides.
        """
        less = other.noise - self.noise
        mean = less.mean()
        error = less.std(ddof=1) / np.sqrt(less.size) if less.size > 1 else 0.0
        return bool(mean > error)


class Judge:
    """Compares with the float model `model`, on samples that no optimizer has seen."""

    def __init__(self, model: ir.Model, check: Samples, *, threads: int = 1) -> None:
        self._float = Session(model, threads=threads)
        self._check = check
        self._threads = threads
        self.samples = sum(sample_count(feeds.values()) for feeds in check)

    def closeness(self, model: ir.Model) -> Closeness:
        """Of a quantized model's outputs, by exact arithmetic."""
        session = real_session(model, threads=self._threads)
        signals: NDArray[np.float64] = np.zeros(len(session.names))
        noises = []
        for feeds in self._check:
            count = sample_count(feeds.values())
            pairs = list(zip(self._float.run(feeds), session.run(feeds), strict=True))
            signals += [_energy(wanted).sum() if _is_float(wanted) else 0.0 for wanted, _ in pairs]
            noises.append(np.stack([_noise(wanted, got, count) for wanted, got in pairs]))
        used = signals > 0
        ratios = np.concatenate(noises, axis=1)[used] / signals[used, np.newaxis]
        return Closeness(ratios.mean(axis=0) if used.any() else np.zeros(0))

    def still_computes(self, model: ir.Model) -> bool:
        """Whether another float model has the same outputs, on one sample."""
        feeds = self._check[0]
        pairs = zip(self._float.run(feeds), Session(model, threads=self._threads).run(feeds), strict=True)
        return all(_alike(wanted, got) for wanted, got in pairs)


def _is_float(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


def _energy(array: np.ndarray) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite output has infinite energy
        energy: NDArray[np.float64] = np.square(array, dtype=np.float64)
    return energy


def _noise(wanted: np.ndarray, got: np.ndarray, count: int) -> NDArray[np.float64]:
    """Energy of the difference in each of `count` samples; in equal parts where they cannot be told apart.

    An output of another shape is all noise.
    """
    if not _is_float(wanted):
        return np.zeros(count)
    same = isinstance(got, np.ndarray) and wanted.shape == got.shape
    with np.errstate(invalid="ignore"):
        energy = _energy(wanted.astype(np.float64) - got if same else wanted)
    if wanted.ndim and wanted.shape[0] == count:
        by_sample: NDArray[np.float64] = energy.reshape(count, -1).sum(axis=1)
        return by_sample
    return np.full(count, energy.sum() / count)


def _alike(wanted: np.ndarray, got: np.ndarray) -> bool:
    if not _is_float(wanted):
        return True
    bound = _TOLERANCE * float(np.abs(wanted).max(initial=0.0))
    return wanted.shape == got.shape and bool(np.all(np.abs(wanted - got) <= bound))
