"""What all tests share: the folder of real models and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KIT = ROOT.parent / "shared" / "kit"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-kit",
        action="store_true",
        help=f"fail where {KIT}, Chromium or make is missing, instead of skipping",
    )


ALONE = ("tensorflow", "paddle")
"""Frameworks that bring each other down in one process; scripts/test runs the tests of each by themselves."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the folders of `ALONE`, unless the command line names them."""
    if collection_path.parent.name != "converters" or collection_path.name not in ALONE:
        return None
    asked = (Path(argument.partition("::")[0]).resolve() for argument in config.args)
    return None if any(path.is_relative_to(collection_path) for path in asked) else True


@pytest.fixture(scope="session")
def kit(request: pytest.FixtureRequest) -> Path:
    """Real trained models, pictures and sounds; beside the repository, not part of it."""
    if not KIT.is_dir():
        message = f"the models and pictures of {KIT} are not there"
        if request.config.getoption("--require-kit"):
            pytest.fail(message)
        pytest.skip(message)
    return KIT
