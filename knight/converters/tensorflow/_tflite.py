"""TFLite files, by tf2onnx; the TFLite interpreter runs them beside the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from knight.converters import Conversion, Feeds, Source
from knight.converters.tensorflow._export import OPSET, checked, listening
from knight.converters.tensorflow._layout import (
    TO_NCHW,
    TO_NHWC,
    is_picture,
    leave_outputs_in_nchw,
    tell_transposed,
)
from knight.converters.tensorflow._names import dimension_names, without_wrappers
from knight.converters.tensorflow._operators import check_names
from knight.errors import ConfigError, ModelError
from knight.executor import described
from knight.listener import Listener
from knight.model import name_of

_NAME = 6
"""Where a custom operator's name stands in the table of its code."""
_TENSORFLOWS = "Flex"
_LONGEST = 100  # bytes of an operator's name


def convert_tflite(path: Path, source: Source, listener: Listener) -> Conversion:
    """Raises ModelError where tf2onnx or the interpreter does not know an operator."""
    import tensorflow as tf

    _check(path)
    try:
        interpreter = tf.lite.Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
    except Exception as error:  # TensorFlow raises ValueError and RuntimeError
        raise ModelError(f"model {path}: TFLite cannot load it: {described(error)[:300]}") from error
    inputs = interpreter.get_input_details()
    pictures = [d["name"] for d in inputs if source.nchw and is_picture(list(d["shape"]))]
    if source.nchw and not pictures:
        raise ConfigError("-c2chw: the model has no input of four dimensions; leave the flag out")
    model = _exported(path, pictures)
    turned = leave_outputs_in_nchw(model) if source.nchw else frozenset()
    if source.nchw:
        tell_transposed(model, pictures, listener)
    without_wrappers(model)
    dimension_names(model)
    names = [name_of(value) for value in model.graph.outputs]

    def reference(feeds: Feeds) -> list[np.ndarray]:
        for detail in inputs:
            array = feeds[detail["name"]]
            array = array.transpose(TO_NHWC) if detail["name"] in pictures else array
            interpreter.resize_tensor_input(detail["index"], array.shape)
        interpreter.allocate_tensors()
        for detail in inputs:
            array = feeds[detail["name"]]
            array = array.transpose(TO_NHWC) if detail["name"] in pictures else array
            interpreter.set_tensor(detail["index"], np.ascontiguousarray(array))
        interpreter.invoke()
        details = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
        indices = [details[name] for name in names] if set(names) == set(details) else list(details.values())
        found = [np.asarray(interpreter.get_tensor(index)) for index in indices]
        return [a.transpose(TO_NCHW) if n in turned else a for n, a in zip(names, found, strict=True)]

    return Conversion(model, reference)


def _check(path: Path) -> None:
    """Raises ModelError for operators of TensorFlow itself: Flex..., whatever stands behind the name."""
    from tensorflow.lite.python.schema_py_generated import Model

    try:
        model = Model.GetRootAsModel(path.read_bytes(), 0)
        codes = (model.OperatorCodes(number) for number in range(model.OperatorCodesLength()))
        names = {_begin(code) for code in codes}
    except Exception as error:  # of a damaged file; the schema's readers raise what Python raises
        raise ModelError(f"model {path}: no TFLite file, or cut short; copy it again") from error
    check_names(sorted(name for name in names if name.startswith(_TENSORFLOWS)), str(path))


def _begin(code: Any) -> str:
    """How a custom operator is called, as far as it matters: all may have one name, as long as the file."""
    table = code._tab
    field = table.Offset(_NAME)
    if not field:
        return ""
    start = table.Vector(field)
    return bytes(table.Bytes[start : start + min(table.VectorLen(field), _LONGEST)]).decode(
        "utf-8", "replace"
    )


def _exported(path: Path, pictures: list[str]) -> ir.Model:
    import tf2onnx

    with listening() as unsupported:
        try:
            proto: Any
            proto, _ = tf2onnx.convert.from_tflite(str(path), opset=OPSET, inputs_as_nchw=pictures or None)
        except Exception as error:  # tf2onnx raises what its handlers raise
            if not unsupported:
                raise ModelError(
                    f"model {path}: tf2onnx cannot convert it: {described(error)[:300]}; "
                    f"give the SavedModel or "
                    f"the Keras file it was made from"
                ) from error
    return checked(proto, unsupported)
