"""What a CPU with lossy kernels makes of a model, beside the exact figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import knight
from knight import host, model as models
from knight.compare.models import Options, compare_models
from knight.errors import ModelError
from knight.exact import SATURATION, SOFTMAX
from knight.executor import Executor, RunSettings
from knight.host import HostFigures, Replay
from knight.inferring import run_infer as infer
from knight.listener import Listener
from tests import old_cpu, small_models
from tests.passes.equivalence import random

SAMPLES = [random(1, 3, 8, 8, seed=seed) for seed in range(12)]


class Kernels:
    """Stands in for a session: y = x, with an error of `error` on every element."""

    def __init__(self, error: float, differs: frozenset[str] = frozenset()) -> None:
        self.error, self.differs = error, differs

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return [feeds["x"] + np.float32(self.error)]


def replayed(samples: list[np.ndarray], exact: float = 0.01, lossy: float = 0.1) -> HostFigures | None:
    session, here = Kernels(exact, frozenset({SATURATION})), Kernels(lossy)
    replay = Replay(session, ["y"])
    for x in samples:
        replay.keep({"x": x}, session.run({"x": x}), [x])
        x[:] = 99.0  # the user may write into it again
    return replay.figures(lambda: here)


def test_figures_are_those_of_the_first_samples() -> None:
    found = replayed([np.full((1, 4), number, np.float32) for number in range(1, 12)])
    assert found is not None and found.samples == 8
    signal = sum(number**2 for number in range(1, 9))
    decibels = [10 * np.log10(signal / (8 * error**2)) for error in (0.1, 0.01)]
    assert [found.sqnr_db, found.exact_sqnr_db] == pytest.approx(decibels, abs=1e-3)
    signal = sum((number + 0.01) ** 2 for number in range(1, 9))
    assert found.drift_db == pytest.approx(10 * np.log10(signal / (8 * 0.09**2)), abs=1e-3)
    assert found.worth_a_word
    assert f"{decibels[0]:.2f} dB instead of {decibels[1]:.2f} on 8 samples" in str(found)


def test_calls_are_kept_whole_and_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replayed([np.ones((5, 4), np.float32) for _ in range(4)])
    assert found is not None and found.samples == 10
    monkeypatch.setattr(host, "_BYTES", 100)
    found = replayed([np.ones((1, 4), np.float32) for _ in range(8)])
    assert found is not None and found.samples == 3  # 48 bytes each: what was fed, what came, what was wanted


def test_nothing_is_kept_where_the_cpu_is_exact() -> None:
    replay = Replay(Kernels(0.0), ["y"])
    replay.keep({"x": SAMPLES[0]}, [SAMPLES[0]], None)
    assert replay.figures(lambda: pytest.fail("no session is needed")) is None


def figures(**changes: object) -> HostFigures:
    given = {"cpu": "Old CPU", "causes": (SATURATION,), "samples": 8, "slowdown": 1.1}
    return HostFigures(**{**given, "sqnr_db": None, "exact_sqnr_db": None, "drift_db": None, **changes})


def test_small_losses_are_not_worth_a_word() -> None:
    assert not figures(sqnr_db=30.0, exact_sqnr_db=30.4, drift_db=44.0).worth_a_word
    assert figures(sqnr_db=30.0, exact_sqnr_db=30.6, drift_db=44.0).worth_a_word
    assert figures(drift_db=21.0).worth_a_word and not figures(drift_db=41.0).worth_a_word
    assert not figures().worth_a_word


def test_what_is_said_fits_the_cause() -> None:
    saturated = figures(sqnr_db=19.05, exact_sqnr_db=43.8)
    assert str(saturated) == (
        "19.05 dB instead of 43.80 on 8 samples: its int8 kernels saturate (Old CPU, no VNNI)"
    )
    assert "onnxruntime-avx2" in saturated.remedy
    rounded = figures(causes=(SOFTMAX,), samples=1, drift_db=21.0)
    assert str(rounded).startswith(
        "21.00 dB from the exact outputs on 1 sample: ONNX Runtime's integer Softmax"
    )
    assert "Softmax" in rounded.remedy and "no float outputs" in str(figures())


def test_outputs_that_are_no_floats_or_no_tensors() -> None:
    class Labels(Kernels):
        def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            return [feeds["x"].argmax(axis=1), [feeds["x"]]]  # type: ignore[list-item]

    replay = Replay(Labels(0.0, frozenset({SATURATION})), ["label", "sequence"])
    replay.keep({"x": SAMPLES[0]}, Labels(0.0).run({"x": SAMPLES[0]}), None)
    found = replay.figures(lambda: Labels(0.0))
    assert found is not None and found.drift_db is None and not found.worth_a_word


def test_kernels_that_fail_do_not_cost_the_run() -> None:
    class Ear(Listener):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def warn(self, text: str) -> None:
            self.heard.append(text)

    def broken() -> Kernels:
        raise ModelError("ONNX Runtime cannot load the model: why")

    session, ear = Kernels(0.0, frozenset({SATURATION})), Ear()
    replay = Replay(session, ["y"])
    replay.keep({"x": SAMPLES[0]}, session.run({"x": SAMPLES[0]}), None)
    assert replay.figures(broken, ear) is None
    (text,) = ear.heard
    assert "is not known" in text and "cannot load the model: why" in text


# in the steps


def feed(executor: Executor) -> float:
    return float(sum(executor.forward(x)[0].sum() for x in SAMPLES[: executor.iteration]))


def test_figures_do_not_depend_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_models.conv_net(tmp_path)
    wanted = knight.quantize(path, SAMPLES, target="onnxruntime")
    old_cpu.pretend(monkeypatch)
    got = knight.quantize(path, SAMPLES, target="onnxruntime")
    assert got.report["sqnr_db"] == pytest.approx(wanted.report["sqnr_db"], abs=0.01)
    replay = got.report["host"]["replay"]
    assert got.report["host"]["saturates"] and replay["samples"] == 8
    assert replay["sqnr_db"] < replay["exact_sqnr_db"] - 0.5
    assert models.to_bytes(got.model) == models.to_bytes(wanted.model)


@pytest.mark.parametrize("options", [{"target": "onnxruntime-avx2"}, {"reduce_range": True}])
def test_both_remedies_run_exactly_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    old_cpu.pretend(monkeypatch)
    path = small_models.conv_net(tmp_path)
    found = knight.quantize(path, SAMPLES, **{"target": "onnxruntime", **options})
    assert found.report["host"]["replay"] is None


def test_a_chip_has_no_figures_of_this_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_cpu.pretend(monkeypatch)
    path = small_models.conv_net(tmp_path)
    found = knight.quantize(path, SAMPLES, target="TX5368AV200")
    assert found.report["host"] is None
    for options in ({}, {"output_dequant": True}):
        model = knight.quantize(path, SAMPLES, target="TX5368AV200", **options).model
        result = infer(model, feed, RunSettings(iteration=2), threads=1)
        assert result.host is None and result.host_seconds == result.seconds


def test_infer_has_the_speed_of_this_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = knight.quantize(small_models.conv_net(tmp_path), SAMPLES, target="onnxruntime").model
    wanted = infer(model, feed, RunSettings(iteration=12), threads=1).metric
    old_cpu.pretend(monkeypatch)
    result = infer(model, feed, RunSettings(iteration=12), threads=1)
    assert result.metric == pytest.approx(wanted, rel=1e-3)
    assert result.host is not None and result.host.sqnr_db is None and result.host.drift_db is not None
    share = result.model_seconds * (1 - 1 / result.host.slowdown)
    assert result.host_seconds == pytest.approx(result.seconds - share)


def test_compare_says_that_it_is_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_models.conv_net(tmp_path)
    model = knight.quantize(path, SAMPLES, target="onnxruntime").model
    old_cpu.pretend(monkeypatch)
    found = compare_models(
        models.load(path), model, feed, RunSettings(iteration=12), options=Options(remedies=False)
    )
    assert found.host is not None and found.host.worth_a_word and found.host.samples == 8
    (warning,) = found.warnings
    assert (
        "int8 kernels saturate" in warning and "onnxruntime-avx2" in warning and "--reduce-range" in warning
    )
