"""JUnit XML: what a build server reads of it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from knight.compare.gates import Gates, check
from knight.compare.junit import junit
from tests.compare._samples import sample_comparison

SAMPLE = sample_comparison(60)
BAD = [layer for layer in SAMPLE.layers if layer.figures["cos"] < 0.98]


def parse(comparison, **limits):
    text = junit(comparison, check(comparison, Gates(**limits)))
    return ET.fromstring(text.encode())


def failed(root):
    return [case.get("name") for case in root.iter("testcase") if case.find("failure") is not None]


def properties(element):
    return {one.get("name"): one.get("value") for one in element.findall("properties/property")}


def test_every_gate_and_every_layer_is_a_case():
    root = parse(SAMPLE, cos=0.98, sqnr=20, loss=1)
    (suite,) = root
    assert (root.tag, suite.tag, suite.get("name")) == ("testsuites", "testsuite", "knight compare")
    cases = [(case.get("classname"), case.get("name")) for case in suite.findall("testcase")]
    gates = [("gate", name) for name in ("fail-under-cos", "fail-under-sqnr", "fail-over-loss")]
    assert cases == [*gates, *((layer.op_type, layer.output) for layer in SAMPLE.layers)]
    for element in (root, suite):
        assert (element.get("tests"), element.get("errors"), element.get("skipped")) == ("63", "0", "0")
        assert int(element.get("failures")) == len(failed(root)) and element.get("time") == "12.500"


def test_the_layers_under_the_limit_fail_and_no_others():
    assert len(BAD) == 4
    root = parse(SAMPLE, cos=98, sqnr=20, loss=1)
    assert failed(root) == ["fail-under-cos", "fail-over-loss", *(layer.output for layer in BAD)]


def test_a_failure_says_what_and_why():
    layer = SAMPLE.layers[12]
    (case,) = (case for case in parse(SAMPLE, cos=0.98).iter("testcase") if case.get("name") == layer.output)
    failure = case.find("failure")
    assert failure.get("message") == f"cos {100 * layer.figures['cos']:.8g} % is under 98 %"
    assert failure.get("type") and failure.text == f"{failure.get('message')}\n{layer.cause.text}"


def test_without_a_gate_nothing_fails():
    root = parse(SAMPLE)
    assert failed(root) == [] and root.get("failures") == "0" and root.get("tests") == "60"


def test_a_layer_that_is_not_a_number_any_more_fails():
    lost = replace(SAMPLE.layers[3], figures=dict.fromkeys(SAMPLE.layers[3].figures), broken=7)
    root = parse(replace(SAMPLE, layers=[lost]), cos=0.5)
    assert failed(root) == ["fail-under-cos", lost.output]


def test_the_figures_are_properties():
    root = parse(SAMPLE, cos=0.98)
    assert float(properties(root[0])["output_sqnr"]) == SAMPLE.output_sqnr
    gate, first = root[0].findall("testcase")[:2]
    assert float(properties(gate)["limit"]) == 0.98
    assert float(properties(first)["cos"]) == SAMPLE.layers[0].figures["cos"]
    unknown = replace(SAMPLE, output_sqnr=None, loss=float("nan"))
    assert not {"output_sqnr", "loss"} & set(properties(parse(unknown)[0]))


@pytest.mark.parametrize("odd", ["a\x00b", "a\x1bb", "a\ufffeb", "a\ud800b"])
def test_characters_that_xml_forbids_are_replaced(odd):
    layer = replace(
        SAMPLE.layers[12], output=odd, op_type=odd, cause=replace(SAMPLE.layers[12].cause, text=odd)
    )
    root = parse(replace(SAMPLE, layers=[layer], reference=odd), cos=0.98, sqnr=90)
    assert failed(root)[-1] == "a\ufffdb"
    assert properties(root[0])["reference"] == "a\ufffdb"


def test_other_characters_stay():
    name = "层/<a>&\"b'\n\t😀"
    (case,) = parse(replace(SAMPLE, layers=[replace(SAMPLE.layers[1], output=name)])).iter("testcase")
    assert case.get("name") == name
