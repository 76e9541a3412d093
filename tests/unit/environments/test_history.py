"""conda's own history against what was recorded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import pytest

from envtrail.environments.baseline import read_conda_history
from envtrail.environments.history import check_history
from envtrail.environments.verify import FileFinding
from envtrail.interpret.drift import operation_of_drift
from envtrail.model.environment import Environment
from envtrail.model.observation import BaselineChange
from envtrail.model.operation import Actor, Change, Confidence, Operation, Outcome, PackageState
from envtrail.model.times import to_ms, to_rfc3339
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case

DAY_MS = 86_400_000
FIRST_MS = to_ms("2026-03-02T12:00:00.000Z")


def operation(at_ms: int, *packages: str, tool: str = "conda", **more: object) -> Operation:
    made = operation_of(Case(tool=tool, packages=list(packages)))
    return msgspec.structs.replace(made, started=to_rfc3339(at_ms), ended=to_rfc3339(at_ms + 9000), **more)


def block(at_ms: int, *lines: str, zone: timezone | None = None) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, tz=zone)
    return f"==> {moment:%Y-%m-%d %H:%M:%S} <==\n# cmd: /c/bin/conda install\n" + "".join(f"{line}\n" for line in lines)


def reported(tmp_path: Path, text: str, *operations: Operation) -> list[str]:
    (tmp_path / "conda-meta").mkdir(exist_ok=True)
    (tmp_path / "conda-meta/history").write_text(text)
    blocks = read_conda_history(Environment(prefix=str(tmp_path), kind="conda"), FIRST_MS + 9 * DAY_MS)
    return [item.detail or "" for item in check_history("history", blocks, operations)]


BEFORE = block(FIRST_MS - DAY_MS, "+conda-forge/linux-64::python-3.11.1-0")
SIX = block(FIRST_MS + 8000, "+conda-forge/noarch::six-1.16.0-pyh6c4a22f_0")
NEXT = block(
    FIRST_MS + DAY_MS + 8000,
    "-defaults::six-1.16.0-0",
    "+defaults::six-1.17.0-0",
    "+defaults::zlib-1.3-0",
    "-defaults::zlib-1.3-0",
)
DONE = (operation(FIRST_MS, "six==1.16.0"), operation(FIRST_MS + DAY_MS, "six==1.17.0"))


@pytest.mark.parametrize("dist", ["conda-forge::s.0-py_0", "a-b::c", "-", "--", "::-1"])
def test_a_name_that_was_cut_is_kept_as_it_is(tmp_path: Path, dist: str) -> None:
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta/history").write_text(block(FIRST_MS, f"+{dist}"))
    [change] = read_conda_history(Environment(prefix=str(tmp_path), kind="conda"), FIRST_MS + DAY_MS)
    assert change.added in ([dist], [])


def test_a_history_as_conda_left_it_differs_in_nothing(tmp_path: Path) -> None:
    assert reported(tmp_path, BEFORE + SIX + NEXT, *DONE) == []
    assert reported(tmp_path, BEFORE + SIX + NEXT) == [], "nothing was recorded yet"
    in_utc = block(FIRST_MS + 8000, "+six-1.16.0-0", zone=timezone.utc) + NEXT
    assert reported(tmp_path, in_utc, *DONE) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BEFORE + NEXT, "does not tell of six"),
        ("", "does not tell of six"),
        (BEFORE + SIX + NEXT + block(FIRST_MS + 2 * DAY_MS, "+evil-1.0-0"), "at a time when none was recorded"),
        (BEFORE + SIX + NEXT.replace("+defaults::zlib", "+defaults::evil"), "tells of evil, zlib"),
        (BEFORE + SIX.replace("six", "sax") + NEXT, "tells of sax"),
    ],
)
def test_what_was_edited_by_hand_is_reported(tmp_path: Path, text: str, why: str) -> None:
    assert any(why in said for said in reported(tmp_path, text, *DONE))


def test_what_another_operation_explains_or_nobody_judged_is_nothing(tmp_path: Path) -> None:
    later = FIRST_MS + 2 * DAY_MS
    extra = BEFORE + SIX + NEXT + block(later, "+tqdm-4.0-0")
    change = Change(ecosystem="conda", name="tqdm", requested=None, before=None, after=PackageState(version="4.0"))
    drift = operation_of_drift(str(tmp_path), "conda", [change], since_ms=later - DAY_MS // 2, until_ms=later + DAY_MS, node="h")
    assert reported(tmp_path, extra, *DONE, drift) == []
    assert reported(tmp_path, extra, *DONE, operation(later, changes=None)) == []
    by_pip = operation(FIRST_MS + 3 * DAY_MS, "idna==3", tool="pip")
    failed = operation(FIRST_MS + 3 * DAY_MS, "idna==3", outcome=Outcome.FAILURE)
    assert reported(tmp_path, BEFORE + SIX + NEXT, *DONE, by_pip, failed) == []
    owner = Actor(name=None, uid=1, auid=None, method="owner", confidence=Confidence.WEAK)
    assert reported(tmp_path, BEFORE + SIX, operation(FIRST_MS - DAY_MS, "gone==1", actor=owner), DONE[0]) == []


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York"], indirect=True)
def test_a_history_in_utc_is_understood_on_a_machine_elsewhere(tmp_path: Path, zone: str) -> None:
    (tmp_path / "conda-meta").mkdir()
    text = block(FIRST_MS + 8000, "+six-1.16.0-0", zone=timezone.utc)
    (tmp_path / "conda-meta/history").write_text(text)
    blocks = read_conda_history(Environment(prefix=str(tmp_path), kind="conda"), FIRST_MS + 9 * DAY_MS)
    assert blocks[0].when_ms != FIRST_MS + 8000
    assert check_history("history", blocks, [DONE[0]]) == []
    assert check_history("history", blocks, [operation(FIRST_MS + 11_000, "six==1.16.0")]) != []


@pytest.mark.parametrize("zone", ["UTC"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_each_finding_says_where_when_and_why() -> None:
    def forged(when_ms: int, why: str) -> FileFinding:
        return FileFinding(path="/c/history", what="history", package=None, changed_ms=when_ms, detail=why)

    def at(when_ms: int, *added: str, removed: tuple[str, ...] = ()) -> BaselineChange:
        reported = {"time_ms": 0, "prefix": "/c", "kind": "conda", "argv": None, "tool": "conda", "owner_uid": 0}
        return BaselineChange(when_ms=when_ms, added=list(added), removed=list(removed), **reported)  # type: ignore[arg-type]

    one = operation(FIRST_MS, "six==1", "tqdm==1")
    none = "it tells of a change at a time when none was recorded"
    cases = [
        ([at(FIRST_MS, "six 1", "tqdm 1")], []),
        ([at(FIRST_MS, "six 1", removed=("tqdm 1",))], []),
        (
            [at(FIRST_MS, "six 1", "tqdm 1", "evil", "bad 1")],
            [forged(FIRST_MS, "it tells of bad, evil, which no operation of that time changed")],
        ),
        ([at(FIRST_MS, "six 1", "tqdm 1", "evil 1", removed=("evil 1",))], []),
        ([at(FIRST_MS - 2000, "six 1", "tqdm 1", "evil 1")], []),
        ([at(FIRST_MS + 11_000, "six 1", "tqdm 1")], []),
        ([at(FIRST_MS, "six 1", "tqdm 1"), at(FIRST_MS + 11_001, "six 1")], [forged(FIRST_MS + 11_001, none)]),
        ([], [forged(FIRST_MS, f"it does not tell of six, tqdm, which operation {one.id[:10]} changed")]),
        ([at(FIRST_MS, "tqdm 1")], [forged(FIRST_MS, f"it does not tell of six, which operation {one.id[:10]} changed")]),
    ]
    for blocks, expected in cases:
        assert check_history("/c/history", blocks, [one]) == expected, blocks
    assert check_history("/c/history", [], [msgspec.structs.replace(one, shared=[one.id])]) == []
    for tool, count in (("mamba", 1), ("micromamba", 1), ("pip", 0)):
        assert len(check_history("/c/history", [], [msgspec.structs.replace(one, tool=tool)])) == count
