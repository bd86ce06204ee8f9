"""local: jobs run in this process, one after the other, each with the threads that it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from knight.engines import Engine, Job, JobResult, carry_out, distinct


class Local:
    """Begins a job when the result of the one before has been taken."""

    def run(self, jobs: Iterable[Job]) -> Iterator[JobResult]:
        """As `Engine.run`, in the order of the jobs."""
        return map(carry_out, distinct(jobs))


engine: Engine = Local()
