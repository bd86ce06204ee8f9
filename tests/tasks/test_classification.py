"""Top-1 and top-5 by a net that sees how red a picture is; whose labels count, whose are never touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knight.errors import ConfigError, DataError, OutputError
from knight.tasks import infer_default
from tests.tasks import _runs

SEES_RED = _runs.sees_red()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures; the net takes picture n for class n, the next class is its second choice."""
    for number in range(6):
        _runs.paint(tmp_path / "pictures" / f"{number}.png", (number * 40, 0, 0))
    return tmp_path / "pictures"


def classify(
    folder: Path,
    *,
    net: _runs.Net = SEES_RED,
    heard: _runs.Heard | None = None,
    is_float: bool = False,
    settings: Mapping[str, Any] | None = None,
    **values: Any,
) -> object:
    entry = {"data_dir": str(folder), "calculate_acc": True, **values}
    one = _runs.executor(net, entry, listener=heard, is_float=is_float, **(settings or {}))
    return infer_default.infer(one)


def write_labels(folder: Path, *classes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{number}.png {label}" for number, label in enumerate(classes)]
    (folder / "labels.txt").write_text("\n".join(lines), "utf-8")


def test_top_1_is_the_metric_and_top_5_is_said(folder: Path) -> None:
    write_labels(
        folder, 0, 1, 2, 3, 1, 0
    )  # 1 is among the five best of the fifth picture, 0 is not of the last
    heard = _runs.Heard()
    assert classify(folder, heard=heard) == pytest.approx(4 / 6)
    assert "top-1 66.67%, top-5 83.33% of 6 pictures" in heard.text


def test_labels_lie_in_label_dir_too_and_in_folders(folder: Path, tmp_path: Path) -> None:
    write_labels(tmp_path / "truth", 0, 1, 2, 3, 4, 5)
    assert classify(folder, label_dir=str(tmp_path / "truth")) == 1.0
    for number, name in enumerate(("ant", "bee", "cow")):
        _runs.paint(tmp_path / "by_class" / name / "1.png", (number * 40, 0, 0))
    _runs.paint(tmp_path / "by_class" / "bee" / "2.png", (0, 0, 0))
    assert classify(tmp_path / "by_class") == 0.75


def test_without_calculate_acc_there_is_no_metric_and_labels_are_not_looked_at(folder: Path) -> None:
    write_labels(folder, 99)
    assert classify(folder, calculate_acc=False) is None


@pytest.mark.parametrize(("batch", "size"), [(1, 1), (4, 1), (None, 4), (2, 4)])
def test_every_picture_counts_once_in_any_batch(folder: Path, batch: int | None, size: int) -> None:
    write_labels(folder, 0, 1, 2, 3, 4, 0)
    entry = {"data_dir": str(folder), "calculate_acc": True}
    one = _runs.executor(SEES_RED, entry, inputs=[_runs.info((batch, 3, 8, 8))], batch_size=size)
    assert infer_default.infer(one) == pytest.approx(5 / 6)


def test_only_as_many_pictures_count_as_i_asks_for(folder: Path) -> None:
    write_labels(folder, 0, 1, 0)  # the others have none, and need none
    heard = _runs.Heard()
    assert classify(folder, heard=heard, settings={"iteration": 3}) == pytest.approx(2 / 3)
    assert "of 3 pictures" in heard.text


def test_a_score_that_is_no_number_is_no_answer(folder: Path) -> None:
    write_labels(folder, 0, 0, 0, 0, 0, 0)
    assert classify(folder, net=lambda x: [np.full((1, 6), np.nan, np.float32)]) == 0.0


def test_outputs_that_are_no_classes_are_refused(folder: Path) -> None:
    write_labels(folder, 0, 0, 0, 0, 0, 0)
    with pytest.raises(DataError, match=r"the first output is \[1, 1\] for 1 picture"):
        classify(folder, net=lambda x: [np.zeros((1, 1), np.float32)])


def test_a_class_that_the_model_does_not_have_is_named_by_file_and_line(folder: Path) -> None:
    write_labels(folder, 0, 1, 6)
    calls: list[int] = []

    def net(x: np.ndarray) -> list[np.ndarray]:
        calls.append(1)
        return SEES_RED(x)

    with pytest.raises(DataError, match=r"labels\.txt, line 3: class 6 is out of range; .* 0 to 5"):
        classify(folder, net=net, settings={"iteration": 3})
    assert len(calls) == 1  # at once, not after all pictures


def test_a_missing_folder_of_labels_is_an_error(folder: Path, tmp_path: Path) -> None:
    for is_float in (False, True):
        with pytest.raises(DataError, match="nowhere: there is no such folder of labels"):
            classify(folder, label_dir=str(tmp_path / "nowhere"), is_float=is_float)


# The float model's own labels ------------------------------------------------------------------------


def lines(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines()


OWN = [f"{number}.png {number}" for number in range(6)]


def shifted(x: np.ndarray) -> list[np.ndarray]:
    """Another model: the next class but for the last."""
    return [np.roll(SEES_RED(x)[0], 1, axis=1)]


@pytest.mark.parametrize("given", [False, True])
def test_without_labels_the_float_models_answers_are_kept_and_measured_against(
    folder: Path, tmp_path: Path, given: bool
) -> None:
    place = tmp_path / ("mine" if given else "labels")
    values = {"label_dir": str(place)} if given else {}
    if given:
        place.mkdir()
    heard = _runs.Heard()
    assert classify(folder, is_float=True, heard=heard, **values) == 1.0
    assert f"kept in {place / 'labels.txt'}" in heard.text
    assert lines(place / "labels.txt") == OWN

    def worse(x: np.ndarray) -> list[np.ndarray]:
        return SEES_RED(np.minimum(x, 120))

    assert classify(folder, net=worse, **values) == pytest.approx(4 / 6)
    assert classify(folder, net=shifted, is_float=True, **values) == 1.0  # another model: made anew
    assert lines(place / "labels.txt") == [f"{n}.png {(n + 1) % 6}" for n in range(6)]


def test_own_labels_of_fewer_pictures_do_not_stand_for_more(folder: Path) -> None:
    classify(folder, is_float=True, settings={"iteration": 3})
    with pytest.raises(DataError, match=r"labels\.txt: no label for 3\.png \(3 of 6 have none\)"):
        classify(folder)


def test_infer_without_labels_says_that_there_are_none(folder: Path, tmp_path: Path) -> None:
    heard = _runs.Heard()
    assert classify(folder, heard=heard) is None
    assert "no labels in" in heard.text and "knight quant makes labels" in heard.text
    assert not (tmp_path / "labels").exists()


def test_a_users_labels_beside_the_pictures_are_read_and_never_overwritten(
    folder: Path, tmp_path: Path
) -> None:
    write_labels(tmp_path / "labels", 0, 1, 2, 0, 0, 0)
    before = (tmp_path / "labels" / "labels.txt").read_bytes()
    assert classify(folder, is_float=True) == 0.5
    assert (tmp_path / "labels" / "labels.txt").read_bytes() == before
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["labels.txt"]


def put_boxes(place: Path) -> None:
    place.mkdir()
    (place / "0.txt").write_text("0 0.5 0.5 1 1\n", "utf-8")


@pytest.mark.parametrize(
    ("prepare", "error"),
    [(put_boxes, DataError), (lambda place: place.write_text("a file", "utf-8"), OutputError)],
    ids=["other labels", "a file"],
)
def test_what_is_in_the_place_for_labels_is_not_touched(
    folder: Path, tmp_path: Path, prepare: Callable[[Path], object], error: type[Exception]
) -> None:
    prepare(tmp_path / "labels")
    calls: list[int] = []

    def net(x: np.ndarray) -> list[np.ndarray]:
        calls.append(1)
        return SEES_RED(x)

    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match="labels: "):
        classify(folder, net=net, is_float=True)
    assert len(calls) == 1 and sorted(tmp_path.rglob("*")) == before


def test_real_labels_that_come_later_are_used(folder: Path) -> None:
    classify(folder, is_float=True)
    write_labels(folder, 0, 0, 0, 0, 0, 0)
    assert classify(folder, is_float=True) == pytest.approx(1 / 6)


def test_the_answers_of_folders_keep_the_folders_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _runs.paint(tmp_path / "pictures" / "all" / f"{name}.png", (40, 0, 0))
    classify(tmp_path / "pictures", is_float=True)
    assert lines(tmp_path / "labels" / "labels.txt") == ["all/a.png 1", "all/b.png 1"]
    assert classify(tmp_path / "pictures") == 1.0


# What infer_default refuses ---------------------------------------------------------------------------


def test_the_older_form_feeds_one_input(folder: Path) -> None:
    entry = {"data_dir": str(folder)}
    two = _runs.executor(lambda *x: [x[0]], entry, inputs=[_runs.info(), _runs.info(name="z")])
    with pytest.raises(ConfigError, match="feeds one input; the model has 2 and there are 1 entries"):
        infer_default.infer(two)
    with pytest.raises(ConfigError, match="the model has 1 and there are 2 entries"):
        infer_default.infer(_runs.executor(lambda *x: [x[0]], entry, entry))


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_folders_without_pictures_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=name):
        classify(tmp_path / name)


def test_an_early_stop_ends_a_pass_that_measures_nothing(folder: Path) -> None:
    entry = {"data_dir": str(folder)}
    one = _runs.executor(SEES_RED, entry)
    one.early_stop_flag = True
    infer_default.infer(one)
    assert one.calls == 1
    write_labels(folder, 0, 1, 2, 3, 4, 5)
    one = _runs.executor(SEES_RED, {**entry, "calculate_acc": True})
    one.early_stop_flag = True
    assert infer_default.infer(one) == 1.0 and one.calls == 6  # all pictures, or the accuracy is another
