"""The one protocol through which everything that a user sees is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Protocol, Union

from msgspec import Meta, Struct

from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Grant, Request
from envtrail.model.bounds import AnyTimeMs, BigNumber, KernelNumber, Line, Number, Word
from envtrail.model.environment import Environment, EnvironmentSummary, Holding, Snapshot, SnapshotRef
from envtrail.model.finding import Finding, Level, Suppression
from envtrail.model.gap import Gap
from envtrail.model.heartbeat import Heartbeat
from envtrail.model.identity import Identity, Right
from envtrail.model.operation import Activity, Operation
from envtrail.model.run import ProgramUse, Run, Session, Use
from envtrail.state.agent_status import AgentStatus

LevelName = Annotated[str, Meta(pattern=f"^({'|'.join(Level)})$")]


class Query(Struct, frozen=True, kw_only=True):
    """Which operations, runs, sessions or events; every condition that is given must hold.

    Bounds are checked where a message is decoded.
    """

    host: Union[Word, None] = None
    """Name of the machine."""
    environment: Union[Line, None] = None
    """A prefix, or the last part of one; of a fleet also `HOST:PREFIX`."""
    user: Union[Word, None] = None
    """Name or uid."""
    tool: Union[Word, None] = None
    package: Union[Word, None] = None
    """Changed; or requested by name, by operations whose changes are not recorded."""
    unrecorded: bool = False
    """Only those whose changes are not recorded (operations)."""
    outcome: Union[Word, None] = None
    kind: Union[Word, None] = None
    since_ms: Union[AnyTimeMs, None] = None
    until_ms: Union[AnyTimeMs, None] = None
    text: Union[Line, None] = None
    """Substring of the command line (operations, runs) or of the records (events)."""
    key: Union[Word, None] = None
    """Rule key (events)."""
    program: Union[Line, None] = None
    """Path of a script, or the last part of one, or name of a module (runs)."""
    sha256: Union[Word, None] = None
    """Of a script's content (runs)."""
    snapshot: Union[Word, None] = None
    """Digest of a snapshot, or the beginning of it (runs)."""
    detection: Union[Line, None] = None
    """Name or id of the rule (findings)."""
    id_prefix: Union[Line, None] = None
    """Beginning of an id (findings, requests, grants)."""
    status: Union[Word, None] = None
    """Of findings and requests."""
    level: Union[LevelName, None] = None
    """This bad or worse (findings)."""
    everything: bool = False
    """The distribution's own programs, and each run of a loop, too (runs)."""
    pid: Union[Number, None] = None
    session: Union[KernelNumber, None] = None
    """The kernel's `ses` (events)."""
    tracked_image: Union[BigNumber, None] = None
    limit: Union[Number, None] = None
    before_id: Union[Line, None] = None
    """Keyset: only what is older than this id."""
    oldest_first: bool = False


class Viewer(Struct, frozen=True, kw_only=True):
    """Who sends the query."""

    uid: int
    """-1 for somebody who has no account on this machine."""
    sees_everything: bool
    """Root, and members of group `envtrail`; of the web UI's users those whose role allows it."""
    identity: Identity | None = None
    """Where the web UI queries for a user; None: the process at the other end queries for itself."""
    rights: frozenset[Right] = frozenset(Right)
    may_speak: bool = False
    """The web UI's own process, which names the signed-in user."""


class EventRow(Struct, frozen=True, kw_only=True):
    """One typed event with its verbatim records."""

    segment: int
    """0 is the open segment."""
    values: dict[str, Any]
    """By column name of `model.schema`; times as integers in ms, UTC."""
    records: str | None
    """Verbatim lines; None when not requested or dropped by retention."""


