"""``knight compare``: from models and from dump folders, what it prints, writes and refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import helper

import knight.compare
from knight.cli import _comparison, knight as command
from tests import exact, small_models
from tests.compare._samples import sample_comparison

Run = Callable[..., Result]
SCHEMA = json.loads(Path(knight.compare.__file__).with_name("compare_schema.json").read_text("utf-8"))
OUTPUTS = ["x", "relu", "pool", "flat", "scores"]
ITERATIONS = 3


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx, infer.py, and out/ with the quantized model and a dump of three forward calls."""
    folder = tmp_path_factory.mktemp("good")
    small_models.conv_net(folder)
    small_models.script(folder)
    words = ["-m", folder / "net.onnx", "-uds", folder / "infer.py", "-if", "infer_net", "-du"]
    words += ["-i", ITERATIONS, "--save-dir", folder / "out"]
    result = CliRunner().invoke(command, ["quant", *map(str, words)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def direct(run: Run, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``knight compare`` on the two models but for `words`, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def compare(*words: object) -> Result:
        usual = {
            "-m": good / "net.onnx",
            "-q": good / "out" / "net_quantize.onnx",
            "-uds": good / "infer.py",
            "-if": "infer_net",
        }
        given = [item for name, value in usual.items() if name not in words for item in (name, value)]
        return run("compare", *given, *words)

    return compare


@pytest.fixture
def dumped(run: Run, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``knight compare`` on the dump, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: run("compare", "-qd", good / "out" / "dump", *words)


def refusal(result: Result, code: int) -> str:
    """The one line of a run that failed with this code."""
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("knight: error: "), result.stderr
    assert "error: unexpected" not in lines[0] and "Traceback" not in result.output
    return lines[0]


def table(result: Result) -> list[list[str]]:
    """Header and rows of the (first) table on the screen."""
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("index |"))
    rows = [lines[start]]
    for line in lines[start + 2 :]:
        if " | " not in line:
            break
        rows.append(line)
    return [[cell.strip() for cell in row.split(" | ")] for row in rows]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# what is printed


def test_the_table_is_in_graph_order_with_the_input_first(direct: Run) -> None:
    header, *rows = table(direct("-i", ITERATIONS))
    documented = ["index", "MRE(%)", "cos(%)", "0-1", "1-10", "10-50", "50-100", "100+"]
    assert header[: len(documented)] == documented and header[-2:] == ["OP-TYPE", "OUT-NAME"]
    assert "own SQNR(dB)" in header
    assert [row[0] for row in rows] == list("01234")
    assert rows[0][-2:] == ["Input", "x"] and [row[-1] for row in rows] == OUTPUTS


def test_dumps_and_models_give_the_same_figures(direct: Run, dumped: Run, tmp_path: Path) -> None:
    for compare, words in (
        (direct, ("-i", ITERATIONS, "--json", "models.json")),
        (dumped, ("--json", "d.json")),
    ):
        assert compare(*words).exit_code == 0
    models, dumps = (json.loads((tmp_path / name).read_text()) for name in ("models.json", "d.json"))
    for one, other in zip(models["layers"], dumps["layers"], strict=True):
        assert [one[key] for key in ("index", "op_type", "output")] == [
            other[key] for key in ("index", "op_type", "output")
        ]
        for key in ("cos", "mre", "rmse", "accumulated_sqnr"):
            assert one[key] == pytest.approx(other[key], rel=1e-6), (one["output"], key)
        assert other["own_sqnr"] is None and one["own_sqnr"] is not None


def test_figures_are_those_of_the_formulas(dumped: Run, good: Path, tmp_path: Path) -> None:
    assert dumped("--json", "d.json").exit_code == 0
    for layer in json.loads((tmp_path / "d.json").read_text())["layers"]:
        left, right = (load(good, half, layer["output"]) for half in ("float", "quant"))
        assert layer["mre"] == pytest.approx(np.abs(right - left).sum() / np.abs(left).sum(), rel=1e-6)
        cosine = left @ right / np.sqrt((left @ left) * (right @ right))
        assert layer["cos"] == pytest.approx(0.5 + 0.5 * cosine, rel=1e-6)


def load(good: Path, half: str, output: str) -> np.ndarray:
    """All elements of an output in the dump, call by call, in float64."""
    (folder,) = (good / "out" / "dump" / half).glob(f"*_{output}")
    arrays = [np.load(folder / f"batch_{number}.npy") for number in range(ITERATIONS)]
    return np.concatenate([array.reshape(-1) for array in arrays]).astype(np.float64)


@pytest.mark.parametrize(
    ("words", "there", "missing"),
    [
        (("--no-mre",), {"cos(%)"}, {"MRE(%)"}),
        (("--no-cos",), {"MRE(%)"}, {"cos(%)"}),
        (("--rmse",), {"RMSE(%)"}, {"max abs"}),
        (("--maxdiff",), {"max rel(%)", "max abs"}, {"RMSE(%)"}),
        (("--bias",), {"r>l(%)", "r<l(%)"}, {"RMSE(%)"}),
        ((), {"MRE(%)", "cos(%)"}, {"RMSE(%)", "max abs", "r>l(%)", "own SQNR(dB)"}),
    ],
)
def test_columns(dumped: Run, words: tuple[str, ...], there: set[str], missing: set[str]) -> None:
    header = set(table(dumped(*words))[0])
    assert there <= header and not missing & header


def test_rows(dumped: Run) -> None:
    assert [row[-1] for row in table(dumped("--op-type", "conv,Gemm"))[1:]] == ["relu", "scores"]
    assert [row[0] for row in table(dumped("--index-range", "0-1,3"))[1:]] == ["0", "1", "3"]
    mre = [float(row[1]) for row in table(dumped("--sort", "mre"))[1:]]
    assert mre == sorted(mre, reverse=True) and len(set(mre)) > 1
    cos = [float(row[2]) for row in table(dumped("--sort", "cos"))[1:]]
    assert cos == sorted(cos)


# one output


def elements(result: Result) -> list[tuple[tuple[int, ...], float, float]]:
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.stdout.splitlines() if line.startswith("  [")]
    found = []
    for line in lines:
        place, _, rest = line.partition("]: ")
        one, other, _ = rest.split(", ")
        found.append((tuple(map(int, place[1:].split(","))), float(one), float(other)))
    return found


@pytest.fixture
def relu(good: Path) -> tuple[np.ndarray, np.ndarray]:
    """The output of Relu in the first forward call, float and quantized."""
    left, right = (
        np.load(next((good / "out" / "dump" / half).glob("*_relu")) / "batch_0.npy")
        for half in ("float", "quant")
    )
    return left, right


@pytest.mark.parametrize("source", ["direct", "dumped"])
def test_elements_from_an_index_on(
    request: pytest.FixtureRequest, source: str, relu: tuple[np.ndarray, np.ndarray]
) -> None:
    compare = request.getfixturevalue(source)
    found = elements(compare("-on", "relu", "-sl", 0, "-sn", 7, "-si", 40))
    places = [np.unravel_index(place, relu[0].shape) for place in range(40, 47)]
    assert [place for place, _, _ in found] == [tuple(map(int, place)) for place in places]
    for place, one, other in found:
        assert (one, other) == pytest.approx((relu[0][place], relu[1][place]), rel=1e-5)


def test_the_largest_errors_come_first(dumped: Run, relu: tuple[np.ndarray, np.ndarray]) -> None:
    difference = np.abs(relu[1] - relu[0])
    found = [difference[place] for place, _, _ in elements(dumped("-on", "relu"))]
    assert found == pytest.approx(np.sort(difference.reshape(-1))[::-1][:10])


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_elements_of_a_band(dumped: Run, relu: tuple[np.ndarray, np.ndarray], level: int) -> None:
    left, right = relu
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(left == right, 0, np.abs(right - left) / np.abs(left))
    edges = [-np.inf, 0.01, 0.1, 0.5, 1.0, np.inf]
    inside = (relative >= edges[level - 1]) & ((relative < edges[level]) | (level == 5))
    found = elements(dumped("-on", "relu", "-sl", level, "-sn", left.size))
    assert [place for place, _, _ in found] == [tuple(map(int, place)) for place in np.argwhere(inside)]


def test_an_output_is_called_by_its_name_in_the_quantized_model_too(direct: Run) -> None:
    assert direct("--json", "all.json").exit_code == 0
    layer = json.loads(Path("all.json").read_text())["layers"][1]
    assert layer["quantized_output"] != layer["output"] == "relu"
    by_one, by_other = (elements(direct("-on", layer[key])) for key in ("output", "quantized_output"))
    assert by_one and by_one == by_other


def test_details_without_an_output_are_said_to_do_nothing(dumped: Run) -> None:
    result = dumped("-sn", 3)
    assert result.exit_code == 0 and "warning: no effect without -on: -sn/--show-number" in result.stdout


# files


def test_files_where_they_are_asked_for(direct: Run, tmp_path: Path) -> None:
    words = [word for kind in ("html", "json", "csv", "junit") for word in (f"--{kind}", f"deep/r.{kind}")]
    result = direct(*words)
    assert result.exit_code == 0, result.output
    assert files(tmp_path / "deep") == {"r.html", "r.json", "r.csv", "r.junit"}
    assert [f"Written          : deep/r.{kind}" in result.stdout for kind in ("html", "json", "csv", "junit")]
    document = json.loads((tmp_path / "deep" / "r.json").read_text("utf-8"))
    jsonschema.validate(document, SCHEMA)
    assert [layer["output"] for layer in document["layers"]] == OUTPUTS
    rows = (tmp_path / "deep" / "r.csv").read_bytes().split(b"\r\n")
    assert rows[0].startswith(b"index,op_type,output,") and len(rows) == len(OUTPUTS) + 2
    assert ElementTree.parse(tmp_path / "deep" / "r.junit").getroot().tag in ("testsuites", "testsuite")
    assert (tmp_path / "deep" / "r.html").read_text("utf-8").lstrip().lower().startswith("<!doctype html>")


def test_a_folder_takes_the_report_and_the_plots(direct: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = direct("--save-dir", "cmp", "--show-plot", "-sh", "hist", "-on", "relu")
    assert result.exit_code == 0, result.output
    named = {f"net_quantize_compare.{kind}" for kind in ("html", "json", "csv")}
    plots = {"plot_result.png", "plot_out_name_idx.txt", "hist_0001.png"}
    assert files(tmp_path / "cmp") - {"mix_config.json"} == named | plots
    for name in ("plot_result.png", "hist_0001.png"):
        assert (tmp_path / "cmp" / name).read_bytes().startswith(b"\x89PNG")


def test_a_mixed_precision_file_where_there_is_one_to_suggest(tmp_path: Path) -> None:
    comparison = replace(sample_comparison(3), mixed_precision=[{"op_name": "relu", "bit_width": 16}])
    values = dict.fromkeys(("html", "json", "csv", "junit", "show", "show_plot")) | {
        "save_dir": str(tmp_path)
    }
    assert tmp_path / "mix_config.json" in list(_comparison.write(comparison, (), None, values))
    assert json.loads((tmp_path / "mix_config.json").read_text()) == [{"op_name": "relu", "bit_width": 16}]


def test_histograms_of_the_worst_layers(direct: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert direct("-sh", "hist").exit_code == 0
    assert files(tmp_path) == {f"hist_{index:04d}.png" for index in range(len(OUTPUTS))}


def test_several_folders_give_a_table_and_a_report_each(dumped: Run, good: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(good / "out" / "dump")
    result = dumped("-sd", "one/quant:two/float", "--save-dir", "cmp", "--show-plot", "--rmse")
    assert result.exit_code == 0, result.output
    tables = result.stdout.split("index | ")[1:]
    assert len(tables) == 2
    reports = [json.loads(path.read_text()) for path in sorted((tmp_path / "cmp").rglob("*.json"))]
    assert [report["layers"][1]["mre"] == 0 for report in reports] in ([False, True], [True, False])
    assert len(files(tmp_path / "cmp")) == 2 * 5, "the reports must not replace each other"


def test_folders_of_one_name_keep_their_files_apart(dumped: Run, good: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(good / "out" / "dump")
    assert dumped("-sd", "one/quant:two/quant", "--save-dir", "cmp").exit_code == 0
    assert {path.parent.name for path in (tmp_path / "cmp").rglob("*.json")} == {"one_quant", "two_quant"}


def test_a_dump_as_second_folder_stands_for_its_quantized_half(dumped: Run, good: Path) -> None:
    whole, half = (dumped("-sd", good / "out" / place) for place in ("dump", "dump/quant"))
    assert table(whole) == table(half)


# thresholds


def test_thresholds_that_are_kept(direct: Run) -> None:
    words = ("--fail-under-cos", 0.9, "--fail-over-loss", 1, "--fail-under-sqnr", 10)
    result = direct(*words)
    assert result.exit_code == 0, result.output
    passes = [line for line in result.stdout.splitlines() if line.startswith("PASS ")]
    assert [line.split()[1].rstrip(":") for line in passes] == [
        "fail-under-cos",
        "fail-under-sqnr",
        "fail-over-loss",
    ]


@pytest.mark.parametrize(
    "words", [("--fail-under-cos", 99.99999), ("--fail-under-sqnr", 90), ("--fail-under-cos", "1")]
)
def test_a_threshold_that_is_not_kept(direct: Run, tmp_path: Path, words: tuple[str, object]) -> None:
    result = direct(*words, "--json", "a.json", "--junit", "a.xml")
    assert refusal(result, 3).removeprefix("knight: error: ") in result.stdout
    assert f"FAIL {words[0].lstrip('-')}: " in result.stdout
    jsonschema.validate(json.loads((tmp_path / "a.json").read_text()), SCHEMA)
    assert "failure" in (tmp_path / "a.xml").read_text()


def test_a_loss_that_nobody_knows_is_no_pass(direct: Run, tmp_path: Path) -> None:
    script = small_models.script(
        tmp_path, "executor.forward(np.ones((1, 3, 8, 8), np.float32))", file="no.py"
    )
    line = refusal(direct("-uds", script, "--fail-over-loss", 5), 3)
    assert "the infer function returned no number" in line


# mistakes in the options: found before anything runs


NEVER = 'raise AssertionError("the infer function must not run")'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-sn", 0), "-sn/--show-number is 0; it has to be at least 1"),
        (("-sn", -3), "-sn/--show-number is -3"),
        (("-si", -1), "-si/--show-index is -1; it has to be at least 0"),
        (("-sl", 7), "-sl/--show-level: unknown value '7': known: 0, 1, 2, 3, 4, 5, 6"),
        (("-sl", "two"), "'two'"),
        (("-sh", "hits"), "-sh/--show: unknown value 'hits': did you mean 'hist'?"),
        (("-on", "relux"), "-on/--output-name: no output 'relux' in this comparison; did you mean 'relu'?"),
        (("--sort", "cso"), "cannot sort by 'cso': did you mean 'cos'?"),
        (("--index-range", "a-b"), "index range 'a-b' in 'a-b' is not of the form 3 or 0-7"),
        (("--index-range", "0,,2"), "index range '' in '0,,2'"),
        (("--index-range", "3-1"), "runs backwards; write 1-3"),
        (("--index-range", "2-5"), "index range '2-5' is outside the layers, which are 0 to 4"),
        (("--op-type", "Cnov"), "no layer is of type 'Cnov': did you mean 'Conv'?"),
        (
            ("--op-type", "Conv", "--index-range", "0"),
            "no layer is both of --op-type Conv and in --index-range 0",
        ),
        (("--fail-under-cos", 101), "--fail-under-cos is 101.0"),
        (("--fail-under-cos", -0.5), "--fail-under-cos is -0.5"),
        (("--fail-under-cos", "nan"), "--fail-under-cos is nan"),
        (("--fail-under-sqnr", "inf"), "--fail-under-sqnr is inf"),
        (("--fail-under-sqnr", "much"), "'much'"),
        (("--csv", "a", "--json", "a"), "a: is the file of --json too"),
        (("--csv", ""), "--csv is empty"),
        (("--op-type", ""), "--op-type is empty"),
        (("--sqnr",), "--sqnr"),
        (("more",), "more"),
        (("-cn", 0), "-cn/--cpu-num is 0; it has to be at least 1"),
    ],
)
@pytest.mark.parametrize("source", ["direct", "dumped"])
def test_options_are_refused_first(
    request: pytest.FixtureRequest, tmp_path: Path, source: str, words: tuple[object, ...], said: str
) -> None:
    compare = request.getfixturevalue(source)
    never = () if source == "dumped" else ("-uds", small_models.script(tmp_path, NEVER, file="never.py"))
    before = files(tmp_path)
    assert said in refusal(compare(*never, *words), 2)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fail-over-loss", -1), "--fail-over-loss is -1.0"),
        (("-i", 0), "-i/--iteration is 0; it has to be at least 1"),
        (("-i", 2, 3), "-i/--iteration: compare takes one number"),
        (("-bs", -4), "-bs/--batch-size is -4"),
        (("--mean", 1), "--mean and --std belong together"),
        (("--mean", 1, "--std", 0), "--std has a zero"),
        (("-qd", "dump"), "are both given"),
        (("-sd", "dump"), "are both given"),
        (("-q", ""), "-q/--quantized is empty"),
    ],
)
def test_options_for_models(direct: Run, tmp_path: Path, words: tuple[object, ...], said: str) -> None:
    script = small_models.script(tmp_path, NEVER, file="never.py")
    assert said in refusal(direct("-uds", script, *words), 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-i", 3), "-i/--iteration is for models"),
        (("-if", "infer_net"), "-if/--infer-func is for models"),
        (("--mean", 1, "--std", 1), "--mean is for models"),
        (("--fail-over-loss", 1), "--fail-over-loss is for models (-m, -q); dump folders hold no metric"),
        (("-sd", ":"), "-sd/--second-dump ':' names no folder"),
        (("-sd", "a:b", "--json", "a.json"), "--json is one file, and -sd names several folders"),
        (("-on", "relu", "-si", 320), "-si/--show-index is 320; 'relu' has the elements 0 to 319"),
    ],
)
def test_options_for_dumps(dumped: Run, words: tuple[object, ...], said: str) -> None:
    assert said in refusal(dumped(*words), 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "compare wants two models (-m, -q) or dump folders (-qd"),
        (("-m", "a.onnx"), "-q/--quantized is missing"),
        (("-q", "a.onnx"), "-m/--model is missing"),
        (("-sd", "a"), "-qd/--quant-dump is missing"),
    ],
)
def test_half_of_what_is_wanted(run: Run, words: tuple[object, ...], said: str) -> None:
    assert said in refusal(run("compare", *words), 2)


