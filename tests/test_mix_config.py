"""Files of -mc: what they say, and one line for whatever is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from knight.errors import ConfigError, KnightError
from knight.mix_config import read_mix_config, rules_of
from knight.recipe import FLOAT, Choice, Rule

DEFAULT = Choice(method="percentile", options={"percent": 0.999})


def rules(folder: Path, document: object) -> tuple[Rule, ...]:
    path = folder / "mix.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return rules_of(read_mix_config(path), DEFAULT, path)


def test_entries_become_rules_and_leave_the_rest_to_the_command_line(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        [
            {"op_names": ["conv1", "stage2*"], "bitwidth": 8, "mode": "mse"},
            {"op_types": ["Softmax"], "bitwidth": "float"},
            {"op_names": ["fc"], "op_types": ["Gemm"], "bitwidth": 8},
            {"op_names": ["head"], "mode": "percentile"},
        ],
    )
    assert [rule.choice for rule in found] == [Choice(method="mse"), FLOAT, DEFAULT, DEFAULT]
    assert found[0].names == ("conv1", "stage2*") and found[1].op_types == ("Softmax",)
    assert (found[2].names, found[2].op_types) == (("fc",), ("Gemm",))
    assert found[1].origin.endswith("mix.json: [1]")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[", "no JSON"),
        ({"conv1": {"bitwidth": 8}}, "wants a list of entries"),
        ([{"op_names": ["a"], "bitwidth": 7}], r"\[0\].bitwidth: is 7; it has to be 8, 16 or \"float\""),
        ([{"op_names": ["a"], "bitwidth": "8"}], r"\[0\].bitwidth: is \"8\""),
        ([{"op_names": "a", "bitwidth": 8}], r"\[0\].op_names: is \"a\"; it has to be a list of texts"),
        ([{"bitwidth": 8}], r"\[0\].op_names is missing; an entry needs op_names or op_types"),
        ([{"op_names": ["a"]}], r"\[0\].bitwidth is missing; an entry needs bitwidth or mode"),
        ([{"op_names": ["a"], "bitwidth": "float", "mode": "kl"}], r"\[0\].mode: has no meaning"),
        ([{"op_name": ["a"], "bitwidth": 8}], r"\[0\].op_name: unknown key: did you mean 'op_names'"),
        (
            [{"op_names": ["a"], "mode": "klv2"}],
            r"\[0\].mode: unknown calibration method 'klv2'",
        ),
        ([{"op_names": ["a"], "bitwidth": 16}], r"\[0\].bitwidth: 16 bits are not available yet"),
        ([8], r"\[0\]: is 8"),
        ([], "wants a list of entries"),
        (
            '[{"op_names": ["a"], "bitwidth": 8, "bitwidth": "float"}]',
            "bitwidth: the same key is there twice",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^-mc/--mix-config .*mix.json: {message}"):
        rules(tmp_path, document)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"-mc/--mix-config .*none.json: No such file"):
        read_mix_config(tmp_path / "none.json")


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["op_names", "op_types", "bitwidth", "mode"]) | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(documents)
def test_no_document_is_answered_by_anything_but_one_line(document: object) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            rules(Path(folder), document)
        except KnightError as error:
            assert "\n" not in str(error) and "mix.json" in str(error)
