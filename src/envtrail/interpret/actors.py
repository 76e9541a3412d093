"""Who did it: a person with the method that named them, or why nobody is named. Never a guess."""

from __future__ import annotations

from collections.abc import Mapping

from envtrail.model.operation import Actor, Confidence


def name_actor(
    *,
    auid: int | None,
    uid: int | None,
    session: int | None,
    remote: str | None,
    recorded_names: Mapping[str, str],
    names: Mapping[int, str | None],
) -> tuple[Actor, dict[str, str]]:
    """Name the actor of an event.

    Args:
        auid: Login uid; null when unset.
        uid: Real uid.
        session: Kernel's session number; null when unset.
        remote: Address of that session.
        recorded_names: Names that stand in the record itself (`AUID`, `UID` of the enriched form): those of that moment.
        names: Names resolved on this machine.

    Returns:
        The actor, and the reasons of what is null in it.
    """
    absent: dict[str, str] = {}
    if auid is not None:
        number, method, confidence = auid, "auid", Confidence.CERTAIN
        recorded = recorded_names.get("AUID")
    elif uid is not None:
        # Root without a login is a console, a service or a container: the uid is right, the person is not known.
        number, method = uid, "uid"
        confidence = Confidence.WEAK if uid == 0 else Confidence.STRONG
        recorded = recorded_names.get("UID")
        absent["actor.auid"] = "no login uid was set (service, cron, container or console)"
    else:
        absent["actor.name"] = "the record holds no uid"
        return Actor(name=None, uid=None, auid=None, method="none", confidence=Confidence.NONE), absent
    name = recorded if recorded not in (None, "unset", "unknown") else names.get(number)
    if name is None:
        absent["actor.name"] = f"uid {number} has no name on this machine"
    if remote is None:
        absent["actor.remote"] = "not recorded" if session is not None else "not applicable: no session"
    actor = Actor(name=name, uid=uid, auid=auid, method=method, confidence=confidence, session=session, remote=remote)
    return actor, absent
