"""The switches that metrics add to ``knight compare``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from knight import registry
from knight.cli._compare_flags import compare_flags, shown_metrics
from knight.compare.metrics import Column, Metric, metrics
from knight.entry_points import EntryPoint
from knight.errors import ConfigError

SWITCHES = {
    "no_mre": "leave out the mean relative error",
    "no_cos": "leave out the cosine",
    "rmse": "add the relative root mean square error",
    "maxdiff": "add the largest relative and absolute difference",
    "bias": "add the fractions of elements above and below",
}


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Metric]]:
    """Metrics of another distribution, filled by the test."""
    found: dict[str, Metric] = {}
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [EntryPoint(group, name, "os", "acme 2.0") for name in found]
    )
    monkeypatch.setattr(EntryPoint, "load", lambda entry: found[entry.name])

    def forget() -> None:
        vars(metrics).pop("plugins", None)
        compare_flags.cache_clear()

    forget()
    yield found
    forget()


def test_the_documented_switches_are_there() -> None:
    texts = {flag.key: flag.help for flag in compare_flags()}
    assert {key: texts[key] for key in SWITCHES} == SWITCHES


def test_they_say_what_the_table_has(added: dict[str, Metric]) -> None:
    added["my_norm"] = Metric({"n": Column("n")}, lambda tally: (None,), title="norm")
    added["silent"] = Metric({"s": Column("s")}, lambda tally: (None,))
    values = {flag.key: False for flag in compare_flags()}
    assert "no_my_norm" in values and "silent" not in values and "no_silent" not in values
    wanted = {"mre": True, "cos": True, "rmse": False, "maxdiff": False, "bias": False, "my_norm": True}
    assert shown_metrics(values) == wanted
    turned = {key: key in SWITCHES or key == "no_my_norm" for key in values}
    assert shown_metrics(turned) == {name: not shown for name, shown in wanted.items()}


def test_a_switch_must_not_be_another_flag(added: dict[str, Metric]) -> None:
    added["sort"] = Metric({"x": Column("x")}, lambda tally: (None,), shown=False, title="x")
    with pytest.raises(ConfigError, match=r"^metric 'sort' \(acme 2\.0\): its switch --sort is another flag"):
        compare_flags()


def test_what_is_hidden_needs_a_switch() -> None:
    with pytest.raises(ConfigError, match="needs a title"):
        Metric({"x": Column("x")}, lambda tally: (None,), shown=False)
