"""Integer inputs: the same numbers, the same outputs, said in the metadata; wrong wishes are one line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import knight
from knight import border, model as models
from knight.candidates import check_config
from knight.config import QuantConfig
from knight.errors import ConfigError
from knight.integer_inputs import fits, holds, integer_params
from knight.normalizing import LOSS_DB
from knight.observer import Observer
from knight.planner import make_plan
from knight.preparing import prepare_model
from knight.runner import Session
from knight.targets import load_target
from knight.types import QuantSpec
from tests.passes.equivalence import build, random

ORT, TX = load_target("onnxruntime"), load_target("TX5368AV200")
TARGETS = pytest.mark.parametrize("target", [ORT, TX], ids=lambda target: target.name)
IN_FLOAT = pytest.mark.parametrize(
    "target", [ORT, replace(TX, integer_normalization=False)], ids=lambda target: target.name
)
CONV = {"w": random(4, 4, 3, 3, seed=1), "b": random(4, seed=2)}
MEAN, STD = (120.0, 110.0, 100.0, 130.0), (60.0, 55.0, 50.0, 65.0)


def pictures(dtype: str = "uint8", count: int = 4, shape: Sequence[int] = (2, 4, 9, 9)) -> list[np.ndarray]:
    limits, random = np.iinfo(dtype), np.random.default_rng(7)
    return [random.integers(limits.min, int(limits.max) + 1, shape).astype(dtype) for _ in range(count)]


def normalized(picture: np.ndarray) -> np.ndarray:
    mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (MEAN, STD))
    return (picture - mean) / std


def conv_net(pads: int = 1) -> ir.Model:
    return build(
        f"c = Conv<pads = [{pads}, {pads}, {pads}, {pads}]>(x, w, b) r = Relu(c) y = Conv(r, w, b)", CONV
    )


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


# What must hold ---------------------------------------------------------------------------------------


@IN_FLOAT
@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize("method", ["min_max", "kl"])
def test_a_uint8_picture_gives_what_the_normalized_one_gives(target: object, pads: int, method: str) -> None:
    model, data = conv_net(pads), pictures()
    settings = {"target": target, "method": method}
    ours = knight.quantize(model, data, mean=MEAN, std=STD, input_dtypes=("uint8",), **settings)
    theirs = knight.quantize(model, [normalized(picture) for picture in data], **settings)
    for picture in pictures(count=6):
        np.testing.assert_array_equal(ours.run(picture)[0], theirs.run(normalized(picture))[0])
    assert ours.report["integer_operators"] == theirs.report["integer_operators"]  # a Cast is none


@pytest.mark.parametrize("target", ["onnxruntime", "TX5368AV200", "TX5101C", "generic", "tensorrt"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_integers_are_the_numbers_they_say(target: str, dtype: str) -> None:
    """Against the float model on the same numbers: a uint8 200 is 200.0."""
    model, data = conv_net(), pictures(dtype)
    result = knight.quantize(model, data, target=target, method="min_max", input_dtypes=(dtype,))
    session = Session(model)
    for picture in pictures(dtype, 6):
        (wanted,) = session.run({"x": picture.astype(np.float32)})
        (got,) = result.run(picture)
        noise = float(((got - wanted) ** 2).sum() / (wanted**2).sum())
        assert noise < 1e-3, noise
    assert result.report["sqnr_db"] > 30


def test_where_the_integers_fit_the_model_computes_with_what_it_is_fed() -> None:
    for target, dtype in ((ORT, "uint8"), (TX, "int8")):
        model = knight.quantize(conv_net(), pictures(dtype), target=target, input_dtypes=(dtype,)).model
        assert "Cast" not in [node.op_type for node in model.graph.inputs[0].consumers()]
        assert [node.op_type for node in model.graph.inputs[0].consumers()] == ["DequantizeLinear"]
        (real,) = model.graph.inputs[0].consumers()
        scale, zero = (models.constant(value) for value in real.inputs[1:])
        assert scale == 1 and zero == 0 and real.outputs[0].name == "x_float"


def with_own_cast(outputs: Sequence[str]) -> ir.Model:
    model = build("f = Cast<to = 1>(x) y = Conv(f, w, b)", CONV, outputs=("y",), infer=False)
    model.graph.inputs[0].type = ir.TensorType(ir.DataType.UINT8)
    values = {value.name: value for value in models.values(model.graph)}
    values["f"].type, values["f"].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape((2, 4, 9, 9))
    model.graph.outputs[:] = [values[name] for name in outputs]
    return model


@pytest.mark.parametrize("outputs", [("y",), ("y", "f")])
def test_a_cast_that_the_model_has_itself(outputs: Sequence[str]) -> None:
    """All of 0..255 was seen: the integers are the input's, and the Cast goes unless someone reads it."""
    data = [np.arange(648).astype(np.uint8).reshape(2, 4, 9, 9)]
    result = knight.quantize(with_own_cast(outputs), data, target=ORT, method="min_max")
    assert ("Cast" in kinds(result.model)) is ("f" in outputs)
    found = dict(zip(outputs, result.run(*data), strict=True))
    np.testing.assert_array_equal(found.get("f", data[0]), data[0])
    assert result.report["sqnr_db"] > 30


