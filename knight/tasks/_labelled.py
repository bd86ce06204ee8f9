"""One run over pictures that have labels, or get the float model's answers as labels, or have none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from knight.errors import ConfigError
from knight.executor import Executor
from knight.tasks._batches import PictureInput, chosen, picture_input
from knight.tasks._config import InputConfig
from knight.tasks._entry import label_folder
from knight.tasks._own_labels import say_none
from knight.tasks._pictures import find_pictures


def over_pictures(
    executor: Executor,
    task: str,
    source: InputConfig,
    *,
    measured: Callable[[PictureInput, list[Path], Path], float],
    made: Callable[[PictureInput, list[Path]], float | None],
    numbers: Callable[[PictureInput, list[Path]], Iterator[np.ndarray]],
) -> float | None:
    """What `measured` finds, where there is a folder of labels; what `made` gives, where the labels are made.

    Else None: the model is only fed. task: its name, for errors. measured: of the model's input, the pictures
    and the folder. made: the float model's answers become the labels. numbers: what each forward call reads.
    """
    executor.init_shape_info()
    if len(executor.input_nodes) != 1:
        raise ConfigError(f"{task} feeds one input; the model has {len(executor.input_nodes)}")
    wanted = picture_input(executor)
    pictures = chosen(executor, find_pictures(Path(source.data_dir)), wanted)
    folder = label_folder(executor, source) if source.measure else None
    if folder is not None:
        return measured(wanted, pictures, folder)
    if source.measure and executor.is_float:
        return made(wanted, pictures)
    if source.measure:
        say_none(executor, source)
    for array in numbers(wanted, pictures):
        executor.forward(array)
        if executor.early_stop_flag:
            break
    return None
