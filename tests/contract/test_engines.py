"""Every engine runs the same jobs to the same files: the bytes that the stages give in this process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import msgspec
import pytest

from knight import model as models, scales
from knight.engines import (
    Job,
    JobResult,
    _carrying_out,
    _job,
    engines,
    load_job,
    load_result,
    save_job,
    save_result,
)
from knight.errors import ConfigError
from knight.planner import make_plan
from knight.qdq.own import mark
from knight.realizing import realize
from knight.recipe import Choice, Recipe, Rule
from knight.rewriter import rewrite
from tests.solved import CASES, refusal, saved, solved

every = pytest.mark.parametrize("name", engines.names())
LENT = ("plain", "fixed_point", "zero_points", "on_integers", "fed_integers", "normalized")
"""Cases whose target is one that a job can name."""


def job_of(case: str, folder: Path, **changes: object) -> Job:
    """The job that makes what `solved(case)` holds."""
    folder.mkdir(exist_ok=True, parents=True)
    model = folder / f"{case}.onnx"
    models.save(solved(case).model, model)
    job = Job(
        name=case,
        model=str(model),
        recipe=solved(case).case.recipe,
        target=solved(case).case.target.name,
        statistics=str(saved(case) / "statistics.npz"),
        output=str(folder / "out" / case),
    )
    return replace(job, **changes)  # type: ignore[arg-type]


def test_there_is_one_for_this_machine() -> None:
    assert "local" in engines.names()
    assert {case.target.name for name, case in CASES.items() if name in LENT} <= {
        "onnxruntime",
        "tensorrt",
        solved("fixed_point").case.target.name,
    }


@every
def test_the_files_are_those_of_this_process(name: str, tmp_path: Path) -> None:
    jobs = [job_of(case, tmp_path) for case in LENT]
    results = {result.name: result for result in engines.get(name).run(jobs)}
    assert sorted(results) == sorted(LENT)
    for case, result in results.items():
        found = solved(case)
        assert result.failure is None and result.model and result.plan and result.parameters
        assert Path(result.model).read_bytes() == models.to_bytes(found.quantized.model)
        assert result.warnings == found.quantized.warnings
        plan = scales.load_plan(result.plan, found.model)
        parameters = scales.load_parameters(result.parameters, found.model, plan)
        assert plan == found.plan
        made = rewrite(found.model, plan, parameters)
        mark(made)
        assert models.to_bytes(made) == Path(result.model).read_bytes()


@every
def test_a_job_that_fails_costs_no_other(name: str, tmp_path: Path) -> None:
    good = job_of("plain", tmp_path)
    (tmp_path / "taken").touch()
    bad = {
        "model": (replace(good, model=str(tmp_path / "no.onnx")), "no.onnx: no such file"),
        "statistics": (replace(good, statistics=str(tmp_path)), "is a folder, not a file"),
        "of_another": (
            replace(good, statistics=str(saved("two_widths") / "statistics.npz")),
            "of the statistics is not in the model",
        ),
        "target": (replace(good, target="onnxrun"), "did you mean 'onnxruntime'"),
        "rule": (
            replace(good, recipe=Recipe(rules=(Rule("float", names=("nobody",)),))),
            "is called 'nobody'",
        ),
        "method": (replace(good, recipe=Recipe(Choice(method="mean"))), "unknown calibration method 'mean'"),
        "output": (replace(good, output=str(tmp_path / "taken")), "cannot write to"),
    }
    jobs = [
        replace(job, name=key, output=job.output if key == "output" else str(tmp_path / key))
        for key, (job, _) in bad.items()
    ]
    results = {result.name: result for result in engines.get(name).run([*jobs, good])}
    assert results.pop("plain").failure is None and sorted(results) == sorted(bad)
    for key, result in results.items():
        assert result.failure is not None and bad[key][1] in result.failure and result.failure.isprintable()
        assert result == JobResult(key, failure=result.failure)


@every
def test_jobs_whose_results_could_be_mistaken_are_refused_before_any_is_run(
    name: str, tmp_path: Path
) -> None:
    good = job_of("plain", tmp_path)
    for jobs, said in (
        ([good, good], "job 'plain': there are two of this name"),
        ([good, replace(good, name="../x")], "job '../x': files begin with its name"),
        ([good, replace(good, name="")], "job '': files begin with its name"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            list(engines.get(name).run(jobs))
    assert not (tmp_path / "out").exists()


@every
def test_options_of_a_job_reach_the_stages(name: str, tmp_path: Path) -> None:
    found = solved("fixed_point")
    real = make_plan(found.prepared, found.case.target, found.case.recipe, real_outputs=True)
    jobs = [
        job_of("fixed_point", tmp_path, real_outputs=True),
        job_of("float_between", tmp_path, strict=True),
        job_of("float_between", tmp_path, name="lenient", output=str(tmp_path / "lenient")),
        job_of("fixed_point", tmp_path, name="operators", exporter="qoperator", output=str(tmp_path / "o")),
    ]
    results = {result.name: result for result in engines.get(name).run(jobs)}
    wanted = realize(found.prepared, real, found.statistics).model
    assert Path(str(results["fixed_point"].model)).read_bytes() == models.to_bytes(wanted)
    assert models.to_bytes(wanted) != models.to_bytes(found.quantized.model)
    assert "onnxruntime has no Sin" in str(results["float_between"].failure)
    assert results["lenient"].failure is None
    assert results["operators"].model is not None
    wanted = realize(found.prepared, found.plan, found.statistics, format="qoperator").model
    assert Path(results["operators"].model).read_bytes() == models.to_bytes(wanted)


def test_local_begins_a_job_when_the_one_before_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job_of(case, tmp_path) for case in ("plain", "on_integers")]
    results: Iterator[JobResult] = engines.get("local").run(jobs)
    assert not (tmp_path / "out").exists()
    assert next(results).name == "plain" and not (tmp_path / "out" / "on_integers").exists()
    monkeypatch.setattr(_carrying_out, "realize", lambda *_, **__: 1 / 0)
    failure = next(results).failure  # a fault of Knight's own is one of the job, and says where it is
    assert failure is not None
    assert re.fullmatch(
        r"a fault in \w+\.py, line \d+: ZeroDivisionError: division by zero; report it", failure
    )


# Jobs and results as files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_jobs_come_back(case: str, tmp_path: Path) -> None:
    job = job_of(case, tmp_path, threads=3, strict=True)
    path = save_job(job, tmp_path / "job.json")
    content = path.read_bytes()
    assert load_job(path) == job
    assert save_job(load_job(path), path).read_bytes() == content


def test_results_come_back(tmp_path: Path) -> None:
    for result in (
        JobResult("größe", "a.onnx", "plan.json", "p.json", ("one", "two")),
        JobResult("b", failure="it failed"),
    ):
        assert load_result(save_result(result, tmp_path / "r.json")) == result
    line = refusal(lambda: save_result(JobResult("b"), tmp_path / "r.json"))
    assert line == f"job result {tmp_path / 'r.json'}: failure: there is either one or a model"


def test_no_field_is_forgotten() -> None:
    for table, kind in ((_job.JobDocument, Job), (_job.ResultDocument, JobResult)):
        assert {field.name for field in msgspec.structs.fields(table)} == {
            "format",
            "version",
            *(field.name for field in fields(kind)),
        }


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("threads", 0, "threads: is 0; it has to be a whole number of at least 1"),
        ("threads", None, "threads: is null; it has to be a whole number"),
        ("model", 3, "model: is 3; it has to be a text"),
        ("recipe", {}, "recipe.default is missing"),
        ("thread", 3, "thread: unknown key: did you mean 'threads'?"),
        ("format", "knight.plan", 'format: is "knight.plan"; it has to be "knight.job"'),
        ("version", 9, "version: is 9; it has to be 1"),
    ],
)
def test_a_broken_job_is_one_line(key: str, value: object, said: str, tmp_path: Path) -> None:
    path = save_job(job_of("plain", tmp_path), tmp_path / "job.json")
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {key: value}), "utf-8")
    line = refusal(lambda: load_job(path))
    assert line.startswith(f"job {path}: ") and said in line
