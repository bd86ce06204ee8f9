"""A session that goes on at a lower optimization level where ONNX Runtime's optimized graph fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from knight.errors import DataError, KnightError, ModelError
from knight.listener import SILENT, Listener
from knight.runner import Kernels, Level, Session, TensorInfo

_LEVELS: tuple[Level, ...] = ("all", "extended", "basic", "none")
T = TypeVar("T")


class SteadySession:
    """As `Session`, but a model that fails to load or on its first sample is tried less optimized, aloud.

    what: names the model in the warning. Raises the first level's error where all levels fail.
    """

    def __init__(
        self,
        model: ir.Model,
        *,
        what: str,
        taps: Sequence[str] = (),
        threads: int = 1,
        kernels: Kernels = "exact",
        listener: Listener = SILENT,
    ) -> None:
        self._make: Callable[[Level], Session] = lambda level: Session(
            model, taps=taps, threads=threads, level=level, spin=False, kernels=kernels
        )
        self._what = what
        self._listener = listener
        self._has_run = False
        self._level: Level = _LEVELS[0]
        self._session = self._attempt(lambda session: session, None)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """As of `Session`."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """As of `Session`."""
        return self._session.outputs

    @property
    def differs(self) -> frozenset[str]:
        """As of `Session`."""
        return self._session.differs

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """As of `Session`."""
        return self._run(lambda session: session.run(feeds))

    def run_in_place(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """As of `Session`."""
        return self._run(lambda session: session.run_in_place(feeds))

    def _run(self, use: Callable[[Session], list[np.ndarray]]) -> list[np.ndarray]:
        results = use(self._session) if self._has_run else self._attempt(use, self._session)
        self._has_run = True
        return results

    def _attempt(self, use: Callable[[Session], T], session: Session | None) -> T:
        """`use` of the session at its level, else at the first lower one at which it works."""
        first: KnightError | None = None
        for level in _LEVELS[_LEVELS.index(self._level) :]:
            try:
                candidate = self._make(level) if session is None else session
                result = use(candidate)
            except (DataError, ModelError) as error:
                first, session = first or error, None
                continue
            if first is not None:
                self._listener.warn(f"{self._what} runs at optimization level {level!r} only: {first}")
            self._session, self._level = candidate, level
            return result
        assert first is not None
        raise first
