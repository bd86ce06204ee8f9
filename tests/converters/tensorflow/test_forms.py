"""Every file form, NCHW, names, and what is said of wrong files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx_ir as ir
import pytest
import tensorflow as tf
from keras import layers

from knight import model as models
from knight.converters import Source
from knight.converters.tensorflow import convert
from knight.errors import ConfigError, ModelError
from knight.listener import SILENT, Listener
from knight.passes import PassOptions, tidy
from knight.runner import Session
from tests.converters.checks import assert_same, random_feeds
from tests.converters.tensorflow.nets import convert_function, convert_keras, frozen_pb, net


class Heard(Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.parametrize("form", ["keras", "h5", "saved_model", "tflite"])
@pytest.mark.parametrize("nchw", [False, True])
def test_forms(form: str, nchw: bool, tmp_path: Path) -> None:
    conversion = convert_keras(tmp_path, net(), form, nchw=nchw)
    assert_same(conversion, batches=(1, 2))
    wanted = [3, 16, 16] if nchw else [16, 16, 3]
    assert list(conversion.model.graph.inputs[0].shape or ())[1:] == wanted
    tidied = tidy(conversion.model, PassOptions())
    transposes = [node for node in tidied.graph if node.op_type == "Transpose"]
    assert len(transposes) == (0 if nchw else 1)


def test_names_of_inputs_and_outputs_are_those_of_layers(tmp_path: Path) -> None:
    model = tidy(convert_keras(tmp_path, net()).model, PassOptions())
    assert [value.name for value in model.graph.inputs] == ["picture"]
    assert [value.name for value in model.graph.outputs] == ["head"]
    assert str(model.graph.inputs[0].shape) == "[batch,16,16,3]"


def numbered_net() -> keras.Model:
    """Layers whose names TensorFlow's own numbering could be taken for; one is called twice."""
    given = keras.Input((8, 8, 3), name="picture")
    twice = keras.Sequential(
        [layers.Input((8, 8, 3)), layers.Conv2D(3, 3, padding="same", name="c"), layers.ReLU(name="r")],
        name="twice",
    )
    x = layers.Conv2D(3, 3, padding="same", name="conv2d")(given)
    x = layers.ReLU(name="re_lu")(x)
    x = layers.Conv2D(3, 3, padding="same", name="conv2d_1")(x)
    x = twice(twice(layers.ReLU(name="re_lu_1")(x)))
    return keras.Model(given, layers.Dense(2, name="dense")(layers.Flatten(name="flatten")(x)))


@pytest.mark.parametrize("form", ["keras", "saved_model", "h5"])
def test_names_of_layers_survive(form: str, tmp_path: Path) -> None:
    conversion = convert_keras(tmp_path, numbered_net(), form)
    assert_same(conversion)
    model = tidy(conversion.model, PassOptions())
    names = [node.name for node in model.graph if node.op_type in ("Conv", "Relu")]
    again = "twice_3" if form == "saved_model" else "twice_1"  # only a Keras file tells what is a layer
    assert names == [
        "conv2d/convolution",
        "re_lu/Relu",
        "conv2d_1/convolution",
        "re_lu_1/Relu",
        "twice/c/convolution",
        "twice/r/Relu",
        f"{again}/c/convolution",
        f"{again}/r/Relu",
    ]
    feeds = random_feeds(Session(model), 2)
    assert conversion.probe is not None
    assert set(conversion.probe(feeds, ["conv2d/convolution:0", "re_lu_1/Relu:0", "twice/r/Relu:0"]))


@pytest.mark.parametrize("form", ["keras", "saved_model"])
def test_recurrent_nodes_are_called_as_their_layers(form: str, tmp_path: Path) -> None:
    given = [layers.Input((6, 5)), layers.Bidirectional(layers.LSTM(4), name="both"), layers.Dense(2)]
    conversion = convert_keras(tmp_path, keras.Sequential(given), form)
    assert_same(conversion)
    assert [node.name for node in conversion.model.graph if node.op_type == "LSTM"] == ["both/LSTM"]


def test_pictures_that_stay_pictures_are_nchw_too(tmp_path: Path) -> None:
    kernel = np.ones((3, 3, 3, 4), np.float32)
    conversion = convert_function(
        tmp_path, lambda x: tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")), (None, 8, 6, 3), nchw=True
    )
    assert not [node for node in conversion.model.graph if node.op_type == "Transpose"]
    assert list(conversion.model.graph.inputs[0].shape or ())[1:] == [3, 8, 6]
    assert_same(conversion)


