"""Every file of an environment against what its metadata lists; each difference with the operation that made it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from envtrail.core import CheckedFile, FileCheck
from envtrail.environments.hidden import find_bytecode, find_links
from envtrail.environments.manifest import HALF_REMOVED, ExpectedFile, Manifest, find_unlisted, read_manifest
from envtrail.environments.reading import Files, show
from envtrail.model.environment import Environment
from envtrail.model.operation import Operation

_SLACK_MS = 2000
"""A file's time and the records of its process are of different clocks."""
_POLL_MS = 100


class FileFinding(Struct, frozen=True, kw_only=True):
    """A file that is not as the metadata lists it."""

    path: str
    what: str
    """`added`, `changed`, `missing`, `unreadable`, `half-removed`; `unchecked`, `sourceless` (bytecode), `linked` (another name) or `history`."""
    package: str | None
    """Name and version; null for what no package lists."""
    expected_sha256: str | None = None
    found_sha256: str | None = None
    expected_size: int | None = None
    found_size: int | None = None
    changed_ms: int | None = None
    """When content or name were changed last (ctime)."""
    detail: str | None = None
    operation: str | None = None
    """Id of the operation that did it; null: unexplained."""
    by: str | None = None
    """Who that was."""
    inode: tuple[int, int] | None = None
    """Device and number of a changed file that has other names."""
    shared: list[str] = []
    """Its names in other environments: they have the change too."""


class Verification(Struct, frozen=True, kw_only=True):
    """The whole of a pass."""

    prefix: str
    files: int
    bytes: int
    """Read and hashed."""
    packages: int
    findings: list[FileFinding]
    unlisted: list[str]
    """Packages without a list of files: not verified."""
    faults: list[str]
    """Metadata that could not be read."""


def verify_environment(
    environment: Environment,
    *,
    package: str | None = None,
    only_sizes: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Check every listed file, on all cores, and look for files that nobody lists.

    Args:
        environment: Where; with `site_packages`.
        package: Only this one (normalised name); what is added is then not looked for.
        only_sizes: Presence and sizes, without reading the content.
        on_progress: Called with (bytes done, bytes in all) while it runs.

    Raises:
        OSError: it is no longer there, or lists more than any environment has.
    """
    manifest = read_manifest(environment)
    wanted = [item for item in manifest.files.values() if package is None or item.package.partition(" ")[0] == package]
    total = sum(item.size or 0 for item in wanted)
    begin = len(manifest.prefix.rstrip("/")) + 1
    check = FileCheck(manifest.prefix, [(item.path[begin:], None if only_sizes else item.sha256, item.size) for item in wanted])
    try:
        while not check.wait(_POLL_MS):
            if on_progress is not None:
                on_progress(check.progress()[1], total)
        done = check.progress()
        found = check.finish()
    except BaseException:
        check.stop()
        raise
    files = Files(manifest.prefix)
    findings = [
        _judge(files, item, one) for item, one in zip(wanted, found, strict=True) if one is not None and one.verdict != "same"
    ]
    # Bytecode is made and thrown away by every interpreter that may write.
    findings = [item for item in findings if not (item.path.endswith(".pyc") and item.expected_sha256 is None)]
    if package is None and environment.kind != "system":
        findings += [_added(files, path) for path in find_unlisted(environment, manifest)]
    findings += _hidden(manifest, wanted, {item.path for item in findings})
    return Verification(
        prefix=environment.prefix,
        files=done[0],
        bytes=done[1],
        packages=len({item.package for item in wanted}),
        findings=sorted(findings, key=lambda item: item.path),
        unlisted=manifest.unlisted if package is None else [],
        faults=_faults(manifest, package),
    )


def attribute(findings: Sequence[FileFinding], operations: Iterable[Operation]) -> list[FileFinding]:
    """Each finding with the operation that did it: one that was seen to change the file, else one that was at work when it changed.

    Args:
        findings: Of one environment.
        operations: On it, in any order.
    """
    operations = sorted(operations, key=lambda item: item.id, reverse=True)
    seen: dict[str, Operation] = {}
    for operation in operations:
        for file in operation.files:
            seen.setdefault(file.path, operation)
    spans = _spans(operations)
    return [_with_author(item, seen.get(item.path) or _at_work(spans, item.changed_ms)) for item in findings]


def attribute_by_time(finding: FileFinding, operations: Iterable[Operation]) -> FileFinding:
    """A finding with the operation among these that was at work when the file was changed."""
    return _with_author(finding, _at_work(_spans(operations), finding.changed_ms))


def _spans(operations: Iterable[Operation]) -> list[tuple[int, int, Operation]]:
    return [(*_span(operation), operation) for operation in operations if operation.actor.method not in {"owner", "none"}]


def _at_work(spans: Sequence[tuple[int, int, Operation]], at_ms: int | None) -> Operation | None:
    if at_ms is None:
        return None
    return next((one for began, ended, one in spans if began - _SLACK_MS <= at_ms <= ended + _SLACK_MS), None)


def _span(operation: Operation) -> tuple[int, int]:
    began, ended = (
        int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
        for text in (operation.started, operation.ended or operation.started)
    )
    return began, ended


def _with_author(finding: FileFinding, operation: Operation | None) -> FileFinding:
    if operation is None:
        return finding
    from msgspec.structs import replace

    actor = operation.actor
    who = actor.name or (f"uid {actor.uid}" if actor.uid is not None else None)
    return replace(finding, operation=operation.id, by=who)


def _judge(files: Files, expected: ExpectedFile, found: CheckedFile) -> FileFinding:
    return FileFinding(
        path=show(expected.path),
        what=found.verdict,
        package=expected.package,
        expected_sha256=expected.sha256.hex() if expected.sha256 else None,
        found_sha256=found.sha256.hex() if found.sha256 else None,
        expected_size=expected.size,
        found_size=found.size,
        changed_ms=found.changed_ms,
        detail=found.error,
        inode=_shared_inode(files, expected.path) if found.verdict == "changed" else None,
    )


def _shared_inode(files: Files, path: str) -> tuple[int, int] | None:
    try:
        status = files.status(files.below(path))
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_nlink > 1 else None


def _hidden(manifest: Manifest, wanted: Sequence[ExpectedFile], reported: Collection[str]) -> Iterator[FileFinding]:
    files = Files(manifest.prefix)
    listed = [item.path for item in wanted if item.path.endswith(".pyc") and item.sha256 is None]
    copied = {item.path: item.package for item in wanted if item.is_copied}
    for found in (
        *find_bytecode(files, [*listed, *manifest.bytecode], manifest.files),
        *find_links(files, copied),
    ):
        if show(found.path) not in reported:
            owner = manifest.files.get(found.path)
            yield FileFinding(
                path=show(found.path),
                what=found.what,
                package=owner.package if owner else None,
                changed_ms=found.changed_ms,
                detail=found.detail,
            )


def _added(files: Files, path: str) -> FileFinding:
    is_half = path.rpartition("/")[2].startswith(HALF_REMOVED)
    try:
        status = files.status(files.below(path))
    except OSError:
        return FileFinding(path=show(path), what="added", package=None)
    return FileFinding(
        path=show(path),
        what="half-removed" if is_half else "added",
        package=None,
        found_size=None if is_half else status.st_size,
        changed_ms=status.st_ctime_ns // 1_000_000,
    )


def _faults(manifest: Manifest, package: str | None) -> list[str]:
    return [fault for fault in manifest.faults if package is None or fault.startswith(f"{package} ")]
