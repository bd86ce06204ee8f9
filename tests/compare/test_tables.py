"""The table for people and the CSV for spreadsheets."""

from __future__ import annotations

import csv as reader
import io
from dataclasses import replace

import pytest

from knight.compare import tables
from knight.compare.comparison import Comparison, Layer
from knight.compare.metrics import Column, columns
from knight.errors import ConfigError
from tests.compare._samples import sample_comparison

BANDS = ["0-1", "1-10", "10-50", "50-100", "100+"]


def layer(index, op_type="Conv", output=None, own=None, **figures):
    """A layer with these figures and no others."""
    output = output or f"y{index}"
    known = {key: figures.get(key) for key in columns()}
    return Layer(index, op_type, f"n{index}", output, output, (1, 4), known, own_sqnr=own)


def comparison(*layers):
    return Comparison("a.onnx", "b.onnx", layers)


THREE = comparison(
    layer(0, "Input", "x", cos=1.0, mre=0.0, accumulated_sqnr=200.0),
    layer(1, "Conv", "b", own=12.5, cos=0.98765432, mre=0.07, accumulated_sqnr=20.0),
    layer(2, "Gemm", "a", own=30.0, cos=0.999, mre=None, accumulated_sqnr=25.0),
)


def column(table, title):
    place = table[0].index(title)
    return [row[place] for row in table[1:]]


def test_the_columns_stand_in_the_documented_order():
    table = tables.rows(sample_comparison(12))
    assert table[0] == [
        *("index", "MRE(%)", "cos(%)", *BANDS, "SQNR(dB)", "own SQNR(dB)", "OP-TYPE", "OUT-NAME")
    ]
    everything = tables.rows(sample_comparison(12), shown={"rmse": True, "maxdiff": True, "bias": True})[0]
    optional = ["RMSE(%)", "max rel(%)", "max abs", "r>l(%)", "r<l(%)"]
    assert everything == [*table[0][:3], *optional, *table[0][3:]]
    bare = tables.rows(sample_comparison(12), shown={"mre": False, "cos": False}, own=False)[0]
    assert bare == ["index", *BANDS, "SQNR(dB)", "OP-TYPE", "OUT-NAME"]


def test_every_row_has_every_column_and_the_input_is_first():
    table = tables.rows(sample_comparison(12), shown={"rmse": True, "maxdiff": True, "bias": True})
    assert {len(row) for row in table} == {len(table[0])} and len(table) == 13
    assert table[1][0] == "0" and table[1][-2:] == ["Input", "input"]


def test_figures_are_shown_in_percent_with_the_digits_of_their_column():
    table = tables.rows(THREE)
    assert column(table, "cos(%)") == ["100.0000", "98.7654", "99.9000"]
    assert column(table, "MRE(%)") == ["0.0000", "7.0000", "-"]
    assert column(table, "SQNR(dB)") == ["200.00", "20.00", "25.00"]
    assert column(table, "own SQNR(dB)") == ["-", "12.50", "30.00"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (float("inf"), "inf"),
        (-1e-9, "0.00"),
        (-1.5, "-1.50"),
        (1.2e12, "1.2e+12"),
    ],
)
def test_no_number_breaks_a_cell(value, text):
    assert tables.cell(value, Column("x")) == text


@pytest.mark.parametrize(
    ("field", "order"),
    [
        *(("cos", "120"), ("accumulated_sqnr", "120"), ("own_sqnr", "120"), ("mre", "102")),
        *(("index", "012"), ("output", "210"), ("op_type", "120")),
    ],
)
def test_sorting_puts_the_worst_first_and_the_unknown_last(field, order):
    assert column(tables.rows(THREE, sort=field), "index") == list(order)


def test_equal_figures_keep_the_order_of_the_graph():
    many = comparison(*(layer(index, mre=0.5 if index % 2 else None) for index in range(6)))
    assert column(tables.rows(many, sort="mre"), "index") == list("135024")


def test_not_a_number_is_sorted_as_unknown():
    odd = comparison(layer(0, mre=float("nan")), layer(1, mre=0.1), layer(2, mre=float("inf")))
    assert column(tables.rows(odd, sort="mre"), "index") == ["2", "1", "0"]


