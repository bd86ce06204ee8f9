"""A model's own metadata are read with suspicion: what is damaged is one line that names the key."""

from __future__ import annotations

import json
from collections.abc import Callable

import onnx_ir as ir
import pytest

from knight import border
from knight.border import INPUT_DTYPES, NORMALIZATION
from knight.errors import ModelError
from knight.outputs import OUTPUT_SCALES, output_scales
from tests.passes.equivalence import build

READERS: dict[str, Callable[[ir.Model], object]] = {
    OUTPUT_SCALES: output_scales,
    INPUT_DTYPES: border.input_types,
    NORMALIZATION: border.normalization_of,
}
NO_DATA = [
    *("", "{", "1", '"a"', "[]", "\0", "\x1b[31m", '{"y": null}', '{"y": 5}', '{"y": {}}', "1" * 6000, "NaN"),
    *("[" * 100000, '{"y":' * 50000, '{"y": "\\ud800"}'),
]
WRONG = {
    OUTPUT_SCALES: [
        *(
            '{"scale": "a", "zero_point": 0}',
            '{"scale": NaN, "zero_point": 0}',
            '{"scale": 1, "zero_point": []}',
        ),
        *(
            '{"scale": -1.0, "zero_point": 0}',
            '{"scale": 0, "zero_point": 0}',
            '{"scale": 1e400, "zero_point": 0}',
        ),
        *('{"scale": 1e300, "zero_point": 0}', '{"scale": 1, "zero_point": 1e400}', '{"scale": 1}'),
        *('{"scale": 1, "zero_point": 0.5}', '{"scale": 1, "zero_point": 9999999999}', '{"scale": true}'),
    ],
    INPUT_DTYPES: ['"float64"', '"foo"', "5", '["uint8"]', "{}"],
}
WRONG_NORMALIZATION = [
    *('{"input": "x", "mean": [1], "std": [0]}', '{"input": 5, "mean": [1], "std": [1]}', '{"mean": [1]}'),
    *('{"input": "x", "mean": [1, 2], "std": [1]}', '{"input": "x", "mean": [], "std": []}'),
    *('{"input": "x", "mean": "a", "std": [1]}', '{"input": "x", "mean": [1e400], "std": [1]}'),
]


def model_that_says(key: str, text: str) -> ir.Model:
    model = build("y = Relu(x)")
    model.metadata_props[key] = text
    return model


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *((key, text) for key in READERS for text in NO_DATA),
        *((key, f'{{"y": {text}}}') for key, texts in WRONG.items() for text in texts),
        *((NORMALIZATION, text) for text in WRONG_NORMALIZATION),
    ],
)
def test_damaged_metadata_are_one_line(key: str, text: str) -> None:
    with pytest.raises(ModelError) as caught:
        READERS[key](model_that_says(key, text))
    assert str(caught.value).startswith(f"the model's metadata {key} are damaged: ")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_what_knight_writes_is_read() -> None:
    scales = {"y": {"scale": 0.1, "zero_point": -3}}
    assert output_scales(model_that_says(OUTPUT_SCALES, json.dumps(scales))) == scales
    assert border.input_types(model_that_says(INPUT_DTYPES, '{"x": "uint8"}')) == {"x": "uint8"}
    found = border.normalization_of(
        model_that_says(NORMALIZATION, '{"input": "x", "mean": [1], "std": [2.5]}')
    )
    assert found is not None and (found.input, found.mean, found.std) == ("x", (1.0,), (2.5,))


def test_a_model_that_says_nothing() -> None:
    model = build("y = Relu(x)")
    assert [reader(model) for reader in READERS.values()] == [{}, {}, None]
