"""What somebody did to an environment: the document that JSON, API, Elasticsearch and docs share."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct, field

from envtrail.model.ids import OperationId
from envtrail.model.naming import normalise_name, requested_name


class OperationKind(str, Enum):
    """What was requested; `changes` say what happened."""

    INSTALL = "install"
    REMOVE = "remove"
    UPDATE = "update"
    CREATE = "create"
    """An environment was made."""
    DELETE = "delete"
    """An environment was removed."""
    MOVE = "move"
    """An environment was given another place, with what is in it."""
    LOCK = "lock"
    SYNC = "sync"
    TAMPER = "tamper"
    """A change without a package tool."""


class Outcome(str, Enum):
    """How it ended; `execve success=yes` says only that it began."""

    SUCCESS = "success"
    FAILURE = "failure"
    KILLED = "killed"
    UNKNOWN = "unknown"


class Confidence(str, Enum):
    """How far the actor is to be believed."""

    CERTAIN = "certain"
    STRONG = "strong"
    WEAK = "weak"
    NONE = "none"


class EnvironmentRef(Struct, frozen=True, kw_only=True):
    """Which environment: its prefix (canonical path) and kind."""

    prefix: str
    kind: str
    """`conda`, `venv`, `system`, `user`, `target`, or `unknown`."""


class Container(Struct, frozen=True, kw_only=True):
    """The container that a process ran in, as the host sees it."""

    id: str
    engine: str
    """`docker`, `podman`, `containerd`, `crio`, `lxc` or `unknown`."""
    image: str | None = None
    uid: int | None = None
    """The uid inside, by the user namespace's map; the actor's `uid` is the host's."""
    unit: str | None = None
    """The unit below which it lies, whose account may have given it any name; None where the machine's own daemons made it."""


class Job(Struct, frozen=True, kw_only=True):
    """The CI job that a process was part of."""

    system: str
    """`github-actions`, `gitlab-ci`, `jenkins`, …"""
    id: str | None
    pipeline: str | None
    person: str | None = None
    """Who set it off, as the job's environment says: what the job's own account could have said."""


class Actor(Struct, frozen=True, kw_only=True):
    """A person, with the method that named them and how far to believe it."""

    name: str | None
    uid: int | None
    auid: int | None
    """Login uid; None when unset."""
    method: str
    """`auid`, `jupyterhub`, `unit`, `container`, `uid`, `owner` (of the files, in a baseline), or `none`."""
    confidence: Confidence
    # `class` is the documented name; it is a keyword in Python.
    kind: str | None = field(default=None, name="class")
    """`human`, `service` or `agent`; None while not decided."""
    session: int | None = None
    remote: str | None = None
    """Address the session was opened from."""
    chain: list[str] = []
    """Who became whom through su and sudo, oldest first, by name (or uid); empty when nobody did."""
    unit: str | None = None
    """systemd unit or scope of the machine's own manager; of a user's manager, that manager (`user@1001.service`)."""
    user_unit: str | None = None
    """The unit of the user's manager, named by that user."""
    container: Container | None = None
    job: Job | None = None
    program: str | None = None
    """The AI agent's program, where `class` is `agent`."""
    claimed: str | None = None
    """Another person, whom a hub's server or a CI job names in a way that its own account could have arranged; nothing follows it."""

    @property
    def number(self) -> int | None:
        """The login uid; of somebody who has none, the uid."""
        return self.auid if self.auid is not None else self.uid

    @property
    def own_number(self) -> int | None:
        """The number of the person that is named, for what is allowed to a person: a hub may have inherited somebody else's login uid."""
        return self.uid if self.method == "jupyterhub" else self.number


class PackageState(Struct, frozen=True, kw_only=True):
    """One package on one side of a change."""

    version: str
    build: str | None = None
    source: str | None = None
    """Index, channel or direct URL, redacted."""
    installer: str | None = None
    digest: str | None = None
    """`sha256:…` over what identifies the installed files (RECORD, or the conda-meta document)."""


