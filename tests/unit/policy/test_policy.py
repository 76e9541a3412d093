"""The policy: faults with their place, the first rule for each change, the strictest change for the operation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtrail.config import load_config
from envtrail.errors import InputError
from envtrail.model.hours import parse_days, parse_hours
from envtrail.model.ids import EventId, make_operation_id
from envtrail.model.times import to_ms
from envtrail.policy.cases import facts_of, operation_of, run_tests
from envtrail.policy.files import LoadedPolicy, load_policy, parse_policy
from envtrail.policy.judge import Decision, judge
from envtrail.policy.language import Case, Policy, PolicyRule, Verdict
from envtrail.state.office_hours import read_office_hours
from envtrail.state.state import State
from envtrail.trail.layout import Layout


def policy(*rules: dict[str, object]) -> Policy:
    named = [{"name": f"r{at}", **rule} for at, rule in enumerate(rules)]
    return Policy(rules=msgspec.convert(named, list[PolicyRule]), tests=[])


def decide(rules: Policy, **case: object) -> Decision:
    made = msgspec.convert(case, Case)
    return judge(rules, operation_of(made), facts_of(made))


def load(tmp_path: Path, text: str) -> LoadedPolicy:
    (tmp_path / "p.yaml").write_text(text)
    return load_policy([tmp_path])


class TestJudging:
    def test_the_first_rule_that_matches_a_change_decides_it(self) -> None:
        rules = policy({"verdict": "allow", "who": {"users": ["pat"]}}, {"verdict": "deny"})
        assert decide(rules, user="pat", packages=["six==1"]).verdict is Verdict.ALLOW
        assert decide(rules, user="eve", packages=["six==1"]).rule == "r1"

    def test_what_an_account_can_name_itself_is_allowed_nothing(self) -> None:
        """A program's name makes an agent, and a unit's account names what lies below it."""
        rules = policy({"verdict": "allow", "who": {"classes": ["agent"]}}, {"verdict": "deny"})
        assert decide(rules, actor="agent", packages=["six==1"]).rule == "r1"
        rules = policy({"verdict": "allow", "who": {"containers": ["img"]}}, {"verdict": "deny"})
        made = operation_of(Case(container="img", packages=["six==1"]))
        assert judge(rules, made, facts_of(Case())).rule == "r0"
        container = msgspec.structs.replace(made.actor.container, unit="user@1001.service")  # type: ignore[type-var]
        own = msgspec.structs.replace(made, actor=msgspec.structs.replace(made.actor, container=container))
        assert judge(rules, own, facts_of(Case())).rule == "r1"
        rules = policy({"verdict": "allow", "who": {"units": ["nightly*"]}}, {"verdict": "deny"})
        actor = msgspec.structs.replace(made.actor, unit="user@1001.service", user_unit="nightly.service")
        assert judge(rules, msgspec.structs.replace(made, actor=actor), facts_of(Case())).rule == "r1"

    def test_the_strictest_change_decides_the_operation_and_dependencies_count(self) -> None:
        rules = policy({"verdict": "deny", "what": {"packages": ["evil*"]}}, {"verdict": "notify", "what": {"packages": ["six"]}})
        found = decide(rules, packages=["six==1", "evil-thing==2", "idna==3"])
        assert (found.verdict, found.rule, found.package) == (Verdict.DENY, "r0", "evil-thing")
        assert [step.matched for step in found.steps if step.package == "idna"] == [False, False]

    def test_without_a_rule_it_is_allowed_and_without_a_change_nothing_is_judged(self) -> None:
        rules = policy({"verdict": "deny", "what": {"packages": ["x"]}})
        assert decide(rules, packages=["six==1"]).verdict is Verdict.ALLOW
        assert decide(policy({"verdict": "deny"}), packages=[]).reason == "nothing was changed"
        assert decide(policy({"verdict": "deny"}), action="delete", packages=[]).verdict is Verdict.DENY

    def test_what_changed_is_not_known_a_stricter_rule_covers_it_and_one_that_allows_does_not(self) -> None:
        rules = policy({"verdict": "allow", "what": {"packages": ["six"]}}, {"verdict": "deny", "what": {"packages": ["evil"]}})
        unknown = msgspec.structs.replace(operation_of(Case()), changes=None)
        assert judge(rules, unknown, facts_of(Case())).rule == "r1"

    @pytest.mark.parametrize(
        ("condition", "yes", "no"),
        [
            ({"who": {"users": ["al*"]}}, {"user": "alice"}, {"user": "bob"}),
            ({"who": {"groups": ["platform"]}}, {"groups": ["x", "platform"]}, {"groups": ["x"]}),
            ({"who": {"classes": ["agent"]}}, {"actor": "agent"}, {"actor": "human"}),
            ({"who": {"units": ["nightly*"]}}, {"unit": "nightly.service"}, {"unit": None}),
            ({"who": {"containers": ["*"]}}, {"container": "img"}, {}),
            ({"where": {"environments": ["prod*"]}}, {"environment": "/opt/envs/prod-a"}, {"environment": "/opt/prod/dev"}),
            ({"where": {"environments": ["/opt/*"]}}, {"environment": "/opt/a"}, {"environment": "/home/opt"}),
            ({"where": {"kinds": ["system"]}}, {"kind": "system"}, {"kind": "venv"}),
            ({"where": {"owners": ["root"]}}, {"owner": "root"}, {}),
            ({"what": {"actions": ["remove"]}}, {"action": "remove"}, {"action": "install"}),
            ({"what": {"tools": ["uv"]}}, {"tool": "uv"}, {"tool": "pip"}),
            ({"what": {"packages": ["torch>=2.5"]}}, {"packages": ["torch==2.6"]}, {"packages": ["torch==2.4"]}),
            ({"what": {"packages": ["Torch_Vision"]}}, {"packages": ["torch-vision==1"]}, {"packages": ["torch==1"]}),
            ({"what": {"packages": ["pkg:conda/six"]}}, {"tool": "conda"}, {"tool": "pip"}),
            ({"what": {"sources": ["https://evil/*"]}}, {"source": "https://evil/simple"}, {"source": None}),
            (
                {"when": {"days": ["mon-fri"], "hours": ["09:00-18:00"]}},
                {"time": "2026-01-07T09:00:00Z"},
                {"time": "2026-01-07T18:00:00Z"},
            ),
            ({"when": {"hours": ["22:00-06:00"]}}, {"time": "2026-01-07T23:30:00Z"}, {"time": "2026-01-07T12:00:00Z"}),
            (
                {"when": {"hours": ["09:00-18:00"], "zone": "Asia/Shanghai"}},
                {"time": "2026-01-07T02:00:00Z"},
                {"time": "2026-01-07T12:00:00Z"},
            ),
            (
                {"when": {"days": ["wed"], "holidays": ["2026-01-14"]}},
                {"time": "2026-01-07T09:00:00Z"},
                {"time": "2026-01-14T09:00:00Z"},
            ),
            ({"outside": {"days": ["mon-fri"]}}, {"time": "2026-01-10T09:00:00Z"}, {"time": "2026-01-07T09:00:00Z"}),
        ],
    )
    def test_conditions(self, condition: dict[str, object], yes: dict[str, object], no: dict[str, object]) -> None:
        rules = policy({"verdict": "deny", **condition})
        base: dict[str, object] = {"packages": ["six==1"]}
        assert decide(rules, **{**base, **yes}).verdict is Verdict.DENY
        found = decide(rules, **{**base, **no})
        assert found.verdict is Verdict.ALLOW
        assert found.steps[0].why != "every condition holds"

    def test_a_removal_is_judged_by_what_was_there(self) -> None:
        rules = policy({"verdict": "deny", "what": {"packages": ["six<2"]}})
        assert decide(rules, action="remove", packages=["-six==1.17"]).verdict is Verdict.DENY

    @given(st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=5))
    def test_adding_a_stricter_package_never_makes_it_milder(self, verdicts: list[Verdict]) -> None:
        rules = policy(*({"verdict": verdict.value, "what": {"packages": [f"p{at}"]}} for at, verdict in enumerate(verdicts)))
        ranks = [decide(rules, packages=[f"p{one}==1" for one in range(at + 1)]).verdict.rank for at in range(len(verdicts))]
        assert ranks == sorted(ranks)
        assert ranks[-1] == max(verdict.rank for verdict in verdicts)


class TestFiles:
    def test_every_fault_is_told_with_its_place_and_the_sound_rules_are_kept(self, tmp_path: Path) -> None:
        found = load(
            tmp_path,
            "version: 1\nrules:\n  - name: a\n    verdict: alow\n  - name: b\n    verdict: deny\n"
            '    what: {packages: ["numpy=>2"], actions: [instal]}\n    when: {hours: ["9-18"], zone: Mars/X, days: [mon-fry]}\n'
            "  - name: c\n    verdict: deny\n  - name: c\n    verdict: allow\ncolour: red\n",
        )
        assert [rule.name for rule in found.policy.rules] == ["c"]
        assert sorted((fault.line, fault.column) for fault in found.faults) == [
            (4, 14),
            (7, 23),
            (7, 46),
            (8, 20),
            (8, 35),
            (8, 49),
            (11, 11),
            (13, 9),
        ]
        assert all(fault.path.endswith("p.yaml") and "\n" not in fault.message for fault in found.faults)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "version: 2",
            "[]",
            "a: [",
            "version: 1\nrules: 3",
            "\tx",
            "version: 1\nrules: [3]",
            "a: *b",
            "? [a]\n: b\nversion: 1",
            "version: 1\nversion: 1",
        ],
    )
    def test_what_is_no_policy_is_a_fault_and_no_exception(self, tmp_path: Path, text: str) -> None:
        found = load(tmp_path, text)
        assert found.faults
        assert found.policy.rules == []

    def test_an_alias_of_an_alias_ends(self, tmp_path: Path) -> None:
        bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]\n" for at in range(1, 9)
        )
        assert "more than" in load(tmp_path, bomb).faults[0].message

    @given(st.text(max_size=80))
    def test_any_text_is_read(self, text: str) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "p.yaml"
            path.write_text(text, encoding="utf-8", errors="replace")
            assert isinstance(load_policy([path]), LoadedPolicy)

    def test_files_of_a_folder_come_in_order_of_their_names(self, tmp_path: Path) -> None:
        for name in ("20-b", "10-a"):
            (tmp_path / f"{name}.yaml").write_text(f"version: 1\nrules: [{{name: {name}, verdict: allow}}]\n")
        (tmp_path / "readme.txt").write_text("x")
        assert [rule.name for rule in load_policy([tmp_path]).policy.rules] == ["10-a", "20-b"]

    def test_a_file_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no policy"):
            load_policy([tmp_path / "absent.yaml"])

    def test_the_tests_beside_the_rules_are_run(self, tmp_path: Path) -> None:
        found = load(
            tmp_path,
            "version: 1\nrules: [{name: a, verdict: deny, who: {users: [eve]}}]\ntests:\n"
            '  - {name: right, operation: {user: eve, packages: ["six==1"]}, expect: deny, rule: a}\n'
            '  - {name: wrong, operation: {user: bob, packages: ["six==1"]}, expect: deny}\n',
        )
        assert [one.passed for one in run_tests(found.policy)] == [True, False]


@pytest.mark.parametrize("words", [["mon-"], ["xyz"], ["mon-xyz"], [""]])
def test_no_days(words: list[str]) -> None:
    with pytest.raises(ValueError, match="no day"):
        parse_days(words)


@pytest.mark.parametrize("word", ["9-18", "25:00-26:00", "09:00", "09:60-10:00", ""])
def test_no_hours(word: str) -> None:
    with pytest.raises(ValueError, match="not a span"):
        parse_hours(word)


def test_days_may_go_over_the_end_of_the_week() -> None:
    assert parse_days(["fri-mon"]) == {4, 5, 6, 0}


class TestCommand:
    def ask(self, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "envtrail", "--data-dir", str(folder / "trail"), "policy", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder)

    def test_check_test_explain_and_replay(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path / "trail")
        layout.create()
        state = State(layout.state)
        for at, user in enumerate(("alice", "eve")):
            made = operation_of(Case(user=user, packages=["six==1.0"], environment=f"/opt/{user}", time="2026-11-01T00:00:00Z"))
            event = EventId(node="test", time_ms=to_ms(made.started), serial=at)
            made = msgspec.structs.replace(made, id=make_operation_id(event, made.environment.prefix))
            state.put_operation(made)
        state.close()
        good = tmp_path / "good.yaml"
        good.write_text("version: 1\nrules: [{name: not-eve, verdict: deny, who: {users: [eve]}, reason: she knows why}]\n")
        assert self.ask(tmp_path, "check", "good.yaml").stdout == "1 rules and 0 tests in 1 files: valid\n"
        assert self.ask(tmp_path, "test", "good.yaml").returncode == 1
        replayed = self.ask(tmp_path, "replay", "--policy", "good.yaml", "--since", "2026-01-01", "--json")
        rows = [json.loads(line) for line in replayed.stdout.splitlines()]
        assert {(row["operation"]["actor"]["name"], row["decision"]["verdict"]) for row in rows} == {("eve", "deny")}
        explained = self.ask(tmp_path, "explain", made.id, "--policy", "good.yaml")
        assert explained.returncode == 0, explained.stderr
        assert "deny by not-eve: she knows why" in explained.stdout
        (tmp_path / "bad.yaml").write_text("version: 1\nrules: [{name: x}]\n")
        bad = self.ask(tmp_path, "check", "bad.yaml")
        assert (bad.returncode, bad.stderr.startswith("bad.yaml:2:9: ")) == (2, True)
        assert self.ask(tmp_path, "replay", "--policy", "bad.yaml").returncode == 2

    def test_the_schema_takes_what_the_check_takes(self, tmp_path: Path) -> None:
        import jsonschema
        import yaml

        schema = json.loads(self.ask(tmp_path, "schema").stdout)
        good = {"version": 1, "rules": [{"name": "a", "verdict": "deny", "when": {"hours": ["09:00-18:00"]}}]}
        jsonschema.validate(good, schema)
        for bad in ({"version": 2}, {"version": 1, "rules": [{"name": "a"}]}, {"version": 1, "x": 1}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(bad, schema)
            (tmp_path / "bad.yaml").write_text(yaml.safe_dump(bad))
            assert self.ask(tmp_path, "check", "bad.yaml").returncode == 2


def test_every_policy_in_the_documentation_is_sound_and_passes_its_own_tests() -> None:
    docs = Path(__file__).parents[3] / "docs"
    seen = 0
    for name in ("policy.md", "approval.md"):
        for at, text in enumerate((docs / name).read_text().split("```yaml\n")[1:]):
            found = parse_policy({f"{name}:{at}": text.partition("```")[0]})
            assert found.faults == [], name
            assert [one.test.name for one in run_tests(found.policy) if not one.passed] == [], name
            seen += 1
    assert seen >= 5


def test_hours_in_a_variable_are_separated_by_commas() -> None:
    config = load_config(environ={"ENVTRAIL_OFFICE_HOURS": "08:00-12:00,13:00-18:00", "ENVTRAIL_OFFICE_DAYS": "mon:tue"})
    office_hours = read_office_hours(config)
    assert (office_hours.hours, office_hours.days) == (["08:00-12:00", "13:00-18:00"], ["mon", "tue"])
