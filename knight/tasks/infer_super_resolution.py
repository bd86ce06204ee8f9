"""Super-resolution: PSNR over a folder of small pictures and one of the same pictures in full size.

``input-configs`` has one entry. data_dir: low-resolution pictures; of those larger than the model's input,
the middle is taken. label_dir: high-resolution ones with the same stems, larger by the model's whole factor;
without them the float model's outputs are the truth. Further keys, all optional: output_range ("0..1" or
"0..255", what the output's numbers mean; the first if std is given, else the second), luma (PSNR of the
brightness alone), crop (pixels at each border that do not count, the factor unless set), output (a name), and
color_space, mean, std, preset and calculate_acc as for infer_default, but that the last is true unless set.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta

from knight.errors import DataError
from knight.executor import Executor
from knight.files import write_file
from knight.tasks import reads_inputs
from knight.tasks._arrays import load_npy
from knight.tasks._batches import PictureInput, filled, groups, numbers_of
from knight.tasks._config import InputConfig, Normalized
from knight.tasks._entry import (
    output_of,
    paired,
    read_entry,
    without_nan,
)
from knight.tasks._labelled import over_pictures
from knight.tasks._own_labels import is_own, place_of, start
from knight.tasks._pictures import find_pictures, load_picture

RANGES = {"0..1": 1.0, "0..255": 255.0}
LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R 601, from 0 to 255. Tables that were made with 16 to 235 read 20 log10(255 / 219) = 1.32 dB more."""
HIGHEST = 100.0
"""dB of two pictures that are the same."""


class SuperResolution(Normalized, frozen=True):
    """The keys of the entry."""

    reader: ClassVar[str] = "infer_super_resolution"

    output_range: Literal["0..1", "0..255"] | None = None
    luma: bool = False
    crop: Annotated[int, Meta(ge=0)] | None = None
    output: str | None = None

    @property
    def peak(self) -> float:
        """The output's number for white."""
        return RANGES[self.output_range or ("0..1" if self.std else "0..255")]


@dataclass(frozen=True)
class _Sample:
    """numbers: what the model reads. corner: (top, left) of that in the picture of `size` (height, width)."""

    path: Path
    numbers: np.ndarray
    size: tuple[int, int]
    corner: tuple[int, int]
    brightest: int


def read_inputs(entries: Sequence[Mapping[str, Any]]) -> list[InputConfig]:
    """What the entry says of the model's input. Raises ConfigError."""
    return [read_entry(entries, SuperResolution).source]


@reads_inputs(read_inputs)
def infer(executor: Executor) -> float | None:
    """The mean over pictures of their PSNR in dB; None in the pass whose outputs become the truth.

    None as well with `calculate_acc` false, and where a quantized model has nothing to be measured against.
    """
    how = read_entry(executor.input_configs_dict, SuperResolution)
    return over_pictures(
        executor,
        "infer_super_resolution",
        how.source,
        measured=partial(_measured, executor, how),
        made=partial(_make_truth, executor, how),
        numbers=lambda wanted, pictures: (numbers for _, numbers in _batches(how, wanted, pictures)),
    )


def _load(path: Path, wanted: PictureInput, how: SuperResolution) -> _Sample:
    picture = load_picture(path)
    height, width = picture.shape[:2]
    if height < wanted.size[0] or width < wanted.size[1]:
        raise DataError(
            f"{path}: {width} x {height} pixels; the model's input is {wanted.size[1]} x {wanted.size[0]}, "
            f"and pictures are not enlarged for it"
        )
    top, left = (height - wanted.size[0]) // 2, (width - wanted.size[1]) // 2
    part = np.ascontiguousarray(picture[top : top + wanted.size[0], left : left + wanted.size[1]])
    numbers = numbers_of(part, wanted, how.source.preparation)
    return _Sample(path, numbers, (height, width), (top, left), int(part.max()))


def _batches(
    how: SuperResolution, wanted: PictureInput, pictures: list[Path]
) -> Iterator[tuple[list[_Sample], np.ndarray]]:
    for group in groups(pictures, lambda path: _load(path, wanted, how), wanted.batch):
        yield group, filled([one.numbers for one in group], wanted.batch)


def _found(
    executor: Executor, how: SuperResolution, wanted: PictureInput, pictures: list[Path]
) -> Iterator[tuple[_Sample, np.ndarray]]:
    """Per picture the model's [H, W, C], RGB or grey, from 0 to 255."""
    place = output_of(executor, how.output)
    for group, numbers in _batches(how, wanted, pictures):
        output = np.asarray(executor.forward(numbers)[place], np.float64)
        without_nan(output, group[0].path.name)
        for one, found in zip(group, _channels_last(output), strict=False):
            _check_range(found, one, how.peak)
            pixels = np.clip(found * (255 / how.peak), 0, 255)
            yield one, pixels[..., ::-1] if how.source.preparation.color_space == "BGR" else pixels


