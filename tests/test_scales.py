"""Plan, parameters, statistics and recipe in files: what is read is what was written, to the bit."""

from __future__ import annotations

import json
import math
import re
import struct
import tempfile
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from knight import model as models, scales
from knight.errors import ConfigError, OutputError
from knight.observer import OBSERVERS
from knight.qdq.own import mark
from knight.recipe import Choice, Recipe, Rule
from knight.rewriter import rewrite
from knight.scales import documents
from knight.scales.numbers import Numbers, Spec, numbers
from knight.scales.parameters import ParametersDocument
from knight.scales.plans import AccumulatorEntry, GroupEntry, PlanDocument, TensorEntry, WeightEntry
from knight.scales.recipes import ChoiceEntry, RecipeEntry, RuleEntry
from knight.schema import read
from knight.solver import Parameters, solve
from knight.statistics import Statistics
from knight.types import Accumulator, Group, Patch, QParams, QuantPlan, QuantSpec, Tensor, Weight
from tests.solved import CASES, FILES, refusal, reopened, saved, solved, states

case = pytest.mark.parametrize("name", CASES)


def bits(params: QParams) -> tuple[Any, ...]:
    return params.spec, *((a.dtype, a.shape, a.tobytes()) for a in (params.scale, params.zero_point))


def same(one: Parameters, other: Parameters) -> bool:
    kinds = ("activations", "weights", "biases")
    return one.warnings == other.warnings and all(
        list(getattr(one, kind)) == list(getattr(other, kind))
        and all(bits(params) == bits(getattr(other, kind)[key]) for key, params in getattr(one, kind).items())
        for kind in kinds
    )


# What is read is what was written --------------------------------------------------------------------------


@case
def test_another_process_makes_the_same_model(name: str, tmp_path: Path) -> None:
    found, folder = solved(name), saved(name)
    model = reopened(found.model, tmp_path)
    plan = scales.load_plan(folder / "plan.json", model)
    parameters = scales.load_parameters(folder / "parameters.json", model, plan)
    assert plan == found.plan
    assert list(plan.reads) == list(found.plan.reads) and list(plan.groups) == list(found.plan.groups)
    assert same(parameters, found.quantized.parameters)
    made = rewrite(model, plan, parameters)
    mark(made)
    assert models.to_bytes(made) == models.to_bytes(found.quantized.model)


@case
def test_statistics_from_a_file_are_solved_alike(name: str, tmp_path: Path) -> None:
    found = solved(name)
    statistics = scales.load_statistics(saved(name) / "statistics.npz", reopened(found.model, tmp_path))
    assert states(statistics) == states(found.statistics)
    solve_with = [solve(found.model, found.plan, one) for one in (statistics, found.statistics)]
    assert same(*solve_with)
    statistics.merge(found.statistics)  # a file of one part of the data and another part
    once_more = found.statistics.copy()
    once_more.merge(found.statistics)
    assert states(statistics) == states(once_more)


@case
def test_writing_again_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    found, folder = solved(name), saved(name)
    plan = scales.load_plan(folder / "plan.json", found.model)
    parameters = scales.load_parameters(folder / "parameters.json", found.model, plan)
    statistics = scales.load_statistics(folder / "statistics.npz", found.model)
    recipe = scales.load_recipe(folder / "recipe.json")
    scales.save_plan(plan, tmp_path / "plan.json", found.model)
    scales.save_parameters(parameters, tmp_path / "parameters.json", found.model, plan)
    scales.save_statistics(statistics, tmp_path / "statistics.npz", found.model)
    scales.save_recipe(recipe, tmp_path / "recipe.json")
    assert recipe == found.case.recipe
    for file in FILES:
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (TensorEntry, Tensor),
        (GroupEntry, Group),
        (WeightEntry, Weight),
        (AccumulatorEntry, Accumulator),
        (PlanDocument, QuantPlan),
        (ParametersDocument, Parameters),
        (Spec, QuantSpec),
        (ChoiceEntry, Choice),
        (RuleEntry, Rule),
        (RecipeEntry, Recipe),
    ],
)
def test_no_field_is_forgotten(table: type[Any], kind: type[Any]) -> None:
    """A field that comes new is one of the files, too; where readers need it, the version rises."""
    header = {"format", "version", "model"} if issubclass(table, documents.Document) else set()
    assert {field.name for field in msgspec.structs.fields(table)} - header == {
        field.name for field in fields(kind)
    }


positive = st.integers(1, 0x7F7FFFFF).map(lambda word: struct.unpack("<f", struct.pack("<I", word))[0])


