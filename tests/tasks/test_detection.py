"""mAP by a net that finds boxes it was told; labels of users and of the float model; drawn pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from knight.errors import ConfigError, DataError, OutputError
from knight.tasks import infer_default
from knight.tasks._draw import COLOURS
from tests.tasks import _runs

SIDE = 64
SIZES = [(40, 80), (64, 64), (100, 50)]
"""(height, width) of the pictures."""

Row = tuple[float, float, float, float, float, int]
"""x1, y1, x2, y2 in pixels of the picture, score, class."""

FOUND: list[list[Row]] = [
    [(8, 4, 40, 20, 0.9, 0), (50.5, 10.5, 70.5, 36.5, 0.8, 1)],
    [(0, 0, 64, 32, 0.7, 1)],
    [(5.5, 50.5, 45.5, 90.5, 0.6, 0)],
]


def finds(rows: Sequence[Sequence[Row]] = FOUND, *, squash: bool = False) -> _runs.Net:
    """A detector with YOLOv8's output [B, 4 + 2, 3]; it knows picture n by the colour 20 n in its middle."""

    def net(x: np.ndarray) -> list[np.ndarray]:
        output = np.zeros((len(x), 6, 3), np.float32)
        for place, one in enumerate(x):
            picture = round(float(one[0, SIDE // 2, SIDE // 2]) / 20)
            height, width = SIZES[picture]
            scale = np.array([SIDE / width, SIDE / height] if squash else [SIDE / max(height, width)] * 2)
            offset = (SIDE - np.array([width, height]) * scale) / 2
            for column, (x1, y1, x2, y2, score, label) in enumerate(rows[picture]):
                low, high = np.array([x1, y1]) * scale + offset, np.array([x2, y2]) * scale + offset
                output[place, :4, column] = [*(low + high) / 2, *(high - low)]
                output[place, 4 + label, column] = score
        return [output]

    return net


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, size in enumerate(SIZES):
        _runs.paint(tmp_path / "images" / f"{number}.png", (20 * number,) * 3, size)
    return tmp_path / "images"


def detect(
    folder: Path,
    *,
    net: _runs.Net | None = None,
    heard: _runs.Heard | None = None,
    is_float: bool = False,
    batch: int | None = 1,
    settings: dict[str, Any] | None = None,
    **values: Any,
) -> object:
    entry = {
        **{"data_dir": str(folder), "is_yolo": True, "augment": True, "calculate_acc": True},
        **{"nc": 2, "decoder": "yolov8"},
        **values,
    }
    one = _runs.executor(
        net or finds(),
        entry,
        inputs=[_runs.info((batch, 3, SIDE, SIDE))],
        listener=heard,
        is_float=is_float,
        **(settings or {}),
    )
    return infer_default.infer(one)


def write_yolo(place: Path, pictures: Sequence[Sequence[Row]]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for number, ((h, w), rows) in enumerate(zip(SIZES, pictures, strict=False)):
        lines = [
            f"{label} {(x1 + x2) / 2 / w} {(y1 + y2) / 2 / h} {(x2 - x1) / w} {(y2 - y1) / h}"
            for x1, y1, x2, y2, _, label in rows
        ]
        (place / f"{number}.txt").write_text("\n".join(lines), "utf-8")


def write_coco(file: Path) -> None:
    boxes = [(picture, row) for picture, rows in enumerate(FOUND) for row in rows]
    data = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(3)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": p, "category_id": (7, 9)[c], "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for n, (p, (x1, y1, x2, y2, _, c)) in enumerate(boxes)
        ],
    }
    file.write_text(json.dumps(data), "utf-8")


# Measuring -------------------------------------------------------------------------------------------


def test_boxes_come_back_into_the_picture_and_are_measured(folder: Path, tmp_path: Path) -> None:
    write_yolo(tmp_path / "truth", FOUND)
    heard = _runs.Heard()
    assert detect(folder, heard=heard, label_dir=str(tmp_path / "truth")) == pytest.approx(1.0)
    assert "mAP50 1.0000, mAP50-95 1.0000 over 3 pictures" in heard.text
    squash = detect(folder, net=finds(squash=True), label_dir=str(tmp_path / "truth"), resize="squash")
    assert squash == pytest.approx(1.0)


def test_a_lost_class_costs_its_share(folder: Path, tmp_path: Path) -> None:
    write_yolo(tmp_path / "truth", FOUND)
    only_first = [[row for row in rows if row[5] == 0] for rows in FOUND]
    assert detect(folder, net=finds(only_first), label_dir=str(tmp_path / "truth")) == pytest.approx(0.5)


@pytest.mark.parametrize("as_file", [False, True])
def test_coco_labels_serve_as_folder_and_as_file(folder: Path, tmp_path: Path, as_file: bool) -> None:
    (tmp_path / "truth").mkdir()
    write_coco(tmp_path / "truth" / "instances.json")
    place = tmp_path / "truth" / ("instances.json" if as_file else "")
    before = sorted(tmp_path.rglob("*"))
    for is_float in (False, True):
        assert detect(folder, label_dir=str(place), is_float=is_float) == pytest.approx(1.0)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("batch", "size"), [(None, 2), (2, 1), (1, 3)])
def test_every_picture_counts_once_in_any_batch(
    folder: Path, tmp_path: Path, batch: int | None, size: int
) -> None:
    write_yolo(tmp_path / "truth", FOUND)
    heard = _runs.Heard()
    found = detect(
        folder, heard=heard, batch=batch, settings={"batch_size": size}, label_dir=str(tmp_path / "truth")
    )
    assert found == pytest.approx(1.0) and "over 3 pictures" in heard.text


def test_only_as_many_pictures_count_as_i_asks_for(folder: Path, tmp_path: Path) -> None:
    write_yolo(tmp_path / "truth", FOUND)
    heard = _runs.Heard()
    net = finds([FOUND[0], [], []])
    settings = {"iteration": 1}
    found = detect(folder, net=net, heard=heard, settings=settings, label_dir=str(tmp_path / "truth"))
    assert found == pytest.approx(1.0)
    assert "over 1 pictures" in heard.text


def test_numbers_that_are_none_are_no_boxes(folder: Path, tmp_path: Path) -> None:
    write_yolo(tmp_path / "truth", FOUND)

    def broken(x: np.ndarray) -> list[np.ndarray]:
        (output,) = finds()(x)
        output[:, 0, 2] = np.nan
        output[:, 4, 2] = 0.99
        return [output]

    assert detect(folder, net=broken, label_dir=str(tmp_path / "truth")) == pytest.approx(1.0)
    nothing = detect(
        folder, net=lambda x: [np.full((1, 6, 3), np.nan, np.float32)], label_dir=str(tmp_path / "truth")
    )
    assert nothing == 0.0


def test_thresholds_and_max_det_are_the_users(folder: Path, tmp_path: Path) -> None:
    write_yolo(tmp_path / "truth", FOUND)
    truth = str(tmp_path / "truth")
    high = detect(folder, label_dir=truth, conf_thres=0.75)  # loses the 0.7 of class 1 and the 0.6 of class 0
    assert high == pytest.approx(51 / 101)  # COCO's recalls 0, 0.01 ... 0.5 of 1
    assert detect(folder, label_dir=truth, max_det=1) == pytest.approx((1 + 51 / 101) / 2)
    twice = [[row, (*row[:4], row[4] - 0.05, row[5])] for rows in FOUND for row in rows[:1]]
    write_yolo(tmp_path / "one", [rows[:1] for rows in FOUND])
    both = detect(folder, net=finds(twice), label_dir=str(tmp_path / "one"), iou_thres=1.0)
    kept = detect(folder, net=finds(twice), label_dir=str(tmp_path / "one"))
    assert kept == pytest.approx(1.0) and isinstance(both, float) and both < 1.0


def test_without_calculate_acc_there_is_no_metric(folder: Path) -> None:
    assert detect(folder, calculate_acc=False, decoder=None, nc=None) is None


def test_pictures_without_a_labelled_box_give_no_metric(folder: Path, tmp_path: Path) -> None:
    write_yolo(tmp_path / "truth", [[], [], []])
    heard = _runs.Heard()
    assert detect(folder, heard=heard, label_dir=str(tmp_path / "truth")) is None
    assert "no box is labelled in these 3 pictures" in heard.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", r"0\.txt, line 2: class 2 is out of range; it has to be 0 to 1"),
        ("1 0.5 0.5 0.1", r"0\.txt, line 2: 4 columns"),
        ("1 0.5 x 0.1 0.1", r"0\.txt, line 2: 'x' is no number"),
        ("1 40 20 10 10", r"0\.txt, line 2: the box is wholly outside of the picture \(80 x 40\)"),
        ("1 0.5 0.5 0 0.1", r"0\.txt, line 2: the box has no area"),
    ],
)
def test_wrong_labels_are_named_by_file_and_line_before_the_model_runs(
    folder: Path, tmp_path: Path, line: str, message: str
) -> None:
    write_yolo(tmp_path / "truth", FOUND)
    (tmp_path / "truth" / "0.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n", "utf-8")

    def net(x: np.ndarray) -> list[np.ndarray]:
        raise AssertionError("the model runs")

    with pytest.raises(DataError, match=message):
        detect(folder, net=net, label_dir=str(tmp_path / "truth"))


