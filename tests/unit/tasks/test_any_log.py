"""Evidence that is right on any log: its records, its operations and its people, however the log is kept, cut, copied and read."""

from __future__ import annotations

import json
import random
import re
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from log_lab import Said, Trail, check_quotes
from logs import pip_log

from envtrail.agent.build import open_trail
from envtrail.agent.pipeline import Pipeline
from envtrail.agent.world import ImportedWorld
from envtrail.errors import StoreError
from envtrail.model.observation import Carried, SnapshotTaken
from envtrail.model.text import record_lines
from envtrail.state.events import find_events
from envtrail.state.schema import connect
from envtrail.state.store import Query
from envtrail.trail.layout import Layout
from envtrail.trail.reader import iterate_steps
from envtrail.trail.verify import verify

TESTS = Path(__file__).parents[2]
CASES = sorted((TESTS / "golden_logs").iterdir())
LOGS = sorted([*TESTS.glob("golden/*/input.log"), *TESTS.glob("data/logs/logins/*.log"), *TESTS.glob("golden_logs/*/input.log")])
"""Every recorded log of one file."""
MOST_CUTS = 5
"""Of each log, in the property of two imports: all of them took a minute and a half."""
OPEN_AT_THE_CUT = [
    *(("conda", cut) for cut in (2, 9, 27)),
    *(("pip", cut) for cut in (15, 28)),
    *(("projects", cut) for cut in (5, 7, 41)),
    *(("uv", cut) for cut in (15, 38)),
]
"""Golden logs, cut in an operation whose environment, or whose whole exec, is in the second part alone."""
EOE = re.compile(rb"^(?:node=\S+ )?type=EOE .*\n", re.MULTILINE)


