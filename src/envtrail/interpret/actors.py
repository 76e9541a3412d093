"""Who did it: a person with the method that named them, or why nobody is named. Never a guess."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from envtrail.interpret.origins import container_of, job_of, owner_of, unit_of, user_unit_of
from envtrail.model.operation import Actor, Confidence, Container, Job

_FIRST_PERSON = 1000
"""Lowest uid of people (UID_MIN of login.defs)."""


class HubServer(Struct, frozen=True, kw_only=True):
    """The single-user server of a JupyterHub above a process."""

    user: str
    """As its environment says."""
    uid: int | None
    is_given: bool = False
    """Root started it, from a hub that runs as root, on the machine itself: nobody else has chosen its account and its environment."""
    is_first_word: bool = False
    """The environment was read at its start: what runs in it can write another one over it."""
    is_shared: bool = False
    """Its account runs the servers of several of the hub's people."""


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of the process whose person is wanted."""

    auid: int | None = None
    """Login uid; None when unset."""
    uid: int | None = None
    session: int | None = None
    remote: str | None = None
    """Address the session was opened from."""
    recorded: Mapping[str, str] = {}
    """Names in the record itself (`AUID`, `UID` of the enriched form): those of that moment."""
    names: Mapping[int, str | None] = {}
    """Of uids on the machine it ran on: resolved there, or said by the records of its login."""
    node: str | None = None
    """The machine it ran on, where that is another one than this."""
    cgroup: str | None = None
    uid_map: str | None = None
    container_image: str | None = None
    variables: Mapping[str, str] = {}
    """Of the process itself: whoever runs it can set them."""
    hub: HubServer | None = None
    agent: str | None = None
    """The AI agent's program above it."""
    runner: Mapping[str, str] | None = None
    """What the first process of the CI job below a runner holds of the job's variables; None without a runner above."""
    uids: tuple[int, ...] = ()
    """Real uids along its line of images in this session, oldest first."""


class Named(Struct, frozen=True, kw_only=True):
    """An actor, why what is None in it is None, and how it was reached."""

    actor: Actor
    absent: dict[str, str]
    why: str


