"""docs/extending.md as printed: its package is installed beside Knight and each entry used end to end.

The environment is a scratch one that sees Knight's tree and the packages of the one that runs the tests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from knight import plugin
from knight.cli.plugins import registries

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
FILES = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
(COMMANDS,) = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class Environment:
    """A virtual environment without packages of its own, and a folder with models to work in."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        seen = [path for path in sys.path if path.endswith("-packages") and Path(path).is_dir()]
        (site / "tests.pth").write_text("\n".join([str(ROOT), *seen]))
        self.work = folder / "work"
        self.work.mkdir()
        self.variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self.variables["XDG_CACHE_HOME"] = str(folder / "cache")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One call of that environment's Python, in the folder with the models."""
        return subprocess.run(
            [str(self.python), *words],
            check=False,
            cwd=self.work,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def install(self, files: dict[str, str], folder: Path) -> None:
        """Installs a package as its users do, but for the network."""
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
        done = self.run(
            "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet", str(folder)
        )
        assert done.returncode == 0, done.stderr

    def knight(self, line: str) -> str:
        """What a command that succeeds prints."""
        done = self.run("-m", "knight", *line.split())
        assert done.returncode == 0, f"knight {line}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The page's package, installed; net.onnx and layer.json."""
    folder = tmp_path_factory.mktemp("acme")
    environment = Environment(folder)
    environment.install(FILES, folder / "package")
    onnx.save(detector(), environment.work / "net.onnx")
    (environment.work / "layer.json").write_text('{"matrix": [[1, 2], [3, 4], [5, 6]], "bias": [0.5, -0.5]}')
    return environment


def detector() -> onnx.ModelProto:
    """[N, 3, 8, 8] -> Conv -> Neg -> Neg -> [N, 4, 5]."""
    generator = np.random.default_rng(3)
    nodes = """
        c = Conv <strides = [4, 4]> (x, w)
        n = Neg (c)
        p = Neg (n)
        f = Reshape (p, shape)
        y = Transpose <perm = [0, 2, 1]> (f)
    """
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[N, 3, 8, 8] x) => (float[N, 4, 5] y) {'
        + nodes
        + "}"
    )
    weight = generator.normal(0, 0.2, (5, 3, 4, 4)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 5, -1]), "shape"))
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture(scope="module")
def printed(acme: Environment) -> dict[str, str]:
    """What each command of the page prints, run in their order."""
    return {line: acme.knight(line.removeprefix("knight ")) for line in COMMANDS.splitlines()}


def output(printed: dict[str, str], begin: str) -> str:
    """Of the one command that begins so."""
    (found,) = [text for line, text in printed.items() if line.startswith(begin)]
    return found


