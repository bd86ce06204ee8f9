"""Reading of nets: forms of inputs, phases, names, old files; and every way in which files can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knight.converters import Conversion, Source
from knight.converters.caffe import converter
from knight.converters.caffe._schema import message_class
from knight.converters.caffe.layers import translations
from knight.errors import ConfigError, KnightError, ModelError
from knight.listener import SILENT
from tests.converters.caffe.nets import (
    Heard,
    assert_matches,
    assert_matches_opencv,
    convert_net,
    image,
    layer,
    numbers,
    run,
    write_net,
)

FC = "inner_product_param { num_output: 2 bias_term: false }"


def convert_files(
    folder: Path, *shapes: tuple[int, ...], weights: str | None = "net.caffemodel"
) -> Conversion:
    stored = str(folder / weights) if weights else None
    return converter.convert(
        Source(str(folder / "net.prototxt"), weights=stored, input_shapes=shapes), SILENT
    )


@pytest.mark.parametrize(
    "form",
    [
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 5',
        'input: "data" input_shape { dim: 1 dim: 3 dim: 4 dim: 5 }',
        'input: "data" input_shape: < dim: [1, 3, 4, 5] >;  # one line',
        image(1, 3, 4, 5),
        'layer { name: "d" type: "DummyData" top: "data" dummy_data_param { num: 1 channels: 3 height: 4 '
        "width: 5 } }",
        'layer { name: "d" type: "MemoryData" top: "data" top: "label" memory_data_param { batch_size: 1 '
        "channels: 3 height: 4 width: 5 } }",
    ],
)
def test_forms_of_an_input(form: str, tmp_path: Path) -> None:
    x = numbers(1, 3, 4, 5)
    net = form + "\n" + layer("TanH")
    feeds = {"data": x}
    conversion = convert_net(net, {}, tmp_path)
    if "label" in form:
        feeds["label"] = np.zeros(1, np.float32)
    assert_matches(conversion, feeds, [np.tanh(x)])


def test_several_inputs_and_shared_shape(tmp_path: Path) -> None:
    net = 'layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } } }'
    net += layer("Eltwise", "", "a b")
    feeds = {"a": numbers(2, 3), "b": numbers(2, 3, seed=1)}
    assert_matches(convert_net(net, {}, tmp_path), feeds, [feeds["a"] + feeds["b"]])


def test_missing_shapes_come_from_is(tmp_path: Path) -> None:
    net = 'layer { name: "in" type: "Input" top: "data" }' + layer("TanH")
    write_net(net, {}, tmp_path)
    with pytest.raises(ModelError, match="input 'data' has no shape; give one with -is"):
        convert_files(tmp_path)
    x = numbers(2, 3)
    assert_matches(convert_files(tmp_path, (2, 3)), {"data": x}, [np.tanh(x)])
    assert_matches(convert_files(tmp_path, (-1, 3)), {"data": x}, [np.tanh(x)])
    with pytest.raises(ModelError, match=r"input 'data' has the shape \(1, -1\); give one with -is"):
        convert_files(tmp_path, (-1, -1))
    with pytest.raises(ConfigError, match="-is gives 2 shapes, but the net has 1 inputs: data"):
        convert_files(tmp_path, (2, 3), (4,))


def test_a_shape_of_is_replaces_that_of_the_file_and_is_said(tmp_path: Path) -> None:
    heard = Heard()
    source = write_net(image(10, 3, 4, 4) + layer("TanH"), {}, tmp_path)
    conversion = converter.convert(Source(source.model, source.weights, input_shapes=((1, 3, 4, 4),)), heard)
    assert list(conversion.model.graph.inputs[0].shape or ()) == [1, 3, 4, 4]
    assert "input data: (1, 3, 4, 4) of -is instead of (10, 3, 4, 4) of the prototxt" in heard.details


def test_only_what_belongs_to_the_test_phase_is_kept(tmp_path: Path) -> None:
    net = (
        'layer { name: "train" type: "Data" top: "data" top: "label" include { phase: TRAIN } '
        'data_param { source: "x" batch_size: 64 backend: LMDB } transform_param { crop_size: 3 } }'
    )
    net += image(1, 3)
    net += layer("TanH", "exclude { phase: TEST }", "data", "data", name="noise")
    net += layer("Sigmoid", 'include { phase: TEST not_stage: "deploy" }')
    net += layer("SoftmaxWithLoss", "include { phase: TRAIN }", "out label", "loss")
    net += layer("TanH", 'include { stage: "other" }', "out", "staged")
    heard, x = Heard(), numbers(1, 3)
    conversion = convert_net(net, {}, tmp_path, heard)
    assert_matches(conversion, {"data": x}, [1 / (1 + np.exp(-x))])
    assert_matches_opencv(conversion)
    assert heard.warnings == []


def test_in_place_layers_and_names(tmp_path: Path) -> None:
    net = image(1, 3, 4, 4)
    net += layer("Scale", "", "data", "conv1")
    net += layer("ReLU", "", "conv1", "conv1", name="relu1")
    net += layer("TanH", "", "conv1", "conv1", name="tanh1")
    net += layer("AbsVal", "", "conv1", "out", name="last.layer")
    conversion = convert_net(net, {"conv1": [numbers(3)]}, tmp_path)
    graph = conversion.model.graph
    assert [node.name for node in graph] == ["conv1", "relu1", "tanh1", "last.layer"]
    assert [node.outputs[0].name for node in graph] == ["conv1:out", "relu1:out", "conv1", "out"]
    assert_matches_opencv(conversion)
    assert conversion.probe is not None
    x = numbers(1, 3, 4, 4)
    got = conversion.probe({"data": x}, ["conv1:out", "relu1:out", "conv1", "out", "nothing"])
    scaled = x * numbers(3).reshape(3, 1, 1)
    positive = scaled.clip(0)
    for have, want in zip(
        got.values(), (scaled, positive, np.tanh(positive), np.tanh(positive)), strict=True
    ):
        np.testing.assert_allclose(have, want, atol=1e-5)


def test_dropout_and_split_as_outputs_keep_the_names_of_their_blobs(tmp_path: Path) -> None:
    net = image(1, 3) + layer("TanH", top="fc") + layer("Dropout", "", "fc", "drop")
    net += layer("Split", "", "drop", "left right")
    got = run(convert_net(net, {}, tmp_path), {"data": numbers(1, 3)})
    assert list(got) == ["left", "right"]
    np.testing.assert_allclose(got["left"], np.tanh(numbers(1, 3)), atol=1e-6)


def test_layers_of_the_v1_form(tmp_path: Path) -> None:
    net = message_class("NetParameter")(name="old", input=["data"], input_dim=[1, 3, 4, 4])
    kinds = {"conv": 4, "relu": 18, "pool": 17, "ip": 14}
    blobs = ["data", "conv", "conv", "pool", "ip"]
    for (name, kind), bottom, top in zip(kinds.items(), blobs[:-1], blobs[1:], strict=True):
        net.layers.add(name=name, type=kind, bottom=[bottom], top=[top])
    net.layers[0].convolution_param.num_output = 2
    net.layers[0].convolution_param.kernel_size.append(3)
    net.layers[2].pooling_param.kernel_size = 2
    net.layers[3].inner_product_param.num_output = 3
    (tmp_path / "net.prototxt").write_text(str(net))
    for index, shapes in ((0, [(2, 3, 3, 3), (1, 1, 1, 2)]), (3, [(1, 1, 3, 2), (1, 1, 1, 3)])):
        for seed, shape in enumerate(shapes):
            blob = net.layers[index].blobs.add(
                **dict(zip(("num", "channels", "height", "width"), shape, strict=True))
            )
            blob.data.extend(numbers(*shape, seed=seed).ravel().tolist())
    (tmp_path / "net.caffemodel").write_bytes(net.SerializeToString())
    conversion = convert_files(tmp_path)
    assert [node.op_type for node in conversion.model.graph] == ["Conv", "Relu", "MaxPool", "Flatten", "Gemm"]
    assert_matches_opencv(conversion)


def test_weights_in_other_forms_of_storage(tmp_path: Path) -> None:
    """Doubles, half-precision bytes of NVIDIA's Caffe, and numbers that were not packed."""
    weight, x = np.array([[1, 2, 4]], np.float32), numbers(1, 3)
    text = "inner_product_param { num_output: 1 bias_term: false }"
    net = image(1, 3) + "".join(layer("InnerProduct", text, top=top) for top in ("double", "half", "single"))
    source = write_net(net, {}, tmp_path)
    stored = message_class("StoredNet")()
    for name in ("double", "half", "single"):
        blob = stored.layer.add(name=name).blobs.add()
        blob.shape.dim.extend((1, 3))
        if name == "double":
            blob.double_data = weight.astype("<f8").tobytes()
        elif name == "half":
            blob.raw_data, blob.raw_data_type = weight.astype("<f2").tobytes(), 2
        else:
            unpacked = b"".join(b"\x2d" + number.tobytes() for number in weight.ravel().astype("<f4"))
            blob.MergeFromString(unpacked)
    Path(source.weights or "").write_bytes(stored.SerializeToString())
    assert_matches(converter.convert(source, SILENT), {"data": x}, [x @ weight.T] * 3)


