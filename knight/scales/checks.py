"""What several kinds of files have to keep: names that exist, methods that there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from knight.calibration import calibrations
from knight.errors import ConfigError, did_you_mean, printable, shown


def check_name(name: str, known: Collection[str], before: str, key: str, what: str) -> None:
    """Raises ConfigError unless `name` is one of `known`.

    before, key: the file and the key's path. what: the message, with ``{}`` for the name.
    """
    if name not in known:
        near = did_you_mean(name, known, list_all=False)
        raise ConfigError(f"{before}{printable(key)}: {what.format(shown(name))}: {near}")


def check_method(method: str, options: Mapping[str, float], before: str, key: str) -> None:
    """Raises ConfigError for a calibration method that is not there, or that does not take `options`."""
    try:
        calibrations.get(method).check(options)
    except ConfigError as error:
        raise ConfigError(f"{before}{printable(key)}: {error}") from None
