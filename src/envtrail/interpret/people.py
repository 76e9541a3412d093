"""What is remembered of processes that decide who their descendants act for: hub servers, CI workers, AI agents."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from envtrail.core import Process
from envtrail.interpret.actors import Facts, HubServer, Named, name_actor
from envtrail.interpret.emission import Emission, NameWanted, ProcessWanted
from envtrail.interpret.origins import HUB_USER
from envtrail.interpret.sessions import Sessions
from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools import AGENT, RUNNER
from envtrail.interpret.tools.paths import program_name, program_words
from envtrail.model.observation import NameResolved, ProcessSeen

_SERVER = "jupyterhub-singleuser"
_MOST = 16_384
_NAME_HOLDS_MS = 300_000
"""A name older than this is asked for again, so that a renamed account is noticed."""


class _Lineage(Protocol):
    def lineage(self, image: int) -> list[Process]: ...


class Subject(Struct, frozen=True, kw_only=True):
    """A process whose person is asked for."""

    time_ms: int
    image: int | None
    """Itself, or the nearest image known above it."""
    auid: int | None
    uid: int | None
    session: int | None
    recorded: Mapping[str, str] = {}
    seen: ProcessSeen | None = None
    """What /proc said of it."""


class People:
    """Names actors by what stands above a process.

    Args:
        lineage: Answers who descends from whom.
        sessions: Knows where a session came from.
    """

    def __init__(self, lineage: _Lineage, sessions: Sessions) -> None:
        self._lineage = lineage
        self._sessions = sessions
        self._names: dict[int, tuple[str | None, int]] = {}
        self._agents: dict[int, str] = {}
        self._servers: dict[int, str | None] = {}
        """Image of a single-user server → the hub's user, once its environment was seen."""

    def take_exec(self, row: dict[str, Any], invocation: Invocation) -> list[Emission]:
        """Remember what begins here; a server's environment is asked for at once, as its spawner gave it."""
        image, hint = row["image"], row["hint"]
        name = program_of(invocation)
        if hint == AGENT:
            _remember(self._agents, image, name)
        if name == _SERVER:
            _remember(self._servers, image, None)
            return [ProcessWanted(image=image, pid=row["pid"])]
        return []

    def take_seen(self, seen: ProcessSeen) -> None:
        """Learn from /proc: a server's spawner told it whom it is for; what ran before the agent is known by its words."""
        image = seen.image if seen.image is not None else (seen.started_ms or seen.time_ms) << 20 | seen.pid & 0xFFFFF
        name = program_of(Invocation(exe=seen.exe or "", argv=seen.argv, path=None, cwd=seen.cwd, uid=seen.uid))
        if name == _SERVER and seen.variables.get(HUB_USER):
            _remember(self._servers, image, seen.variables[HUB_USER])
        elif any(process.hint == AGENT for process in self._lineage.lineage(image)[:1]):
            _remember(self._agents, image, name)

    def take_name(self, resolved: NameResolved) -> None:
        """Learn the name of a uid."""
        self._names[resolved.uid] = (resolved.name, resolved.time_ms)

    def name_of(self, uid: int) -> str | None:
        """The name a uid has now, as far as is known."""
        return self._names.get(uid, (None, 0))[0]

    def actor_of(self, subject: Subject) -> Named:
        """The person of a process."""
        above = self._lineage.lineage(subject.image) if subject.image is not None else []
        seen = subject.seen
        return name_actor(
            Facts(
                auid=subject.auid,
                uid=subject.uid,
                session=subject.session,
                remote=self._sessions.remote_of(subject.session),
                recorded=subject.recorded,
                names={uid: name for uid, (name, _) in self._names.items()},
                cgroup=seen.cgroup if seen else None,
                uid_map=seen.uid_map if seen else None,
                container_image=seen.container_image if seen else None,
                variables=seen.variables if seen else {},
                hub=self._hub_above(above, subject.auid),
                agent=next((name for process in above if (name := self._agents.get(process.image))), None),
                is_below_runner=any(process.hint == RUNNER for process in above),
                uids=_uids_of(above, subject),
            )
        )

    def names_wanted(self, subject: Subject) -> list[Emission]:
        """Wishes for names that are not known, or were asked for too long ago."""
        above = self._lineage.lineage(subject.image) if subject.image is not None else []
        uids = {subject.auid, subject.uid, *_uids_of(above, subject)} - {None}
        wanted = [uid for uid in uids if subject.time_ms - self._names.get(uid, (None, 0))[1] > _NAME_HOLDS_MS]  # type: ignore[arg-type]
        return [NameWanted(uid=uid) for uid in sorted(wanted)]  # type: ignore[type-var,arg-type]

    def _hub_above(self, above: Sequence[Process], auid: int | None) -> HubServer | None:
        """The outermost server: one that is started below it could say anything in its own environment.

        Where a person's login is above it and it runs as that person, they may have started it themselves: the login is right.
        """
        for at, process in reversed(list(enumerate(above))):
            user = self._servers.get(process.image)
            if user is None:
                continue
            if auid is not None and process.uid == auid:
                return None
            hub = above[at + 1] if at + 1 < len(above) else None
            return HubServer(user=user, uid=process.uid, hub_uid=hub.uid if hub else None)
        return None


def program_of(invocation: Invocation) -> str:
    """The base name of what runs: of the script for an interpreter, else of the executable. `cli.js` → `cli`."""
    word, _ = program_words(invocation)
    name = posixpath.basename(word)
    if name in {"node", "nodejs", "bun", "deno", "sh", "bash", "dash"}:
        name = posixpath.basename(next((word for word in invocation.argv[1:5] if not word.startswith("-")), name))
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and suffix in {"js", "mjs", "cjs", "py", "sh"} else name if "-" in name else program_name(name) or name


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
