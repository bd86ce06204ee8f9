"""Detection: mAP over a folder of pictures, and pictures with the boxes drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np

from knight.errors import DataError
from knight.executor import Executor
from knight.files import write_file
from knight.tasks import _own_labels
from knight.tasks._average_precision import mean_average_precision
from knight.tasks._batches import Prepared, batches, chosen, picture_input
from knight.tasks._boxes import Boxes, nms
from knight.tasks._config import Detection, InputConfig
from knight.tasks._decoders import Decoder, Detector, find_decoder
from knight.tasks._draw import draw
from knight.tasks._labels import box_labels
from knight.tasks._pictures import find_pictures, load_picture, picture_size, pil

_SURE = 0.25  # boxes of the float model that become labels where there are none
_FOR_MEASURING = 0.05  # a conf_thres up to this is meant for mAP; drawn are the sure boxes only


@dataclass
class _Truth:
    """What the pictures are measured against. boxes: None where there are no labels."""

    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)
    boxes: Mapping[Path, Boxes] | None = None


def detect(executor: Executor, config: InputConfig) -> float | None:
    """mAP50 as a fraction, None without `calculate_acc`; mAP50-95 is said as well.

    Without labels the float model's boxes become the labels. With `draw_box`, in infer mode, pictures with
    boxes are written to ``label_imgs`` beside the pictures.
    """
    how = config.detection
    assert how is not None
    wanted = picture_input(executor)
    pictures = chosen(executor, find_pictures(Path(config.data_dir)), wanted)
    truth = _truth(executor, config, how, pictures) if config.measure else _Truth()
    detector = Detector(wanted.size, _classes(how), how.anchors, how.confidence)
    drawing = how.draw and executor.run_mode == "infer"
    decoder: Decoder | None = None
    found: dict[Path, Boxes] = {}
    for group, numbers in batches(pictures, wanted, config.preparation):
        outputs = executor.forward(numbers)
        if not (config.measure or drawing):
            if executor.early_stop_flag:
                break
            continue
        decoder = decoder or find_decoder([array.shape for array in outputs], detector, how.decoder)
        for one, boxes in zip(group, decoder.decode(outputs, detector), strict=False):
            found[one.path] = _finished(boxes, one, how)
            if drawing:
                _draw(one.path, Path(config.data_dir), found[one.path], how)
    if drawing:
        executor.say(
            f"boxes with scores above {_shown_above(how):g} are drawn into {len(found)} pictures in "
            f"{_drawings(Path(config.data_dir))}"
        )
    return _measured(executor, config, found, truth) if config.measure else None


def _classes(how: Detection) -> int | None:
    return how.classes or len(how.names) or None


def _finished(boxes: Boxes, one: Prepared, how: Detection) -> Boxes:
    """The boxes that are kept, in pixels of the picture."""
    kept = nms(boxes, how.confidence, how.overlap, how.max_det)
    boxes = Boxes(one.place.to_source(kept.xyxy), kept.scores, kept.classes).clipped(*one.size)
    x1, y1, x2, y2 = boxes.xyxy.T
    return boxes.select((x2 > x1) & (y2 > y1))  # some lie in the padding alone


# Drawing ------------------------------------------------------------------------------------------------


def _drawings(folder: Path) -> Path:
    return folder.resolve().parent / "label_imgs"


def _shown_above(how: Detection) -> float:
    return how.confidence if how.confidence > _FOR_MEASURING else _SURE


def _draw(path: Path, folder: Path, boxes: Boxes, how: Detection) -> None:
    shown = boxes.select(boxes.scores > _shown_above(how))
    content = BytesIO()
    pil().fromarray(draw(load_picture(path), shown, how.names)).save(content, "PNG")
    target = _drawings(folder) / path.relative_to(folder).with_suffix(".png")
    write_file(target, content.getvalue())


# Measuring ----------------------------------------------------------------------------------------------


def _truth(executor: Executor, config: InputConfig, how: Detection, pictures: Sequence[Path]) -> _Truth:
    """The labels that are there, read before the long way through the pictures."""
    sizes = {path: picture_size(path) for path in pictures}
    place = _own_labels.given_labels(config)
    boxes = None
    if place is not None and not _own_labels.renews(executor, config):
        boxes = box_labels(place, pictures, sizes, _classes(how))
        if _own_labels.is_own(place):
            _check_complete(place, pictures)
    if boxes is None and executor.is_float:
        _own_labels.check_place(_own_labels.place_of(config))
        _check_names(pictures)
    return _Truth(sizes, boxes)


def _check_complete(place: Path, pictures: Sequence[Path]) -> None:
    """In a user's labels a missing file means an empty picture; the float model writes one for each."""
    missing = [path for path in pictures if not (place / _label_file(path)).is_file()]
    if missing:
        raise DataError(
            f"{place}: no label for {missing[0].name} ({len(missing)} of {len(pictures)} have none); "
            f"the float model saw fewer pictures: run knight quant with a larger -i"
        )


