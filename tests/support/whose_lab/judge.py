"""Compare what the trail says with the ledger, change for change."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from msgspec import Struct

from envtrail.model.times import to_ms
from whose_lab.ledger import Change, Step, normalise

Document = dict[str, object]
COUNTS = (
    "wrong person", "change in the wrong operation", "missing change", "wrong before or after", "invented change", "repeated change", "missing operation",
    "false operation", "stray operation", "false failure", "false success", "other wrong outcome", "wrong tool or kind", "wrong place", "missing file", "missing argv",
    "wrong state", "wrong blame", "false finding", "rebuild differs", "import differs",
)  # fmt: skip
_SLACK_MS = 60
_TOGETHER_MS = 15_000
"""Steps by hand with one program, by one person in one environment, may be one operation when they are this near."""


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that the trail has wrong."""

    count: str
    text: str


class Judge:
    """All operations of a run against all steps of its ledger."""

    def __init__(self, steps: Sequence[Step], operations: Sequence[Document]) -> None:
        self.faults: list[Fault] = []
        self.checked = Counter[str]()
        self._steps = steps
        self._own: dict[int, list[Document]] = defaultdict(list)
        """By the step's place in the ledger."""
        self._order = {id(step): at for at, step in enumerate(steps)}
        for operation in operations:
            step = self._step_of(operation)
            if step is None:
                self._add("stray operation", f"belongs to no step: {describe(operation)}")
            elif _is_aside(operation, step):
                self._judge_person(step, operation)
            else:
                self._own[self._order[id(step)]].append(operation)

    def run(self) -> Judge:
        """Judge every step."""
        for at, step in enumerate(self._steps):
            self._judge_operations(step, self._own[at])
            self._judge_changes(step, self._own[at])
        return self

    def judge_findings(self, findings: Sequence[Document]) -> Judge:
        """Only what people do by hand is worth a finding, and what a tool did against its own advice."""
        by_operation = {operation["id"]: self._steps[at] for at, operations in self._own.items() for operation in operations}
        for finding in findings:
            step = by_operation.get(finding["operation"]) or self._step_at(finding)
            if step is None or not (step.plan.by_hand or "--break-system-packages" in step.plan.command):
                self._add("false finding", f"{finding['level']} {finding['detection']}: {finding['reason']}", step)
        return self

    def _step_at(self, finding: Document) -> Step | None:
        """Of those that were under way, one by hand."""
        time_ms = int(str(finding["time_ms"]))
        near = [step for step in self._steps if step.started_ms - _SLACK_MS <= time_ms <= step.ended_ms + _SLACK_MS]
        near = [step for step in near if finding["uid"] in {None, step.person.auid}]
        return min(near, key=lambda step: not step.plan.by_hand, default=None)

    def _step_of(self, operation: Document) -> Step | None:
        """By the process; else by the person, the place and the moment, and among these by the program."""
        started = to_ms(str(operation["started"]))
        near = [step for step in self._steps if step.started_ms - _SLACK_MS <= started <= step.ended_ms + _SLACK_MS]
        by_process = [step for step in near if step.pid == operation.get("pid")]
        if by_process:
            return by_process[0]
        auid, prefix = _dict(operation["actor"])["auid"], _dict(operation["environment"])["prefix"]
        here = [step for step in near if step.person.auid == auid and prefix in step.prefixes]
        return min(
            here,
            key=lambda step: (
                operation["tool"] not in step.plan.tool.split("|"),
                not step.started_ms <= started <= step.ended_ms,
            ),
            default=None,
        )

    def _judge_operations(self, step: Step, found: Sequence[Document]) -> None:
        plan, outcome = step.plan, step.outcome()
        self.checked["steps"] += 1
        for operation in found:
            self._judge_person(step, operation)
        if not plan.tool or (plan.by_hand and not has_effect(step)):
            if found:
                self._add("false operation", f"{[describe(item) for item in found]} for a step without one", step)
            return
        if not found:
            is_vain = plan.by_hand and step.exit_code != 0  # It may have removed nothing of a package.
            if not (plan.allows_none or is_vain or self._stands_with_others(step) or (plan.kill_after_s or 1) < 0.2):
                self._add("missing operation", "none", step)
            return
        if len(found) > 1:
            self._add("false operation", f"{len(found)} for one step: {[describe(item) for item in found]}", step)
        for operation in found[:1]:
            self._judge_one(step, operation, outcome)

    def _judge_person(self, step: Step, operation: Document) -> None:
        auid = _dict(operation["actor"])["auid"]
        if auid != step.person.auid:
            self._add("wrong person", f"{auid}, not {step.person.auid}: {describe(operation)}", step)

    def _judge_one(self, step: Step, operation: Document, outcome: str) -> None:
        plan, said = step.plan, operation["outcome"]
        if said != outcome and not (outcome == "success" and not step.is_as_requested()):
            count = "false failure" if outcome == "success" and said in {"failure", "killed"} else "other wrong outcome"
            count = "false success" if said == "success" else count
            self._add(count, f"{said} ({operation['reason']}), not {outcome}: {describe(operation)}", step)
        tool, kind = str(operation["tool"]), str(operation["kind"])
        kinds = ("tamper",) if plan.by_hand and step.exit_code else plan.kinds
        if kind not in kinds or (not plan.by_hand and tool != plan.tool):
            self._add("wrong tool or kind", f"{tool} {kind}, not {plan.tool} {kinds}: {describe(operation)}", step)
        if (prefix := _dict(operation["environment"])["prefix"]) not in step.prefixes:
            self._add("wrong place", f"{prefix}, not {step.prefixes}", step)
        files = {str(_dict(item)["path"]) for item in _list(operation.get("files"))}
        if not operation["argv"]:
            self._add("missing argv", describe(operation), step)
        if missing := set(step.altered) - files:
            self._add("missing file", f"{sorted(missing)} are not among {sorted(files)}", step)

    def _judge_changes(self, step: Step, found: Sequence[Document]) -> None:
        """Each change of the ledger is in the step's own operation, and nothing else is."""
        said = [change for operation in found for change in changes_of(operation)]
        left = list(step.changes)
        self.checked["changes"] += len(left)
        for change in said:
            near = next((one for one in left if one.name == change.name), None)
            other = self._whose(change, step)
            if change in left:
                left.remove(change)
            elif change in step.changes:
                self._add("repeated change", f"{change}", step)
            elif near and near.after == change.after and (other is None or other.person == step.person):
                left.remove(near)
                self._add("wrong before or after", f"{change}, not {near}", step)
            elif other:
                if not self._is_together(step, other):
                    self._add("change in the wrong operation", f"{change} is of step {name_of(other)}", step)
                    if other.person != step.person:
                        self._add("wrong person", f"{change} is {other.person.name}'s, in step {name_of(other)}", step)
            elif near:
                left.remove(near)
                self._add("wrong before or after", f"{change}, not {near}", step)
            else:
                self._add("invented change", f"{change}", step)
        for change in left:
            if step.plan.allows_fewer or self._is_elsewhere(change, step):
                continue
            self._add("missing change", f"{change}; said: {[describe(item) for item in found]}", step)

    def _whose(self, change: Change, step: Step) -> Step | None:
        """Another step that made this very change in this environment."""
        others = [
            one
            for one in self._steps
            if one is not step
            and change in one.changes
            and set(one.prefixes) & set(step.prefixes)
            and not self._has_it(one, change)
        ]
        return min(others, key=lambda one: abs(one.started_ms - step.started_ms), default=None)

    def _has_it(self, step: Step, change: Change) -> bool:
        return any(change in changes_of(item) for item in self._own[self._order[id(step)]])

    def _is_elsewhere(self, change: Change, step: Step) -> bool:
        """An operation of another step took it (and was counted for it), or steps by hand stand together."""
        return any(
            change in changes_of(item) and change not in self._steps[at].changes
            for at, items in self._own.items()
            if set(self._steps[at].prefixes) & set(step.prefixes)
            for item in items
        )

    def _stands_with_others(self, step: Step) -> bool:
        return step.plan.by_hand and any(
            self._is_together(step, other) and self._own[self._order[id(other)]] for other in self._steps if other is not step
        )

    def _is_together(self, step: Step, other: Step) -> bool:
        return (
            step.plan.by_hand
            and other.plan.by_hand
            and step.person == other.person
            and step.plan.tool == other.plan.tool
            and step.prefixes == other.prefixes
            and abs(step.started_ms - other.started_ms) < _TOGETHER_MS
        )

    def _add(self, count: str, text: str, step: Step | None = None) -> None:
        assert count in COUNTS
        self.faults.append(
            Fault(count=count, text=f"{count}: {text}" + (f"\n    step {name_of(step)} {step.plan.command}" if step else ""))
        )


