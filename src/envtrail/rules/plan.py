"""Which rules, why, and how much they write.

References:
    auditctl(8): first match wins; `-F path=DIR -F perm=wa` sees what is created, renamed and removed directly in DIR;
    `auid>=1000` alone matches unset too; `-F success=1` drops the failed mkdirs that pip makes by the hundred.
"""

from __future__ import annotations

import pwd
from collections.abc import Callable, Iterator

from msgspec import Struct

from envtrail.config import Config
from envtrail.errors import ConfigError
from envtrail.rules.landscape import Landscape
from envtrail.rules.machine import HERE, Machine
from envtrail.rules.rule import Field, Rule

PIP, CONDA, PYTHON, JUPYTER, ENVIRONMENT, TRACE = (
    "python_pkg_install",
    "conda_operation",
    "python_script_exec",
    "jupyter_start",
    "conda_env_modify",
    "user_command_trace",
)
KEYS = frozenset({PIP, CONDA, PYTHON, JUPYTER, ENVIRONMENT, TRACE})


class PlannedRule(Struct, frozen=True, kw_only=True):
    """A rule with its reason."""

    rule: Rule
    reason: str
    volume: str
    """What it writes, for whom."""
    persistable: bool
    """It loads at boot also when its path is missing."""


class Plan(Struct, frozen=True, kw_only=True):
    """The rules of a profile for this machine, in the order in which the kernel evaluates them."""

    profile: str
    rules: list[PlannedRule]


def plan_rules(landscape: Landscape, config: Config, machine: Machine = HERE) -> Plan:
    """Generate the rules of the configured profile, as a machine's kernel has them.

    Raises:
        ConfigError: an excluded account does not exist.
    """
    profile = config.rules.profile
    generate = _PROFILES.get(profile)
    planned = list(generate(landscape, config, machine)) if generate else []
    bounds = [Field("auid", "=", str(number)) for number in config.rules.only_auids]
    if bounds:
        planned = [_bounded(item, bound) for bound in bounds for item in planned]
    return Plan(profile=profile, rules=planned)


def _bounded(item: PlannedRule, bound: Field) -> PlannedRule:
    fields = (*(field for field in item.rule.fields if field.name != "auid"), bound)
    rule = Rule(filter=item.rule.filter, action=item.rule.action, syscalls=item.rule.syscalls, fields=fields, key=item.rule.key)
    return PlannedRule(rule=rule, reason=item.reason, volume=item.volume, persistable=item.persistable)


def _lean(landscape: Landscape, config: Config, machine: Machine) -> Iterator[PlannedRule]:
    yield from _exclusions(config)
    only_people = _not_root(config)
    for path in landscape.managers:
        yield from _watch_program(path, PIP, "a native package manager, for everybody", only_people, machine)
    for path in landscape.interpreters:
        yield from _watch_program(path, PYTHON, "a Python, for everybody, root and services included", only_people, machine)
    for folder in landscape.site_packages:
        yield _top_level(folder, "packages appear and go directly in this folder", machine)
    for folder in landscape.conda_meta:
        yield _top_level(folder, "conda's records appear and go here", machine)
    for root in landscape.environment_roots:
        for arch in machine.arches:
            yield PlannedRule(
                rule=_rule(
                    machine.present(arch, ("mkdir", "mkdirat")),
                    Field("arch", "=", arch),
                    Field("dir", "=", root),
                    Field("success", "=", "1"),
                    key=ENVIRONMENT,
                ),
                reason="new environments and new package folders below it",
                volume="about 140 events for a `pip install` of two packages",
                persistable=False,
            )
        yield _through_io_uring(root)
    if config.rules.people:
        yield from _people(machine)


def _full(landscape: Landscape, config: Config, machine: Machine) -> Iterator[PlannedRule]:
    yield from _lean(landscape, config, machine)
    for root in landscape.environment_roots:
        for arch in machine.arches:
            yield PlannedRule(
                rule=_rule((), Field("arch", "=", arch), Field("dir", "=", root), Field("perm", "=", "wa"), key=ENVIRONMENT),
                reason="every write below it",
                volume="about 5,000 events for a `pip install` of two packages",
                persistable=False,
            )