@given(
    data=st.data(),
    bits_=st.integers(2, 32),
    signed=st.booleans(),
    narrow=st.booleans(),
    centred=st.booleans(),
    axis=st.none() | st.integers(-3, 2),
    block=st.none() | st.integers(1, 5),
)
def test_any_float32_and_any_grid_come_back(
    data: st.DataObject,
    bits_: int,
    signed: bool,
    narrow: bool,
    centred: bool,
    axis: int | None,
    block: int | None,
) -> None:
    spec = QuantSpec(bits_, signed, data.draw(st.booleans()), axis, narrow, centred, block)
    shape: tuple[int, ...] = ()
    if axis is not None and data.draw(st.booleans()):
        shape = data.draw(
            st.lists(st.integers(0, 4), min_size=3 if block else 1, max_size=3 if block else 1).map(tuple)
        )
    count = math.prod(shape)
    scale = data.draw(st.lists(positive, min_size=count, max_size=count))
    zeros = data.draw(st.lists(st.integers(spec.qmin, spec.qmax), min_size=count, max_size=count))
    params = QParams(
        spec,
        np.array(scale, np.float32).reshape(shape),
        np.array(zeros, np.int64).astype(spec.dtype).reshape(shape),
    )
    text = documents.laid_out({"it": documents.plain(numbers(params))})
    assert bits(read(json.loads(text)["it"], Numbers).params()) == bits(params)


def test_the_numbers_are_readable_and_those_that_python_reads() -> None:
    """Stated without the reader: the shortest digits, which round to the float32."""
    document = json.loads((saved("plain") / "parameters.json").read_text("utf-8"))
    for kind in ("activations", "weights", "biases"):
        for key, params in getattr(solved("plain").quantized.parameters, kind).items():
            entry = document[kind][key]
            np.testing.assert_array_equal(np.float32(entry["scale"]), params.scale, strict=True)
            np.testing.assert_array_equal(entry["zero_point"], params.zero_point)
    weight = document["weights"]["w"]
    assert (document["format"], document["version"]) == ("knight.parameters", 1)
    assert max(len(repr(number)) for number in weight["scale"]) <= 13 < len(repr(float(np.float32(0.1))))