def _is_aside(operation: Document, step: Step) -> bool:
    """What moves a package out of an environment makes a second one of the folder that it is moved to; that is right, and not looked at further."""
    return "/scratch/" in str(_dict(operation["environment"])["prefix"]) and step.plan.tool == "mv"


def has_effect(step: Step) -> bool:
    """Whether a step by hand changed anything of an environment."""
    return bool(
        step.changes or step.altered or "delete" in step.plan.kinds or "move" in step.plan.kinds or "create" in step.plan.kinds
    )


def name_of(step: Step) -> str:
    """The step in a few words."""
    changes = ", ".join(f"{one.name} {one.before or '-'}→{one.after or '-'}" for one in step.changes)
    return f"{step.person.name}#{step.number} (burst {step.burst}, pid {step.pid}, {step.started_ms}–{step.ended_ms}, exit {step.exit_code}, {changes})"


def describe(operation: Document) -> str:
    """An operation in one line."""
    changes = [f"{one.name} {one.before or '-'}→{one.after or '-'}" for one in changes_of(operation)]
    actor, environment = _dict(operation["actor"]), _dict(operation["environment"])
    return (
        f"{operation['tool']} {operation['kind']} {environment['prefix']} by {actor['auid']} pid {operation.get('pid')} at {operation['started']}"
        f" {operation['outcome']} {changes if operation['changes'] is not None else 'null'} {str(' '.join(map(str, _list(operation['argv']))))[:160]}"
    )


def changes_of(operation: Document) -> list[Change]:
    """The changes that an operation is said to have made."""
    found = []
    for item in _list(operation["changes"]):
        row = _dict(item)
        before, after = (str(_dict(row[side])["version"]) if row[side] else "" for side in ("before", "after"))
        found.append(Change(name=normalise(str(row["name"])), before=before, after=after))
    return found


def _dict(value: object) -> Document:
    assert isinstance(value, dict), value
    return value


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []
