"""Every kind of cause: a layer that has just that wrong gets just that name, with the right numbers."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from knight.compare import causes, evidence, output_causes, weight_causes
from knight.compare.comparison import Cause, Layer
from tests.compare._layer import Lone, lone

SIZE = 40


def uniform(*shape: int, seed: int = 0, reach: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-reach, reach, shape)


def healthy(outputs: int = 8) -> Lone:
    """Four inputs, `outputs` channels of one size, all well within 8 bits."""
    calls = [uniform(1, 4, SIZE, SIZE, seed=seed) for seed in (1, 2, 3)]
    return lone(uniform(outputs, 4, seed=4), uniform(outputs, seed=5, reach=0.3), calls)


def numbers(layer: Lone) -> np.ndarray:
    """All outputs in float, (channels, elements)."""
    joined = np.concatenate(layer.outputs())
    return np.moveaxis(joined, 1, 0).reshape(joined.shape[1], -1)


def decibels(wanted: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((got - wanted) ** 2)))


def found(layer: Lone, kind: str, *, fault: bool) -> Cause:
    """The layer's cause, which has to be of that kind."""
    cause = layer.layer().cause
    assert cause is not None
    assert (cause.kind, cause.fault) == (kind, fault), cause
    assert cause.remedy
    return cause


def figures(text: str) -> list[float]:
    """The numbers that a sentence has, in order."""
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", text)]


def test_a_healthy_layer_needs_no_explanation() -> None:
    layer = healthy().rounded_to_all().layer()
    assert layer.cause is None
    assert layer.own_sqnr is not None
    assert layer.own_sqnr > evidence.HEALTHY_DB
    assert not layer.at_fault


def test_a_layer_without_any_error_needs_none_either() -> None:
    layer = healthy()
    exact = replace(
        layer,
        weight=(layer.stored * layer.steps[:, None].astype(np.float32)).astype(np.float32),
        bias=np.zeros(8, np.float32),
        bias_stored=np.zeros(8, np.int32),
    )
    row = exact.layer()
    assert row.cause is None


# The rounding of the output --------------------------------------------------------------------------------


def test_clipped() -> None:
    layer = healthy()
    high = numbers(layer).max()
    low = numbers(layer).min()
    cut = layer.rounded_to(low, 0.4 * high)
    values = numbers(cut)
    end = cut.scale * (255 - cut.zero)
    cause = found(cut, "clipped", fault=True)
    assert cause.text.startswith("clipped range")
    ends, reach, share, of_error = figures(cause.text)[:4]
    assert ends == pytest.approx(end, rel=1e-3)
    assert reach == pytest.approx(high, rel=1e-3)
    bottom = cut.scale * -cut.zero
    lost = values - values.clip(bottom, end)
    assert share == pytest.approx(100 * np.mean(lost != 0), abs=0.01)
    row = cut.layer()
    assert row.clipped == pytest.approx(np.mean(lost != 0), abs=1e-4)
    noise = np.sum(values**2) / 10 ** (row.own_sqnr / 10)
    assert of_error == pytest.approx(100 * np.sum(lost**2) / noise, abs=1)
    whole = layer.rounded_to_all().layer()
    assert row.own_sqnr + cause.gain_db == pytest.approx(whole.own_sqnr, abs=1)


def test_clipped_at_the_lower_end() -> None:
    layer = healthy()
    low, high = numbers(layer).min(), numbers(layer).max()
    cut = layer.rounded_to(0.4 * low, high)
    ends, reach = figures(found(cut, "clipped", fault=True).text)[:2]
    assert (ends, reach) == (pytest.approx(-cut.scale * cut.zero, rel=1e-3), pytest.approx(low, rel=1e-3))


def test_a_range_that_cuts_off_little_is_no_fault() -> None:
    """What a better range wins is less than `_CUT_DB`: coarse, but no contradiction."""
    layer = healthy()
    low, high = numbers(layer).min(), numbers(layer).max()
    found = [layer.rounded_to(low, end * high).layer().cause for end in np.linspace(0.86, 0.77, 10)]
    gains = [cause.gain_db for cause in found if cause is not None and cause.kind == "clipped"]
    faults = [cause.fault for cause in found if cause is not None and cause.kind == "clipped"]
    assert min(gains) < output_causes._CUT_DB <= max(gains)
    assert faults == [gain >= output_causes._CUT_DB for gain in gains]