def test_every_field_can_be_sorted_by():
    sample = sample_comparison(20)
    for field in tables.fields():
        assert sorted(column(tables.rows(sample, sort=field), "index"), key=int) == [
            str(i) for i in range(20)
        ]
    assert set(columns()) | {"own_sqnr", "index", "op_type", "output"} == set(tables.fields())


def test_an_unknown_field_names_its_neighbours():
    with pytest.raises(ConfigError, match="cannot sort by 'rmsee': did you mean 'rmse'"):
        tables.rows(THREE, sort="rmsee")


def test_operators_and_indices_choose_the_rows():
    sample = sample_comparison(30)
    table = tables.rows(sample, op_types=["conv", "Gemm"], indices=[(0, 7), (17, 19)])
    assert column(table, "index") == [
        str(one.index)
        for one in sample.layers
        if one.op_type in ("Conv", "Gemm") and (one.index <= 7 or 17 <= one.index <= 19)
    ]
    assert set(column(table, "OP-TYPE")) == {"Conv", "Gemm"}
    with pytest.raises(ConfigError, match="no layer is of type 'Cnov': did you mean 'Conv'"):
        tables.rows(sample, op_types=["Conv", "Cnov"])


def test_ranges_are_read():
    assert tables.parse_ranges("0-7,17-19", 20) == [(0, 7), (17, 19)]
    assert tables.parse_ranges(" 3 , 5 - 6", 7) == [(3, 3), (5, 6)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("0-7,17-20", "'17-20' is outside the layers, which are 0 to 19"), ("20", "'20' is outside")),
        *(("7-3", "'7-3' runs backwards; write 3-7"), ("1,a-b", "'a-b' in '1,a-b' is not of the form")),
        *(("", "'' in '' is not"), ("1,,2", "'' in '1,,2'"), ("-1", "'-1'"), ("1-", "'1-'"), ("²", "'²'")),
    ],
)
def test_a_wrong_range_is_named(text, said):
    with pytest.raises(ConfigError, match=said):
        tables.parse_ranges(text, 20)


def test_the_csv_has_every_figure_as_a_number():
    sample = sample_comparison(60)
    text = tables.csv(sample)
    assert text.count("\r\n") == 61 and "\n" not in text.replace("\r\n", "")
    read = list(reader.DictReader(io.StringIO(text, newline="")))
    for row, one in zip(read, sample.layers, strict=True):
        for key in columns():
            assert float(row[key]) == one.figures[key]
        for key in ("own_sqnr", "best_sqnr", "clipped", "minimum", "maximum"):
            assert row[key] == ("" if getattr(one, key) is None else repr(getattr(one, key)))
        assert (row["output"], row["op_type"], int(row["index"])) == (one.output, one.op_type, one.index)
    twelfth, softmax = read[12], next(row for row in read if row["op_type"] == "Softmax")
    assert (twelfth["bits"], twelfth["cause_kind"]) == ("8", "clipped_range")
    assert float(twelfth["scale"]) == sample.layers[12].rounding.scale
    assert twelfth["cause"] == sample.layers[12].cause.text
    assert (softmax["scale"], softmax["zero_point"], softmax["bits"], softmax["cause"]) == ("", "", "", "")


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_name_is_a_formula_in_the_csv(name: str) -> None:
    layer = replace(THREE.layers[1], output=name, quantized_output=name, op_type=name)
    (row,) = reader.DictReader(io.StringIO(tables.csv(replace(THREE, layers=[layer])), newline=""))
    assert [row[key] for key in ("op_type", "output", "quantized_output")] == [f"'{name}"] * 3
    negative = replace(THREE.layers[1], own_sqnr=-3.5)
    (row,) = reader.DictReader(io.StringIO(tables.csv(replace(THREE, layers=[negative])), newline=""))
    assert row["own_sqnr"] == "-3.5", "numbers stay numbers"


def test_the_csv_quotes_what_has_to_be_quoted():
    odd = 'a,b "c"\nd'
    named = replace(THREE, layers=[replace(THREE.layers[1], output=odd)])
    (row,) = reader.DictReader(io.StringIO(tables.csv(named), newline=""))
    assert row["output"] == odd and row["mre"] == "0.07" and row["rmse"] == ""
