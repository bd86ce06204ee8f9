"""Sizes, colours and numbers of a prepared picture, against OpenCV and the published formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from knight.errors import ConfigError, DataError
from knight.tasks._prepare import Letterbox, centre_crop, letterbox, resize, tensor

sides = st.integers(1, 90)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


SIZES = [(24, 32), (33, 64), (96, 128), (7, 51), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_bilinear_without_antialias_is_opencvs(size: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    picture = noise(48, 64)
    expected = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    found = resize(picture, size, "bilinear", antialias=False)
    np.testing.assert_allclose(found.astype(int), expected, atol=1)


def triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - x, 0)


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.5."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def weights(new: int, old: int, kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """[new, old]: the kernel is as wide as the reduction, pixels lie at half numbers, edges are cut off."""
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale
    raw = kernel(np.abs(np.arange(old) + 0.5 - centres[:, None]) / max(scale, 1))
    return np.asarray(raw / raw.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(("name", "kernel"), [("bilinear", triangle), ("bicubic", cubic)])
@pytest.mark.parametrize("size", SIZES)
def test_antialias_averages_over_all_pixels(
    name: str, kernel: Callable[[np.ndarray], np.ndarray], size: tuple[int, int]
) -> None:
    picture = noise(48, 64)
    columns = np.einsum("wx,yxc->ywc", weights(size[1], 64, kernel), picture)
    columns = np.floor(columns + 0.5).clip(0, 255)  # Pillow rounds between its two passes
    expected = np.einsum("hy,ywc->hwc", weights(size[0], 48, kernel), columns).clip(0, 255)
    np.testing.assert_allclose(resize(picture, size, name), expected, atol=3)


@pytest.mark.parametrize("antialias", [True, False])
def test_area_is_the_mean_of_whole_pixels(antialias: bool) -> None:
    picture = noise(48, 64)
    expected = picture.reshape(12, 4, 32, 2, 3).mean(axis=(1, 3))
    found = resize(picture, (12, 32), "area", antialias)
    np.testing.assert_allclose(found, expected, atol=1.001)


def test_an_unknown_interpolation_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'bicubik'; did you mean 'bicubic'"):
        resize(noise(2, 2), (1, 1), "bicubik")


@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 61), (40, 40), (41, 200), (33, 32)])
def test_crop_is_that_of_torchvision(height: int, width: int) -> None:
    """Resize(40) gives int(40 * long / short) for the longer side; CenterCrop rounds half of the rest."""
    picture = noise(height, width)
    short, long = sorted((height, width))
    sides = (40, int(40 * long / short))
    whole = resize(picture, sides if height <= width else sides[::-1])
    top, left = round((whole.shape[0] - 32) / 2.0), round((whole.shape[1] - 35) / 2.0)
    expected = whole[top : top + 32, left : left + 35]
    np.testing.assert_array_equal(centre_crop(picture, (32, 35), 40), expected)


def test_crop_alone_cuts_the_middle() -> None:
    picture = noise(10, 13)
    np.testing.assert_array_equal(centre_crop(picture, (4, 5), None), picture[3:7, 4:9])


@given(sides, sides, sides, sides, st.one_of(st.none(), sides))
@settings(max_examples=60, deadline=None)
def test_a_crop_always_has_its_size(h: int, w: int, height: int, width: int, shorter: int | None) -> None:
    if shorter is not None and shorter < min(h, w):
        with pytest.raises(ConfigError, match="does not cover a crop"):
            centre_crop(noise(height, width), (h, w), shorter)
    else:
        assert centre_crop(noise(height, width), (h, w), shorter).shape == (h, w, 3)


def published_letterbox(picture: np.ndarray, size: tuple[int, int], enlarge: bool) -> np.ndarray:
    """The steps that the vendors of YOLO publish, in OpenCV."""
    cv2 = pytest.importorskip("cv2")
    height, width = picture.shape[:2]
    r = min(size[0] / height, size[1] / width)
    if not enlarge:
        r = min(r, 1.0)
    new_width, new_height = round(width * r), round(height * r)
    dw, dh = (size[1] - new_width) / 2, (size[0] - new_height) / 2
    if (width, height) != (new_width, new_height):
        picture = cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    top, bottom = round(dh - 0.1), round(dh + 0.1)
    left, right = round(dw - 0.1), round(dw + 0.1)
    grey = (114, 114, 114)
    return np.asarray(cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=grey))


@pytest.mark.parametrize("enlarge", [True, False])
@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (97, 33), (20, 21), (5, 64), (64, 64), (31, 64)])
def test_letterbox_is_the_published_one(shape: tuple[int, int], enlarge: bool) -> None:
    picture = noise(*shape)
    found, _ = letterbox(picture, (64, 64), enlarge=enlarge, antialias=False)
    expected = published_letterbox(picture, (64, 64), enlarge)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.astype(int), expected, atol=1)


@given(sides, sides, sides, sides, st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_letterbox_keeps_the_ratio_and_maps_back(
    height: int, width: int, h: int, w: int, enlarge: bool, centre: bool
) -> None:
    """A white picture on black: the white rectangle that is seen goes back to the whole picture."""
    white = np.full((height, width, 3), 255, np.uint8)
    out, box = letterbox(white, (h, w), fill=0, enlarge=enlarge, centre=centre)
    assert out.shape == (h, w, 3)
    rows, columns = np.nonzero(out[:, :, 0])
    seen = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
    np.testing.assert_allclose(box.to_source(seen), [[0, 0, width, height]], atol=1e-6)
    x1, y1, x2, y2 = seen[0]
    assert abs((x2 - x1) - width * min(h / height, w / width, np.inf if enlarge else 1)) <= 1
    assert abs((y2 - y1) - height * min(h / height, w / width, np.inf if enlarge else 1)) <= 1
    before = np.array([x1, y1])
    behind = np.array([w - x2, h - y2])
    assert ((behind - before) * centre <= 1).all()
    assert (before == 0).all() or centre
    assert (before <= behind).all()


def test_a_pixel_is_found_again_where_the_map_says() -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[10:20, 40:60] = 255
    out, box = letterbox(picture, (60, 60), fill=0)
    rows, columns = np.nonzero(out[:, :, 0] > 127)
    seen = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
    np.testing.assert_allclose(box.to_source(seen), [[40, 10, 60, 20]], atol=1)


def test_a_squash_has_two_scales() -> None:
    boxes = Letterbox(0.5, 2.0, 0, 0).to_source(np.array([[10, 20, 30, 40]]))
    np.testing.assert_array_equal(boxes, [[20, 10, 60, 20]])
    assert Letterbox(1, 1, 0, 0).to_source(np.zeros((0, 4))).shape == (0, 4)


def test_tensor_is_x_minus_mean_by_std_in_the_order_of_the_colour_space() -> None:
    picture = noise(3, 5)
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    found = tensor(picture, "RGB", mean, std, "float32")
    assert (found.dtype, found.shape) == (np.float32, (1, 3, 3, 5))
    assert found.flags.c_contiguous
    for channel in range(3):
        expected = (picture[:, :, channel].astype(np.float64) - mean[channel]) / std[channel]
        np.testing.assert_allclose(found[0, channel], expected, atol=1e-6)
        swapped = tensor(picture, "BGR", mean[::-1], std[::-1], "float32")
        np.testing.assert_array_equal(swapped[0, 2 - channel], found[0, channel])


def test_without_mean_and_std_the_numbers_are_raw() -> None:
    picture = noise(3, 5)
    for dtype in ("uint8", "float32", "float16"):
        found = tensor(picture, "RGB", None, None, dtype)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found[0], picture.transpose(2, 0, 1))


def test_one_number_serves_all_channels() -> None:
    picture = noise(3, 5)
    expected = tensor(picture, "RGB", [127.5] * 3, [127.5] * 3, "float32")
    np.testing.assert_array_equal(tensor(picture, "RGB", [127.5], [127.5], "float32"), expected)


def test_grey_is_the_luma_of_itu_r_601() -> None:
    picture = noise(9, 7)
    found = tensor(picture, "GRAY", None, None, "float32")
    assert found.shape == (1, 1, 9, 7)
    np.testing.assert_allclose(found[0, 0], picture @ np.array([0.299, 0.587, 0.114]), atol=0.51)
    normal = tensor(picture, "GRAY", [127.5], [0.5], np.float32)
    np.testing.assert_allclose(normal, (found - 127.5) / 0.5)


def test_integers_are_rounded_and_have_to_fit() -> None:
    picture = noise(3, 5)
    found = tensor(picture, "RGB", [128], [1], "int8")
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found[0], picture.transpose(2, 0, 1).astype(int) - 128)
    np.testing.assert_array_equal(
        tensor(picture, "RGB", [0], [2], "uint8")[0, 0], np.rint(picture[..., 0] / 2)
    )
    with pytest.raises(ConfigError, match="do not fit the input type int8"):
        tensor(picture, "RGB", None, None, "int8")
    with pytest.raises(ConfigError, match="do not fit the input type uint8"):
        tensor(picture, "RGB", [128], [1], "uint8")


@pytest.mark.parametrize(
    ("color_space", "mean", "std", "message"),
    [
        ("RGB", [1, 2], [1], r"mean has 2 numbers, \[1, 2\], but RGB has 3 channels"),
        ("BGR", [1], [1, 2, 3, 4], "std has 4 numbers"),
        ("GRAY", [1, 2, 3], [1], "GRAY has 1 channels"),
        ("RGB", [], [1], "mean has 0 numbers"),
        ("RGB", [1], None, "mean is given without std"),
        ("RGB", None, [1], "std is given without mean"),
        ("RGB", [1], [1, 0, 1], "std has a 0"),
        ("RGB", [float("nan")], [1], "not finite"),
        ("rgb", None, None, "there is no color_space 'rgb'; did you mean 'RGB'"),
    ],
)
def test_wrong_settings_are_refused(color_space: str, mean: object, std: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tensor(noise(2, 2), color_space, mean, std, "float32")


@pytest.mark.parametrize(("height", "width"), [(1, 10_000), (10_000, 1)])
@pytest.mark.parametrize("shorter", [256, None])
def test_a_crop_that_would_blow_a_narrow_picture_up_is_refused(
    height: int, width: int, shorter: int | None
) -> None:
    """Of 224 x 224 from one pixel: the other side grows to 2.24 or 2.56 million."""
    side = shorter or 224
    grown = (side * width, side * height)
    with pytest.raises(DataError, match=rf"^{width} x {height} pixels would become {grown[0]} x {grown[1]} "):
        centre_crop(np.zeros((height, width, 3), np.uint8), (224, 224), shorter)


def test_a_narrow_picture_that_stays_within_the_limit_is_cropped() -> None:
    assert centre_crop(np.zeros((1, 300, 3), np.uint8), (224, 224), 256).shape == (224, 224, 3)
