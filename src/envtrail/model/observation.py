"""Facts that the kernel log does not hold, sealed in the same segment as the records.

Whatever interpretation reads and the records do not say comes through here, so that `envtrail rebuild`
needs the segments alone. Each class is one kind; `type` in JSON is its tag.
"""

from __future__ import annotations

from typing import Union

import msgspec
from msgspec import Struct, field

from envtrail.model.decided import DecisionObservation
from envtrail.model.environment import Environment, Package
from envtrail.model.gap import Gap
from envtrail.model.observed import Observed
from envtrail.model.operation import Evidence, FileChange, MetadataEvent


class AgentStarted(Observed, frozen=True, tag="agent_started"):
    """An agent took up the trail. A changed boot id ends every process known before."""

    node: str
    boot_id: str | None
    kernel: str
    version: str
    source: str
    """The capture source's name."""
    is_stepwise: bool = False
    """As in `ImportStarted`: the source is a log that is read on from the last `CursorMoved`."""


class ImportStarted(Observed, frozen=True, tag="import_started"):
    """The records that follow come from a file, not from this kernel now."""

    path: str
    size_bytes: int
    node: str
    translated_from: str | None = None
    """`auditbeat`: the records are a translation of documents, not what the kernel wrote. None for audit logs."""
    log: str | None = None
    """What the rotated files of one log have in common. None: of a trail of the first version."""
    is_stepwise: bool = False
    """Every step of records ends with an observation: what lies behind the last one was not written whole, and is read again."""


class ImportEnded(Observed, frozen=True, tag="import_ended"):
    """The last record of the imported file has been read."""

    path: str
    goes_on: bool = False
    """The next part of the same log follows at once."""


CARRIED_VERSION = 3
"""The newest of what this version writes into `Carried`; it reads those before too."""
WHOLE_VERSION = 2
"""Of a `Carried` that says what was going on."""


class Carried(Observed, frozen=True, tag="carried"):
    """What was known when the segment began, so that it can be read without those before it."""

    processes: msgspec.Raw
    """The process tables, as the core writes them."""
    interpretation: msgspec.Raw = msgspec.Raw(b"null")
    """Operations, runs and logins that are going on, as `interpret.carried` writes them. Null: who interprets had not come so far; it lies
    in an `InterpretationSaved` of the same segment."""
    log: str | None = None
    """Version 1: that was imported last."""
    version: int = 1
    """A reader that does not know it takes up nothing, and says so."""

    @property
    def is_known(self) -> bool:
        """Whether this version can read it."""
        return self.version <= CARRIED_VERSION

    @property
    def is_whole(self) -> bool:
        """Whether it says what was going on."""
        return bytes(self.interpretation) != b"null"


class InterpretationSaved(Observed, frozen=True, tag="interpretation_saved"):
    """What was going on when a segment began, once whoever interprets has come so far. It belongs to that segment's `Carried`."""

    segment: int
    interpretation: msgspec.Raw


class ProcessForked(Observed, frozen=True, tag="process_forked"):
    """A process of a tracked tree, or one that it descends from, was forked (process connector)."""

    pid: int
    ppid: int


class ProcessExited(Observed, frozen=True, tag="process_exited"):
    """A process whose fork is recorded, or of a tracked tree, ended (process connector)."""

    pid: int
    exit_code: int | None
    signal: int | None


class ProcessSeen(Observed, frozen=True, tag="process_seen"):
    """What /proc said of a process: at the agent's start, or when a tool was seen to begin."""

    pid: int
    ppid: int
    exe: str | None
    argv: list[str]
    cwd: str | None
    uid: int | None
    auid: int | None
    session: int | None
    started_ms: int | None
    cgroup: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    """Only the environment variables on the allow list, redacted."""
    image: int | None = None
    """The exec that it was looked up for; None for what was found at the agent's start."""
    uid_map: str | None = None
    """`/proc/PID/uid_map`, where it is not the machine's own."""
    container_image: str | None = None


