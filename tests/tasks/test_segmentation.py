"""mIoU of masks: forms of outputs and labels, sizes, and the figure against a plain statement of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from knight.errors import ConfigError, DataError
from knight.executor import Executor, RunSettings
from knight.tasks import _masks, tasks
from knight.tasks._masks import at_size, load_mask, png, scores_or_classes
from knight.tasks._prepare import Letterbox
from tests.tasks._runs import Heard, info

HEIGHT, WIDTH, CLASSES = 6, 8, 3
Net = Callable[[np.ndarray], np.ndarray]


def one_hot(x: np.ndarray) -> np.ndarray:
    """[B, 3, h, w] scores: the class of a pixel is its red value / 50."""
    return np.stack([-np.abs(x[:, 0] / 50 - label) for label in range(CLASSES)], axis=1)


def executor(
    net: Net, entry: dict[str, Any], *, batch: int | None = 1, **more: Any
) -> tuple[Executor, Heard]:
    said = Heard()
    is_float = more.pop("is_float", False)
    outputs = more.pop("outputs", ["y"])
    settings = RunSettings(**{"iteration": 100, "input_configs_dict": (entry,), **more})
    inputs = [info((batch, 3, HEIGHT, WIDTH))]

    def forward(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [net(feeds["x"])] * len(outputs)

    return Executor(forward, inputs, outputs, settings, listener=said, is_float=is_float), said


def run(net: Net, entry: dict[str, Any], **more: Any) -> tuple[float | None, list[str]]:
    made, said = executor(net, entry, **more)
    return tasks.get("infer_segmentation")(made), said.lines


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """Five pictures of three flat colours in random pixels, and masks that are partly wrong or ignored."""
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(5):
        found = random.integers(0, CLASSES, (HEIGHT, WIDTH))
        truth = np.where(random.random(found.shape) < 0.3, random.integers(0, 2, found.shape), found)
        truth[random.random(found.shape) < 0.1] = 255
        pixels = np.repeat((found * 50).astype(np.uint8)[:, :, None], 3, axis=2)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
        Image.fromarray(truth.astype(np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    return {
        "data_dir": str(tmp_path / "pictures"),
        "label_dir": str(tmp_path / "masks"),
        "color_space": "RGB",
    }


def plain(entry: dict[str, Any]) -> tuple[float, float]:
    """mIoU and accuracy, said with sets of pixels."""
    true: set[tuple[int, ...]] = set()
    found: set[tuple[int, ...]] = set()
    for path in sorted(Path(entry["data_dir"]).iterdir()):
        mask = np.array(Image.open(Path(entry["label_dir"]) / path.name))
        model = np.array(Image.open(path))[:, :, 0] // 50
        for (y, x), label in np.ndenumerate(mask):
            if label != 255:
                true.add((int(path.stem), y, x, int(label)))
                found.add((int(path.stem), y, x, int(model[y, x])))
    per_class = []
    for label in range(CLASSES):
        a = {place for place in true if place[3] == label}
        b = {place for place in found if place[3] == label}
        if a | b:
            per_class.append(len(a & b) / len(a | b))
    return float(np.mean(per_class)), len(true & found) / len(true)


@pytest.mark.parametrize(
    "net",
    [
        one_hot,
        lambda x: one_hot(x).transpose(0, 2, 3, 1),
        lambda x: (x[:, 0] / 50).astype(np.int64),
        lambda x: x[:, :1] / 50,
        lambda x: x[:, 0, :, :, None] / 50,
    ],
    ids=["BChw", "BhwC", "Bhw", "B1hw", "Bhw1"],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_every_form_of_output_gives_the_plain_figure(data: dict[str, Any], net: Net, batch: int) -> None:
    mean, accuracy = plain(data)
    metric, said = run(net, data, batch=batch)
    assert metric == pytest.approx(mean, abs=1e-12)
    assert 0.3 < mean < 0.9
    assert said == [f"mIoU {mean:.4f} over 3 classes, pixel accuracy {accuracy:.2%} of 5 pictures"]


def test_classes_that_do_not_occur_do_not_count(data: dict[str, Any]) -> None:
    def wider(x: np.ndarray) -> np.ndarray:
        return np.pad(one_hot(x), [(0, 0), (0, 4), (0, 0), (0, 0)], constant_values=-9)

    assert run(wider, data)[0] == pytest.approx(plain(data)[0], abs=1e-12)


def test_ignored_class_is_a_key(data: dict[str, Any]) -> None:
    for path in Path(data["label_dir"]).iterdir():
        mask = np.array(Image.open(path))
        mask[mask == 255] = 17
        Image.fromarray(mask).save(path)
    metric, _ = run(one_hot, {**data, "ignore": 17})
    assert metric is not None and 0.3 < metric < 0.9
    with pytest.raises(
        DataError, match=r"masks.*\.png: class 17 at x \d, y \d; the model has classes 0 to 2"
    ):
        run(one_hot, data)


def test_without_masks_the_float_models_become_the_labels(data: dict[str, Any], tmp_path: Path) -> None:
    entry = {key: value for key, value in data.items() if key != "label_dir"}
    metric, said = run(one_hot, entry)
    assert metric is None and "no labels" in said[0]
    metric, said = run(one_hot, entry, is_float=True)
    assert metric == 1.0 and str(tmp_path / "labels") in said[0]
    expected = np.array(Image.open(tmp_path / "pictures" / "3.png"))[:, :, 0] // 50
    np.testing.assert_array_equal(load_mask(tmp_path / "labels" / "3.png"), expected)
    assert run(one_hot, entry)[0] == 1.0
    assert run(lambda x: np.roll(one_hot(x), 1, axis=1), entry)[0] == 0.0
    assert run(lambda x: np.roll(one_hot(x), 1, axis=1), entry, is_float=True)[0] == 1.0, "made anew"
    assert run(one_hot, entry)[0] == 0.0


def test_without_a_metric_it_feeds(data: dict[str, Any]) -> None:
    made, said = executor(one_hot, {**data, "calculate_acc": False}, iteration=3)
    assert tasks.get("infer_segmentation")(made) is None
    assert made.calls == 3 and said.lines == []


class TestMaskFiles:
    def test_palette_grey_few_bits_and_16_bits(self, tmp_path: Path) -> None:
        classes = np.arange(12).reshape(3, 4)
        palette = Image.fromarray(classes.astype(np.uint8), "P")
        palette.putpalette(list(np.random.default_rng(1).integers(0, 255, 768)))
        palette.save(tmp_path / "palette.png", bits=4)
        Image.fromarray(classes.astype(np.uint8)).save(tmp_path / "grey.png")
        Image.fromarray(classes.astype(np.uint16)).save(tmp_path / "wide.png")
        for name in ("palette", "grey", "wide"):
            np.testing.assert_array_equal(load_mask(tmp_path / f"{name}.png"), classes)
        Image.fromarray(classes > 5).save(tmp_path / "two.png")
        np.testing.assert_array_equal(load_mask(tmp_path / "two.png"), classes > 5)

    def test_grey_of_4_bits_keeps_its_numbers(self, tmp_path: Path) -> None:
        import struct
        import zlib

        def chunk(kind: bytes, content: bytes) -> bytes:
            return (
                struct.pack(">I", len(content))
                + kind
                + content
                + struct.pack(">I", zlib.crc32(kind + content))
            )

        rows = b"\x00\x01\x23\x00\x4f\x50"  # 4 x 2 pixels: 0 1 2 3, 4 15 5 0
        head = struct.pack(">IIBBBBB", 4, 2, 4, 0, 0, 0, 0)
        content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
        np.testing.assert_array_equal(load_mask(tmp_path / "a.png"), [[0, 1, 2, 3], [4, 15, 5, 0]])

    def test_own_masks_hold_more_than_256_classes(self, tmp_path: Path) -> None:
        classes = np.array([[0, 300], [255, 7]])
        (tmp_path / "a.png").write_bytes(png(classes))
        np.testing.assert_array_equal(load_mask(tmp_path / "a.png"), classes)

    def test_colours_are_refused(self, tmp_path: Path) -> None:
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
        with pytest.raises(DataError, match=r"a\.png: a mask holds class numbers.*this is RGB"):
            load_mask(tmp_path / "a.png")

    def test_cut_masks_are_refused(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (50, 50)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / "a.png")
        content = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=r"a\.png: the mask is cut or damaged"):
            load_mask(tmp_path / "a.png")


class TestSizes:
    def test_nearest_and_bilinear_as_torch(self) -> None:
        torch = pytest.importorskip("torch")
        scores = np.random.default_rng(2).normal(size=(4, 5, 7)).astype(np.float32)
        place = Letterbox(28 / 33, 20 / 71, 0, 0)
        resized = torch.nn.functional.interpolate
        wanted = torch.from_numpy(scores)[None]
        near = resized(wanted, (71, 33), mode="nearest-exact")[0].argmax(0).numpy()
        np.testing.assert_array_equal(at_size(scores, (71, 33), place, (20, 28), False), near)
        smooth = resized(wanted, (71, 33), mode="bilinear", align_corners=False)[0].argmax(0).numpy()
        got = at_size(scores, (71, 33), place, (20, 28), True)
        assert (got == smooth).mean() > 0.999
        assert (got != near).any()

    def test_a_letterbox_is_undone(self, tmp_path: Path) -> None:
        """A picture of 4 x 4 lies in the middle of the 6 x 8 input, with a border of another class."""
        (tmp_path / "a").mkdir()
        truth = np.kron([[0, 1], [2, 1]], np.ones((6, 6))).astype(np.uint8)
        Image.fromarray(np.repeat(truth[:, :, None] * 50, 3, axis=2)).save(tmp_path / "a" / "x.png")
        (tmp_path / "m").mkdir()
        Image.fromarray(truth).save(tmp_path / "m" / "x.png")
        entry = {"data_dir": str(tmp_path / "a"), "label_dir": str(tmp_path / "m"), "resize": "letterbox"}
        assert run(one_hot, entry)[0] == 1.0
        squashed, _ = run(one_hot, {**entry, "resize": "squash"})
        assert squashed is not None and squashed > 0.5  # the same picture, its edges mixed

    def test_the_axis_of_classes(self) -> None:
        square = np.zeros((1, 8, 8, 8))
        square[0, 5] = 1  # class 5 if channels come first
        assert scores_or_classes(square, (8, 8)).shape == (1, 8, 8, 8)
        assert (scores_or_classes(square, (8, 8))[0].argmax(0) == 5).all()
        last = scores_or_classes(square, (8, 8), layout="NHWC")
        assert (last[0, :, 5] == 1).all()
        assert scores_or_classes(np.zeros((1, 19, 64, 128)), (512, 1024)).shape == (1, 19, 64, 128)
        assert scores_or_classes(np.zeros((1, 64, 128, 19)), (512, 1024)).shape == (1, 19, 64, 128)
        assert scores_or_classes(np.zeros((1, 29, 29, 21)), (225, 225)).shape == (1, 21, 29, 29)
        assert scores_or_classes(np.zeros((1, 4, 5, 6)), (99, 9), classes=6).shape == (1, 6, 4, 5)

    def test_one_channel_of_scores_needs_a_threshold(self, data: dict[str, Any]) -> None:
        with pytest.raises(DataError, match=r"holds 0\.5, which is no class number; the key threshold"):
            run(lambda x: x[:, :1] / 100, data)
        found = scores_or_classes(np.array([[[[-1.0, 0.2, 3.0]]]]), (1, 3), threshold=0.0)
        np.testing.assert_array_equal(found, [[[0, 1, 1]]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ignroe": 3}, r"\[0\]\.ignroe: unknown key for infer_segmentation.*ignore"),
        ({"data_dir": None}, r"\[0\]\.data_dir is missing"),
        ({"upsample": "cubic"}, r"\[0\]\.upsample: is \"cubic\""),
        ({"ignore": -1}, r"\[0\]\.ignore: is -1; it has to be a whole number from 0 to 65535"),
        ({"mean": [1, 2, 3]}, r"\[0\]\.mean is given without std"),
        ({"nc": 7}, r"the output is 1x3x6x8, which has no 7 channels; .*nc"),
        ({"threshold": 0.5}, r"threshold is for one channel"),
        ({"output": "z"}, r"\[0\]\.output: the model has no output 'z'.*y"),
        ({"preset": "imagnet-torch"}, r"unknown preset.*imagenet-torch"),
    ],
)
def test_wrong_keys_are_named(data: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(one_hot, {**data, **change})


def test_no_entry_and_two_entries() -> None:
    for entries in ((), ({}, {})):
        with pytest.raises(ConfigError, match=f"reads one entry.*there are {len(entries)}"):
            run(one_hot, {}, input_configs_dict=entries)


def test_masks_that_do_not_fit_are_named(data: dict[str, Any], tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    Image.new("L", (3, HEIGHT)).save(masks / "2.png")
    with pytest.raises(DataError, match=r"2\.png: the mask is 3 x 6 pixels, its picture 8 x 6"):
        run(one_hot, data)
    (masks / "2.png").unlink()
    with pytest.raises(DataError, match=r"masks: no mask called 2 for 2\.png \(1 of 5 pictures have none\)"):
        run(one_hot, data)
    with pytest.raises(DataError, match="gone: there is no such folder of labels"):
        run(one_hot, {**data, "label_dir": str(tmp_path / "gone")})
    for path in masks.iterdir():
        Image.new("L", (WIDTH, HEIGHT), 255).save(path)
    Image.new("L", (WIDTH, HEIGHT), 255).save(masks / "2.png")
    with pytest.raises(DataError, match="every pixel of the masks is 255, which is ignored"):
        run(one_hot, data)
    Image.new("L", (WIDTH, HEIGHT)).save(masks / "2.bmp")
    with pytest.raises(DataError, match="has the same stem"):
        run(one_hot, data)


def test_outputs_by_name(data: dict[str, Any]) -> None:
    assert run(one_hot, {**data, "output": "aux"}, outputs=["y", "aux"])[0] == pytest.approx(plain(data)[0])


def test_nan_is_no_answer(data: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"0\.png: the output holds \d+ NaN"):
        run(lambda x: one_hot(x) * np.nan, data)


def test_scores_made_in_stretches_are_those_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(5).normal(size=(CLASSES, HEIGHT, WIDTH)).astype(np.float32)
    place = Letterbox(WIDTH / 100, HEIGHT / 70, 0.0, 0.0)
    whole = at_size(scores, (70, 100), place, (HEIGHT, WIDTH), True)
    monkeypatch.setattr(_masks, "_SCORES", CLASSES * 64 * 7)  # seven columns at a time, and two that are left
    np.testing.assert_array_equal(at_size(scores, (70, 100), place, (HEIGHT, WIDTH), True), whole)


def test_a_class_that_no_mask_can_hold_is_refused_before_it_is_counted() -> None:
    overlap = _masks.Overlap()
    overlap.add(np.array([0, 65535]), np.array([0, 1]), None)
    with pytest.raises(DataError, match="a mask has the class 1099511627776; classes are numbered"):
        overlap.add(np.array([0, 1]), np.array([0, 1 << 40]), None)
