"""Who did it: a person with the method that named them, or why nobody is named. Never a guess."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from envtrail.interpret.origins import container_of, is_of_people, is_of_the_system, job_of, owner_of, unit_of
from envtrail.model.operation import Actor, Confidence, Container, Job

_FIRST_PERSON = 1000
"""Lowest uid of people (UID_MIN of login.defs)."""


class HubServer(Struct, frozen=True, kw_only=True):
    """The single-user server of a JupyterHub above a process."""

    user: str
    """As the spawner said in its environment."""
    uid: int | None
    parent_uid: int | None
    """Of what started it; null when that is not known."""
    is_below_hub: bool = False
    """The hub itself was seen above it."""
    is_shared: bool = False
    """Its account runs the servers of several of the hub's people."""


class Runner(Struct, frozen=True, kw_only=True):
    """The worker of a CI runner above a process."""

    uid: int | None
    variables: Mapping[str, str] = {}
    """What it gave to the first process of the job; empty when that was not seen."""


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
    runner: Runner | None = None
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
    job = _job_of(facts)
    named = (
        (_by_hub(facts, facts.hub, is_contained=container is not None) if facts.hub else None)
        or (_by_job(facts, job) if job else None)
        or (_by_container(facts, container) if container else None)
        or _by_account(facts)
    )
    named = _with_doubts(named, facts, job)
    actor = msgspec.structs.replace(
        named.actor,
        kind=_class_of(facts, is_job=job is not None or facts.runner is not None),
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


def _by_hub(facts: Facts, hub: HubServer, *, is_contained: bool) -> Named | None:
    """The hub's person; None where whoever is logged in could have started the server and said so themselves.

    A spawner is root, a service, or a hub that was seen; a person who starts a server as somebody else (`sudo -u`) is none.
    """
    is_other = hub.parent_uid is not None and hub.parent_uid != hub.uid
    is_spawner = (hub.is_below_hub and facts.auid is None) or (hub.parent_uid or 0) < _FIRST_PERSON
    # Whoever lets a person in is root as well (sshd, cron, their systemd manager).
    is_given = is_other and is_spawner and not _is_own(facts, hub.uid)
    is_service = (hub.uid is not None and hub.uid < _FIRST_PERSON) or is_contained or is_of_the_system(facts.cgroup)
    is_by_login = _is_own(facts, hub.uid) or (facts.auid is not None and not is_service)
    if not is_given and (is_by_login or not (hub.is_below_hub or (is_service and hub.parent_uid is None))):
        return None
    confidence = Confidence.STRONG if is_given or (hub.is_below_hub and is_service) else Confidence.WEAK
    account = facts.names.get(hub.uid) if hub.uid is not None else None
    # The numbers of a container are not this host's; one account for all is nobody's.
    is_everybodys = is_contained or hub.is_shared or not is_given or hub.uid is None or hub.uid < _FIRST_PERSON
    if account is None or account == hub.user or is_everybodys:
        why = "JUPYTERHUB_USER of the single-user server, as the hub's spawner set it"
        return _person(facts, name=hub.user, method="jupyterhub", confidence=confidence, why=why)
    why = f"the account of the single-user server; its spawner called the person {hub.user}"
    return _person(facts, name=account, method="jupyterhub", confidence=confidence, why=why)


def _is_own(facts: Facts, uid: int | None) -> bool:
    """Whether what runs as `uid` may have been started by the person it runs as: their login, session or cron job is above."""
    by_cron = facts.auid is None and is_of_people(facts.cgroup)
    return uid is not None and (uid in {facts.auid, owner_of(facts.cgroup)} or (by_cron and uid >= _FIRST_PERSON))


def _job_of(facts: Facts) -> Job | None:
    """The CI job; without a runner above, only a service's own account may speak of one."""
    if facts.runner is not None:
        return job_of(facts.runner.variables) or job_of(facts.variables)
    is_service = facts.auid is None and facts.uid is not None and facts.uid < _FIRST_PERSON
    return job_of(facts.variables) if is_service else None


def _by_job(facts: Facts, job: Job) -> Named | None:
    """The job's person; None where whoever is logged in could have started the runner themselves."""
    # A login that never became root or a service on the way has started the runner as itself or as another person.
    is_persons = facts.auid is not None and all(uid >= _FIRST_PERSON for uid in facts.uids)
    if facts.runner is not None and (is_persons or _is_own(facts, facts.runner.uid)):
        return None
    if facts.runner is not None and facts.auid is None and job_of(facts.runner.variables):
        confidence, why = Confidence.STRONG, f"what the runner gave to the {job.system} job at its start"
    elif facts.runner is not None and job_of(facts.runner.variables):
        confidence = Confidence.WEAK
        why = f"what the runner gave to the {job.system} job at its start; the runner was started from the login {facts.auid}"
    else:
        confidence, why = Confidence.WEAK, f"the environment of a {job.system} job, which the job itself can set"
    return _person(facts, name=job.person, method="ci", confidence=confidence if job.person else Confidence.NONE, why=why)


def _by_container(facts: Facts, container: Container) -> Named:
    """A uid inside a container is no account of the host, whatever name it has here.

    Podman is started by the person; the other engines are daemons, whose login, where there is one, is of who started them.
    """
    owner = owner_of(facts.cgroup)
    if facts.auid is not None and (container.engine == "podman" or owner == facts.auid):
        why = f"the login that started the {container.engine} container; others may work inside it"
        return _by_number(facts, facts.auid, "auid", Confidence.STRONG, why)
    if facts.auid is None and owner is not None:
        return _by_number(
            facts, owner, "unit", Confidence.STRONG, f"the {container.engine} container runs below user {owner}'s units"
        )
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
    """What speaks against the method that was taken: a hub or a runner that the same account could have started for others."""
    if named.actor.method in {"jupyterhub", "ci", "container", "none"}:
        return named
    if facts.hub is not None and facts.hub.is_below_hub:
        doubt = f"a hub's server above is for {facts.hub.user}, but the same account could have said so itself"
    elif facts.runner is not None:
        person = job.person if job else None
        doubt = f"a CI runner is above, for {person or 'nobody that is known'}; who is logged in may only have started it"
    else:
        return named
    actor = msgspec.structs.replace(named.actor, confidence=Confidence.WEAK)
    return msgspec.structs.replace(named, actor=actor, why=f"{named.why}; {doubt}")


def _by_number(facts: Facts, number: int, method: str, confidence: Confidence, why: str) -> Named:
    # The record names its own numbers, not those that a cgroup tells.
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
    named = _person(facts, name=None, method="none", confidence=Confidence.NONE, why="nothing tells who it was")
    return msgspec.structs.replace(named, absent={"actor.name": "neither a record nor /proc told a uid"})


def _class_of(facts: Facts, *, is_job: bool) -> str | None:
    """What no person's session is above is a service; root at a console without PAM has no unit either: that is not decided."""
    if facts.agent is not None:
        return "agent"
    if facts.hub is not None:
        return "human"
    number = facts.auid if facts.auid is not None else owner_of(facts.cgroup)
    if is_job or (number is not None and 0 < number < _FIRST_PERSON):
        return "service"
    if number is not None:
        # cron logs in for root too.
        return "service" if number == 0 and "/system.slice/cron" in (facts.cgroup or "") else "human"
    if facts.uid is None:
        return None
    is_system = unit_of(facts.cgroup) is not None and "/system.slice/" in (facts.cgroup or "")
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