def picture_net(x: tf.Tensor) -> list[tf.Tensor]:
    same = tf.nn.conv2d(x, np.ones((3, 3, 3, 6), np.float32), 1, "SAME", name="conv")
    return [
        same,
        tf.reduce_mean(same, [1, 2]),
        tf.nn.relu(same, name="act"),
        tf.transpose(same, [0, 2, 1, 3]),
    ]


def test_every_picture_that_goes_out_is_nchw(tmp_path: Path) -> None:
    conversion = convert_function(tmp_path, picture_net, (None, 8, 7, 3), nchw=True)
    shapes = [str(value.shape) for value in conversion.model.graph.outputs]
    assert shapes == ["[batch,6,8,7]", "[batch,6]", "[batch,6,8,7]", "[batch,7,8,6]"]
    assert_same(conversion)


FIRST = {
    "Conv": lambda x: tf.nn.conv2d(x, np.ones((3, 3, 3, 4), np.float32), 2, "SAME"),
    "Conv after Pad": lambda x: tf.nn.conv2d(
        tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), np.ones((3, 3, 3, 4), np.float32), 2, "VALID"
    ),
    "Conv after scaling": lambda x: tf.nn.conv2d(
        (x - [1.0, 2.0, 3.0]) / 2, np.ones((3, 3, 3, 4), np.float32), 2, "SAME"
    ),
    "AveragePool": lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME"),
    "MaxPool": lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"),
    "GlobalAveragePool": lambda x: tf.reduce_mean(x, [1, 2], keepdims=True),
    "GlobalMaxPool": lambda x: tf.reduce_max(x, [1, 2], keepdims=True),
    "GlobalAveragePool, flat": lambda x: tf.reduce_mean(x, [1, 2]),
    "Resize": lambda x: tf.compat.v1.image.resize_bilinear(x, [16, 20], half_pixel_centers=True),
    "Resize nearest": lambda x: tf.image.resize(x, [16, 20], method="nearest"),
}


@pytest.mark.parametrize("first", FIRST)
def test_no_transpose_is_left_at_the_border(first: str, tmp_path: Path) -> None:
    conversion = convert_function(tmp_path, FIRST[first], (None, 8, 10, 3), nchw=True)
    assert_same(conversion)
    model = tidy(conversion.model, PassOptions())
    assert not [node for node in model.graph if node.op_type == "Transpose"]
    assert str(model.graph.inputs[0].shape) == "[batch,3,8,10]"
    assert str(model.graph.outputs[0].shape).startswith("[batch,")


def test_a_transpose_that_has_to_stay_is_told(tmp_path: Path) -> None:
    path, heard = frozen_pb(tmp_path, lambda x: tf.reshape(x, [-1, 240]), (None, 8, 10, 3)), Heard()
    source = Source(str(path), start_nodes=("data_input",), end_nodes=("output",), nchw=True)
    assert_same(convert(source, heard))
    (warning,) = heard.warnings
    assert "a Transpose is left after input data_input:0, because Reshape reads it as NHWC" in warning


@pytest.mark.parametrize("nchw", [False, True])
def test_values_inside_are_given_in_the_layout_of_the_model(nchw: bool, tmp_path: Path) -> None:
    conversion = convert_function(tmp_path, picture_net, (None, 6, 6, 3), nchw=nchw)
    model = tidy(conversion.model, PassOptions())
    names = [value.name or "" for node in model.graph for value in node.outputs]
    session = Session(model, taps=names)
    feeds = random_feeds(session, 2)
    found = dict(zip((info.name for info in session.outputs), session.run(feeds), strict=True))
    assert conversion.probe is not None
    known = conversion.probe(feeds, names)
    assert len(known) >= 4
    for name, array in known.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5, err_msg=name)


def test_nchw_where_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="-c2chw: the model has no input of four dimensions"):
        convert_function(tmp_path, tf.nn.relu, (None, 5), nchw=True)


def test_frozen_graphs(tmp_path: Path) -> None:
    def function(x: tf.Tensor) -> tf.Tensor:
        middle = tf.nn.relu(x * 2, name="middle")
        return tf.nn.softmax(middle)

    path = frozen_pb(tmp_path, function, (None, 5))
    whole = convert(Source(str(path), start_nodes=("data_input:0",), end_nodes=("output:0",)), SILENT)
    assert [value.name for value in whole.model.graph.inputs] == ["data_input:0"]
    assert [value.name for value in whole.model.graph.outputs] == ["output:0"]
    assert_same(whole)
    part = convert(Source(str(path), start_nodes=("middle",), end_nodes=("output",)), SILENT)
    assert [node.op_type for node in part.model.graph] == ["Softmax"]
    assert_same(part)


