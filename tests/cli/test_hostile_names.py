"""Names in strangers' files give no orders: not to the terminal, not to the file system, not to a browser."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

from tests import small_models

Run = Callable[..., Result]

NAMES = {
    "escapes": "a\x1b[31m\x1b]0;title\x07\x9b2J\r\nknight: error: no",
    "turned round": "a\u202eb\u2028c\x00",
    "paths": "../../../outside/..",
    "markup": "</script><script>alert(1)</script>[bold]",
    "formula": "=HYPERLINK(1)",
}


FEED = "return float(executor.forward(np.ones((1, 4), np.float32) * 0.5)[0].sum())"


def net(folder: Path, name: str) -> Path:
    """Two MatMuls and a Relu, all of whose names begin with `name`."""
    weights = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", [f"{name}x", f"{name}w"], [f"{name}m"], f"{name}first"),
        helper.make_node("Relu", [f"{name}m"], [f"{name}r"], f"{name}second"),
        helper.make_node("MatMul", [f"{name}r", f"{name}w"], [f"{name}y"], f"{name}third"),
        helper.make_node("Sin", [f"{name}y"], [f"{name}z"], f"{name}fourth"),
    ]
    ends = [helper.make_tensor_value_info(f"{name}{end}", TensorProto.FLOAT, (1, 4)) for end in "xz"]
    weight = numpy_helper.from_array(weights, f"{name}w")
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def harmless(result: Result) -> str:
    assert result.exit_code == 0, result.output
    assert all(line.isprintable() for line in result.output.split("\n")), result.output
    return result.output


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_names_stay_names(run: Run, tmp_path: Path, name: str) -> None:
    work = tmp_path / "work" / "below" / "it"
    work.mkdir(parents=True)
    model, script = net(work, name), small_models.script(work, FEED)
    words = ["-m", model, "-uds", script, "-if", "infer_net"]
    out = work / "out"
    shown = harmless(run("quant", *words, "--save-dir", out, "-l", "0", "--dump"))
    shown += harmless(run("quant", *words, "--save-dir", out, "--dry-run"))
    quantized = next(out.glob("*_quantize.onnx"))
    shown += harmless(run("compare", *words, "-q", quantized, "--save-dir", out))
    assert name.encode("unicode_escape").decode()[:5] in shown, "the names are shown at all"
    assert {path.name for path in tmp_path.rglob("*") if work not in path.parents} <= {
        *("work", "below", "it", "settings", "knight")
    }
    text = next(out.glob("*.html")).read_text("utf-8")
    assert "<script>alert" not in text
    rows = next(out.glob("*.csv")).read_bytes().decode("utf-8")
    assert not name.startswith("=") or (f",{name}" not in rows and f",'{name}" in rows)


def test_errors_show_names_and_do_not_obey_them(run: Run, tmp_path: Path) -> None:
    model = onnx.load(small_models.conv_net(tmp_path))
    model.graph.node[1].op_type = "Re\x1b[2J\nlu"
    onnx.save(model, tmp_path / "net.onnx")
    result = run("quant", "-m", tmp_path / "net.onnx", "-uds", small_models.script(tmp_path), "--dry-run")
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 1 and line.isprintable() and r"Re\x1b[2J lu" in line


def test_what_libraries_log_is_not_for_the_user(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run("--version")
    logging.getLogger("some.library").warning("noise")
    assert "noise" not in capfd.readouterr().err
