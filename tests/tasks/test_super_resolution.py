"""PSNR of enlarged pictures, against a plain statement of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from knight.errors import ConfigError, DataError
from knight.tasks import tasks
from knight.tasks.infer_super_resolution import psnr
from tests.tasks._runs import Heard, executor, info

SIZE, FACTOR = (8, 10), 2
Net = Callable[[np.ndarray], np.ndarray]


def twice(x: np.ndarray) -> np.ndarray:
    """Every pixel becomes four."""
    return x.repeat(FACTOR, axis=2).repeat(FACTOR, axis=3)


def run(net: Net, entry: dict[str, Any], **more: Any) -> tuple[float | None, list[str]]:
    heard, inputs = Heard(), [info(more.pop("shape", (1, 3, *SIZE)))]
    made = executor(lambda x: [net(x)], entry, inputs=inputs, listener=heard, **more)
    return tasks.get("infer_super_resolution")(made), heard.lines  # type: ignore[return-value]


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """Small pictures, the first larger than the input, and large ones that are not quite twice as large."""
    random = np.random.default_rng(0)
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    for number, (height, width) in enumerate([(13, 14), SIZE, SIZE]):
        small = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        large = small.repeat(FACTOR, axis=0).repeat(FACTOR, axis=1).astype(np.int64)
        large = np.clip(large + random.integers(-9 * number - 5, 12, large.shape), 0, 255)
        large = np.pad(large, [(0, number % 2), (0, 0), (0, 0)])  # a row more is cut off
        Image.fromarray(small).save(tmp_path / "small" / f"{number}.png")
        Image.fromarray(large.astype(np.uint8)).save(tmp_path / "large" / f"{number}.png")
    return {
        "data_dir": str(tmp_path / "small"),
        "label_dir": str(tmp_path / "large"),
        "color_space": "RGB",
    }


def plain(entry: dict[str, Any], crop: int, luma: bool = False) -> float:
    """The mean PSNR of `twice`, pixel by pixel."""
    figures = []
    for path in sorted(Path(entry["data_dir"]).iterdir()):
        small = Image.open(path).convert("RGB")
        large = Image.open(Path(entry["label_dir"]) / path.name).convert("RGB")
        top, left = (small.height - SIZE[0]) // 2, (small.width - SIZE[1]) // 2
        squares = []
        for y in range(crop, 2 * SIZE[0] - crop):
            for x in range(crop, 2 * SIZE[1] - crop):
                a = small.getpixel((left + x // 2, top + y // 2))
                b = large.getpixel((2 * left + x, 2 * top + y))
                apart = [p - q for p, q in zip(a, b, strict=True)]  # type: ignore[arg-type]
                if luma:
                    apart = [0.299 * apart[0] + 0.587 * apart[1] + 0.114 * apart[2]]
                squares += [value**2 for value in apart]
        figures.append(10 * math.log10(255**2 / (sum(squares) / len(squares))))
    return sum(figures) / len(figures)


@pytest.mark.parametrize("batch", [1, 2])
def test_the_plain_figure(data: dict[str, Any], batch: int) -> None:
    expected = plain(data, crop=2)
    metric, said = run(twice, data, shape=(batch, 3, *SIZE))
    assert metric == pytest.approx(expected, abs=1e-9)
    assert said == [f"PSNR {expected:.2f} dB of RGB, the mean of 3 pictures"]
    assert run(twice, {**data, "crop": 0})[0] == pytest.approx(plain(data, crop=0), abs=1e-9)
    assert run(twice, {**data, "luma": True})[0] == pytest.approx(plain(data, crop=2, luma=True), abs=1e-9)


@pytest.mark.parametrize(
    ("net", "more"),
    [
        (lambda x: twice(x) / 255, {"output_range": "0..1"}),
        (twice, {"mean": [0, 0, 0], "std": [255, 255, 255]}),
        (lambda x: twice(x * 255), {"mean": 0, "std": 255, "output_range": "0..255"}),
        (lambda x: twice(x).transpose(0, 2, 3, 1), {}),
        (twice, {"color_space": "BGR"}),
        (lambda x: twice(x) + 0.3, {}),  # pixels are whole numbers
    ],
    ids=["0..1", "std", "0..255", "NHWC", "BGR", "rounded"],
)
def test_ranges_colours_and_layouts_come_to_the_same(
    data: dict[str, Any], net: Net, more: dict[str, Any]
) -> None:
    assert run(net, {**data, **more})[0] == pytest.approx(plain(data, crop=2), abs=1e-3)


def test_grey_models_are_measured_by_brightness(data: dict[str, Any]) -> None:
    metric, said = run(twice, {**data, "color_space": "GRAY"}, shape=(1, 1, *SIZE))
    assert metric == pytest.approx(plain(data, crop=2, luma=True), abs=0.05)  # rounded brightness
    assert "of brightness" in said[0]


def test_the_same_pictures_are_100_db_and_noise_of_a_known_size_is_known() -> None:
    picture = np.full((20, 20, 3), 100.0)
    path = Path("x.png")
    assert psnr(picture, picture, False, 0, path) == 100.0
    assert psnr(picture, picture + 1, False, 0, path) == pytest.approx(48.1308, abs=1e-4)
    border = picture.copy()
    border[:2] = 0
    assert psnr(picture, border, False, 2, path) == 100.0 > psnr(picture, border, False, 1, path)
    with pytest.raises(DataError, match=r"x\.png: nothing is left of the output without 10 pixels"):
        psnr(picture, picture, False, 10, path)


def test_without_large_pictures_the_float_models_are_the_truth(data: dict[str, Any], tmp_path: Path) -> None:
    entry = {key: value for key, value in data.items() if key != "label_dir"}
    metric, said = run(twice, entry)
    assert metric is None and "no labels" in said[0]
    metric, said = run(twice, entry, is_float=True)
    assert metric is None and str(tmp_path / "labels") in said[0]
    assert run(twice, entry)[0] == 100.0
    metric, said = run(lambda x: twice(x * (254 / 255)), entry)  # not rounded: less than 1 is seen
    assert metric is not None and 50 < metric < 60
    assert said == [f"PSNR {metric:.2f} dB of RGB against the float model, the mean of 3 pictures"]
    metric, _ = run(lambda x: twice(x * (254 / 255)), entry, is_float=True)
    assert metric is None, "made anew"
    assert run(lambda x: twice(x * (254 / 255)), entry)[0] == 100.0
    with pytest.raises(DataError, match=r"0\.npy: of another model; quantize again"):
        run(lambda x: twice(twice(x)), entry)


def test_without_a_metric_it_feeds(data: dict[str, Any]) -> None:
    calls = []
    entry = {**data, "calculate_acc": False}
    assert run(lambda x: calls.append(1) or twice(x), entry, iteration=2) == (None, [])  # type: ignore[func-returns-value]
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"output_rnage": "0..1"},
            r"\[0\]\.output_rnage: unknown key for infer_super_resolution.*output_range",
        ),
        ({"output_range": "0..2"}, r"\[0\]\.output_range: is \"0\.\.2\""),
        ({"crop": 1.5}, r"\[0\]\.crop: is 1\.5; it has to be a whole number of at least 0"),
        ({"luma": "maybe"}, r"\[0\]\.luma: is \"maybe\"; it has to be true or false"),
        ({"color_space": "GRAY"}, r"GRAY does not fit input 'x', which has 3 channel"),
    ],
)
def test_wrong_keys_are_named(data: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(twice, {**data, **change})


def test_what_does_not_fit_is_named(data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'0\.png: the output.*up to 2\d\d.*"output_range": "0\.\.255"'):
        run(twice, {**data, "output_range": "0..1"})
    with pytest.raises(DataError, match=r'0\.png: the output.*up to .*"output_range": "0\.\.1"'):
        run(lambda x: twice(x) / 255, data)
    with pytest.raises(DataError, match="15 x 16 pixels, which is no whole multiple of the input, 10 x 8"):
        run(lambda x: twice(x)[..., :15], data)
    with pytest.raises(DataError, match=r"the output is 1x2x8x10; pictures are"):
        run(lambda x: x[:, :2], data)
    Image.new("RGB", (20, 18)).save(tmp_path / "large" / "1.png")
    with pytest.raises(
        DataError, match=r"1\.png: 20 x 18 pixels; 2 times its picture of 10 x 8 would be 20 x 16"
    ):
        run(twice, data)
    (tmp_path / "large" / "2.png").unlink()
    with pytest.raises(DataError, match=r"large: no high-resolution picture called 2 for 2\.png \(1 of 3"):
        run(twice, data)
    Image.new("RGB", (9, 8)).save(tmp_path / "small" / "0.png")
    with pytest.raises(DataError, match=r"0\.png: 9 x 8 pixels; the model's input is 10 x 8"):
        run(twice, {**data, "calculate_acc": False})


def test_nan_is_no_answer(data: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"0\.png: the output holds \d+ NaN"):
        run(lambda x: twice(x) * np.nan, data)
