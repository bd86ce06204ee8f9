"""Makes the quantized model of one job: what an engine calls where the work is done."""

from __future__ import annotations

import traceback
from pathlib import Path

from knight import border, model as models
from knight.engines._job import Job, JobResult, distinct
from knight.errors import KnightError
from knight.planner import make_plan
from knight.preparing import Prepared
from knight.realizing import realize
from knight.scales import load_statistics, save_parameters, save_plan
from knight.store import Store
from knight.targets import load_target


def carry_out(job: Job) -> JobResult:
    """The result of `job`, its files in `job.output`. Whatever goes wrong is the result's `failure`."""
    try:
        return _made(job)
    except KnightError as error:
        return JobResult(job.name, failure=str(error))
    except Exception as error:  # a fault of Knight's own; it must not cost the other jobs
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return JobResult(
            job.name,
            failure=f"a fault in {Path(place.filename).name}, line {place.lineno}: {said}; report it",
        )


def _made(job: Job) -> JobResult:
    distinct([job])
    target, model = load_target(job.target), models.load(job.model)
    prepared = Prepared(model, border.described(model, border.input_types(model)))
    plan = make_plan(prepared, target, job.recipe, real_outputs=job.real_outputs, strict=job.strict)
    statistics = load_statistics(job.statistics, model)
    quantized = realize(prepared, plan, statistics, format=job.exporter, threads=job.threads)
    folder = Path(job.output)
    file = f"{job.name}_quantize.onnx"
    with Store(folder) as store:  # the model comes last: where it is, the rest is as well
        saved = save_plan(plan, folder / f"{job.name}_plan.json", model)
        numbers = save_parameters(quantized.parameters, folder / f"{job.name}_parameters.json", model, plan)
        beside = {f"{job.name}_{name}": content for name, content in quantized.files.items()}
        store.write({file: quantized.model}, files=beside)
    return JobResult(job.name, str(folder / file), str(saved), str(numbers), quantized.warnings)
