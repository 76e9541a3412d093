"""Names of an environment and of a moment of its history on the command line."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from envtrail.cli.context import Context
from envtrail.cli.names import given_environment
from envtrail.cli.render import safe
from envtrail.cli.times import parse_time
from envtrail.errors import InputError, UsageError
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.environment import Environment, Snapshot
from envtrail.model.naming import clean_path, is_environment, parse_place
from envtrail.model.times import show_ms
from envtrail.state.lookup import resolve_environment, unknown_name
from envtrail.state.store import Store


def find_environment(store: Store, name: str) -> Environment:
    """An environment by its prefix, a relative folder, or the last part of its prefix; in a fleet with its machine: `HOST:NAME`.

    Raises:
        InputError: no known environment has this name, or more than one.
    """
    known = {environment.prefix: environment for environment in store.environments(with_gone=True)}
    for given in (name, given_environment(name), os.path.realpath(name)):
        if (prefix := clean_path(given)) in known:
            return known[prefix]
    meant = resolve_environment(store, given_environment(name))
    named = [prefix for prefix in known if is_environment(meant, prefix)]
    if len(named) == 1:
        return known[named[0]]
    if named:
        raise InputError(
            f"more than one environment is named `{safe(name)}`: {', '.join(map(safe, sorted(named)))}",
            hint="give the whole prefix" if not parse_place(meant).is_whole else "give the machine too: HOST:PREFIX",
        )
    if os.path.isdir(name):  # False, where another user has closed the folder above
        raise InputError(f"`{safe(name)}` is not an environment in the trail", hint="`envtrail env list` lists them")
    if parse_place(meant).is_whole and meant != given_environment(name):
        raise InputError(
            f"the trail has only operations of `{safe(meant)}`, and no snapshot",
            hint=f"`envtrail log --env {safe(meant)}`",
        )
    unknown = unknown_name("environment", name, list(known))
    raise InputError(unknown.message, hint=unknown.hint)


def parse_point(context: Context, store: Store, environment: Environment, text: str) -> int:
    """A moment of an environment's history in ms: a time, or an operation (just after it) by its id or a prefix of it.

    `OPERATION^` is just before it, as in git.

    Raises:
        UsageError: it is neither.
        InputError: the operation was on another environment.
    """
    before = text.endswith("^")
    try:
        operation = store.operation(text.rstrip("^"))
    except InputError:
        if before:
            raise
        operation = None
    if operation is None:
        if before:
            raise InputError(f"no operation starts with `{text.rstrip('^')}`", hint="`envtrail log` lists them")
        try:
            return parse_time(text, context.now_ms)
        except UsageError:
            raise UsageError(
                f"`{text}` is neither a time nor an operation",
                hint='"2h ago", "yesterday", "2026-11-20", or an id of `envtrail log`',
            ) from None
    if operation.environment.prefix != environment.prefix:
        raise InputError(
            f"operation {operation.id[:10]} was on `{operation.environment.prefix}`, not on `{environment.prefix}`",
            hint=f"`envtrail env history {environment.prefix}` lists those that were",
        )
    taken = next((item.time_ms for item in store.snapshots(environment.prefix) if item.image == operation.image), None)
    if taken is None:
        raise InputError(f"operation {operation.id[:10]} left no snapshot", hint="give a time instead")
    return taken - 1 if before else taken


def read_snapshot_spec(context: Context, store: Store, spec: str) -> Snapshot:
    """The snapshot of a spec: an environment (`ml-exp`), one at a point (`ml-exp@yesterday`, `ml-exp@01KB…^`), or a file.

    A file is the output of `env show --json`, from here or another host.

    Raises:
        InputError: it does not exist, or the file holds no snapshot.
    """
    if spec.endswith(".json") and os.path.isfile(spec):
        try:
            return msgspec.json.decode(Path(spec).read_bytes(), type=Snapshot)
        except (OSError, *UNDECODABLE) as fault:
            raise InputError(f"`{spec}` holds no snapshot: {fault}", hint="`envtrail env show ENV --json` writes one") from None
    name, _, point = spec.partition("@")
    return snapshot_at(context, store, find_environment(store, name), point or None)


def snapshot_at(context: Context, store: Store, environment: Environment, text: str | None) -> Snapshot:
    """The contents of an environment at a point (now, without one).

    Raises:
        InputError: the trail does not reach back that far.
    """
    at_ms = parse_point(context, store, environment, text) if text else None
    snapshot = store.snapshot(environment.prefix, at_ms)
    if snapshot is None:
        first = next(store.snapshots(environment.prefix), None)
        why = f": {'; '.join(environment.faults)}" if environment.faults else ""
        known = f"the trail knows it since {show_ms(first.time_ms)}" if first else f"the trail has no snapshot of it{why}"
        raise InputError(f"the contents of `{environment.prefix}` at that time are unknown; {known}", hint="give a later moment")
    return snapshot