class Change(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One package's before → after in an environment; `before` None = added, or not known (`absent`), `after` None = removed."""

    ecosystem: str
    """`pypi` or `conda`."""
    name: str
    """Normalised (PEP 503) for pypi, as written for conda."""
    requested: bool | None
    """Requested by name, or installed as a dependency; None when not recorded."""
    before: PackageState | None
    after: PackageState | None
    absent: dict[str, str] = {}
    """`before` → why it is None, where that does not mean that the package was not there."""

    @property
    def action(self) -> str:
        """`added`, `removed` or `changed`; `installed` where it is not known whether it was there before."""
        if self.after is None:
            return "removed"
        if self.before is not None:
            return "changed"
        return "installed" if "before" in self.absent else "added"


class FileChange(Struct, frozen=True, kw_only=True):
    """One file below an environment that changed."""

    path: str
    """Absolute."""
    what: str
    """`created`, `written`, `deleted`, `moved_from`, `moved_to` or `attributes` (mode, owner)."""


class MetadataEvent(Struct, frozen=True, array_like=True):
    """The metadata of a package was made or removed: its name holds package and version."""

    path: str
    """Absolute: `…/NAME-VERSION.dist-info`, `…/conda-meta/NAME-VERSION-BUILD.json`."""
    what: str
    """As in `FileChange`; never `written` or `attributes`."""
    time_ms: int


class Evidence(Struct, frozen=True, kw_only=True):
    """Where the records are."""

    segment: int
    serial: int
    time_ms: int


class Operation(Struct, frozen=True, kw_only=True):
    """One thing that one command did to one environment."""

    id: OperationId
    kind: OperationKind
    tool: str
    via: list[str]
    """Inner managers and other ways the work went, outermost first."""
    argv: list[str]
    """As typed: without the interpreter of a script, redacted, not UTF-8 shown as `\\xNN`."""
    host: str
    environment: EnvironmentRef
    actor: Actor
    started: str
    """RFC 3339, UTC, ms."""
    ended: str | None
    outcome: Outcome
    reason: str | None
    exit_code: int | None
    signal: int | None
    changes: list[Change] | None
    """None with a reason in `absent` when not recorded."""
    processes: int
    explained: bool | None
    grant: str | None
    complete: bool
    absent: dict[str, str]
    """Field name → why it is None."""
    evidence: list[Evidence]
    group: str | None = None
    """Shared by the operations of one command that changed several environments."""
    cwd: str | None = None
    pid: int | None = None
    image: int | None = None
    """The owner's image id, by which its process tree is found in the events."""
    files: list[FileChange] = []
    """What a `tamper` touched, at most 1,000; `files_total` counts all."""
    files_total: int = 0
    requested: list[str] = []
    """What the command line requested by name, as typed (redacted): `six==1.16.0`; empty where only the result shows it."""
    sources: list[str] = []
    """Indexes, channels, addresses, files and folders that the command line or its variables named beside the machine's configuration."""
    made: bool = False
    """Its environment was not there when it began."""
    moved_to: str | None = None
    """The prefix that a `move` gave its environment, where that is known: its history goes on there."""
    shared: list[OperationId] = []
    """Operations on the same environment at the same time, where a change could belong to either."""
    verdict: str | None = None
    """Of the policy that was in force: `allow`, `notify`, `require-approval`, `deny`; None where none was, or it is not judged yet."""
    policy_rule: str | None = None
    """The policy's rule that decided; None where none matched."""
    why: dict[str, str] = {}
    """Field name → how it was reached (`envtrail explain`)."""

    @property
    def is_creation(self) -> bool:
        """Whether the environment is there because of it."""
        return self.made or (self.kind is OperationKind.CREATE and self.outcome is Outcome.SUCCESS)

    @property
    def package_names(self) -> list[str]:
        """The packages that it is found under, normalised: those that changed; where that was not recorded, those that were requested."""
        if self.changes is not None:
            return sorted({normalise_name(change.name) for change in self.changes})
        return sorted({name for spec in self.requested if (name := requested_name(spec)) is not None})


class Activity(Struct, frozen=True, kw_only=True):
    """Operations of one person on one environment that began within one minute."""

    minute: str
    """`2026-11-23T08:29`, UTC."""
    user: str | None
    uid: int | None
    """Login uid, else uid."""
    prefix: str
    operations: int
    changes: int
    """Packages that were added, removed or changed."""
    installs: int
    """Packages that were added or changed, by operations that succeeded."""
