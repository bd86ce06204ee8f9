"""The whole way on small nets: one pass over the data, same bytes whatever its order, honest figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from knight import model as models
from knight.calibration import Method, methods as all_methods
from knight.config import QuantConfig
from knight.errors import ConfigError, DataError, ModelError
from knight.executor import Executor, InferFunction, RunSettings
from knight.inferring import run_infer as infer
from knight.observing import observe
from knight.outputs import output_scales
from knight.pipeline import Outcome, quantize
from knight.planner import make_plan
from knight.preparing import prepare_model
from knight.realizing import realize
from knight.recipe import Choice, Recipe
from knight.runner import Session
from knight.targets import Target, load_target
from tests import small_models
from tests.passes.equivalence import build, random

ORT = load_target("onnxruntime")
TX = load_target("TX5368AV200")
SAMPLES = [random(1, 3, 8, 8, seed=seed) for seed in range(12)]


def feeding(samples: Sequence[np.ndarray], result: object = 1.0) -> InferFunction:
    def feed(executor: Executor) -> object:
        for sample in samples[: executor.iteration]:
            executor.forward(sample)
        return result

    return feed


def run(
    path: Path,
    function: InferFunction,
    target: Target = ORT,
    *,
    iterations: tuple[int, ...] = (12,),
    **options: object,
) -> tuple[Outcome, ...]:
    config = replace(QuantConfig(), iterations=iterations, **options)
    return tuple(quantize(models.load(path), function, target, config, RunSettings(), name="net"))


def content(outcome: Outcome) -> bytes:
    assert outcome.model is not None, outcome.failure
    return models.to_bytes(outcome.model)


def test_one_pass_over_the_data_serves_all_methods(tmp_path: Path) -> None:
    calls: list[int] = []

    def counting(executor: Executor) -> float:
        calls.append(0)
        for sample in SAMPLES[: executor.iteration]:
            executor.forward(sample)
            calls[-1] += 1
        return 1.0

    outcomes = run(small_models.conv_net(tmp_path), counting, methods=all_methods())
    assert [outcome.method for outcome in outcomes] == list(all_methods())
    assert calls == [12] * 6  # the float model once, each quantized model once


@pytest.mark.parametrize("method", all_methods())
def test_the_order_of_the_samples_does_not_change_a_byte(tmp_path: Path, method: str) -> None:
    path = small_models.conv_net(tmp_path)
    orders = (SAMPLES, SAMPLES[::-1], SAMPLES[5:] + SAMPLES[:5])
    results = {content(*run(path, feeding(order), methods=(method,))) for order in orders}
    assert len(results) == 1


@pytest.mark.parametrize("method", all_methods())
def test_two_halves_merged_give_the_bytes_of_one_pass(tmp_path: Path, method: str) -> None:
    path = small_models.conv_net(tmp_path)
    (whole,) = run(path, feeding(SAMPLES), methods=(method,))
    prepared = prepare_model(models.load(path), ORT)
    plan = make_plan(prepared, ORT, Recipe(Choice(method=method)))
    halves = []
    for samples in (SAMPLES[:5], SAMPLES[5:]):
        with observe(prepared, plan, feeding(samples), RunSettings(iteration=12)) as seen:
            halves.append(seen.statistics)
    halves[0].merge(halves[1])
    assert models.to_bytes(realize(prepared, plan, halves[0]).model) == content(whole)


def test_fewer_iterations_see_the_first_samples_only(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    few, many = run(path, feeding(SAMPLES), methods=("min_max",), iterations=(3, 12))
    assert (few.label, many.label) == ("min_max_it_3", "min_max_it_12")
    assert content(few) == content(*run(path, feeding(SAMPLES), methods=("min_max",), iterations=(3,)))
    assert content(many) == content(*run(path, feeding(SAMPLES), methods=("min_max",)))
    assert content(few) != content(many)


def test_each_result_is_there_before_the_next_is_begun(tmp_path: Path) -> None:
    calls: list[str] = []

    def feed(executor: Executor) -> None:
        calls.append("float" if executor.is_float else "quantized")
        for sample in SAMPLES[: executor.iteration]:
            executor.forward(sample)
        if len(calls) == 3:
            raise RuntimeError("the data set is gone")

    config = replace(QuantConfig(), methods=("min_max", "mse"), iterations=(2,))
    path = small_models.conv_net(tmp_path)
    outcomes = quantize(models.load(path), feed, ORT, config, RunSettings(), name="net")
    assert next(outcomes).model is not None and calls == ["float", "quantized"]
    assert "the data set is gone" in str(next(outcomes).failure)


def test_metrics_and_loss_are_those_of_the_function(tmp_path: Path) -> None:
    seen: list[float] = []

    def mean_score(executor: Executor) -> float:
        total = [float(executor.forward(sample)[0].mean()) for sample in SAMPLES]
        seen.append(float(np.mean(total)))
        return seen[-1]

    (outcome,) = run(small_models.conv_net(tmp_path), mean_score)
    report = outcome.report
    assert (report["metric_float"], report["metric_quantized"]) == (seen[0], seen[1])
    assert report["loss"] == pytest.approx(abs(seen[1] - seen[0]) / abs(seen[0]) * 100)


@pytest.mark.parametrize("result", [None, "good", float("nan"), [1.0, 2.0]])
def test_a_result_that_is_no_number_has_no_loss(tmp_path: Path, result: object) -> None:
    (outcome,) = run(small_models.conv_net(tmp_path), feeding(SAMPLES, result))
    assert outcome.report["loss"] is None and outcome.report["sqnr_db"] > 20


def test_sqnr_is_that_of_numpy(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    (outcome,) = run(path, feeding(SAMPLES))
    assert outcome.model is not None
    outputs = []
    for model in (models.load(path), outcome.model):
        session = Session(model)
        outputs.append(
            np.concatenate([session.run({"x": sample})[0] for sample in SAMPLES]).astype(np.float64)
        )
    wanted, got = outputs
    sqnr = 10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum())
    cosine = (wanted * got).sum() / np.sqrt(np.square(wanted).sum() * np.square(got).sum())
    assert outcome.report["sqnr_db"] == pytest.approx(sqnr, abs=0.01)
    assert outcome.report["cosine"] == pytest.approx(cosine, abs=1e-6)


def test_samples_that_the_float_model_has_not_seen_are_told(tmp_path: Path) -> None:
    """Random numbers without a seed, or a state fed back: nothing is there to compare their outputs with."""
    fresh = iter(range(1000, 2000))

    def feed(executor: Executor) -> None:
        for sample in SAMPLES[:same]:
            executor.forward(sample)
        for _ in range(3):
            executor.forward(random(1, 3, 8, 8, seed=next(fresh)))

    for same in (0, 2):
        (outcome,) = run(small_models.conv_net(tmp_path), feed, TX)
        assert (outcome.report["sqnr_db"] is None) == (same == 0)
        (warning,) = [text for text in outcome.report["warnings"] if "has not seen" in text]
        assert f"those of {same} of {same + 3} samples" in warning
    (outcome,) = run(small_models.conv_net(tmp_path), feeding(SAMPLES), TX)
    assert not [text for text in outcome.report["warnings"] if "has not seen" in text]


def test_the_flag_rises_once_the_figures_have_settled_and_only_in_the_fixed_point_pass(
    tmp_path: Path,
) -> None:
    raised: list[int | None] = []

    def stopping(executor: Executor) -> None:
        raised.append(None)
        for number in range(400):
            executor.forward(SAMPLES[number % 12])
            if executor.early_stop_flag:
                raised[-1] = number + 1
                break

    run(small_models.conv_net(tmp_path), stopping)
    assert raised[0] is None  # calibration sees all the data
    assert raised[1] is not None and 8 <= raised[1] < 200


def test_outputs_of_a_chip_are_handed_out_as_real_numbers(tmp_path: Path) -> None:
    first: list[np.ndarray] = []

    def keeping(executor: Executor) -> None:
        first.append(executor.forward(SAMPLES[0])[0])

    (outcome,) = run(small_models.conv_net(tmp_path), keeping, TX)
    assert outcome.model is not None
    scale = output_scales(outcome.model)["scores"]["scale"]
    raw = Session(outcome.model).run({"x": SAMPLES[0]})[0]
    np.testing.assert_array_equal(raw, np.rint(raw))
    np.testing.assert_allclose(first[1], raw * np.float32(scale))
    assert outcome.report["outputs"][0]["scale"] == scale
    keep: list[np.ndarray] = []
    infer(outcome.model, lambda executor: keep.extend(executor.forward(SAMPLES[0])), RunSettings(), threads=1)
    np.testing.assert_array_equal(keep[0], first[1])


def test_a_dynamic_batch_stays_dynamic_for_a_runtime(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path, batch="N")
    varied = [random(size, 3, 8, 8, seed=size) for size in (1, 4, 2)]
    (outcome,) = run(path, feeding(varied), iterations=(3,))
    assert outcome.model is not None
    assert Session(outcome.model).run({"x": random(7, 3, 8, 8)})[0].shape == (7, 4)
    (fixed,) = run(path, feeding([random(4, 3, 8, 8)]), iterations=(1,), ir_batch=2)
    assert fixed.model is not None and Session(fixed.model).inputs[0].shape == (2, 3, 8, 8)


def test_a_chip_gets_a_batch_of_one_and_takes_larger_batches_in_pieces(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path, batch="N")
    (together,) = run(path, feeding([np.concatenate(SAMPLES)]), TX, iterations=(1,), batch_size=12)
    (apart,) = run(path, feeding(SAMPLES), TX)
    assert together.model is not None and Session(together.model).inputs[0].shape == (1, 3, 8, 8)
    assert content(together) == content(apart)


def test_mean_and_std_take_raw_pictures(tmp_path: Path) -> None:
    path = small_models.conv_net(tmp_path)
    mean, std = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
    raw = [sample * np.reshape(std, (1, 3, 1, 1)) + np.reshape(mean, (1, 3, 1, 1)) for sample in SAMPLES]
    (outcome,) = run(path, feeding([sample.astype(np.float32) for sample in raw]), mean=mean, std=std)
    assert outcome.model is not None
    got = Session(outcome.model).run({"x": raw[0].astype(np.float32)})[0]
    wanted = Session(models.load(path)).run({"x": SAMPLES[0]})[0]
    assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


def test_a_cropped_model_ends_where_it_was_told(tmp_path: Path) -> None:
    (outcome,) = run(small_models.conv_net(tmp_path), feeding(SAMPLES), output_names=("pool",))
    assert outcome.model is not None
    assert [output.name for output in outcome.model.graph.outputs] == ["pool"]


def test_steps_hold_every_stage_and_all_intermediate_outputs(tmp_path: Path) -> None:
    (outcome,) = run(small_models.conv_net(tmp_path), feeding(SAMPLES), TX)
    everything = Session(outcome.steps["output_all_layers_quantize"])
    assert {"x_QuantizeLinear_output", "relu", "scores"} <= {info.name for info in everything.outputs}
    everything.run({"x": SAMPLES[0]})
    assert Session(outcome.steps["stage3_quantized"]).run({"x": SAMPLES[0]})[0].dtype == np.float32


def test_a_failure_of_one_combination_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_models.conv_net(tmp_path)

    def broken(*_: object) -> tuple[float, float]:
        raise DataError("mse is broken")

    monkeypatch.setattr("knight.calibration.mse.method", Method(broken))
    good, bad = run(path, feeding(SAMPLES), methods=("min_max", "mse"))
    assert good.failure is None and good.model is not None
    assert bad.model is None and "mse is broken" in str(bad.failure)
    with pytest.raises(ConfigError, match="unknown calibration method 'minmax'"):
        run(path, feeding(SAMPLES), methods=("minmax",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 16}, "onnxruntime has no 16-bit integers; it has 8"),
        ({"percent": 1.5}, "-per 1.5"),
        ({"iterations": (0,)}, "-i wants"),
        ({"batch_size": 0}, "-bs and -ib"),
    ],
)
def test_options_that_cannot_be_met(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(small_models.conv_net(tmp_path), feeding(SAMPLES), **options)


def test_a_nan_inside_the_float_model_is_named(tmp_path: Path) -> None:
    model = build("l = Log(x) y = MatMul(l, v)", {"v": random(4, 3)}, inputs={"x": (1, 4)})
    models.save(model, tmp_path / "log.onnx")
    with pytest.raises(DataError, match=r"sample 1: value 'l' is not a number \(NaN\) in the float model"):
        run(tmp_path / "log.onnx", feeding([np.full((1, 4), -1, np.float32)]), iterations=(1,))


def test_strict_refuses_before_any_data_is_read(tmp_path: Path) -> None:
    model = build("e = Erf(x) y = MatMul(e, v)", {"v": random(4, 3)}, inputs={"x": (1, 4)})
    models.save(model, tmp_path / "erf.onnx")
    with pytest.raises(ModelError, match="has no Erf"):
        run(tmp_path / "erf.onnx", feeding([], None), TX, strict=True)


def test_a_model_with_nothing_to_quantize_comes_back_with_a_warning(tmp_path: Path) -> None:
    models.save(build("y = Erf(x)", inputs={"x": (1, 4)}), tmp_path / "erf.onnx")
    (outcome,) = run(tmp_path / "erf.onnx", feeding([random(1, 4)]), iterations=(1,))
    assert outcome.report["integer_operators"] == 0
    assert any("nothing in this model" in warning for warning in outcome.report["warnings"])


def test_a_shared_clone_does_not_change_the_source(tmp_path: Path) -> None:
    source = models.load(small_models.conv_net(tmp_path))
    before = models.to_bytes(source)
    config = replace(QuantConfig(), iterations=(12,))
    assert list(quantize(source, feeding(SAMPLES), TX, config, RunSettings(), name="net"))
    assert models.to_bytes(source) == before
