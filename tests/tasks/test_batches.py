"""Pictures on their way into the model: the input that takes them, its batch, and the numbers themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from knight.errors import ConfigError, DataError
from knight.executor import Executor
from knight.tasks._batches import PictureInput, batches, chosen, picture_input, prepare
from knight.tasks._config import Preparation
from tests.tasks import _runs

PLAIN = Preparation(color_space="RGB")


def taking(*inputs: _runs.TensorInfo, batch_size: int = 1, iteration: int = 100) -> Executor:
    return _runs.executor(lambda *x: [x[0]], inputs=inputs, batch_size=batch_size, iteration=iteration)


@pytest.mark.parametrize(
    ("shape", "batch_size", "wanted"),
    [
        ((1, 3, 4, 6), 1, ((4, 6), 3, False, 1)),
        ((None, 3, 4, 6), 5, ((4, 6), 3, False, 5)),
        ((4, 1, 8, 8), 1, ((8, 8), 1, False, 4)),
        ((4, 3, 8, 8), 8, ((8, 8), 3, False, 8)),  # the executor runs it twice
        ((4, 3, 8, 8), 6, ((8, 8), 3, False, 4)),
        ((1, 4, 6, 3), 1, ((4, 6), 3, True, 1)),
        ((1, 3, 4, 3), 1, ((4, 3), 3, False, 1)),
        ((None, 4, 6, 1), 2, ((4, 6), 1, True, 2)),
    ],
)
def test_the_input_tells_size_channels_layout_and_batch(
    shape: Sequence[int | None], batch_size: int, wanted: tuple[object, ...]
) -> None:
    found = picture_input(taking(_runs.info(shape), batch_size=batch_size))
    assert (found.size, found.channels, found.last, found.batch) == wanted


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, None, 8), r"'x' is 1x3x\?x8; pictures need 1 or 3 channels and a fixed height"),
        ((1, 16, 8, 8), "'x' is 1x16x8x8; pictures need 1 or 3 channels"),
        ((1, 10), "'x' is 1x10; pictures need four dimensions"),
    ],
)
def test_inputs_that_take_no_pictures_are_refused(shape: Sequence[int | None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        picture_input(taking(_runs.info(shape)))


def test_inputs_are_found_by_name() -> None:
    both = taking(_runs.info((1, 9), "ids"), _runs.info((1, 3, 5, 5), "image", "uint8"))
    found = picture_input(both, "image")
    assert (found.name, found.size, found.dtype) == ("image", (5, 5), np.dtype("uint8"))
    with pytest.raises(ConfigError, match="no input 'picture'; known: ids, image"):
        picture_input(both, "picture")


def wanting(dtype: str = "float32", *, channels: int = 3, last: bool = False, batch: int = 1) -> PictureInput:
    return PictureInput("x", (2, 2), channels, last, batch, np.dtype(dtype))


def test_numbers_are_normalized_in_the_order_of_the_colours(tmp_path: Path) -> None:
    path = _runs.paint(tmp_path / "a.png", (10, 20, 30), (2, 2))
    how = Preparation(color_space="BGR", mean=(1, 2, 3), std=(2, 4, 8))
    found = prepare(path, wanting(), how)
    assert found.numbers.dtype == np.float32 and found.numbers.shape == (1, 3, 2, 2)
    np.testing.assert_allclose(found.numbers[0, :, 0, 0], [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8])
    last = prepare(path, wanting(last=True), how)
    np.testing.assert_array_equal(last.numbers, found.numbers.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_inputs_of_integers_take_pixels_as_they_are(tmp_path: Path, dtype: str) -> None:
    path = _runs.paint(tmp_path / "a.png", (10, 20, 255), (2, 2))
    found = prepare(path, wanting(dtype), Preparation(color_space="RGB", mean=(1, 2, 3), std=(2, 4, 8)))
    assert found.numbers.dtype == np.dtype(dtype)
    assert found.numbers[0, :, 1, 1].tolist() == [10, 20, 255]


def test_int8_is_refused_with_what_takes_pixels(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="-qid uint8 takes them"):
        prepare(_runs.paint(tmp_path / "a.png", (9, 9, 9)), wanting("int8"), PLAIN)


def test_colours_have_to_fit_the_channels(tmp_path: Path) -> None:
    path = _runs.paint(tmp_path / "a.png", (9, 9, 9), (2, 2))
    with pytest.raises(ConfigError, match=r"color_space RGB does not fit input 'x', which has 1"):
        prepare(path, wanting(channels=1), PLAIN)
    with pytest.raises(ConfigError, match=r"color_space GRAY does not fit input 'x', which has 3"):
        prepare(path, wanting(), Preparation(color_space="GRAY"))
    grey = prepare(path, wanting(channels=1), Preparation(color_space="GRAY"))
    np.testing.assert_array_equal(grey.numbers, np.full((1, 1, 2, 2), 9, np.float32))


def test_a_letterbox_says_where_the_picture_lies(tmp_path: Path) -> None:
    path = _runs.paint(tmp_path / "a.png", (200, 200, 200), (4, 8))
    wanted = PictureInput("x", (16, 16), 3, False, 1, np.dtype("float32"))
    found = prepare(path, wanted, Preparation(color_space="RGB", resize="letterbox", fill=7))
    assert found.size == (4, 8)
    np.testing.assert_array_equal(found.numbers[0, 0, [0, 3, 4, 11, 12, 15], 8], [7, 7, 200, 200, 7, 7])
    np.testing.assert_allclose(found.place.to_source(np.array([[0, 4, 16, 12]])), [[0, 0, 8, 4]])
    small = prepare(path, wanted, Preparation(color_space="RGB", resize="letterbox", enlarge=False))
    np.testing.assert_allclose(small.place.to_source(np.array([[4, 6, 12, 10]])), [[0, 0, 8, 4]])


def test_a_letterbox_may_lie_in_the_corner(tmp_path: Path) -> None:
    """As YOLOX has it: what is filled is below and at the right."""
    path = _runs.paint(tmp_path / "a.png", (200, 200, 200), (4, 8))
    wanted = PictureInput("x", (16, 16), 3, False, 1, np.dtype("float32"))
    how = Preparation(color_space="RGB", resize="letterbox", fill=7, centre=False)
    found = prepare(path, wanted, how)
    np.testing.assert_array_equal(found.numbers[0, 0, [0, 7, 8, 15], 8], [200, 200, 7, 7])
    np.testing.assert_allclose(found.place.to_source(np.array([[0, 0, 16, 8]])), [[0, 0, 8, 4]])


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return [_runs.paint(tmp_path / f"{n}.png", (n, n, n), (2, 2)) for n in range(7)]


def test_the_last_batch_is_filled_up_and_says_so(pictures: list[Path]) -> None:
    found = list(batches(pictures, wanting(batch=3), PLAIN))
    assert [numbers[:, 0, 0, 0].tolist() for _, numbers in found] == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
    assert [[one.path for one in group] for group, _ in found] == [pictures[:3], pictures[3:6], pictures[6:]]


@pytest.mark.parametrize(("iteration", "count"), [(1, 3), (2, 6), (3, 7), (100, 7)])
def test_as_many_pictures_are_taken_as_the_calls_hold(
    pictures: list[Path], iteration: int, count: int
) -> None:
    one = taking(_runs.info(), iteration=iteration)
    assert chosen(one, pictures, wanting(batch=3)) == pictures[:count]


def test_a_damaged_picture_is_named_in_its_place(pictures: list[Path]) -> None:
    pictures[4].write_bytes(pictures[4].read_bytes()[:40])
    running = batches(pictures, wanting(batch=2), PLAIN)
    assert [next(running)[0][0].path for _ in range(2)] == [pictures[0], pictures[2]]
    with pytest.raises(DataError, match=r"4\.png"):
        next(running)


def test_a_picture_that_a_crop_blows_up_is_refused_by_name(tmp_path: Path) -> None:
    Image.new("RGB", (10_000, 1)).save(tmp_path / "line.png")
    wanted = PictureInput("x", (224, 224), 3, False, 1, np.dtype("float32"))
    how = Preparation(color_space="RGB", resize="crop", shorter=256)
    with pytest.raises(DataError, match=r"line\.png: 10000 x 1 pixels would become 2560000 x 256 before the"):
        prepare(tmp_path / "line.png", wanted, how)
