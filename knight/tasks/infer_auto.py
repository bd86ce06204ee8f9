"""Random data from the model's own input shapes, for users who want the flow and not the accuracy.

As the vendor documents it: NumPy's legacy generator with seed 123 for each input, normal numbers for
floats, integers in [-10, 10) for signed and [1, 10) for unsigned types, batch_size wherever a dimension may
vary, and the same sample in every forward call. It has no metric to return.
"""

from __future__ import annotations

import numpy as np

from knight.errors import DataError
from knight.executor import NUMPY_TYPES, Executor

SEED = 123


def infer(executor: Executor) -> None:
    """Makes `executor.iteration` forward calls with one random sample."""
    executor.init_shape_info()
    samples = [_random(executor, name) for name in executor.input_nodes]
    for _ in range(executor.iteration):
        executor.forward(*samples)
        if executor.early_stop_flag:
            break


def _random(executor: Executor, name: str) -> np.ndarray:
    shape = tuple(executor.batch_size if dim is None else dim for dim in executor.shape_dicts[name])
    dtype = np.dtype(NUMPY_TYPES.get(executor.input_types[name], object))
    generator = np.random.RandomState(SEED)
    if dtype.kind == "f":
        return np.asarray(generator.standard_normal(shape)).astype(dtype)
    if dtype.kind == "i":
        return np.asarray(generator.randint(-10, 10, size=shape)).astype(dtype)
    if dtype.kind == "u":
        return np.asarray(generator.randint(1, 10, size=shape)).astype(dtype)
    kind = "string, sequence or another type without numbers" if dtype.kind == "O" else str(dtype)
    raise DataError(
        f"infer_auto makes no random data for input {name!r} ({kind}); "
        f"write an infer function that feeds it, with -uds and -if"
    )
