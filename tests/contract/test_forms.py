"""Every form goes through the same checks: the model stays valid, and computes what Q/DQ around it would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from knight.forms import forms
from knight.recipe import FLOAT, Choice, Recipe, Rule
from knight.rewriter import rewrite
from knight.runner import Session
from knight.solver import solve
from knight.targets import load_target
from tests.passes.equivalence import build, random
from tests.stages import plan_of, statistics_of

ORT = load_target("onnxruntime")
X = random(2, 4, 9, 9)
CONSTANTS = {
    "w": random(4, 4, 3, 3),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "m": np.array([3, 5, 7, 0], np.float32)[:, None, None],
}

PLACES = {  # form -> a net in which one node can take it
    "dequantized": "c = Conv(x, w) p = Pad(c, pads) y = Conv(p, w)",
    "on_integers": "c = Conv(x, w) p = Pad(c, pads) y = Conv(p, w)",
    "kept_apart": "c = Conv(x, w) p = Conv(c, w) y = Conv(p, w)",
    "fed_integers": "i = Cast<to = 2>(x) f = Cast<to = 1>(i) y = Conv(f, w)",
    "centred": "i = Cast<to = 2>(x) f = Cast<to = 1>(i) s = Sub(f, m) y = Conv(s, w)",
}
WRITTEN = {"centred": "node2"}  # the node that takes it; else the second one


@pytest.mark.parametrize("name", forms.names())
def test_a_form_computes_what_the_usual_one_does(name: str) -> None:
    model = build(PLACES[name], CONSTANTS, opset=20)
    float_rule = [Rule(FLOAT, names=("node1",))] if name == "kept_apart" else []
    plan = plan_of(model, ORT, Recipe(Choice(method="min_max"), float_rule))
    if name == "centred":  # what it reads is as it is
        reads = {edge: key for edge, key in plan.reads.items() if edge[0] != "node2"}
        plan = replace(plan, reads=reads)
    x = np.abs(X) * 50 if name in ("fed_integers", "centred") else X
    params = solve(model, plan, statistics_of(model, plan, [{"x": x}]))
    node = WRITTEN.get(name, "node1")
    written = rewrite(model, replace(plan, forms={node: name}), params)
    usual = rewrite(model, replace(plan, forms={}), params)
    onnx.checker.check_model(ir.to_proto(written), full_check=True)
    got, wanted = (Session(one, level="none").run({"x": x})[0] for one in (written, usual))
    np.testing.assert_array_equal(got, wanted)