KINDS = tuple(OBSERVERS)
numbers32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(data=st.data(), channels=st.integers(1, 4), kinds=st.sets(st.sampled_from(KINDS), min_size=1))
def test_statistics_of_every_kind_come_back(data: st.DataObject, channels: int, kinds: set[str]) -> None:
    model = solved("plain").model
    statistics = Statistics.empty({name: frozenset(kinds) for name in ("y", "x")})
    shapes = st.tuples(st.integers(0, 3), st.just(channels), st.integers(0, 3))
    for shape in data.draw(st.lists(shapes, max_size=3)):
        statistics.update("x", data.draw(arrays(np.float32, shape, elements=numbers32)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.npz"
        scales.save_statistics(statistics, path, model)
        first = path.read_bytes()
        found = scales.load_statistics(path, model)
        assert states(found) == states(statistics)
        again = Statistics(dict(reversed(found.observers.items())))  # the order of the values plays no part
        scales.save_statistics(again, path, model)
        assert path.read_bytes() == first
        assert len(found.observers["x"]) == len(kinds)


def test_infinite_values_are_kept_as_counts(tmp_path: Path) -> None:
    model = solved("plain").model
    statistics = Statistics.empty({"x": frozenset({"histogram", "channel_extremes"})})
    statistics.update("x", np.array([[1, np.inf], [-np.inf, np.inf]], np.float32))
    scales.save_statistics(statistics, tmp_path / "s.npz", model)
    found = scales.load_statistics(tmp_path / "s.npz", model)
    assert states(found) == states(statistics) and found.observers["x"]["histogram"].infinite == 3


def test_numpy_reads_the_statistics_without_pickle() -> None:
    with np.load(saved("plain") / "statistics.npz", allow_pickle=False) as file:
        names = sorted(solved("plain").statistics.observers)
        assert list(json.loads(file["header.json"])["values"]) == names
        for number, name in enumerate(names):
            state = solved("plain").statistics.observers[name]["histogram"].state()
            for key, array in state.items():
                np.testing.assert_array_equal(file[f"{number}/histogram/{key}"], array, strict=True)


def test_nothing_of_the_day_is_in_an_archive() -> None:
    with zipfile.ZipFile(saved("plain") / "statistics.npz") as file:
        assert file.testzip() is None
        for member in file.infolist():
            assert member.date_time == (1980, 1, 1, 0, 0, 0) and member.compress_type == zipfile.ZIP_STORED


# What does not belong together -----------------------------------------------------------------------------


def test_another_models_plan_is_refused_by_name() -> None:
    folder, other = saved("plain"), solved("two_widths")
    line = refusal(lambda: scales.load_plan(folder / "plan.json", other.model))
    assert line.startswith(f"plan {folder / 'plan.json'}: tensors.")
    assert "of the plan is not in the model: " in line
    line = refusal(lambda: scales.load_statistics(folder / "statistics.npz", other.model))
    assert "of the statistics is not in the model: " in line
    path = folder / "parameters.json"
    line = refusal(lambda: scales.load_parameters(path, other.model, other.plan))
    assert line.startswith(f"parameters {path}: ") and "plan's" in line


def test_a_model_of_the_same_names_is_told_by_its_structure() -> None:
    folder, twin = saved("plain"), solved("plain").model.clone()
    twin.graph.inputs[0].shape = ir.Shape((2, 4, 11, 11))
    for call in (
        lambda: scales.load_plan(folder / "plan.json", twin),
        lambda: scales.load_statistics(folder / "statistics.npz", twin),
        lambda: scales.load_parameters(folder / "parameters.json", twin, solved("plain").plan),
    ):
        assert re.search(
            r": model: is [0-9a-f]{12}\.\.\., and this model is [0-9a-f]{12}\.\.\.", refusal(call)
        )


def test_what_the_weights_hold_plays_no_part() -> None:
    twin = solved("plain").model.clone()
    weight = twin.graph.initializers["w"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * 2, name="w")
    assert scales.load_plan(saved("plain") / "plan.json", twin) == solved("plain").plan


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    found, other, path = solved("plain"), solved("two_widths"), tmp_path / "it"
    path.write_text("earlier")
    wrong = replace(found.quantized.parameters, warnings=("\ud800",))
    for call in (
        lambda: scales.save_plan(found.plan, path, other.model),
        lambda: scales.save_statistics(found.statistics, path, other.model),
        lambda: scales.save_parameters(found.quantized.parameters, path, other.model, other.plan),
        lambda: scales.save_parameters(wrong, path, found.model, found.plan),
        lambda: scales.save_recipe(Recipe(Choice(method="nonsense")), path),
        lambda: scales.save_recipe(Recipe(Choice(options={"percent": math.nan})), path),
    ):
        assert refusal(call).split()[1] == f"{path}:"
    double = QParams(QuantSpec(), np.array(0.1), np.array(0, np.int8))
    activations = {**found.quantized.parameters.activations, "x": double}
    with pytest.raises(ValueError, match="float64"):
        scales.save_parameters(
            replace(found.quantized.parameters, activations=activations), path, found.model, found.plan
        )
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]


def test_files_that_cannot_be_had(tmp_path: Path) -> None:
    model = solved("plain").model
    (tmp_path / "file").touch()
    assert "No such file" in refusal(lambda: scales.load_plan(tmp_path / "nothing", model))
    assert "is a folder, not a file" in refusal(lambda: scales.load_statistics(tmp_path, model))
    assert "no JSON" in refusal(lambda: scales.load_recipe(tmp_path / "file"))
    assert "is no archive" in refusal(lambda: scales.load_statistics(tmp_path / "file", model))
    with pytest.raises(OutputError, match="cannot write"):
        scales.save_plan(solved("plain").plan, tmp_path / "file" / "plan.json", model)
    assert scales.save_plan(solved("plain").plan, tmp_path / "new" / "plan.json", model).is_file()


# Patches ----------------------------------------------------------------------------------------------------


def patched(tmp_path: Path) -> tuple[Any, Any, Path]:
    """The plain case with a bias and a weight that an optimizer found, and the file of its parameters."""
    found = solved("plain")
    node, accumulator = next((n, a) for n, a in found.plan.accumulators.items() if a.bias is not None)
    bias = models.constant(found.model.graph.initializers[accumulator.bias])
    weight = next(iter(found.plan.weights))
    numbers_of = found.quantized.parameters.weights[weight]
    raised = replace(numbers_of, scale=numbers_of.scale * np.float32(1.25))
    patch = Patch(
        biases={node: bias + np.float32(0.3)}, weights={weight: raised}, moved=frozenset({"b", "a"})
    )
    parameters = solve(found.model, found.plan, found.statistics, patch=patch)
    path = scales.save_parameters(parameters, tmp_path / "patched.json", found.model, found.plan)
    return found, parameters, path


def test_a_patch_comes_back_to_the_bit(tmp_path: Path) -> None:
    found, parameters, path = patched(tmp_path)
    again = scales.load_parameters(path, found.model, found.plan)
    assert again.patch.moved == parameters.patch.moved
    one, other = (rewrite(found.model, found.plan, numbers) for numbers in (parameters, again))
    assert models.to_bytes(one) == models.to_bytes(other)
    assert models.to_bytes(one) != models.to_bytes(
        rewrite(found.model, found.plan, found.quantized.parameters)
    )
    scales.save_parameters(again, tmp_path / "again.json", found.model, found.plan)
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("biases", None, "shape"), [1], "patch.biases.*shape: is .*; it has to be of"),
        (("biases", None, "values"), [1e60] * 4, "values: holds a number that is no float32"),
        (("biases", "nobody"), {"shape": [1], "values": [0.5]}, "patch.biases.nobody: the model has no such"),
        (
            ("constants", "nobody"),
            {"shape": [1], "values": [0.5]},
            "patch.constants.nobody: the model has no such",
        ),
        (("weights", "nobody"), None, "patch.weights.nobody: is "),
        (("moved",), 3, "patch.moved: is 3"),
    ],
)
def test_a_broken_patch_is_named(
    tmp_path: Path, keys: tuple[str | None, ...], value: object, said: str
) -> None:
    found, _, path = patched(tmp_path)
    document = json.loads(path.read_text())
    place = document["patch"]
    for key in keys[:-1]:
        place = place[key if key is not None else next(iter(place))]
    place[keys[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=said) as error:
        scales.load_parameters(path, found.model, found.plan)
    assert "\n" not in str(error.value) and "patched.json" in str(error.value)