def test_both_label_forms_and_labels_of_other_pictures_are_refused(folder: Path, tmp_path: Path) -> None:
    write_yolo(tmp_path / "truth", FOUND)
    write_coco(tmp_path / "truth" / "instances.json")
    with pytest.raises(DataError, match="labels in both forms"):
        detect(folder, label_dir=str(tmp_path / "truth"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dog.txt").touch()
    with pytest.raises(DataError, match=r"other: no json, and no \.txt for any of the pictures"):
        detect(folder, label_dir=str(tmp_path / "other"))
    for is_float in (False, True):
        with pytest.raises(DataError, match="nowhere: there is no such folder of labels"):
            detect(folder, label_dir=str(tmp_path / "nowhere"), is_float=is_float)


def test_an_unknown_decoder_and_outputs_of_no_decoder_are_refused(folder: Path, tmp_path: Path) -> None:
    write_yolo(tmp_path / "truth", FOUND)
    truth = str(tmp_path / "truth")
    with pytest.raises(ConfigError, match="unknown decoder 'yolov88': did you mean 'yolov8'"):
        detect(folder, decoder="yolov88", label_dir=truth)
    with pytest.raises(ConfigError, match=r"fit outputs? \[1, 10\]"):
        detect(folder, net=lambda x: [np.zeros((1, 10), np.float32)], decoder=None, label_dir=truth)


# The float model's own labels ------------------------------------------------------------------------


@pytest.mark.parametrize("given", [False, True])
def test_without_labels_the_float_models_boxes_are_kept_and_measured_against(
    folder: Path, tmp_path: Path, given: bool
) -> None:
    place = tmp_path / ("mine" if given else "labels")
    values: dict[str, Any] = {"label_dir": str(place)} if given else {}
    if given:
        place.mkdir()
    unsure = [[*FOUND[0], (1, 1, 20, 20, 0.2, 1)], FOUND[1], []]
    heard = _runs.Heard()
    assert detect(folder, net=finds(unsure), is_float=True, heard=heard, **values) == pytest.approx(1.0)
    assert f"the float model's boxes are taken for them, kept in {place}" in heard.text
    rows = [line.split() for line in (place / "0.txt").read_text("utf-8").splitlines()]
    assert [row[0] for row in rows] == ["0", "1"]  # not the one of 0.2
    np.testing.assert_allclose(np.array(rows[0][1:], float), [24 / 80, 12 / 40, 32 / 80, 16 / 40], atol=1e-5)
    assert (place / "2.txt").read_text("utf-8") == ""
    assert detect(folder, net=finds(unsure), **values) == pytest.approx(1.0)
    assert detect(folder, net=finds([FOUND[0], [], []]), **values) == pytest.approx((1 + 51 / 101) / 2)
    assert detect(folder, net=finds([[], FOUND[1], []]), is_float=True, **values) == pytest.approx(
        1.0
    )  # made anew
    assert (place / "0.txt").read_text("utf-8") == ""


def test_labels_of_an_earlier_longer_run_do_not_stay(folder: Path, tmp_path: Path) -> None:
    detect(folder, is_float=True)
    detect(folder, is_float=True, settings={"iteration": 1})
    assert sorted(path.name for path in (tmp_path / "labels").glob("[0-9].txt")) == ["0.txt"]
    with pytest.raises(
        DataError, match=r"no label for 1\.png \(2 of 3 have none\); the float model saw fewer"
    ):
        detect(folder)


def test_boxes_at_the_border_make_labels_that_can_be_read(folder: Path) -> None:
    outside: list[list[Row]] = [
        [(-30, -10, 20, 20, 0.9, 0), (90, 10, 120, 20, 0.9, 1), (10, 10, 10.4, 30, 0.9, 1)],
        *FOUND[1:],
    ]
    metric = detect(folder, net=finds(outside), is_float=True)
    assert metric == pytest.approx((1 + 1 / 2) / 2)  # what is narrower than a pixel is found, but no label
    assert detect(folder, net=finds(outside)) == metric


def test_a_float_model_that_finds_nothing_makes_no_metric(folder: Path) -> None:
    heard = _runs.Heard()
    assert detect(folder, net=finds([[], [], []]), is_float=True, heard=heard) is None
    assert "none has a score above 0.25: there is no mAP" in heard.text


def test_infer_without_labels_says_that_there_are_none(folder: Path, tmp_path: Path) -> None:
    heard = _runs.Heard()
    assert detect(folder, heard=heard) is None
    assert "no labels in" in heard.text and "knight quant makes labels" in heard.text
    assert not (tmp_path / "labels").exists()


def test_a_users_labels_are_never_overwritten(folder: Path, tmp_path: Path) -> None:
    write_yolo(tmp_path / "labels", FOUND)
    before = {path: path.read_bytes() for path in (tmp_path / "labels").iterdir()}
    assert detect(folder, is_float=True) == pytest.approx(1.0)  # they are beside the pictures: used
    assert {path: path.read_bytes() for path in (tmp_path / "labels").iterdir()} == before


def test_what_else_is_in_the_place_for_labels_is_not_touched(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "notes.md").write_text("mine", "utf-8")
    with pytest.raises((DataError, OutputError), match="labels: "):
        detect(folder, is_float=True)
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["notes.md"]


def test_pictures_that_would_share_a_label_are_refused(folder: Path) -> None:
    _runs.paint(folder / "1.bmp", (0, 0, 0))
    with pytest.raises(DataError, match=r"1\.bmp and .*1\.png would share 1\.txt"):
        detect(folder, is_float=True)


# Drawing ---------------------------------------------------------------------------------------------


def drawn(tmp_path: Path, number: int) -> np.ndarray:
    return np.asarray(Image.open(tmp_path / "label_imgs" / f"{number}.png"))


def test_boxes_are_drawn_in_infer_mode_only(folder: Path, tmp_path: Path) -> None:
    for mode in ("quant", "compare"):
        detect(folder, draw_box=True, settings={"run_mode": mode})
        assert not (tmp_path / "label_imgs").exists()
    heard = _runs.Heard()
    values = {"draw_box": True, "calculate_acc": False, "names": ["cat", "dog"]}
    assert detect(folder, heard=heard, settings={"run_mode": "infer"}, **values) is None
    assert "are drawn into 3 pictures in" in heard.text
    picture = drawn(tmp_path, 2)
    assert picture.shape == (100, 50, 3)
    outline = np.zeros((100, 50), bool)
    outline[50:91, 5:46] = True
    outline[51:90, 6:45] = False  # the found box is 5.5, 50.5, 45.5, 90.5
    assert (picture[outline] == COLOURS[0]).all()
    assert (picture[51:90, 6:45] == 40).all() and (picture[91:] == 40).all()
    assert (drawn(tmp_path, 0)[36, 50:71] == COLOURS[1]).all()


@pytest.mark.parametrize(("confidence", "seen"), [(0.001, True), (0.65, False)])
def test_boxes_for_measuring_alone_are_not_drawn(
    folder: Path, tmp_path: Path, confidence: float, seen: bool
) -> None:
    """conf_thres of 0.001 is for mAP: a picture with 300 boxes helps nobody."""
    rows = [[(8.0, 4.0, 40.0, 30.0, 0.1, 0)], FOUND[1], FOUND[2]]
    settings = {"run_mode": "infer"}
    detect(folder, net=finds(rows), draw_box=True, conf_thres=confidence, settings=settings)
    assert (drawn(tmp_path, 0) == 0).all()
    assert (drawn(tmp_path, 1) != 20).any()
    assert bool((drawn(tmp_path, 2) != 40).any()) is seen


def test_pictures_in_folders_are_drawn_into_folders(tmp_path: Path) -> None:
    _runs.paint(tmp_path / "images" / "all" / "a.jpg", (20, 20, 20), SIZES[1])
    detect(tmp_path / "images", draw_box=True, settings={"run_mode": "infer"})
    assert (tmp_path / "label_imgs" / "all" / "a.png").exists()


def test_a_place_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "label_imgs").write_text("a file", "utf-8")
    with pytest.raises(OutputError, match="label_imgs"):
        detect(folder, draw_box=True, settings={"run_mode": "infer"})