class StoreStatus(Struct, frozen=True, kw_only=True):
    """Figures for `status` and the web UI."""

    folder: str
    format: int
    segments: int
    first_segment: int | None
    sealed_until_ms: int | None
    records_bytes: int
    """As the kernel wrote them, over all segments kept."""
    disk_bytes: int
    operations: int
    runs: int
    sessions: int
    environments: int
    unexplained: int
    """Changes that no operation of a package tool explains."""
    gaps: int
    findings: int
    """Open ones."""
    requests: int
    """Pending ones."""
    watched_since_ms: int | None
    """When an environment was first read: before, nothing was watched."""
    oldest_ms: int | None
    newest_ms: int | None
    redactions: dict[str, int]


class Store(Protocol):
    """Read access; answered by the embedded store, by the service's socket, and of a fleet by a search server.

    Of a fleet an environment is named `HOST:PREFIX` wherever one machine's store says `prefix`.
    """

    def operations(self, query: Query) -> Iterator[Operation]: ...
    def operation(self, id_prefix: str) -> Operation | None:
        """Find one by its id or an unambiguous beginning of it; raises InputError when ambiguous."""
        ...

    def runs(self, query: Query) -> Iterator[Run]: ...
    def run(self, id_prefix: str) -> Run | None:
        """Find one by its id or an unambiguous beginning of it; raises InputError when ambiguous."""
        ...

    def sessions(self, query: Query) -> Iterator[Session]: ...
    def events(self, query: Query, *, with_records: bool = False) -> Iterator[EventRow]: ...
    def environments(self, *, with_gone: bool = False) -> Iterator[Environment]: ...
    def summaries(self) -> Iterator[EnvironmentSummary]:
        """The environments that are there, with what the trail knows of each."""
        ...

    def snapshot(self, prefix: str, at_ms: int | None = None) -> Snapshot | None:
        """The last stored snapshot of an environment (at or before a moment)."""
        ...

    def snapshots(self, prefix: str | None = None) -> Iterator[SnapshotRef]:
        """Every stored snapshot of an environment (or of all of them), oldest first, without the packages."""
        ...

    def holdings(self, name: str | None = None, *, past: bool = True) -> Iterator[Holding]:
        """Which environments hold, or held, a package (normalised name) or any, in order of name, prefix and time."""
        ...

    def uses(
        self, prefix: str, *, since_ms: int | None = None, until_ms: int | None = None, uid: int | None = None
    ) -> Iterator[Use]:
        """Who ran how much in an environment from a moment on, until before another one; only what `uid` ran, where it is given.

        Who ran most comes first.
        """
        ...

    def activity(self, query: Query) -> Iterator[Activity]:
        """Operations counted by minute, person and environment, oldest first; what a baseline says is not counted."""
        ...

    def programs(self, query: Query) -> Iterator[ProgramUse]:
        """Runs counted by program, content and person; none of the distribution's own programs."""
        ...

    def weeks(self) -> dict[int, int]:
        """How often operations and runs of a week that is over were written since; weeks (`schema.WEEK_MS`) that are not named: never."""
        ...

    def names(self) -> dict[int, str | None]:
        """The newest name of each uid that was seen; None where the uid has none any more."""
        ...

    def known(self, what: str) -> Iterator[str]:
        """The names that the trail has of `environments` (prefixes), `people` (names and uids), `packages` (normalised), `tools` or `machines`."""
        ...

    def gaps(self, query: Query) -> Iterator[Gap]: ...
    def findings(self, query: Query, *, operation: str | None = None) -> Iterator[Finding]:
        """What was noticed, all of it or of one operation; newest first unless requested otherwise."""
        ...

    def requests(self, query: Query) -> Iterator[Request]: ...
    def grants(self, query: Query) -> Iterator[Grant]: ...
    def access_log(self, query: Query) -> Iterator[AccessEntry]:
        """Who looked at whose data, newest first."""
        ...

    def suppressions(self) -> Iterator[Suppression]: ...
    def status(self) -> StoreStatus: ...
    def agent(self) -> AgentStatus | None:
        """How the agent that writes the trail is; None when none runs."""
        ...

    def machines(self) -> list[Heartbeat]:
        """What each machine of a fleet reported last; none where the trail is of one machine."""
        ...

    def close(self) -> None: ...
