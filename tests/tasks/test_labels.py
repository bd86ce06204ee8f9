"""Labels in every form that is read, and every way in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from knight.errors import DataError
from knight.tasks._labels import box_labels, class_labels
from knight.tasks._pictures import find_pictures, picture_size


def made(folder: Path, *names: str) -> list[Path]:
    """Empty files, for labels are matched by name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def written(file: Path, content: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file.parent


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


class TestClasses:
    def test_lines_give_name_and_class(self, data: Path) -> None:
        a, b, c = made(data, "a.jpg", "my own b.PNG", "c.bmp")
        written(
            data / "labels.txt", "\ufeffc.bmp, 7\r\n\nmy own b.PNG\t3 n01440764 tench\na.jpg 0\nother.jpg 9\n"
        )
        assert class_labels(data, None, [a, b, c]) == {a: 0, b: 3, c: 7}

    def test_label_dir_comes_before_data_dir_and_may_be_the_file(self, data: Path, tmp_path: Path) -> None:
        (a,) = made(data, "a.jpg")
        written(data / "labels.txt", "a.jpg 1")
        labels = written(tmp_path / "labels" / "labels.txt", "./val/a.jpg 2")
        assert class_labels(data, labels, [a]) == {a: 2}
        assert class_labels(data, labels / "labels.txt", [a]) == {a: 2}
        assert class_labels(data, data, [a]) == {a: 1}

    def test_without_labels_there_are_none(self, data: Path, tmp_path: Path) -> None:
        pictures = made(data, "a.jpg", "b.jpg")
        assert class_labels(data, None, pictures) is None
        (tmp_path / "empty").mkdir()
        assert class_labels(data, tmp_path / "empty", pictures) is None
        one = made(tmp_path / "single", "part/a.jpg")
        assert class_labels(tmp_path / "single", None, one) is None

    def test_folders_are_classes_by_name(self, data: Path) -> None:
        pictures = made(data, "ant/1.jpg", "cat/1.jpg", "cat/2.jpg")
        (data / "bee").mkdir()
        assert class_labels(data, None, pictures) == dict(zip(pictures, [0, 2, 2], strict=True))
        with pytest.raises(DataError, match="3 folders, one per class, but the model has 2 classes"):
            class_labels(data, None, pictures, 2)

    def test_both_forms_have_to_agree(self, data: Path, tmp_path: Path) -> None:
        pictures = made(data, "ant/1.jpg", "cat/2.jpg")
        written(data / "labels.txt", "ant/1.jpg 0\n2.jpg 1")
        assert class_labels(data, None, pictures) == dict(zip(pictures, [0, 1], strict=True))
        written(data / "labels.txt", "ant/1.jpg 0\n2 282")
        with pytest.raises(
            DataError, match=r"labels\.txt gives 2\.jpg class 282, its folder 'cat' is class 1"
        ):
            class_labels(data, None, pictures)
        labels = written(tmp_path / "labels" / "labels.txt", "1.jpg 310\n2.jpg 282")
        assert class_labels(data, labels, pictures) == dict(zip(pictures, [310, 282], strict=True))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a.jpg 0\nb.jpg", r"labels\.txt, line 2: 'b\.jpg' has one column"),
            ("name class\na.jpg 0", r"line 1: 'class' is no number"),
            ("a.jpg 1.5", r"line 1: '1\.5' is no class number"),
            ("a.jpg nan", "line 1: 'nan' is no number"),
            ("\n\na.jpg -1", "line 3: class -1 is out of range; it has to be 0 to 4"),
            ("a.jpg 5", "line 1: class 5 is out of range"),
            ("a.jpg 1\nb.jpg 1\na.jpg 2", "line 3: a.jpg is class 2 here and 1 in .*line 1"),
            ("x.jpg 1\ny.jpg 1", r"labels\.txt: the labels are for other pictures than those in"),
            ("", "for other pictures"),
            ("a.jpg 1", r"no label for b\.jpg \(1 of 2 have none\)"),
        ],
    )
    def test_wrong_lines_are_named(self, data: Path, text: str, message: str) -> None:
        pictures = made(data, "a.jpg", "b.jpg")
        written(data / "labels.txt", text)
        with pytest.raises(DataError, match=message):
            class_labels(data, None, pictures, 5)

    def test_wrong_places_are_named(self, data: Path, tmp_path: Path) -> None:
        pictures = made(data, "ant/1.jpg", "cat/1.jpg")
        with pytest.raises(DataError, match="gone: there is no such folder of labels"):
            class_labels(data, tmp_path / "gone", pictures)
        written(tmp_path / "labels" / "1.txt", "0 .5 .5 1 1")
        with pytest.raises(DataError, match=r"no labels\.txt in it"):
            class_labels(data, tmp_path / "labels", pictures)
        written(data / "labels.txt", "1.jpg 0")
        with pytest.raises(DataError, match=r"2 pictures are called 1\.jpg; write folder/name"):
            class_labels(data, None, pictures)
        (data / "labels.txt").write_bytes("ant/1.jpg 0\ncät/1.jpg 1".encode("latin-1"))
        with pytest.raises(DataError, match="line 2: no UTF-8 text"):
            class_labels(data, None, pictures)

    def test_real_labels(self, kit: Path) -> None:
        folder = kit / "images" / "imagenet"
        pictures = find_pictures(folder)
        labels = class_labels(folder, kit / "images" / "imagenet_labels.txt", pictures, 1000)
        assert labels is not None
        assert list(labels) == pictures
        assert labels[folder / "n01440764_tench.jpg"] == 0
        assert labels[folder / "n01484850_great_white_shark.jpg"] == 2


