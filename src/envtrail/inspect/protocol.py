"""Requests to the inspector and its answers: frames of bounded length, each one typed value.

A connection carries requests one after the other; each is answered by any number of `Progressed` and one answer. It comes over a socket
in the file system, or over one that the server has inherited from a command.
"""

from __future__ import annotations

import socket
import struct
from enum import Enum
from typing import Union

import msgspec
from msgspec import Struct

from envtrail.environments.verify import Verification
from envtrail.model.environment import Environment, Snapshot
from envtrail.model.observation import BaselineChange

MOST_REQUEST_BYTES = 4 * 1024 * 1024
MOST_ANSWER_BYTES = 64 * 1024 * 1024
"""What a verification may find; other answers have less (`worker.LIMITS`)."""
HEAD = struct.Struct(">IB")
"""Length of the body, and what it is."""


class ReadEnvironment(Struct, frozen=True, kw_only=True, tag="read"):
    """What is at this prefix."""

    prefix: str
    has_content: bool = True
    """Its packages are wanted too."""
    changed_after_ms: float | None = None
    """Its packages are wanted only where it was changed after this."""
    past_until_ms: int | None = None
    """Now; what it says of its past is wanted too."""


class DigestScript(Struct, frozen=True, kw_only=True, tag="script"):
    """What is in a script that began to run."""

    path: str
    began_ms: int
    uid: int
    """Who runs it: read with their rights."""
    executed: str | None = None
    executed_inode: int | None = None
    now_ms: int


class VerifyFiles(Struct, frozen=True, kw_only=True, tag="verify"):
    """Whether the files of an environment are as its metadata lists them."""

    prefix: str
    package: str | None = None
    only_sizes: bool = False
    now_ms: int


class ExpandPatterns(Struct, frozen=True, kw_only=True, tag="expand"):
    """Which folders the configured patterns name, and whose they are."""

    roots: list[str]
    venv_roots: list[str]
    pythons: list[str]
    homes: list[str]


class SearchFolders(Struct, frozen=True, kw_only=True, tag="search"):
    """Which environments are below folders of one owner."""

    uid: int
    roots: list[str] = []
    venv_roots: list[str] = []
    registers: list[str] = []
    """Homes with a file in which conda notes prefixes."""
    prefixes: list[str] = []
    """To be looked at themselves."""
    depth: int = 0


class ProbeRights(Struct, frozen=True, kw_only=True, tag="probe"):
    """What a worker for this uid may do."""

    uid: int


class ProbePaths(Struct, frozen=True, kw_only=True, tag="paths"):
    """What is at these paths for this uid: modes and access control lists decide, as the kernel reads them."""

    uid: int
    paths: list[str]


class CheckPassword(Struct, frozen=True, kw_only=True, tag="password"):
    """Whether this is the password of an account of this machine that may sign in now."""

    service: str
    """A file in /etc/pam.d."""
    name: str
    password: str

    def __repr__(self) -> str:
        return f"CheckPassword(name={self.name!r})"


Request = Union[ReadEnvironment, DigestScript, VerifyFiles, ExpandPatterns, SearchFolders, ProbeRights, ProbePaths, CheckPassword]


class EnvironmentRead(Struct, frozen=True, kw_only=True, tag="environment"):
    """What is there."""

    environment: Environment | None
    """Null: no environment."""
    snapshot: Snapshot | None = None
    absent: str | None = None
    """Why there is no snapshot."""
    past: list[BaselineChange] = []
    changed_ms: float = 0
    """When one of the folders that hold its metadata was changed last, as seen after the reading."""


class ScriptDigested(Struct, frozen=True, kw_only=True, tag="digest"):
    """The digest of a script's content, or why there is none."""

    sha256: str | None = None
    absent: str | None = None


class FilesVerified(Struct, frozen=True, kw_only=True, tag="verified"):
    """What a verification found, and what conda's own history says."""

    environment: Environment | None
    verification: Verification | None = None
    absent: str | None = None
    history: list[BaselineChange] = []


class FolderOf(Struct, frozen=True, array_like=True):
    """A folder and whose it is."""

    path: str
    uid: int


class PatternsExpanded(Struct, frozen=True, kw_only=True, tag="expanded"):
    """The folders of each kind."""

    roots: list[FolderOf] = []
    venv_roots: list[FolderOf] = []
    prefixes: list[FolderOf] = []
    """Of the interpreters."""
    registers: list[FolderOf] = []


