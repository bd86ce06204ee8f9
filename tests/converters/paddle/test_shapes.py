"""Input shapes: what they fill, what they may not change, and what the conversion gains by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from knight.errors import ConfigError, ModelError
from knight.runner import Session
from tests.converters.checks import assert_same, random_feeds
from tests.converters.paddle import nets
from tests.converters.paddle.nets import paddle

F = paddle.nn.functional
OPEN = ((None, 3, None, None), "float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net over pictures of any size that paddle2onnx translates for fixed ones only."""
    convolution = paddle.nn.Conv2D(3, 4, 3, padding=1)
    layer = nets.net(
        lambda x: F.adaptive_avg_pool2d(F.relu(convolution(x)), [2, 3]).flatten(1), part=convolution
    )
    return nets.save(layer, tmp_path_factory.mktemp("shapes") / "net", OPEN)


def _shape(model: Path, **options: object) -> tuple[int | None, ...]:
    conversion = nets.convert(model, **options)
    assert_same(conversion, batches=(1, 2))
    return Session(conversion.model).inputs[0].shape


def test_shapes_fill_open_dimensions(model: Path) -> None:
    assert _shape(model, input_shapes=((2, 3, 8, 9),)) == (2, 3, 8, 9)


def test_minus_one_stays_open(model: Path) -> None:
    assert _shape(model, input_shapes=((-1, 3, 8, 9),)) == (None, 3, 8, 9)
    assert _shape(model, input_shapes=((-1, -1, 8, 9),)) == (None, 3, 8, 9)
    with pytest.raises(ModelError, match=r"Adaptive only support static input shape.*-is"):
        nets.convert(model, input_shapes=((2, 3, -1, -1),))
    with pytest.raises(ConfigError, match="sizes of input 'x0' have to be positive"):
        nets.convert(model, input_shapes=((-2, 3, 8, 9),))


def test_without_shapes_what_needs_them_is_told(model: Path) -> None:
    with pytest.raises(ModelError, match=r"Adaptive only support static input shape.*-is"):
        nets.convert(model)


def test_height_and_width_stay_open(tmp_path: Path) -> None:
    convolution = paddle.nn.Conv2D(3, 4, 3, stride=2)
    layer = nets.net(
        lambda x: F.interpolate(F.relu(convolution(x)), scale_factor=2.0).mean([2, 3]), part=convolution
    )
    conversion = nets.convert(nets.save(layer, tmp_path / "net", OPEN))
    dims = [str(dim) for dim in conversion.model.graph.inputs[0].shape or ()]
    assert dims == ["batch_size", "3", "x0_dim_2", "x0_dim_3"]
    session = Session(conversion.model)
    for size in (9, 16):
        (feed,) = random_feeds(session, size).values()
        assert_same(conversion, {"x0": feed[:2]})


def test_fixed_dimensions_are_not_changed(model: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"dimension 1 of input 'x0' is fixed at 3 in the model, 9 is given"
    ):
        nets.convert(model, input_shapes=((1, 9, 8, 9),))


def test_number_of_shapes_and_of_dimensions(model: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"2 shapes are given, the model has 1 inputs \(x0 \[\?, 3, \?, \?\]\)"
    ):
        nets.convert(model, input_shapes=((1, 3, 8, 9), (1, 2)))
    with pytest.raises(ConfigError, match="has 4 dimensions"):
        nets.convert(model, input_shapes=((1, 3, 8),))
    with pytest.raises(ConfigError, match="positive"):
        nets.convert(model, input_shapes=((0, 3, 8, 9),))


def test_shapes_of_a_protobuf_program(kit: Path) -> None:
    folder = kit / "paddle" / "resnet20_cifar10"
    assert _shape(folder / "inference.pdmodel", input_shapes=((4, 3, 32, 32),)) == (4, 3, 32, 32)


def test_shapes_with_which_the_net_does_not_run(tmp_path: Path) -> None:
    linear = paddle.nn.Linear(12, 2)
    layer = nets.net(lambda x: linear(x.flatten(1)), part=linear)
    model = nets.save(layer, tmp_path / "net", ((None, 3, None), "float32"))
    assert _shape(model, input_shapes=((2, 3, 4),)) == (2, 3, 4)
    with pytest.raises(ModelError, match="does not run with the shapes of -is") as caught:
        nets.convert(model, input_shapes=((2, 3, 5),))
    assert "\n" not in str(caught.value)
