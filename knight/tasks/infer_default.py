"""Feeds what the configuration file names: pictures for classifiers and detectors, or arrays for any model.

The entries of ``input-configs`` are of the vendor's older form (a task with its metric) or of the newer one
(a format per input, no metric).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knight.errors import ConfigError
from knight.executor import Executor
from knight.tasks import reads_inputs
from knight.tasks._config import InputConfig, read_configs


def read_inputs(entries: Sequence[Mapping[str, Any]]) -> list[InputConfig]:
    """What the entries say of the model's inputs. Raises ConfigError."""
    return read_configs(entries)


@reads_inputs(read_inputs)
def infer(executor: Executor) -> float | None:
    """The task's metric as a fraction (top-1, mAP50), None where none is asked for."""
    from knight.tasks import _arrays, _classification, _detection

    configs = read_inputs(executor.input_configs_dict)
    executor.init_shape_info()
    if configs[0].newer:
        _arrays.feed(executor, configs)
        return None
    if len(executor.input_nodes) != 1 or len(configs) != 1:
        raise ConfigError(
            f"the older form of input-configs feeds one input; the model has {len(executor.input_nodes)} and "
            f"there are {len(configs)} entries: use the newer form, with input_name"
        )
    task = _classification.classify if configs[0].detection is None else _detection.detect
    return task(executor, configs[0])
