"""Files of the stages in JSON: plans, parameters, recipes."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

from knight import model as models, scales
from knight.planner import make_plan
from knight.preparing import prepare_model
from knight.recipe import Recipe
from knight.targets import load_target
from scripts.fuzz.mutators.trees import Json
from scripts.fuzz.targets import SEEDS, Target, each, written


@cache
def prepared() -> tuple[Any, Any]:
    """The model and the plan that the seeds belong to."""
    chip = load_target("onnxruntime")
    found = prepare_model(models.load(SEEDS / "onnx" / "conv.onnx"), chip)
    return found.model, make_plan(found, chip, Recipe())


def run(data: bytes, folder: Path) -> None:
    """As each kind of file."""
    path = written(folder, "file.json", data)
    model, plan = prepared()
    each(
        partial(scales.load_plan, path, model),
        partial(scales.load_parameters, path, model, plan),
        partial(scales.load_recipe, path),
    )


target = Target(run, Json())
