"""What the CPU at hand makes of a quantized model, where its own kernels are not exact.

Figures are taken with exact arithmetic (see `runner`), so that they are those of the file. Where this CPU
would compute something else, a few samples of the run are run again with its own kernels: that is what
a user meets who deploys the file on such a CPU.
"""

from __future__ import annotations

import copy
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from knight.errors import KnightError
from knight.evaluation import Agreement
from knight.exact import SATURATION, WEIGHTS
from knight.executor import sample_count
from knight.listener import SILENT, Listener

SAMPLES = 8
"""Samples that are run again, at most; calls are taken whole."""
_BYTES = 1 << 26  # of kept arrays; beyond, fewer calls are kept, but one in any case
_ROUNDS, _SECONDS = 20, 0.1
"""Rounds of timing, at most, and the time after which no other begins."""
WORTH_DB = 0.5
"""Differences of less than this are not worth a word."""
WORTH_DRIFT_DB = 40.0
"""Nor are outputs that are closer than this to the exact ones, where there is no float model to compare."""

_Arrays = Sequence[np.ndarray]


class Runs(Protocol):
    """A session whose outputs are real numbers, or what stands in for one."""

    @property
    def differs(self) -> frozenset[str]:
        """What this CPU's own kernels would get wrong (see `exact.mend`); empty where there is nothing."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs of one forward pass."""


@dataclass(frozen=True)
class HostFigures:
    """A few samples with a CPU's own kernels.

    cpu: its name. causes: why its kernels compute something else (see `exact.mend`). samples: how many.
    sqnr_db, exact_sqnr_db: dB of the outputs against the float model's, by these kernels and by exact
    arithmetic; None where there is no float model. drift_db: dB of the outputs against the exact ones; None
    where none is a float. slowdown: time of exact arithmetic, as a multiple of that of these kernels.
    """

    cpu: str
    causes: Sequence[str]
    samples: int
    sqnr_db: float | None
    exact_sqnr_db: float | None
    drift_db: float | None
    slowdown: float

    @property
    def worth_a_word(self) -> bool:
        """Whether these kernels lose enough to be told."""
        if self.sqnr_db is not None and self.exact_sqnr_db is not None:
            return self.exact_sqnr_db - self.sqnr_db > WORTH_DB
        return self.drift_db is not None and self.drift_db < WORTH_DRIFT_DB

    def __str__(self) -> str:
        counted = "1 sample" if self.samples == 1 else f"{self.samples} samples"
        if self.sqnr_db is not None and self.exact_sqnr_db is not None:
            found = f"{self.sqnr_db:.2f} dB instead of {self.exact_sqnr_db:.2f}"
        elif self.drift_db is not None:
            found = f"{self.drift_db:.2f} dB from the exact outputs"
        else:
            found = "no float outputs to compare"
        why = "ONNX Runtime's integer Softmax rounds down"
        if WEIGHTS in self.causes:
            why = "ONNX Runtime gives int8 weights of one scale to operators that stay float between pairs"
        if SATURATION in self.causes:
            why = f"its int8 kernels saturate ({self.cpu}, no VNNI)"
        return f"{found} on {counted}: {why}"

    @property
    def remedy(self) -> str:
        """What helps."""
        if SATURATION in self.causes:
            return (
                "--chip onnxruntime-avx2 (uint8 weights: exact on every CPU), or --reduce-range (7-bit "
                "weights); CPUs with VNNI run this file as it is"
            )
        if WEIGHTS in self.causes:
            return "--chip onnxruntime writes a file in which they stay float; quantize again with Knight"
        return "--chip onnxruntime leaves Softmax in float, which is faster and more exact there"


class Replay:
    """Keeps the first samples of a run by exact arithmetic, to run them again with the CPU's own kernels."""

    def __init__(
        self,
        exact: Runs,
        names: Sequence[str],
    ) -> None:
        """exact: what the run computes with; where that is what this CPU does anyway, nothing is kept.

        names: of the outputs.
        """
        self._exact = exact
        self._names = tuple(names)
        self._calls: list[tuple[dict[str, np.ndarray], _Arrays, _Arrays | None]] = []
        self._samples = 0
        self._bytes = 0

    def keep(self, feeds: Mapping[str, np.ndarray], outputs: _Arrays, reference: _Arrays | None) -> None:
        """One call: what was fed, the real outputs, and those of the float model where there are any."""
        if not self._exact.differs or self._samples >= SAMPLES or self._bytes > _BYTES:
            return
        call = copy.deepcopy((dict(feeds), list(outputs), None if reference is None else list(reference)))
        self._calls.append(call)
        self._bytes += sum(array.nbytes for part in call for array in _arrays(part))
        self._samples += sample_count(call[0].values())

    def figures(self, make_host: Callable[[], Runs], listener: Listener = SILENT) -> HostFigures | None:
        """None where nothing was kept. `make_host` makes a session with the CPU's own kernels.

        They come beside a run that has been done: where they cannot be had, `listener` is warned.
        """
        if not self._calls:
            return None
        try:
            return self._figures(make_host())
        except KnightError as error:
            listener.warn(f"what this CPU's own kernels make of the model is not known: {error}")
            return None

    def _figures(self, host: Runs) -> HostFigures:
        here, exactly, drift = (Agreement(self._names) for _ in range(3))
        for feeds, exact, reference in self._calls:
            outputs = host.run(feeds)
            drift.update(exact, outputs)
            if reference is not None:
                here.update(reference, outputs)
                exactly.update(reference, exact)
        own, slower = self._seconds(host)
        return HostFigures(
            cpu=cpu_name(),
            causes=tuple(sorted(self._exact.differs)),
            samples=self._samples,
            sqnr_db=here.sqnr_db(),
            exact_sqnr_db=exactly.sqnr_db(),
            drift_db=drift.sqnr_db(),
            slowdown=slower / max(own, 1e-9),
        )

    def _seconds(self, host: Runs) -> tuple[float, float]:
        """Least seconds of all kept calls on `host` and by exact arithmetic, which take turns."""
        sessions = (host, self._exact)
        least, begin, rounds = [np.inf, np.inf], time.perf_counter(), 0
        while rounds < _ROUNDS and (rounds == 0 or time.perf_counter() - begin < _SECONDS):
            for place, session in enumerate(sessions):
                start = time.perf_counter()
                for feeds, _, _ in self._calls:
                    session.run(feeds)
                least[place] = min(least[place], time.perf_counter() - start)
            rounds += 1
        return least[0], least[1]


def _arrays(part: Mapping[str, np.ndarray] | _Arrays | None) -> Iterable[np.ndarray]:
    """The plain tensors in it; sequences and maps do not count."""
    values = part.values() if isinstance(part, Mapping) else part or ()
    return (array for array in values if isinstance(array, np.ndarray))


def cpu_name() -> str:
    """What this machine's processor calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