def test_scale_mismatch() -> None:
    layer = healthy().rounded_to_all()
    cause = found(replace(layer, read=layer.scale * 0.5), "scale_mismatch", fault=True)
    written, read, factor = figures(cause.text)
    assert (written, read) == (pytest.approx(layer.scale, rel=1e-3), pytest.approx(layer.scale / 2, rel=1e-3))
    assert factor == 0.5
    assert cause.gain_db == pytest.approx(layer.layer().own_sqnr - 20 * np.log10(2), abs=1)


@pytest.mark.parametrize("factor", [1e-4, 1e-9, 0.0])
def test_near_zero_scale(factor: float) -> None:
    layer = healthy().rounded_to_all()
    cause = found(replace(layer, scale=layer.scale * factor), "near_zero_scale", fault=True)
    scale, end, reach = figures(cause.text)
    assert scale == pytest.approx(layer.scale * factor, rel=1e-2)
    assert end == pytest.approx(layer.scale * factor * (255 - layer.zero), rel=1e-2)
    assert reach == pytest.approx(np.abs(numbers(layer)).max(), rel=1e-3)


@pytest.mark.parametrize("factor", [2.0, 5.0])
def test_wide_range(factor: float) -> None:
    layer = healthy().rounded_to_all(factor)
    cause = found(layer, "wide_range", fault=True)
    low, high, least, most, used = figures(cause.text)
    assert (low, high) == (
        pytest.approx(-layer.scale * layer.zero, rel=1e-3),
        pytest.approx(layer.scale * (255 - layer.zero), rel=1e-3),
    )
    values = numbers(layer)
    assert (least, most) == (pytest.approx(values.min(), rel=1e-3), pytest.approx(values.max(), rel=1e-3))
    assert used == pytest.approx(100 / factor, abs=0.6)
    assert cause.gain_db == pytest.approx(20 * np.log10(factor), abs=1)


def spiky(calls: list[int], spikes: int, reach: float, count: int = 6, size: int = 200) -> Lone:
    """`count` calls of small numbers; those in `calls` have a few that reach farther, in every channel."""
    data = []
    for call in range(count):
        array = uniform(1, 1, size, size, seed=call)
        if call in calls:
            places = np.random.default_rng(call).integers(0, size * size, spikes)
            array.reshape(-1)[places] = reach
        data.append(array)
    return lone(np.array([[1.0], [-1.0]]), np.zeros(2), data)


def test_one_sample() -> None:
    layer = spiky([3], 1, 30.0).rounded_to_all()
    cause = found(layer, "one_sample", fault=False)
    call, first, second = figures(cause.text)
    assert call == 4
    assert (first, second) == (pytest.approx(30, rel=1e-3), pytest.approx(1, rel=1e-2))
    assert cause.gain_db > 1


def test_long_tail() -> None:
    layer = spiky([1, 4], 1, 30.0, size=400).rounded_to_all()
    cause = found(layer, "long_tail", fault=False)
    reach, step = figures(cause.text)
    assert (reach, step) == (pytest.approx(30, rel=1e-3), pytest.approx(layer.scale, rel=1e-2))
    # what a shorter range wins is what it wins over all elements, the rare ones included
    values = numbers(layer)
    noises = [np.sum((fake(values, end * 30) - values) ** 2) for end in np.linspace(0.03, 1, 98)]
    assert cause.gain_db == pytest.approx(10 * np.log10(noises[-1] / min(noises)), abs=2.5)
    assert cause.gain_db >= 3


def test_a_tail_that_is_worth_its_range_is_no_cause() -> None:
    """To cut the far elements off would cost more than the finer steps win."""
    layer = spiky([1, 4], 20, 30.0).rounded_to_all()
    row = layer.layer()
    assert row.cause is not None
    assert row.cause.kind == "few_steps"
    values = numbers(layer)
    noises = [np.sum((fake(values, end * 30) - values) ** 2) for end in np.linspace(0.03, 1, 98)]
    best = 10 * np.log10(np.sum(values**2) / min(noises))
    assert row.best_sqnr == pytest.approx(best, abs=2.5)  # a sample does not know how many are far


