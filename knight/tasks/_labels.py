"""Reads what users know of their pictures: classes, and boxes in YOLO's or COCO's form."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np

from knight.errors import DataError, printable
from knight.files import content
from knight.json_keys import decoded, parsed
from knight.tasks._boxes import Boxes

LABELS = "labels.txt"
NAMES = "classes.txt"
"""Names of the classes, one a line, as label tools write it beside YOLO's files."""
_NAMED = re.compile(r"\"?(.+?\.(?:bmp|jpe?g|png))\"?[\s,;]+(\S.*)", re.IGNORECASE)
"""A picture's name, which may have blanks in it, and what follows."""
_ANY_CLASS = 2**31
_LARGEST = 1 << 29
"""Bytes that a file of labels may have; those of COCO's training pictures have 450 MB."""

Size = tuple[int, int]
"""(height, width) of a picture in pixels."""


def class_labels(
    data_dir: Path, label_dir: Path | None, pictures: Sequence[Path], classes: int | None = None
) -> dict[Path, int] | None:
    """The class of each of `pictures`, which are in `data_dir`; None where there are no labels.

    A labels.txt in `label_dir` (which may also be that file itself), else in `data_dir`: a picture's name and
    its class per line, further columns are passed over, and so are lines for pictures that are not there.
    Else, where all pictures are in two or more folders inside `data_dir`, these are the classes: 0 is the
    first by name, as torchvision's ImageFolder counts ("10" comes before "2").

    Raises DataError for a folder that is missing or has other things than labels, a picture without
    a label, a line that says nothing or contradicts, a class not in 0 to `classes` - 1, and a labels.txt
    in `data_dir` that contradicts the folders.
    """
    by_folder = _classes_by_folder(data_dir, pictures, classes)
    given = _given_labels(data_dir, label_dir)
    if given is not None:
        return _classes_by_line(given, data_dir, pictures, classes)
    if not os.path.lexists(data_dir / LABELS):
        return by_folder
    by_line = _classes_by_line(data_dir / LABELS, data_dir, pictures, classes)
    for path, label in (by_folder or {}).items():
        if by_line[path] != label:
            raise DataError(
                f"{data_dir / LABELS} gives {path.name} class {by_line[path]}, its folder "
                f"{path.relative_to(data_dir).parts[0]!r} is class {label}: take one of the two away, or "
                f"name the right labels.txt in label_dir"
            )
    return by_line


def _classes_by_folder(
    data_dir: Path, pictures: Sequence[Path], classes: int | None
) -> dict[Path, int] | None:
    parts = {path: path.relative_to(data_dir).parts for path in pictures}
    folders = sorted(entry.name for entry in _visible(data_dir) if entry.is_dir())
    if len(folders) < 2 or any(len(names) == 1 for names in parts.values()):
        return None
    if classes is not None and len(folders) > classes:
        raise DataError(
            f"{data_dir}: {len(folders)} folders, one per class, but the model has {classes} classes"
        )
    numbers = {name: number for number, name in enumerate(folders)}
    return {path: numbers[names[0]] for path, names in parts.items()}


def _given_labels(data_dir: Path, label_dir: Path | None) -> Path | None:
    """The labels.txt that the user points at; None where `label_dir` is not given or empty."""
    if label_dir is None or label_dir == data_dir:
        return None
    if label_dir.is_file():
        return label_dir
    if os.path.lexists(label_dir / LABELS):
        return label_dir / LABELS
    if _visible(label_dir):
        raise DataError(f"{label_dir}: no {LABELS} in it, but other things; name its folder, or an empty one")
    return None


def _classes_by_line(
    file: Path, data_dir: Path, pictures: Sequence[Path], classes: int | None
) -> dict[Path, int]:
    named = _by_name(data_dir, pictures)
    found: dict[Path, tuple[int, str]] = {}
    for where, line in _lines(file):
        name, text = _name_and_class(line, where)
        label = _class(text, classes, where)
        candidates = named.get(name) or named.get(PurePosixPath(name).name, [])
        if len(candidates) > 1:
            raise DataError(f"{where}: {len(candidates)} pictures are called {name}; write folder/name")
        for path in candidates:
            before, there = found.setdefault(path, (label, where))
            if before != label:
                raise DataError(f"{where}: {name} is class {label} here and {before} in {there}")
    missing = [path for path in pictures if path not in found]
    if len(missing) == len(pictures):
        raise DataError(f"{file}: the labels are for other pictures than those in {data_dir}")
    if missing:
        raise DataError(
            f"{file}: no label for {missing[0].name} ({len(missing)} of {len(pictures)} have none)"
        )
    return {path: found[path][0] for path in pictures}


def _by_name(data_dir: Path, pictures: Sequence[Path]) -> dict[str, list[Path]]:
    """Pictures by what a line may call them: folder/name, the name, or the name without its suffix."""
    named: dict[str, list[Path]] = {}
    for path in pictures:
        for key in {path.relative_to(data_dir).as_posix(), path.name, path.stem}:
            named.setdefault(key, []).append(path)
    return named


