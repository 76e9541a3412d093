"""What is remembered of processes that decide who their descendants act for: hub servers, CI workers, AI agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from envtrail.core import Process
from envtrail.interpret.actors import Facts, HubServer, Named, name_actor
from envtrail.interpret.emission import Emission, NameWanted, ProcessWanted
from envtrail.interpret.origins import HUB, HUB_SERVERS, HUB_USER, container_of, owner_of
from envtrail.interpret.rows import Exec
from envtrail.interpret.sessions import Login, Sessions
from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools import AGENT, RUNNER
from envtrail.interpret.tools.paths import program_of
from envtrail.model.observation import NameResolved, ProcessSeen

_MOST = 16_384
_MOST_NAMED = 1024

K = TypeVar("K")
T = TypeVar("T")
_encode = msgspec.json.encode


class Lineage(Protocol):
    """The process table, as `core.Assembler` answers it."""

    def lineage(self, image: int) -> list[Process]: ...
    def first_above(self, image: int, among: dict[int, Any]) -> int | None: ...
    def uids_above(self, image: int, ses: int | None, hint: str) -> tuple[list[int], bool]: ...
    def image_of(self, pid: int) -> int | None: ...
    def descendants(self, image: int) -> int: ...
    def late_ends(self) -> list[tuple[int, int, int | None, int, int]]: ...


class Server(Struct, frozen=True, kw_only=True):
    """What was learnt of a single-user server."""

    user: str
    is_first_word: bool
    """Read when it was executed."""
    is_contained: bool
    """In a container, or nothing says that it is not: root there is not root here."""


class KnownPeople(Struct, frozen=True, kw_only=True):
    """What is known of people when a segment begins; images of processes that are remembered no more are left out."""

    names: dict[int, tuple[str | None, int]] = {}
    agents: dict[int, str] = {}
    servers: dict[int, Server] = {}
    hubs: list[int] = []
    hub_users: dict[int, list[str]] = {}
    jobs: dict[int, dict[str, str]] = {}


class Subject(Struct, frozen=True, kw_only=True):
    """A process whose person is wanted."""

    time_ms: int
    node: str
    is_here: bool
    """It runs on this machine: /proc and the directory of names can be queried for it."""
    image: int | None
    """Itself, or the nearest image known above it."""
    auid: int | None
    uid: int | None
    session: int | None
    recorded: Mapping[str, str] = {}
    seen: ProcessSeen | None = None
    """What /proc said of it."""


def subject_of(row: Exec, *, is_here: bool) -> Subject:
    """The process of an exec."""
    return Subject(
        time_ms=row.time,
        node=row.node,
        is_here=is_here,
        image=row.image,
        auid=row.auid,
        uid=row.uid,
        session=row.ses,
        recorded=row.fields,
    )


class People:
    """Names actors by what stands above a process.

    Args:
        lineage: Answers who descends from whom.
        sessions: Knows where a session was opened from, and whose it is.
        names_hold_ms: A name that was learnt longer ago is looked up again: accounts are renamed, uids are used again.
    """

    def __init__(self, lineage: Lineage, sessions: Sessions, *, names_hold_ms: int) -> None:
        self._lineage = lineage
        self._sessions = sessions
        self._names_hold_ms = names_hold_ms
        self._names: dict[int, tuple[str | None, int]] = {}
        """Of this machine's accounts."""
        self._agents: dict[int, str] = {}
        self._servers: dict[int, Server] = {}
        """By the image, once the environment was seen; what is seen later does not count."""
        self._hubs: dict[int, None] = {}
        self._hub_users: dict[int, frozenset[str]] = {}
        """Account of servers of this machine → people whom a hub of root started them for; two are enough to know that it is shared."""
        self._named: dict[bytes, Named] = {}
        """By the facts: those that were named last."""
        self._jobs: dict[int, Mapping[str, str]] = {}
        """Image of the first process of a CI job → what its runner gave it; empty while it was only requested."""

    def save(self) -> KnownPeople:
        """For a segment that begins now."""
        return KnownPeople(
            names=self._names,
            agents=self._still_remembered(self._agents),
            servers=self._still_remembered(self._servers),
            hubs=list(self._still_remembered(self._hubs)),
            hub_users={uid: sorted(users) for uid, users in self._hub_users.items()},
            jobs={image: dict(given) for image, given in self._still_remembered(self._jobs).items()},
        )

    def restore(self, known: KnownPeople) -> None:
        """Take up what was known when the segment began."""
        self._names.update(known.names)
        self._agents.update(known.agents)
        self._servers.update(known.servers)
        self._hubs.update(dict.fromkeys(known.hubs))
        self._hub_users.update((uid, frozenset(users)) for uid, users in known.hub_users.items())
        self._jobs.update(known.jobs)

    def _still_remembered(self, table: dict[int, T]) -> dict[int, T]:
        return {image: value for image, value in table.items() if self._lineage.lineage(image)}

    def take_exec(self, row: Exec, name: str, *, is_here: bool) -> list[Emission]:
        """Remember what begins, by the name of its program.

        The environment of a server on this machine is requested at once, as its spawner gave it.
        """
        image, hint = row.image, row.hint
        if hint == AGENT:
            _remember(self._agents, image, name)
        elif name == HUB:
            _remember(self._hubs, image, None)
        if name in HUB_SERVERS and is_here:
            return [ProcessWanted(image=image, pid=row.pid)]
        return []

    def take_seen(self, seen: ProcessSeen) -> None:
        """Learn from /proc: a server's spawner said whom it is for; what ran before the agent is known by its words."""
        image = seen.image if seen.image is not None else (seen.started_ms or seen.time_ms) << 20 | seen.pid & 0xFFFFF
        name = program_of(Invocation(exe=seen.exe or "", argv=seen.argv, path=None, cwd=seen.cwd, uid=seen.uid))
        above = self._lineage.lineage(image)
        _, job = _runner_and_job(above)
        if job is not None and job.image == image:
            _remember(self._jobs, image, seen.variables)
        elif name in HUB_SERVERS and seen.variables.get(HUB_USER):
            if image not in self._servers:
                self._learn_server(image, seen, above)
        elif name == HUB:
            _remember(self._hubs, image, None)
        elif any(process.hint == AGENT for process in above[:1]):
            _remember(self._agents, image, name)

    def _learn_server(self, image: int, seen: ProcessSeen, above: Sequence[Process]) -> None:
        server = Server(
            user=seen.variables[HUB_USER],
            is_first_word=seen.image is not None,
            is_contained=seen.cgroup is None or container_of(seen.cgroup, uid=None, uid_map=None, image=None) is not None,
        )
        _remember(self._servers, image, server)
        users = self._hub_users.get(seen.uid, frozenset()) if seen.uid is not None else frozenset()
        if seen.uid is not None and len(users) < 2 and not server.is_contained and self._is_below_roots_hub(above):
            _remember(self._hub_users, seen.uid, users | {server.user})

    def take_name(self, resolved: NameResolved) -> None:
        """Learn the name of a uid."""
        self._names[resolved.uid] = (resolved.name, resolved.time_ms)

    def actor_of(self, subject: Subject) -> Named:
        """The person of a process."""
        image, is_here = subject.image, subject.is_here
        uids, is_in_job = self._lineage.uids_above(image, subject.session, RUNNER) if image is not None else ([], False)
        # Most have nothing above them that speaks for another.
        above = self._lineage.lineage(image) if image is not None and (is_in_job or self._agents or self._servers) else []
        seen = subject.seen
        login = self._sessions.find(subject.node, subject.session, subject.auid, subject.time_ms)
        facts = Facts(
            auid=subject.auid,
            uid=subject.uid,
            session=subject.session,
            remote=login.remote if login is not None else None,
            recorded=subject.recorded,
            names=self._names_for(subject, login),
            node=None if is_here else subject.node,
            cgroup=seen.cgroup if seen else None,
            uid_map=seen.uid_map if seen else None,
            container_image=seen.container_image if seen else None,
            variables=seen.variables if seen else {},
            hub=self._hub_above(above, is_here=is_here),
            agent=self._agent_above(above),
            runner=self._runner_above(above) if is_in_job else None,
            uids=_chain(uids, subject),
        )
        return self._name(facts)

    def _name(self, facts: Facts) -> Named:
        """Somebody is named as an image begins and as it ends, and for each image of a session: in most cases of the same facts."""
        key = _encode(facts)
        named = self._named.get(key)
        if named is None:
            named = name_actor(facts)
            _remember(self._named, key, named, most=_MOST_NAMED)
        return named

    def lookups_of(self, subject: Subject) -> list[Emission]:
        """What must be looked up to name a process's person: what a runner gave its job, and names not known or learnt too long ago.

        Nothing can be looked up on another machine.
        """
        if not subject.is_here:
            return []
        above = self._lineage.lineage(subject.image) if subject.image is not None else []
        hub = self._hub_above(above, is_here=True)
        owner = owner_of(subject.seen.cgroup) if subject.seen else None
        known = [] if subject.image is None else self._lineage.uids_above(subject.image, subject.session, RUNNER)[0]
        uids = {subject.auid, subject.uid, owner, hub.uid if hub else None, *_chain(known, subject)} - {None}
        wanted = [uid for uid in uids if subject.time_ms - self._names.get(uid, (None, 0))[1] > self._names_hold_ms]  # type: ignore[arg-type]
        names: list[Emission] = [NameWanted(uid=uid) for uid in sorted(wanted)]  # type: ignore[type-var,arg-type]
        return [*self._job_wanted(above), *names]

    def _names_for(self, subject: Subject, login: Login | None) -> dict[int, str | None]:
        """Names of uids on the machine of a process: of this one's directory, as long as they hold, and what the records of its login said."""
        said: dict[int, str | None] = {}
        if login is not None and login.auid is not None and login.user is not None:
            said[login.auid] = login.user
        if not subject.is_here or not self._names:
            return said
        held = {uid: name for uid, (name, at_ms) in self._names.items() if subject.time_ms - at_ms <= self._names_hold_ms}
        return said | {uid: name for uid, name in held.items() if name is not None or uid not in said}

    def _job_wanted(self, above: Sequence[Process]) -> list[Emission]:
        """The first process of a job, as long as it still runs what the runner started: later it may have given itself another environment."""
        worker, job = _runner_and_job(above)
        if worker is None or job is None or job.image in self._jobs or self._lineage.image_of(job.pid) != job.image:
            return []
        _remember(self._jobs, job.image, {})
        return [ProcessWanted(image=job.image, pid=job.pid)]

    def _agent_above(self, above: Sequence[Process]) -> str | None:
        if not self._agents:
            return None
        return next((name for process in above if (name := self._agents.get(process.image))), None)

    def _runner_above(self, above: Sequence[Process]) -> Mapping[str, str] | None:
        worker, job = _runner_and_job(above)
        if worker is None:
            return None
        return self._jobs.get(job.image, {}) if job else {}

    def _hub_above(self, above: Sequence[Process], *, is_here: bool) -> HubServer | None:
        """The outermost server: one that is started below it, or by itself in its own process, could be given any environment."""
        if not self._servers:
            return None
        for at, process in reversed(list(enumerate(above))):
            server = self._servers.get(process.image)
            if server is None:
                continue
            return HubServer(
                user=server.user,
                uid=process.uid,
                is_given=not server.is_contained and self._is_below_roots_hub(above[at:]),
                is_first_word=server.is_first_word and all(one.uid == 0 for one in above[at + 1 :] if one.pid == process.pid),
                is_shared=is_here and process.uid is not None and len(self._hub_users.get(process.uid, ())) > 1,
            )
        return None

    def _is_below_roots_hub(self, above: Sequence[Process]) -> bool:
        """Whether a hub stands above a server, and all from it down to what started the server are root's.

        What ran before in the server's own process (an `env`, a wrapper) may already have been of the server's account.
        """
        for process in above:
            if process.pid == above[0].pid:
                continue
            if process.uid != 0:
                return False
            if process.image in self._hubs:
                return True
        return False


def _runner_and_job(above: Sequence[Process]) -> tuple[Process | None, Process | None]:
    """The outermost runner, which the job below it did not start, and the image right below it."""
    for at in range(len(above) - 1, -1, -1):
        if above[at].hint == RUNNER:
            return above[at], above[at - 1] if at else None
    return None, None


def _chain(uids: list[int], subject: Subject) -> tuple[int, ...]:
    """Oldest first; what ran before the login (sshd, as root) has another session, and without one there is no chain to speak of."""
    if subject.session is None:
        return ()
    return tuple([*reversed(uids), subject.uid] if subject.uid is not None else reversed(uids))


def _remember(table: dict[K, Any], key: K, value: object, *, most: int = _MOST) -> None:
    if len(table) >= most:
        del table[next(iter(table))]
    table[key] = value
