"""The same weights in every run: an unlucky draw gives outputs of next to no range, and the error is all."""

from __future__ import annotations

import keras
import pytest


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    keras.utils.set_random_seed(0)
