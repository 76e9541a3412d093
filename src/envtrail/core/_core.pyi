"""The compiled core, as `envtrail.core` sees it. `make lint` checks this stub against the module (stubtest)."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, final

__all__ = [
    "Assembler",
    "AuditSocket",
    "Batch",
    "CheckedFile",
    "Counters",
    "DistInfo",
    "EventDocuments",
    "ExecWatch",
    "Fault",
    "FileCheck",
    "FileGroup",
    "FileWatch",
    "LineFault",
    "LineFigures",
    "LineReader",
    "Logins",
    "Prefilter",
    "Process",
    "ProcessConnector",
    "ProcessEvent",
    "RecordedFiles",
    "SeenProcess",
    "SerialGap",
    "__version__",
    "architectures",
    "confine",
    "content_digest",
    "end_with_parent",
    "event_schema",
    "hold_below",
    "hold_capabilities",
    "identity_of",
    "interesting_rows",
    "keep_capabilities",
    "merkle_root",
    "read_dist_infos",
    "record_type_name",
    "redact_argv",
    "redact_path",
    "redact_text",
    "redaction_tables",
    "see_process",
    "service_of",
    "system_calls",
    "texts_of_expression",
]

__version__: str

@final
class ProcessEvent:
    """What the process connector said of a process of a tracked tree."""

    @property
    def kind(self) -> str: ...  # "fork" | "exit"
    @property
    def time_ms(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def ppid(self) -> int: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def signal(self) -> int | None: ...
    @property
    def image(self) -> int | None: ...

@final
class Process:
    """One image of a lineage."""

    @property
    def image(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def ppid(self) -> int: ...
    @property
    def hint(self) -> str | None: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def serial(self) -> int: ...  # 0: of no exec that was recorded
    @property
    def segment(self) -> int: ...  # that holds its exec
    @property
    def uid(self) -> int | None: ...
    @property
    def auid(self) -> int | None: ...
    @property
    def ses(self) -> int | None: ...
    @property
    def alive(self) -> bool: ...
    @property
    def comm(self) -> str: ...
    @property
    def ended_ms(self) -> int | None: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def signal(self) -> int | None: ...

@final
class Fault:
    """Something wrong in the input, kept as data."""

    @property
    def kind(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def excerpt(self) -> str: ...

@final
class Batch:
    """What one `drain` hands out. `records[offset:offset + length]` of an event are its records."""

    def __len__(self) -> int: ...
    def events(self) -> Any: ...  # object with __arrow_c_array__ (one RecordBatch of EVENT_COLUMNS)
    @property
    def newest_ms(self) -> int | None: ...  # the latest moment of the events
    @property
    def records(self) -> bytes: ...
    @property
    def processes(self) -> list[ProcessEvent]: ...
    @property
    def faults(self) -> list[Fault]: ...
    @property
    def redactions(self) -> dict[str, int]: ...
    @property
    def files(self) -> list[FileGroup]: ...  # reported by records, below the assembler's roots

@final
class LineFault:
    """A line that holds no record."""

    @property
    def kind(self) -> str: ...  # name of a `NoRecord`
    @property
    def line(self) -> int: ...  # from 1
    @property
    def excerpt(self) -> str: ...

@final
class LineFigures:
    """What a file held."""

    @property
    def lines(self) -> int: ...
    @property
    def forms(self) -> dict[str, int]: ...  # lines that held records: audit, syslog, kernel, journal, json
    @property
    def without(self) -> dict[str, int]: ...  # lines that held none, by kind
    @property
    def nul_bytes(self) -> int: ...
    @property
    def faults(self) -> list[LineFault]: ...  # the first of each kind
    @property
    def last_ms(self) -> int: ...  # 0 without a record
    @property
    def node(self) -> str: ...  # of the last record; empty where it names none

@final
class LineReader:
    """Blocks of a log in, blocks of records out; a block of nothing but records is given back as it is."""

    def __new__(cls) -> LineReader: ...
    def read(self, block: bytes) -> bytes: ...
    def finish(self) -> bytes: ...
    def figures(self) -> LineFigures: ...

@final
class Logins:
    """What the records of logins say, and which sessions they make; at most so many (node, `ses`, login uid) are known."""

    def __new__(cls, most: int = 4096) -> Logins: ...
    def begin(self, batch: Any, node: str, segment: int) -> None: ...  # its rows are taken by what follows
    def take_until(self, row: int) -> None: ...  # those before it
    def take_rest(self) -> None: ...
    def turn(self) -> None: ...  # what is read next is of another log
    def unplaced(self) -> int: ...  # records of opened sessions that name none, and whose LOGIN was not read
    def take_given(self) -> bytes: ...  # an array of sessions of which more is known
    def find(
        self, node: str, number: int, auid: int | None, time_ms: int
    ) -> tuple[int | None, str | None, str | None] | None: ...  # login uid, user, remote
    def save(self) -> str: ...  # JSON
    def restore(self, text: str) -> None: ...  # ValueError: it is nothing that `save` gives

@final
class Counters:
    """Since the assembler was made."""

    @property
    def lines(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def unnamed(self) -> int: ...
    @property
    def events(self) -> int: ...
    @property
    def complete(self) -> int: ...
    @property
    def late(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def duplicate(self) -> int: ...
    @property
    def repeated(self) -> int: ...
    @property
    def supplemented(self) -> int: ...
    @property
    def faults(self) -> int: ...
    @property
    def in_flight(self) -> int: ...

@final
class SerialGap:
    """Serials that never arrived, seen between two events of one node."""

    @property
    def node(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def since_ms(self) -> int: ...
    @property
    def until_ms(self) -> int: ...

@final
class Assembler:
    """Lines of the audit log in, events as Arrow out; holds the process table. Not thread-safe."""

    def __new__(
        cls,
        *,
        node: str = "",
        redact: bool = True,
        hints: Sequence[tuple[str, Sequence[str]]] | None = None,
        timeout_ms: int = 2000,
        max_in_flight: int = 65536,
        max_event_bytes: int = 33554432,
    ) -> Assembler: ...
    def push(self, block: bytes) -> None: ...
    def reread(self, records: bytes) -> None: ...  # of a segment, whole lines: an event ends where the next one begins
    def push_process_events(self, block: bytes) -> None: ...
    def replay_process(self, kind: str, time_ms: int, pid: int, ppid: int, exit_code: int | None, signal: int | None) -> None: ...
    def seed_process(
        self,
        time_ms: int,
        pid: int,
        ppid: int,
        exe: str | None,
        argv: Sequence[str],
        uid: int | None,
        auid: int | None,
        ses: int | None,
    ) -> None: ...
    def doubt_forks(self, since_ms: int, until_ms: int) -> None: ...  # forks and exits may have been missed
    def forget_processes(self) -> None: ...
    def set_node(self, node: str) -> None: ...
    def set_log(self, log: str | None) -> None: ...  # that the records which follow are of, written before; None: live again
    def late_ends(
        self,
    ) -> list[tuple[int, int, int | None, int, int]]: ...  # image, ms, exit code, and serial and segment of the exit
    def remember(
        self, records: bytes, segment: int = 0
    ) -> None: ...  # those of a segment, whole lines; events that repeat them add nothing from now on
    def read_held_with(
        self, read: Callable[[int, int, int], bytes | None]
    ) -> None: ...  # (segment, offset, length) → records, for events of which the trail has a part
    def save_processes(self) -> str: ...  # JSON
    def restore_processes(self, text: str, log: str | None) -> None: ...  # ValueError: it is nothing that `save_processes` gives
    def set_segment(self, number: int, records_bytes: int = 0) -> None: ...  # that the records of the next `push` will lie in
    def set_clock(self, now_ms: int) -> None: ...  # when the lines of the next `push` are read
    def tick(self, now_ms: int) -> None: ...
    def flush(self) -> None: ...
    def drain(self) -> Batch: ...
    def lineage(self, image: int) -> list[Process]: ...
    def first_above(self, image: int, among: dict[int, Any]) -> int | None: ...  # the nearest image of its line that is a key
    def uids_above(
        self, image: int, ses: int | None, hint: str
    ) -> tuple[list[int], bool]: ...  # of a session, itself first; `hint` is there
    def set_roots(self, roots: Sequence[str]) -> None: ...
    def holder_of(self, pid: int, until_ms: int, within_ms: int) -> int | None: ...  # image; None where the pid was reused
    def words_of(self, image: int) -> list[str] | None: ...  # not redacted; None where its exec was not recorded, or long ago
    def program_of(self, image: int) -> str | None: ...  # not redacted; None as there
    def image_of(self, pid: int) -> int | None: ...
    def descendants(self, image: int) -> int: ...
    def counters(self) -> Counters: ...
    def take_serial_gaps(self) -> list[SerialGap]: ...

@final
class AuditSocket:
    """The kernel's audit records over netlink, rendered as lines. `read` releases the GIL."""

    def __new__(cls, mode: str, *, receive_buffer_bytes: int = 16777216) -> AuditSocket: ...  # "unicast" | "multicast"
    def read(self, timeout_ms: int) -> bytes: ...
    def take_overruns(self) -> int: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...