def test_an_element_beyond_the_end_stops_the_run_at_the_first_sample(direct: Run, tmp_path: Path) -> None:
    body = "executor.forward(np.ones((1, 3, 8, 8), np.float32))\nopen('second', 'w')"
    script = small_models.script(tmp_path, body, file="two.py")
    line = refusal(direct("-uds", script, "-on", "pool", "-si", 5), 2)
    assert "-si/--show-index is 5; 'pool' has the elements 0 to 4" in line
    assert not (tmp_path / "second").exists()


def test_no_result_takes_the_place_of_an_input(direct: Run, good: Path) -> None:
    before = (good / "net.onnx").read_bytes()
    assert "is the file of -m/--model too" in refusal(direct("--json", good / "net.onnx"), 2)
    assert (good / "net.onnx").read_bytes() == before


def test_plots_without_matplotlib_are_refused_first(
    direct: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    script = small_models.script(tmp_path, NEVER, file="never.py")
    for words in (("--show-plot",), ("-sh", "hist")):
        line = refusal(direct("-uds", script, *words), 2)
        assert words[0] in line and "needs matplotlib" in line and "pip install" in line
    assert direct().exit_code == 0, "the rest works without"


def test_places_that_cannot_be_written(direct: Run, tmp_path: Path) -> None:
    script = small_models.script(tmp_path, NEVER, file="never.py")
    (tmp_path / "file").write_text("earlier")
    for words in (
        ("--json", "file/a.json"),
        ("--save-dir", "file"),
        ("--html", "."),
        ("--csv", "/proc/a.csv"),
    ):
        line = refusal(direct("-uds", script, *words), 1)
        assert "cannot write to" in line and words[0] in line
    assert (tmp_path / "file").read_text() == "earlier"


# models, scripts and data that do not fit


def test_swapped_models(direct: Run, good: Path) -> None:
    line = refusal(direct("-m", good / "out" / "net_quantize.onnx", "-q", good / "net.onnx"), 2)
    assert line.endswith("is not; swap them")


def test_two_float_models_are_said_to_be_float(direct: Run, good: Path) -> None:
    result = direct("-q", good / "net.onnx")
    assert result.exit_code == 0 and "warning: -q/--quantized" in result.stdout
    assert "both models are float" in result.stdout


def test_a_model_of_another_net(direct: Run, tmp_path: Path) -> None:
    nodes = [helper.make_node("Erf", ["inn"], ["out"], "erf")]
    values = [helper.make_tensor_value_info(name, 1, [1, 3, 8, 8]) for name in ("inn", "out")]
    graph = helper.make_graph(nodes, "other", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "o.onnx")
    line = refusal(direct("-q", "o.onnx"), 1)
    assert (
        "no layer in common" in line
        and "o.onnx" in line
        and "is the second a quantization of the first?" in line
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('no images')", "raised ValueError: no images"),
        ("return 1.0", "without calling executor.forward()"),
        ("executor.forward(np.ones((1, 4, 8, 8), np.float32))", "sample 1: input 'x' wants float32[1x3x8x8]"),
        ("executor.forward(np.full((1, 3, 8, 8), np.nan, np.float32))", "nan"),
    ],
)
def test_scripts_and_data(direct: Run, tmp_path: Path, body: str, said: str) -> None:
    script = small_models.script(tmp_path, body, file="odd.py")
    assert said in refusal(direct("-uds", script, "--save-dir", "cmp"), 1)
    assert not (tmp_path / "cmp").exists()