def _name_and_class(line: str, where: str) -> tuple[str, str]:
    match = _NAMED.fullmatch(line)
    name, rest = match.groups() if match else [*re.split(r"[\s,;]+", line, maxsplit=1), ""][:2]
    if not rest:
        raise DataError(
            f"{where}: {_told(line)} has one column; a line is a picture's name and its class number"
        )
    return name.replace("\\", "/").removeprefix("./"), re.split(r"[\s,;]+", rest)[0]


class BoxLabels(dict[Path, Boxes]):
    """The true boxes of each picture, scores 1. names: those of the classes, where the labels tell them."""

    names: tuple[str, ...] | None = None


def box_labels(
    label_dir: Path | None, pictures: Sequence[Path], sizes: Mapping[Path, Size], classes: int | None
) -> BoxLabels | None:
    """The true boxes of each of `pictures`, in pixels; None where `label_dir` is not given or empty.

    YOLO: a file NAME.txt per picture with lines "class cx cy width height", parts of the picture's width and
    height; an empty or missing file means no box, names are taken from a classes.txt. COCO: one json (which
    `label_dir` may also be); the categories become 0, 1, ... by ascending id, crowds are passed over. Boxes
    are cut at the picture's border.

    Raises DataError for a folder that is missing, has both forms or none, or labels for other pictures; for
    lines and entries that cannot be read, polygons, classes not in 0 to `classes` - 1, and boxes
    without area inside the picture.
    """
    entries = [] if label_dir is None else [label_dir] if label_dir.is_file() else _visible(label_dir)
    if label_dir is None or not entries:
        return None
    jsons = [path for path in entries if path.suffix.lower() == ".json"]
    stems = {path.stem for path in pictures}
    texts = [path for path in entries if path.suffix == ".txt" and path.stem in stems and path.name != NAMES]
    if jsons and texts:
        raise DataError(f"{label_dir}: labels in both forms, {jsons[0].name} and {texts[0].name}; keep one")
    if len(jsons) > 1:
        names = ", ".join(path.name for path in jsons[:5])
        raise DataError(f"{label_dir}: {len(jsons)} json files ({names}); give the right one as label_dir")
    if jsons:
        return _coco(jsons[0], pictures, sizes, classes)
    if label_dir.is_file():
        raise DataError(f"{label_dir}: this is a file; label_dir is a folder, or one json with COCO labels")
    if not texts:
        raise DataError(
            f"{label_dir}: no json, and no .txt for any of the pictures, the first being {pictures[0].name}"
        )
    return _yolo(label_dir, pictures, sizes, classes)


def _yolo(
    folder: Path, pictures: Sequence[Path], sizes: Mapping[Path, Size], classes: int | None
) -> BoxLabels:
    labels = BoxLabels()
    by_stem: dict[str, Path] = {}
    for path in pictures:
        file = folder / f"{path.stem}.txt"
        twin = by_stem.setdefault(path.stem, path)
        if not os.path.lexists(file):
            labels[path] = Boxes.empty()
        elif twin != path:
            raise DataError(f"{file}: labels for both {twin} and {path}; give the pictures different names")
        else:
            labels[path] = _boxes(
                _yolo_box(where, line, sizes[path], classes) for where, line in _lines(file)
            )
    if os.path.lexists(folder / NAMES):
        labels.names = tuple(line for _, line in _lines(folder / NAMES))
    return labels


def _yolo_box(where: str, line: str, size: Size, classes: int | None) -> tuple[int, np.ndarray]:
    columns = line.split()
    if len(columns) < 5:
        raise DataError(f"{where}: {len(columns)} columns; a line is: class cx cy width height")
    if len(columns) > 6 and len(columns) % 2:
        raise DataError(
            f"{where}: {len(columns)} columns, which is a polygon; a box is: class cx cy width height"
        )
    label = _class(columns[0], classes, where)
    cx, cy, width, height = (_number(text, where) for text in columns[1:5])
    corners = np.array([cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2])
    hint = "; the numbers are parts of the picture's width and height, not pixels"
    return label, _inside(corners * _corner(size), size, where, hint)


def _corner(size: Size) -> np.ndarray:
    return np.array([size[1], size[0], size[1], size[0]], np.float64)


def _inside(xyxy: np.ndarray, size: Size, where: str, hint: str = "") -> np.ndarray:
    """The part of a box that is in the picture, which has to be some."""
    clipped: np.ndarray = np.clip(xyxy, 0.0, _corner(size))
    if (xyxy[2:] <= xyxy[:2]).any():
        raise DataError(f"{where}: the box has no area")
    if (clipped[2:] <= clipped[:2]).any():
        raise DataError(f"{where}: the box is wholly outside of the picture ({size[1]} x {size[0]}){hint}")
    return clipped


