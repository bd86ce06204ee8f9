"""The JSON document and its schema."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import knight.compare
from knight.compare.comparison import Comparison, Layer
from knight.compare.document import to_json
from knight.compare.gates import Gates, check
from knight.compare.metrics import columns
from tests.compare._samples import sample_comparison

SCHEMA = json.loads(
    Path(knight.compare.__file__).with_name("compare_schema.json").read_text(encoding="utf-8")
)
SAMPLE = sample_comparison(60)


def valid(comparison, gates=()):
    """The document, checked against the schema and as strict JSON."""
    document = to_json(comparison, gates)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    return document


def objects(schema):
    """All parts of a schema that describe an object with known keys."""
    if isinstance(schema, dict):
        if "properties" in schema and "type" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)


def test_the_schema_is_one_and_lets_nothing_unknown_in():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    found = list(objects(SCHEMA))
    assert len(found) >= 7
    for part in found:
        assert part["additionalProperties"] is False
        assert set(part["required"]) == set(part["properties"])


def test_the_schema_knows_every_metric():
    layer = set(SCHEMA["$defs"]["layer"]["properties"])
    assert set(columns()) <= layer
    bare = Layer(0, "Input", "", "x", "x", (), {})
    assert set(valid(Comparison("a", "b", [bare]))["layers"][0]) == layer


def test_the_sample_is_valid_and_says_what_was_found():
    gates = check(SAMPLE, Gates(cos=0.5, loss=1.0, sqnr=10.0))
    document = valid(SAMPLE, gates)
    assert document["version"] == 1
    assert (document["reference"], document["result"]) == (SAMPLE.reference, SAMPLE.result)
    assert (document["samples"], document["calls"], document["seconds"]) == (20, 20, 12.5)
    assert [gate["passed"] for gate in document["gates"]] == [True, True, False]
    assert document["summary"]["passed"] is False
    assert document["mixed_precision"] == list(SAMPLE.mixed_precision)
    assert document["remedies"][0]["layers"] == list(SAMPLE.remedies[0].layers)
    assert document["unpaired"][0] == {
        "side": "float",
        "op_type": "BatchNormalization",
        "output": "bn1_out",
        "reason": "folded into the Conv before it",
    }


def test_the_summary_names_the_worst():
    summary = valid(SAMPLE)["summary"]
    own = {layer.output: layer.own_sqnr for layer in SAMPLE.layers if layer.own_sqnr is not None}
    cos = {layer.output: layer.figures["cos"] for layer in SAMPLE.layers}
    assert summary["worst_own"] == min(own, key=own.get) and summary["worst_own_sqnr"] == min(own.values())
    assert summary["lowest_cos_layer"] == min(cos, key=cos.get) and summary["lowest_cos"] == min(cos.values())
    assert (summary["layers"], summary["unpaired"], summary["passed"]) == (60, 2, None)
    assert (summary["metric_float"], summary["metric_quantized"], summary["loss"]) == (0.6976, 0.6841, 1.9352)
    assert summary["output_sqnr"] == 24.37


def test_a_layer_has_its_figures_and_its_cause():
    layer, told = SAMPLE.layers[22], valid(SAMPLE)["layers"][22]
    assert {key: told[key] for key in columns()} == dict(layer.figures)
    assert (told["index"], told["op_type"], told["name"]) == (22, layer.op_type, layer.name)
    assert (told["output"], told["quantized_output"]) == (layer.output, layer.quantized_output)
    assert told["shape"] == [1, 32, 28, 28] and told["own_sqnr"] == layer.own_sqnr
    assert (told["cause"], told["cause_kind"]) == (layer.cause.text, "outlier_channel")
    assert (told["remedy"], told["gain_db"]) == (layer.cause.remedy, 9.5)
    assert told["outlier_channels"] == {"activations": [7], "weights": [7]}
    assert told["rounding"]["scale"] == layer.rounding.scale and told["rounding"]["bits"] == 8
    other = valid(SAMPLE)["layers"][1]
    assert other["cause"] is None and other["outlier_channels"] == {"activations": [], "weights": []}


def test_an_empty_comparison_is_valid():
    document = valid(Comparison("a", "b", []))
    assert document["summary"]["lowest_cos"] is None and document["summary"]["worst_own"] is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_what_is_no_number_is_null(number):
    odd = replace(SAMPLE.layers[5], minimum=number, figures={**SAMPLE.layers[5].figures, "cos": number})
    document = valid(replace(SAMPLE, layers=[odd], output_sqnr=number, metric_result=number, loss=number))
    assert document["layers"][0]["minimum"] is None and document["layers"][0]["cos"] is None
    assert document["summary"]["loss"] is None and document["summary"]["lowest_cos"] is None


def test_arguments_of_any_kind_become_plain():
    arguments = {
        "path": Path("a") / "b",
        "number": np.float32(0.5),
        "integer": np.int64(3),
        "array": np.arange(3.0),
        "set": {"b", "a"},
        "nested": OrderedDict(x=(1, None, True)),
        7: b"bytes",
        "nan": [math.nan],
    }
    assert valid(replace(SAMPLE, arguments=arguments))["arguments"] == {
        "path": str(Path("a") / "b"),
        "number": 0.5,
        "integer": 3,
        "array": [0.0, 1.0, 2.0],
        "set": ["a", "b"],
        "nested": {"x": [1, None, True]},
        "7": "b'bytes'",
        "nan": [None],
    }
