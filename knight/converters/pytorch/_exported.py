"""Programs of torch.export (.pt2), by torch's exporter for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from knight.converters import Conversion, Feeds
from knight.converters.pytorch._loaded import tensors
from knight.converters.pytorch._modules import OPSET, check_standard, name_after_scopes, quiet
from knight.errors import ModelError
from knight.executor import described
from knight.listener import Listener
from knight.model import name_of


def convert_exported(program: torch.export.ExportedProgram, listener: Listener) -> Conversion:
    """Open dimensions are those of the program. Raises ModelError where torch's exporter fails."""
    listener.detail("a torch.export program goes through torch.onnx.export")
    try:
        with quiet():
            result = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
            assert result is not None
            result.optimize()
    except Exception as error:  # the exporter raises everything
        raise ModelError(f"torch.onnx.export cannot convert the program: {described(error)[:300]}") from error
    model = result.model
    name_after_scopes(model)
    check_standard(model)
    names = [name_of(value) for value in model.graph.inputs]
    module = program.module()

    def reference(feeds: Feeds) -> list[np.ndarray]:
        with torch.no_grad():
            given = [torch.from_numpy(np.array(feeds[name])) for name in names]
            return [tensor.numpy() for tensor in tensors(module(*given))]

    return Conversion(model, reference, examples=_examples(program, names))


def _examples(program: torch.export.ExportedProgram, names: list[str]) -> tuple[dict[str, Any], ...]:
    """The inputs with which the program was made, where the file has them."""
    if program.example_inputs is None:
        return ()
    arrays = [tensor.numpy() for tensor in tensors(list(program.example_inputs[0]))]
    return (dict(zip(names, arrays, strict=True)),) if len(arrays) == len(names) else ()
