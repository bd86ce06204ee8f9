"""Where quantized models are made: one file per engine, each of which runs jobs that are plain data.

A job names files and says what to make of them; a result names files, or says why there are none. An engine
may run jobs in this process, in others or on a cluster: `carry_out` does the work of one, anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from knight.engines._carrying_out import carry_out
from knight.engines._job import (
    Job,
    JobResult,
    distinct,
    load_job,
    load_result,
    save_job,
    save_result,
)
from knight.registry import Registry

__all__ = [
    "Engine",
    "Job",
    "JobResult",
    "carry_out",
    "distinct",
    "engines",
    "load_job",
    "load_result",
    "save_job",
    "save_result",
]


class Engine(Protocol):
    """Runs jobs."""

    def run(self, jobs: Iterable[Job]) -> Iterator[JobResult]:
        """One result per job, each as soon as it is there, in any order.

        A job that fails is a result with a `failure`, and costs no other. Raises ConfigError, before any is
        run, for jobs whose results cannot be told apart (see `distinct`).
        """


engines: Registry[Engine] = Registry("engine", "knight.engines", "knight.engines", "engine")
