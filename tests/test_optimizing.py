"""A patch is new numbers only, and is taken where samples held back agree; every other case is said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from knight import model as models, optimizing
from knight.errors import ConfigError, ModelError
from knight.kept_samples import content_hash
from knight.optimizers import Bench, Optimizer, Patch, check_optimizers
from knight.optimizing import Draft, Verdict, held_back, optimize
from knight.preparing import Prepared
from knight.quantizer import dequantize, quantize
from knight.realizing import Quantized, realize
from knight.solver import solve
from knight.targets import load_target
from knight.types import QParams
from tests.passes.equivalence import build, random
from tests.stages import kept, plan_of, statistics_of

ORT = load_target("onnxruntime")
NET = "c = Conv(x, w, b) r = Relu(c) y = Conv(r, v, d)"
NUMBERS = {
    "w": random(4, 4, 1, 1, seed=1),
    "b": random(4, seed=2),
    "v": random(5, 4, 1, 1, seed=3),
    "d": random(5, seed=4),
}
SAMPLES = [{"x": random(1, 4, 3, 3, seed=seed)} for seed in range(20)]
NOTHING = Patch()


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, Optimizer]:
    """Optimizers of the test's own, by name."""
    entries: dict[str, Optimizer] = {}
    monkeypatch.setattr(optimizing.optimizers, "get", entries.__getitem__)
    return entries


def rounding(patch: Callable[[Bench], Patch]) -> Optimizer:
    return Optimizer(patch, changes="rounding")


def made(*names: str, samples: list[dict[str, np.ndarray]] = SAMPLES, patch: Patch = NOTHING) -> Quantized:
    model = build(NET, NUMBERS, inputs={"x": ("N", 4, 3, 3)})
    plan = plan_of(model, ORT)
    statistics = statistics_of(model, plan, SAMPLES)
    with kept(samples) as store:
        return realize(Prepared(model), plan, statistics, optimizers=names, samples=store, patch=patch)


def drifting(bench: Bench) -> Patch:
    return Patch(biases={"node2": bench.numbers.bias("node2") + np.float32(1)})


def back(bench: Bench) -> Patch:
    return Patch(biases={"node2": bench.numbers.bias("node2") - np.float32(1)})


def helping(bench: Bench) -> Patch:
    """The last layer's bias, corrected: its mean error is what the samples show."""
    means = [
        [arrays["y"].mean(axis=(0, 2, 3), dtype=np.float64) for arrays in bench.capture(["y"], quantized=on)]
        for on in (False, True)
    ]
    error = np.mean(means[0], axis=0) - np.mean(means[1], axis=0)
    return Patch(biases={"node2": (bench.numbers.bias("node2") + error).astype(np.float32)})


def test_a_patch_that_harms_is_refused_with_both_figures(made_up: dict[str, Optimizer]) -> None:
    made_up["drifting"] = rounding(drifting)
    plain, tried = made(), made("drifting")
    assert models.to_bytes(tried.model) == models.to_bytes(plain.model)
    (verdict,) = tried.verdicts
    assert not verdict.accepted and verdict.after_db < verdict.before_db and verdict.check_samples == 5
    assert tried.warnings == (
        f"optimizer drifting was refused: it does not help: {verdict.before_db:.2f} dB without, "
        f"{verdict.after_db:.2f} dB with it on 5 samples held back",
    )


def test_each_is_judged_on_top_of_those_taken_before(made_up: dict[str, Optimizer]) -> None:
    """What undoes a drift helps only where the drift has been taken."""
    harmed = {**NUMBERS, "d": NUMBERS["d"] - np.float32(1)}

    class Harmed:
        """Rounds another bias first, so that `drifting` is a cure."""

        def __call__(self, bench: Bench) -> Patch:
            return Patch(biases={"node2": harmed["d"]})

    made_up |= {"harm": rounding(Harmed()), "back": rounding(back), "drifting": rounding(drifting)}
    names = ("harm", "back", "drifting")
    assert [verdict.accepted for verdict in made(*names).verdicts] == [False, False, False]
    model = build(NET, NUMBERS, inputs={"x": ("N", 4, 3, 3)})
    plan = plan_of(model, ORT)
    statistics = statistics_of(model, plan, SAMPLES)
    started = solve(model, plan, statistics, patch=Patch(biases={"node2": harmed["d"]}))
    draft = Draft(Prepared(model), plan, statistics, started)
    found, verdicts = optimize(draft, ("back", "drifting", "drifting"), kept(SAMPLES), fixed={})
    assert [verdict.accepted for verdict in verdicts] == [False, True, False]
    assert verdicts[1].after_db == verdicts[2].before_db > verdicts[0].before_db == verdicts[1].before_db
    np.testing.assert_array_equal(found.parameters.patch.biases["node2"], harmed["d"] + np.float32(1))


