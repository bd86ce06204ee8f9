"""docs/export.md names every format."""

from __future__ import annotations

from pathlib import Path

from knight.exporters import exporters

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"


def test_the_page_names_every_format() -> None:
    for name in exporters.names():
        assert f"| `{name}`" in PAGE.read_text("utf-8")
