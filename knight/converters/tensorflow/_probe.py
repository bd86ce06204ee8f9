"""Values inside the source, in the layout that the ONNX model has them in.

tf2onnx computes pictures as NCHW under the names that they have in TensorFlow, where they are NHWC. Which
values those are is not written anywhere; the values themselves tell, as ONNX Runtime computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from knight.converters import Feeds
from knight.runner import Session

Fetch = Callable[[Sequence[str]], Sequence[np.ndarray]]


def laid_out(
    model: ir.Model, feeds: Feeds, tensors: Mapping[str, str], fetch: Fetch
) -> dict[str, np.ndarray]:
    """By name of the ONNX value what `fetch` gives for its tensor in `tensors`, turned as the value is.

    A value that tf2onnx added or dropped dimensions of size one for is given its shape.
    """
    inside = {value.name for node in model.graph for value in node.outputs}
    names = [name for name in tensors if name in inside]
    if not names:
        return {}
    session = Session(model, taps=names, level="none")
    seen = dict(zip((info.name for info in session.outputs), session.run(dict(feeds)), strict=True))
    found = fetch([tensors[name] for name in names])
    forms = {name: as_seen(np.asarray(a), seen[name]) for name, a in zip(names, found, strict=True)}
    return {name: form for name, form in forms.items() if form is not None}


def as_seen(array: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    """`array`, or it with channels first, time first, or other ones in its shape: what is nearest to `seen`.

    None where nothing has the shape of `seen`: then the two are no values of the same thing.
    """
    forms = [array]
    if array.ndim > 2:
        forms += [np.moveaxis(array, -1, 1), np.swapaxes(array, 0, 1)]
    fitting = [form for form in forms if form.shape == seen.shape]
    if not fitting and _sizes(array) == _sizes(seen):
        fitting = [array.reshape(seen.shape)]
    return min(fitting, key=lambda form: _distance(form, seen), default=None)


def _sizes(array: np.ndarray) -> list[int]:
    return [size for size in array.shape if size > 1]


def _distance(array: np.ndarray, other: np.ndarray) -> float:
    if array.dtype.kind != "f":
        return float(np.mean(array != other)) if array.size else 0.0
    apart = np.abs(array.astype(np.float64) - other)
    return float(np.nan_to_num(apart, nan=0.0).sum())