def test_every_kind_of_number_arrives_in_the_model(made_up: dict[str, Optimizer]) -> None:
    plain = made()
    weight = plain.parameters.weights["v"]
    coarse = QParams(weight.spec, weight.scale * np.float32(1.5), weight.zero_point)
    group = plain.parameters.activations["r"]
    wide = QParams(group.spec, group.scale * np.float32(1.25), group.zero_point)
    numbers = random(5, 4, 1, 1, seed=9)
    patch = Patch({"v": numbers}, {"node0": random(4, seed=8)}, {"r": wide}, {"v": coarse})
    model = build(NET, NUMBERS, inputs={"x": ("N", 4, 3, 3)})
    params = solve(model, plain.plan, plain.statistics, patch=patch)
    quantized = optimizing.Draft(plain.prepared, plain.plan, plain.statistics, params).model()
    constants = {name: value.const_value.numpy() for name, value in quantized.graph.initializers.items()}
    np.testing.assert_array_equal(constants["v_quantized"], quantize(numbers, coarse))
    np.testing.assert_array_equal(constants["v_scale"], coarse.scale)
    np.testing.assert_array_equal(constants["r_scale"], wide.scale)
    bias = dequantize(constants["node0_bias_quantized"], params.biases["node0"])
    np.testing.assert_allclose(bias, patch.biases["node0"], atol=float(params.biases["node0"].scale.max()))
    np.testing.assert_array_equal(params.biases["node2"].scale, wide.scale * coarse.scale)
    np.testing.assert_array_equal(models.constant(model.graph.initializers["v"]), NUMBERS["v"])


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (Patch(constants={"nonsense": np.zeros(1, np.float32)}), "'nonsense' is no constant"),
        (Patch(constants={"b": np.zeros(3, np.float32)}), "'b' is no constant of this shape and type"),
        (Patch(constants={"b": np.zeros(4, np.float64)}), "'b' is no constant of this shape and type"),
        (Patch(biases={"node1": np.zeros(4, np.float32)}), "no bias of a node 'node1'"),
        (Patch(weights={"x": None}), "no weight 'x'"),
        (Patch(activations={"w": None}), "no group 'w'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_patch_of_something_else_names_it(made_up: dict[str, Optimizer], patch: Patch, said: str) -> None:
    made_up["odd"] = rounding(lambda bench: patch)
    with pytest.raises(ModelError, match=f"optimizer odd: .*{said}"):
        made("odd")


def test_a_float_patch_holds_constants_only(made_up: dict[str, Optimizer]) -> None:
    made_up["odd"] = Optimizer(drifting, changes="float")
    with pytest.raises(ModelError, match="its patch holds constants only"):
        made("odd")


def scaled(factor: float, *names: str) -> Patch:
    """The first layer's results times a factor, which the second layer takes back."""
    factor32 = np.float32(factor)
    return Patch(
        constants={
            "w": NUMBERS["w"] * factor32,
            "b": NUMBERS["b"] * factor32,
            "v": NUMBERS["v"] / factor32,
        },
        moved=frozenset(names),
    )


def test_values_that_moved_are_observed_again_and_no_others(
    made_up: dict[str, Optimizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizing, "_against", lambda before, after: "")
    made_up["scale"] = Optimizer(lambda bench: scaled(4.0, "c", "r"), changes="float")
    plain, found = made(), made("scale")
    before, after = plain.statistics.extremes(["r"]), found.statistics.extremes(["r"])
    assert after.maximum == pytest.approx(4 * before.maximum, rel=1e-6)
    assert found.statistics.observers["x"] is not found.statistics.observers["r"]
    assert found.parameters.activations["x"] == plain.parameters.activations["x"]
    scale = found.parameters.activations["r"].scale / plain.parameters.activations["r"].scale
    assert scale == pytest.approx(4.0, rel=1e-6)
    np.testing.assert_array_equal(
        models.constant(found.prepared.model.graph.initializers["w"]), NUMBERS["w"] * 4
    )
    np.testing.assert_array_equal(models.constant(plain.prepared.model.graph.initializers["w"]), NUMBERS["w"])


def test_a_float_patch_that_changes_the_function_is_refused(
    made_up: dict[str, Optimizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizing, "_against", lambda before, after: "")
    wrong = Patch(constants={"w": NUMBERS["w"] * np.float32(1.01)}, moved=frozenset({"c", "r"}))
    made_up["wrong"] = Optimizer(lambda bench: wrong, changes="float")
    (verdict,) = made("wrong").verdicts
    assert verdict.reason == "it changed what the float model computes"


@pytest.mark.parametrize("samples", [SAMPLES[:15], [{"x": random(64, 4, 3, 3)}], []], ids=len)
def test_with_too_few_samples_rounding_stays_plain(
    made_up: dict[str, Optimizer], samples: list[dict[str, np.ndarray]]
) -> None:
    made_up["helping"] = rounding(helping)
    found = made("helping", samples=samples)
    count = sum(len(feeds["x"]) for feeds in samples)
    assert models.to_bytes(found.model) == models.to_bytes(made().model)
    (text,) = found.warnings
    assert text.startswith("optimizer helping was not used: plain rounding, since telling whether it helps ")
    assert f"takes 16 samples in two forward calls or more, and {count} in {len(samples)} were kept" in text


def test_nothing_to_change_is_said(made_up: dict[str, Optimizer]) -> None:
    made_up["idle"] = rounding(lambda bench: Patch())
    assert made("idle").verdicts == (Verdict("idle", "it found nothing to change"),)


@pytest.mark.parametrize("sizes", [[1] * 16, [1] * 100, [8] * 4, [40, 2, 2, 2], [2, 2, 2, 40], [9, 9]])
def test_a_quarter_is_held_back_by_hash(sizes: list[int]) -> None:
    samples = [{"x": random(size, 4, seed=seed)} for seed, size in enumerate(sizes)]
    in_order = sorted(samples, key=content_hash)
    check, rest = held_back(kept(samples))
    assert check is not None and rest is not None
    assert len(check) + len(rest) == len(sizes) and min(len(check), len(rest)) >= 1
    for got, wanted in zip([*check, *rest], in_order, strict=True):
        np.testing.assert_array_equal(got["x"], wanted["x"])
    held = [len(feeds["x"]) for feeds in check]
    assert sum(held[:-1]) < sum(sizes) / 4  # one call fewer would not do
    assert sum(held) >= sum(sizes) / 4 or len(rest) == 1


def test_fixed_numbers_stay(made_up: dict[str, Optimizer]) -> None:
    made_up["helping"] = rounding(helping)
    plain = made()
    own = plain.parameters.activations["r"]
    given = {"r": QParams(own.spec, own.scale * np.float32(2), own.zero_point)}
    found = made("helping", patch=Patch(activations=given))
    assert found.parameters.activations["r"] == given["r"] != own


def test_the_order_of_names_is_checked() -> None:
    check_optimizers(("equalization", "bias_correction"))
    with pytest.raises(
        ConfigError, match="unknown optimizer 'bias_corection': did you mean 'bias_correction'"
    ):
        check_optimizers(("bias_corection",))
    with pytest.raises(ConfigError, match="bias_correction is named twice"):
        check_optimizers(("bias_correction", "bias_correction"))
    with pytest.raises(ConfigError, match="name equalization before bias_correction"):
        check_optimizers(("bias_correction", "equalization"))


def test_patches_one_after_the_other() -> None:
    one, other = Patch({"a": 1, "b": 2}, moved=frozenset("v")), Patch({"b": 3}, {"n": 4})  # type: ignore[dict-item]
    both = one.followed_by(other)
    assert both.constants == {"a": 1, "b": 3} and both.biases == {"n": 4} and both.moved == {"v"}
    assert one and not Patch() and not Patch(moved=frozenset("v"))
