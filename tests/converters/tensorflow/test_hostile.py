"""Graphs of strangers that read or write files: refused before anything of them runs, by operator."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from knight.conversion import convert as converted
from knight.converters import Source
from knight.converters.tensorflow import convert
from knight.converters.tensorflow._operators import check_saved_model
from knight.errors import ModelError
from knight.listener import SILENT

SPEC = tf.TensorSpec([1, 4], tf.float32, name="x")
Body = Callable[[tf.Tensor, str], tf.Tensor]


def writes(x: tf.Tensor, path: str) -> tf.Tensor:
    tf.io.write_file(path, tf.strings.as_string(tf.reduce_sum(x)))
    return x * 2.0


def reads(x: tf.Tensor, path: str) -> tf.Tensor:
    return x * tf.cast(tf.strings.length(tf.io.read_file(path)), tf.float32)


def lists(x: tf.Tensor, path: str) -> tf.Tensor:
    return x * tf.cast(tf.size(tf.io.matching_files(path + "*")), tf.float32)


def prints(x: tf.Tensor, path: str) -> tf.Tensor:
    tf.print(x, output_stream=f"file://{path}")
    return x * 2.0


def saves(x: tf.Tensor, path: str) -> tf.Tensor:
    tf.raw_ops.SaveV2(prefix=path, tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    return x * 2.0


def restores(x: tf.Tensor, path: str) -> tf.Tensor:
    (found,) = tf.raw_ops.RestoreV2(
        prefix=path, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]
    )
    return x + tf.ensure_shape(found, [1, 4])


def calls_python(x: tf.Tensor, path: str) -> tf.Tensor:
    return tf.ensure_shape(tf.py_function(lambda value: value * 2, [x], tf.float32), [1, 4])


def through_a_branch(x: tf.Tensor, path: str) -> tf.Tensor:
    return tf.cond(tf.reduce_sum(x) > -1e9, lambda: writes(x, path), lambda: x)


def datasets(x: tf.Tensor, path: str) -> tf.Tensor:
    lines = tf.raw_ops.TextLineDataset(filenames=[path], compression_type="", buffer_size=0)
    (line,) = tf.raw_ops.DatasetToSingleElement(dataset=lines, output_types=[tf.string], output_shapes=[[]])
    return x * tf.strings.to_number(line)


BODIES: dict[str, Body] = {
    "WriteFile": writes,
    "ReadFile": reads,
    "MatchingFiles": lists,
    "PrintV2": prints,
    "SaveV2": saves,
    "RestoreV2": restores,
    "EagerPyFunc": calls_python,
    "WriteFile in a branch": through_a_branch,
    "TextLineDataset": datasets,
}


class Net(tf.Module):
    def __init__(self, body: Body, path: str) -> None:
        super().__init__()
        self.weight = tf.Variable(tf.ones([1, 4]))
        self.body, self.path = body, path

    @tf.function(input_signature=[SPEC])
    def serve(self, x: tf.Tensor) -> tf.Tensor:
        return self.body(x * self.weight, self.path)


def refused(source: Source, target: Path) -> str:
    """What the refusal says; the file `target` was not made, nor read."""
    with pytest.raises(ModelError) as caught:
        convert(source, SILENT)
    assert not target.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", BODIES)
def test_saved_models(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    net = Net(BODIES[kind], str(target))
    tf.saved_model.save(net, str(tmp_path / "net"), signatures=net.serve)
    message = refused(Source(model=str(tmp_path / "net")), target)
    assert f"holds the operator {kind.partition(' ')[0]} (" in message and "nothing of it was run" in message


@pytest.mark.parametrize("kind", BODIES)
def test_saved_models_with_an_optimizer(tmp_path: Path, kind: str) -> None:
    """What is left out of a file is no way past the checks."""
    target = tmp_path / "target"
    net = Net(lambda x, path: x, str(target))
    net.optimizer = tf.compat.v1.train.AdamOptimizer(0.1)
    net.optimizer.minimize(lambda: tf.reduce_sum(net.serve(tf.ones(SPEC.shape))), var_list=[net.weight])
    net.body = BODIES[kind]
    net.step = tf.function(lambda x: net.body(x, net.path), input_signature=[SPEC])
    net.optimizer.step = net.step
    tf.saved_model.save(net, str(tmp_path / "net"), signatures=net.serve)
    message = refused(Source(model=str(tmp_path / "net")), target)
    assert f"holds the operator {kind.partition(' ')[0]} (" in message and "nothing of it was run" in message


@pytest.mark.parametrize("kind", [kind for kind in BODIES if kind not in ("SaveV2", "RestoreV2")])
def test_frozen_graphs(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    function = tf.function(lambda x: BODIES[kind](x, str(target)), input_signature=[SPEC])
    graph = function.get_concrete_function().graph
    path = tmp_path / "net.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    source = Source(model=str(path), start_nodes=("x",), end_nodes=(graph.outputs[0].op.name,))
    assert f"holds the operator {kind.partition(' ')[0]} (" in refused(source, target)


def test_a_table_from_a_file(tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("a\nb\n")

    class Looks(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            start = tf.lookup.TextFileInitializer(
                str(words),
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
            )
            self.table = tf.lookup.StaticHashTable(start, "none")

        @tf.function(input_signature=[SPEC])
        def serve(self, x: tf.Tensor) -> tf.Tensor:
            return x * tf.cast(tf.strings.length(self.table.lookup(tf.constant(0, tf.int64))), tf.float32)

    net = Looks()
    tf.saved_model.save(net, str(tmp_path / "net"), signatures=net.serve)
    message = refused(Source(model=str(tmp_path / "net")), tmp_path / "nothing")
    assert "InitializeTableFromTextFileV2" in message


def changed(folder: Path, change: Callable[[Any], None]) -> None:
    file = folder / "saved_model.pb"
    stored = SavedModel()
    stored.ParseFromString(file.read_bytes())
    change(stored.meta_graphs[0])
    file.write_bytes(stored.SerializeToString())


def test_what_restores_the_variables_may_not_save(tmp_path: Path) -> None:
    """The part of the file that loading runs: it may restore, and do nothing else."""
    target = tmp_path / "target"
    net = Net(lambda x, _: x * 2.0, "")
    tf.saved_model.save(net, str(tmp_path / "net"), signatures=net.serve)
    convert(Source(model=str(tmp_path / "net")), SILENT)  # it is good, until

    def change(meta_graph: Any) -> None:
        meta_graph.saver_def.restore_op_name = meta_graph.saver_def.save_tensor_name
        library = meta_graph.graph_def.library.function  # in an order that varies, and the first is named
        functions = sorted(library, key=lambda each: "traced_save" not in each.signature.name)
        del library[:]
        library.extend(functions)

    changed(tmp_path / "net", change)
    assert "SaveV2" in refused(Source(model=str(tmp_path / "net")), target)


def test_a_function_that_saves_is_called_by_nobody_else(tmp_path: Path) -> None:
    net = Net(lambda x, _: x * 2.0, "")
    tf.saved_model.save(net, str(tmp_path / "net"), signatures=net.serve)

    def change(meta_graph: Any) -> None:
        library = meta_graph.graph_def.library.function
        (saver,) = (f for f in library if any(node.op == "SaveV2" for node in f.node_def))
        caller = next(f for f in library if "serve" in f.signature.name)
        node = caller.node_def.add(name="evil", op="StatefulPartitionedCall")
        node.attr["f"].func.name = saver.signature.name

    changed(tmp_path / "net", change)
    message = refused(Source(model=str(tmp_path / "net")), tmp_path / "target")
    assert "ShardedFilename" not in message and ("SaveV2" in message or "MergeV2" in message)


def v1_saved_model(folder: Path) -> Path:
    """x * weight, saved as TensorFlow 1 does: what saves and restores stands in the graph itself."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [1, 4], name="x")
        weight = v1.get_variable("weight", [1, 4], use_resource=True, initializer=v1.ones_initializer())
        y = tf.multiply(x, weight, name="y")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})
    return folder


