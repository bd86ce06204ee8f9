"""Models that scripts register: what functions may return, and how weights are loaded."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from torch import nn

from knight.converters import Conversion, Source
from knight.converters.pytorch import convert
from knight.errors import ConfigError, KnightError, ModelError, ScriptError
from knight.listener import SILENT, Listener
from knight.runner import Session
from tests.converters.checks import assert_same, random_feeds

HEAD = """
import torch
from torch import nn
from onnx_quantize_tool.common.register import pytorch_model

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.head = nn.Linear(width, 2)

    def forward(self, x, twice: bool = False):
        x = self.conv(x).relu().mean((2, 3))
        return self.head(x * 2 if twice else x)

"""


def script(folder: Path, body: str) -> str:
    path = folder / "models.py"
    path.write_text(HEAD + dedent(body))
    return str(path)


def converted(folder: Path, body: str, listener: Listener = SILENT, **options: object) -> Conversion:
    return convert(Source("net", script=script(folder, body), **options), listener)  # type: ignore[arg-type]


class Heard(Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.details: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)


REGISTER = '@pytorch_model.register("net")\n'
INPUT = "torch.randn(1, 3, 8, 8)"


@pytest.mark.parametrize(
    "returned",
    [
        f'{{"model": Net(), "inputs": [{INPUT}]}}',
        f'{{"model": Net(), "inputs": {INPUT}}}',
        f"(Net(), {INPUT})",
        f"[Net(), ({INPUT},)]",
        f'{{"model": nn.DataParallel(Net()), "inputs": [{INPUT}]}}',
        f"(Net(), [{INPUT}])",
        f'(Net(), {{"x": {INPUT}}})',
        f'{{"model": Net(), "inputs": ({INPUT},)}}',
        f'{{"model": Net(), "inputs": {{"x": {INPUT}}}, "concrete_args": None, "dynamic_axes_inputs": None}}',
        f'{{"model": Net(), "inputs": [{INPUT}, None]}}',
        "(Net(), (1, 3, 8, 8))",
        '{"model": Net(), "inputs": [torch.Size([1, 3, 8, 8])]}',
        f"(Net().train(), {INPUT})",
    ],
)
def test_forms(returned: str, tmp_path: Path) -> None:
    conversion = converted(tmp_path, f"{REGISTER}def net():\n    return {returned}\n")
    assert_same(conversion)
    graph = conversion.model.graph
    assert [value.name for value in graph.inputs] == ["x"]
    assert [value.name for value in graph.outputs] == ["output"]
    assert "conv.weight" in graph.initializers
    assert "conv" in [node.name for node in graph]


def test_open_batch_and_names(tmp_path: Path) -> None:
    body = f"""
    {REGISTER.strip()}
    def net():
        return {{"model": Net(), "inputs": [{INPUT}], "concrete_args": {{"twice": True}},
                "dynamic_axes_inputs": {{"picture": {{0: "batch_size"}}}},
                "dynamic_axes_outputs": {{"scores": {{0: "batch_size"}}}}}}
    """
    conversion = converted(tmp_path, body)
    graph = conversion.model.graph
    assert [value.name for value in graph.inputs] == ["picture"]
    assert str(graph.inputs[0].shape) == "[batch_size,3,8,8]"
    assert [value.name for value in graph.outputs] == ["scores"]
    assert_same(conversion, batches=(1, 2, 5))


def test_training_mode_is_left_and_said(tmp_path: Path) -> None:
    heard = Heard()
    body = f"{REGISTER}def net():\n    return nn.Sequential(nn.Dropout(0.9), Net()).train(), {INPUT}\n"
    assert_same(converted(tmp_path, body, heard))
    assert any("training mode" in text for text in heard.details)


TWO = """
class Two(nn.Module):
    def forward(self, a, scale=None, b=None, *rest, **others):
        a = a if scale is None else a * scale
        return a if b is None else a - b