@final
class ProcessConnector:
    """Forks and exits of every process over netlink (CN_IDX_PROC). `read` releases the GIL."""

    def __new__(cls, *, receive_buffer_bytes: int = 16777216) -> ProcessConnector: ...
    def read(self, timeout_ms: int) -> bytes: ...  # opaque, for Assembler.push_process_events
    def take_overruns(self) -> int: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...

@final
class FileGroup:
    """What one process changed below one folder since the last read, and who it was."""

    @property
    def time_ms(self) -> int: ...
    @property
    def until_ms(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def root(self) -> str: ...
    @property
    def files(
        self,
    ) -> list[
        tuple[str, str]
    ]: ...  # (absolute path, "created" | "written" | "deleted" | "moved_from" | "moved_to" | "attributes"), at most 1,000
    @property
    def total(self) -> int: ...
    @property
    def gone(self) -> bool: ...  # the process had ended before it could be queried; what follows is then None
    @property
    def exe(self) -> str | None: ...
    @property
    def comm(self) -> str | None: ...
    @property
    def argv(self) -> list[str] | None: ...  # not redacted
    @property
    def ppid(self) -> int | None: ...
    @property
    def uid(self) -> int | None: ...
    @property
    def auid(self) -> int | None: ...
    @property
    def ses(self) -> int | None: ...
    @property
    def started_ms(self) -> int | None: ...
    @property
    def argv_cut(self) -> bool: ...  # the kernel recorded a part of `argv`
    @property
    def names(self) -> dict[str, str]: ...  # AUID and UID, as auditd wrote them
    @property
    def events(self) -> list[tuple[int, int, int]]: ...  # (segment, time in ms, serial), at most 100; none of fanotify
    @property
    def marked(self) -> bool: ...  # metadata was moved as pip alone does it
    @property
    def metadata(
        self,
    ) -> list[
        tuple[str, str, int]
    ]: ...  # (path, as in `files`, time in ms) of package metadata that was made and removed, in order
    @property
    def recorded(self) -> RecordedFiles | None: ...  # None: of this machine, now

@final
class RecordedFiles:
    """What a log says by itself of a group: it is of another time, or of another machine."""

    @property
    def node(self) -> str: ...
    @property
    def kind(self) -> str: ...  # of the environment, whose prefix is the group's root
    @property
    def images(self) -> list[int]: ...  # what ran in the process and above it, nearest first
    @property
    def hint(self) -> str | None: ...
    @property
    def exec(self) -> tuple[int, int, int] | None: ...  # (segment, time in ms, serial)
    @property
    def end(self) -> tuple[int, int | None, int | None] | None: ...  # (time in ms, exit code, signal), before it came to rest

@final
class FileWatch:
    """Changes of files below watched folders, by fanotify notification; times are those of reading.

    Package metadata that appears anywhere else on a watched file system is reported too, under the folder it appears in.
    """

    def __new__(cls, roots: Sequence[str]) -> FileWatch: ...
    def set_roots(self, roots: Sequence[str]) -> None: ...
    def read(self) -> list[FileGroup]: ...  # never waits
    def take_overflows(self) -> int: ...
    def unwatched(self) -> list[str]: ...  # "ROOT: why"
    def fileno(self) -> int: ...  # readable when there is something
    def close(self) -> None: ...

@final
class SeenProcess:
    """A process as it was at its exec, or later."""

    @property
    def time_ms(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def ppid(self) -> int | None: ...
    @property
    def exe(self) -> str | None: ...
    @property
    def argv(self) -> list[str] | None: ...  # not redacted
    @property
    def cwd(self) -> str | None: ...
    @property
    def uid(self) -> int | None: ...
    @property
    def auid(self) -> int | None: ...
    @property
    def ses(self) -> int | None: ...
    @property
    def started_ms(self) -> int | None: ...
    @property
    def cgroup(self) -> str | None: ...
    @property
    def uid_map(self) -> str | None: ...
    @property
    def variables(self) -> dict[str, str]: ...  # those requested; not redacted

@final
class ExecWatch:
    """What programs were given at their start, read the moment the kernel reports the exec."""

    def __new__(cls, programs: Sequence[str], variables: Sequence[str]) -> ExecWatch: ...
    def find(self, pid: int, time_ms: int) -> SeenProcess | None: ...  # the exec nearest to that moment
    def close(self) -> None: ...

def see_process(pid: int, variables: AbstractSet[str]) -> SeenProcess | None: ...  # as it is now; None: gone
def redact_argv(argv: Sequence[str]) -> tuple[list[str], dict[str, int]]: ...
def redact_path(path: str) -> tuple[str, dict[str, int]]: ...
def redact_text(text: str) -> tuple[str, dict[str, int]]: ...
def redaction_tables() -> list[tuple[str, list[str]]]: ...
def interesting_rows(
    batch: Any,
    columns: Mapping[str, Sequence[str]],  # by kind; "": of every other kind
    members: Mapping[str, Sequence[str]],  # of a map, or of each item of a list; of a column that is not named: all
    waited: AbstractSet[int] | None,
) -> bytes:  # JSON of the rows with a hint, and of tracked ends of what is waited for or begins here; `at` is the row
    ...
def texts_of_expression(expression: str) -> list[str] | None: ...  # RE2; each match holds one of them; None: nothing is known
def service_of(exe: str) -> str | None: ...  # that a program opens logins for; None for what runs in them
def merkle_root(block: bytes, seed: bytes) -> tuple[bytes, int]: ...  # lines -> (root, number of lines)
def event_schema() -> Any: ...  # object with __arrow_c_schema__
def record_type_name(number: int) -> str: ...
def architectures() -> dict[str, int]: ...  # name as go-libaudit has it -> number of the audit interface
def system_calls(arch: int) -> list[tuple[int, str]]: ...  # number, name; x32 after x86-64

@final
class DistInfo:
    """One `*.dist-info` folder; text that is not UTF-8 is shown escaped."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def license(self) -> str | None: ...
    @property
    def requires(self) -> list[str]: ...
    @property
    def tags(self) -> list[str]: ...
    @property
    def installer(self) -> str | None: ...
    @property
    def requested(self) -> bool | None: ...
    @property
    def direct_url(self) -> bytes | None: ...
    @property
    def record_sha256(self) -> str | None:
        """Over the lines of RECORD in order of path, without bytecode and what the installer adds."""
    @property
    def content_sha256(self) -> str | None:
        """Over path and hash of the wheel's own files: the same in the wheel and wherever it is installed."""
    @property
    def size_bytes(self) -> int | None: ...
    @property
    def linked(self) -> bool:
        """METADATA, or the folder, is a symbolic link, which is not followed: name and version are those of the folder's own name."""

def read_dist_infos(prefix: str, folders: Sequence[str]) -> list[tuple[DistInfo | None, list[str]]]:
    """What distributions below a folder (its canonical path) say of themselves, in the order given, and which files were not read and why.

    None where METADATA has no name and version.

    Raises:
        OSError: the folder is not there.
    """

def identity_of(path: str) -> tuple[int, int, int]:
    """Which file a path leads to now: device, inode, and the nanosecond of its birth (0 where the file system keeps none; statx(2)).

    The number of an inode is used again at once. A link at the end is not followed.

    Raises:
        OSError: nothing is there.
    """

def hold_below(folder: str, below: str) -> int:
    """A descriptor (`O_PATH`) of what lies below a folder (its canonical path). No link is followed; one at the end is held itself.

    Raises:
        OSError: it is not there, lies behind a link, or leads out of the folder.
    """

def confine(places: Sequence[str], listed: Sequence[str]) -> tuple[bool, bool]:
    """Leave this thread, and those that it starts, no more than reading at these places; whether Landlock and seccomp hold.

    Of what lies below the folders of the second list, only the names can be read.

    It cannot be undone. What the kernel lacks is left out.

    Raises:
        OSError: the kernel refuses what it has.
    """

def keep_capabilities(bits: int) -> None:
    """Keep these capabilities of this thread (bits, as in /proc/PID/status) and no others.

    Raises:
        OSError: it has not got them.
    """

def hold_capabilities(held: bool) -> None:
    """Let permitted capabilities survive a change of the uid, or not (PR_SET_KEEPCAPS).

    Raises:
        OSError: the kernel refuses.
    """

def end_with_parent() -> None:
    """Let the kernel end this process when the thread that started it ends (PR_SET_PDEATHSIG).

    Raises:
        OSError: the kernel refuses.
    """

def content_digest(record: bytes) -> str:
    """What `DistInfo.content_sha256` is of, for a RECORD in a wheel."""

@final
class CheckedFile:
    """One file, looked at."""

    @property
    def verdict(self) -> str:
        """`same`, `changed`, `missing` or `unreadable`."""
    @property
    def size(self) -> int | None: ...
    @property
    def sha256(self) -> bytes | None:
        """None where the content was not read: the size had already decided, or nothing was requested."""
    @property
    def changed_ms(self) -> int | None:
        """ctime: no user can set it back."""
    @property
    def error(self) -> str | None: ...

@final
class FileCheck:
    """A check of many files, in separate threads; dropping it stops them."""

    def __new__(cls, prefix: str, files: Sequence[tuple[str, bytes | None, int | None]], *, threads: int = 0) -> FileCheck:
        """Begin: (path below `prefix`, SHA-256, size) each; 0 threads are as many as there are cores. No link leads out of it.

        Raises:
            OSError: `prefix` (its canonical path) is not there.
        """
    def wait(self, limit_ms: int) -> bool:
        """Wait until all is done, at most this long; whether it is."""
    def progress(self) -> tuple[int, int]:
        """Files and bytes done so far."""
    def finish(self) -> list[CheckedFile | None]:
        """What was found, in the order of the request."""
    def stop(self) -> None:
        """End it."""

@final
class EventDocuments:
    """Makes ECS documents of typed events."""

    def __new__(
        cls,
        *,
        constants: Sequence[tuple[str, str]],
        fields: Sequence[tuple[str, str]],
        numbers_as_text: Sequence[str],
        record_fields: Sequence[str],
    ) -> EventDocuments:
        """Take what documents share with those of other kinds.

        Args:
            constants: (field, JSON) that each has; a field is named with dots.
            fields: (column, field); what is not named stands below `envtrail.event`.
            numbers_as_text: Columns whose numbers ECS has as keywords.
            record_fields: Fields of records that are no system calls, written as `auditd.data.<name>`.
        """
    def make(self, batch: Any, segment: int) -> list[tuple[str, bytes]]:
        """(`_id`, JSON) of each row of a batch with the columns of `model.schema`, or of a slice of one (`__arrow_c_array__`).

        Raises:
            ValueError: an event has no node, no time or no serial.
        """

@final
class Prefilter:
    """Finds the rows that hold a needed text; one that holds text beyond ASCII counts as such."""

    def __new__(cls, needed: Mapping[str, Sequence[str]]) -> Prefilter: ...  # column -> ASCII texts, whatever their case
    def rows(self, batch: Any) -> list[int]: ...
