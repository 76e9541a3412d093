"""The judge of the bursts: it accepts what is right, and sees each kind of fault."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from whose_lab.judge import Document, Judge
from whose_lab.ledger import Change, Person, Plan, Step, compare, read_contents

from envtrail.model.times import to_rfc3339

ALICE = Person(name="alice", auid=2001, home=Path("/home/alice"))
BOB = Person(name="bob", auid=2002, home=Path("/home/bob"))
ENV = "/home/shared/env"
AT_MS = 1_796_043_466_000


def step(person: Person, at: int, *changes: str, exit_code: int = 0, **plan: object) -> Step:
    """`wolf -→1.0` are a change's words."""
    words = {"command": "pip install wolf", "tool": "pip", "kinds": ("install", "update"), **plan}
    return Step(
        number=at, burst=1, person=person, prefixes=(ENV,), plan=Plan(**words), pid=100 + at, exit_code=exit_code, output="",  # type: ignore[arg-type]
        started_ms=AT_MS + at * 1000, ended_ms=AT_MS + at * 1000 + 900, changes=tuple(map(_change, changes)),
        altered=plan.get("files", ()) if plan.get("by_hand") else (),  # type: ignore[arg-type]
    )  # fmt: skip


def _change(words: str) -> Change:
    name, _, versions = words.partition(" ")
    before, after = (version.replace("-", "") for version in versions.split("→"))
    return Change(name=name, before=before, after=after)


def operation(of: Step, **parts: object) -> Document:
    """What the trail has to say of a step."""
    changes = [
        {"name": one.name, "before": one.before and {"version": one.before}, "after": one.after and {"version": one.after}}
        for one in of.changes
    ]
    right = {
        "tool": of.plan.tool, "kind": of.plan.kinds[0] if of.plan.kinds else "install", "environment": {"prefix": ENV},
        "actor": {"auid": of.person.auid}, "pid": of.pid, "started": to_rfc3339(of.started_ms + 10), "outcome": of.outcome(),
        "reason": None, "changes": changes, "argv": of.plan.command.split(), "files": [{"path": path} for path in of.altered],
    }  # fmt: skip
    return {**right, **parts}


FIRST, SECOND = step(ALICE, 0, "wolf -→1.0"), step(BOB, 8, "wolf 1.0→1.0")
HAND = step(
    ALICE, 20, tool="sed", kinds=("tamper",), by_hand=True, files=(f"{ENV}/wolf.py",), command=f"sed -i s/a/b/ {ENV}/wolf.py"
)
NOTHING = step(BOB, 30, tool="", command=f"touch {ENV}/wolf.py")
STEPS = [FIRST, SECOND, HAND, NOTHING]
RIGHT = [operation(FIRST), operation(SECOND), operation(HAND)]


def counts(*operations: Document) -> list[str]:
    return sorted(fault.count for fault in Judge(STEPS, operations).run().faults)


def test_what_is_right_has_no_fault() -> None:
    assert counts(*RIGHT) == []


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([operation(FIRST, actor={"auid": 2002}), *RIGHT[1:]], ["wrong person"]),
        (RIGHT[1:], ["missing change", "missing operation"]),
        ([operation(FIRST, changes=None), *RIGHT[1:]], ["missing change"]),
        ([operation(FIRST, changes=[]), operation(SECOND, changes=[*RIGHT[0]["changes"], *RIGHT[1]["changes"]]), RIGHT[2]],  # type: ignore[misc]
         ["change in the wrong operation", "wrong person"]),
        ([operation(FIRST, changes=RIGHT[1]["changes"]), operation(SECOND, changes=[]), RIGHT[2]],
         ["change in the wrong operation", "missing change", "wrong person"]),
        ([operation(FIRST, outcome="failure"), *RIGHT[1:]], ["false failure"]),
        ([operation(FIRST, kind="remove"), *RIGHT[1:]], ["wrong tool or kind"]),
        ([operation(FIRST, environment={"prefix": "/elsewhere"}), *RIGHT[1:]], ["wrong place"]),
        ([*RIGHT, operation(NOTHING)], ["false operation"]),
        ([RIGHT[0], *RIGHT], ["false operation", "repeated change"]),
        ([*RIGHT[:2], operation(HAND, files=[])], ["missing file"]),
        ([*RIGHT, operation(FIRST, pid=9, environment={"prefix": "/elsewhere"})], ["stray operation"]),
    ],
)  # fmt: skip
def test_each_fault_is_counted(operations: list[Document], expected: list[str]) -> None:
    assert counts(*operations) == expected


def test_an_outcome_is_judged_by_the_exit_status() -> None:
    failed = step(ALICE, 0, exit_code=1)
    killed = step(ALICE, 1, exit_code=137, kill_after_s=0.5)
    said = [operation(failed, outcome="success"), operation(killed, outcome="failure")]
    assert [fault.count for fault in Judge([failed, killed], said).run().faults] == ["false success", "other wrong outcome"]


def test_a_reinstall_of_the_same_version_is_a_change(tmp_path: Path) -> None:
    states = [read_contents(tmp_path)]
    for version in ("1.0", "1.0", "2.0"):
        for old in tmp_path.glob("Big_Bear-*"):
            (old / "METADATA").unlink()
            old.rmdir()
        (tmp_path / f"Big_Bear-{version}.dist-info").mkdir()
        (tmp_path / f"Big_Bear-{version}.dist-info/METADATA").write_text("Name: Big_Bear\n")
        states.append(read_contents(tmp_path))
    found = [compare(before, after) for before, after in itertools.pairwise(states)]
    assert found == [(_change(f"big-bear {words}"),) for words in ("-→1.0", "1.0→1.0", "1.0→2.0")]


def test_a_document_of_conda_whose_files_are_gone_is_no_package(tmp_path: Path) -> None:
    site = tmp_path / "lib/python3.10/site-packages"
    metadata = site / "wolf-1.0.dist-info/METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Name: wolf\n")
    (tmp_path / "conda-meta").mkdir()
    document = {"name": "wolf", "version": "1.0", "files": [str(metadata.relative_to(tmp_path))]}
    (tmp_path / "conda-meta/wolf-1.0-0.json").write_text(json.dumps(document))
    assert [version for version, _ in read_contents(tmp_path)["wolf"]] == ["1.0"]
    metadata.unlink()
    assert read_contents(tmp_path) == {}
