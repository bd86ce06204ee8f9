"""What all tests share: the folder of real models and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
KIT = ROOT.parent / "shared" / "kit"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-kit", action="store_true", help=f"fail where {KIT} is missing, instead of skipping"
    )


@pytest.fixture(scope="session")
def kit(request: pytest.FixtureRequest) -> Path:
    """Real trained models, pictures and sounds; beside the repository, not part of it."""
    if not KIT.is_dir():
        message = f"the models and pictures of {KIT} are not there"
        if request.config.getoption("--require-kit"):
            pytest.fail(message)
        pytest.skip(message)
    return KIT
