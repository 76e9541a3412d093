"""A state of a trail that holds nothing yet, and its store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.trail.layout import Layout


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    Layout(tmp_path).create()
    with closing(State(Layout(tmp_path).state)) as made:
        yield made


@pytest.fixture
def store(state: State) -> Iterator[EmbeddedStore]:
    with closing(EmbeddedStore(state.path.parents[1])) as opened:
        yield opened
