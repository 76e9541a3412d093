"""What is wrong in a policy is reported with its place, all of it; nothing in it ends who reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envtrail.detect.load import load_detections
from envtrail.model.decided import FindingMade, PolicyLoaded
from envtrail.policy.files import LoadedPolicy, PolicyFault, load_policy, parse_policy
from envtrail.policy.keeper import PolicyKeeper
from envtrail.state.state import State

NOW = 1_800_000_000_000
GRANT = "  - {{name: {}, user: alice, environment: /e, why: x, until: {}}}\n"
SOUND = "version: 1\nrules: [{name: a, verdict: deny}]\n"


def faults(text: bytes | str) -> list[PolicyFault]:
    return parse_policy({"p.yaml": text}).faults


def places(text: bytes | str) -> list[tuple[int, int]]:
    return [(fault.line, fault.column) for fault in faults(text)]


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-31",
        "2026-13-01",
        "2027-02-29",
        "0000-01-01",
        "2026-01-01 25:00:00",
        "2026-01-01 00:00:00 +99:00",
        "!!timestamp soon",
        "!!timestamp 2026-11-31",
        "!!int abc",
        "!!int ''",
        "!!int 0x_",
        "!!float abc",
        "!!bool maybe",
        "!!binary a",
        "!!python/object:os.system x",
        "!!python/object/apply:os.system [id]",
        "!!map abc",
        "!!seq abc",
        "!!set {a}",
        "!!omap [a: b]",
        "!mine x",
        "9" * 5000,
        "1" + ":59" * 5000,
        "0b_",
        '"\\0"',
        '"\\uD800"',
        "9999-12-31",
        "0001-01-01",
        "{a: 1}",
        "[2026-01-01]",
    ],
)
def test_a_value_that_is_none_is_told_with_its_place_and_the_others_too(value: str) -> None:
    text = "version: 1\ngrants:\n" + GRANT.format("g", value) + GRANT.format("h", "2100-01-01")
    text += "suppressions:\n  - {name: s, detection: x, owner: o, reason: r, until: 2026-02-30}\n"
    text += "rules:\n  - {name: a, verdict: deny, when: {holidays: [2026-01-01, 2026-11-31, 2026-02-31]}}\n"
    found = parse_policy({"p.yaml": text})
    assert [(fault.line, fault.column) for fault in found.faults] == [(3, 60), (6, 57), (8, 60), (8, 72)]
    assert [grant.name for grant in found.policy.grants] == ["h"]
    assert all(fault.hint and str(fault).startswith("p.yaml:") for fault in found.faults)


def test_all_that_an_item_lacks_and_all_that_it_has_wrong_is_reported() -> None:
    text = "version: 1\ngrants:\n  - {name: g, colour: red, packages: [1, six, 2], uses: 0}\n"
    reported = {(fault.column, fault.message.partition(";")[0]) for fault in faults(text)}
    assert {message for _, message in reported if "missing" in message} == {
        f"`{name}` is missing" for name in ("user", "environment", "until", "why")
    }
    assert {column for column, message in reported if "missing" not in message} == {23, 39, 47, 57}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "{" * 200_000,
        "{a: " * 200_000,
        "- " * 200_000,
        "? " * 200_000,
        "a: &a [*a]",
        "a: &a {b: *a}",
        "\n".join(" " * at + "a:" for at in range(2000)),
        "a0: &a0 [" + "x, " * 9 + "x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)),
        "[" + "x, " * 200_000 + "]",
        "<<: &a [*a]",
    ],
)
def test_depth_and_number_end(text: str) -> None:
    (fault, *_) = faults(text)
    assert "more than" in fault.message
    assert (fault.line, fault.column) != (0, 0)


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (b"version: 1\nrules: \xff\n", (2, 8), "no UTF-8"),
        ("version: 1\nrules: é \xe9".encode("latin-1"), (2, 8), "no UTF-8"),
        ("version: 1\n".encode("utf-16"), (1, 1), "UTF-16"),
        (b"version: 1\n# a\0b\n", (2, 4), "U+0000"),
        ('version: 1\nrules: "\\UFFFFFFFF"', (2, 11), "no YAML"),
        ("version: 1\nrules: [", (2, 9), "no YAML"),
        ("version: 1\nrules: *a", (2, 8), "no YAML"),
        (SOUND + "---\n" + SOUND, (4, 1), "one document"),
        ("version: 1\nversion: 1\n", (2, 1), "twice"),
        ("version: 1\ntags: {a: [b], a: [c]}\n", (2, 16), "twice"),
        ("version: 1\n? [a]\n: b\n", (2, 3), "a key is a word"),
        (b"version: 1\n#" + b"x" * 4 * 1024 * 1024, (1, 1), "bytes"),
    ],
)
def test_where_a_text_is_none(text: bytes | str, place: tuple[int, int], said: str) -> None:
    assert [(fault.line, fault.column) for fault in faults(text) if said in fault.message] == [place], faults(text)


def test_every_nul_has_its_place() -> None:
    assert places(b"a\0\n\0b\0") == [(1, 2), (2, 1), (2, 3)]


def test_one_file_that_cannot_be_read_hides_no_fault_of_another(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "c.yaml")
    (tmp_path / "d.yaml").mkdir()
    (tmp_path / "e.yaml").write_text("version: 3\n")
    (tmp_path / os.fsdecode(b"f\xff.yaml")).write_text(SOUND)
    reported = {Path(fault.path).name: fault.message for fault in load_policy([tmp_path]).faults}
    assert set(reported) == {"a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml", "f\\udcff.yaml"}
    assert "not text" in reported["f\\udcff.yaml"]


def test_policy_check_tells_them_all_with_hints(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\ngrants:\n" + GRANT.format("g", "2026-11-31") + GRANT.format("h", "!!int abc"))
    command = [sys.executable, "-m", "envtrail", "policy", "check", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert [line.partition(": ")[0] for line in done.stderr.splitlines() if not line.startswith("hint: ")] == [
        f"{tmp_path}/p.yaml:3:60",
        f"{tmp_path}/p.yaml:4:60",
    ]
    assert "hint: YYYY-MM-DD" in done.stderr
    assert "Traceback" not in done.stderr


class TestLastGood:
    """The policy in force outlives whatever comes into its place."""

    @pytest.fixture
    def keeper(self, tmp_path: Path) -> Iterator[PolicyKeeper]:
        (tmp_path / "p").mkdir()
        (tmp_path / "p/a.yaml").write_text(SOUND)
        state = State(tmp_path / "state.sqlite")
        made = PolicyKeeper(tmp_path / "p", state, "host")
        assert [type(item) for item in made.poll(NOW)] == [PolicyLoaded]
        yield made
        state.close()

    def refused(self, keeper: PolicyKeeper) -> str:
        (found,) = keeper.poll(NOW + 1)
        assert isinstance(found, FindingMade)
        assert [rule.name for rule in keeper.policy.rules] == ["a"]
        assert keeper.is_in_force
        assert found.finding.time_ms > 1_000_000_000_000
        return found.finding.reason or ""

    @pytest.mark.parametrize(
        "text", [GRANT.format("g", "2026-11-31"), GRANT.format("g", "!!python/object:a b"), "  " + "[" * 200_000]
    )
    def test_a_fault(self, tmp_path: Path, keeper: PolicyKeeper, text: str) -> None:
        (tmp_path / "p/b.yaml").write_text("version: 1\ngrants:\n" + text)
        reason = self.refused(keeper)
        assert reason.startswith(f"{tmp_path}/p/b.yaml:3:")
        assert "hint:" in reason

    def test_bytes_that_are_no_text(self, tmp_path: Path, keeper: PolicyKeeper) -> None:
        (tmp_path / "p/b.yaml").write_bytes(b"version: 1\nrules: [\xff\n")
        assert "b.yaml:2:9: this is no UTF-8" in self.refused(keeper)

    def test_a_name_that_is_no_text(self, tmp_path: Path, keeper: PolicyKeeper) -> None:
        (tmp_path / "p" / os.fsdecode(b"\xff.yaml")).write_text(SOUND.replace("a,", "b,"))
        assert "rename it" in self.refused(keeper)

    def test_a_link_that_leads_nowhere(self, tmp_path: Path, keeper: PolicyKeeper) -> None:
        """The folder's whole policy was dropped."""
        (tmp_path / "p/b.yaml").symlink_to("nowhere")
        assert "b.yaml:1:1: it cannot be read" in self.refused(keeper)

    def test_a_pipe(self, tmp_path: Path, keeper: PolicyKeeper) -> None:
        os.mkfifo(tmp_path / "p/b.yaml")
        assert "it is no file" in self.refused(keeper)

    def test_a_folder_that_is_a_ring_of_links(self, tmp_path: Path, keeper: PolicyKeeper) -> None:
        (tmp_path / "p").rename(tmp_path / "q")
        (tmp_path / "p").symlink_to("p")
        assert "cannot be read" in self.refused(keeper)

    def test_who_approved_it_may_be_named_in_any_bytes(self, tmp_path: Path, keeper: PolicyKeeper) -> None:
        git = ["git", "-C", str(tmp_path / "p"), "-c", "user.email=m@example.org", "-c", "i18n.commitEncoding=latin-1"]
        (tmp_path / "p/b.yaml").write_text("version: 1\ngrants:\n" + GRANT.format("g", "2100-01-01"))
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
            name = os.fsdecode(b"user.name=M\xe9rger")
            subprocess.run([*git[:3], "-c", name, *git[3:], *words], check=True, capture_output=True)
        assert [type(item).__name__ for item in keeper.poll(NOW + 1)] == ["PolicyLoaded", "GrantGiven"]


