"""What no model can mean is refused by name before anything reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from knight import model as models
from knight.errors import ModelError

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
Change = Callable[[onnx.ModelProto], object]


def info(name: str, shape: tuple[int | str, ...] = (1, 4), dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def net() -> onnx.ModelProto:
    """x[1, 4] -> MatMul with w[4, 4] -> Relu -> y."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "mm"),
        helper.make_node("Relu", ["m"], ["y"], "act"),
    ]
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(nodes, "g", [info("x")], [info("y")], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def branch(name: str, *tensors: onnx.TensorProto, outputs: int = 1) -> onnx.GraphProto:
    nodes = [helper.make_node("Relu", ["x"], [f"{name}{place}"]) for place in range(outputs)]
    return helper.make_graph(
        nodes, name, [], [info(f"{name}{place}") for place in range(outputs)], list(tensors)
    )


def with_if(model: onnx.ModelProto, then: onnx.GraphProto, otherwise: onnx.GraphProto) -> None:
    """Puts an If on a constant before the net's output."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    chosen = helper.make_node("If", ["c"], ["chosen"], "if", then_branch=then, else_branch=otherwise)
    model.graph.node.append(chosen)


def refused(model: onnx.ModelProto, folder: Path) -> str:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError) as caught:
        models.load(path)
    text = str(caught.value)
    assert text.startswith(f"model {path}: ") and text.isprintable()
    return text.removeprefix(f"model {path}: ")


def weight(model: onnx.ModelProto) -> onnx.TensorProto:
    return model.graph.initializer[0]


def test_the_net_itself_is_sound(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(net().SerializeToString())
    assert len(models.load(tmp_path / "net.onnx").graph) == 2


@pytest.mark.parametrize("dtype", [0, 99, -1])
def test_unknown_types_of_weights(tmp_path: Path, dtype: int) -> None:
    model = net()
    weight(model).data_type = dtype
    assert refused(model, tmp_path).startswith(f"tensor 'w' is of the unknown data type {dtype};")


@pytest.mark.parametrize("place", ["input", "output", "value_info"])
def test_unknown_types_of_values(tmp_path: Path, place: str) -> None:
    model = net()
    values = getattr(model.graph, place)
    if not values:
        values.append(info("m"))
    values[0].type.tensor_type.elem_type = 99
    assert f"value {values[0].name!r} is of the unknown data type 99" in refused(model, tmp_path)
    values[0].type.CopyFrom(helper.make_sequence_type_proto(values[0].type))  # the same inside
    assert "is of the unknown data type 99" in refused(model, tmp_path)


def test_an_input_of_no_type(tmp_path: Path) -> None:
    model = net()
    model.graph.input[0].type.tensor_type.elem_type = 0
    assert "has an input 'x' of no data type" in refused(model, tmp_path)


def test_maps(tmp_path: Path) -> None:
    kind = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, ()))
    model = net()
    model.graph.output.append(helper.make_value_info("scores", helper.make_sequence_type_proto(kind)))
    assert "value 'scores' is a map" in refused(model, tmp_path)


@pytest.mark.parametrize(("operator", "name"), [("Cast", "to"), ("RandomNormalLike", "dtype")])
def test_attributes_that_are_no_type(tmp_path: Path, operator: str, name: str) -> None:
    model = net()
    model.graph.node.append(helper.make_node(operator, ["m"], ["k"], "odd", **{name: 77}))
    assert f"node 'odd' ({operator}) has {name} = 77, which is no data type" in refused(model, tmp_path)


@pytest.mark.parametrize("length", [0, 1, 63, 68, 128])
def test_raw_data_of_another_length(tmp_path: Path, length: int) -> None:
    model = net()
    weight(model).raw_data = bytes(length)
    assert f"tensor 'w' holds {length} bytes, where float of shape 4x4 has 64" in refused(model, tmp_path)


@pytest.mark.parametrize("count", [0, 15, 17])
def test_numbers_of_another_count(tmp_path: Path, count: int) -> None:
    model = net()
    weight(model).ClearField("raw_data")
    weight(model).float_data.extend([1.0] * count)
    assert f"holds {count} numbers, where float of shape 4x4 has 16" in refused(model, tmp_path)


@pytest.mark.parametrize(("length", "sound"), [(7, False), (8, True), (16, False)])
def test_two_small_integers_to_a_byte(tmp_path: Path, length: int, sound: bool) -> None:
    model = net()
    small = TensorProto(name="q", data_type=TensorProto.INT4, dims=[3, 5], raw_data=bytes(length))
    model.graph.initializer.append(small)
    if sound:
        (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
        assert models.load(tmp_path / "net.onnx").graph.initializers["q"].const_value is not None
    else:
        assert f"holds {length} bytes, where int4 of shape 3x5 has 8" in refused(model, tmp_path)


@pytest.mark.parametrize("dims", [[-4, -4], [1 << 40, 1 << 40], [1 << 62, 4]])
def test_sizes_that_are_none(tmp_path: Path, dims: list[int]) -> None:
    model = net()
    weight(model).ClearField("dims")
    weight(model).dims.extend(dims)
    assert f"tensor 'w' has a dimension of size {dims[0]}" in refused(model, tmp_path)
    model = net()
    model.graph.input[0].CopyFrom(info("x", (dims[0], 4)))
    assert f"value 'x' has a dimension of size {dims[0]}" in refused(model, tmp_path)


def test_more_dimensions_than_arrays_have(tmp_path: Path) -> None:
    model = net()
    model.graph.input[0].CopyFrom(info("x", (1,) * 40))
    assert "value 'x' has 40 dimensions" in refused(model, tmp_path)


@pytest.mark.parametrize("text", [b"a\xff\xfe", b"a\xed\xa0\x80b"])  # the second is half of a surrogate pair
@pytest.mark.parametrize("mark", [b"mark_node", b"mark_value", b"mark_dim", b"mark_key", b"mark_doc"])
def test_texts_that_are_no_text(tmp_path: Path, mark: bytes, text: bytes) -> None:
    model = net()
    model.graph.node[1].name, model.graph.doc_string = "mark_node", "mark_doc"
    model.graph.value_info.append(info("mark_value", ("mark_dim", 4)))
    model.metadata_props.add(key="mark_key", value="v")
    whole = model.SerializeToString()
    assert whole.count(mark) == 1
    path = tmp_path / "net.onnx"
    path.write_bytes(whole.replace(mark, text.ljust(len(mark), b"."), 1))
    with pytest.raises(ModelError, match=r"has a text \(\w+\) that is not UTF-8: 'a\\\\x[ef]") as caught:
        models.load(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("where", ["body", "attribute", "function"])
def test_tensors_wherever_they_are(tmp_path: Path, where: str) -> None:
    model = net()
    odd = TensorProto(name="odd", data_type=FLOAT, dims=[4], raw_data=b"123")
    if where == "body":
        with_if(model, branch("t", odd), branch("e"))
    elif where == "attribute":
        model.graph.node.append(helper.make_node("Constant", [], ["k"], value=odd))
    else:
        nodes = [helper.make_node("Constant", [], ["b"], value=odd)]
        model.functions.append(
            helper.make_function("f", "F", [], ["b"], nodes, [helper.make_opsetid("", 21)])
        )
    assert "tensor 'odd' holds 3 bytes, where float of shape 4 has 16" in refused(model, tmp_path)


def test_sparse_weights_of_bodies(tmp_path: Path) -> None:
    model, body = net(), branch("t")
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "places")
    body.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    with_if(model, body, branch("e"))
    assert "has a weight 'sparse' that is stored sparse" in refused(model, tmp_path)


@pytest.mark.parametrize("outputs", [0, 2])
def test_branches_with_other_outputs_than_their_if(tmp_path: Path, outputs: int) -> None:
    model = net()
    with_if(model, branch("t", outputs=outputs), branch("e"))
    assert f"node 'if' (If) has 1 outputs, and a branch with 0 inputs and {outputs}" in refused(
        model, tmp_path
    )


def test_functions_that_do_not_make_their_output(tmp_path: Path) -> None:
    model, imports = net(), [helper.make_opsetid("", 21)]
    nodes = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.append(helper.make_function("f", "F", ["a"], ["gone"], nodes, imports))
    assert "function 'F' makes no value 'gone'" in refused(model, tmp_path)


@pytest.mark.parametrize(
    ("operator", "name", "value"),
    [
        ("ConvTranspose", "group", 0),
        ("DepthToSpace", "blocksize", 1 << 40),
        ("GatherND", "batch_dims", -(1 << 63)),
        ("MaxPool", "strides", [1, 0]),
        ("Conv", "pads", [0, 0, 1 << 40, 0]),
    ],
)
def test_attributes_that_end_the_runtime(tmp_path: Path, operator: str, name: str, value: object) -> None:
    model = net()
    model.graph.node.append(helper.make_node(operator, ["m", "w"], ["k"], "odd", **{name: value}))
    assert f"node 'odd' ({operator}) has {name} = " in refused(model, tmp_path)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_numbers_may_be_divided_by_minus_one(tmp_path: Path, dtype: type[np.generic]) -> None:
    model = net()
    for name, number in (("minus", -1), ("seven", 7)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([number], dtype), name))
    model.graph.node.append(helper.make_node("Div", ["seven", "minus"], ["k"], "fine"))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert len(models.load(tmp_path / "net.onnx").graph) == 3


def test_what_onnx_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    model = net()
    model.graph.node[1].op_type = "No\x1b[31m\nsuch"
    assert "No Op registered for No\\x1b[31m such" in refused(model, tmp_path)
    model = net()
    model.graph.node[1].input[0] = "nowhere"
    text = refused(model, tmp_path)
    assert "input 'nowhere' of node" in text and "act" in text, "the node is named as well"


def rounded(
    scale: object, zero_point: object, axis: int = 0, shape: tuple[int, ...] = (4, 3)
) -> onnx.ModelProto:
    """The net, and a DequantizeLinear of int8[shape] by these numbers."""
    model = net()
    for name, array in (
        ("q", np.ones(shape, np.int8)),
        ("s", np.asarray(scale, np.float32)),
        ("z", np.asarray(zero_point, np.int8)),
    ):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.node.append(helper.make_node("DequantizeLinear", ["q", "s", "z"], ["k"], "odd", axis=axis))
    return model


@pytest.mark.parametrize(
    ("scale", "zero_point", "axis", "said"),
    [
        (np.nan, 0, 0, "has a scale that is not finite"),
        ([1, np.inf, 1, 1], [0] * 4, 0, "has a scale that is not finite"),
        ([1, 1, 1, 1], [0, 0, 0], 0, "has 4 scales and 3 zero points"),
        (1, [0, 0], 0, "has 1 scales and 2 zero points"),
        ([1, 1, 1], [0] * 3, 0, "has 3 scales along axis 0 of 4x3 numbers"),
        ([1, 1, 1, 1], [0] * 4, -1, "has 4 scales along axis -1 of 4x3 numbers"),
        ([1, 1, 1, 1], [0] * 4, 2, "has 4 scales along axis 2 of 4x3 numbers"),
    ],
)
def test_scales_that_fit_nothing(
    tmp_path: Path, scale: object, zero_point: object, axis: int, said: str
) -> None:
    model = rounded(scale, zero_point, axis)
    assert f"node 'odd' (DequantizeLinear) {said}" in refused(model, tmp_path)


@pytest.mark.parametrize(
    ("scale", "zero_point", "axis"), [(1, 0, 0), ([1], [0], 1), ([1, 1, 1], [0] * 3, -1), (0, 0, 0)]
)
def test_scales_that_fit(tmp_path: Path, scale: object, zero_point: object, axis: int) -> None:
    (tmp_path / "net.onnx").write_bytes(rounded(scale, zero_point, axis).SerializeToString())
    assert len(models.load(tmp_path / "net.onnx").graph) == 3


def test_a_type_of_integers_that_is_text(tmp_path: Path) -> None:
    model = net()
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "s"))
    odd = helper.make_node("QuantizeLinear", ["m", "s"], ["k"], "odd", output_dtype=TensorProto.STRING)
    model.graph.node.append(odd)
    assert "node 'odd' (QuantizeLinear) has output_dtype = 8" in refused(model, tmp_path)


def test_a_name_of_two_bodies_tells_nothing(tmp_path: Path) -> None:
    model = net()
    bodies = [branch("t"), branch("e")]
    for body, count in zip(bodies, (4, 3), strict=True):
        for name, array in (("q", np.ones((count, 2), np.int8)), ("s", np.ones(count, np.float32))):
            body.initializer.append(numpy_helper.from_array(array, name))
        body.node.append(helper.make_node("DequantizeLinear", ["q", "s"], ["k"], axis=0))
    with_if(model, *bodies)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert len(models.load(tmp_path / "net.onnx").graph) == 3


def loop(count: int | None, first: bool | None, *steps: onnx.NodeProto) -> onnx.ModelProto:
    """The net and a Loop; `steps` make "on", the condition, of "go"."""
    model = net()
    for name, array in (("n", np.array(count or 0)), ("c", np.array(bool(first)))):
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    inputs = [info("i", (), INT64), info("go", (), BOOL), info("state")]
    nodes = [*steps, helper.make_node("Relu", ["state"], ["next"])]
    body = helper.make_graph(nodes, "body", inputs, [info("on", (), BOOL), info("next")])
    read = ["" if count is None else "n", "" if first is None else "c", "m"]
    model.graph.node.append(helper.make_node("Loop", read, ["k"], "loop", body=body))
    return model


SAME = helper.make_node("Identity", ["go"], ["on"])
TRUE = helper.make_node("Constant", [], ["on"], value=numpy_helper.from_array(np.array(True)))
OF_STATE = helper.make_node("Identity", ["state"], ["on"])
COMPUTED = helper.make_node("Not", ["go"], ["on"])


@pytest.mark.parametrize("step", [SAME, TRUE], ids=["the same", "constant"])
@pytest.mark.parametrize("count", [None, (1 << 63) - 1])
@pytest.mark.parametrize("first", [None, True])
def test_loops_without_an_end(
    tmp_path: Path, count: int | None, first: bool | None, step: onnx.NodeProto
) -> None:
    assert "node 'loop' (Loop) has no end" in refused(loop(count, first, step), tmp_path)


@pytest.mark.parametrize(
    ("count", "first", "step"),
    [
        (3, True, SAME),
        (None, True, COMPUTED),
        ((1 << 63) - 1, True, COMPUTED),
        (None, False, SAME),
        (None, True, OF_STATE),
    ],
)
def test_loops_with_an_end(
    tmp_path: Path, count: int | None, first: bool | None, step: onnx.NodeProto
) -> None:
    (tmp_path / "net.onnx").write_bytes(loop(count, first, step).SerializeToString())
    assert len(models.load(tmp_path / "net.onnx").graph) == 3


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
def test_recurrent_layers_behind_an_input_of_no_size(tmp_path: Path, operator: str) -> None:
    model = net()
    model.graph.node.append(helper.make_node(operator, ["x", "w", "w"], ["k"], "odd"))
    model.graph.input[0].CopyFrom(info("x", (2, 0, 4)))
    assert "has an input 'x' of size 0, which recurrent layers cannot take" in refused(model, tmp_path)
