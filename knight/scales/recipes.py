"""Recipes as JSON: a default choice and the rules that differ. They belong to no model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from knight import schema
from knight.recipe import FLOAT, Choice, Recipe, Rule
from knight.scales.checks import check_method
from knight.scales.documents import Document, Format, plain
from knight.schema import Table, wants

_Bits = Annotated[int, msgspec.Meta(ge=2, le=32)]


class ChoiceEntry(Table, frozen=True):
    """As `Choice`."""

    weight_bits: _Bits
    activation_bits: _Bits
    method: str
    options: dict[str, float]


class RuleEntry(Table, frozen=True):
    """As `Rule`. choice: the keys of `ChoiceEntry`, where it is not "float"."""

    choice: Annotated[
        Literal["float"] | dict[str, Any],
        wants('"float", or an object of weight_bits, activation_bits, method and options'),
    ]
    names: tuple[str, ...]
    op_types: tuple[str, ...]
    origin: str
    excludes: bool

    def __post_init__(self) -> None:
        if not self.names and not self.op_types:
            raise ValueError("names: is empty, and so is op_types; a rule needs one of them")


class RecipeEntry(Table, frozen=True):
    """As `Recipe`."""

    default: ChoiceEntry
    rules: tuple[RuleEntry, ...]
    keep_first: Annotated[int, msgspec.Meta(ge=0)]
    keep_last: Annotated[int, msgspec.Meta(ge=0)]
    reduce_range: bool

    def recipe(self, before: str) -> Recipe:
        """The same as a `Recipe`. Raises ConfigError, beginning with `before`, for choices that are none."""
        rules = [
            Rule(
                _choice(rule.choice, f"rules[{place}].choice", before), rule.names, rule.op_types, rule.origin
            )
            for place, rule in enumerate(self.rules)
        ]
        default = msgspec.convert(self.default, Choice, from_attributes=True)
        check_method(default.method, default.options, before, "default")
        return Recipe(default, tuple(rules), self.keep_first, self.keep_last, self.reduce_range)


def _choice(value: str | dict[str, Any], path: str, before: str) -> Choice | Literal["float"]:
    if value == FLOAT:
        return FLOAT
    entry = schema.read(value, ChoiceEntry, before=before, path=path)
    check_method(entry.method, entry.options, before, path)
    return msgspec.convert(entry, Choice, from_attributes=True)


class RecipeDocument(Document, frozen=True):
    """A file with one recipe."""

    recipe: RecipeEntry


RECIPE = Format("recipe", 1, RecipeDocument)


def save_recipe(recipe: Recipe, path: str | Path) -> Path:
    """Writes `recipe`. Raises ConfigError for choices that there are not, and OutputError."""
    path = Path(path)
    before = f"{RECIPE.before(path)}recipe."
    schema.read(plain(recipe), RecipeEntry, before=before).recipe(before)
    return RECIPE.write(path, {"recipe": recipe})


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in `path`. Raises ConfigError: one line that names file, key and remedy."""
    path = Path(path)
    return RECIPE.read(path).recipe.recipe(f"{RECIPE.before(path)}recipe.")