SIZE = (100, 200)
"""Height and width of all made pictures."""


def read(label_dir: Path, pictures: list[Path], classes: int | None = 3) -> Any:
    return box_labels(label_dir, pictures, dict.fromkeys(pictures, SIZE), classes)


class TestYolo:
    def test_lines_become_boxes_in_pixels(self, data: Path) -> None:
        a, b, c = made(data, "a.jpg", "b.png", "c.jpg")
        labels = written(data / "a.txt", "2 0.5 0.5 0.1 0.2\r\n\r\n0.0 0.25 0.25 0.5 0.5 0.93\n")
        written(data / "b.txt", "")
        written(data / "other.txt", "no label at all")
        found = read(labels, [a, b, c])
        np.testing.assert_allclose(found[a].xyxy, [[90, 40, 110, 60], [0, 0, 100, 50]])
        np.testing.assert_array_equal(found[a].classes, [2, 0])
        np.testing.assert_array_equal(found[a].scores, [1, 1])
        assert (found[a].xyxy.dtype, found[a].classes.dtype) == (np.float64, np.int64)
        assert (len(found[b]), len(found[c])) == (0, 0)
        assert list(found) == [a, b, c]
        assert found.names is None

    def test_names_are_those_of_classes_txt(self, data: Path) -> None:
        (a,) = made(data, "a.jpg")
        written(data / "a.txt", "0 .5 .5 .1 .1")
        written(data / "classes.txt", "pear\nred grape\n")
        assert read(data, [a]).names == ("pear", "red grape")

    def test_boxes_are_cut_at_the_border(self, data: Path) -> None:
        (a,) = made(data, "a.jpg")
        written(data / "a.txt", "0 0 0 0.2 0.2\n0 1 1 0.5 3")
        np.testing.assert_allclose(read(data, [a])[a].xyxy, [[0, 0, 20, 10], [150, 0, 200, 100]])

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("0 .5 .5 .1", "line 2: 4 columns; a line is: class cx cy width height"),
            ("0 .1 .1 .2 .1 .2 .2", "line 2: 7 columns, which is a polygon"),
            ("pear .5 .5 .1 .1", "line 2: 'pear' is no number"),
            ("0.5 .5 .5 .1 .1", r"line 2: '0\.5' is no class number"),
            ("3 .5 .5 .1 .1", "line 2: class 3 is out of range; it has to be 0 to 2"),
            ("-1 .5 .5 .1 .1", "line 2: class -1 is out of range"),
            ("0 .5 nan .1 .1", "line 2: 'nan' is no number"),
            ("0 .5 .5 1e999 .1", "line 2: '1e999' is no number"),
            ("0 .5 .5 0 .1", "line 2: the box has no area"),
            ("0 .5 .5 .1 -.1", "line 2: the box has no area"),
            ("0 1.1 .5 .1 .1", r"line 2: the box is wholly outside of the picture \(200 x 100\)"),
            ("0 120 40 20 10", "line 2: the box is wholly outside .* not pixels"),
        ],
    )
    def test_wrong_lines_are_named(self, data: Path, line: str, message: str) -> None:
        (a,) = made(data, "a.jpg")
        written(data / "a.txt", f"0 .5 .5 .1 .1\n{line}\n")
        with pytest.raises(DataError, match=rf"a\.txt, {message}"):
            read(data, [a])

    def test_pictures_that_share_a_label_file_are_named(self, data: Path) -> None:
        pictures = made(data, "a.jpg", "a.png")
        written(data / "a.txt", "0 .5 .5 .1 .1")
        with pytest.raises(DataError, match=r"a\.txt: labels for both .*a\.jpg and .*a\.png"):
            read(data, pictures)

    def test_places_without_labels(self, data: Path, tmp_path: Path) -> None:
        pictures = made(data, "a.jpg")
        assert box_labels(None, pictures, {}, 3) is None
        (tmp_path / "empty").mkdir()
        assert read(tmp_path / "empty", pictures) is None
        with pytest.raises(DataError, match="gone: there is no such folder of labels"):
            read(tmp_path / "gone", pictures)
        other = written(tmp_path / "other" / "b.txt", "0 .5 .5 .1 .1")
        with pytest.raises(DataError, match=r"no \.txt for any of the pictures, the first being a\.jpg"):
            read(other, pictures)
        with pytest.raises(DataError, match=r"a\.txt: this is a file; label_dir is a folder"):
            read(written(data / "a.txt", "0 .5 .5 .1 .1") / "a.txt", pictures)

    @given(st.lists(st.tuples(st.integers(0, 2), *[st.floats(0.01, 0.99)] * 4), max_size=5))
    @settings(max_examples=50, deadline=None)
    def test_what_was_written_is_read(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]]
    ) -> None:
        """Corners sorted, so that each box is inside; the written form is centre and sides."""
        folder = tmp_path_factory.mktemp("yolo")
        corners = [(c, min(a, b), min(x, y), max(a, b) + 0.01, max(x, y) + 0.01) for c, a, b, x, y in rows]
        lines = [f"{c} {(a + b) / 2!r} {(x + y) / 2!r} {b - a!r} {y - x!r}" for c, a, x, b, y in corners]
        written(folder / "a.txt", "\n".join(lines))
        found = read(folder, [folder / "a.jpg"])[folder / "a.jpg"]
        expected = np.array([row[1:] for row in corners]).reshape(-1, 4) * [200, 100, 200, 100]
        np.testing.assert_allclose(found.xyxy, expected, atol=1e-9)
        assert found.classes.tolist() == [row[0] for row in corners]

    @given(st.text(alphabet="0123456789.-+e \tnainf", max_size=40))
    @settings(max_examples=150, deadline=None)
    def test_any_line_is_a_box_inside_or_one_clear_error(
        self, tmp_path_factory: pytest.TempPathFactory, line: str
    ) -> None:
        folder = tmp_path_factory.getbasetemp()
        written(folder / "any.txt", line)
        try:
            found = read(folder, [folder / "any.jpg"])[folder / "any.jpg"]
        except DataError as error:
            assert "any.txt, line 1: " in str(error)
            assert "\n" not in str(error)
        else:
            assert len(found) == bool(line.strip())
            assert (found.xyxy >= 0).all()
            assert (found.xyxy <= [200, 100, 200, 100]).all()

    def test_real_labels(self, kit: Path) -> None:
        folder = kit / "images" / "fruits"
        pictures = find_pictures(folder)
        sizes = {path: picture_size(path) for path in pictures}
        labels = box_labels(folder, pictures, sizes, 5)
        assert labels is not None
        lines = [line.split() for path in folder.glob("*.txt") for line in path.read_text().splitlines()]
        assert sum(len(boxes) for boxes in labels.values()) == len(lines)
        first = folder / "banana_112"
        expected = np.array(
            [line.split() for line in first.with_suffix(".txt").read_text().splitlines()], float
        )
        boxes = labels[first.with_suffix(".jpg")]
        height, width = sizes[first.with_suffix(".jpg")]
        np.testing.assert_array_equal(boxes.classes, expected[:, 0])
        x1, y1, x2, y2 = boxes.xyxy.T
        np.testing.assert_allclose((x1 + x2) / 2 / width, expected[:, 1], atol=1e-3)
        np.testing.assert_allclose((y2 - y1) / height, expected[:, 4], atol=1e-3)


