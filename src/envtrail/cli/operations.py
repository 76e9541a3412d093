"""Output of operations as text: one line, or complete."""

from __future__ import annotations

from collections.abc import Mapping

from envtrail.cli.render import command_line, safe, style
from envtrail.cli.times import show_duration
from envtrail.model.operation import Change, Operation, PackageState
from envtrail.model.times import show_time

_COLOURS = {"success": "green", "failure": "red", "killed": "red", "unknown": "yellow"}


def who(operation: Operation, names: Mapping[int, str | None] | None = None) -> str:
    """The person, with what is known about where they logged in from.

    Args:
        operation: With the name at that time.
        names: Present names: a uid that was renamed or reassigned shows both.
    """
    actor = operation.actor
    number = actor.number
    name = safe(actor.name) if actor.name else f"uid {number}"
    details = [f"uid {actor.uid}"] if actor.uid is not None and actor.name else []
    if names and number is not None and actor.method in {"auid", "uid", "unit"} and names.get(number, actor.name) != actor.name:
        details.append(f"now {safe(names[number] or 'without a name')}")
    if actor.session is not None:
        details.append(f"session {actor.session}" + (f" from {safe(actor.remote)}" if actor.remote else ""))
    if actor.chain:
        details.append("through " + " → ".join(map(safe, actor.chain)))
    if actor.program:
        details.append(f"by the agent {safe(actor.program)}")
    if actor.job:
        details.append(f"{actor.job.system} job {safe(actor.job.id or '?')} of {safe(actor.job.pipeline or '?')}")
    if actor.container:
        shown = safe(actor.container.image or actor.container.id[:12])
        details.append(f"in {actor.container.engine} container {shown}")
    if actor.unit and actor.auid is None:
        details.append(f"unit {safe(actor.unit)}")
    if actor.claimed:
        details.append(f"said to be for {safe(actor.claimed)}")
    if actor.confidence != "certain":
        details.append(f"{actor.confidence.value}: by {actor.method}")
    return f"{name} ({', '.join(details)})" if details else name


def summary(operation: Operation) -> str:
    """`+2 -1 ~3`: added, removed, changed; without packages, the files."""
    if operation.changes is None:
        return "changes not recorded"
    added, removed = (sum(change.action == action for change in operation.changes) for action in ("added", "removed"))
    changed = len(operation.changes) - added - removed
    parts = [f"{sign}{count}" for sign, count in (("+", added), ("-", removed), ("~", changed)) if count]
    return " ".join(parts) or (f"{operation.files_total} files" if operation.files_total else "no changes")


def one_line(operation: Operation, *, marks_requested: bool = False) -> str:
    """For `--oneline` and the live feed."""
    return (
        f"{operation.id[:10]}  {show_time(operation.started)[:19]}  {_outcome(operation):8} "
        f"{safe(operation.actor.name or str(operation.actor.uid)):10} {command_line(operation.argv)}  "
        f"→ {safe(operation.environment.prefix or '?')}  [{_found(operation, marks_requested=marks_requested)}]"
    )


def _found(operation: Operation, *, marks_requested: bool) -> str:
    is_requested = marks_requested and operation.changes is None
    return summary(operation) + (f": requested {safe(' '.join(operation.requested))}" if is_requested else "")


def whole(
    operation: Operation,
    *,
    with_changes: bool,
    names: Mapping[int, str | None] | None = None,
    marks_requested: bool = False,
) -> str:
    """In the format of `git log`.

    Args:
        operation: To print.
        with_changes: List its packages.
        names: Present names of uids.
        marks_requested: Mark it if it is listed only because of its request.
    """
    took = show_duration(operation.started, operation.ended)
    head = f"operation {operation.id}  {operation.kind.value}  {_outcome(operation)}"
    lines = [
        style(head, fg="yellow") + (f"  {took}" if took else ""),
        f"Who:   {who(operation, names)}",
        f"When:  {show_time(operation.started)}",
        f"Where: {_where(operation)} ({operation.environment.kind}) on {safe(operation.host)}",
    ]
    if operation.reason:
        lines.append(f"Why:   {safe(operation.reason)}")
    lines += _judgement(operation)
    lines += ["", f"    {command_line(operation.argv)}" + (f"  (via {', '.join(operation.via)})" if operation.via else ""), ""]
    if with_changes and operation.changes:
        lines += [f"    {show_change(change)}" for change in operation.changes] + [""]
    elif not with_changes or operation.changes is None:
        lines += [f"    {_found(operation, marks_requested=marks_requested)}", ""]
    if operation.files:
        shown = operation.files if with_changes else operation.files[:3]
        lines += [f"    {file.what} {safe(file.path)}" for file in shown]
        lines += [f"    … {operation.files_total - len(shown)} more", ""] if operation.files_total > len(shown) else [""]
    return "\n".join(lines)


def _where(operation: Operation) -> str:
    prefix = safe(operation.environment.prefix) or "unknown"
    return f"{prefix} → {safe(operation.moved_to)}" if operation.moved_to else prefix


def _judgement(operation: Operation) -> list[str]:
    """The policy's verdict, and the grant that covers it."""
    if operation.grant is not None:
        return [f"Grant: {operation.grant}" + (f" ({safe(operation.policy_rule)})" if operation.policy_rule else "")]
    if operation.verdict in {None, "allow"}:
        return []
    reason = safe(operation.why.get("verdict", ""))
    missing = "" if operation.verdict == "notify" else ", and nobody has approved it"
    return [style(f"Policy: {operation.verdict} by {safe(operation.policy_rule or '?')}: {reason}{missing}", fg="red")]


def show_change(change: Change) -> str:
    """`+ six 1.16.0`, `~ numpy 1.26.4 → 2.0.0`, `~ numpy ? → 2.0.0` (not known), `~ idna 3.6 reinstalled`, `- x 1.0`."""
    mark = "" if change.requested is not True else "  (requested)"
    if change.action == "installed" and change.after is not None:
        return style(f"~ {safe(change.name)} ? → {_state(change.after)}{mark}", fg="yellow")
    if change.before is None and change.after is not None:
        return style(f"+ {safe(change.name)} {_state(change.after)}{mark}", fg="green")
    if change.after is None and change.before is not None:
        return style(f"- {safe(change.name)} {_state(change.before)}", fg="red")
    assert change.before is not None and change.after is not None  # noqa: S101, PT018 - a change has at least one side
    if change.before == change.after:
        return style(f"~ {safe(change.name)} {_state(change.after)} reinstalled{mark}", fg="yellow")
    other = _difference(change.before, change.after)
    return style(f"~ {safe(change.name)} {_state(change.before)} → {_state(change.after)}{other}{mark}", fg="yellow")


def _difference(before: PackageState, after: PackageState) -> str:
    """What changed besides the version."""
    if before.version != after.version:
        return ""
    if before.build != after.build:
        return f"  (build {safe(before.build or 'none')} → {safe(after.build or 'none')})"
    return "  (another source)" if before.source != after.source else "  (other files)"


def _state(state: PackageState) -> str:
    installer = f" [{safe(state.installer)}]" if state.installer and state.installer != "pip" else ""
    return safe(state.version) + installer


def _outcome(operation: Operation) -> str:
    return style(operation.outcome.value, fg=_COLOURS[operation.outcome.value])
