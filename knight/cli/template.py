"""``knight template``."""

from __future__ import annotations

from knight.cli._later import unavailable

command = unavailable("template", "Write a mixed-precision template.")
