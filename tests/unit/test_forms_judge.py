"""The judge of the table of forms: it must see every way in which the trail can be wrong."""

from __future__ import annotations

from typing import Any

import pytest
from forms_lab.form import Form, none, one, tamper
from forms_lab.judge import faults_of, owners, strays
from forms_lab.ledger import Entry, Person

ALICE = Person(name="alice", auid=61101, home="/home/alice")
WORDS = {"E": "/home/alice/env", "W": "/home/alice/mark001", "M": "mark001x", "N": "mark001y", "HOME": "/home/alice"}


def _entry(form: Form, **changed: Any) -> Entry:
    facts: dict[str, Any] = {"exit_code": 0, "output": "", "seen": "+", "started": 0, "ended": 1, "words": WORDS, **changed}
    return Entry(form=form, marker="mark001", person=ALICE, uid=ALICE.auid, **facts)


def _operation(**changed: Any) -> dict[str, Any]:
    change = {"name": "mark001x", "before": None, "after": {"version": "1.0"}}
    actor = {"auid": 61101, "uid": 61101, "method": "auid", "confidence": "certain"}
    operation = {
        "tool": "pip", "kind": "install", "argv": ["pip", "install", "mark001x"], "via": [], "outcome": "success", "exit_code": 0,
        "signal": None, "environment": {"prefix": "/home/alice/env", "kind": "venv"}, "actor": actor, "changes": [change],
        "complete": True, "pid": 7, "files": [],
    }  # fmt: skip
    return {**operation, **changed}


INSTALL = _entry(one("pip", "pip install $M"))
OTHER = {"auid": 61102, "uid": 61102, "method": "auid", "confidence": "certain"}


def test_a_right_operation_has_no_faults() -> None:
    assert faults_of(INSTALL, [_operation()]) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"tool": "uv"},
        {"kind": "remove"},
        {"outcome": "unknown"},
        {"exit_code": 1},
        {"environment": {"prefix": "/home/alice/other", "kind": "venv"}},
        {"environment": {"prefix": "/home/alice/env", "kind": "unknown"}},
        {"actor": OTHER},
        {"actor": {**OTHER, "auid": 61101}},
        {"actor": {"auid": 61101, "uid": 61101, "method": "uid", "confidence": "certain"}},
        {"actor": {"auid": 61101, "uid": 61101, "method": "auid", "confidence": "weak"}},
        {"changes": []},
        {"changes": None},
        {"changes": [*_operation()["changes"], {"name": "other", "before": None, "after": {"version": "1"}}]},
        {"changes": [{"name": "mark001x", "before": {"version": "1.0"}, "after": None}]},
        {"complete": False},
        {"pid": None},
    ],
)
def test_each_wrong_field_is_a_fault(changed: dict[str, Any]) -> None:
    assert faults_of(INSTALL, [_operation(**changed)]) != []


def test_a_missing_and_a_doubled_operation_are_faults() -> None:
    assert "0 operations, not 1" in faults_of(INSTALL, [])[0]
    assert "2 operations, not 1" in faults_of(INSTALL, [_operation(), _operation()])[0]
    assert "1 operations, not 0" in faults_of(_entry(none("pip list", "pip list")), [_operation()])[0]


def test_what_belongs_to_no_row_or_to_two_is_a_stray() -> None:
    second = Entry(
        form=none("x", "x"),
        marker="mark002",
        person=ALICE,
        uid=1,
        words={},
        exit_code=0,
        output="",
        seen=None,
        started=0,
        ended=1,
    )
    nobody = _operation(argv=["pip"], changes=[])
    both = _operation(argv=["pip", "mark002x"])
    assert strays([INSTALL, second], [_operation(), nobody, both]) == [nobody, both]


def test_the_owners_of_a_package_are_the_operations_that_changed_it() -> None:
    assert owners("mark001x", [_operation(), _operation(changes=[])]) == [_operation()]


def test_two_at_once_are_told_apart_or_say_that_they_are_shared() -> None:
    first = one("two", "x").expects[0]
    form = Form(name="two", script="x", expects=(first, type(first)(tool="pip", kind="install", changes=("+$N",))), shared=True)
    other = {"name": "mark001y", "before": None, "after": {"version": "1.0"}}
    both = [*_operation()["changes"], other]
    assert faults_of(_entry(form), [_operation(), _operation(changes=[other])]) == []
    assert faults_of(_entry(form), [_operation(changes=both, shared=["b"]), _operation(changes=both, shared=["a"])]) == []
    assert len(faults_of(_entry(form), [_operation(changes=both), _operation(changes=both)])) == 1


def test_a_tamper_names_its_program_and_all_its_files() -> None:
    entry = _entry(tamper("cp", "cp x $E/$M", "cp", "$E/$M"))
    right = {"tool": "cp", "kind": "tamper", "changes": [], "files": [{"path": "/home/alice/env/mark001x", "what": "written"}]}
    assert faults_of(entry, [_operation(**right)]) == []
    assert len(faults_of(entry, [_operation(**right, exit_code=None)])) == 0
    assert len(faults_of(entry, [_operation(**{**right, "files": []})])) == 1
    assert len(faults_of(entry, [_operation(**{**right, "tool": "mv"})])) == 1


def test_a_form_that_did_not_do_what_it_should_is_a_fault_of_its_own() -> None:
    form = one("pip", "pip install $M")
    assert _entry(form).fault() is None
    assert "ended with 1" in str(_entry(form, exit_code=1).fault())
    assert "the disk shows" in str(_entry(form, seen="-").fault())
