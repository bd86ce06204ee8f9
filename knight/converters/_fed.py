"""What the user's samples become before a float model sees them: of other types, and not normalized yet.

A quantized model may take pictures as bytes (-qid) and normalize them by itself (--mean, --std,
input-configs). An infer function feeds what that model takes, so the proof of a conversion brings it to the
float model's inputs by the very operators that stand at the quantized model's border.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from knight import border
from knight.config import QuantConfig
from knight.names import Names
from knight.runner import Session, TensorInfo


class Border:
    """The inputs that samples are made for, and the way from there to the inputs of a float model.

    inputs: what the infer function feeds.
    """

    def __init__(self, model: ir.Model, inputs: tuple[TensorInfo, ...], config: QuantConfig) -> None:
        """config: input_dtypes, mean and std are read. Raises ConfigError where they do not fit `model`."""
        types = border.types_by_input(
            model, border.wanted_types(config.input_dtypes), border.known_types(model)
        )
        mean, std = border.open_normalization(model, config.mean, config.std)
        self._names = [info.name for info in inputs]
        self._session: Session | None = None
        self.inputs = inputs
        if types or mean or std:
            stage = _passing(model)
            if mean or std:
                border.normalize(stage, mean, std)
            border.set_types(stage, types)
            self._session = Session(stage)
            self.inputs = tuple(self._session.inputs)

    def __call__(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the float model is fed for `feeds`."""
        if self._session is None:
            return feeds
        return dict(zip(self._names, self._session.run(feeds), strict=True))


def _passing(model: ir.Model) -> ir.Model:
    """A model with the inputs of `model`, each handed on as it is."""
    names = Names(value.name or "" for value in model.graph.inputs)
    inputs, nodes = [], []
    for value in model.graph.inputs:
        if value.is_initializer():
            continue
        given = ir.Value(name=value.name, shape=value.shape, type=value.type)
        node = ir.Node("", "Identity", [given], num_outputs=1, name=names.fresh(f"{value.name}_fed"))
        node.outputs[0].name, node.outputs[0].shape = node.name, value.shape
        node.outputs[0].type = value.type
        inputs.append(given)
        nodes.append(node)
    graph = ir.Graph(
        inputs,
        [node.outputs[0] for node in nodes],
        nodes=nodes,
        opset_imports=dict(model.graph.opset_imports),
        name="border",
    )
    return ir.Model(graph, ir_version=model.ir_version)
