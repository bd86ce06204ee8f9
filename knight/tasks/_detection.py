"""Detection: mAP over a folder of pictures, and pictures with the boxes drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from knight.executor import Executor
from knight.files import make_folder
from knight.tasks._average_precision import mean_average_precision
from knight.tasks._batches import Prepared, batches, picture_input
from knight.tasks._boxes import Boxes, nms
from knight.tasks._config import Detection, InputConfig
from knight.tasks._draw import draw
from knight.tasks._labels import box_labels
from knight.tasks._own_labels import is_own, mark, place_of
from knight.tasks._pictures import find_pictures, load_picture, picture_size
from knight.tasks.decoders import Decoder, Task, find_decoder

_SURE = 0.25  # boxes of the float model that become labels where there are none


def detect(executor: Executor, config: InputConfig) -> float | None:
    """mAP50 as a fraction, None without `calculate_acc`; mAP50-95 is said as well.

    Without labels the float model's boxes become the labels. With `draw_box`, in infer mode, pictures with
    boxes are written to ``label_imgs`` beside the pictures.
    """
    assert config.detection is not None
    folder = Path(config.data_dir)
    pictures = find_pictures(folder)
    wanted = picture_input(executor)
    classes = config.detection.classes or len(config.detection.names) or None
    task = Task(wanted.size, classes, config.detection.anchors, config.detection.confidence)
    drawing = config.detection.draw and executor.run_mode == "infer"
    decoder: Decoder | None = None
    found: dict[Path, Boxes] = {}
    for group, numbers in batches(executor, pictures, wanted, config.preparation):
        outputs = executor.forward(numbers)
        if not (config.measure or drawing):
            if executor.early_stop_flag:
                break
            continue
        decoder = decoder or find_decoder([array.shape for array in outputs], task, config.detection.decoder)
        for one, boxes in zip(group, decoder.decode(outputs, task), strict=False):
            found[one.path] = _finished(boxes, one, config.detection)
            if drawing:
                _draw(one.path, folder, found[one.path], config.detection)
    if drawing:
        executor.say(f"{len(found)} pictures with boxes are in {_drawings(folder)}")
    return _measured(executor, config, found) if config.measure else None


def _finished(boxes: Boxes, one: Prepared, how: Detection) -> Boxes:
    """The boxes that are kept, in pixels of the picture."""
    kept = nms(boxes, how.confidence, how.overlap, how.max_det)
    return Boxes(one.place.to_source(kept.xyxy), kept.scores, kept.classes).clipped(*one.size)


def _drawings(folder: Path) -> Path:
    return folder.resolve().parent / "label_imgs"


def _draw(path: Path, folder: Path, boxes: Boxes, how: Detection) -> None:
    from knight.tasks._pictures import pil

    target = _drawings(folder) / path.relative_to(folder).with_suffix(".png")
    make_folder(target.parent)
    pil().fromarray(draw(load_picture(path), boxes, how.names)).save(target)


def _measured(executor: Executor, config: InputConfig, found: dict[Path, Boxes]) -> float:
    place = place_of(config)
    sizes = {path: picture_size(path) for path in found}
    folder = place if is_own(place) or config.label_dir is None else Path(config.label_dir)
    truth = None
    if not (executor.is_float and is_own(place)):
        truth = _truth(config, folder, found, sizes)
    if truth is None:
        _write(place, found, sizes, executor)
        return 1.0
    half, mean = mean_average_precision(
        [truth[path] for path in found], list(found.values()), [sizes[path] for path in found]
    )
    executor.say(f"mAP50 {half:.4f}, mAP50-95 {mean:.4f} over {len(found)} pictures")
    return half


def _truth(
    config: InputConfig, folder: Path, found: dict[Path, Boxes], sizes: dict[Path, tuple[int, int]]
) -> dict[Path, Boxes] | None:
    assert config.detection is not None
    if not folder.is_dir():
        return None
    classes = config.detection.classes or len(config.detection.names) or None
    return box_labels(folder, list(found), sizes, classes)


def _write(
    place: Path, found: dict[Path, Boxes], sizes: dict[Path, tuple[int, int]], executor: Executor
) -> None:
    """YOLO's lines: class and relative cx cy w h."""
    files = {}
    for path, boxes in found.items():
        height, width = sizes[path]
        sure = boxes.select(boxes.scores > _SURE)
        x1, y1, x2, y2 = (sure.xyxy / np.array([width, height, width, height])).T
        rows = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)
        lines = [
            f"{name} " + " ".join(f"{x:.6f}" for x in row)
            for name, row in zip(sure.classes, rows, strict=True)
        ]
        files[f"{path.stem}.txt"] = "".join(f"{line}\n" for line in lines)
    mark(place, files)
    executor.say(f"no labels: the float model's boxes are taken for them, kept in {place}")