def fake(values: np.ndarray, end: float) -> np.ndarray:
    """`values` in 255 steps from -`end` to `end`."""
    return np.rint(values.clip(-end, end) * 127.5 / end) * end / 127.5


def rare(outputs: int, loud: int, reach: float) -> Lone:
    """Channel `loud` reads an input that is zero but for one place in 50; the others stay small."""
    data = []
    for seed in (1, 2, 3):
        array = uniform(1, outputs, SIZE, SIZE, seed=seed)
        quiet = np.random.default_rng(seed + 10).random((SIZE, SIZE)) > 0.02
        array[0, loud] *= reach
        array[0, loud, quiet] = 0
        data.append(array)
    return lone(np.eye(outputs), np.zeros(outputs), data)


def test_outlier_channel() -> None:
    layer = rare(8, 5, 40.0).rounded_to_all()
    cause = found(layer, "outlier_channel", fault=False)
    assert cause.text.startswith("one outlier channel (5)")
    reach = np.abs(numbers(layer)).max(axis=1)
    assert figures(cause.text)[1:3] == [
        pytest.approx(reach[5], rel=1e-3),
        pytest.approx(np.median(reach), rel=1e-3),
    ]
    assert layer.layer().channels.outliers == (5,)


def test_few_steps() -> None:
    data = [uniform(1, 1, SIZE, SIZE, seed=seed, reach=0.02) for seed in (1, 2, 3)]
    for seed, array in enumerate(data):
        places = np.random.default_rng(seed).random((1, 1, SIZE, SIZE)) < 0.05
        array[places] *= 50
    layer = lone(np.array([[1.0], [-1.0]]), np.zeros(2), data).rounded_to_all()
    cause = found(layer, "few_steps", fault=False)
    steps, best = figures(cause.text)
    assert steps == 256
    row = layer.layer()
    values = numbers(layer)
    grid = (np.rint(values / layer.scale) * layer.scale).clip(values.min(), values.max())
    assert row.own_sqnr == pytest.approx(decibels(values, grid), abs=0.1)
    assert row.own_sqnr - 0.1 <= best < row.own_sqnr + 3


# Weights and bias ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("rounded", [True, False])
def test_weight_scale(factor: float, rounded: bool) -> None:
    layer = healthy()
    layer = layer.rounded_to_all() if rounded else layer
    cause = found(replace(layer, steps=layer.steps * factor), "weight_scale", fault=True)
    assert figures(cause.text) == [pytest.approx(factor, rel=0.01)]
    assert cause.gain_db > 10  # doubled, the numbers leave the output's range as well


@pytest.mark.parametrize("factor", [30.0, 0.3])
def test_weight_channel(factor: float) -> None:
    layer = healthy().rounded_to_all()
    steps = layer.steps.copy()
    steps[6] *= factor
    cause = found(replace(layer, steps=steps), "weight_channel", fault=True)
    channel, times = figures(cause.text)
    assert (channel, times) == (6, pytest.approx(factor, rel=0.02))


def test_weight_outlier() -> None:
    """All channels share one scale, which channel 2 decides though it is seldom heard."""
    weight = uniform(8, 8, seed=1, reach=0.02)
    weight[2] = 0
    weight[2, 3] = 1.0
    weight[np.arange(8) != 2, 3] = 0
    data = [uniform(1, 8, SIZE, SIZE, seed=seed) for seed in (1, 2, 3)]
    for array in data:
        array[0, 3] = 0
    layer = lone(weight, np.zeros(8), data, per_channel=False)
    cause = found(layer, "weight_outlier", fault=False)
    channel, reach, middle = figures(cause.text)
    reaches = np.abs(weight).max(axis=1)
    assert (channel, reach, middle) == (2, 1.0, pytest.approx(np.median(reaches), rel=1e-3))
    assert layer.layer().weights.per_channel is False


def test_bias_zero() -> None:
    layer = healthy().rounded_to_all()
    zero = replace(layer, bias_stored=np.zeros_like(layer.bias_stored))
    cause = found(zero, "bias_zero", fault=True)
    assert figures(cause.text) == [pytest.approx(np.abs(layer.bias).max(), rel=1e-3)]