def _check_names(pictures: Sequence[Path]) -> None:
    """Raises DataError where two pictures would share a label file."""
    seen: dict[str, Path] = {}
    for path in pictures:
        twin = seen.setdefault(_label_file(path), path)
        if twin != path:
            raise DataError(f"{twin} and {path} would share {_label_file(path)}; give them different names")


def _label_file(path: Path) -> str:
    return f"{path.stem}.txt"


def _measured(
    executor: Executor, config: InputConfig, found: Mapping[Path, Boxes], truth: _Truth
) -> float | None:
    if truth.boxes is None:
        if executor.is_float:
            return _become_labels(executor, config, found, truth.sizes)
        _own_labels.say_none(executor, config)
        return None
    if not any(len(truth.boxes[path]) for path in found):
        executor.say(f"no box is labelled in these {len(found)} pictures, so there is no mAP")
        return None
    half, mean = _mean_average_precision(truth.boxes, found, truth.sizes)
    executor.say(f"mAP50 {half:.4f}, mAP50-95 {mean:.4f} over {len(found)} pictures")
    return half


def _become_labels(
    executor: Executor,
    config: InputConfig,
    found: Mapping[Path, Boxes],
    sizes: Mapping[Path, tuple[int, int]],
) -> float | None:
    place = _own_labels.place_of(config)
    sure = {path: _sure(boxes) for path, boxes in found.items()}
    _own_labels.write(
        place, {_label_file(path): _yolo_lines(boxes, sizes[path]) for path, boxes in sure.items()}
    )
    executor.say(f"no labels: the float model's boxes are taken for them, kept in {place}")
    if any(map(len, sure.values())):
        return _mean_average_precision(sure, found, sizes)[0]
    executor.say(f"but none has a score above {_SURE:g}: there is no mAP")
    return None


def _mean_average_precision(
    truth: Mapping[Path, Boxes], found: Mapping[Path, Boxes], sizes: Mapping[Path, tuple[int, int]]
) -> tuple[float, float]:
    return mean_average_precision(
        [truth[path] for path in found], list(found.values()), [sizes[path] for path in found]
    )


def _sure(boxes: Boxes) -> Boxes:
    """Boxes that a label can be made of: with a high score, and at least a pixel wide and high."""
    x1, y1, x2, y2 = boxes.xyxy.T
    return boxes.select((boxes.scores > _SURE) & (x2 - x1 >= 1) & (y2 - y1 >= 1))


def _yolo_lines(boxes: Boxes, size: tuple[int, int]) -> str:
    """YOLO's lines: class and relative cx cy w h."""
    height, width = size
    x1, y1, x2, y2 = (boxes.xyxy / np.array([width, height, width, height])).T
    rows = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)
    lines = [
        f"{label} " + " ".join(f"{number:.6f}" for number in row) + "\n"
        for label, row in zip(boxes.classes, rows, strict=True)
    ]
    return "".join(lines)