def test_the_page_has_a_row_for_every_registry() -> None:
    rows = re.findall(r"^\|[^|]+\| `(knight\.\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == [registry.group for registry in registries()]


def test_what_plugins_import_is_there_and_all_they_import() -> None:
    assert sorted(plugin._HOMES) == sorted(plugin.__all__) == dir(plugin)
    for name in plugin.__all__:
        assert getattr(plugin, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Optimiser'"):
        plugin.Optimiser  # noqa: B018
    modules = {
        module for text in FILES.values() for module in re.findall(r"(?:from|import) (knight\b\S*)", text)
    }
    assert modules == {"knight.plugin"}


def test_the_package_adds_one_of_each() -> None:
    groups = re.findall(r'^\[project\.entry-points\."(.*)"\]$', FILES["pyproject.toml"], re.MULTILINE)
    assert sorted(groups) == [registry.group for registry in registries()]


def test_everything_is_found_and_nothing_failed(printed: dict[str, str]) -> None:
    text = printed["knight plugins"]
    for name, value in re.findall(r'^(\w+) = "(knight_acme.*)"$', FILES["pyproject.toml"], re.MULTILINE):
        assert f"\n  knight-acme 1.0: {name} ({value})\n" in text
    assert "Failed" not in text


def test_the_pass_stands_at_its_slot(printed: dict[str, str]) -> None:
    text = printed["knight plugins --passes"]
    assert re.search(r"\d  fuse_gelu\n +\d+  cancel_negations  \(after fuse_gelu; knight-acme 1.0\)\n", text)
    assert text.count("cancel_negations") == 1


def test_the_chip_is_described(printed: dict[str, str]) -> None:
    assert printed["knight chips ACME1"].startswith("ACME1: Acme's NPU")


def test_quant_takes_chip_method_task_and_flags(acme: Environment, printed: dict[str, str]) -> None:
    text = output(printed, "knight --chip ACME1 quant -m net.onnx -if infer_grid -i 4 -qm")
    assert re.search(r"--seed +7\n", text) and re.search(r"--keep-negations +False\n", text)
    report = json.loads((acme.work / "out" / "net_report.json").read_text())
    assert (report["chip"], report["method"]) == ("ACME1", "sigma")
    assert report["arguments"]["extras"] == {"keep_negations": False, "seed": 7}
    assert report["metric_float"] == pytest.approx(mean_score(seed=7))
    assert operators(acme.work / "out" / "net_quantize.onnx").count("Neg") == 0
    assert operators(acme.work / "kept" / "net_quantize.onnx").count("Neg") == 2


def mean_score(seed: int) -> float:
    """What infer_grid has to find on the float model: an independent statement of the detector."""
    generator, total = np.random.default_rng(seed), []
    weight = onnx.numpy_helper.to_array(detector().graph.initializer[0]).astype(np.float64)
    for _ in range(4):
        picture = generator.random((1, 3, 8, 8), np.float32)
        places = [picture[0, :, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
        total += [float((weight[4] * place).sum()) for place in places]
    return float(np.mean(total))


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_the_methods_range_is_in_the_result(acme: Environment) -> None:
    """By an independent statement: sigma clips nothing of few even numbers, just as min_max."""
    acme.knight("--chip ACME1 quant -m net.onnx -if infer_grid -i 4 -qm min_max --seed 7 --save-dir other")
    mine, other = (onnx.load(acme.work / name / "net_quantize.onnx") for name in ("out", "other"))
    assert [tensor.raw_data for tensor in mine.graph.initializer] == [
        tensor.raw_data for tensor in other.graph.initializer
    ]


def test_the_chips_form_writes_the_operator_on_integers(acme: Environment, printed: dict[str, str]) -> None:
    assert "Quant complete" in output(
        printed, "knight --chip ACME1 quant -m net.onnx -if infer_grid -i 4 --keep"
    )
    model = onnx.load(acme.work / "kept" / "net_quantize.onnx")
    makers = {name: node for node in model.graph.node for name in node.output}
    negations = [node for node in model.graph.node if node.op_type == "Neg"]
    assert [makers[node.input[0]].op_type for node in negations] == ["Clip", "Clip"]
    assert makers[makers[negations[0].input[0]].input[0]].op_type == "QuantizeLinear"
    assert makers[makers[negations[1].input[0]].input[0]] == negations[0]  # no rounding between the two
    picture = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    wanted = ReferenceEvaluator(detector()).run(None, {"x": picture})[0]
    got = ReferenceEvaluator(model).run(None, {"x": picture})[0]
    assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


def test_the_optimizer_is_tried_and_judged(acme: Environment, printed: dict[str, str]) -> None:
    text = output(printed, "knight --chip ACME1 quant -m net.onnx -if infer_grid -i 32 --optimize")
    assert re.search(
        r"tight was (taken|refused: .*): .* dB without, .* dB with it on 8 samples held back", text
    )
    report = json.loads((acme.work / "optimized" / "net_report.json").read_text())
    assert [verdict["optimizer"] for verdict in report["optimizers"]] == ["tight"]


def test_the_engine_runs_jobs(acme: Environment) -> None:
    code = (
        "from knight.engines import Job, engines; from knight.recipe import Recipe; "
        "jobs = [Job(name, f'{name}.onnx', Recipe(), 'ACME1', 'none.npz', 'jobs/' + name) for name in 'ab']; "
        "print([(found.name, found.failure is not None) for found in engines.get('last_first').run(jobs)])"
    )
    done = acme.run("-c", code)
    assert done.stdout.strip() == "[('b', True), ('a', True)]", done.stderr


def test_the_formats_file_has_the_models_scales(acme: Environment, printed: dict[str, str]) -> None:
    text = output(printed, "knight --chip ACME1 quant -m net.onnx -if infer_grid -i 4 --format")
    assert "scaled/net_scales.json" in text
    scales = json.loads((acme.work / "scaled" / "net_scales.json").read_text())
    graph = onnx.load(acme.work / "scaled" / "net_quantize.onnx").graph
    numbers = {tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in graph.initializer}
    made = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert made and scales == {node.input[0]: numbers[node.input[1]] for node in made}


def test_all_methods_include_it(acme: Environment) -> None:
    text = acme.knight("--chip ACME1 quant -m net.onnx -if infer_grid -i 2 -qm all --save-dir all")
    assert "sigma_it_2" in text and "kl_v2_it_2" in text
    assert (acme.work / "all" / "sigma_it_2" / "net_quantize.onnx").exists()


def test_the_metric_has_its_switch_and_column(acme: Environment, printed: dict[str, str]) -> None:
    text = output(printed, "knight compare")
    assert "norm(%)" in text
    assert "norm(%)" not in acme.knight("compare -m net.onnx -q out/net_quantize.onnx -if infer_grid -i 1")
    assert re.search(r"--norm +add the difference of norms", acme.knight("compare --help"))


def test_the_framework_is_converted_and_proven(acme: Environment, printed: dict[str, str]) -> None:
    text = output(printed, "knight convert")
    assert "Acme Convert To ONNX Succeed." in text and "Largest error" in text
    session = ReferenceEvaluator(onnx.load(acme.work / "out" / "layer.onnx"))
    (found,) = session.run(None, {"x": np.array([[1, 1, 1]], np.float32)})
    np.testing.assert_array_equal(found, [[9.5, 11.5]])
    assert re.sub(r" +", " ", output(printed, "knight ops")) == "Gemm 1\n"
    assert "comes from: acme caffe onnx" in " ".join(acme.knight("quant --help").split())


def test_a_converters_error_is_one_line(acme: Environment) -> None:
    (acme.work / "bad.json").write_text("{}")
    done = acme.run("-m", "knight", "convert", "-f", "acme", "-m", "bad.json", "--save-dir", "bad")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "bad.json: no layer of Acme: 'matrix'" in done.stderr


def test_the_flags_are_like_all_others(acme: Environment) -> None:
    (acme.work / "run.json").write_text(
        '{"chip": "ACME1", "quant": {"model": "net.onnx", "infer-func": "infer_grid", "keep-negations": true,'
        ' "iteration": 1, "save-dir": "built"}}'
    )
    acme.knight("build --run-config run.json --quant.seed 5")
    report = json.loads((acme.work / "built" / "net_report.json").read_text())
    assert report["arguments"]["extras"] == {"keep_negations": True, "seed": 5}
    schema = json.loads(acme.knight("template run-config --schema"))["properties"]
    assert "seed" in schema["quant"]["properties"] and "seed" in schema["infer"]["properties"]
    assert "keep-negations" not in schema["compare"]["properties"]
    assert re.search(r"Acme:\n  --keep-negations +leave double", acme.knight("quant --help"))
    done = acme.run("-m", "knight", "convert", "-m", "net.onnx", "--seed", "1")
    assert done.returncode == 2 and "No such option" in done.stderr


def test_the_subcommand_is_listed(acme: Environment) -> None:
    assert re.search(r"\n  ops +Count the operators of an ONNX model\.\n", acme.knight("--help"))


def test_help_reads_the_cache_and_runs_no_other_command(acme: Environment) -> None:
    code = "import sys; from knight.cli import knight; knight.main(['--help'])"
    code = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); {code}"
    acme.run("-c", code)
    loaded = set(acme.run("-c", code).stdout.split())
    assert {"knight.cli", "knight_acme.ops"} <= loaded
    assert not {"importlib.metadata", "knight.cli.quant", "knight.cli._flags", "json", "numpy"} & loaded


BROKEN = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "knight-broken"
version = "0.1"
[project.entry-points."knight.commands"]
ops = "knight_broken:command"
chips = "knight_broken:command"
bad = "knight_broken:command"
[project.entry-points."knight.flags"]
broken = "knight_broken:flags"
[project.entry-points."knight.metric"]
lost = "knight_broken:metric"
[tool.setuptools]
packages = ["knight_broken"]
"""


def test_a_broken_package_is_named_and_stops_nothing_else(acme: Environment, tmp_path: Path) -> None:
    acme.install({"pyproject.toml": BROKEN, "knight_broken/__init__.py": "1 / 0\n"}, tmp_path / "broken")
    try:
        failed = acme.knight("plugins").partition("Failed:\n")[2].splitlines()
        assert len(failed) == 5 and all(line.startswith("  ") for line in failed)
        said = "\n".join(failed)
        assert (
            "command 'bad' of knight-broken 0.1 cannot be loaded (knight_broken:command): ZeroDivision"
            in said
        )
        assert "command 'chips' is defined twice: by Knight itself and by knight-broken 0.1" in said
        assert re.search(r"command 'ops' is defined twice: by knight-(acme|broken) .* and by knight-", said)
        assert "flags 'broken' of knight-broken 0.1 cannot be loaded" in said
        assert "no group is called 'knight.metric'; did you mean 'knight.metrics'" in said

        help = acme.knight("--help")
        assert re.search(r"\n  bad +\(cannot be loaded; see knight plugins\)\n", help)
        for words, code in (("bad", 2), ("ops net.onnx", 2), ("chips", 2)):
            done = acme.run("-m", "knight", *words.split())
            assert done.returncode == code and done.stderr.startswith("knight: error: command ")
            assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
        done = acme.run("-m", "knight", "convert", "-m", "net.onnx", "--save-dir", "still")
        assert done.returncode == 0
        assert "  warning: flags 'broken' of knight-broken 0.1 cannot be loaded" in done.stderr
    finally:
        assert acme.run("-m", "pip", "uninstall", "-y", "knight-broken").returncode == 0
    assert "Failed" not in acme.knight("plugins"), "gone from the cache with the package"
