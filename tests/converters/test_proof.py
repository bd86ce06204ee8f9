"""The proof of a conversion: small errors pass, others are named with the layer where they begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from knight import model as models
from knight.converters import Conversion, Feeds
from knight.converters._proof import Comparison, difference, is_rounding, prove
from knight.errors import ModelError
from knight.runner import Session
from tests.small_models import conv_net


def itself(model: ir.Model, change: Callable[[np.ndarray], np.ndarray] = lambda array: array) -> Conversion:
    """A conversion whose reference is the model, with its outputs changed."""
    session = Session(model, level="none")

    def probe(feeds: Feeds, names: Sequence[str]) -> dict[str, np.ndarray]:
        tapped = Session(model, taps=names, level="none")
        return dict(zip((info.name for info in tapped.outputs), tapped.run(feeds), strict=True))

    return Conversion(model, lambda feeds: [change(array) for array in session.run(feeds)], probe=probe)


def test_open_batches_are_tried_at_several_sizes(tmp_path: Path) -> None:
    proof = prove(itself(models.load(conv_net(tmp_path, batch="N"))), 1e-6).proof
    assert proof.batches == [1, 2, 5]
    assert proof.samples == 3
    assert proof.error < 1e-6


def test_fixed_batches_are_tried_with_several_samples(tmp_path: Path) -> None:
    proof = prove(itself(models.load(conv_net(tmp_path, batch=2))), 1e-6).proof
    assert proof.batches == [2]
    assert proof.samples == 3


def test_the_users_examples_count(tmp_path: Path) -> None:
    seen = []
    model = models.load(conv_net(tmp_path, batch="N"))
    example = np.full((7, 3, 8, 8), 3.0, np.float32)
    conversion = itself(model)
    reference = conversion.reference
    assert reference is not None

    def listening(feeds: Feeds) -> Sequence[np.ndarray]:
        seen.append(feeds["x"].shape[0])
        return reference(feeds)

    proof = prove(replace(conversion, reference=listening, examples=({"x": example},)), 1e-6).proof
    assert seen == [7, 1, 2, 5]
    assert proof.samples == 4


def test_the_error_is_a_fraction_of_the_range(tmp_path: Path) -> None:
    def shift(array: np.ndarray) -> np.ndarray:
        moved = array.copy()
        moved[0, 0] += 1e-4 * np.ptp(array)
        return moved

    proof = prove(itself(models.load(conv_net(tmp_path)), shift), 1e-2).proof
    assert proof.output == "scores"
    assert proof.error == pytest.approx(1e-4, rel=0.05)


def scaled(folder: Path, scale: float, shift: float = 0.0) -> ir.Model:
    """The model with its scores multiplied by `scale` in the last layer."""
    model = models.load(conv_net(folder))
    for name, other in (("v", 0.0), ("c", shift)):
        weight = model.graph.initializers[name]
        array = np.asarray(weight.const_value.numpy())  # type: ignore[union-attr]
        weight.const_value = ir.tensor((array * scale + other).astype(np.float32), name=name)
    return model


@pytest.mark.parametrize("shift", [0.0, 1e-2])
def test_rounding_of_outputs_that_are_small_passes_and_is_told(shift: float, tmp_path: Path) -> None:
    """A range of about 0.001, and some 1e-6 beside it: above 1e-3 of that, and a few steps of float32."""
    model = scaled(tmp_path, 2e-4, shift)
    found = prove(itself(model, lambda array: array + np.float32(1e-6) * np.arange(4)), 1e-3).proof
    assert 1e-3 < found.error < 1e-2
    assert found.rounding == {"scores": pytest.approx(3e-6, rel=0.1)}
    assert not prove(itself(model), 1e-3).proof.rounding


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-7])
def test_small_outputs_that_are_wrong_are_found(scale: float, tmp_path: Path) -> None:
    """By a few hundredths of their range, or as another operator would make them, however small they are."""
    model = scaled(tmp_path, scale)
    for change in (lambda array: array * np.float32(1.05), lambda array: np.maximum(array, 0), np.negative):
        with pytest.raises(ModelError, match=r"the converted model is wrong: output 'scores' differs by"):
            prove(itself(model, change), 1e-3)


def test_rounding_counts_by_the_magnitude_of_the_inputs(tmp_path: Path) -> None:
    def moved(array: np.ndarray) -> np.ndarray:
        return array + np.float32(5e-3 * np.ptp(array)) * np.eye(1, 4, dtype=np.float32)

    model = models.load(conv_net(tmp_path))
    with pytest.raises(ModelError, match="is wrong"):
        prove(itself(model, moved), 1e-3)
    feeds = {"x": np.full((1, 3, 8, 8), 1e6, np.float32)}
    want = np.array([[0.0, 1.0]], np.float32)
    assert is_rounding(5e-3, 1.0, want, want + 1, feeds)
    assert not is_rounding(5e-2, 1.0, want, want + 1, feeds)
    assert not is_rounding(5e-3, 1.0, want, want + 1, {"x": feeds["x"] / 1e6})
    assert not is_rounding(5e-3, 1.0, want.astype(int), want.astype(int) + 1, feeds)


def ranked(folder: Path) -> ir.Model:
    """conv_net, and behind it the places of its scores in order."""
    model = models.load(conv_net(folder))
    scores = model.graph.outputs[0]
    k = ir.Value(name="k", const_value=ir.tensor(np.array([4]), name="k"))
    model.graph.register_initializer(k)
    node = ir.Node("", "TopK", [scores, k], num_outputs=2, name="topk")
    node.outputs[1].name, node.outputs[0].name = "order", "sorted"
    node.outputs[1].type, node.outputs[1].shape = ir.TensorType(ir.DataType.INT64), ir.Shape([1, 4])
    model.graph.append(node)
    model.graph.outputs[0] = node.outputs[1]
    return model


def test_a_sample_with_ties_decides_nothing(tmp_path: Path) -> None:
    """Scores of 0 for every class: their order is any."""
    model = ranked(tmp_path)
    for name in "bc":
        model.graph.initializers[name].const_value = ir.tensor(
            np.zeros(5 if name == "b" else 4, np.float32), name=name
        )
    conversion = itself(model)
    reference = conversion.reference
    assert reference is not None
    zeros = {"x": np.zeros((1, 3, 8, 8), np.float32)}

    def last_first(feeds: Feeds) -> Sequence[np.ndarray]:
        """Of equal ones the last comes first."""
        (order,) = reference(feeds)
        return [order if feeds["x"].any() else order[:, ::-1]]

    found = replace(conversion, reference=last_first, examples=(zeros,))
    comparison = prove(found, 1e-3)
    assert (comparison.proof.undecided, comparison.proof.samples) == (1, 3)
    comparison.conclude()
    only = Comparison(found, 1e-3)
    only.run(zeros)
    with pytest.raises(ModelError, match=r"none of 1 samples shows .*ties in a TopK.*-if"):
        only.conclude()


def test_a_wrong_order_is_found(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is wrong: output 'order'"):
        prove(itself(ranked(tmp_path), lambda order: order[:, ::-1]), 1e-3)


def test_an_output_that_is_constant_but_for_rounding_is_measured_against_its_magnitude() -> None:
    one = np.float32(1)
    want = np.array([one, one + np.finfo(np.float32).eps, one], np.float32)
    assert difference(want, np.full(3, one)) == pytest.approx(2.0**-23)
    assert difference(want, np.full(3, 1.01, np.float32)) == pytest.approx(1e-2, rel=1e-4)


def test_the_first_layer_that_differs_is_named(tmp_path: Path) -> None:
    source = models.load(conv_net(tmp_path))
    wrong = source.clone()
    weight = wrong.graph.initializers["b"]
    weight.const_value = ir.tensor(np.asarray(weight.const_value.numpy()) + 1, name="b")
    conversion = replace(itself(source), model=wrong)
    with pytest.raises(
        ModelError, match=r"output 'scores' differs by .* first layer that differs is 'conv' "
    ):
        prove(conversion, 1e-3)
    with pytest.raises(ModelError, match="the first wrong one is not known"):
        prove(replace(conversion, probe=None), 1e-3)


def test_another_shape_and_another_number_of_outputs(tmp_path: Path) -> None:
    model = models.load(conv_net(tmp_path))
    with pytest.raises(ModelError, match=r"has shape \[1, 4\] instead of \[4\]"):
        prove(itself(model, lambda array: array[0]), 1e-3)
    conversion = replace(itself(model), reference=lambda feeds: [])
    with pytest.raises(ModelError, match="the source gives 0 outputs, its conversion 1"):
        prove(conversion, 1e-3)


def test_difference_of_what_is_not_finite() -> None:
    values = np.array([1.0, np.nan, np.inf, -np.inf])
    assert difference(values, values) == 0.0
    assert difference(values, np.array([1.0, 0.0, np.inf, -np.inf])) == np.inf
    assert difference(np.array([1.0, 2.0]), np.array([1.0, np.nan])) == np.inf
    assert difference(np.array([1.0, np.inf]), np.array([1.0, -np.inf])) == np.inf
    assert difference(np.array([1.0, 3.0, np.inf]), np.array([1.2, 3.0, np.inf])) == pytest.approx(0.1)


def test_difference_of_integers_is_the_fraction_that_differs() -> None:
    assert difference(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == 0.25
    assert difference(np.array([True, False]), np.array([True, False])) == 0.0
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))) == 0.0
    assert difference(np.zeros(3), np.zeros(4)) == np.inf


@given(hnp.arrays(np.float64, 5, elements=st.floats(-1e3, 1e3)), st.integers(0, 4), st.floats(-5, 5))
def test_difference_as_stated(values: np.ndarray, index: int, error: float) -> None:
    other = values.copy()
    other[index] += error
    span, size = values.max() - values.min(), abs(values).max()
    span = (span if span > 32 * 2.0**-52 * size else size) or 1.0
    assert difference(values, other) == pytest.approx(abs(other[index] - values[index]) / span)