def test_missing_and_broken_models(direct: Run, good: Path, tmp_path: Path) -> None:
    assert "no.onnx: no such file" in refusal(direct("-q", "no.onnx"), 1)
    whole = (good / "out" / "net_quantize.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    assert "cut.onnx" in refusal(direct("-q", "cut.onnx"), 1)


def test_an_earlier_report_outlives_a_failure(direct: Run, tmp_path: Path) -> None:
    assert direct("--save-dir", "cmp").exit_code == 0
    before = {name: (tmp_path / "cmp" / name).read_bytes() for name in files(tmp_path / "cmp")}
    script = small_models.script(tmp_path, "raise RuntimeError('late')", file="odd.py")
    refusal(direct("-uds", script, "--save-dir", "cmp"), 1)
    assert {name: (tmp_path / "cmp" / name).read_bytes() for name in files(tmp_path / "cmp")} == before


# dumps that are not whole


def test_missing_folders(run: Run, dumped: Run, good: Path) -> None:
    assert "nowhere is no folder; name a folder that -du wrote" in refusal(
        run("compare", "-qd", "nowhere"), 1
    )
    later = dumped("-sd", f"{good / 'out' / 'dump' / 'quant'}:nowhere", "--save-dir", "cmp")
    assert "nowhere is no folder" in refusal(later, 1)
    assert "index |" not in later.stdout, "no table before all folders are known to be there"


def test_a_dump_cut_short_names_the_layer(run: Run, good: Path, tmp_path: Path) -> None:
    import shutil

    for number, spoil in enumerate((lambda path: path.unlink(), lambda path: path.write_bytes(b"\x93NUMPY"))):
        copy = tmp_path / str(number)
        shutil.copytree(good / "out" / "dump", copy)
        spoil(next((copy / "quant").glob("*_pool")) / "batch_1.npy")
        line = refusal(run("compare", "-qd", copy, "--json", tmp_path / "a.json"), 1)
        assert "layer 'pool'" in line and "batch_1.npy" in line and "dump again" in line
    assert not (tmp_path / "a.json").exists()


# other shapes of models


def test_a_static_model_takes_larger_batches_in_pieces(direct: Run) -> None:
    result = direct("-i", 2, "-bs", 4)
    assert result.exit_code == 0 and "8 samples in 2 forward calls" in result.stdout


def test_a_model_of_onnxruntimes_own_quantizer(direct: Run, good: Path, tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            random = np.random.default_rng(7)
            self.feeds = iter([{"x": random.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(3)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    quantize_static(good / "net.onnx", tmp_path / "ort.onnx", Reader())
    result = direct("-q", "ort.onnx", "-i", 3, "--json", "a.json")
    assert result.exit_code == 0, result.output
    layers = json.loads((tmp_path / "a.json").read_text())["layers"]
    scores = next(layer for layer in layers if layer["output"] == "scores")
    random = np.random.default_rng(7)
    feeds = [{"x": random.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(3)]
    runs = [exact.session(path) for path in (good / "net.onnx", tmp_path / "ort.onnx")]
    left, right = (np.concatenate([run.run(None, feed)[0] for feed in feeds]) for run in runs)
    assert scores["mre"] == pytest.approx(np.abs(right - left).sum() / np.abs(left).sum(), rel=1e-4)
