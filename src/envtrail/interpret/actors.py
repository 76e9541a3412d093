"""Who did it: a person with the method that named them, or why nobody is named. Never a guess."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from envtrail.interpret.origins import container_of, job_of, manager_uid_of, unit_of
from envtrail.model.operation import Actor, Confidence

_FIRST_PERSON = 1000
"""Lowest uid of people (UID_MIN of login.defs)."""


class HubServer(Struct, frozen=True, kw_only=True):
    """The single-user server of a JupyterHub above a process."""

    user: str
    """As the spawner said in its environment."""
    uid: int | None
    hub_uid: int | None
    """Whom the hub runs as; null when it is not known."""


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of the process whose person is asked for."""

    auid: int | None = None
    """Login uid; null when unset."""
    uid: int | None = None
    session: int | None = None
    remote: str | None = None
    """Address the session came from."""
    recorded: Mapping[str, str] = {}
    """Names in the record itself (`AUID`, `UID` of the enriched form): those of that moment."""
    names: Mapping[int, str | None] = {}
    """Names resolved on this machine."""
    cgroup: str | None = None
    uid_map: str | None = None
    container_image: str | None = None
    variables: Mapping[str, str] = {}
    """Of the process itself: whoever runs it can set them."""
    hub: HubServer | None = None
    agent: str | None = None
    """The AI agent's program above it."""
    is_below_runner: bool = False
    """A CI runner's worker is above it."""
    uids: tuple[int, ...] = ()
    """Real uids along its line of images in this session, oldest first."""


class Named(Struct, frozen=True, kw_only=True):
    """An actor, why what is null in it is null, and how it was reached."""

    actor: Actor
    absent: dict[str, str]
    why: str


def name_actor(facts: Facts) -> Named:
    """Name the actor; the first method that can speak does.

    A hub's server, a CI job and a container come before the login uid: it is inherited from whoever started the service.
    """
    container = container_of(facts.cgroup, uid=facts.uid, uid_map=facts.uid_map, image=facts.container_image)
    job = job_of(facts.variables) if facts.is_below_runner or facts.auid is None else None
    named = None
    if facts.hub is not None:
        named = _by_hub(facts, facts.hub)
    elif job is not None:
        name = job.person
        named = _person(facts, name=name, method="ci", confidence=Confidence.WEAK if name else Confidence.NONE)
        why = f"the environment of a {job.system} job, which the job itself can set"
        named = msgspec.structs.replace(named, why=why)
    elif container is not None and facts.auid is None:
        named = _by_container(facts, container.engine)
    elif facts.auid is not None:
        named = _by_number(facts, facts.auid, "auid", Confidence.CERTAIN, "the login uid, kept through su and sudo")
    elif (manager := manager_uid_of(facts.cgroup)) is not None and manager == facts.uid:
        named = _by_number(facts, manager, "unit", Confidence.STRONG, f"its systemd manager is user@{manager}.service")
    elif facts.uid is not None:
        # Root without a login is a console, a service or a container: the uid is right, the person is not known.
        confidence = Confidence.STRONG if facts.uid >= _FIRST_PERSON else Confidence.WEAK
        named = _by_number(facts, facts.uid, "uid", confidence, "the uid: no login uid was set")
    else:
        named = _nobody(facts)
    actor = msgspec.structs.replace(
        named.actor,
        kind=_class_of(facts, is_job=job is not None),
        chain=_chain_of(facts),
        unit=unit_of(facts.cgroup),
        container=container,
        job=job,
        program=facts.agent,
    )
    absent = dict(named.absent)
    if facts.auid is None:
        absent["actor.auid"] = "no login uid was set (service, cron, container or console)"
    if actor.remote is None:
        absent["actor.remote"] = "not recorded" if facts.session is not None else "not applicable: no session"
    return Named(actor=actor, absent=absent, why=named.why)


def _by_hub(facts: Facts, hub: HubServer) -> Named:
    account = facts.names.get(hub.uid) if hub.uid is not None else None
    if account == hub.user or hub.uid is None or hub.uid == hub.hub_uid:
        why = "JUPYTERHUB_USER of the single-user server, as the hub's spawner set it"
        return _person(facts, name=hub.user, method="jupyterhub", confidence=Confidence.STRONG, why=why)
    why = f"the account of the single-user server; its spawner called the person {hub.user}"
    return _person(facts, name=account or hub.user, method="jupyterhub", confidence=Confidence.STRONG, why=why)


def _by_container(facts: Facts, engine: str) -> Named:
    """A uid inside a container is no account of the host, whatever name it has here."""
    named = _person(facts, name=None, method="container", confidence=Confidence.WEAK, why=f"a process of a {engine} container")
    return msgspec.structs.replace(
        named, absent={"actor.name": "a uid of a container is no account of this host, and no login was seen"}
    )


def _by_number(facts: Facts, number: int, method: str, confidence: Confidence, why: str) -> Named:
    recorded = facts.recorded.get("AUID" if method == "auid" else "UID")
    name = recorded if recorded not in {None, "unset", "unknown"} else facts.names.get(number)
    named = _person(facts, name=name, method=method, confidence=confidence, why=why)
    if name is not None:
        return named
    return msgspec.structs.replace(named, absent={"actor.name": f"uid {number} has no name on this machine"})


def _person(facts: Facts, *, name: str | None, method: str, confidence: Confidence, why: str = "") -> Named:
    actor = Actor(
        name=name,
        uid=facts.uid,
        auid=facts.auid,
        method=method,
        confidence=confidence,
        session=facts.session,
        remote=facts.remote,
    )
    return Named(actor=actor, absent={} if name else {"actor.name": f"{method} names nobody"}, why=why)


def _nobody(facts: Facts) -> Named:
    named = _person(facts, name=None, method="none", confidence=Confidence.NONE, why="nothing tells who it was")
    return msgspec.structs.replace(named, absent={"actor.name": "neither a record nor /proc told a uid"})


def _class_of(facts: Facts, *, is_job: bool) -> str | None:
    if facts.agent is not None:
        return "agent"
    if facts.hub is not None:
        return "human"
    if is_job:
        return "service"
    if facts.auid is not None:
        return "human"
    unit = unit_of(facts.cgroup)
    is_system = unit is not None and "/system.slice/" in (facts.cgroup or "")
    if facts.uid is None:
        return None
    # Root at a console without PAM, as on a fresh machine, has no unit either: that is not decided.
    if is_system or 0 < facts.uid < _FIRST_PERSON:
        return "service"
    return "human" if facts.uid >= _FIRST_PERSON else None


def _chain_of(facts: Facts) -> list[str]:
    """Each uid when it follows another one; empty when there was only one."""
    changes = [uid for at, uid in enumerate(facts.uids) if at == 0 or facts.uids[at - 1] != uid]
    if len(changes) < 2:
        return []
    return [facts.names.get(uid) or str(uid) for uid in changes]
