"""``knight compare``."""

from __future__ import annotations

from knight.cli._later import unavailable

command = unavailable("compare", "Compare a float and a quantized model layer by layer.")