"""


@pytest.mark.parametrize(
    ("inputs", "names", "wanted"),
    [
        ("[A, None, B]", ["a", "b"], "a - b"),
        ('{"b": B, "a": A}', ["a", "b"], "a - b"),
        ('{"b": B, "a": A, "scale": None}', ["a", "b"], "a - b"),
        ("(A, B)", ["a", "scale"], "a * scale"),
        ('{"scale": B, "a": A, "b": None}', ["a", "scale"], "a * scale"),
        ("[A]", ["a"], "a"),
    ],
)
def test_inputs_by_name_and_in_order(inputs: str, names: list[str], wanted: str, tmp_path: Path) -> None:
    body = f"""{TWO}
A, B = torch.randn(2, 3), torch.randn(2, 3)
{REGISTER}def net():
    return Two(), {inputs}
"""
    conversion = converted(tmp_path, body)
    assert [value.name for value in conversion.model.graph.inputs] == names
    feeds = random_feeds(Session(conversion.model), 2)
    (found,) = Session(conversion.model).run(feeds)
    np.testing.assert_allclose(found, eval(wanted, dict(feeds)), rtol=1e-6)
    assert_same(conversion)


def test_shapes_in_place_of_tensors(tmp_path: Path) -> None:
    """-1 is open; what dynamic_axes_inputs names keeps its names."""
    body = f"""
    {REGISTER.strip()}
    def net():
        return {{"model": Net(), "inputs": [[-1, 3, 8, -1]]}}
    @pytorch_model.register
    def named():
        return {{"model": Net(), "inputs": [[-1, 3, 8, -1]],
                "dynamic_axes_inputs": {{"picture": {{0: "n"}}}}}}
    @pytorch_model.register
    def bare():
        return Net()
    @pytorch_model.register
    def wrong():
        return Net(), [[1, 3, 0, 8]]
    """
    conversion = converted(tmp_path, body)
    assert str(conversion.model.graph.inputs[0].shape) == "[batch,3,8,x_3]"
    for width in (8, 11):
        assert_same(
            conversion, {"x": np.random.default_rng(0).normal(size=(3, 3, 8, width)).astype(np.float32)}
        )
    source = Source("named", script=script(tmp_path, body))
    assert str(convert(source, SILENT).model.graph.inputs[0].shape) == "[n,3,8,picture_3]"
    source = replace(source, model="bare", input_shapes=((-1, 3, 8, 8),))
    conversion = convert(source, SILENT)
    assert str(conversion.model.graph.inputs[0].shape) == "[batch,3,8,8]"
    assert_same(conversion)
    with pytest.raises(ScriptError, match=r"returned a \w*models\.Net; it has to return"):
        convert(replace(source, input_shapes=()), SILENT)
    with pytest.raises(ScriptError, match=r"input 1 has shape \[1, 3, 0, 8\]; sizes are at least 1, or -1"):
        convert(replace(source, model="wrong"), SILENT)


@pytest.mark.parametrize(
    ("forward", "given", "foreign"),
    [
        ("x, twice=False", '{"twice": True, "augment": False, "val": True}', "augment, val"),
        ("x, twice=False, **kwargs", '{"twice": True, "profile": False}', "profile"),
        ("x, *args, twice=False, **kwargs", '{"twice": True, "kwargs": None, "args": ()}', "kwargs, args"),
        ("x, twice=True", '{"visualize": False}', "visualize"),
    ],
)
def test_concrete_arguments_that_forward_has_not_are_ignored_and_said(
    forward: str, given: str, foreign: str, tmp_path: Path
) -> None:
    """As torch.fx does, which the vendor's converter is built on."""
    body = f"""
    class Other(Net):
        def forward(self, {forward}):
            assert "profile" not in locals().get("kwargs", {{}})
            return super().forward(x, twice)
    {REGISTER.strip()}
    def net():
        return {{"model": Other(), "inputs": [{INPUT}], "concrete_args": {given}}}
    """
    heard = Heard()
    conversion = converted(tmp_path, body, heard)
    assert_same(conversion)
    assert "Mul" in [node.op_type for node in conversion.model.graph]
    (warning,) = heard.warnings
    assert (
        f"concrete_args {foreign} ignored: forward of Other has no argument of that name (it has x, twice)"
        in warning
    )


