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
      .*Dataset.* | .*Reader.* | RecordInput | (MultiDevice)?Iterator.* | OneShotIterator
    | ReadFile | WriteFile | MatchingFiles | FileSystem.* | LoadAndRemapMatrix | GenerateVocabRemapping
    | InitializeTableFrom.* | FixedUnigramCandidateSampler | Skipgram | NegTrain | ImmutableConst
    | DecodeProto.* | EncodeProto.* | Save.* | Restore.* | .*Checkpoints?.* | DistributedSave | DTensor.*
    | Calibration.*Saver | Debug.* | DumpTensor | Copy(Host)? | Write.*Summary | .*SummaryWriter
    | CreateSummary.* | ImportEvent | (Eager)?PyFunc(Stateless)? | Rpc.* | DeleteRpc.* | RemoteCall
    | _?Send | _?Recv | _?Host(Send|Recv) | (In|Out)feed.* | Collective.* | _?Nccl.* | .*TPU.*
    | WorkerHeartbeat | Stats.* | .*BigQuery.* | .*Sql.* | Abort | SymbolicGradient | StubResourceHandleOp
    | (Get|Delete)Session.* | _ScopedAllocator.* | _Xla.*
    | Xla(Launch|CallModule|Custom.*|Host.*|Send.*|Recv.*)
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

    Only what the saver names may restore them, from the file that it is given, and nothing else may lead
    there. What saves them is taken out of `meta_graph`: nobody needs it here.
    """
    definition, saver = meta_graph.graph_def, meta_graph.saver_def
    functions = {function.signature.name: function for function in definition.library.function}
    saving = _Part(definition, functions, [saver.save_tensor_name])
    restoring = _Part(definition, functions, [saver.restore_op_name])
    others = _Part(definition, functions, _other_ends(meta_graph))
    named = set(meta_graph.object_graph_def.concrete_functions)
    loose = (node for node in definition.node if node.name not in saving.nodes | restoring.nodes)
    elsewhere = others.functions | _reached(named | _called(loose), functions)
    given = _node_name(saver.filename_tensor_name)
    for place, node in _placed(definition):
        if not _touches(node):
            continue
        apart = node.name not in others.nodes if place is None else place not in elsewhere
        restores = node.op in _RESTORING and restoring.holds(place, node)
        saves = node.op in _SAVING and saving.holds(place, node) and not restoring.holds(place, node)
        if not apart or not (
            saves or (restores and _reads_what_is_given(place, node, definition, functions, given))
        ):
            raise _error(node, where)
        if saves:
            _take_out(node)


def _other_ends(meta_graph: Any) -> list[str]:
    """Tensors and operators that loading or serving asks for, beside the saver's."""
    ends = [tensor.name for tensor in _signature_tensors(meta_graph)]
    for collection in meta_graph.collection_def.values():
        ends += collection.node_list.value
    return ends


def _signature_tensors(meta_graph: Any) -> Iterator[Any]:
    for signature in meta_graph.signature_def.values():
        yield from (*signature.inputs.values(), *signature.outputs.values())


def _reads_what_is_given(
    place: str | None, node: Any, definition: Any, functions: Mapping[str, Any], given: str
) -> bool:
    """Whether a RestoreV2 reads the file whose name the loader hands in, and no other."""
    nodes = {each.name: each for each in (definition.node if place is None else functions[place].node_def)}
    name, passed = _first_input(node), set[str]()
    while name in nodes and nodes[name].op == "Identity" and name not in passed:
        passed.add(name)
        name = _first_input(nodes[name])
    if place is None:
        return bool(given) and name == given and name in nodes and nodes[name].op.startswith("Placeholder")
    arguments = [argument.name for argument in functions[place].signature.input_arg]
    if name not in arguments:
        return False
    number = arguments.index(name)
    calls = [each for _, each in _placed(definition) if place in _called([each])]
    return all(len(call.input) > number and _node_name(call.input[number]) == given for call in calls)


def _take_out(node: Any) -> None:
    """Leaves an operator that does nothing, behind the same others."""
    before = [name for name in node.input if name.startswith("^")]
    node.op = "NoOp"
    del node.input[:]
    node.input.extend(before)
    node.attr.clear()


class _Part:
    """What leads to some nodes of a graph: the nodes before them and the functions that these call."""

    def __init__(self, definition: Any, functions: Mapping[str, Any], ends: Iterable[str]) -> None:
        nodes = {node.name: node for node in definition.node}
        self.nodes: set[str] = set()
        ahead = list(map(_node_name, ends))
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


def _first_input(node: Any) -> str:
    """The name of the node that gives the first input; "" where there is none."""
    return _node_name(node.input[0]) if node.input else ""


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
    """Raises ModelError for the first of TensorFlow's operators in a TFLite file."""
    for name in operators:
        raise _refused(name, "an operator of TensorFlow in a TFLite file", where)


def _error(node: Any, where: str) -> ModelError:
    return _refused(node.op, node.name, where)


def _refused(op: str, name: str, where: str) -> ModelError:
    return ModelError(
        f"model {where}: holds the operator {op} ({name}), which reads or writes files or calls what is "
        f"outside of the model; nothing of it was run. Export the model without it"
    )
