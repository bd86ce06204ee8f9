"""Conversion in a process of its own: results, errors, crashes and what is heard of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from knight import conversion, model as models
from knight.config import QuantConfig
from knight.conversion import check_framework, convert, name_of
from knight.converters import Converter, Source
from knight.converters._worker import Request, require
from knight.errors import ConfigError, DataError, ModelError, ScriptError
from knight.executor import RunSettings
from knight.listener import Listener
from tests.small_models import conv_net


class Heard(Listener):
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def work(self, text: str) -> None:
        self.events.append(("work", text))

    def warn(self, text: str) -> None:
        self.events.append(("warn", text))

    def forward(self, done: int, total: int | None) -> None:
        self.events.append(("forward", done, total))


def test_a_request_survives_its_file() -> None:
    source = Source("net", input_shapes=((1, 3, 8, 8), (1,)), start_nodes=("a:0",), allow_pickle=True)
    request = Request("caffe", source, RunSettings(iteration=4, dataset="x"), "infer", 1e-3, 2, "out.onnx")
    assert Request.from_json(request.to_json()) == request


def test_onnx(tmp_path: Path) -> None:
    heard = Heard()
    converted = convert("onnx", Source(str(conv_net(tmp_path, batch="N"))), listener=heard)
    assert converted.error is not None and converted.error < 1e-6
    assert converted.batches == (1, 2, 5)
    assert models.opset(converted.model) == 17
    assert [kind for kind, *_ in heard.events] == ["work", "work"]


def test_the_users_data_is_compared_too(tmp_path: Path) -> None:
    script = tmp_path / "infer.py"
    script.write_text(
        "import numpy as np\n"
        "from knight import onnx_infer_func\n"
        "@onnx_infer_func.register('feed')\n"
        "def feed(executor):\n"
        "    for _ in range(executor.iteration):\n"
        "        executor.forward(np.ones((4, 3, 8, 8), np.float32))\n"
    )
    source = Source(str(conv_net(tmp_path, batch="N")), script=str(script))
    heard = Heard()
    converted = convert("onnx", source, infer="feed", settings=RunSettings(iteration=100), listener=heard)
    assert converted.samples == 6
    assert ("forward", 3, 3) in heard.events
    with pytest.raises(ScriptError, match="registers no infer function 'fed'"):
        convert("onnx", source, infer="fed")


PICTURES = """
import numpy as np
from knight import onnx_infer_func

@onnx_infer_func.register("feed")
def feed(executor):
    pictures = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8)).astype(np.{dtype})
    np.savez(executor.dataset, pictures=pictures, scores=executor.forward(pictures)[0])