def has_all(found: Any, expected: Any) -> bool:
    """Whether a value says what is expected of it, and maybe more."""
    if isinstance(expected, dict):
        return all(has_all(found[key], value) for key, value in expected.items())
    return bool(found == expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_log_says_what_is_right(case: Path, tmp_path: Path) -> None:
    expected = json.loads((case / "expected.json").read_text())
    trail = Trail(tmp_path / "trail")
    for files in expected["imports"]:
        trail.take(*(case / name for name in files))
    said = trail.said()
    for kind in ("operations", "runs", "sessions"):
        found = getattr(said, kind)
        assert len(found) == len(expected.get(kind, [])), found
        assert all(has_all(row, wanted) for row, wanted in zip(found, expected.get(kind, []), strict=True)), found
    events = trail.events()
    check_quotes(events)
    assert len(events) == expected.get("events", len(events))


def test_there_are_logs_to_be_tried() -> None:
    assert (len(CASES) >= 14, len(LOGS) >= 40) == (True, True)
    assert [case.name for case in CASES if not (case / "about.md").read_text().strip()] == []


def imported(folder: Path, *texts: bytes) -> tuple[Trail, Said]:
    """A trail of these parts of one log, and what it says but for where its evidence lies."""
    trail = Trail(folder / "trail")
    trail.take_text(*texts)
    return trail, trail.said()


def test_nothing_is_looked_up_for_an_operation_of_a_log(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail")
    trail.take(TESTS / "golden/pip/input.log")
    observed = [item for step in iterate_steps(Layout(trail.config.data_dir)) for item in step.observations]
    assert [one["outcome"] for one in trail.said().operations].count("success") > 1
    assert [item for item in observed if isinstance(item, SnapshotTaken)] == []
    assert trail.differences() == []


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.parent.name}-{log.stem}")
def test_what_is_shown_is_what_the_evidence_gives(log: Path, tmp_path: Path) -> None:
    """Quotes are right; a rebuild says the same; the same log again, whole or in part, adds nothing."""
    text = log.read_bytes()
    trail, said = imported(tmp_path, text)
    events = trail.events()
    check_quotes(events)
    trail.rebuild()
    assert trail.said() == said
    lines = text.splitlines(keepends=True)
    again = trail.take_text(text)
    part = trail.take_text(b"".join(lines[len(lines) // 3 :]), name="copy.log")
    assert [(one.events, one.operations, one.runs, one.sessions) for one in (again, part)] == [(0, 0, 0, 0)] * 2
    assert trail.said() == said
    assert len(trail.events()) == len(events)


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.parent.name}-{log.stem}")
def test_the_form_of_a_log_changes_nothing(log: Path, tmp_path: Path) -> None:
    """With and without EOE, and cut into rotated files anywhere, the same is said."""
    text = log.read_bytes()
    _, said = imported(tmp_path / "whole", text)
    _, bare = imported(tmp_path / "bare", EOE.sub(b"", text))
    assert bare == said
    lines = text.splitlines(keepends=True)
    chance = random.Random(len(text))
    for number in range(3):
        cuts = sorted(chance.randrange(len(lines) + 1) for _ in range(2))
        parts = [b"".join(lines[start:end]) for start, end in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
        _, rotated = imported(tmp_path / f"rotated{number}", *[part for part in parts if part])
        assert rotated == said


def imported_apart(folder: Path, text: bytes, cut: int) -> Trail:
    """A trail of a log that was cut after a line, and imported in two commands."""
    lines = text.splitlines(keepends=True)
    trail = Trail(folder / "trail")
    trail.take_text(b"".join(lines[:cut]), name="audit.log.1")
    trail.take_text(b"".join(lines[cut:]))
    return trail


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.parent.name}-{log.stem}")
def test_a_log_in_two_imports_says_what_it_says_in_one(log: Path, tmp_path: Path) -> None:
    text = log.read_bytes()
    _, said = imported(tmp_path / "whole", text)
    count = len(text.splitlines())
    chance = random.Random(count)
    for cut in chance.sample(range(1, count), min(MOST_CUTS, count - 1)):
        # What became of a file within one part is reported as one change: joined, it may be reported otherwise.
        found = imported_apart(tmp_path / str(cut), text, cut).said().without("files", "files_total")
        assert found == said.without("files", "files_total"), cut


@pytest.mark.parametrize("cut", [310, 737])
def test_changes_by_hand_that_a_cut_parts_are_one_operation(cut: int, tmp_path: Path) -> None:
    text = (TESTS / "golden" / "tampering" / "input.log").read_bytes()
    _, said = imported(tmp_path / "whole", text)
    trail = imported_apart(tmp_path / "apart", text, cut)
    assert trail.said().without("files", "files_total") == said.without("files", "files_total")
    paths = [{file["path"] for row in one.operations for file in row["files"]} for one in (trail.said(), said)]
    assert paths[0] >= paths[1]
    assert trail.differences() == []


@pytest.mark.parametrize(("case", "cut"), OPEN_AT_THE_CUT)
def test_an_operation_that_is_open_at_the_end_of_an_import_has_one_row(case: str, cut: int, tmp_path: Path) -> None:
    text = (TESTS / "golden" / case / "input.log").read_bytes()
    _, said = imported(tmp_path / "whole", text)
    trail = imported_apart(tmp_path / "apart", text, cut)
    assert trail.said() == said
    assert trail.differences() == []
    trail.rebuild()
    assert trail.said() == said


@pytest.mark.parametrize("case", ["conda", "pip", "projects", "uv"])
def test_an_operation_may_be_open_over_several_sealed_segments(case: str, tmp_path: Path) -> None:
    """Each command is an agent that was started again: it knows the newest sealed and the open segment alone."""
    lines = (TESTS / "golden" / case / "input.log").read_bytes().splitlines(keepends=True)
    _, said = imported(tmp_path / "whole", b"".join(lines))
    chance = random.Random(len(lines))
    for number in range(2):
        cuts = sorted(chance.sample(range(1, len(lines)), 5))
        trail = Trail(tmp_path / str(number) / "trail")
        for start, end in zip([0, *cuts], [*cuts, len(lines)], strict=True):
            trail.take_text(b"".join(lines[start:end]))
            trail.seal()
        assert trail.said().without("evidence") == said.without("evidence"), cuts
        assert trail.differences() == []


def test_a_trail_of_the_first_version_is_repaired_by_a_rebuild(tmp_path: Path) -> None:
    """It was written by version 0.1.0 (commit 6a494df): two logs, sealed, and a third one in the open segment."""
    with tarfile.open(TESTS / "data" / "first_version_trail.tar.gz") as archive:
        archive.extractall(tmp_path / "trail")
    trail = Trail(tmp_path / "trail")
    layout = Layout(tmp_path / "trail")
    with pytest.raises(StoreError, match="schema 9"):
        trail.said()
    assert ["older format" in fault.what for fault in verify(layout).faults] == [True]
    assert find_quotes(layout) == []
    trail.rebuild()
    assert verify(layout).faults == []
    check_quotes(trail.events())
    logs = [TESTS / "golden_logs" / name / "input.log" for name in ("01_wrong_records", "02_rebuild_differs")]
    fresh = Trail(tmp_path / "fresh")
    fresh.take(*logs)
    fresh.take(TESTS / "data" / "logs" / "logins" / "03_session_twice.log")
    assert trail.said().without("evidence") == fresh.said().without("evidence")


def find_quotes(layout: Layout) -> list[str]:
    """Events whose quoted records are another's, before the state was made again."""
    wrong = []
    for event in find_events(layout, Query(limit=None), with_records=True):
        stamp = f":{event.values['serial']})"
        lines = record_lines(event.records or "")
        if len(lines) != event.values["records"] or not all(stamp in line for line in lines):
            wrong.append(stamp)
    return wrong


STAMP = re.compile(rb"audit\(1764(\d+)\.")


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("node", [b"", b"node=gpu2 "])
@pytest.mark.parametrize(("case", "cut"), [("projects", 7), ("conda", 9), ("uv", 38), ("setuptools", 3)])
def test_a_log_goes_on_in_its_next_part_whatever_was_imported_in_between(
    case: str, cut: int, node: bytes, is_sealed: bool, tmp_path: Path
) -> None:
    """The other log has the same process numbers, some days later."""
    text = (TESTS / "golden" / case / "input.log").read_bytes()
    lines = text.splitlines(keepends=True)
    later = STAMP.sub(rb"audit(1765\1.", text)
    other = b"".join(node + line for line in later.splitlines(keepends=True))
    expected = Trail(tmp_path / "expected" / "trail")
    expected.take_text(text)
    expected.take_text(other, name="other.log")
    trail = Trail(tmp_path / "apart" / "trail")
    for part, name in ((lines[:cut], "audit.log.1"), ([other], "other.log"), (lines[cut:], "audit.log")):
        trail.take_text(b"".join(part), name=name)
        if is_sealed:
            trail.seal()
    said, wanted = trail.said(), expected.said()
    if is_sealed:
        said, wanted = said.without("evidence"), wanted.without("evidence")
    assert (said.operations, said.runs) == (wanted.operations, wanted.runs)
    assert trail.differences() == []


def _set_back(text: bytes, serial: int, by_s: int) -> bytes:
    """A log in which the clock was set back before an event."""

    def earlier(found: re.Match[bytes]) -> bytes:
        return b"audit(%d.%s:%s" % (int(found[1]) - (by_s if int(found[3]) >= serial else 0), found[2], found[3])

    return re.sub(rb"audit\((\d+)\.(\d+):(\d+)", earlier, text)


@pytest.mark.parametrize("by_s", [1, 4, 60, 100_000])
def test_an_end_is_its_operations_though_the_clock_was_set_back_in_between(by_s: int, tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail")
    trail.take_text(_set_back(pip_log(["install", "six"], code=3).encode(), 11, by_s))
    assert [(row["outcome"], row["exit_code"]) for row in trail.said().operations] == [("failure", 3)]
    assert trail.differences() == []


@pytest.mark.parametrize("is_sealed", [False, True])
def test_an_end_in_a_file_that_was_imported_before_is_found(is_sealed: bool, tmp_path: Path) -> None:
    lines = pip_log(["install", "six"], code=3).encode().splitlines(keepends=True)
    whole, apart = Trail(tmp_path / "whole" / "trail"), Trail(tmp_path / "apart" / "trail")
    whole.take_text(b"".join(lines))
    for part, name in ((lines[5:], "audit.log"), (lines[:5], "audit.log.1")):
        apart.take_text(b"".join(part), name=name)
        if is_sealed:
            apart.seal()
    expected, found = whole.said().operations, apart.said().operations
    assert [(row["outcome"], row["exit_code"]) for row in expected] == [("failure", 3)]
    for row in [*expected, *found]:
        row["evidence"] = [(one["serial"], one["time_ms"]) for one in row["evidence"]]
    assert found == expected
    assert apart.differences() == []
    apart.rebuild()
    assert [row["exit_code"] for row in apart.said().operations] == [3]


def test_what_an_imported_log_left_open_is_not_at_work_on_this_machine(tmp_path: Path) -> None:
    """An agent waits for the end of what is at work here before it reads an environment."""
    lines = (TESTS / "golden" / "pip" / "input.log").read_bytes().splitlines(keepends=True)
    trail = Trail(tmp_path / "trail")
    trail.take_text(b"".join(lines[:9]))
    with open_trail(trail.config, world=ImportedWorld()) as opened:
        interpreter = opened.pipeline.interpreter
        assert interpreter._operations.images() == []
        assert len(interpreter._operations._open) == 1
        assert not interpreter.is_busy("/opt/conda/envs/ml")
        assert interpreter.prefixes() == set()


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_log_whose_first_record_is_its_newest_adds_nothing_twice(is_sealed: bool, tmp_path: Path) -> None:
    text = (TESTS / "golden" / "pip" / "input.log").read_bytes()
    newest = b"type=USER_AUTH msg=audit(1764900000.000:9): pid=1 uid=0 auid=1001 ses=1 msg='op=x'\n"
    trail, said = imported(tmp_path, text)
    if is_sealed:
        trail.seal()
    assert trail.take_text(newest + text, name="copy.log").events == 1
    assert trail.said().operations == said.operations
    assert trail.take_text(text[: len(text) // 2] + newest + text, name="third.log").events == 0


def of_newer_version(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seal; the next segment takes over what no version reads that there is."""
    with monkeypatch.context() as patched:
        patched.setattr("envtrail.agent.pipeline.WHOLE_VERSION", 99)
        patched.setattr(Pipeline, "carried", lambda pipeline: [damaged(item) for item in CARRIED(pipeline)])
        trail.seal()


CARRIED = Pipeline.carried


def damaged(carried: Carried) -> Carried:
    return msgspec.structs.replace(carried, processes=msgspec.Raw(b"[7]"), interpretation=msgspec.Raw(b'{"runs":7}'))


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_a_segment_took_over_from_a_newer_version_is_known_otherwise_or_said_to_be_lost(
    is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (TESTS / "golden" / "conda" / "input.log").read_bytes().splitlines(keepends=True)
    _, said = imported(tmp_path / "whole", b"".join(lines))
    trail = Trail(tmp_path / "apart" / "trail")
    for part in (lines[:9], lines[9:20]):
        trail.take_text(b"".join(part))
        of_newer_version(trail, monkeypatch)
    if not is_kept:
        for path in (Layout(trail.config.data_dir)).segment(1).iterdir():
            if path.name != "seal.json":
                path.unlink()
    trail.take_text(b"".join(lines[20:]))
    lost = [gap.detail for gap in trail.gaps() if gap.id == "carried-2"]
    if is_kept:
        assert trail.said().without("evidence") == said.without("evidence")
        assert lost == []
        assert trail.differences() == []
    else:
        assert ["version 99" in detail for detail in lost] == [True]
        trail.rebuild()
        assert [gap.id for gap in trail.gaps() if gap.id == "carried-2"] == ["carried-2"]


@pytest.mark.parametrize(("is_apart", "withdrawn"), [(False, 0), (True, 1)])
def test_a_row_is_given_at_the_end_of_an_import_and_not_between_its_files(is_apart: bool, withdrawn: int, tmp_path: Path) -> None:
    text = (TESTS / "golden" / "conda" / "input.log").read_bytes()
    if is_apart:
        trail = imported_apart(tmp_path, text, 9)
    else:
        lines = text.splitlines(keepends=True)
        trail, _ = imported(tmp_path, b"".join(lines[:9]), b"".join(lines[9:]))
    with closing(connect(Layout(trail.config.data_dir).state, read_only=True)) as database:
        reported = database.execute("SELECT count(*) FROM written WHERE kind = 'withdrawn'").fetchone()
    assert reported == (withdrawn,)


@pytest.mark.parametrize("rest", [b' a5="--dry-run"', b' a5="--target=/srv/lib"'])
def test_what_is_missing_of_an_exec_may_make_another_of_it_or_none(rest: bytes, tmp_path: Path) -> None:
    """The kernel writes a long command in several EXECVE records."""
    first, execve, *others = (TESTS / "golden" / "pip" / "input.log").read_bytes().splitlines(keepends=True)[:5]
    stamp = execve[execve.index(b"msg=") : execve.index(b"): ") + 2]
    words = [b"/opt/conda/envs/ml/bin/python", b"/opt/conda/envs/ml/bin/pip", b"install", b"six", b"rich"]
    shown = b" ".join(b'a%d="%s"' % (at, word) for at, word in enumerate(words))
    one = [first, b"type=EXECVE " + stamp + b" argc=6 " + shown + b"\n"]
    two = [b"type=EXECVE " + stamp + rest + b"\n", *others]
    _, said = imported(tmp_path / "whole", b"".join([*one, *two]))
    trail = Trail(tmp_path / "apart" / "trail")
    trail.take_text(b"".join(one), name="audit.log.1")
    assert len(trail.said().operations) == 1
    trail.take_text(b"".join(two))
    assert trail.said() == said
    assert len(said.operations) == (0 if b"dry" in rest else 1)
    assert trail.differences() == []
