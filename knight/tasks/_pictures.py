"""Finds pictures in a folder and loads each as 8 bit RGB, whatever the file holds."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from knight.errors import ConfigError, DataError
from knight.files import other_kind

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".bmp", ".jpg", ".jpeg", ".png")
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG")
"""What a file with one of `SUFFIXES` may hold; the content decides, as it does for OpenCV."""
MOST_PIXELS = 100_000_000
being_read: ContextVar[Path | None] = ContextVar("being_read", default=None)
"""The picture that was opened last: what Pillow warns of does not say which one it means."""
ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held; from 5 on, width and height change places."""


def pil() -> Any:
    """The module PIL.Image, which is not imported before it is needed. ConfigError where it is missing."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError(
            f"pictures need Pillow, which cannot be imported ({error}): pip install knight-quant[pictures]"
        ) from error
    return Image


def find_pictures(folder: Path) -> list[Path]:
    """Pictures directly in `folder`; where there is none, those of its sub-folders (one per class).

    A picture is a file that ends in bmp, jpg, jpeg or png, in any case; names with a leading dot are passed
    over. Sorted by name, those of sub-folders by the folder's name first. Raises DataError where the
    folder is missing, is no folder, or has no picture; the message says what it has instead.
    """
    if not folder.exists():
        raise DataError(f"{folder}: there is no such folder of pictures")
    if not folder.is_dir():
        raise DataError(f"{folder}: this is a file; give the folder that the pictures are in")
    entries = _visible(folder)
    found = _pictures(entries)
    for entry in [] if found else entries:
        if entry.is_dir():
            found += _pictures(_visible(entry))
    if not found:
        raise DataError(
            f"{folder}: no picture (bmp, jpg, jpeg, png) in it or its sub-folders, but {_contents(entries)}"
        )
    return found


def _visible(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.name[0] != "."), key=lambda path: path.name)


def _pictures(entries: Iterable[Path]) -> list[Path]:
    return [path for path in entries if path.suffix.lower() in SUFFIXES and not path.is_dir()]


def _contents(entries: list[Path]) -> str:
    """What a folder holds, in a few words: "3 .npy, 1 folder"."""
    kinds = Counter("folder" if path.is_dir() else path.suffix or "without a suffix" for path in entries)
    named = [f"{count} {kind}" for kind, count in kinds.most_common(5)]
    return ", ".join(named) + (", ..." if len(kinds) > 5 else "") if named else "nothing"


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels of what `load_picture` gives, from the file's head alone."""
    with opened(path) as image:
        turned = _orientation(image, path) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def load_picture(path: Path) -> np.ndarray:
    """The picture as uint8 [H, W, 3], RGB, upright.

    The EXIF orientation is applied. Grey, palette and CMYK become RGB as Pillow converts them; 16 bit grey
    becomes 8 by x / 257, so that white stays white; alpha is laid over white; of an animation, the first
    frame. Raises DataError, which names the file, where it is cut, damaged, no picture, or has over 100
    million pixels.
    """
    with opened(path) as image:
        from PIL import ImageOps

        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
        except Exception as error:  # damaged files raise whatever a decoder stumbles over
            raise DataError(f"{path}: the picture is cut or damaged ({_line(error)}); replace it") from error
    return _rgb(upright)


@contextmanager
def opened(path: Path) -> Iterator[Image]:
    """The file with its head read; pixels are not decoded yet. Raises DataError naming the file."""
    image_module = pil()
    being_read.set(path)
    if (kind := other_kind(path)) is not None:
        raise DataError(f"{path}: {kind}, not a picture; take it out of the folder")
    try:
        file = _WholeFile(io.FileIO(path))
    except OSError as error:
        raise DataError(f"{path}: the picture cannot be read ({error.strerror or error})") from error
    with file, _identified(image_module, file, path) as image:
        yield image


class _WholeFile(io.BufferedReader):
    """A file that sets no more memory aside than it has bytes, however many its own head asks for."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def _identified(image_module: Any, file: _WholeFile, path: Path) -> Image:
    try:
        image: Image = image_module.open(file, formats=FORMATS)
    except image_module.DecompressionBombError as error:
        raise DataError(f"{path}: {_line(error)}; {_too_many()}") from error
    except image_module.UnidentifiedImageError as error:
        size = path.stat().st_size
        raise DataError(f"{path}: its {size} bytes are no BMP, JPEG or PNG picture; replace it") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the picture cannot be read ({_line(error)})") from error
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise DataError(f"{path}: {image.width} x {image.height} pixels; {_too_many()}")
    return image


def _too_many() -> str:
    return f"pictures of over {MOST_PIXELS // 1_000_000} million pixels are not loaded: scale it down"


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _orientation(image: Image, path: Path) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception as error:  # as in load_picture
        raise DataError(f"{path}: the EXIF data are damaged ({_line(error)}); replace it") from error


def _rgb(image: Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bit grey; Pillow's own conversion cuts at 255
        grey = np.rint(np.asarray(image).clip(0, 65535) / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if "A" in image.getbands() or "transparency" in image.info:
        over = image.convert("RGBA")
        white = pil().new("RGBA", over.size, "white")
        image = pil().alpha_composite(white, over)
    return np.array(image.convert("RGB"))