def test_a_float_reader_keeps_the_cast_and_its_numbers() -> None:
    model = build("c = Conv<pads = [1, 1, 1, 1]>(x, w, b) s = Sin(x) y = Add(c, s)", CONV)
    data = pictures()
    result = knight.quantize(model, data, target=ORT, method="min_max", input_dtypes=("uint8",))
    assert "Cast" in kinds(result.model)
    (wanted,) = Session(model).run({"x": data[0].astype(np.float32)})
    assert np.abs(result.run(data[0])[0] - wanted).max() < 0.02 * np.abs(wanted).max()


@TARGETS
def test_moving_operators_on_an_integer_input(target: object) -> None:
    model = build("m = MaxPool<kernel_shape = [2, 2]>(x) y = Conv(m, w, b)", CONV)
    data = pictures()
    result = knight.quantize(model, data, target=target, method="min_max", input_dtypes=("uint8",))
    assert result.report["sqnr_db"] > 30
    scales = {name: found["scale"] for name, found in result.report["values"].items()}
    assert scales["x_float"] == scales["m"] == (1.0 if target is ORT else 2.0)


@TARGETS
def test_several_inputs_of_different_types(target: object) -> None:
    nodes = "a = Conv(x, w, b) c = Conv(z, w, b) s = Add(a, c) y = Add(s, k)"
    dims = (1, 4, 9, 9)
    model = build(nodes, CONV, inputs={"x": dims, "z": dims, "k": (1,)})
    data = [
        (picture, other, np.ones(1, np.float32))
        for picture, other in zip(pictures(shape=dims), pictures("int8", shape=dims), strict=True)
    ]
    types = ("uint8", "int8", None)
    result = knight.quantize(model, data, target=target, method="min_max", input_dtypes=types)
    assert [entry["dtype"] for entry in result.report["inputs"]] == ["uint8", "int8", "float32"]
    assert json.loads(result.model.metadata_props[border.INPUT_DTYPES]) == {"x": "uint8", "z": "int8"}
    assert result.report["sqnr_db"] > 30
    assert result.report["arguments"]["input_dtypes"] == ["uint8", "int8", None]


def test_one_type_is_for_all_float_inputs() -> None:
    model = build("y = Add(x, z)", inputs={"x": (2, 3), "z": (2, 3)})
    assert border.types_by_input(model, ("int8",)) == {"x": "int8", "z": "int8"}
    model.graph.inputs[1].type = ir.TensorType(ir.DataType.INT64)
    assert border.types_by_input(model, ("uint8",)) == {"x": "uint8"}
    assert border.types_by_input(model, ("uint8", None)) == {"x": "uint8"}


def test_a_batch_that_may_vary() -> None:
    model = build("c = Conv<pads = [1, 1, 1, 1]>(x, w, b) y = Relu(c)", CONV, inputs={"x": ("N", 4, 9, 9)})
    options = {"mean": MEAN, "std": STD, "input_dtypes": ("uint8",), "method": "min_max"}
    dynamic = knight.quantize(model, pictures(), target=ORT, **options)
    (five,) = dynamic.run(pictures(shape=(5, 4, 9, 9))[0])
    assert five.shape == (5, 4, 9, 9)
    fixed = knight.quantize(model, pictures(shape=(4, 4, 9, 9)), target=TX, ir_batch=2, **options)
    assert list(fixed.model.graph.inputs[0].shape) == [2, 4, 9, 9]
    assert fixed.model.graph.inputs[0].dtype == ir.DataType.UINT8


