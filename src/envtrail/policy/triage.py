"""People's statements about findings, and the web UI's access log, turned into observations."""

from __future__ import annotations

import msgspec

from envtrail.errors import CannotRunError, InputError, UsageError
from envtrail.model.access_log import access_entry_of
from envtrail.model.decided import AccessRecorded, FindingTriaged, SuppressionSet
from envtrail.model.decision import Decided, Mute, Person, RecordAccess, Triage, Unmute
from envtrail.model.finding import Suppression
from envtrail.model.identity import Identity, Role
from envtrail.model.ids import make_ulid
from envtrail.model.observation import Observation
from envtrail.state.state import State

_DAY_MS = 86_400_000


def triage(decision: Triage | Mute | Unmute, by: Person, now_ms: int, state: State) -> tuple[list[Observation], Decided]:
    """Status of a finding; mutes.

    Raises:
        CannotRunError: this person may not.
        InputError: its object does not exist.
        UsageError: there is no reason.
    """
    if not by.is_admin:
        raise CannotRunError("only root and the service's group may triage findings", hint="`service.group` names the group")
    need_reason(decision.why)
    match decision:
        case Triage():
            found = state.decisions.finding(decision.finding)
            if found is None:
                raise InputError(f"no finding `{decision.finding}`", hint="`envtrail findings` lists them")
            triaged = FindingTriaged(
                time_ms=now_ms,
                finding=found.id,
                status=decision.status,
                by=by.name,
                why=decision.why,
                assignee=decision.assignee,
            )
            return [triaged], Decided(what="triage", id=found.id, said=f"finding {found.id[:10]} is {decision.status.value}")
        case Mute():
            item = Suppression(
                id=make_ulid(now_ms, "suppression", decision.detection, by.name, decision.why),
                detection=decision.detection,
                reason=decision.why,
                owner=decision.owner or by.name,
                until_ms=decision.until_ms,
                users=decision.users,
                environments=decision.environments,
                packages=decision.packages,
                made_ms=now_ms,
            )
            said = f"{decision.detection} is muted, as {item.id[:10]}"
            return [SuppressionSet(time_ms=now_ms, suppression=item)], Decided(what="mute", id=item.id, said=said)
        case Unmute():
            standing = {item.id: item for item in state.decisions.suppressions(now_ms)}
            if decision.suppression not in standing:
                raise InputError(f"no mute `{decision.suppression}` is in force", hint="`envtrail mute --list` lists them")
            ended = msgspec.structs.replace(standing[decision.suppression], ended_ms=now_ms)
            said = f"{ended.detection} is reported again"
            return [SuppressionSet(time_ms=now_ms, suppression=ended)], Decided(what="unmute", id=ended.id, said=said)


def record_access(reported: RecordAccess, by: Person, now_ms: int) -> tuple[list[Observation], Decided]:
    """Access entries: the web UI names the user and the time; anybody else reports their own, of the last day.

    Raises:
        UsageError: there is no entry, or its time is not allowed.
    """
    if not reported.entries:
        raise UsageError("no access was reported", hint="at least one entry")
    seen = [msgspec.structs.replace(one, time_ms=min(one.time_ms, now_ms)) for one in reported.entries]
    if not by.is_web_ui:
        if any(one.time_ms < now_ms - _DAY_MS for one in seen):
            raise UsageError("an access of more than a day ago was reported", hint="only the web UI reports such entries")
        role = Role.ADMIN if by.is_admin else Role.MEMBER
        themselves = Identity(name=by.name, role=role, uid=by.uid, method="link")
        seen = [msgspec.structs.replace(one, by=themselves) for one in seen]
    entries = [access_entry_of(one, at_ms=now_ms) for one in seen]
    return [AccessRecorded(time_ms=now_ms, entries=entries)], Decided(
        what="looks", id=entries[-1].id, said=f"{len(entries)} accesses are recorded"
    )


def need_reason(why: str) -> None:
    """Raises UsageError without one."""
    if not why.strip():
        raise UsageError("a reason is needed", hint="`--why …`")