def coco(**changed: Any) -> dict[str, Any]:
    """Two pictures, three categories whose ids have gaps and no order."""
    box = {"id": 1, "image_id": 5, "category_id": 90, "bbox": [10, 20, 30, 40], "iscrowd": 0}
    whole: dict[str, Any] = {
        "images": [
            {"id": 5, "file_name": "a.jpg", "height": 100, "width": 200},
            {"id": 3, "file_name": "val/b.png"},
        ],
        "categories": [{"id": 90, "name": "pear"}, {"id": 1, "name": "grape"}, {"id": 4, "name": "mango"}],
        "annotations": [
            box,
            box | {"id": 2, "category_id": 1, "bbox": [-10, 0, 30, 300.5]},
            box | {"id": 3, "iscrowd": 1},
            box | {"id": 4, "image_id": 77},
        ],
    }
    return whole | changed


def annotated(**changed: Any) -> dict[str, Any]:
    return coco(annotations=[coco()["annotations"][0] | changed])


class TestCoco:
    def test_entries_become_boxes_in_pixels(self, data: Path, tmp_path: Path) -> None:
        a, b = made(data, "a.jpg", "b.png")
        labels = written(tmp_path / "labels" / "val.json", coco())
        for place in (labels, labels / "val.json"):
            found = read(place, [a, b])
            np.testing.assert_array_equal(found[a].xyxy, [[10, 20, 40, 60], [0, 0, 20, 100]])
            np.testing.assert_array_equal(found[a].classes, [2, 0])
            assert len(found[b]) == 0
            assert found.names == ("grape", "mango", "pear")

    def test_it_is_what_pycocotools_reads(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from pycocotools.coco import COCO

        (a,) = made(data, "a.jpg")
        written(data / "val.json", annotated())
        theirs = COCO(str(data / "val.json"))
        (one,) = theirs.loadAnns(theirs.getAnnIds(imgIds=[5]))
        x, y, width, height = one["bbox"]
        found = read(data, [a])
        np.testing.assert_array_equal(found[a].xyxy, [[x, y, x + width, y + height]])
        assert found.names[found[a].classes[0]] == theirs.loadCats(one["category_id"])[0]["name"]
        capsys.readouterr()

    def test_one_name_in_two_folders_is_told_apart(self, data: Path) -> None:
        pictures = made(data, "x/a.jpg", "y/a.jpg")
        images = [{"id": 5, "file_name": "x/a.jpg"}, {"id": 6, "file_name": "y/a.jpg"}]
        written(data / "val.json", coco(images=images))
        assert [len(boxes) for boxes in read(data, pictures).values()] == [2, 0]
        images[1]["file_name"] = "z/a.jpg"
        written(data / "val.json", coco(images=images))
        with pytest.raises(DataError, match=r"no image with the file_name a\.jpg"):
            read(data, pictures)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{\n"images": [,]}', "no JSON: Expecting value: line 2 column 12"),
            ([], "no COCO labels"),
            ({"version": "5.0"}, "no COCO labels: 'categories' is missing"),
            (coco(annotations=[3]), "'annotations' is missing or no list of objects"),
            (coco(images=[]), r"no image with the file_name a\.jpg"),
            (coco(images=[{"id": 5, "file_name": "a.jpg"}] * 2), r"several images with the file_name a\.jpg"),
            (
                coco(images=[{"id": 5, "file_name": "a.jpg", "height": 200, "width": 100}]),
                "100 x 200 there, but",
            ),
            (coco(images=[{"file_name": "a.jpg"}]), "'id' is None, not a whole number"),
            (coco(categories=[{"id": n} for n in range(4)]), "4 categories, but the model has 3 classes"),
            (coco(categories=[{"id": "pear"}]), "'id' is 'pear', not a whole number"),
            (annotated(category_id=2), "annotation 1: there is no category 2"),
            (annotated(bbox=[1, 2, 3]), r"annotation 1: bbox is \[1, 2, 3\]"),
            (annotated(bbox=[1, 2, 3, None]), "annotation 1: None is no number"),
            (annotated(bbox=[1, 2, 3, 10**400]), r"annotations\[0\].bbox\[3\]: is Infinity"),
            (annotated(bbox=[1, 2, 3, 0]), "annotation 1: the box has no area"),
            (annotated(bbox=[200, 2, 3, 4]), "annotation 1: the box is wholly outside"),
        ],
    )
    def test_wrong_entries_are_named(self, data: Path, content: object, message: str) -> None:
        (a,) = made(data, "a.jpg")
        written(data / "val.json", content)
        with pytest.raises(
            DataError, match=rf"val\.json(:|,) .*{message}|val\.json, {message}|val\.json: {message}"
        ):
            read(data, [a])

    def test_only_one_form_and_one_file(self, data: Path) -> None:
        (a,) = made(data, "a.jpg")
        written(data / "val.json", coco())
        written(data / "a.txt", "0 .5 .5 .1 .1")
        with pytest.raises(DataError, match=r"labels in both forms, val\.json and a\.txt"):
            read(data, [a])
        (data / "a.txt").unlink()
        written(data / "train.json", coco())
        with pytest.raises(DataError, match=r"2 json files \(train\.json, val\.json\)"):
            read(data, [a])
