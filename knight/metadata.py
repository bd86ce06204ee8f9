"""What a model's own metadata say: JSON that Knight has written, unless somebody changed the file."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import onnx_ir as ir

from knight.errors import ModelError, printable

T = TypeVar("T")


def stated(model: ir.Model, key: str, kind: type[T]) -> T | None:
    """What the metadata say under `key`, as a `kind`; None where they do not say.

    Raises ModelError where it is no JSON, or no such data; a number is never NaN or infinite.
    """
    text = model.metadata_props.get(key)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ModelError(
            f"the model's metadata {key} are damaged: {printable(str(error))}; quantize the float model "
            f"again, or take the entry out"
        ) from None