class FoldersSearched(Struct, frozen=True, kw_only=True, tag="searched"):
    """The owner's environments, and folders of others that may be some."""

    environments: list[Environment] = []
    others: list[FolderOf] = []


class RightsProbed(Struct, frozen=True, kw_only=True, tag="probed"):
    """What holds for a worker."""

    uid: int
    capabilities: int
    has_landlock: bool
    has_seccomp: bool


class PathFound(Struct, frozen=True, array_like=True):
    """Which file it is, and whether the uid may read it (and enter, where it is a folder)."""

    device: int
    inode: int
    is_readable: bool


class PathsProbed(Struct, frozen=True, kw_only=True, tag="probed_paths"):
    """In the order of the request; None: nothing that this uid can reach."""

    uid: int
    """With whose rights it was found out: of a server without the right to become somebody else, its own."""
    found: list[Union[PathFound, None]]


class PasswordChecked(Struct, frozen=True, kw_only=True, tag="checked"):
    """The account's uid; None: it is not its password, or it may not sign in."""

    uid: Union[int, None] = None
    absent: Union[str, None] = None
    """Why nothing could be checked."""


class RefusalKind(str, Enum):
    """Why nothing was read."""

    DEADLINE = "deadline"
    LIMIT = "limit"
    CRASH = "crash"
    BUSY = "busy"
    RIGHTS = "rights"


class ReadingRefused(Struct, frozen=True, kw_only=True, tag="refused"):
    """Nothing was read, for a reason that is a fact about what was to be read."""

    kind: RefusalKind
    reason: str


class PlaceHeld(Struct, frozen=True, kw_only=True, tag="held"):
    """From a worker to its server, before it reads a byte: what it holds, with whose rights."""

    prefix: str
    """Empty where it is no environment that is to be read."""
    uid: int


class Progressed(Struct, frozen=True, kw_only=True, tag="progress"):
    """From a worker while it verifies: bytes done, bytes in all."""

    done: int
    total: int


Answer = Union[
    EnvironmentRead,
    ScriptDigested,
    FilesVerified,
    PatternsExpanded,
    FoldersSearched,
    RightsProbed,
    PathsProbed,
    PasswordChecked,
    ReadingRefused,
    PlaceHeld,
    Progressed,
]
ANSWERS: dict[type[Request], type[Answer]] = {
    ReadEnvironment: EnvironmentRead,
    DigestScript: ScriptDigested,
    VerifyFiles: FilesVerified,
    ExpandPatterns: PatternsExpanded,
    SearchFolders: FoldersSearched,
    ProbeRights: RightsProbed,
    ProbePaths: PathsProbed,
    CheckPassword: PasswordChecked,
}
_encoder = msgspec.msgpack.Encoder()
decode_request = msgspec.msgpack.Decoder(Request).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode


class FrameKind(int, Enum):
    """What a frame is, so that who passes it on need not read it."""

    REQUEST = 0
    HELD = 1
    PROGRESS = 2
    ANSWER = 3


def kind_of(answer: Answer) -> FrameKind:
    """What the frame of an answer is."""
    kinds = {PlaceHeld: FrameKind.HELD, Progressed: FrameKind.PROGRESS}
    return kinds.get(type(answer), FrameKind.ANSWER)


def frame(value: Request | Answer, kind: FrameKind) -> bytes:
    """A value as it is sent.

    Raises:
        ValueError: it holds what is no text.
    """
    return wrap(_encoder.encode(value), kind)


def wrap(body: bytes, kind: FrameKind) -> bytes:
    """A body as it is sent."""
    return HEAD.pack(len(body), kind) + body


class FrameReader:
    """Takes frames out of bytes as they come.

    Args:
        most_bytes: Of one frame.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held = bytearray()

    def push(self, received: bytes) -> list[tuple[FrameKind, bytes]]:
        """The frames that are complete now.

        Raises:
            ValueError: one is longer than allowed, or of no known kind.
        """
        self._held += received
        frames = []
        while len(self._held) >= HEAD.size:
            length, kind = HEAD.unpack_from(self._held)
            if length > self._most_bytes:
                raise ValueError(f"a frame of more than {self._most_bytes} bytes")
            known = FrameKind(kind)
            if len(self._held) < HEAD.size + length:
                break
            frames.append((known, bytes(self._held[HEAD.size : HEAD.size + length])))
            del self._held[: HEAD.size + length]
        return frames


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