def test_unknown_fields_of_a_known_layer_are_named_and_ignored(tmp_path: Path) -> None:
    net = "quantize_everything: true\n" + image(1, 3)
    net += layer(
        "ReLU",
        "relu_param { engine: CUDNN fused: { deep: [1, 2] } negative_slope: 0.5 }\nfork_param { a: 'b' 'c' }",
    )
    heard, x = Heard(), numbers(1, 3)
    assert_matches(convert_net(net, {}, tmp_path, heard), {"data": x}, [np.where(x > 0, x, x / 2)])
    said = [warning.partition("net.prototxt:")[2] for warning in heard.warnings]
    assert said == [
        "1: field 'quantize_everything' of NetParameter is not known here and is ignored",
        "3: field 'fused' of ReLUParameter is not known here and is ignored",
        "4: field 'fork_param' of LayerParameter is not known here and is ignored",
    ]


def test_unsupported_types_are_listed_all_at_once(tmp_path: Path) -> None:
    net = image(1, 3) + layer("Python", "", "data", "p1") + layer("Magic", "", "p1", "m1")
    net += layer("Python", "", "m1", "p2")
    with pytest.raises(ModelError, match=r"Python \(p1, p2\); Magic \(m1\); replace or remove them"):
        convert_net(net, {}, tmp_path)
    with pytest.raises(ModelError, match=r"Accuracy \(out\); use the deploy.prototxt"):
        convert_net(image(1, 3) + layer("Accuracy"), {}, tmp_path)


