"""SavedModel folders: the signature for serving becomes a frozen graph."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from knight.converters import Source
from knight.converters.tensorflow._graph import Graph, frozen
from knight.converters.tensorflow._operators import check_graph, check_saved_model
from knight.converters.tensorflow._scopes import guessed
from knight.errors import ModelError
from knight.executor import described
from knight.listener import Listener

SERVING = "serving_default"


def load(path: Path, source: Source, listener: Listener) -> Graph:
    """Raises ModelError where the folder is none, is incomplete, or has no signature to choose."""
    import tensorflow as tf

    if not (path / "saved_model.pb").is_file():
        raise ModelError(f"model {path}: no SavedModel: it has no saved_model.pb")
    if not (path / "variables").is_dir():
        raise ModelError(f"model {path}: its folder `variables` is missing; copy the whole SavedModel")
    with tempfile.TemporaryDirectory(prefix="knight-") as folder:
        clean = _checked(path, Path(folder))
        try:
            loaded = tf.saved_model.load(str(clean))
        except Exception as error:  # TensorFlow raises many kinds
            raise ModelError(f"model {path}: TensorFlow cannot load it: {described(error)[:300]}") from error
    function = _signature(path, dict(loaded.signatures))
    graph = frozen(function)
    shown = _shown(function, graph)
    inputs, outputs = ([tensor.name for tensor in tensors] for tensors in (graph.inputs, graph.outputs))
    if source.start_nodes or source.end_nodes:
        listener.detail(
            "-snn and -enn are not needed: the SavedModel's signature names its inputs and outputs"
        )
    definition = graph.graph.as_graph_def()
    check_graph(definition, str(path))
    variables = [variable.name for variable in function.graph.variables]
    return Graph(
        definition, inputs, outputs, shown, guessed((node.name for node in definition.node), variables)
    )


def _checked(path: Path, folder: Path) -> Path:
    """A SavedModel in `folder` whose graph is what was checked, with the variables and assets of `path`.

    Raises ModelError for operators that do more than compute, and for a damaged file.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    stored = SavedModel()
    try:
        stored.ParseFromString((path / "saved_model.pb").read_bytes())
    except DecodeError:
        raise ModelError(f"model {path}: saved_model.pb is damaged or cut short; copy it again") from None
    for meta_graph in stored.meta_graphs:
        check_saved_model(meta_graph, str(path))
        _leave_out_optimizers(meta_graph.object_graph_def)
    (folder / "saved_model.pb").write_bytes(stored.SerializeToString())
    for name in ("variables", "assets"):
        if (path / name).is_dir():
            (folder / name).symlink_to((path / name).resolve())
    return folder


def _leave_out_optimizers(objects: Any) -> None:
    """Cuts off what keeps slot variables, the state of training: only its own Keras could load that.

    Numbers of objects are places in the list, so all stay there; nothing leads to an optimizer any more.
    """
    optimizers = {number for number, each in enumerate(objects.nodes) if each.slot_variables}
    for each in objects.nodes:
        del each.slot_variables[:]
        kept = [child for child in each.children if child.node_id not in optimizers]
        del each.children[:]
        each.children.extend(kept)


def _signature(path: Path, signatures: dict[str, Any]) -> Any:
    if SERVING in signatures:
        return signatures[SERVING]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    listed = ", ".join(sorted(signatures)) or "none"
    raise ModelError(
        f"model {path}: which signature? It has {listed}; save it with one, or with one called {SERVING}"
    )


def _shown(function: Any, graph: Any) -> dict[str, str]:
    """The signature's own names of inputs and outputs."""
    shown = {tensor.name: tensor.name.partition(":")[0] for tensor in graph.inputs}
    outputs = function.structured_outputs
    if isinstance(outputs, dict) and len(outputs) == len(graph.outputs):
        shown.update(zip((tensor.name for tensor in graph.outputs), sorted(outputs), strict=True))
    return shown
