"""Each fault of a policy's file: its line and column, what is said of it, and its hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from envtrail.errors import InputError
from envtrail.policy.files import load_policy, parse_policy

SCHEMA = "`envtrail policy schema` prints the keys of a policy"
ACTIONS = "create, delete, install, lock, move, remove, sync, tamper, update"
KINDS = "conda, system, target, unknown, user, venv"
CLASSES = "agent, human, service"
SPAN = "is not a span of time like `30d`, `8h` or `45m`"
NO_DAY = "`moon` is no day; mon, tue, wed, thu, fri, sat, sun or a span like `mon-fri`"
NO_PACKAGE = "`a>>1` names no package: Expected semicolon (after name with no version specifier) or end"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("- a\n", [(1, 1, "a policy is a mapping with `version` and `rules`")]),
        ("version: 2\n", [(1, 10, "`version` must be 1, the language of this Envtrail")]),
        ("rules: []\n", [(1, 1, "`version` must be 1, the language of this Envtrail")]),
        ("", [(1, 1, "`version` must be 1, the language of this Envtrail")]),
        (
            "version: 1\nrulez: []\n",
            [(2, 8, "`rulez` is unknown; version, rules, tests, tags, approvals, grants, suppressions")],
        ),
        ("version: 1\nrules: {a: 1}\n", [(2, 8, "`rules` is a list")]),
        (
            "version: 1\nrules:\n  - {name: a, verdict: deny}\n  - {name: a, verdict: allow}\n",
            [(4, 12, "`a` is in p.yaml already")],
        ),
        (
            (
                "version: 1\nrules:\n"
                "  - {name: a, verdict: deny, where: {kinds: [venv, moon]}, who: {classes: [x]}, "
                "what: {actions: [y], packages: ['a>>1'], younger_than: soon}}\n"
            ),
            [
                (3, 52, f"`moon` is unknown; {KINDS}"),
                (3, 76, f"`x` is unknown; {CLASSES}"),
                (3, 98, f"`y` is unknown; {ACTIONS}"),
                (3, 113, NO_PACKAGE),
                (3, 136, f"`soon` {SPAN}"),
            ],
        ),
        (
            "version: 1\nrules:\n  - {name: a, verdict: deny, when: {days: [moon], zone: X, hours: ['1']}, outside: {days: [moon]}}\n",
            [
                (3, 43, NO_DAY),
                (3, 57, "`X` is no time zone that this machine knows; `Europe/Berlin`, `Asia/Shanghai`, `UTC`"),
                (3, 68, "`1` is not a span of hours like `09:00-18:00`"),
                (3, 91, NO_DAY),
            ],
        ),
        (
            "version: 1\nrules: [{name: a, verdict: deny, where: {tags: [x, prod]}}]\ntags: {x: [y]}\n",
            [(2, 52, "no environment has the tag `prod`: it is not in `tags`")],
        ),
        (
            "version: 1\nrules: []\ntests:\n  - {name: t, expect: deny, operation: {action: x, actor: y, age: z, time: now, packages: [six]}}\n",
            [
                (4, 49, f"`x` is unknown; {ACTIONS}"),
                (4, 59, f"`y` is unknown; {CLASSES}"),
                (4, 67, f"`z` {SPAN}"),
                (4, 76, "`now` is not a time like `2026-01-07T12:00:00Z`"),
                (4, 92, "`six` has no version: `name==version`, `-name==version` for a removal"),
            ],
        ),
        (
            "version: 1\napprovals:\n  - {where: {kinds: [moon]}, longest: soon, break_glass_for: later}\n",
            [(3, 22, f"`moon` is unknown; {KINDS}"), (3, 39, f"`soon` {SPAN}"), (3, 62, f"`later` {SPAN}")],
        ),
        (
            "version: 1\ngrants:\n  - {name: g, user: a, environment: /e, why: x, until: 9999-12-31, action: x, packages: ['a>>1']}\n",
            [
                (3, 56, "9999-12-31 is not a day between 1970-01-01 and 9998-12-31"),
                (3, 76, "`x` is unknown; any, create, delete, install, remove"),
                (3, 90, NO_PACKAGE),
            ],
        ),
        (
            "version: 1\nrules:\n  - {name: a, verdict: deny, where: {tags: [x]}}\n  - {name: b, verdict: deny, where: {tags: [y]}}\n",
            [
                (3, 45, "no environment has the tag `x`: it is not in `tags`"),
                (4, 45, "no environment has the tag `y`: it is not in `tags`"),
            ],
        ),
        (
            (
                "version: 1\nsuppressions:\n"
                "  - {name: a, detection: d, owner: o, reason: r, until: 1970-01-01}\n"
                "  - {name: b, detection: d, owner: o, reason: r, until: 1969-12-31}\n"
                "  - {name: c, detection: d, owner: o, reason: r, until: 9998-12-31}\n"
            ),
            [(4, 57, "1969-12-31 is not a day between 1970-01-01 and 9998-12-31")],
        ),
    ],
)
def test_each_fault_is_reported_at_its_place(text: str, faults: list[tuple[int, int, str]]) -> None:
    found = parse_policy({"p.yaml": text}).faults
    assert [(fault.path, fault.line, fault.column, fault.message, fault.hint) for fault in found] == [
        ("p.yaml", *fault, SCHEMA) for fault in faults
    ]


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("version: 1\n---\nversion: 1\n", 3, "a policy is one document", "without `---`, or two files"),
        (
            "version: 1\nrules: [\n",
            3,
            "no YAML: expected the node content, but found '<stream end>'",
            "look before it for a bracket, a quote or an indent",
        ),
    ],
)
def test_what_is_no_single_document_has_a_hint_of_its_own(text: str, line: int, message: str, hint: str) -> None:
    (fault,) = parse_policy({"p.yaml": text}).faults
    assert (fault.line, fault.column, fault.message, fault.hint) == (line, 1, message, hint)


def test_a_name_is_used_once_in_all_files_and_a_file_has_a_name_of_text() -> None:
    rules = "version: 1\nrules: [{name: a, verdict: deny}]\n"
    loaded = parse_policy({"a.yaml": rules, "b\x1b.yaml": rules})
    assert [(str(fault), fault.hint) for fault in loaded.faults] == [
        ("b\\x1b.yaml:1:1: the name of this file is not text", "rename it"),
        ("b\\x1b.yaml:2:16: `a` is in a.yaml already", SCHEMA),
    ]
    assert [rule.name for rule in loaded.policy.rules] == ["a"]
    assert loaded.files == {"a.yaml": rules, "b\\x1b.yaml": rules}


def test_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("20.yml", "10.yaml", "README.md"):
        (tmp_path / name).write_text(f"version: 1\nrules: [{{name: r{name[:2]}, verdict: deny}}]\n")
    (tmp_path / "30.yaml").mkdir()
    loaded = load_policy([tmp_path])
    assert [rule.name for rule in loaded.policy.rules] == ["r10", "r20"]
    assert list(loaded.files) == [str(tmp_path / "10.yaml"), str(tmp_path / "20.yml")]
    (fault,) = loaded.faults
    assert (fault.path, fault.line, fault.column, fault.hint) == (str(tmp_path / "30.yaml"), 1, 1, "fix or remove it")
    assert fault.message.startswith("it cannot be read: ")


def test_what_is_not_there_or_a_ring_of_links_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_policy([tmp_path / "none"])
    assert (caught.value.message, caught.value.hint) == (
        f"no policy `{tmp_path}/none`",
        "`policy.path` names the folder, or give files",
    )
    ring = tmp_path / "ring"
    ring.symlink_to(ring)
    with pytest.raises(InputError) as caught:
        load_policy([ring])
    assert caught.value.message.startswith(f"`{ring}` cannot be read: ")
    assert caught.value.hint == "make it readable for this account"