@pytest.mark.parametrize(
    ("starts", "ends", "said"),
    [
        ((), ("output",), "does not tell where it begins; name it with -snn; candidates: data_input:0"),
        (("data_input",), (), "does not tell where it ends; name it with -enn; candidates: output:0"),
        (
            ("data_imput:0",),
            ("output",),
            "-snn data_imput:0: model .* has no such node: did you mean 'data_input'",
        ),
        (("data_input",), ("outptu",), "-enn outptu: .* did you mean 'output'"),
    ],
)
def test_nodes_that_are_missing(
    starts: tuple[str, ...], ends: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    path = frozen_pb(tmp_path, tf.nn.relu, (None, 5))
    with pytest.raises(ConfigError, match=said):
        convert(Source(str(path), start_nodes=starts, end_nodes=ends), SILENT)


def test_input_shapes_fill_open_dimensions_alone(tmp_path: Path) -> None:
    path = frozen_pb(tmp_path, lambda x: tf.reduce_mean(x, [1, 2]), (None, None, None, 3))
    nodes = {"start_nodes": ("data_input",), "end_nodes": ("output",)}
    conversion = convert(Source(str(path), input_shapes=((2, 8, 6, 3),), **nodes), SILENT)  # type: ignore[arg-type]
    assert_same(
        conversion,
        random_feeds(Session(conversion.model), 2) | {"data_input:0": np.ones((2, 8, 6, 3), np.float32)},
    )
    conversion = convert(Source(str(path), input_shapes=((-1, 8, -1, -1),), **nodes), SILENT)  # type: ignore[arg-type]
    session = Session(conversion.model)
    assert session.inputs[0].shape == (None, 8, None, 3)
    for width in (5, 6):
        assert_same(conversion, {"data_input:0": np.ones((2, 8, width, 3), np.float32)})
    with pytest.raises(ConfigError, match=r"input data_input:0 has shape \['\?', '\?', '\?', 3\]; only"):
        convert(Source(str(path), input_shapes=((2, 8, 6, 4),), **nodes), SILENT)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="2 shapes for 1 inputs"):
        convert(Source(str(path), input_shapes=((1,), (1,)), **nodes), SILENT)  # type: ignore[arg-type]


def test_all_unsupported_operators_are_listed(tmp_path: Path) -> None:
    def function(x: tf.Tensor) -> tf.Tensor:
        return (
            tf.math.lgamma(x, name="gamma")
            + tf.math.bessel_i0e(x, name="bessel")
            + tf.math.lgamma(-x, name="again")
        )

    with pytest.raises(ModelError, match=r"BesselI0e \(bessel/BesselI0e\), Lgamma \(gamma, again\)"):
        convert_function(tmp_path, function, (None, 5))


def test_variables_are_no_constants(tmp_path: Path) -> None:
    path = frozen_pb(
        tmp_path, lambda x: x * tf.compat.v1.get_variable("w", (5,), use_resource=False), (None, 5)
    )
    with pytest.raises(
        ModelError, match=r"not frozen: it holds no values for 1 variables .*give the SavedModel"
    ):
        convert(Source(str(path), start_nodes=("data_input",), end_nodes=("output",)), SILENT)


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    path = frozen_pb(tmp_path, tf.nn.relu, (None, 5))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match="not a frozen TensorFlow graph, or cut short"):
        convert(Source(str(path)), SILENT)
    text = tmp_path / "net.prototxt"
    text.write_text('layer {\n  name: "x"\n}')
    with pytest.raises(ModelError, match="it looks like caffe: use -f caffe"):
        convert(Source(str(text)), SILENT)
    with pytest.raises(ModelError, match="no such file or folder"):
        convert(Source(str(tmp_path / "none.pb")), SILENT)
    with pytest.raises(ModelError, match=r"no SavedModel: it has no saved_model\.pb"):
        convert(Source(str(tmp_path)), SILENT)
    keras_file = tmp_path / "net.keras"
    keras_file.write_bytes(b"\x89HDF\r\n\x1a\n and nothing more")
    with pytest.raises(ModelError, match=r"net\.keras: its HDF5 data are damaged"):
        convert(Source(str(keras_file)), SILENT)


def test_saved_models_with_parts_missing(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    net().export(folder, verbose=False)
    with pytest.raises(ModelError, match="part of a SavedModel; give its folder"):
        convert(Source(str(folder / "saved_model.pb")), SILENT)
    (folder / "variables").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="its folder `variables` is missing"):
        convert(Source(str(folder)), SILENT)


