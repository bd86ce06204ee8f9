"""Small prepared models with all that the stages made of them, in this process and as files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from knight import model as models, scales
from knight.config import QuantConfig
from knight.errors import KnightError
from knight.observing import observe
from knight.planner import make_plan
from knight.preparing import Prepared, prepare_model
from knight.realizing import Quantized, realize
from knight.recipe import Choice, Recipe, Rule
from knight.statistics import Statistics
from knight.targets import Target, load_target
from knight.targets._scheme import Scheme
from knight.types import QuantPlan
from tests.passes.equivalence import build, feeds_of, random

ROOT = Path(__file__).resolve().parent.parent
TX, ORT = load_target("TX5368AV200"), load_target("onnxruntime")
CONV = {"w": random(4, 4, 3, 3, seed=1), "b": random(4, seed=2), "v": random(4, 6, seed=3)}
CONV |= {"u": random(3, 8, 1, 1, seed=4), "ends": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
PADS = "pads = [1, 1, 1, 1]"
NET = f"c = Conv<{PADS}>(x, w, b) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) y = MatMul(f, v)"
MIXED = replace(
    load_target("generic"),
    schemes=(Scheme("w8a8", 8, 8), Scheme("w16a16", 16, 16), Scheme("w4a8", 4, 8, weight_block_size=3)),
)
"""A chip with several widths, and with blocks."""


@dataclass(frozen=True)
class Case:
    """What is to be solved."""

    nodes: str
    target: Target
    recipe: Recipe = field(default_factory=Recipe)
    config: QuantConfig = field(default_factory=QuantConfig)


CASES = {
    "plain": Case(NET, ORT),
    "fixed_point": Case(NET, TX, Recipe(Choice(method="percentile", options={"percent": 0.999}))),
    "zero_points": Case(NET, load_target("tensorrt"), Recipe(Choice(method="mse"), keep_last=1)),
    "spans": Case(
        f"c = Conv<{PADS}>(x, w, b) d = Conv<{PADS}>(x, w) e = Concat<axis = 1>(c, d) y = Conv(e, u)", ORT
    ),
    "two_widths": Case(
        f"c = Conv<{PADS}>(x, w, b) d = Conv<{PADS}>(c, w, b) e = Conv<{PADS}>(c, w) y = Add(d, e)",
        MIXED,
        Recipe(Choice(method="min_max"), (Rule(Choice(16, 16, "min_max"), names=("d",), origin="a test"),)),
    ),
    "blocks": Case(NET, MIXED, Recipe(Choice(4, 8), (Rule("float", op_types=("MatMul*",)),))),
    "on_integers": Case(
        f"c = Conv<{PADS}>(x, w, b) s = Pad(c, ends) m = MaxPool<kernel_shape = [3, 3]>(s) y = Conv(m, w)",
        ORT,
    ),
    "float_between": Case(f"c = Conv<{PADS}>(x, w, b) s = Sin(c) y = Conv<{PADS}>(s, w)", ORT),
    "fed_integers": Case(NET, ORT, config=QuantConfig(input_dtypes=("int8",))),
    "normalized": Case(NET, ORT, config=QuantConfig(input_dtypes=("uint8",), mean=(3.0,), std=(2.0,))),
}


@dataclass(frozen=True)
class Solved:
    """What the stages made of a case."""

    case: Case
    prepared: Prepared
    plan: QuantPlan
    statistics: Statistics
    quantized: Quantized

    @property
    def model(self) -> ir.Model:
        """The prepared one."""
        return self.prepared.model


@cache
def solved(name: str) -> Solved:
    """The case called `name`, in this process."""
    case = CASES[name]
    source = build(case.nodes, {key: value for key, value in CONV.items() if f", {key}" in case.nodes})
    prepared = prepare_model(source, case.target, case.config, recipes=[case.recipe])
    plan = make_plan(prepared, case.target, case.recipe)

    def infer(executor: object) -> None:
        for seed in range(3):
            executor.forward(*feeds_of(prepared.model, seed).values())  # type: ignore[attr-defined]

    with observe(prepared, plan, infer) as seen:
        statistics = seen.statistics
    return Solved(case, prepared, plan, statistics, realize(prepared, plan, statistics))


def reopened(model: ir.Model, folder: Path) -> ir.Model:
    """`model` as another process gets it: from a file."""
    models.save(model, folder / "reopened.onnx")
    return models.load(folder / "reopened.onnx")


def states(statistics: Statistics) -> dict[tuple[str, str, str], tuple[str, bytes]]:
    """(value, kind, key) -> type and bytes of every array."""
    return {
        (name, kind, key): (array.dtype.str, np.asarray(array).tobytes())
        for name, kinds in statistics.observers.items()
        for kind, observer in kinds.items()
        for key, array in observer.state().items()
    }


FILES = ("plan.json", "parameters.json", "statistics.npz", "recipe.json")


@cache
def _folder(name: str) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="knight-tests-")


def saved(name: str) -> Path:
    """The folder with the `FILES` of a case; nobody writes there."""
    found, folder = solved(name), Path(_folder(name).name)
    if not (folder / FILES[-1]).exists():
        scales.save_plan(found.plan, folder / "plan.json", found.model)
        numbers = found.quantized.parameters
        scales.save_parameters(numbers, folder / "parameters.json", found.model, found.plan)
        scales.save_statistics(found.statistics, folder / "statistics.npz", found.model)
        scales.save_recipe(found.case.recipe, folder / "recipe.json")
    return folder


def refusal(call: Callable[[], object]) -> str:
    """The message of the KnightError that `call` raises: one line, which can be printed."""
    with pytest.raises(KnightError) as caught:
        call()
    assert str(caught.value).isprintable()
    return str(caught.value)