BAD_GRAPHS = {
    "missing bottom": (layer("TanH", "", "nowhere"), r"layer 'out' \(TanH\): reads the blob 'nowhere'"),
    "written twice": (layer("TanH") + layer("ReLU", name="again"), "'again' .*writes the blob 'out'"),
    "no output": (layer("Silence", "", "data", ""), "the net has no output"),
    "no shape that fits": (
        layer("Concat", "", "data flat"),
        r"node 'out' \(Concat\) does not fit its inputs",
    ),
}


@pytest.mark.parametrize("case", BAD_GRAPHS)
def test_graphs_that_make_no_sense(case: str, tmp_path: Path) -> None:
    text, message = BAD_GRAPHS[case]
    with pytest.raises(ModelError, match=message):
        convert_net(image(1, 3, 2) + image(1, 3, name="flat") + text, {}, tmp_path)


def good_net(folder: Path) -> Source:
    return write_net(image(1, 3) + layer("InnerProduct", FC, top="fc"), {"fc": [numbers(2, 3)]}, folder)


def test_weights_of_another_net_or_none(tmp_path: Path) -> None:
    net = image(1, 3) + layer("InnerProduct", FC, top="fc")
    with pytest.raises(
        ModelError, match=r"layer 'fc'.*weight 0 has shape \(2, 4\), the prototxt wants \(2, 3\)"
    ):
        convert_net(net, {"fc": [numbers(2, 4)]}, tmp_path)
    with pytest.raises(ModelError, match=r"are of another net: they have 'other' and 1 more layers"):
        convert_net(net, {"other": [numbers(2, 4)], "third": [numbers(1)]}, tmp_path)
    with pytest.raises(ModelError, match=r"layer 'fc' .*has no weights in the caffemodel"):
        convert_net(net, {}, tmp_path)


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    source = good_net(tmp_path)
    model, weights = Path(source.model), Path(str(source.weights))
    whole = weights.read_bytes()
    cases: list[tuple[Source, type[KnightError], str]] = [
        (Source(source.model), ConfigError, "name the .caffemodel file with -w"),
        (Source(str(weights), weights=str(model)), ModelError, "is a caffemodel; name the prototxt with -m"),
        (Source(str(model), weights=str(model)), ModelError, "is a prototxt; name the prototxt with -m"),
        (Source(str(tmp_path / "no"), weights=str(weights)), ModelError, "no: no such file"),
        (Source(str(model), weights=str(tmp_path / "no")), ModelError, "no: no such file"),
        (Source(str(tmp_path), weights=str(weights)), ModelError, "is a folder; name the .prototxt"),
        (Source(str(model), weights=str(tmp_path)), ModelError, "is a folder; name the .caffemodel"),
    ]
    for wrong, kind, message in cases:
        with pytest.raises(kind, match=message):
            converter.convert(wrong, SILENT)
    contents: list[tuple[Path, bytes, str]] = [
        (weights, whole[:-5], "not a caffemodel, or cut short"),
        (weights, b"", "the file is empty"),
        (weights, b"\x89HDF\r\n\x1a\n\0\0", "saved as HDF5"),
        (weights, b"PK\x03\x04" + b"\0" * 40, "not a caffemodel, or cut short"),
        (
            weights,
            whole.replace(b"\x0a\x02\x02\x03", b"\x0a\x02\x02\x07"),
            r"has 6 numbers for the shape \(2, 7\)",
        ),
        (model, b"", "the file is empty"),
        (model, b"\x08\x07\x12\x00 onnx", "not a prototxt"),
        (model, b'base_lr: 0.1 net: "train.prototxt"', r"holds no layers; .*not the solver's"),
        (model, b'layer {\n name: "x"\n type: Input\n}', r"net.prototxt:3: not a valid prototxt"),
        (model, b'layers { layer { name: "x" type: "conv" } }', r"of the oldest form of Caffe \(V0"),
        (model, b'input: "data" input_dim: 1 layer { name: "x" type: "TanH" }', "1 input_dim for 1 input"),
    ]
    for path, content, message in contents:
        before = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ModelError, match=message):
            converter.convert(source, SILENT)
        path.write_bytes(before)
    converter.convert(source, SILENT)


