"""The policy in force: read when its files change; an invalid one is rejected, and the last valid one stays."""

from __future__ import annotations

import hashlib
import pwd
import subprocess
from collections.abc import Iterator
from datetime import datetime, time, timedelta, timezone
from pathlib import Path

import msgspec

from envtrail.errors import InputError
from envtrail.host_directory import uid_of_name
from envtrail.model.approval import Approval, Grant, GrantKind, Terms, make_grant_id, say_terms
from envtrail.model.decided import FindingMade, GrantGiven, GrantRevoked, PolicyLoaded, SuppressionSet
from envtrail.model.finding import Finding, Level, Suppression, make_finding_id
from envtrail.model.naming import clean_path
from envtrail.model.observation import Observation
from envtrail.policy.files import LoadedPolicy, load_policy, parse_policy
from envtrail.policy.git import moment_of
from envtrail.policy.language import FileGrant, FileSuppression, Policy
from envtrail.policy.sync import read_placed
from envtrail.state.agent_status import PolicyInForce
from envtrail.state.state import State

_GIT_TIMEOUT_S = 10
REFUSED = "policy-refused"
_Stamp = tuple[tuple[str, int, int], ...]


class PolicyKeeper:
    """Watches the files, and reports what takes effect.

    Args:
        path: Folder of the policy's files, or one file; it may be missing.
        state: Holds the last valid policy, and the grants and suppressions of files in force.
        node: Name of this machine.
    """

    def __init__(self, path: Path, state: State, node: str) -> None:
        self._path = path
        self._state = state
        self._node = node
        self._stamp: _Stamp | None = None
        self._digest: str | None = None
        self._commit: str | None = None
        self.policy = Policy(rules=[], tests=[])
        self.is_in_force = False
        """There is a policy: operations are judged."""
        last = state.decisions.last_policy()
        if last is not None:
            self._digest, self._commit = last.digest, last.commit
            self._enforce(parse_policy(last.files).policy, bool(last.files))

    @property
    def in_force(self) -> PolicyInForce | None:
        """None: there is no policy."""
        return PolicyInForce(digest=self._digest, commit=self._commit) if self.is_in_force and self._digest else None

    def poll(self, now_ms: int) -> list[Observation]:
        """What changed since the last check: a new policy, or why it was rejected."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return []
        self._stamp = stamp
        if not stamp and self._digest is None:
            return []
        try:
            loaded = load_policy([self._path]) if stamp else parse_policy({})
        except InputError as fault:
            return [self._refuse(now_ms, fault.message)]
        if loaded.faults:
            first = loaded.faults[0]
            more = f", and {len(loaded.faults) - 1} more" if len(loaded.faults) > 1 else ""
            return [self._refuse(now_ms, f"{first} (hint: {first.hint}){more}")]
        digest = "sha256:" + hashlib.sha256(msgspec.json.encode(loaded.files, order="sorted")).hexdigest()
        self._enforce(loaded.policy, bool(loaded.files))
        commit = _commit_of(self._path)
        if (digest, commit) == (self._digest, self._commit):
            return []
        self._digest, self._commit = digest, commit
        observations: list[Observation] = [PolicyLoaded(time_ms=now_ms, digest=digest, files=loaded.files, commit=commit)]
        return observations + list(self._grants(loaded, now_ms)) + list(self._suppressions(loaded.policy, now_ms))

    def _enforce(self, policy: Policy, is_there: bool) -> None:
        self.policy = policy
        self.is_in_force = is_there

    def _refuse(self, now_ms: int, why: str) -> Observation:
        # The id contains the files' time: a restart finds the same one again.
        at_ms = max((changed for _, changed, _ in self._stamp or () if changed), default=now_ms * 1_000_000) // 1_000_000
        finding = Finding(
            id=make_finding_id(REFUSED, f"{self._path} {why}", at_ms),
            detection=REFUSED,
            source="trail",
            title="A new policy was refused; the last good one stays in force",
            level=Level.HIGH,
            time_ms=at_ms,
            host=self._node,
            reason=why,
        )
        return FindingMade(time_ms=now_ms, finding=finding)

    def _grants(self, loaded: LoadedPolicy, now_ms: int) -> Iterator[Observation]:
        """Grants that were added with the files, and those removed with them."""
        standing = {
            grant.id: grant
            for grant in self._state.decisions.grants()
            if grant.kind is GrantKind.GIT and grant.revoked_ms is None
        }
        wanted = {}
        for item in loaded.policy.grants:
            terms = _terms(item)
            # The same text gives the same grant, however often the files are read.
            wanted[
                make_grant_id(GrantKind.GIT, f"{item.name} {msgspec.json.encode(say_terms(terms)).decode()}", terms.until_ms)
            ] = (
                item,
                terms,
            )
        for id_, (item, terms) in wanted.items():
            if id_ not in standing:
                approval = _approval(Path(loaded.origins[item.name]), now_ms)
                yield GrantGiven(
                    time_ms=now_ms,
                    grant=Grant(id=id_, kind=GrantKind.GIT, since_ms=now_ms, terms=terms, approvals=[approval]),
                )
        for id_ in standing.keys() - wanted.keys():
            yield GrantRevoked(time_ms=now_ms, grant=id_, by="the policy's files", why="it is in them no longer")

    def _suppressions(self, policy: Policy, now_ms: int) -> Iterator[Observation]:
        wanted = {item.id: item for item in map(_suppression, policy.suppressions)}
        standing = {item.id: item for item in self._state.decisions.suppressions(now_ms) if item.id.startswith(_SUPPRESSION_MARK)}
        for id_, item in wanted.items():
            if id_ not in standing:
                yield SuppressionSet(time_ms=now_ms, suppression=msgspec.structs.replace(item, made_ms=now_ms))
        for id_ in standing.keys() - wanted.keys():
            yield SuppressionSet(time_ms=now_ms, suppression=msgspec.structs.replace(standing[id_], ended_ms=now_ms))


_SUPPRESSION_MARK = "file:"


def _stamp(path: Path) -> _Stamp:
    """A fingerprint that shows that files have changed, without reading them; empty when there is no policy. Unreadable files are included."""
    try:
        # From one folder, wherever `policy sync` points the path meanwhile.
        folder = path.resolve()
        files = [*folder.iterdir()] if folder.is_dir() else [folder]
        if files == [folder]:
            folder.stat()
    except FileNotFoundError:
        return ()
    except (OSError, RuntimeError) as fault:
        return ((f"{path}: {fault}", 0, 0),)
    return tuple(sorted(_stamp_of(file) for file in files if file.suffix in {".yaml", ".yml"} or file == folder))


def _stamp_of(file: Path) -> tuple[str, int, int]:
    try:
        status = file.stat()
    except OSError as fault:
        return f"{file}: {fault}", 0, 0
    return str(file), status.st_mtime_ns, status.st_size


def _terms(item: FileGrant) -> Terms:
    return Terms(
        prefix=clean_path(item.environment),
        user=item.user,
        uid=uid_of_name(item.user),
        action=item.action,
        packages=item.packages,
        dependencies=item.dependencies,
        until_ms=_end_of(item),
        uses=item.uses,
        why=item.why,
        sources=item.sources,
    )


def _end_of(item: FileGrant | FileSuppression) -> int:
    last = datetime.combine(item.until, time(), tzinfo=timezone.utc) + timedelta(days=1)
    return round(last.timestamp() * 1000)


def _suppression(item: FileSuppression) -> Suppression:
    content = hashlib.sha256(msgspec.json.encode(item)).hexdigest()[:12]
    return Suppression(
        id=f"{_SUPPRESSION_MARK}{item.name}:{content}",
        detection=item.detection,
        reason=item.reason,
        owner=item.owner,
        until_ms=_end_of(item),
        users=item.users,
        environments=item.environments,
        packages=item.packages,
    )


def _approval(file: Path, now_ms: int) -> Approval:
    """Who merged it: the file's last commit; a file outside Git, or with uncommitted changes, counts as its owner's."""
    placed = read_placed(file.parent)
    last = placed.author_of(file) if placed is not None else None
    if last is not None:
        return Approval(name=last.author, uid=None, time_ms=last.time_ms, method="git", key=last.id)
    output = _git(file.parent, "log", "-1", "--format=%H%x00%an%x00%at", "--", file.name)
    is_dirty = _git(file.parent, "status", "--porcelain", "--", file.name)
    if output and is_dirty == "":
        commit, author, seconds = output.strip().split("\0")
        return Approval(name=author, uid=None, time_ms=moment_of(seconds), method="git", key=commit)
    try:
        status = file.stat()
        name, uid = pwd.getpwuid(status.st_uid).pw_name, status.st_uid
    except (OSError, KeyError):
        name, uid = "unknown", None
    return Approval(name=name, uid=uid, time_ms=now_ms, method="file", why="in the policy's files, not committed to Git")


def _commit_of(path: Path) -> str | None:
    """Head of the repository that the policy was synchronised from, or is in."""
    placed = read_placed(path)
    if placed is not None:
        return placed.commit.id
    output = _git(path, "rev-parse", "HEAD")
    return output.strip() if output else None


def _trusted(folder: Path) -> list[str]:
    """Root's repository is as good to git as an own one; it is root's policy that is in it."""
    top = next((place for place in (folder.resolve(), *folder.resolve().parents) if (place / ".git").exists()), None)
    is_roots = top is not None and top.stat().st_uid == 0 and (top / ".git").stat().st_uid == 0
    return ["-c", f"safe.directory={top}"] if is_roots else []


def _git(folder: Path, *words: str) -> str | None:
    """Output of git; None without git, without a repository, or in another user's one (git itself refuses: its settings run programs)."""
    folder = folder if folder.is_dir() else folder.parent
    try:
        command = ["git", *_trusted(folder), "-C", str(folder), *words]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=_GIT_TIMEOUT_S
        )
    except (OSError, RuntimeError, subprocess.TimeoutExpired):  # RuntimeError: a ring of links
        return None
    return done.stdout if done.returncode == 0 else None