def name_actor(facts: Facts) -> Named:
    """Name the actor; the first method that can speak does.

    A hub of root and a container come before the login uid: it is inherited from whoever started the service.
    """
    container = container_of(facts.cgroup, uid=facts.uid, uid_map=facts.uid_map, image=facts.container_image)
    job = _job_of(facts)
    named = (
        (_by_hub(facts, facts.hub) if facts.hub else None)
        or (_by_container(facts, container) if container else None)
        or _by_account(facts)
    )
    named = _with_doubts(named, facts, job)
    actor = msgspec.structs.replace(
        named.actor,
        kind=_class_of(facts, is_by_hub=named.actor.method == "jupyterhub"),
        chain=_chain_of(facts),
        unit=unit_of(facts.cgroup),
        user_unit=user_unit_of(facts.cgroup),
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


def _by_hub(facts: Facts, hub: HubServer) -> Named | None:
    """The hub's person, where nobody but root has said who that is; the login uid stands where it is the server's own account."""
    if not hub.is_given or (facts.auid is not None and facts.auid == hub.uid):
        return None
    account = facts.names.get(hub.uid) if hub.uid is not None else None
    # One account for all is nobody's.
    is_everybodys = hub.is_shared or hub.uid is None or hub.uid < _FIRST_PERSON
    if account is not None and not is_everybodys:
        why = "the account of the single-user server, which a hub of root started"
        why += "" if account == hub.user else f"; the hub calls the person {hub.user}"
        return _person(facts, name=account, method="jupyterhub", confidence=Confidence.STRONG, why=why)
    if not hub.is_first_word:
        return None
    why = "JUPYTERHUB_USER of the single-user server, as a hub of root set it"
    return _person(facts, name=hub.user, method="jupyterhub", confidence=Confidence.STRONG, why=why)


def _job_of(facts: Facts) -> Job | None:
    """What is said of a CI job; without a runner above, only a service's own account may speak of one."""
    if facts.runner is not None:
        return job_of(facts.runner) or job_of(facts.variables)
    is_service = facts.auid is None and facts.uid is not None and facts.uid < _FIRST_PERSON
    return job_of(facts.variables) if is_service else None


def _by_container(facts: Facts, container: Container) -> Named | None:
    """A uid inside a container is no account of the host, whatever name it has here.

    Podman, and what runs below a unit of somebody's, is started by the person; the other engines are daemons, whose login, where there
    is one, is of who started them. None where the container may be a name that its own account has made up.
    """
    owner = owner_of(facts.cgroup)
    if facts.auid is not None and (container.engine == "podman" or container.unit is not None):
        why = f"the login that started the {container.engine} container; others may work inside it"
        return _by_number(facts, facts.auid, "auid", Confidence.STRONG, why)
    if owner is not None:
        why = f"the {container.engine} container runs below user {owner}'s units"
        return _by_number(facts, owner, "unit", Confidence.WEAK, why)
    if container.unit is not None:
        return None
    named = _person(
        facts, name=None, method="container", confidence=Confidence.WEAK, why=f"a process of a {container.engine} container"
    )
    seen = "no login was seen" if facts.auid is None else f"the login uid {facts.auid} is of who started the engine"
    return msgspec.structs.replace(named, absent={"actor.name": f"a uid of a container is no account of this host, and {seen}"})


def _by_account(facts: Facts) -> Named:
    owner = owner_of(facts.cgroup)
    if facts.auid is not None:
        return _by_number(facts, facts.auid, "auid", Confidence.CERTAIN, "the login uid, kept through su and sudo")
    if owner is not None and facts.uid is not None:
        why = f"its cgroup is of user {owner}'s login or systemd manager, which su and sudo keep"
        confidence = Confidence.STRONG if facts.uid == owner else Confidence.WEAK
        why += "" if facts.uid == owner else f"; its uid is another: {facts.uid}"
        return _by_number(facts, owner, "unit", confidence, why)
    if facts.uid is not None:
        # Root without a login is a console, a service or a container: the uid is right, the person is not known.
        confidence = Confidence.STRONG if facts.uid >= _FIRST_PERSON else Confidence.WEAK
        return _by_number(facts, facts.uid, "uid", confidence, "the uid: no login uid was set")
    return _nobody(facts)


def _with_doubts(named: Named, facts: Facts, job: Job | None) -> Named:
    """What speaks against the method that was taken: a hub's server, a CI job or a container that the same account could have set up."""
    actor, doubts, claimed = named.actor, list[str](), None
    if facts.hub is None and facts.runner is None and job is None and not facts.cgroup:
        return named
    if facts.hub is not None and actor.method != "jupyterhub" and facts.hub.user != actor.name:
        claimed = facts.hub.user
        doubts.append(f"a hub's server above is for {claimed}, but the same account could have said so itself")
    if facts.runner is not None:
        doubts.append("a CI runner is above: whoever it works for, the account is the runner's")
    if job is not None and job.person is not None and job.person != actor.name:
        claimed = claimed or job.person
        doubts.append(f"its {job.system} job is of {job.person}, which the job itself can say")
    container = container_of(facts.cgroup, uid=None, uid_map=None, image=None)
    if container is not None and container.unit is not None and actor.method == "uid":
        doubts.append(f"it may be in a container, or {container.unit} only calls it one")
    if not doubts:
        return named
    lowered = actor.confidence if actor.confidence is Confidence.NONE else Confidence.WEAK
    actor = msgspec.structs.replace(actor, confidence=lowered, claimed=claimed)
    return msgspec.structs.replace(named, actor=actor, why="; ".join([named.why, *doubts]))


def _by_number(facts: Facts, number: int, method: str, confidence: Confidence, why: str) -> Named:
    # The record names its own numbers, not those that a cgroup names.
    recorded = facts.recorded.get("AUID") if method == "auid" else facts.recorded.get("UID") if number == facts.uid else None
    name = recorded if recorded not in {None, "unset", "unknown"} else facts.names.get(number)
    named = _person(facts, name=name, method=method, confidence=confidence, why=why)
    if name is not None:
        return named
    where = "on this machine" if facts.node is None else f"in the records of {facts.node}"
    return msgspec.structs.replace(named, absent={"actor.name": f"uid {number} has no name {where}"})


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
    named = _person(facts, name=None, method="none", confidence=Confidence.NONE, why="nothing shows who it was")
    return msgspec.structs.replace(named, absent={"actor.name": "neither a record nor /proc named a uid"})


def _class_of(facts: Facts, *, is_by_hub: bool) -> str | None:
    """What no person's session is above is a service; root at a console without PAM has no unit either: that is not decided."""
    if facts.agent is not None:
        return "agent"
    if is_by_hub:
        return "human"
    number = facts.auid if facts.auid is not None else owner_of(facts.cgroup)
    if number is not None and 0 < number < _FIRST_PERSON:
        return "service"
    if number is not None:
        # cron logs in for root too.
        return "service" if number == 0 and (facts.cgroup or "").startswith("/system.slice/cron") else "human"
    if facts.uid is None:
        return None
    is_system = unit_of(facts.cgroup) is not None and (facts.cgroup or "").startswith("/system.slice/")
    if is_system or 0 < facts.uid < _FIRST_PERSON:
        return "service"
    return "human" if facts.uid >= _FIRST_PERSON else None


def _chain_of(facts: Facts) -> list[str]:
    """Each uid when it follows another one; empty when there was only one."""
    if len(facts.uids) < 2:
        return []
    changes = [uid for at, uid in enumerate(facts.uids) if at == 0 or facts.uids[at - 1] != uid]
    if len(changes) < 2:
        return []
    return [facts.names.get(uid) or str(uid) for uid in changes]
