"""Pictures as the model takes them: prepared ahead in a thread, put together into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from knight.errors import ConfigError, DataError
from knight.executor import NUMPY_TYPES, Executor
from knight.tasks._ahead import ahead
from knight.tasks._config import Preparation
from knight.tasks._pictures import load_picture
from knight.tasks._prepare import Letterbox, centre_crop, letterbox, resize, tensor

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Prepared:
    """One picture. numbers: [1, C, H, W] or [1, H, W, C]. place: where it lies in them. size: its own
    (height, width) in pixels.
    """

    path: Path
    numbers: np.ndarray
    place: Letterbox
    size: tuple[int, int]


@dataclass(frozen=True)
class PictureInput:
    """A model input that takes pictures. size: (height, width). last: channels stand last. batch: pictures
    per forward call.
    """

    name: str
    size: tuple[int, int]
    channels: int
    last: bool
    batch: int
    dtype: np.dtype


def picture_input(executor: Executor, name: str | None = None) -> PictureInput:
    """The input called `name`, else the first. Raises ConfigError where it takes no pictures.

    A batch is what the user asks for, where the model leaves it open or fixed it to a part of that.
    """
    if not executor.shape_dicts:
        executor.init_shape_info()
    name = executor.input_nodes[0] if name is None else name
    if name not in executor.input_nodes:
        raise ConfigError(
            f"input-configs.input_name: no input {name!r}; known: {', '.join(executor.input_nodes)}"
        )
    shape = executor.shape_dicts[name]
    dtype = np.dtype(NUMPY_TYPES.get(executor.input_types[name], object))
    shown = "x".join("?" if dim is None else str(dim) for dim in shape)
    if len(shape) != 4:
        raise ConfigError(f"input {name!r} is {shown}; pictures need four dimensions, such as 1x3x224x224")
    last = shape[1] not in (1, 3) and shape[3] in (1, 3)
    channels, height, width = (shape[3], *shape[1:3]) if last else shape[1:]
    if height is None or width is None or channels not in (1, 3):
        raise ConfigError(
            f"input {name!r} is {shown}; pictures need 1 or 3 channels and a fixed height and width: "
            f"export the model with them, or convert it with -is"
        )
    fixed = shape[0] or 1
    batch = executor.batch_size if executor.batch_size % fixed == 0 else fixed
    return PictureInput(name, (height, width), channels, last, batch, dtype)


def prepare(path: Path, wanted: PictureInput, how: Preparation) -> Prepared:
    """The picture in `path` as `wanted` takes it."""
    picture = load_picture(path)
    size = (picture.shape[0], picture.shape[1])
    try:
        fitted, place = _fitted(picture, wanted.size, how)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Prepared(path, numbers_of(fitted, wanted, how), place, size)


def numbers_of(picture: np.ndarray, wanted: PictureInput, how: Preparation) -> np.ndarray:
    """[1, C, H, W] or [1, H, W, C] of a picture of the right size; an integer input gets pixels as they are.

    Raises ConfigError where colours or type do not fit the input.
    """
    if (how.color_space == "GRAY") != (wanted.channels == 1):
        raise ConfigError(
            f"color_space {how.color_space} does not fit input {wanted.name!r}, which has {wanted.channels} "
            f"channel(s)"
        )
    if wanted.dtype == np.int8:
        raise ConfigError(
            f"input {wanted.name!r} takes int8, and pixels go from 0 to 255; -qid uint8 takes them"
        )
    pixels = wanted.dtype.kind in "iu"
    mean, std = (how.mean or None, how.std or None) if not pixels else (None, None)
    numbers = tensor(picture, how.color_space, mean, std, wanted.dtype)
    return np.ascontiguousarray(numbers.transpose(0, 2, 3, 1)) if wanted.last else numbers


def _fitted(picture: np.ndarray, size: tuple[int, int], how: Preparation) -> tuple[np.ndarray, Letterbox]:
    height, width = picture.shape[:2]
    if how.resize == "letterbox":
        smooth = how.interpolation != "bilinear"  # bilinear as OpenCV has it, the others as Pillow
        return letterbox(picture, size, how.fill, how.enlarge, how.interpolation, smooth, how.centre)
    if how.resize == "crop":
        return centre_crop(picture, size, how.shorter, how.interpolation), Letterbox(1.0, 1.0, 0.0, 0.0)
    return resize(picture, size, how.interpolation), Letterbox(size[1] / width, size[0] / height, 0.0, 0.0)


def chosen(executor: Executor, pictures: Sequence[Path], wanted: PictureInput) -> list[Path]:
    """The first pictures, as many as `executor.iteration` calls take."""
    return list(pictures[: executor.iteration * wanted.batch])


def batches(
    pictures: Sequence[Path], wanted: PictureInput, how: Preparation
) -> Iterator[tuple[list[Prepared], np.ndarray]]:
    """The pictures in batches; the last one is filled up with its last picture.

    Gives the pictures of the batch, without those that fill it up, and its numbers.
    """
    for group in groups(pictures, lambda path: prepare(path, wanted, how), wanted.batch):
        yield group, filled([one.numbers for one in group], wanted.batch)


def groups(items: Sequence[T], load: Callable[[T], U], batch: int) -> Iterator[list[U]]:
    """`load(item)` of each item, made ahead in a thread, `batch` at a time; the last ones may be fewer."""
    waiting: list[U] = []
    with closing(ahead(items, load, 2 * batch)) as loaded:
        for done, one in enumerate(loaded, 1):
            waiting.append(one)
            if len(waiting) == batch or done == len(items):
                yield waiting
                waiting = []


def filled(arrays: Sequence[np.ndarray], batch: int) -> np.ndarray:
    """The samples [1, ...] as one batch; the last one is repeated until there are `batch` of them."""
    return np.concatenate([*arrays, *[arrays[-1]] * (batch - len(arrays))])