@pytest.mark.parametrize("made", ["torch.jit.script", "traced", "loaded"])
def test_torchscript_that_the_script_makes_or_loads(made: str, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)), tmp_path / "net.ts")
    body = f"""
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
        def forward(self, x, twice: bool = False):
            y = self.conv(x)
            if twice:
                y = y * 2
            return y
    def traced(module):
        return torch.jit.trace(module, {INPUT})
    def loaded(module):
        return torch.jit.load({str(tmp_path / "net.ts")!r})
    {REGISTER.strip()}
    def net():
        return {{"model": {made}(Plain()), "inputs": [{INPUT}], "concrete_args": {{"twice": True}},
                "dynamic_axes_inputs": {{"x": {{0: "batch"}}}}}}
    """
    heard = Heard()
    conversion = converted(tmp_path, body, heard)
    assert [value.name for value in conversion.model.graph.inputs] == ["x"]
    assert_same(conversion, batches=(1, 3))
    assert ("Mul" in [node.op_type for node in conversion.model.graph]) == (made == "torch.jit.script")
    assert any("concrete_args twice ignored" in text for text in heard.warnings) == (
        made != "torch.jit.script"
    )


def test_what_torchscript_of_a_stranger_holds_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body = f"""
    @torch.jit.script
    def keep(x):
        torch.save(x, "kept.bin")
        return x
    class Keeps(nn.Module):
        def forward(self, x):
            return keep(x)
    {REGISTER.strip()}
    def net():
        return torch.jit.script(Keeps()), {INPUT}
    """
    with pytest.raises(ModelError, match=r"PyTorch model 'net' .* holds the operator aten::save"):
        converted(tmp_path, body)
    assert not Path("kept.bin").exists()


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("3", "returned a int; it has to return"),
        ("None", "returned a NoneType"),
        (f"(Net(), {INPUT}, 1)", "returned a tuple of 3"),
        (f'{{"modle": Net(), "inputs": [{INPUT}]}}', "unknown key 'modle': did you mean 'model'"),
        ('{"model": Net()}', "returned no 'inputs'"),
        (f'{{"inputs": [{INPUT}]}}', "returned no 'model'"),
        (f"(Net, {INPUT})", "'model' is a type, wanted a torch.nn.Module"),
        (f"(Net(), {INPUT}.numpy())", "input 1 is a numpy.ndarray, wanted a torch.Tensor (torch.from_numpy"),
        ("(Net(), [])", "'inputs' is empty"),
        (f"(Net(), [{INPUT}, 3])", "input 2 is a int"),
        (
            f'{{"model": Net(), "inputs": {INPUT}, "dynamic_axes_inputs": {{"a": {{0: 1}}, "b": {{0: 1}}}}}}',
            "dynamic_axes_inputs names 2 inputs and there are 1",
        ),
        (
            f'{{"model": Net(), "inputs": [{INPUT}], "dynamic_axes_inputs": {{"a": {{7: "n"}}}}}}',
            "names axis 7 of a tensor with 4 axes",
        ),
        (
            f'{{"model": Net(), "inputs": [{INPUT}], "dynamic_axes_inputs": ["a"]}}',
            "has to be a dict such as",
        ),
        (f'{{"model": Net(), "inputs": [{INPUT}], "concrete_args": 3}}', "'concrete_args' is a int"),
    ],
)
def test_wrong_results_are_told(returned: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=re.escape(said)) as error:
        converted(tmp_path, f"{REGISTER}def net():\n    return {returned}\n")
    assert "PyTorch model 'net' (" in str(error.value) and "models.py:" in str(error.value)
    assert "\n" not in str(error.value)