RULE = "title: t\nid: 7d0f0f2e-9f3b-4d0a-9f0a-00000000000{}\nlogsource: {{product: envtrail, category: operation}}\n"
DETECTION = "detection: {sel: {tool: pip}, condition: sel}\n"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (RULE.format(1) + "date: 2026-11-31\n" + DETECTION, 9, "no day of the calendar"),
        (RULE.format(1) + "x: !!bool maybe\n" + DETECTION, 9, "no bool"),
        (RULE.format(1) + "x: !!python/object:os.system x\n" + DETECTION, 9, "no tag"),
        (RULE.format(1) + 'x: "\\UFFFFFFFF"\n' + DETECTION, 9, "no YAML"),
        (RULE.format(1) + "detection: " + "[" * 200_000, 9, "more than"),
        (RULE.format(1) + "detection: &a [*a]\n", 9, "more than"),
        (RULE.format(1), 6, ""),
        (RULE.format(1) + "detection: {condition: a}\n", 6, ""),
        ("[1]\n", 6, "a rule is a mapping"),
    ],
)
def test_a_detection_at_fault_is_reported_with_its_place_and_the_others_are_run(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    (tmp_path / "r.yml").write_text(RULE.format(0) + DETECTION + "---\n" + text)
    (tmp_path / "s.yml").write_text(RULE.format(2) + DETECTION)
    (tmp_path / os.fsdecode(b"t\xff.yml")).write_bytes(b"\xff\0")
    loaded = load_detections([tmp_path])
    assert [item.path.rpartition("/")[2] for item in loaded.detections] == ["r.yml", "s.yml"]
    reported = [(item.line, said in item.reason) for item in loaded.refused if item.path.endswith("r.yml")]
    assert reported == [(line, True)]
    assert [item.is_fault for item in loaded.refused] == [True, True]


def test_a_sound_policy_may_say_a_thing_once_for_many() -> None:
    text = "version: 1\nrules:\n  - &a {name: a, verdict: deny, what: {packages: [six]}}\n  - {<<: *a, name: b}\n"
    found: LoadedPolicy = parse_policy({"p.yaml": text})
    assert found.faults == []
    assert [(rule.name, rule.what.packages) for rule in found.policy.rules] == [("a", ["six"]), ("b", ["six"])]


def test_the_schema_names_all_that_a_policy_may_hold() -> None:
    reported = subprocess.run([sys.executable, "-m", "envtrail", "policy", "schema"], capture_output=True, text=True, check=True)
    assert set(json.loads(reported.stdout)["properties"]) == {
        *("version", "rules", "tests", "tags"),
        *("approvals", "grants", "suppressions"),
    }