def _coco(file: Path, pictures: Sequence[Path], sizes: Mapping[Path, Size], classes: int | None) -> BoxLabels:
    data = _json(file)
    categories = sorted(_entries(data, "categories", file), key=lambda one: _integer(one, "id", file))
    if classes is not None and len(categories) > classes:
        raise DataError(f"{file}: {len(categories)} categories, but the model has {classes} classes")
    numbers = {one["id"]: number for number, one in enumerate(categories)}
    annotations: dict[int, list[dict[str, Any]]] = {}
    for one in _entries(data, "annotations", file):
        annotations.setdefault(_integer(one, "image_id", file), []).append(one)
    images: dict[str, list[dict[str, Any]]] = {}
    for image in _entries(data, "images", file):
        images.setdefault(PurePosixPath(str(image.get("file_name"))).name, []).append(image)
    labels = BoxLabels()
    labels.names = tuple(str(one.get("name", one["id"])) for one in categories)
    for path in pictures:
        image_id = _coco_image(path, images.get(path.name, []), sizes[path], file)
        mine = [one for one in annotations.get(image_id, []) if not one.get("iscrowd")]
        labels[path] = _boxes(_coco_box(one, numbers, sizes[path], file) for one in mine)
    return labels


def _coco_image(path: Path, images: list[dict[str, Any]], size: Size, file: Path) -> int:
    """The id of a picture."""
    if len(images) > 1:
        images = [
            one for one in images if path.as_posix().endswith("/" + str(one["file_name"]).removeprefix("./"))
        ]
    if len(images) != 1:
        many = "several images" if images else "no image"
        raise DataError(f"{file}: {many} with the file_name {path.name}; are the labels for other pictures?")
    written = (images[0].get("height") or size[0], images[0].get("width") or size[1])
    if written != size:
        raise DataError(
            f"{file}: {path.name} is {written[1]} x {written[0]} there, but {size[1]} x {size[0]} as it is "
            f"(after EXIF rotation); its boxes would be wrong"
        )
    return _integer(images[0], "id", file)


def _coco_box(
    one: dict[str, Any], numbers: Mapping[int, int], size: Size, file: Path
) -> tuple[int, np.ndarray]:
    where = f"{file}: annotation {one.get('id', 'without id')}"
    category = _integer(one, "category_id", file)
    if category not in numbers:
        raise DataError(f"{where}: there is no category {category}")
    box = one.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{where}: bbox is {_told(box)}, not [x, y, width, height]")
    x, y, width, height = (_number(value, where) for value in box)
    return numbers[category], _inside(np.array([x, y, x + width, y + height]), size, where)


def _json(file: Path) -> dict[str, Any]:
    data = parsed(_content(file), f"{file}: ", DataError)
    if not isinstance(data, dict):
        raise DataError(f"{file}: no COCO labels, which have images, annotations and categories")
    return data


def _entries(data: dict[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    entries = data.get(key)
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise DataError(f"{file}: no COCO labels: {key!r} is missing or no list of objects")
    return entries


def _integer(entry: dict[str, Any], key: str, file: Path) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        where = printable(str(entry)[:80])
        raise DataError(f"{file}: {key!r} is {_told(value)}, not a whole number, in {where}")
    return value


def _boxes(rows: Iterator[tuple[int, np.ndarray]]) -> Boxes:
    pairs = list(rows)
    if not pairs:
        return Boxes.empty()
    classes = np.array([label for label, _ in pairs], np.int64)
    return Boxes(np.stack([xyxy for _, xyxy in pairs]), np.ones(len(pairs)), classes)


def _class(text: str, classes: int | None, where: str) -> int:
    number = _number(text, where)
    if number != int(number):
        raise DataError(f"{where}: {_told(text)} is no class number")
    if not 0 <= number < (_ANY_CLASS if classes is None else classes):
        allowed = "0 or more" if classes is None else f"0 to {classes - 1}"
        raise DataError(f"{where}: class {printable(text)} is out of range; it has to be {allowed}")
    return int(number)


def _number(value: object, where: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # that is what is found out
    except (TypeError, ValueError, OverflowError):
        _not_a_number(value, where)
    return number if math.isfinite(number) else _not_a_number(value, where)


def _not_a_number(value: object, where: str) -> NoReturn:
    raise DataError(f"{where}: {_told(value)} is no number")


def _told(value: object) -> str:
    return printable(repr(value))


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of labels")
    return sorted(path for path in folder.iterdir() if path.name[0] != ".")


def _content(file: Path) -> bytes:
    try:
        return content(file, _LARGEST)
    except OSError as error:
        raise DataError(f"{file}: the labels cannot be read: {error.strerror}") from error


def lines(file: Path) -> Iterator[tuple[str, str]]:
    """("FILE, line N", text) of each line of a file of labels that is not blank. Raises DataError."""
    text = decoded(_content(file), f"{file}: ", DataError)
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{file}, line {number}", line.rstrip("\r")


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """As `lines`, without the space around."""
    return ((where, text.strip()) for where, text in lines(file))