def test_the_source_and_other_copies_keep_their_type() -> None:
    model = conv_net()
    before = models.to_bytes(model)
    knight.quantize(model, pictures(), target=ORT, input_dtypes=("uint8",))
    assert models.to_bytes(model) == before


def test_strict_takes_the_border_for_no_missing_operator() -> None:
    target = load_target("TX5368AV200")
    assert "Cast" not in target.integer_operators
    knight.quantize(
        conv_net(), pictures(), target=target, strict=True, mean=MEAN, std=STD, input_dtypes=("uint8",)
    )


def test_normalization_that_the_model_has_itself_stays_in_float() -> None:
    constants = {**CONV, "m": np.float32(128), "s": np.float32(0.01)}
    model = build("d = Sub(x, m) n = Mul(d, s) y = Conv(n, w, b)", constants)
    config = QuantConfig(input_dtypes=("uint8",))
    plan = make_plan(prepare_model(model, TX, config), TX)
    assert list(plan.tensors) == ["n", "y"]
    assert len(plan.float_nodes) == 2 and all("normalizes" in why for why in plan.float_nodes.values())
    without = make_plan(prepare_model(model, TX), TX)
    assert not without.float_nodes


KIT = {  # folder of pictures, side of the input, whether BGR, mean, std
    "mobilenet_v1_0.25_224.onnx": ("imagenet", 224, False, (127.5,), (127.5,)),
    "resnet20_cifar10.onnx": ("cifar10", 32, False, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "squeezenet_v1.1.onnx": ("imagenet", 227, True, (104.0, 117.0, 123.0), (1.0,)),
}


def real_pictures(folder: Path, side: int, bgr: bool, count: int) -> list[np.ndarray]:
    """Bytes [1, 3, side, side]."""
    image = pytest.importorskip("PIL.Image")
    found = []
    for path in sorted(folder.glob("*.jp*g"))[:count]:
        picture = np.asarray(image.open(path).convert("RGB").resize((side, side)))
        found.append(np.ascontiguousarray(picture[:, :, :: -1 if bgr else 1].transpose(2, 0, 1)[None]))
    assert len(found) == count
    return found


@IN_FLOAT
@pytest.mark.parametrize("name", KIT)
def test_trained_models_take_pictures_as_they_are(kit: Path, name: str, target: object) -> None:
    folder, side, bgr, mean, std = KIT[name]
    data = real_pictures(kit / "images" / folder, side, bgr, 3)
    means, stds = (np.array(numbers, np.float32)[:, None, None] for numbers in (mean, std))
    floats, path = [(picture - means) / stds for picture in data], kit / "onnx" / name
    settings = {"target": target, "method": "min_max"}
    bytes_in = {"mean": mean, "std": std, "input_dtypes": ("uint8",)}
    ours = knight.quantize(path, data[:2], **bytes_in, **settings)
    theirs = knight.quantize(path, floats[:2], **settings)
    for picture, floating in zip(data, floats, strict=True):
        np.testing.assert_array_equal(ours.run(picture)[0], theirs.run(floating)[0])


@pytest.mark.parametrize("name", KIT)
def test_trained_models_normalize_by_integers_where_the_outputs_lose_nothing(kit: Path, name: str) -> None:
    folder, side, bgr, mean, std = KIT[name]
    data = real_pictures(kit / "images" / folder, side, bgr, 3)
    settings = {"method": "min_max", "mean": mean, "std": std, "input_dtypes": ("uint8",)}
    ours = knight.quantize(kit / "onnx" / name, data, target=TX, **settings).report
    floating = replace(TX, integer_normalization=False)
    theirs = knight.quantize(kit / "onnx" / name, data, target=floating, **settings).report
    assert ours["sqnr_db"] > theirs["sqnr_db"] - LOSS_DB
    found = ours["normalization"]
    assert found["float_db"] == pytest.approx(theirs["sqnr_db"], abs=0.01)
    assert found["integers_db"] == pytest.approx(ours["sqnr_db"], abs=0.01) or found["form"] == "float"
    left = {"integers": 0, "float": theirs["float_operators"]}
    assert ours["float_operators"] == left[found["form"]]


# The grid ---------------------------------------------------------------------------------------------

UNSIGNED = QuantSpec(signed=False, symmetric=False)
SIGNED = QuantSpec()
SIGNED_OFFSET = QuantSpec(symmetric=False)
WIDE = QuantSpec(bits=16)


def seen(low: float, high: float) -> object:
    observer = Observer()
    observer.update(np.array([low, high], np.float32))
    return observer.extremes()


@pytest.mark.parametrize(
    "spec", [UNSIGNED, SIGNED_OFFSET, WIDE, SIGNED], ids=["u8", "s8 offset", "s16", "s8"]
)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_every_integer_is_exact_where_the_target_can_hold_it(spec: QuantSpec, dtype: str) -> None:
    limits = np.iinfo(dtype)
    every = np.arange(limits.min, int(limits.max) + 1)
    found = integer_params(dtype, spec, seen(0, 10))
    exact = not (spec is SIGNED and dtype == "uint8")
    assert holds(spec, dtype) is exact
    integers = np.clip(np.rint(every / found.scale) + found.zero_point, spec.qmin, spec.qmax)
    back = (integers - found.zero_point) * found.scale
    assert np.array_equal(back, every) is exact


@pytest.mark.parametrize(
    ("spec", "whole", "saw", "fitting"),
    [
        (SIGNED, (-128, 127), (-128, 127), True),
        (SIGNED, (-124, 151), (-124, 127), True),  # what is beyond was not seen
        (SIGNED, (-124, 151), (-124, 128), False),
        (SIGNED, (-124, 100), (-124, 128), True),  # statistics of more than this input
        (UNSIGNED, (0, 255), (0, 255), True),
        (UNSIGNED, (-1, 254), (-1, 254), False),
        (WIDE, (-124, 151), (-124, 151), True),
    ],
)
def test_where_whole_numbers_need_no_other_scale_than_one(
    spec: QuantSpec, whole: tuple[int, int], saw: tuple[int, int], fitting: bool
) -> None:
    assert fits(spec, [whole], seen(*saw)) is fitting


@pytest.mark.parametrize(("high", "scale"), [(0, 1), (127, 1), (128, 2), (254, 2), (255, 2)])
def test_bytes_in_symmetric_int8_are_off_by_one_at_most(high: int, scale: int) -> None:
    found = integer_params("uint8", SIGNED, seen(0, high))
    assert (found.scale, found.zero_point) == (scale, 0)
    numbers = np.arange(high + 1)
    back = np.clip(np.rint(numbers / scale), -128, 127) * scale
    assert np.abs(back - numbers).max() <= scale / 2


# Wrong wishes -----------------------------------------------------------------------------------------


def with_integer_input() -> ir.Model:
    model = build("y = Add(x, z)", inputs={"x": (2, 3), "z": (2, 3)})
    model.graph.inputs[1].type = ir.TensorType(ir.DataType.INT64)
    return model


@pytest.mark.parametrize(
    ("types", "said"),
    [
        (("uint8", "uint8"), "input 'z' is int64, and only a float32 input can have another type"),
        (("uint8", "None", "int8"), r"has 3 types, the model 2 input\(s\) \('x', 'z'\)"),
        (("float32", "float32"), "float32: input 'z' is int64"),
    ],
)
def test_types_that_do_not_fit_the_inputs(types: Sequence[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        border.types_by_input(with_integer_input(), border.wanted_types(types))


@pytest.mark.parametrize(
    ("types", "said"),
    [
        (("int16",), "-qid/--quantize-input-dtype int16: .* -b 16 is needed"),
        (("unt8",), "unknown type 'unt8': did you mean 'uint8'"),
        ("int32", "unknown type 'int32'"),
    ],
)
def test_types_that_no_model_takes(types: Sequence[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_config(QuantConfig(input_dtypes=types), ORT)
    assert border.wanted_types(("int16",), 16) == ("int16",)


def test_no_float_input_at_all() -> None:
    model = with_integer_input()
    model.graph.inputs[0].type = ir.TensorType(ir.DataType.INT64)
    with pytest.raises(ConfigError, match="has no float32 input"):
        border.types_by_input(model, ("uint8",))
    assert border.types_by_input(model, border.wanted_types(("None",))) == {}


def test_an_input_that_is_an_output() -> None:
    model = build("r = Conv(x, w, b)", CONV, outputs=("r",))
    model.graph.outputs.append(model.graph.inputs[0])
    with pytest.raises(ConfigError, match="input 'x' is an output of the model as well"):
        border.set_types(model, {"x": "uint8"})


def test_float32_changes_nothing_but_the_record() -> None:
    data = [picture.astype(np.float32) for picture in pictures()]
    plain = knight.quantize(conv_net(), data, target=ORT)
    asked = knight.quantize(conv_net(), data, target=ORT, input_dtypes="float32")
    assert asked.model.metadata_props.pop(border.INPUT_DTYPES) == '{"x": "float32"}'
    assert models.to_bytes(asked.model) == models.to_bytes(plain.model)


# Beside the quantized model ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("types", "said"),
    [((), None), (("uint8",), None), ((None,), None), (("float32",), "input 'x' of the model takes uint8")],
)
def test_infer_knows_the_type_of_the_model(types: Sequence[str | None], said: str | None) -> None:
    model = knight.quantize(conv_net(), pictures(), target=ORT, input_dtypes=("uint8",)).model
    if said is None:
        border.check_types(model, types)
        return
    with pytest.raises(ConfigError, match=said):
        border.check_types(model, types)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_float_model_can_be_fed_like_the_quantized_one(dtype: str) -> None:
    source, data = conv_net(), [picture.astype(dtype) for picture in pictures()]
    result = knight.quantize(source, data, target=ORT, mean=MEAN, std=STD, input_dtypes=(dtype,))
    twin = border.fed_like(source, result.model)
    for picture in data:
        (wanted,) = Session(source).run({"x": normalized(picture)})
        np.testing.assert_allclose(Session(twin).run({"x": picture})[0], wanted, atol=1e-5)
    assert border.fed_like(twin, result.model) is twin
    assert border.fed_like(source, source) is source


# Outputs ----------------------------------------------------------------------------------------------


def test_outputs_are_real_numbers_where_asked() -> None:
    data = [picture.astype(np.float32) for picture in pictures()]
    fixed, real = (
        knight.quantize(conv_net(), data, target=TX, output_dequant=wish, method="min_max")
        for wish in (False, True)
    )
    assert [output["scale"] is None for output in fixed.report["outputs"]] == [False]
    assert [output["scale"] is None for output in real.report["outputs"]] == [True]
    assert list(itertools.islice(reversed(kinds(real.model)), 1)) == ["DequantizeLinear"]
    (numbers,) = Session(real.model).run({"x": data[0]})
    np.testing.assert_allclose(numbers, fixed.run(data[0])[0], rtol=1e-6)


class Hearing(knight.Listener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def detail(self, text: str) -> None:
        self.heard.append(text)


@pytest.mark.parametrize(
    ("nodes", "chip", "said"),
    [
        (
            "c = Conv(x, w, b) y = Softmax(c)",
            "TX5105C",
            "output y stays as it is: Softmax is a software layer",
        ),
        ("c = Conv(x, w, b) y = Relu(c)", "TX5368AV200", None),
    ],
)
def test_outputs_that_od_does_nothing_to(nodes: str, chip: str, said: str | None) -> None:
    listener = Hearing()
    data = [picture.astype(np.float32) for picture in pictures()]
    options: Mapping[str, object] = {"output_dequant": True, "listener": listener}
    result = knight.quantize(build(nodes, CONV), data, target=chip, **options)
    assert [line for line in listener.heard if "stays as it is" in line] == ([said] if said else [])
    assert border.INPUT_DTYPES not in result.model.metadata_props


def test_indices_stay_indices() -> None:
    model = build("c = Conv(x, w, b) y = ArgMax<axis = 1>(c)", CONV, infer=False)
    model.graph.outputs[0].type = ir.TensorType(ir.DataType.INT64)
    listener = Hearing()
    data = [picture.astype(np.float32) for picture in pictures()]
    result = knight.quantize(model, data, target=TX, output_dequant=True, listener=listener)
    assert "output y stays as it is: ArgMax makes indices" in listener.heard
    assert result.run(data[0])[0].dtype == np.int64
