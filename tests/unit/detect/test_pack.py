"""Every detection of the pack: what fires it, and what is like that and must not."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest
from pack_cases import CASES, OFFICE_HOURS, PYTHON, Given, execs, operation

from envtrail.core import Assembler
from envtrail.detect.detection import PACK
from envtrail.detect.detector import Detector, table_of
from envtrail.detect.load import load_detections
from envtrail.detect.rows import Known, change_rows, gap_row, operation_row, similar_to
from envtrail.detect.tables import in_segment
from envtrail.model.finding import Finding
from envtrail.model.gap import Gap

LOADED = load_detections([PACK])


def notice(given: Given) -> list[Finding]:
    """What all detections of the pack say of it."""
    detector = Detector(LOADED)
    if isinstance(given, bytes):
        assembler = Assembler(node="host")
        assembler.push(given)
        assembler.flush()
        return list(detector.evaluate("events", in_segment(pa.record_batch(assembler.drain().events()), 7)))
    if isinstance(given, Gap):
        return list(detector.evaluate("gaps", table_of("gaps", [gap_row(given)])))
    known = Known(sources={"https://known/simple"}, packages={"known"})
    rows = [operation_row(item, OFFICE_HOURS, None) for item in given]
    changes = [change for item, row in zip(given, rows, strict=True) for change in change_rows(item, row, known)]
    return [
        *detector.evaluate("operations", table_of("operations", rows)),
        *detector.evaluate("changes", table_of("changes", changes)),
    ]


def test_every_detection_of_the_pack_can_be_asked_and_has_a_case_that_fires_it_and_one_that_does_not() -> None:
    assert LOADED.refused == []
    counted = {name for item in LOADED.detections if item.correlation for name in item.correlation.rules}
    reported = {item.id for item in LOADED.detections} - counted
    assert reported == set(CASES)
    assert len(reported) >= 20
    assert all(fires and silent for fires, silent in CASES.values())
    assert all(item.description and item.falsepositives for item in LOADED.detections if item.id in reported)


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_fires(name: str) -> None:
    for given in CASES[name][0]:
        found = [item for item in notice(given) if item.detection == name]
        assert len(found) == 1, given
        assert found[0].title
        assert found[0].reason
        assert all(item.segment == 7 for item in found[0].evidence)


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_stays_silent(name: str) -> None:
    for given in CASES[name][1]:
        assert name not in {item.detection for item in notice(given)}, given


def test_a_finding_names_who_where_and_what() -> None:
    (found,) = [item for item in notice(execs((PYTHON, "-m", "jupyter", "lab", "--ip=0.0.0.0"))) if item.source == "sigma"]
    assert (found.uid, found.argv[-1], found.evidence[0].serial, found.host) == (1001, "--ip=0.0.0.0", 1000, "host")
    assert found.values["CommandLine"] == "python3.11 -m jupyter lab --ip=0.0.0.0"
    (typo,) = [item for item in notice([operation(packages=["nunpy==1"])]) if item.detection.startswith("name_like")]
    assert (typo.user, typo.package, typo.prefix, typo.values["similar_to"]) == (
        "somebody",
        "nunpy",
        "/opt/conda/envs/test",
        "numpy",
    )
    assert typo.operation is not None


def test_names_are_alike_by_one_slip_of_a_finger() -> None:
    pairs = {"requets": "requests", "rrequests": "requests", "requesst": "requests", "python-dotenvv": "python-dotenv"}
    assert {name: similar_to(name) for name in pairs} == pairs
    assert similar_to("pythondotenv") == "python-dotenv"
    assert [similar_to(name) for name in ("requests", "flasks2", "six", "my-requests", "cattrs")] == [None] * 5


def test_a_package_of_conda_is_none_that_anybody_could_have_published() -> None:
    """conda's `python` is one letter from PyPI's cython: each `conda create` would be accused."""
    made = operation(packages=["python==3.12"])
    changes = [msgspec.structs.replace(change, ecosystem="conda") for change in made.changes or ()]
    assert notice([made]) != []
    assert notice([msgspec.structs.replace(made, changes=changes)]) == []
