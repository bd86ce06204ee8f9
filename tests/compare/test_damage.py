"""One layer of a well quantized net is damaged: the comparison finds it, and says in words what is wrong."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import pytest

import knight
from knight import model as models
from knight.compare.models import Options, compare_models
from knight.executor import RunSettings
from knight.feeding import counted
from tests.compare import _damage, _kit

CASES_OF = {
    "resnet20_cifar10.onnx": 9,
    "vit_cifar10.onnx": 4,
    "squeezenet_v1.1.onnx": 4,
    "mobilenet_v1_0.25_224.onnx": 6,
    "version-RFB-320.onnx": 5,
    "fastestdet_352.onnx": 3,
    "fastestdet_fruits_512.onnx": 3,
    "nanodet_m_416.onnx": 3,
    "mnist-8_onnxruntime_example.onnx": 8,
    _kit.VAD: 8,
}
"""Damages drawn per net: fewer of the large ones."""

CASES = [(file, number) for file, count in CASES_OF.items() for number in range(count)]


def samples_of(file: str) -> int:
    """How many samples it is calibrated, and compared, on."""
    return 6 if CASES_OF[file] > 5 else 3


@dataclass(frozen=True)
class Outcome:
    """guilty, own: place of the damaged layer among `Comparison.guilty()`, and by own SQNR alone."""

    text: str
    kind: str
    guilty: int
    own: int
    cause: str | None


class Laboratory:
    """Quantizes each net once, damages it as often as asked, and keeps what came out."""

    def __init__(self, kit: Path) -> None:
        self.kit = kit
        self.models: dict[str, tuple[ir.Model, ir.Model, list[_kit.Feeds]]] = {}
        self.outcomes: dict[tuple[str, int], Outcome] = {}

    def run(self, file: str, number: int) -> Outcome:
        if (file, number) not in self.outcomes:
            self.outcomes[file, number] = self._run(file, number)
        return self.outcomes[file, number]

    def models_of(self, file: str) -> tuple[ir.Model, ir.Model, list[_kit.Feeds]]:
        if file not in self.models:
            reference = models.load(self.kit / "onnx" / file)
            data = _kit.samples(self.kit, file, samples_of(file))
            result = knight.quantize(reference, data, target="onnxruntime", method="mse").model
            self.models[file] = reference, result, data
        return self.models[file]

    def _run(self, file: str, number: int) -> Outcome:
        reference, result, data = self.models_of(file)
        chance = random.Random(f"{file} {number}")
        choices = _damage.possible(result)
        kinds = sorted({choice.kind for choice in choices})
        start = _kit.FILES.index(file) * 3
        kind = kinds[(start + number) % len(kinds)]
        damage = chance.choice([choice for choice in choices if choice.kind == kind])
        damaged, value = _damage.apply(result, damage, chance)
        infer, count = counted(data)
        settings = RunSettings(iteration=count or 1)
        found = compare_models(
            reference, damaged, infer, settings, options=Options(remedies=False, threads=2)
        )
        row = _damage.row_of(damaged, value, {layer.output for layer in found.layers})
        guilty = found.guilty()
        alone = sorted(guilty, key=lambda layer: (layer.own_sqnr or 0.0, layer.index))
        layer = next(layer for layer in guilty if layer.output == row)
        text = (
            f"{file}: {kind} of {damage.node}, {layer.own_sqnr:.1f} dB (best {layer.best_sqnr}), cause "
            f"{layer.cause}; first {guilty[0].output}, {guilty[0].own_sqnr:.1f} dB, cause {guilty[0].cause}"
        )
        cause = None if layer.cause is None else layer.cause.kind
        return Outcome(text, kind, guilty.index(layer), alone.index(layer), cause)


@pytest.fixture(scope="module")
def laboratory(kit: Path) -> Laboratory:
    return Laboratory(kit)


@pytest.mark.parametrize(("file", "number"), CASES)
def test_the_damaged_layer_comes_first(laboratory: Laboratory, file: str, number: int) -> None:
    outcome = laboratory.run(file, number)
    assert outcome.guilty == 0, outcome.text


def test_the_cause_is_named_rightly_in_nine_of_ten_cases(laboratory: Laboratory) -> None:
    outcomes = [laboratory.run(*case) for case in CASES]
    wrong = [outcome.text for outcome in outcomes if outcome.cause not in _damage.CAUSES[outcome.kind]]
    assert {outcome.kind for outcome in outcomes} == set(_damage.CAUSES)
    assert len(outcomes) >= 48
    assert len(wrong) <= 0.1 * len(outcomes), "\n".join(wrong)


def test_own_error_alone_finds_most_of_them(laboratory: Laboratory) -> None:
    outcomes = [laboratory.run(*case) for case in CASES]
    table: dict[str, Counter[str]] = {kind: Counter() for kind in _damage.CAUSES}
    for outcome in outcomes:
        right = outcome.cause in _damage.CAUSES[outcome.kind]
        table[outcome.kind].update(
            {"cases": 1, "guilty": outcome.guilty == 0, "own": outcome.own == 0, "cause": right}
        )
    assert sum(row["own"] for row in table.values()) >= 0.75 * len(outcomes), table


@pytest.mark.parametrize("file", ["resnet20_cifar10.onnx", "mnist-8_onnxruntime_example.onnx", _kit.VAD])
def test_a_net_without_damage_has_no_fault(laboratory: Laboratory, file: str) -> None:
    reference, result, data = laboratory.models_of(file)
    infer, count = counted(data)
    settings = RunSettings(iteration=count or 1)
    found = compare_models(reference, result, infer, settings, options=Options(remedies=False))
    assert [(layer.output, layer.cause) for layer in found.layers if layer.at_fault] == []