def test_bias_saturated() -> None:
    layer = healthy().rounded_to_all()
    steps, stored = layer.bias_steps.copy(), layer.bias_stored.copy()
    worst = int(np.abs(layer.bias).argmax())
    steps[worst] = abs(layer.bias[worst]) / 2**33
    stored[worst] = 2**31 - 1 if layer.bias[worst] > 0 else -(2**31)
    cause = found(replace(layer, bias_steps=steps, bias_stored=stored), "bias_saturated", fault=True)
    count, channel, wants, has = figures(cause.text)
    assert (count, channel) == (1, worst)
    assert wants == pytest.approx(layer.bias[worst], rel=1e-3)
    assert has == pytest.approx(layer.bias[worst] / 4, rel=1e-3)


def test_bias_differs() -> None:
    layer = healthy().rounded_to_all()
    stored = layer.bias_stored.copy()
    worst = int(np.abs(layer.bias).argmax())
    stored[worst] *= -1
    cause = found(replace(layer, bias_stored=stored), "bias_differs", fault=True)
    channel, wants, has = figures(cause.text)
    assert (channel, wants, has) == (
        worst,
        pytest.approx(layer.bias[worst], rel=1e-3),
        pytest.approx(-layer.bias[worst], rel=1e-3),
    )


def coarse(mean: float) -> Lone:
    """The largest weight of each channel multiplies nothing, so that the others get few steps."""
    weight = uniform(8, 5, seed=1, reach=0.05)
    weight[:, 0] = 1
    data = [mean + uniform(1, 5, SIZE, SIZE, seed=seed) for seed in (1, 2, 3)]
    for array in data:
        array[0, 0] = 0
    return lone(weight, np.zeros(8), data)


def test_bias_shift() -> None:
    layer = coarse(3.0)
    cause = found(layer, "bias_shift", fault=False)
    values = numbers(layer)
    exact = layer.stored * layer.steps[:, None]
    got = np.moveaxis(np.concatenate([np.einsum("oi,bihw->bohw", exact, call) for call in layer.calls]), 1, 0)
    off = got.reshape(8, -1) - values
    shifted = np.sum(off.mean(axis=1) ** 2) * off.shape[1]
    assert figures(cause.text) == [pytest.approx(100 * shifted / np.sum(off**2), abs=0.6)]
    corrected = off - off.mean(axis=1, keepdims=True)
    assert cause.gain_db == pytest.approx(10 * np.log10(np.sum(off**2) / np.sum(corrected**2)), abs=0.05)


def test_weight_steps() -> None:
    assert figures(found(coarse(0.0), "weight_steps", fault=False).text) == [256]


def test_not_finite() -> None:
    layer = healthy()
    steps = layer.bias_steps.copy()
    steps[3] = np.inf
    cause = found(replace(layer, bias_steps=steps), "not_finite", fault=True)
    assert figures(cause.text) == [numbers(layer).shape[1]]


# The list of kinds -----------------------------------------------------------------------------------------


def kinds() -> set[str]:
    """All kinds that the code knows: what is handed to a Cause first, or named `kind` for it."""
    found: set[str] = set()
    for module in (causes, output_causes, weight_causes):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Cause":
                given: ast.expr = node.args[0]
            elif isinstance(node, ast.Assign) and "kind" in ast.unparse(node.targets[0]):
                given = node.value.elts[0] if isinstance(node.value, ast.Tuple) else node.value
            else:
                continue
            if isinstance(given, ast.Constant):
                found.add(given.value)
    return found


def test_every_kind_has_a_test() -> None:
    tests: dict[str, Callable[..., None]] = globals()
    assert len(kinds()) == 17
    assert {f"test_{kind}" for kind in kinds()} <= set(tests)


def test_a_fault_comes_first_though_another_layer_is_less_exact() -> None:
    comparison = healthy().rounded_to_all(3.0).compare()
    worse = replace(comparison.layers[-1], cause=None, own_sqnr=1.0, output="coarse")
    guilty = replace(comparison, layers=[*comparison.layers, worse]).guilty()
    assert [layer.output for layer in guilty[:2]] == ["y", "coarse"]
    assert isinstance(guilty[0], Layer)
