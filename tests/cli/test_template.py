"""``knight template``: what it prints works at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import helper

from knight.cli._compare_flags import compare_flags
from knight.cli._flags import CONVERT, INFER, QUANT
from knight.cli._run_config import ELSEWHERE, read_section
from knight.cli._schema import input_config
from knight.errors import ConfigError
from knight.targets import load_target
from knight.tasks import _config
from tests import small_models

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    from knight.cli._templates import schema as printed

    document: dict[str, Any] = json.loads(printed())
    return document


def pictures(folder: str = "pictures", count: int = 3) -> None:
    image = pytest.importorskip("PIL.Image")
    Path(folder).mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 10, 3), dtype=np.uint8)
        image.fromarray(pixels).save(Path(folder) / f"{number}.png")


def shaped(shape: Sequence[Any], outputs: Sequence[Sequence[Any]], name: str = "net") -> Path:
    """A model of inputs and outputs alone: what a template looks at."""
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)]
    found = [
        helper.make_tensor_value_info(f"y{number}", onnx.TensorProto.FLOAT, output)
        for number, output in enumerate(outputs)
    ]
    nodes = [helper.make_node("Identity", ["x"], [value.name]) for value in found]
    path = Path(f"{name}.onnx")
    graph = helper.make_graph(nodes, name, inputs, found)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


# script -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (small_models.conv_net, ()),
        (lambda folder: small_models.conv_net(folder, batch="N"), ("-bs", 3)),
        (small_models.two_inputs, ()),
        (small_models.integer_input, ()),
        (lambda folder: small_models.conv_net(folder, name='1 odd-"name"'), ()),
    ],
)
def test_a_script_quantizes_at_once(
    run: Run, tmp_path: Path, make: Callable[[Path], Path], words: tuple[object, ...]
) -> None:
    path = make(tmp_path)
    shown = run("template", "script", "-m", path)
    assert shown.exit_code == 0, shown.output
    Path("feed.py").write_text(shown.stdout, "utf-8")
    name = shown.stdout.split('register("')[1].split('"')[0]
    chip = ("--chip", "onnxruntime")
    result = run(
        *chip, "quant", "-m", path, "-uds", "feed.py", "-if", name, "-i", 2, "--save-dir", "out", *words
    )
    assert result.exit_code == 0, result.output
    (report,) = Path("out").glob("*_report.json")
    assert json.loads(report.read_text())["samples"] == 2 * (words[1] if words else 1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (small_models.string_input, "input 'words' is of type"),
        (small_models.sequence_input, "input 'items' is of type"),
        (small_models.no_input, "has no inputs"),
    ],
)
def test_no_script_for_what_is_no_array(
    run: Run, tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    result = run("template", "script", "-m", make(tmp_path))
    assert result.exit_code == 2 and said in result.stderr and result.stderr.count("\n") == 1, result.output


# run-config ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        small_models.conv_net,
        lambda folder: small_models.conv_net(folder, batch="N"),
        small_models.two_inputs,
        small_models.integer_input,
    ],
)
def test_a_run_config_builds_at_once(
    run: Run, tmp_path: Path, make: Callable[[Path], Path], schema: dict[str, Any]
) -> None:
    made = run("template", "run-config", "-m", make(tmp_path).name, "-o", "rc.json")
    assert made.exit_code == 0 and "Written: rc.json" in made.stdout, made.output
    document = json.loads(Path("rc.json").read_text())
    jsonschema.validate(document, schema)
    pictures()
    result = run("build", "-rc", "rc.json")
    assert result.exit_code == 0, result.output
    if "input-configs" in document["quant"]:
        assert "Quantization Loss" in result.stdout and "3 samples" in result.stdout
    assert Path("out/compare").is_dir()


@pytest.mark.parametrize(
    ("shape", "outputs", "function", "entry"),
    [
        ((1, 3, 224, 224), [(1, 1000)], "infer_default", {"preset": "imagenet-torch", "calculate_acc": True}),
        (("N", 3, 224, 224), [("N", 1000, 1, 1)], "infer_default", {"preset": "imagenet-torch"}),
        ((1, 3, 32, 32), [(1, 10)], "infer_default", {"preset": "cifar10", "calculate_acc": True}),
        ((1, 1, 28, 28), [(1, 10)], "infer_default", {"preset": "mnist", "calculate_acc": True}),
        ((1, 3, 640, 640), [(1, 25200, 85)], "infer_default", {"preset": "yolov5", "is_yolo": True}),
        (("N", 3, 640, 640), [("N", 84, 8400)], "infer_default", {"preset": "yolov8", "is_yolo": True}),
        ((1, 3, 352, 352), [(1, 85, 22, 22)], "infer_default", {"preset": "fastestdet", "is_yolo": True}),
        ((1, 3, 240, 320), [(1, 4420, 2), (1, 4420, 4)], "infer_default", {"preset": "ultra-light-face"}),
        (
            (1, 3, 240, 320),
            [(1, 4420, 21), (1, 4420, 4)],
            "infer_default",
            {"decoder": "ssd", "is_yolo": True},
        ),
        ((1, 3, 800, 800), [(1, 100, 92), (1, 100, 4)], "infer_default", {}),  # two decoders read these
        ((1, 3, 256, 256), [(1, 21, 256, 256)], "infer_segmentation", {"color_space": "RGB"}),
        ((1, 3, 256, 256), [(1, 19, 64, 64)], "infer_segmentation", {"color_space": "RGB"}),
        ((1, 1, 64, 64), [(1, 1, 192, 192)], "infer_super_resolution", {"color_space": "GRAY"}),
        ((1, 3, 256, 256), [(1, "n", 6)], "infer_default", {"color_space": "RGB", "calculate_acc": False}),
        ((1, 16), [(1, 4)], "infer_auto", None),
        ((1, 3, "h", "w"), [(1, 10)], "infer_auto", None),
        ((1, 7, 32, 32), [(1, 10)], "infer_auto", None),
    ],
)
def test_the_task_is_told_by_the_shapes(
    run: Run,
    shape: tuple[Any, ...],
    outputs: list[tuple[Any, ...]],
    function: str,
    entry: dict[str, Any] | None,
    schema: dict[str, Any],
) -> None:
    result = run("template", "run-config", "-m", shaped(shape, outputs))
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    jsonschema.validate(document, schema)
    quant = document["quant"]
    assert quant["infer-func"] == function
    if entry is None:
        assert "input-configs" not in quant
        return
    (found,) = quant["input-configs"]
    assert found["data_dir"] == "pictures" and {**found, **entry} == found
    if function == "infer_default":
        _config.read_configs([found])


def test_detectors_of_the_kit(run: Run, kit: Path) -> None:
    for name, preset in (
        ("fastestdet_fruits_512", "fastestdet"),
        ("nanodet_m_416", "nanodet"),
        ("version-RFB-320", "ultra-light-face"),
    ):
        shown = run("template", "run-config", "-m", kit / "onnx" / f"{name}.onnx")
        (entry,) = json.loads(shown.stdout)["quant"]["input-configs"]
        assert (entry["preset"], entry["is_yolo"]) == (preset, True)


# chip ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uncommented", [False, True])
def test_a_chip_file_quantizes_at_once(run: Run, tmp_path: Path, uncommented: bool) -> None:
    made = run("template", "chip", "-m", small_models.conv_net(tmp_path), "-o", "my_chip.toml")
    assert made.exit_code == 0, made.output
    path = Path("my_chip.toml")
    if uncommented:
        head, *rest = path.read_text("utf-8").split("\n\n")
        lines = [line.removeprefix("# ") for part in rest for line in part.splitlines()]
        path.write_text("\n".join([head, *lines]), "utf-8")
    target = load_target(str(path))
    assert target.schemes[0].activation_signed and target.schemes[0].weight_per_channel
    result = run("--chip", "./my_chip.toml", "quant", "-m", "net.onnx", "--save-dir", "out")
    assert result.exit_code == 0 and Path("out/net_quantize.onnx").exists(), result.output


# -o, and what is wrong ------------------------------------------------------------------------------------


def test_an_existing_file_is_never_overwritten(run: Run) -> None:
    Path("mine.toml").write_text("mine")
    result = run("template", "chip", "-o", "mine.toml")
    assert result.exit_code == 1 and "mine.toml is there already" in result.stderr, result.output
    assert Path("mine.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scrpt",), "unknown template 'scrpt': did you mean 'script'"),
        (("runconfig",), "unknown template 'runconfig': did you mean 'run-config'"),
        (("script",), "-m/--model is missing"),
        (("run-config",), "-m/--model is missing"),
        (("chip", "--schema"), "--schema is for run-config"),
        (("script", "-m", "gone.onnx"), "gone.onnx"),
    ],
)
def test_mistakes_in_one_line(run: Run, words: tuple[str, ...], said: str) -> None:
    result = run("template", *words)
    assert result.exit_code in (1, 2) and said in result.stderr, result.output
    assert result.stderr.count("\n") == 1 and not result.stdout


# the schema -----------------------------------------------------------------------------------------------

DOCUMENTED = {
    "chip": "TX5368AV200",
    "quant": {
        "model": "net.onnx",
        "framework": "onnx",
        "infer-func": "infer_common.infer_default",
        "bit-width": 8,
        "iteration": 500,
        "batch-size": "1",
        "percent": 0.99999,
        "log-level": 3,
        "quant-mode": "min_max",
        "run-mode": "quant",
        "save-dir": "/tmp/out",
        "user-defined-script": "infer_common.py",
        "output-name": ["a", "b"],
        "output-dequant": False,
        "input-shapes": [1, 3, 224, 224],
        "mean": "123.675 116.28 103.53",
        "std": [58.395, 57.12, 57.375],
        "input-configs": [
            {
                "data_dir": "pictures",
                "label_dir": "",
                "is_yolo": True,
                "color_space": "RGB",
                "augment": False,
                "mean": [0, 0, 0],
                "std": "255",
                "calculate_acc": True,
                "draw_box": False,
                "max_det": 300,
                "anchors": [[10, 13, 16, 30], [[30, 61], [62, 45]]],
                "nc": 2,
                "conf_thres": 0.001,
                "iou_thres": 0.6,
                "names": {"0": "cat", "1": "dog"},
            }
        ],
    },
    "compile": {"save-dir": "x"},
    "run": {},
    "profiling": {"any": [1]},
    "demo": {},
    "build": {"disable-compare": False, "disable-model-check": True},
}


def test_the_schema_is_valid_and_takes_what_is_documented(run: Run) -> None:
    shown = run("template", "run-config", "--schema")
    assert shown.exit_code == 0, shown.output
    schema = json.loads(shown.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    jsonschema.Draft202012Validator(schema).validate(DOCUMENTED)


@pytest.mark.parametrize(
    "path",
    [
        ("cmpile",),
        ("quant", "bit-wdth"),
        ("compare", "srt"),
        ("quant", "run-config"),
        ("build", "disable"),
        ("quant", "input-configs", 0, "datadir"),
    ],
)
def test_the_schema_refuses_unknown_keys(schema: dict[str, Any], path: tuple[Any, ...]) -> None:
    document: dict[str, Any] = json.loads(json.dumps(DOCUMENTED | {"compare": {}}))
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = {}
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(document))
    assert len(errors) == 1 and path[-1] in errors[0].message


def test_entries_of_other_functions_have_keys_of_their_own(schema: dict[str, Any]) -> None:
    quant = {"infer-func": "infer_segmentation", "input-configs": [{"data_dir": "x", "ignore": 255}]}
    jsonschema.validate({"quant": quant}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"quant": quant | {"infer-func": "infer_default"}}, schema)


def test_the_schema_has_every_key_that_is_read(schema: dict[str, Any]) -> None:
    tables = {"quant": QUANT, "compare": compare_flags(), "infer": INFER, "convert": CONVERT}
    for name, flags in tables.items():
        keys = {flag.key.replace("_", "-") for flag in flags} - {"run-config"}
        assert set(schema["properties"][name]["properties"]) == keys
    assert set(input_config()["properties"]) == set(_config.keys())
    assert set(schema["properties"]) == {"chip", "build", *tables, *ELSEWHERE}


SAMPLES: tuple[Any, ...] = (
    *(True, "true", "yes", 0, 1, 2.5, -3, 300, "2", "1.5", "many", "", [], [1, "2"], ["a"], {}, {"0": "a"}),
    *({"a": "b"}, [[1, 2]], [[1, [2, 3]]], "RGB", "gray", "Image", "bin", "uint8", "crop", "AREA", "yolov5"),
)
LOOSER = {
    *("anchors", "names", "mean", "std"),  # what lies inside is checked when it is read
    *("max_det", "nc", "shorter", "fill", "padding_constant_value", "conf_thres", "iou_thres"),
}
"""Keys whose schema may accept what is refused when it is read: bounds of numbers that are texts."""


@pytest.mark.parametrize("key", sorted(set(_config.keys()) - {"data_dir"}))
def test_entries_agree_with_their_reader(key: str) -> None:
    validator = jsonschema.Draft202012Validator(input_config())
    rest: dict[str, Any] = {"data_dir": "x", "is_yolo": True}
    if key in _config.NEWER:
        rest = {"data_dir": "x", "input_name": "x", "quant_data_format": "Image"}
    if key in ("mean", "std", "quantize_input_dtype"):
        rest |= {"mean": [1], "std": [1]}
    for value in SAMPLES:
        entry = rest | {key: value}
        try:
            _config.read_configs([entry])
            read = True
        except ConfigError:
            read = False
        valid = validator.is_valid(entry)
        assert valid == read or (valid and key in LOOSER) or _only_spelling(value, key), (entry, read, valid)


def _only_spelling(value: Any, key: str) -> bool:
    """The reader takes any case of a name; the schema's own and the lower one."""
    return isinstance(value, str) and value.isupper() and key in ("interpolation", "resize")


