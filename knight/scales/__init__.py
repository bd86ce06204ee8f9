"""Plan, parameters, statistics and recipe in files, so that another process goes on where one left off.

What is read is what was written, to the bit; writing it again gives the same bytes. A file says what it is,
in which version, and which prepared model it belongs to. Files appear whole or not at all, and are read
without trust: what cannot be right is a KnightError of one line. docs/scale-files.md describes them.
"""

from __future__ import annotations

from knight.scales.parameters import load_parameters, save_parameters
from knight.scales.plans import load_plan, save_plan
from knight.scales.recipes import load_recipe, save_recipe
from knight.scales.statistics import load_statistics, save_statistics

__all__ = [
    "load_parameters",
    "load_plan",
    "load_recipe",
    "load_statistics",
    "save_parameters",
    "save_plan",
    "save_recipe",
    "save_statistics",
]