def test_failures_inside_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"raised ZeroDivisionError: .*models\.py:19\)"):
        converted(tmp_path, f"{REGISTER}def net():\n    x = 0\n    return 1 / x\n")


def test_unknown_names(tmp_path: Path) -> None:
    path = script(tmp_path, f"{REGISTER}def net():\n    return Net(), {INPUT}\n")
    with pytest.raises(ScriptError, match="registers no PyTorch model 'nte': did you mean 'net'"):
        convert(Source("nte", script=path), SILENT)
    with pytest.raises(ModelError, match="needs the script, with -uds"):
        convert(Source("net"), SILENT)


LOADS = f"""
{REGISTER.strip()}
def net(weight_path=None):
    net = Net()
    if weight_path:
        net.load_state_dict(torch.load(weight_path))
    return net, {INPUT}
"""


class Weights(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.head = nn.Linear(width, 2)


def saved(folder: Path, content: object) -> str:
    torch.save(content, folder / "net.pth")
    return str(folder / "net.pth")


def test_weights_reach_the_model(tmp_path: Path) -> None:
    state = Weights().state_dict()
    conversion = converted(tmp_path, LOADS, weights=saved(tmp_path, state))
    weight = conversion.model.graph.initializers["conv.weight"].const_value
    assert weight is not None
    assert (weight.numpy() == state["conv.weight"].numpy()).all()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            Weights(6).state_dict(),
            "conv.weight has shape [6, 3, 3, 3] in the file, wanted [4, 3, 3, 3] (and 2 more)",
        ),
        ({"conv.weight": torch.zeros(4, 3, 3, 3)}, "no conv.bias in the file (and 2 more)"),
        ({**Weights().state_dict(), "tail": torch.zeros(1)}, "tail is not in the model"),
        ({f"module.{k}": v for k, v in Weights().state_dict().items()}, 'names begin with "module."'),
    ],
)
def test_weights_of_another_net(state: dict[str, torch.Tensor], said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=re.escape(said)) as error:
        converted(tmp_path, LOADS, weights=saved(tmp_path, state))
    assert "net.pth" in str(error.value) and "\n" not in str(error.value)


def test_missing_and_cut_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.pth: no such file"):
        converted(tmp_path, LOADS, weights=str(tmp_path / "none.pth"))
    path = Path(saved(tmp_path, Weights().state_dict()))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(KnightError, match=r"PyTorch model 'net' .*models\.py"):
        converted(tmp_path, LOADS, weights=str(path))


def test_weights_that_are_needed_or_not_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"wants the path of its weights \(path\); give it with -w"):
        converted(tmp_path, f"{REGISTER}def net(path):\n    return Net(), {INPUT}\n")
    heard = Heard()
    weights = saved(tmp_path, {})
    converted(tmp_path, f"{REGISTER}def net():\n    return Net(), {INPUT}\n", heard, weights=weights)
    assert any(text.startswith("-w has no effect") for text in heard.warnings)


class Runs:
    """A pickle that runs code: the file `mark` appears when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.mark,))


def test_pickles_run_nothing_unless_allowed(tmp_path: Path) -> None:
    mark = tmp_path / "was here"
    weights = saved(tmp_path, {**Weights().state_dict(), "extra": Runs(mark)})
    with pytest.raises(ModelError, match=r"net\.pth: loading them would run .*add --allow-pickle"):
        converted(tmp_path, LOADS, weights=weights)
    assert not mark.exists()
    body = LOADS.replace(
        "torch.load(weight_path)", "{k: v for k, v in torch.load(weight_path).items() if v is not None}"
    )
    converted(tmp_path, body, weights=weights, allow_pickle=True)
    assert mark.exists()
