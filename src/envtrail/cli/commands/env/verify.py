"""`envtrail env verify`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import click
import msgspec

from envtrail.cli.context import Context
from envtrail.cli.environments import find_environment
from envtrail.cli.render import emit_json, emit_text, safe, show_bytes, style
from envtrail.environments.history import check_history
from envtrail.environments.shared_files import find_shared
from envtrail.environments.verify import FileFinding, Verification, attribute
from envtrail.errors import CannotRunError, ExitCode, InputError
from envtrail.inspect.client import make_inspector
from envtrail.inspect.protocol import FilesVerified, ReadingRefused, VerifyFiles
from envtrail.model.environment import Environment
from envtrail.model.naming import normalise_name
from envtrail.model.times import show_ms
from envtrail.state.store import Query

_COLOURS = {
    **dict.fromkeys(("changed", "missing", "unchecked", "sourceless", "history"), "red"),
    **dict.fromkeys(("added", "unreadable", "half-removed", "linked"), "yellow"),
}


@click.command("verify")
@click.argument("environment")
@click.option("--package", help="Only the files of this one.")
@click.option("--fast", is_flag=True, help="Presence and sizes, without reading the content.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(context: Context, environment: str, package: str | None, fast: bool, as_json: bool) -> None:
    """Check every file of ENVIRONMENT against RECORD and conda-meta: added, changed and missing files, and who changed them.

    Bytecode that runs whatever its source holds (`unchecked`) or without one (`sourceless`) is a finding too, and a file that pip
    copied and that has another name (`linked`): it can be changed where nobody watches. Of a changed file that other environments
    share (hard links of uv and conda), their names are listed, and the operation that wrote through one of them. Where conda's own history and the recorded
    operations differ, the history was edited by hand, or no agent ran (`history`).

    Exit code 1 when there is a finding. A file that may not be read is `unreadable`, never unchanged.
    """
    began_s = time.monotonic()
    name = normalise_name(package) if package else None
    with context.store() as store:
        known = find_environment(store, environment)
        context.need_machine("the files of an environment are")
        with context.progress("files") as on_progress, closing(make_inspector(known.owner_uid)) as inspector:
            request = VerifyFiles(prefix=known.prefix, package=name, only_sizes=fast, now_ms=context.now_ms)
            answer = inspector.ask(request, on_progress)
        found, done = _checked(known.prefix, answer)
        if name is not None and not done.packages:
            raise InputError(
                f"`{package}` is not in `{known.prefix}`, or lists no files", hint=f"`envtrail env show {known.prefix}`"
            )
        is_whole_conda = found.kind == "conda" and name is None
        operations = list(store.operations(Query(environment=found.prefix))) if done.findings or is_whole_conda else []
        forged: list[FileFinding] = []
        if is_whole_conda and isinstance(answer, FilesVerified):
            forged = check_history(f"{found.prefix}/conda-meta/history", answer.history, operations)
        findings = find_shared(
            attribute(done.findings, operations),
            found,
            store.environments(),
            lambda prefix: store.operations(Query(environment=prefix)),
        )
        done = msgspec.structs.replace(done, findings=[*findings, *forged])
    if as_json:
        emit_json([done])
    else:
        emit_text(_lines(done, time.monotonic() - began_s))
    if done.findings:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


def _checked(prefix: str, answer: object) -> tuple[Environment, Verification]:
    """What was verified, or the error that says why nothing was."""
    if isinstance(answer, FilesVerified) and answer.environment is None:
        raise InputError(f"`{prefix}` no longer exists", hint=f"`envtrail env history {prefix}` says who removed it")
    if isinstance(answer, FilesVerified) and answer.environment is not None and answer.verification is not None:
        return answer.environment, answer.verification
    why = (
        answer.absent
        if isinstance(answer, FilesVerified)
        else answer.reason
        if isinstance(answer, ReadingRefused)
        else "no answer"
    )
    raise CannotRunError(f"`{prefix}` cannot be verified: {why}", hint="`envtrail env show` has the details")


def _lines(done: Verification, took_s: float) -> Iterator[str]:
    for finding in done.findings:
        what = style(f"{finding.what:12}", fg=_COLOURS[finding.what])
        yield f"{what} {safe(finding.path)}\n             {_of(finding)}; {_author(finding)}"
        yield from (f"             the same file as {safe(path)}" for path in finding.shared)
    yield from (f"{'not verified':12} {safe(name)}: it lists no files" for name in done.unlisted)
    yield from (f"{'fault':12} {safe(fault)}" for fault in done.faults)
    unexplained = sum(finding.operation is None for finding in done.findings)
    verdict = f"{len(done.findings)} findings, {unexplained} unexplained" if done.findings else "all unchanged since installation"
    yield (
        f"{done.prefix}: {done.files} files of {done.packages} packages, {show_bytes(done.bytes)} read in {took_s:.1f} s: "
        + style(verdict, fg="red" if done.findings else "green")
    )


def _of(finding: FileFinding) -> str:
    owner = f"of {safe(finding.package)}" if finding.package else "of no package"
    if finding.detail:
        return f"{owner}, {safe(finding.detail)}"
    if finding.what == "changed" and finding.expected_size != finding.found_size and finding.expected_size is not None:
        return f"{owner}, {finding.expected_size} bytes → {finding.found_size}"
    if finding.what == "changed" and finding.expected_sha256 and finding.found_sha256:
        return f"{owner}, sha256 {finding.expected_sha256[:12]}… → {finding.found_sha256[:12]}…"
    return owner


def _author(finding: FileFinding) -> str:
    when = f", {show_ms(finding.changed_ms)}" if finding.changed_ms is not None else ""
    if finding.operation is None:
        return style(f"unexplained{when}", bold=True)
    return f"{safe(finding.by or 'somebody')} in operation {finding.operation[:10]}{when}"