class FilesChanged(Observed, frozen=True, tag="files_changed"):
    """A process changed files below an environment, outside every package tool's tree."""

    until_ms: int
    """When the last of them was changed; `time_ms` is the first."""
    pid: int
    prefix: str
    kind: str
    """Of the environment."""
    files: list[FileChange]
    """At most 1,000."""
    total: int
    gone: bool = False
    """The process had ended before it could be identified."""
    image: int | None = None
    """Its image, or the nearest one above it, as the process table knew it then."""
    comm: str | None = None
    exe: str | None = None
    argv: list[str] | None = None
    """Redacted."""
    uid: int | None = None
    auid: int | None = None
    session: int | None = None
    tool: str | None = None
    """The package tool that the process was seen to be, though it stated no intention."""
    is_new: bool = False
    """The environment was not known before."""
    node: str | None = None
    """The machine, where a log recorded it; None: this one."""
    at_rest: bool = False
    """A log recorded it, and all of it: nothing of that time, or of that machine, can be looked up."""
    evidence: list[Evidence] = field(default_factory=list)
    """The exec of `image`, then the first events that recorded it."""
    names: dict[str, str] = field(default_factory=dict)
    """AUID and UID as auditd wrote them."""
    argv_cut: bool = False
    """The kernel recorded a part of `argv`."""
    marked: bool = False
    """Metadata was moved as pip alone does it."""
    may_be_passed: bool = False
    """It closed files of another owner's environment, and did nothing else to them: who opened them may have passed them to it."""
    ended_ms: int | None = None
    """`at_rest`: when its process ended, with how; None where it ran on."""
    exit_code: int | None = None
    signal: int | None = None
    metadata: list[MetadataEvent] = field(default_factory=list)
    """Package metadata that was made and removed, in order; empty in trails of version 2 and before: `files` says what is left of it."""


class MetadataChanged(Observed, frozen=True, tag="metadata_changed"):
    """A process of a package tool's tree made or removed metadata of packages in the environment that the tool works in."""

    pid: int
    image: int
    """Its image, as the process table knew it then."""
    prefix: str
    events: list[MetadataEvent]
    """In order."""
    until_ms: int
    """When the last file was changed; `time_ms` is the first."""
    total: int
    """Files that were changed, the others included."""


class ScriptSeen(Observed, frozen=True, tag="script_seen"):
    """The content of a script as it began to run."""

    image: int
    path: str
    sha256: str | None
    absent: str | None = None


class NameResolved(Observed, frozen=True, tag="name_resolved"):
    """The name of a uid at this moment; None when the uid has none."""

    uid: int
    name: str | None


class EnvironmentSeen(Observed, frozen=True, tag="environment_seen"):
    """An environment exists (or, `gone`, no longer does)."""

    environment: Environment
    gone: bool = False


class SnapshotTaken(Observed, frozen=True, tag="snapshot_taken"):
    """The packages of an environment, after an operation, at start, or on a schedule.

    `packages` is None when the content has been given in this segment before, under the same digest,
    or when there is nothing to read (then `absent` says why).
    """

    prefix: str
    kind: str
    digest: str | None
    packages: list[Package] | None
    reason: str
    """`baseline`, `before` (as a tool began), `operation` or `scheduled`."""
    image: int | None = None
    """The operation's owner, when taken for one."""
    absent: str | None = None
    faults: list[str] = field(default_factory=list)


class BaselineChange(Observed, frozen=True, tag="baseline_change"):
    """A change that happened before the trail began, as the environment itself records it (weak)."""

    prefix: str
    kind: str
    when_ms: int
    argv: list[str] | None
    tool: str
    owner_uid: int | None
    added: list[str]
    """`name version` each; `requested` ones first."""
    removed: list[str]


class GapFound(Observed, frozen=True, tag="gap_found"):
    """An entry of the loss ledger."""

    gap: Gap


class RulesApplied(Observed, frozen=True, tag="rules_applied"):
    """Envtrail changed the kernel's rules."""

    profile: str
    added: list[str]
    removed: list[str]


class RecordsRedacted(Observed, frozen=True, tag="records_redacted"):
    """How many values were replaced before writing since the last such entry, by kind; none where it only ends a step."""

    counts: dict[str, int]


class CursorMoved(Observed, frozen=True, tag="cursor_moved"):
    """How far a source has been read, sealed with what was read from it: nothing twice, nothing skipped."""

    source: str
    position: dict[str, str | int]


Observation = Union[
    AgentStarted,
    BaselineChange,
    Carried,
    CursorMoved,
    EnvironmentSeen,
    FilesChanged,
    GapFound,
    ImportEnded,
    ImportStarted,
    InterpretationSaved,
    MetadataChanged,
    NameResolved,
    ProcessExited,
    ProcessForked,
    ProcessSeen,
    RecordsRedacted,
    RulesApplied,
    ScriptSeen,
    SnapshotTaken,
    DecisionObservation,
]


class ObservationEntry(Struct, frozen=True, kw_only=True):
    """An observation as it lies in a segment: numbered, and placed among the records."""

    number: int
    """Counts through the whole store, from 1."""
    offset: int
    """Bytes of this segment's records.log that precede it."""
    observation: Observation


encode_entry = msgspec.json.Encoder().encode
decode_entry = msgspec.json.Decoder(ObservationEntry).decode