def test_several_signatures(tmp_path: Path) -> None:
    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 3))])
        def first(self, x: tf.Tensor) -> tf.Tensor:
            return x * 2

        @tf.function(input_signature=[tf.TensorSpec((None, 3))])
        def second(self, x: tf.Tensor) -> tf.Tensor:
            return x * 3

    two = Two()
    tf.saved_model.save(two, tmp_path / "two", signatures={"first": two.first, "second": two.second})
    with pytest.raises(ModelError, match="which signature\\? It has first, second"):
        convert(Source(str(tmp_path / "two")), SILENT)
    tf.saved_model.save(two, tmp_path / "one", signatures={"second": two.second})
    assert_same(convert(Source(str(tmp_path / "one")), SILENT))


class Trained(tf.Module):
    """A net with its optimizer, whose slot variables are stored as those of Keras 2 are."""

    def __init__(self, optimizer: tf.compat.v1.train.Optimizer, *, shared: bool = False) -> None:
        super().__init__()
        self.weight = tf.Variable(np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2))
        self.optimizer = optimizer
        optimizer.minimize(lambda: tf.reduce_sum(self.serve(tf.ones((2, 3)))), var_list=[self.weight])
        if shared:
            self.keras_api = tf.Module()
            self.keras_api.optimizer = optimizer

    @tf.function(input_signature=[tf.TensorSpec((None, 3))])
    def serve(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x @ self.weight)


@pytest.mark.parametrize(
    ("optimizer", "shared"),
    [
        (tf.compat.v1.train.AdamOptimizer, False),
        (tf.compat.v1.train.AdagradOptimizer, True),
        (lambda rate: tf.compat.v1.train.MomentumOptimizer(rate, 0.9), True),
    ],
)
def test_the_state_of_training_is_left_out(
    optimizer: Callable[[float], tf.compat.v1.train.Optimizer], shared: bool, tmp_path: Path
) -> None:
    """Optimizers that only the Keras which stored them could load again."""
    net = Trained(optimizer(0.1), shared=shared)
    tf.saved_model.save(net, tmp_path / "net", signatures=net.serve)
    with pytest.raises(AttributeError, match="add_slot"):  # what TensorFlow says of it
        tf.saved_model.load(str(tmp_path / "net"))
    conversion = convert(Source(str(tmp_path / "net")), SILENT)
    assert_same(conversion)
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    (found,) = Session(conversion.model).run({"x": x})
    np.testing.assert_allclose(found, np.maximum(x @ net.weight.numpy(), 0), rtol=1e-5, atol=1e-6)
    assert sum(array.size for array in map(weights_of, conversion.model.graph.initializers.values())) == 6


def weights_of(value: ir.Value) -> np.ndarray:
    assert value.const_value is not None
    return value.const_value.numpy()


def test_layers_of_ones_own(tmp_path: Path) -> None:
    class Own(layers.Layer):  # type: ignore[misc]
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return x * 2

    keras.Sequential([layers.Input((3,)), Own()]).save(tmp_path / "net.keras")
    with pytest.raises(ModelError, match=r"Own.*not in the file: export the model as a SavedModel"):
        convert(Source(str(tmp_path / "net.keras")), SILENT)


def test_quantization_aware_graphs_become_qdq(tmp_path: Path) -> None:
    conversion = convert_function(
        tmp_path, lambda x: tf.quantization.fake_quant_with_min_max_args(x, -1.0, 1.0), (None, 5)
    )
    assert [node.op_type for node in conversion.model.graph] == ["QuantizeLinear", "DequantizeLinear"]
    assert_same(conversion, tolerance=0.01)


@pytest.mark.parametrize("form", ["frozen.pb", "saved_model"])
@pytest.mark.parametrize("nchw", [False, True])
def test_kit(form: str, nchw: bool, kit: Path) -> None:
    nodes = {"start_nodes": ("input:0",), "end_nodes": ("Identity:0",)} if form == "frozen.pb" else {}
    path = kit / "tf" / f"mobilenet_v1_0.25_224_{form}"
    conversion = convert(Source(str(path), nchw=nchw, **nodes), SILENT)
    assert_same(conversion, batches=(1, 2))
    twin = Session(models.load(kit / "onnx" / "mobilenet_v1_0.25_224.onnx"))
    feeds = random_feeds(twin, 1)
    (logits,), session = twin.run(feeds), Session(conversion.model)
    picture = next(iter(feeds.values()))
    (found,) = session.run({session.inputs[0].name: picture if nchw else picture.transpose(0, 2, 3, 1)})
    wanted = np.exp(logits - logits.max())
    np.testing.assert_allclose(found, wanted / wanted.sum(), atol=1e-5)
