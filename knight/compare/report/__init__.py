"""The report of a comparison: one HTML page holding its style, script and data; it fetches nothing."""

from __future__ import annotations

import html
import re
from importlib import resources

from knight.compare.comparison import Comparison
from knight.compare.report import _data

_SCRIPTS = ("format.js", "scales.js", "graph.js", "charts.js", "table.js", "detail.js", "page.js")
"""In this order: a file uses what those before it define."""

_STYLES = ("base.css", "page.css", "layer.css")


def write_report(comparison: Comparison) -> str:
    """The whole page as a string; every character of the data is ASCII, so any encoding will do."""
    parts = {
        "title": html.escape(f"{_base(comparison.reference)} and {_base(comparison.result)} compared"),
        "style": "\n".join(_text(name) for name in _STYLES),
        "data": _data.as_json(comparison),
        "script": "\n".join(_text(name) for name in _SCRIPTS),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _text("report.html"))


def _base(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