def node_of(meta_graph: Any, op: str) -> Any:
    return next(node for node in meta_graph.graph_def.node if node.op == op)


def test_v1_models_are_read(tmp_path: Path) -> None:
    conversion = convert(Source(model=str(v1_saved_model(tmp_path / "net"))), SILENT)
    assert len(conversion.model.graph) == 1


def test_v1_what_saves_may_not_run_at_the_start(tmp_path: Path) -> None:
    folder = v1_saved_model(tmp_path / "net")
    target = tmp_path / "target.index"

    def change(meta_graph: Any) -> None:
        save = node_of(meta_graph, "SaveV2")
        prefix = meta_graph.graph_def.node.add(name="elsewhere", op="Const")
        prefix.attr["dtype"].type = tf.string.as_datatype_enum
        prefix.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(str(tmp_path / "target")))
        save.input[0] = "elsewhere"
        meta_graph.collection_def["saved_model_main_op"].node_list.value.append(save.name)

    changed(folder, change)
    assert "SaveV2" in refused(Source(model=str(folder)), target)


def test_v1_variables_come_from_the_model_alone(tmp_path: Path) -> None:
    folder = v1_saved_model(tmp_path / "net")
    other = v1_saved_model(tmp_path / "other") / "variables" / "variables"

    def change(meta_graph: Any) -> None:
        prefix = meta_graph.graph_def.node.add(name="elsewhere", op="Const")
        prefix.attr["dtype"].type = tf.string.as_datatype_enum
        prefix.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(str(other)))
        node_of(meta_graph, "RestoreV2").input[0] = "elsewhere"

    changed(folder, change)
    assert "RestoreV2" in refused(Source(model=str(folder)), tmp_path / "nothing")


