"""Which of TensorFlow's operators a stranger's graph may hold: those that compute.

Some read and write files, talk to other machines, call Python, or set up what does. They are looked for in
the messages as they lie in the file, functions included, before TensorFlow loads anything: loading a
SavedModel runs parts of it, and so does folding constants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from knight.errors import ModelError

_REFUSED = re.compile(
    r"""
      .*Dataset.* | .*Reader.* | RecordInput
    | ReadFile | WriteFile | MatchingFiles | FileSystem.* | LoadAndRemapMatrix | GenerateVocabRemapping
    | InitializeTableFrom.* | FixedUnigramCandidateSampler | Skipgram | NegTrain
    | Save.* | Restore.* | .*Checkpoints?.* | DistributedSave | DTensor.* | Calibration.*Saver
    | Debug.* | DumpTensor | Write.*Summary | .*SummaryWriter | CreateSummary.* | ImportEvent
    | (Eager)?PyFunc(Stateless)? | Rpc.* | DeleteRpc.* | RemoteCall | _?Send | _?Recv | _?Host(Send|Recv)
    | Collective.* | _?Nccl.* | .*TPU.* | WorkerHeartbeat | Stats.* | .*BigQuery.* | SdcaFprint | .*Sql.*
    """,
    re.VERBOSE,
)
_SAVING = frozenset({"Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints"})
_RESTORING = frozenset({"Restore", "RestoreSlice", "RestoreV2"})


def check_graph(definition: Any, where: str) -> None:
    """Raises ModelError for the first operator of a GraphDef or its functions that does more than compute."""
    for node in _all_nodes(definition):
        if _touches(node):
            raise _error(node, where)


def check_saved_model(meta_graph: Any, where: str) -> None:
    """The same for a part of a SavedModel, which may also hold how its variables are saved and restored.

    Only what the saver names may do that, and nothing else may lead there.
    """
    definition, saver = meta_graph.graph_def, meta_graph.saver_def
    functions = {function.signature.name: function for function in definition.library.function}
    saving = _Part(definition, functions, saver.save_tensor_name)
    restoring = _Part(definition, functions, saver.restore_op_name)
    others = (node for node in definition.node if node.name not in saving.nodes | restoring.nodes)
    named = set(meta_graph.object_graph_def.concrete_functions)
    elsewhere = _reached(named | _called(others), functions)
    for place, node in _placed(definition):
        if not _touches(node):
            continue
        kept_apart = place is None or place not in elsewhere
        if node.op in _RESTORING and kept_apart and restoring.holds(place, node):
            continue
        if (
            node.op in _SAVING
            and kept_apart
            and saving.holds(place, node)
            and not restoring.holds(place, node)
        ):
            continue
        raise _error(node, where)


class _Part:
    """What leads to one node of a graph: the nodes before it and the functions that they call."""

    def __init__(self, definition: Any, functions: Mapping[str, Any], tensor: str) -> None:
        nodes = {node.name: node for node in definition.node}
        self.nodes: set[str] = set()
        ahead = [_node_name(tensor)]
        while ahead:
            name = ahead.pop()
            if name in nodes and name not in self.nodes:
                self.nodes.add(name)
                ahead += map(_node_name, nodes[name].input)
        self.functions = _reached(_called(nodes[name] for name in self.nodes), functions)

    def holds(self, function: str | None, node: Any) -> bool:
        """Whether a node of `function`, or of the graph itself, belongs to this part."""
        return node.name in self.nodes if function is None else function in self.functions


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _called(nodes: Iterable[Any]) -> set[str]:
    found = set()
    for node in nodes:
        found.add(node.op)  # a function is called by its name as well
        for value in node.attr.values():
            if value.HasField("func"):
                found.add(value.func.name)
            found.update(function.name for function in value.list.func)
    return found


def _reached(names: Iterable[str], functions: Mapping[str, Any]) -> set[str]:
    """`names` of functions, and all that these call."""
    found: set[str] = set()
    ahead = [name for name in names if name in functions]
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += [other for other in _called(functions[name].node_def) if other in functions]
    return found


def _placed(definition: Any) -> Iterator[tuple[str | None, Any]]:
    """Every node with the name of its function, None for those of the graph itself."""
    yield from ((None, node) for node in definition.node)
    for function in definition.library.function:
        yield from ((function.signature.name, node) for node in function.node_def)


def _all_nodes(definition: Any) -> Iterator[Any]:
    return (node for _, node in _placed(definition))


def _touches(node: Any) -> bool:
    """Whether the operator may do more than compute."""
    if node.op == "PrintV2":  # to standard error, or to a file
        stream = node.attr["output_stream"].s if "output_stream" in node.attr else b""
        return bool(stream) and not stream.startswith((b"std", b"log("))
    return _REFUSED.fullmatch(node.op) is not None


def check_names(operators: Iterable[str], where: str) -> None:
    """The same for bare names, such as those of TensorFlow's operators in a TFLite file."""
    for name in operators:
        if _REFUSED.fullmatch(name) or name == "PrintV2":
            raise _refused(name, name, where)


def _error(node: Any, where: str) -> ModelError:
    return _refused(node.op, node.name, where)


def _refused(op: str, name: str, where: str) -> ModelError:
    return ModelError(
        f"model {where}: holds the operator {op} ({name}), which reads or writes files or calls what is "
        f"outside of the model; nothing of it was run. Export the model without it"
    )
