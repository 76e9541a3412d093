"""What is remembered of processes that decide who their descendants act for: hub servers, CI workers, AI agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from envtrail.core import Process
from envtrail.interpret.actors import Facts, HubServer, Named, name_actor
from envtrail.interpret.emission import Emission, NameWanted, ProcessWanted
from envtrail.interpret.logins import Login
from envtrail.interpret.origins import HUB, HUB_SERVERS, HUB_USER, container_of, owner_of
from envtrail.interpret.rows import Exec
from envtrail.interpret.sessions import Sessions
from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools import AGENT, RUNNER
from envtrail.interpret.tools.paths import program_of
from envtrail.model.observation import NameResolved, ProcessSeen

_MOST = 16_384


class Lineage(Protocol):
    """The process table, as `core.Assembler` answers it."""

    def lineage(self, image: int) -> list[Process]: ...
    def image_of(self, pid: int) -> int | None: ...
    def descendants(self, image: int) -> int: ...


class Server(Struct, frozen=True, kw_only=True):
    """What was learnt of a single-user server."""

    user: str
    is_first_word: bool
    """Read when it was executed."""
    is_contained: bool
    """In a container, or nothing says that it is not: root there is not root here."""


class Subject(Struct, frozen=True, kw_only=True):
    """A process whose person is asked for."""

    time_ms: int
    node: str
    is_here: bool
    """It runs on this machine: what is asked of /proc and the directory of names is of it."""
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
        sessions: Knows where a session came from, and whose it is.
        names_hold_ms: A name that was learnt longer ago is asked for again: accounts are renamed, uids are used again.
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
        self._jobs: dict[int, Mapping[str, str]] = {}
        """Image of the first process of a CI job → what its runner gave it; empty while it was only asked for."""

    def take_exec(self, row: Exec, name: str, *, is_here: bool) -> list[Emission]:
        """Remember what begins, by the name of its program.

        The environment of a server on this machine is asked for at once, as its spawner gave it.
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
        """Learn from /proc: a server's spawner told it whom it is for; what ran before the agent is known by its words."""
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
        above = self._lineage.lineage(subject.image) if subject.image is not None else []
        seen = subject.seen
        login = self._sessions.find(subject.node, subject.session, subject.auid, subject.time_ms)
        return name_actor(
            Facts(
                auid=subject.auid,
                uid=subject.uid,
                session=subject.session,
                remote=login.remote if login is not None else None,
                recorded=subject.recorded,
                names=self._names_for(subject, login),
                node=None if subject.is_here else subject.node,
                cgroup=seen.cgroup if seen else None,
                uid_map=seen.uid_map if seen else None,
                container_image=seen.container_image if seen else None,
                variables=seen.variables if seen else {},
                hub=self._hub_above(above, is_here=subject.is_here),
                agent=self._agent_above(above),
                runner=self._runner_above(above),
                uids=_uids_of(above, subject),
            )
        )

    def wishes_of(self, subject: Subject) -> list[Emission]:
        """What must be asked to name a process's person: what a runner gave its job, and names not known or learnt too long ago.

        Nothing can be asked of another machine.
        """
        if not subject.is_here:
            return []
        above = self._lineage.lineage(subject.image) if subject.image is not None else []
        hub = self._hub_above(above, is_here=True)
        owner = owner_of(subject.seen.cgroup) if subject.seen else None
        uids = {subject.auid, subject.uid, owner, hub.uid if hub else None, *_uids_of(above, subject)} - {None}
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


def _uids_of(above: Iterable[Process], subject: Subject) -> tuple[int, ...]:
    """Oldest first; what ran before the login (sshd, as root) has another session, and without one there is no chain to speak of."""
    if subject.session is None:
        return ()
    uids = [process.uid for process in above if process.ses == subject.session and process.uid is not None]
    uids.reverse()
    return tuple([*uids, subject.uid] if subject.uid is not None else uids)


def _remember(table: dict[int, Any], image: int, value: object) -> None:
    if len(table) >= _MOST:
        del table[next(iter(table))]
    table[image] = value
