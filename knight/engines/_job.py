"""What an engine runs and what it gives: plain data, which travels between machines as files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import msgspec

from knight.errors import ConfigError, shown
from knight.recipe import Recipe
from knight.scales.documents import Document, Format, plain
from knight.scales.recipes import RecipeEntry


@dataclass(frozen=True)
class Job:
    """One quantized model to make, from files alone.

    name: of the job among those of a run; its files begin with it.
    model: file of the prepared model, as `knight.model.save` writes it.
    recipe, target: what to make of it; the target by its name, or the path of its TOML file.
    statistics: file of the statistics that the calibration methods ask for.
    output: folder of the results, of no other job that runs at the same time; it is made.
    threads: CPUs to use. real_outputs, strict: as for `make_plan`. exporter: format of the model (see
        `knight.exporters`).

    Paths are such that the machine that runs the job finds them.
    """

    name: str
    model: str
    recipe: Recipe
    target: str
    statistics: str
    output: str
    threads: int = 1
    real_outputs: bool = False
    strict: bool = False
    exporter: str = "qdq"


@dataclass(frozen=True)
class JobResult:
    """What became of the job called `name`.

    model, plan, parameters: files; None where there are none. warnings: what the numbers cost. failure: one
    line that says why there is no model, None where there is one.
    """

    name: str
    model: str | None = None
    plan: str | None = None
    parameters: str | None = None
    warnings: tuple[str, ...] = ()
    failure: str | None = None


class JobDocument(Document, frozen=True):
    """As `Job`."""

    name: str
    model: str
    recipe: RecipeEntry
    target: str
    statistics: str
    output: str
    threads: Annotated[int, msgspec.Meta(ge=1)]
    real_outputs: bool
    strict: bool
    exporter: str


class ResultDocument(Document, frozen=True):
    """As `JobResult`."""

    name: str
    model: str | None
    plan: str | None
    parameters: str | None
    warnings: tuple[str, ...]
    failure: str | None

    def __post_init__(self) -> None:
        if (self.failure is None) != (self.model is not None):
            raise ValueError("failure: there is either one or a model")


JOB = Format("job", 1, JobDocument)
RESULT = Format("job result", 1, ResultDocument)


def save_job(job: Job, path: str | Path) -> Path:
    """Writes `job`. Raises ConfigError for what cannot be one, and OutputError."""
    path = Path(path)
    JOB.decode(path, JOB.encode(path, plain(job))).recipe.recipe(f"{JOB.before(path)}recipe.")
    return JOB.write(path, plain(job))


def load_job(path: str | Path) -> Job:
    """The job in `path`. Raises ConfigError: one line that names file, key and remedy."""
    path = Path(path)
    document = JOB.read(path)
    found: dict[str, Any] = {field.name: getattr(document, field.name) for field in fields(Job)}
    return Job(**found | {"recipe": document.recipe.recipe(f"{JOB.before(path)}recipe.")})


def save_result(result: JobResult, path: str | Path) -> Path:
    """Writes `result`. Raises OutputError where the file cannot be written."""
    return RESULT.write(Path(path), plain(result))


def load_result(path: str | Path) -> JobResult:
    """The result in `path`. Raises ConfigError: one line that names file, key and remedy."""
    document = RESULT.read(Path(path))
    return JobResult(**{field.name: getattr(document, field.name) for field in fields(JobResult)})


def distinct(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """`jobs`, whose results can be told apart.

    Raises ConfigError for a name that files cannot have, and for one that two jobs have.
    """
    found: dict[str, Job] = {}
    for job in jobs:
        if not job.name or job.name.startswith(".") or any(mark in job.name for mark in "/\\\0"):
            raise ConfigError(
                f"job {shown(job.name)}: files begin with its name; give one that they can have"
            )
        if job.name in found:
            raise ConfigError(f"job {shown(job.name)}: there are two of this name; give each its own")
        found[job.name] = job
    return tuple(found.values())