def test_without_opencv_the_conversion_says_that_it_is_unproven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = good_net(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    conversion = converter.convert(source, SILENT)
    assert conversion.reference is None
    assert 'pip install "opencv-python-headless<5"' in conversion.unproven


def test_a_layer_that_opencv_lacks_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    conversion = convert_net(image(1, 3) + layer("Clip", "clip_param { max: 1 }", name="limit"), {}, tmp_path)
    assert conversion.unproven == "OpenCV cannot run this net: it has no layer of type Clip (limit)"
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("kind", sorted(translations()))
def test_every_layer_says_how_many_bottoms_it_wants(kind: str, tmp_path: Path) -> None:
    """What asks for a bottom that is not there would stop with an IndexError."""
    net = image(1, 2, 4, 4) + layer(kind, bottom="", name="bad")
    with pytest.raises(ModelError, match=rf"layer 'bad' \({kind}\): has 0 bottoms, wants [1-3]") as caught:
        convert_net(net, {}, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("ShuffleChannel", "shuffle_channel_param { group: 0 }", "ZeroDivisionError"),
        ("Permute", "permute_param { order: 0 order: 0 }", "does not fit its inputs"),
        ("Embed", "embed_param { num_output: 4294967295 input_dim: 4294967295 }", "no weights"),
        ("Tile", "tile_param { tiles: -3 axis: 1 }", "does not fit its inputs"),
    ],
)
def test_numbers_that_make_no_layer_are_told_with_its_name(
    kind: str, text: str, reason: str, tmp_path: Path
) -> None:
    net = image(1, 4, 4, 4) + layer(kind, text, name="bad")
    with pytest.raises(ModelError, match=f"'bad'.*{reason}") as caught:
        convert_net(net, {}, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opening", ["x {", "layer { x {", "x: <"])
def test_a_prototxt_that_is_nested_too_deep(opening: str, tmp_path: Path) -> None:
    """protobuf walks what it does not know by calling itself."""
    source = write_net(image(1, 2) + opening * 5000, {}, tmp_path)
    with pytest.raises(ModelError, match=r"net\.prototxt.*: not a valid prototxt: "):
        converter.convert(source, SILENT)


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (
            image(1, 2, 30000, 30000) + layer("PriorBox", "prior_box_param { min_size: 3 }", "data data"),
            "has 900,000,000 boxes",
        ),
        (
            image(1, 2, 9, 9) + layer("SPP", "spp_param { pyramid_height: 4000000000 }"),
            "has 4,000,000,000 levels",
        ),
        (
            image(9**9, 1, 2)
            + image(9**9, 1, name="cont")
            + layer("LSTM", "recurrent_param { num_output: 3 }", "data cont"),
            "has 387,420,489 steps",
        ),
    ],
)
def test_what_would_be_written_out_without_end(net: str, said: str, tmp_path: Path) -> None:
    """A few bytes ask for gigabytes, or for a graph that takes hours to write."""
    with pytest.raises(ModelError, match=f"{said}, more than the"):
        convert_net(net, {}, tmp_path)
