"""What decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deciding_lab import DecisionLab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[DecisionLab]:
    made = DecisionLab(tmp_path)
    yield made
    made.state.close()
