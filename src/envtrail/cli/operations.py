"""Operations for people: one line, or the whole."""

from __future__ import annotations

from envtrail.cli.render import command_line, safe, style
from envtrail.cli.times import show_duration, show_time
from envtrail.model.operation import Change, Operation, PackageState

_COLOURS = {"success": "green", "failure": "red", "killed": "red", "unknown": "yellow"}


def who(operation: Operation) -> str:
    """The person, with what is known of the session."""
    actor = operation.actor
    name = safe(actor.name) if actor.name else f"uid {actor.auid if actor.auid is not None else actor.uid}"
    details = [f"uid {actor.uid}"] if actor.uid is not None and actor.name else []
    if actor.session is not None:
        details.append(f"session {actor.session}" + (f" from {safe(actor.remote)}" if actor.remote else ""))
    if actor.confidence != "certain":
        details.append(f"{actor.confidence.value}: by {actor.method}")
    return f"{name} ({', '.join(details)})" if details else name


def summary(operation: Operation) -> str:
    """`+2 -1 ~3`: added, removed, changed."""
    if operation.changes is None:
        return "changes not recorded"
    added = sum(change.before is None for change in operation.changes)
    removed = sum(change.after is None for change in operation.changes)
    changed = len(operation.changes) - added - removed
    parts = [f"{sign}{count}" for sign, count in (("+", added), ("-", removed), ("~", changed)) if count]
    return " ".join(parts) or "no changes"


def one_line(operation: Operation) -> str:
    """For `--oneline` and the live feed."""
    return (
        f"{operation.id[:10]}  {show_time(operation.started)[:19]}  {_outcome(operation):8} "
        f"{safe(operation.actor.name or str(operation.actor.uid)):10} {command_line(operation.argv)}  "
        f"→ {safe(operation.environment.prefix or '?')}  [{summary(operation)}]"
    )


def whole(operation: Operation, *, with_changes: bool) -> str:
    """As `git log` would print a commit."""
    took = show_duration(operation.started, operation.ended)
    head = f"operation {operation.id}  {operation.kind.value}  {_outcome(operation)}"
    lines = [
        style(head, fg="yellow") + (f"  {took}" if took else ""),
        f"Who:   {who(operation)}",
        f"When:  {show_time(operation.started)}",
        f"Where: {safe(operation.environment.prefix) or 'unknown'} ({operation.environment.kind}) on {safe(operation.host)}",
    ]
    if operation.reason:
        lines.append(f"Why:   {safe(operation.reason)}")
    lines += ["", f"    {command_line(operation.argv)}" + (f"  (via {', '.join(operation.via)})" if operation.via else ""), ""]
    if with_changes and operation.changes:
        lines += [f"    {show_change(change)}" for change in operation.changes] + [""]
    elif not with_changes or operation.changes is None:
        lines += [f"    {summary(operation)}", ""]
    return "\n".join(lines)


def show_change(change: Change) -> str:
    """`+ six 1.16.0`, `~ numpy 1.26.4 → 2.0.0`, `- x 1.0`."""
    mark = "" if change.requested is not True else "  (requested)"
    if change.before is None and change.after is not None:
        return style(f"+ {safe(change.name)} {_state(change.after)}{mark}", fg="green")
    if change.after is None and change.before is not None:
        return style(f"- {safe(change.name)} {_state(change.before)}", fg="red")
    assert change.before is not None and change.after is not None  # noqa: S101, PT018 - a change has at least one side
    return style(f"~ {safe(change.name)} {_state(change.before)} → {_state(change.after)}{mark}", fg="yellow")


def _state(state: PackageState) -> str:
    installer = f" [{safe(state.installer)}]" if state.installer and state.installer != "pip" else ""
    return safe(state.version) + installer


def _outcome(operation: Operation) -> str:
    return style(operation.outcome.value, fg=_COLOURS[operation.outcome.value])
