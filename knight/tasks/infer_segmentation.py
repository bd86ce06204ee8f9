"""Semantic segmentation: mIoU over a folder of pictures and one of masks.

``input-configs`` has one entry. data_dir: pictures. label_dir: PNG masks with the same stems, whose pixels
hold the class (palette index or grey); without masks the float model's become the labels. Further keys, all
optional: ignore (the class in masks that does not count, 255), upsample (nearest, or bilinear for scores: how
the output is brought to the mask's size), resize (squash or letterbox), nc (the number of classes), layout
(NCHW or NHWC), threshold (makes classes 0 and 1 of one channel), output (a name), and color_space, mean, std,
interpolation, fill, preset and calculate_acc as for infer_default, but that the last is true unless set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta

from knight.errors import DataError
from knight.executor import Executor
from knight.tasks import reads_inputs
from knight.tasks._batches import PictureInput, Prepared, batches
from knight.tasks._config import InputConfig, Pictures, Preparation
from knight.tasks._entry import (
    output_of,
    paired,
    read_entry,
    without_nan,
)
from knight.tasks._labelled import over_pictures
from knight.tasks._masks import Overlap, at_size, load_mask, png, scores_or_classes
from knight.tasks._own_labels import check_place, is_own, place_of, write
from knight.tasks._pictures import find_pictures
from knight.tasks._values import Count, Number


class Segmentation(Pictures, frozen=True):
    """The keys of the entry."""

    reader: ClassVar[str] = "infer_segmentation"

    resize: Literal["squash", "letterbox"] = "squash"
    ignore: Annotated[int, Meta(ge=0, le=65535)] = 255
    upsample: Literal["nearest", "bilinear"] = "nearest"
    nc: Count | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    threshold: Number | None = None
    output: str | None = None

    @property
    def preparation(self) -> Preparation:
        """How pictures are prepared."""
        return replace(super().preparation, resize=self.resize)


def read_inputs(entries: Sequence[Mapping[str, Any]]) -> list[InputConfig]:
    """What the entry says of the model's input. Raises ConfigError."""
    return [read_entry(entries, Segmentation).source]


@reads_inputs(read_inputs)
def infer(executor: Executor) -> float | None:
    """mIoU as a fraction over the classes that occur; the pixel accuracy is said as well.

    None with `calculate_acc` false, and where a quantized model has no labels to be measured against.
    """
    how = read_entry(executor.input_configs_dict, Segmentation)
    return over_pictures(
        executor,
        "infer_segmentation",
        how.source,
        measured=partial(_measured, executor, how),
        made=partial(_made, executor, how),
        numbers=lambda wanted, pictures: (
            numbers for _, numbers in batches(pictures, wanted, how.source.preparation)
        ),
    )


def _found(
    executor: Executor, how: Segmentation, wanted: PictureInput, pictures: list[Path]
) -> Iterator[tuple[Prepared, np.ndarray, int | None]]:
    """Per picture its classes [H, W] by the model, and how many classes the model knows."""
    place = output_of(executor, how.output)
    for group, numbers in batches(pictures, wanted, how.source.preparation):
        output = without_nan(np.asarray(executor.forward(numbers)[place]), group[0].path.name)
        maps = scores_or_classes(
            output, wanted.size, classes=how.nc, layout=how.layout, threshold=how.threshold
        )
        known = maps.shape[1] if maps.ndim == 4 else 2 if how.threshold is not None else how.nc
        for one, found in zip(group, maps, strict=False):
            yield one, at_size(found, one.size, one.place, wanted.size, how.upsample == "bilinear"), known


def _measured(
    executor: Executor,
    how: Segmentation,
    wanted: PictureInput,
    pictures: list[Path],
    folder: Path,
) -> float:
    masks = paired(pictures, find_pictures(folder), folder, "mask")
    overlap = Overlap()
    ignore = None if is_own(folder) else how.ignore
    for one, found, known in _found(executor, how, wanted, pictures):
        truth = _checked(load_mask(masks[one.path]), masks[one.path], one, known, ignore)
        overlap.add(truth, found, ignore)
    if not overlap.true.sum():
        raise DataError(
            f"{masks[pictures[0]].parent}: every pixel of the masks is {ignore}, which is ignored"
        )
    mean, classes = overlap.mean_iou()
    executor.say(
        f"mIoU {mean:.4f} over {classes} classes, pixel accuracy {overlap.accuracy():.2%} "
        f"of {len(pictures)} pictures"
    )
    return mean


def _checked(
    truth: np.ndarray, path: Path, one: Prepared, known: int | None, ignore: int | None
) -> np.ndarray:
    if truth.shape != one.size:
        sizes = [f"{width} x {height}" for height, width in (truth.shape, one.size)]
        raise DataError(f"{path}: the mask is {sizes[0]} pixels, its picture {sizes[1]}")
    if known is not None:
        beyond = (truth >= known) if ignore is None else (truth >= known) & (truth != ignore)
        if beyond.any():
            y, x = np.argwhere(beyond)[0]
            raise DataError(
                f"{path}: class {truth[y, x]} at x {x}, y {y}; the model has classes 0 to {known - 1}, "
                f"and the key ignore names one that does not count"
            )
    return truth


def _made(executor: Executor, how: Segmentation, wanted: PictureInput, pictures: list[Path]) -> float:
    """The float model's masks become the labels."""
    place = place_of(how.source)
    check_place(place)  # before the long way through the pictures
    paired(pictures, pictures, Path(how.source.data_dir), "picture")
    files = {f"{one.path.stem}.png": png(found) for one, found, _ in _found(executor, how, wanted, pictures)}
    write(place, files)
    executor.say(f"no masks: the float model's are taken for them, kept in {place}")
    return 1.0