def _classic(
    landscape: Landscape,  # noqa: ARG001 - the published rules name fixed paths
    config: Config,  # noqa: ARG001
    machine: Machine,
) -> Iterator[PlannedRule]:
    """The eight rules that people copy, in their modern spelling; for comparison and migration."""
    watches = (
        ("/usr/bin/pip", "x", PIP),
        ("/opt/conda/bin/pip", "x", PIP),
        ("/opt/conda/bin/conda", "x", CONDA),
        ("/opt/conda/bin/python", "x", PYTHON),
        ("/opt/conda/bin/python3.10", "x", PYTHON),
        ("/opt/conda/bin/jupyter-notebook", "x", JUPYTER),
    )
    for path, permission, key in watches:
        yield PlannedRule(
            rule=_rule((), Field("path", "=", path), Field("perm", "=", permission), key=key),
            reason="published rule",
            volume="one event an execution",
            persistable=True,
        )
    yield PlannedRule(
        rule=_rule((), Field("dir", "=", "/opt/conda/envs"), Field("perm", "=", "w"), key=ENVIRONMENT),
        reason="published rule",
        volume="thousands of events an installation",
        persistable=False,
    )
    yield PlannedRule(
        rule=_rule(("execve",), Field("arch", "=", machine.own), key=TRACE),
        reason="published rule: every execution of everybody",
        volume="one event for every program that starts on this machine",
        persistable=True,
    )


def _people(machine: Machine) -> Iterator[PlannedRule]:
    """Executions and ends of people's processes: those with a login, and those of people's uids without one (JupyterHub, cron)."""
    logged_in = (Field("auid", ">=", "1000"), Field("auid", "!=", "unset"))
    without_login = (Field("auid", "=", "unset"), Field("uid", ">=", "1000"))
    for who, fields in (
        ("people who logged in", logged_in),
        ("people's uids without a login (JupyterHub, cron, containers)", without_login),
    ):
        for arch in machine.arches:
            for syscalls, extra, what in (
                (("execve", "execveat"), (Field("success", "=", "1"),), "what they run"),
                (("exit_group",), (), "how it ended"),
            ):
                yield PlannedRule(
                    rule=_rule(syscalls, Field("arch", "=", arch), *fields, *extra, key=TRACE),
                    reason=f"{who}: {what}",
                    volume="one event a program",
                    persistable=True,
                )


def _watch_program(path: str, key: str, reason: str, only_people: tuple[Field, ...], machine: Machine) -> Iterator[PlannedRule]:
    for arch in machine.arches:
        yield PlannedRule(
            rule=_rule(
                (),
                Field("arch", "=", arch),
                Field("path", "=", path),
                Field("perm", "=", "x"),
                Field("success", "=", "1"),
                *only_people,
                key=key,
            ),
            reason=f"{path} starts: {reason}",
            volume="one event an execution",
            persistable=False,
        )
        yield PlannedRule(
            rule=_rule(("exit_group",), Field("arch", "=", arch), Field("exe", "=", path), *only_people, key=key),
            reason=f"{path} ends: its exit code",
            volume="one event an execution",
            persistable=False,
        )


def _top_level(folder: str, reason: str, machine: Machine) -> PlannedRule:
    return PlannedRule(
        rule=_rule(
            (),
            Field("arch", "=", machine.own),
            Field("path", "=", folder),
            Field("perm", "=", "wa"),
            Field("success", "=", "1"),
            key=ENVIRONMENT,
        ),
        reason=f"{folder}: {reason}",
        volume="about 10 events a package",
        persistable=False,
    )


def _through_io_uring(root: str) -> PlannedRule:
    """The same through io_uring, whose operations no syscall rule sees (`AUDIT_FILTER_URING_EXIT`, Linux 5.16)."""
    return PlannedRule(
        rule=Rule(
            filter="io_uring",
            action="always",
            syscalls=("mkdirat",),
            fields=(Field("dir", "=", root), Field("success", "=", "1")),
            key=ENVIRONMENT,
        ),
        reason="new environments and new package folders below it, made through io_uring",
        volume="none from pip, conda or uv of today",
        persistable=False,
    )


def _exclusions(config: Config) -> Iterator[PlannedRule]:
    for name in config.rules.exclude_users:
        try:
            uid = str(pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise ConfigError(f"`rules.exclude_users` names `{name}`, and there is no such account") from None
        for field in (Field("auid", "=", uid), Field("uid", "=", uid)):
            yield _never(field, f"{name} is excluded by configuration")
    for path in config.rules.exclude_programs:
        yield _never(Field("exe", "=", path), f"{path} is excluded by configuration")


def _never(field: Field, reason: str) -> PlannedRule:
    return PlannedRule(
        rule=Rule(filter="exit", action="never", fields=(field,)),
        reason=reason,
        volume="none: it leaves events out",
        persistable=field.name != "exe",
    )


def _not_root(config: Config) -> tuple[Field, ...]:
    return (Field("uid", "!=", "0"),) if config.rules.exclude_root else ()


def _rule(syscalls: tuple[str, ...], *fields: Field, key: str) -> Rule:
    return Rule(filter="exit", action="always", syscalls=syscalls, fields=fields, key=key)


_PROFILES: dict[str, Callable[[Landscape, Config, Machine], Iterator[PlannedRule]]] = {
    "lean": _lean,
    "full": _full,
    "classic": _classic,
}