def _channels_last(output: np.ndarray) -> np.ndarray:
    if output.ndim == 4 and output.shape[1] in (1, 3):
        return output.transpose(0, 2, 3, 1)
    if output.ndim == 4 and output.shape[3] in (1, 3):
        return output
    raise DataError(
        f"the output is {'x'.join(map(str, output.shape))}; pictures are [B, C, H, W] or [B, H, W, C] of 1 "
        f"or 3 channels; the key output names another output"
    )


def _check_range(found: np.ndarray, one: _Sample, peak: float) -> None:
    """The two ranges taken for one another would give a figure, and a wrong one."""
    high = float(found.max())
    if (peak == 1.0 and high > 8) or (peak == 255.0 and high < 2 and one.brightest > 32):
        meant = "0..255" if peak == 1.0 else "0..1"
        raise DataError(
            f"{one.path}: the output's numbers go up to {high:.4g}; if they mean {meant}, say so: "
            f'"output_range": "{meant}"'
        )


def _measured(
    executor: Executor, how: SuperResolution, wanted: PictureInput, pictures: list[Path], folder: Path
) -> float:
    own = is_own(folder)
    labels = sorted(folder.glob("*.npy")) if own else find_pictures(folder)
    truths = paired(pictures, labels, folder, "truth" if own else "high-resolution picture")
    figures = []
    for one, found in _found(executor, how, wanted, pictures):
        factor = _factor(found, wanted)
        if own:
            truth = load_npy(truths[one.path])
            if truth.shape != found.shape:
                raise DataError(f"{truths[one.path]}: of another model; quantize again to make it anew")
        else:
            truth, found = _truth(truths[one.path], one, found, factor), np.rint(found)
        crop = factor if how.crop is None else how.crop
        figures.append(psnr(truth, found, how.luma, crop, one.path))
    mean = float(np.mean(figures))
    of = "brightness" if how.luma or how.source.preparation.color_space == "GRAY" else "RGB"
    against = " against the float model" if own else ""
    executor.say(f"PSNR {mean:.2f} dB of {of}{against}, the mean of {len(figures)} pictures")
    return mean


def _factor(found: np.ndarray, wanted: PictureInput) -> int:
    factor = int(found.shape[0] // wanted.size[0])
    if factor < 1 or found.shape[:2] != (wanted.size[0] * factor, wanted.size[1] * factor):
        raise DataError(
            f"the output is {found.shape[1]} x {found.shape[0]} pixels, which is no whole multiple of the "
            f"input, {wanted.size[1]} x {wanted.size[0]}"
        )
    return factor


def _truth(path: Path, one: _Sample, found: np.ndarray, factor: int) -> np.ndarray:
    """What the model should have found: the same part of the large picture, in as many channels.

    A large picture may have up to `factor` - 1 rows and columns more, as they are left by halving odd sizes.
    """
    picture = load_picture(path)
    if (picture.shape[0] // factor, picture.shape[1] // factor) != one.size:
        raise DataError(
            f"{path}: {picture.shape[1]} x {picture.shape[0]} pixels; {factor} times its picture of "
            f"{one.size[1]} x {one.size[0]} would be {one.size[1] * factor} x {one.size[0] * factor}"
        )
    top, left = one.corner[0] * factor, one.corner[1] * factor
    part = picture[top : top + found.shape[0], left : left + found.shape[1]].astype(np.float64)
    return part if found.shape[2] == 3 else np.rint(part @ LUMA)[..., None]


def psnr(truth: np.ndarray, found: np.ndarray, luma: bool, crop: int, path: Path) -> float:
    """10 log10(255^2 / MSE) in dB of two pictures [H, W, C], at most `HIGHEST`.

    luma: of the brightness of RGB. crop: pixels at each border that do not count; DataError, which names
    `path`, where nothing is left.
    """
    kept = np.s_[crop : truth.shape[0] - crop, crop : truth.shape[1] - crop]
    truth, found = truth[kept].astype(np.float64), found[kept]
    if not truth.size:
        raise DataError(f"{path}: nothing is left of the output without {crop} pixels at each border (crop)")
    difference = truth - found
    if luma and truth.shape[2] == 3:
        difference = difference @ LUMA
    error = float(np.mean(np.square(difference)))
    return HIGHEST if error == 0 else min(HIGHEST, float(10 * np.log10(255**2 / error)))


def _make_truth(executor: Executor, how: SuperResolution, wanted: PictureInput, pictures: list[Path]) -> None:
    paired(pictures, pictures, Path(how.source.data_dir), "picture")
    place = place_of(how.source)
    start(place, [f"{path.stem}.npy" for path in pictures])
    for one, found in _found(executor, how, wanted, pictures):
        write_file(place / f"{one.path.stem}.npy", _npy(found.astype(np.float32)))
    executor.say(f"no high-resolution pictures: the float model's outputs are the truth, kept in {place}")


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()