"""
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 55.0)


@pytest.mark.parametrize(
    ("dtype", "asked"),
    [
        ("uint8", QuantConfig(input_dtypes=("uint8",), mean=MEAN, std=STD)),
        ("uint8", QuantConfig(input_dtypes=("uint8",))),
        ("int8", QuantConfig(input_dtypes=("int8",), mean=(3.0,), std=(2.0,))),
        ("float32", QuantConfig(mean=MEAN, std=STD)),
        ("float32", QuantConfig(input_dtypes=("None",))),
    ],
)
def test_the_users_samples_are_normalized_as_the_quantized_model_does(
    dtype: str, asked: QuantConfig, tmp_path: Path
) -> None:
    script, kept = tmp_path / "pictures.py", tmp_path / "kept.npz"
    script.write_text(PICTURES.format(dtype=dtype))
    net = conv_net(tmp_path)
    settings = RunSettings(dataset=str(kept))
    converted = convert(
        "onnx", Source(str(net), script=str(script)), infer="feed", settings=settings, config=asked
    )
    assert converted.samples == 4
    assert [value.dtype.numpy() for value in converted.model.graph.inputs] == [np.float32]  # type: ignore[union-attr]
    pictures, scores = (np.load(kept)[key] for key in ("pictures", "scores"))
    mean, std = (np.float32(numbers or other) for numbers, other in ((asked.mean, 0), (asked.std, 1)))
    shape = (-1, 1, 1) if mean.size == 3 else (1, 1, 1)
    real = (pictures.astype(np.float32) - mean.reshape(shape)) / std.reshape(shape)
    (wanted,) = ReferenceEvaluator(str(net)).run(None, {"x": real})
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_samples_of_a_type_that_nobody_asked_for_are_refused(tmp_path: Path) -> None:
    script = tmp_path / "pictures.py"
    script.write_text(PICTURES.format(dtype="uint8"))
    source = Source(str(conv_net(tmp_path)), script=str(script))
    with pytest.raises(DataError, match=r"input 'x' wants float32.*got uint8"):
        convert("onnx", source, infer="feed")
    with pytest.raises(DataError, match=r"input 'x' wants int16.*got uint8"):
        convert("onnx", source, infer="feed", config=QuantConfig(input_dtypes=("int16",)))
    with pytest.raises(ConfigError, match="--mean is given without --std"):
        convert("onnx", source, infer="feed", config=QuantConfig(mean=(1.0,)))


def test_errors_keep_their_kind_and_text(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"net\.onnx: not an ONNX file, or cut short"):
        convert("onnx", Source(str(path)))
    with pytest.raises(ConfigError, match="unknown framework 'onxn': did you mean 'onnx'"):
        convert("onxn", Source("net"))


def test_a_process_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "infer.py"
    script.write_text(
        "import os, sys\n"
        "from knight import onnx_infer_func\n"
        "@onnx_infer_func.register('die')\n"
        "def die(executor):\n"
        "    print('out of luck', file=sys.stderr, flush=True)\n"
        "    os.abort()\n"
    )
    with pytest.raises(ModelError, match="ONNX converter was stopped by SIGABRT; it said: out of luck"):
        convert("onnx", Source(str(conv_net(tmp_path)), script=str(script)), infer="die")


def test_missing_packages_name_the_extra() -> None:
    missing = Converter(
        "Caffe", "caffe", ("numpy", "no_such.module"), "Caffe", frozenset(), lambda s, k: None
    )  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigError, match=r"needs no_such.module.*pip install 'knight-quant\[caffe\]'"):
        require("caffe", missing)


@pytest.mark.parametrize(
    ("framework", "model", "name"),
    [
        ("pytorch", "resnet18", "resnet18"),
        ("pytorch", "yolov5.s", "yolov5"),
        ("caffe", "a/net.prototxt", "net"),
        ("paddle", "nets/ppyolo/__model__", "ppyolo"),
        ("tensorflow", "nets/saved", "saved"),
    ],
)
def test_names(framework: str, model: str, name: str) -> None:
    assert name_of(framework, Source(model)) == name


def test_a_folder_keeps_its_whole_name(tmp_path: Path) -> None:
    (tmp_path / "net_0.25").mkdir()
    assert name_of("tensorflow", Source(str(tmp_path / "net_0.25"))) == "net_0.25"


def test_the_wrong_framework_is_told(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text("layer {\n}")
    with pytest.raises(ModelError, match=r"is no TensorFlow model \(it looks like caffe: use -f caffe\)"):
        check_framework("tensorflow", Source(str(path)))
    check_framework("caffe", Source(str(path)))
    check_framework("pytorch", Source("registered_name"))


def test_tidied_models_keep_weights_in_a_file_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above protobuf's limit the worker writes two files, both gone when the model is used."""
    path = tmp_path / "big.onnx"
    onnx.save(
        onnx.load(conv_net(tmp_path)), path, save_as_external_data=True, location="big.data", size_threshold=0
    )
    converted = convert("onnx", Source(str(path)))
    weight = converted.model.graph.initializers["w"].const_value
    assert weight is not None and np.all(np.isfinite(weight.numpy()))
    assert conversion.TOLERANCE == 1e-3