FLAG_SAMPLES: tuple[Any, ...] = (
    *(True, False, 1, 8, "8", 2.5, "kl", "", [], [1], ["kl", "mse"], [2.5, "3"], {}, [[1, 3], [1, 2]]),
    *([{"data_dir": "x"}], "1 3 8 8", "no", 1.5e300, None, [None], [[]]),
)


@pytest.mark.parametrize("name", ["quant", "compare", "infer", "convert"])
def test_sections_agree_with_their_reader(name: str, schema: dict[str, Any]) -> None:
    """What is read is accepted; and what the schema accepts is read, but for texts."""
    flags = {"quant": QUANT, "compare": compare_flags(), "infer": INFER, "convert": CONVERT}[name]
    section = {"$defs": schema["$defs"], **schema["properties"][name]}
    validator = jsonschema.Draft202012Validator(section)
    for flag in flags:
        if flag.key == "run_config" or flag.choices:
            continue
        for value in FLAG_SAMPLES:
            values = {flag.key.replace("_", "-"): value}
            try:
                read_section(json.dumps({name: values}), name, flags)
                read = True
            except ConfigError:
                read = False
            valid = validator.is_valid(values)
            if flag.key == "input_configs":
                assert not (isinstance(value, list) and valid) or read
                continue
            texts = isinstance(value, str) or (isinstance(value, list) and flag.kind is str)
            odd = flag.kind is bool or (flag.kind is str and isinstance(value, (int, float)))
            assert valid == read or texts or odd, (name, values, read, valid)