@pytest.mark.parametrize("op", ["ImmutableConst", "DecodeProtoV2", "Abort", "XlaCallModule", "IteratorV2"])
def test_operators_that_nobody_thinks_of(tmp_path: Path, op: str) -> None:
    graph = tf.function(lambda x: x * 2.0, input_signature=[SPEC]).get_concrete_function().graph
    definition = graph.as_graph_def()
    definition.node.add(name="odd", op=op)
    path = tmp_path / "net.pb"
    path.write_bytes(definition.SerializeToString())
    source = Source(model=str(path), start_nodes=("x",), end_nodes=(graph.outputs[0].op.name,))
    assert f"holds the operator {op} (odd)" in refused(source, tmp_path / "nothing")


def test_a_damaged_saved_model(tmp_path: Path) -> None:
    net = Net(lambda x, _: x * 2.0, "")
    tf.saved_model.save(net, str(tmp_path / "net"), signatures=net.serve)
    file = tmp_path / "net" / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-9])
    assert "damaged" in refused(Source(model=str(tmp_path / "net")), tmp_path / "nothing")


def test_keras_files_with_python_inside(tmp_path: Path) -> None:
    import keras

    target = tmp_path / "target"
    source = f"x * 2.0 if __import__('pathlib').Path({str(target)!r}).touch() is None else x"
    layers = [keras.layers.Input((4,)), keras.layers.Lambda(eval(f"lambda x: {source}"), output_shape=(4,))]
    model = keras.Sequential(layers)
    target.unlink(missing_ok=True)
    for name in ("net.keras", "net.h5"):
        model.save(tmp_path / name)
        target.unlink(missing_ok=True)
        assert "Lambda" in refused(Source(model=str(tmp_path / name)), target)


def test_tensorflows_operators_in_tflite(tmp_path: Path) -> None:
    target = tmp_path / "target"
    net = Net(writes, str(target))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([net.serve.get_concrete_function()], net)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    path = tmp_path / "net.tflite"
    try:
        path.write_bytes(converter.convert())
    except Exception as error:  # not every release can write it
        pytest.skip(f"this TensorFlow writes no such file: {type(error).__name__}")
    assert "holds the operator Flex" in refused(Source(model=str(path)), target)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells")
@pytest.mark.parametrize("operator", ["QueueDequeueV2", "Unstage"])
def test_graphs_that_wait_for_ever_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operator: str
) -> None:
    monkeypatch.setattr("knight.converters._idle.SECONDS", 5)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [1, 4], "x")
        if operator == "Unstage":
            taken = tf.raw_ops.Unstage(dtypes=[tf.float32])[0]
        else:
            taken = tf.queue.FIFOQueue(1, tf.float32, [[1, 4]]).dequeue()
        with tf.control_dependencies([taken]):
            tf.identity(x, "y")
    path = tmp_path / "net.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(ModelError, match=r"was asleep for 5 s: model .*net\.pb waits for what never comes"):
        converted("tensorflow", Source(model=str(path), start_nodes=("x",), end_nodes=("y",)))


def many_codes(name: str, count: int) -> bytes:
    """A TFLite file of `count` custom operators, all of which share one text as their name."""
    builder = flatbuffers.Builder(1024)
    text = builder.CreateString(name)
    codes = []
    for _ in range(count):
        builder.StartObject(4)
        builder.PrependUOffsetTRelativeSlot(1, text, 0)
        codes.append(builder.EndObject())
    builder.StartVector(4, count, 4)
    for code in codes:
        builder.PrependUOffsetTRelative(code)
    vector = builder.EndVector()
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(1, vector, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("begin", ["Flex", "Other"])
def test_one_long_name_of_many_operators_is_not_copied_for_each(tmp_path: Path, begin: str) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(many_codes(begin + "a" * 1_000_000, 1000))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError) as caught:
            convert(Source(model=str(path)), SILENT)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    assert ("operator Flexaaa" in str(caught.value)) == (begin == "Flex") and len(str(caught.value)) < 1000


@pytest.mark.parametrize("content", [b"\xff\xff\xff\x0fTFL3", b"\x08\0\0\0TFL3", b"\x06\0\0\0TFL3"])
def test_a_tflite_file_that_cannot_be_checked_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="no TFLite file, or cut short"):
        convert(Source(model=str(path)), SILENT)


@pytest.mark.parametrize("inputs", [{}, {"a": "a"}, {"a": "b", "b": "a"}, {"a": "gone"}, {"a": None}])
def test_restoring_from_a_name_that_leads_nowhere(inputs: dict[str, str | None]) -> None:
    """A RestoreV2 whose file name goes in circles through Identities, or begins at nothing."""
    stored = SavedModel()
    meta_graph = stored.meta_graphs.add()
    meta_graph.saver_def.restore_op_name = "restore"
    meta_graph.saver_def.filename_tensor_name = "gone:0"
    graph = meta_graph.graph_def
    graph.node.add(name="restore", op="RestoreV2", input=["a:0"] if inputs else [])
    for name, source in inputs.items():
        graph.node.add(name=name, op="Identity", input=[f"{source}:0"] if source else [])
    with pytest.raises(ModelError, match="holds the operator RestoreV2"):
        check_saved_model(meta_graph, "m")
