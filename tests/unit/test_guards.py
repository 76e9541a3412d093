"""Guards over the source: what the whole package has to keep."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import envtrail

SOURCE = Path(envtrail.__file__).parent
TWICE = {"Difference", "Entry", "Evidence", "Part", "Program", "State", "Step"}
"""Public class names that still have two or more meanings; none may be added."""
FEWEST_CLASSES = 400
"""Fewer would mean that the guard looked in the wrong place."""


def test_a_public_class_name_means_one_thing() -> None:
    places = defaultdict(list)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(SOURCE)))
    assert sum(map(len, places.values())) >= FEWEST_CLASSES
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert set(twice) == TWICE, twice
