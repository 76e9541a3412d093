"""The contents of a period, as plain values: the JSON document, and the source of the other formats."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import islice

from msgspec import Struct

from envtrail import __version__
from envtrail.model.approval import Grant, Request
from envtrail.model.finding import Finding
from envtrail.model.gap import Gap
from envtrail.model.hours import When
from envtrail.model.operation import Operation
from envtrail.state.panels import OffHours, PersonActivity, Script, most_active, off_hours, top_scripts
from envtrail.state.store import Query, Store

MOST_ROWS = 5_000
"""Of one kind; a longer document would not be read, and the number left out is stated."""

_COUNTED = {"requests": "requests made", "grants": "grants standing"}


class Verified(Struct, frozen=True, kw_only=True):
    """Whether the trail is unchanged."""

    state: str
    """`as written`, `faults` or `not verified`; what was not checked is never called sound."""
    segments: int = 0
    records: int = 0
    rows: int = 0
    """Displayed rows that were compared with the evidence; 0: they were not."""
    faults: list[str] = []
    not_checked: list[str] = []
    reason: str | None = None
    """Why it was not verified."""
    cannot_prove: list[str] = []


class EnvironmentChanges(Struct, frozen=True, kw_only=True):
    """What was done in one environment."""

    prefix: str
    operations: int
    added: int
    removed: int
    changed: int
    unexplained: int
    people: list[str]


class Truncation(Struct, frozen=True, kw_only=True):
    """Total number of items, and how many of them are left out."""

    total: int
    left_out: int


class Report(Struct, frozen=True, kw_only=True):
    """One document about a period. Every list is ordered by time, oldest first, or by count, highest first."""

    since_ms: int
    until_ms: int
    made_ms: int
    version: str
    hosts: list[str]
    environment: str | None
    verified: Verified
    counts: dict[str, int]
    """`operations`, `failed`, `changes`, `unexplained`, `unapproved`, `people`, `environments`, `findings`, `gaps`, `requests made`, `grants standing`."""
    levels: dict[str, int]
    """Findings by level."""
    statuses: dict[str, int]
    """Findings by status."""
    environments: list[EnvironmentChanges]
    people: list[PersonActivity]
    methods: dict[str, int]
    """Operations by how the person was identified: method and confidence."""
    scripts: list[Script]
    off_hours: list[OffHours]
    operations: list[Operation]
    findings: list[Finding]
    requests: list[Request]
    grants: list[Grant]
    gaps: list[Gap]
    parts: dict[str, Truncation]


def gather(
    store: Store,
    *,
    since_ms: int,
    until_ms: int,
    made_ms: int,
    office_hours: When,
    verified: Verified,
    environment: str | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """Read everything once; counts cover everything, lists are bounded.

    Args:
        store: The trail, as this person may read it.
        since_ms: Start of the period.
        until_ms: End of the period.
        made_ms: Now.
        office_hours: Hours of work.
        verified: Result of the verification.
        environment: Restrict the report to this one.
        on_progress: Called with (operations read, 0).
    """
    query = Query(since_ms=since_ms, until_ms=until_ms, environment=environment, oldest_first=True)
    tally = _Tally()
    operations: list[Operation] = []
    for at, operation in enumerate(store.operations(query)):
        if operation.actor.method == "owner":
            continue
        tally.take(operation)
        if len(operations) < MOST_ROWS:
            operations.append(operation)
        if at % 500 == 0:
            on_progress(at, 0)
    findings = list(store.findings(query))
    requests = [item for item in store.requests(query) if since_ms <= item.time_ms <= until_ms]
    grants = [item for item in store.grants(query) if item.since_ms <= until_ms and item.terms.until_ms >= since_ms]
    gaps = list(store.gaps(query))
    activity, programs = list(store.activity(query)), list(store.programs(query))
    lists: dict[str, list[object]] = {"findings": [*findings], "requests": [*requests], "grants": [*grants], "gaps": [*gaps]}
    parts = {name: Truncation(total=len(items), left_out=max(0, len(items) - MOST_ROWS)) for name, items in lists.items()}
    parts["operations"] = Truncation(total=tally.operations, left_out=tally.operations - len(operations))
    return Report(
        since_ms=since_ms,
        until_ms=until_ms,
        made_ms=made_ms,
        version=__version__,
        hosts=sorted(tally.hosts | {item.host for item in findings} | {item.host for item in gaps}),
        environment=environment,
        verified=verified,
        counts={
            "operations": tally.operations,
            "failed": tally.failed,
            "changes": tally.changes,
            "unexplained": tally.unexplained,
            "unapproved": tally.unapproved,
            "people": len(tally.people),
            "environments": len(tally.environments),
            **{_COUNTED.get(name, name): len(items) for name, items in lists.items()},
        },
        levels=_counted(item.level.value for item in findings),
        statuses=_counted(item.status.value for item in findings),
        environments=tally.listed(),
        people=most_active(activity, programs),
        methods=_counted(tally.methods.elements()),
        scripts=top_scripts(programs)[:100],
        off_hours=off_hours(activity, office_hours),
        operations=operations,
        findings=findings[:MOST_ROWS],
        requests=requests[:MOST_ROWS],
        grants=list(islice(grants, MOST_ROWS)),
        gaps=gaps[:MOST_ROWS],
        parts=parts,
    )


class _Tally:
    """Counts over all operations, without keeping them."""

    def __init__(self) -> None:
        self.operations = self.failed = self.changes = self.unexplained = self.unapproved = 0
        self.hosts: set[str] = set()
        self.people: set[str] = set()
        self.methods: Counter[str] = Counter()
        self.environments: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._people_of: defaultdict[str, set[str]] = defaultdict(set)

    def take(self, operation: Operation) -> None:
        changes = operation.changes or []
        self.operations += 1
        self.failed += operation.outcome.value != "success"
        self.changes += len(changes)
        self.hosts.add(operation.host)
        unexplained = max(1, len(changes)) if operation.explained is False else 0
        self.unexplained += unexplained
        self.unapproved += operation.verdict in {"require-approval", "deny"} and operation.grant is None
        actor = operation.actor
        person = actor.name or (f"uid {actor.uid}" if actor.uid is not None else "unknown")
        self.people.add(person)
        self.methods[f"{actor.method} ({actor.confidence.value})"] += 1
        prefix = operation.environment.prefix or "unknown"
        self._people_of[prefix].add(person)
        self.environments[prefix].update(
            operations=1,
            added=sum(change.action == "added" for change in changes),
            removed=sum(change.action == "removed" for change in changes),
            changed=sum(change.action in {"changed", "installed"} for change in changes),
            unexplained=unexplained,
        )

    def listed(self) -> list[EnvironmentChanges]:
        found = [
            EnvironmentChanges(
                prefix=prefix,
                people=sorted(self._people_of[prefix]),
                **{name: count[name] for name in ("operations", "added", "removed", "changed", "unexplained")},
            )
            for prefix, count in self.environments.items()
        ]
        return sorted(found, key=lambda one: (-one.operations, one.prefix))


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items(), key=lambda pair: (-pair[1], pair[0])))
