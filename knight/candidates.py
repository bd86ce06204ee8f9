"""The combinations that one run of ``knight quant`` tries, from its options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from knight import border
from knight.calibration import calibrations
from knight.config import QuantConfig
from knight.errors import ConfigError
from knight.exporters import exporters
from knight.mix_config import Entry, read_mix_config, rules_of
from knight.optimizers import check_optimizers
from knight.recipe import FLOAT, Choice, Recipe, Rule
from knight.targets import Target


@dataclass(frozen=True)
class Candidate:
    """One quantized model to make: `recipe`, with statistics of the first `iteration` forward calls, and the
    `optimizers` of these names."""

    recipe: Recipe
    iteration: int
    optimizers: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """The calibration method of what no rule names."""
        return self.recipe.default.method

    @property
    def label(self) -> str:
        """Names the combination, as in ``min_max_it_5`` or ``min_max_it_5_bias_correction``."""
        return "_".join((self.method, "it", str(self.iteration), *self.optimizers))


def candidates(config: QuantConfig, target: Target) -> tuple[Candidate, ...]:
    """Every method with every number of iterations. Raises ConfigError as `check_config` does."""
    check_config(config, target)
    entries = () if config.mix_config is None else read_mix_config(config.mix_config)
    recipes = {method: _recipe(config, method, entries) for method in config.methods}
    pairs = product(config.methods, config.iterations)
    return tuple(Candidate(recipes[method], iteration, config.optimizers) for method, iteration in pairs)


def _recipe(config: QuantConfig, method: str, entries: Sequence[Entry]) -> Recipe:
    """What `config` says of single operators, around one calibration method."""
    known = {"percent": config.percent}
    options = {name: known[name] for name in calibrations.get(method).options if name in known}
    default = Choice(config.bits, config.bits, method, options)
    rules = [*config.rules]
    if config.mix_config is not None:
        rules += rules_of(entries, default, config.mix_config)
    if config.disable_types:
        rules.append(Rule(FLOAT, op_types=config.disable_types, origin="--disable-types", excludes=True))
    if config.disable_names:
        rules.append(Rule(FLOAT, names=config.disable_names, origin="--disable-names", excludes=True))
    return Recipe(
        default=default,
        rules=tuple(rules),
        keep_first=config.keep_first,
        keep_last=config.keep_last,
        reduce_range=config.reduce_range,
    )


def check_config(config: QuantConfig, target: Target) -> None:
    """Raises ConfigError for options that do not go together or that the target lacks."""
    if config.bits not in target.bits:
        raise ConfigError(f"{target.name} has no {config.bits}-bit integers; it has {_listed(target.bits)}")
    if config.bits != 8:
        raise ConfigError("-b 16 is not available yet; use -b 8")
    if config.reduce_range and not target.weight_signed:
        raise ConfigError(
            f"--reduce-range: {target.name} has unsigned weights, which do not saturate; leave it out"
        )
    if not 0.5 < config.percent <= 1.0:
        raise ConfigError(f"-per {config.percent}: wants a fraction above 0.5 and up to 1, such as 0.99999")
    if any(iteration < 1 for iteration in config.iterations) or not config.iterations:
        raise ConfigError("-i wants numbers of at least 1")
    if config.keep_first < 0 or config.keep_last < 0:
        raise ConfigError("--keep-first and --keep-last want numbers of at least 0")
    exporters.get(config.format)
    check_optimizers(config.optimizers)
    border.wanted_types(config.input_dtypes, config.bits)
    if config.batch_size < 1 or (config.ir_batch is not None and config.ir_batch < 1):
        raise ConfigError("-bs and -ib want a number of at least 1")


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))
