"""Data of the newer form of configuration: per input a folder of pictures, .npy files or raw .bin files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from knight.errors import ConfigError, DataError
from knight.executor import NUMPY_TYPES, Executor, described
from knight.files import open_file
from knight.tasks._ahead import ahead
from knight.tasks._batches import picture_input, prepare
from knight.tasks._config import InputConfig
from knight.tasks._pictures import find_pictures

_SUFFIX = {"Numpy": ".npy", "Bin": ".bin"}


def feed(executor: Executor, configs: Sequence[InputConfig]) -> None:
    """Feeds `executor.iteration` calls; an input with fewer files starts over. There is no metric."""
    executor.init_shape_info()
    if sorted(config.input_name or "" for config in configs) != sorted(executor.input_nodes):
        given = ", ".join(str(config.input_name) for config in configs)
        raise ConfigError(
            f"input-configs name the inputs {given}; the model has {', '.join(executor.input_nodes)}"
        )
    by_name = {config.input_name: config for config in configs}
    loaders = [_loader(executor, by_name[name]) for name in executor.input_nodes]
    with closing(ahead(range(executor.iteration), lambda turn: [load(turn) for load in loaders])) as samples:
        for arrays in samples:
            executor.forward(*arrays)
            if executor.early_stop_flag:
                break


def _loader(executor: Executor, config: InputConfig) -> Callable[[int], np.ndarray]:
    """The numbers of one input for a forward call."""
    folder = Path(config.data_dir)
    if config.format == "Image":
        wanted, pictures = picture_input(executor, config.input_name), find_pictures(folder)

        def load(turn: int) -> np.ndarray:
            places = range(turn * wanted.batch, (turn + 1) * wanted.batch)
            chosen = [pictures[place % len(pictures)] for place in places]
            return np.concatenate([prepare(path, wanted, config.preparation).numbers for path in chosen])

        return load
    files = _files(folder, _SUFFIX[config.format])
    read = load_npy if config.format == "Numpy" else partial(_bin, executor, config.input_name or "")
    return lambda turn: read(files[turn % len(files)])


def _files(folder: Path, suffix: str) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; data_dir names it")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == suffix and not path.is_dir())
    if not found:
        raise DataError(f"{folder}: no {suffix} file in it; data_dir names the folder of the data")
    return found


def load_npy(path: Path) -> np.ndarray:
    """The numbers of an .npy file. Raises DataError, which names it, where it is damaged.

    The file is mapped first: what its head says is held against its size before there is memory for it.
    """
    try:
        with open_file(path), np.errstate(over="ignore"):  # of a shape that no memory holds, which is refused
            return np.array(np.lib.format.open_memmap(path, mode="r"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # numpy lets out whatever Python's parser says of a damaged head
        size = path.stat().st_size
        raise DataError(
            f"{path}: not a whole .npy file of numbers ({size} bytes): "
            f"{' '.join(str(error).split()) or described(error)}"
        ) from error


def _bin(executor: Executor, name: str, path: Path) -> np.ndarray:
    """Raw numbers in the type of the input and, but for one open dimension, in its shape."""
    shape = [
        executor.batch_size if place == 0 and dim is None else dim
        for place, dim in enumerate(executor.shape_dicts[name])
    ]
    return load_raw(path, shape, np.dtype(NUMPY_TYPES.get(executor.input_types[name], object)), name)


def load_raw(path: Path, shape: Sequence[int | None], dtype: np.dtype, name: str) -> np.ndarray:
    """Raw numbers of `dtype` in `shape`, of which one dimension may be open, for the input called `name`.

    Raises DataError, which names the file, where its size does not fit.
    """
    if dtype.kind == "O":
        raise DataError(f"{path}: input {name!r} takes no numbers, and a .bin file holds nothing else")
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    known = max(1, math.prod(dim for dim in shape if dim is not None))
    open_dims = list(shape).count(None)
    if size % dtype.itemsize or open_dims > 1:
        raise DataError(f"{path}: {size} bytes are no {dtype} numbers for input {name!r}")
    count = size // dtype.itemsize
    if (count % known or not count) if open_dims else count != known:
        raise DataError(f"{path}: holds {count} numbers of {dtype}; input {name!r} takes {known}")
    try:
        content = path.read_bytes()
    except (OSError, MemoryError) as error:
        raise DataError(f"{path}: its {size} bytes cannot be read ({described(error)})") from error
    return np.frombuffer(content, dtype).reshape([-1 if dim is None else dim for dim in shape])
