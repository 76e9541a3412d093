"""The work of `envtrail rules`, on top of `envtrail.rules` and this machine's environments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from envtrail.capture.choose import read_kernel_status
from envtrail.config import Config
from envtrail.core.control import AuditControl
from envtrail.errors import EnvtrailError, UsageError
from envtrail.inspect.search import search_once
from envtrail.rules.kernel import Ledger
from envtrail.rules.landscape import survey
from envtrail.rules.plan import KEYS, Plan, plan_rules
from envtrail.rules.rule import Rule, parse_rule, rule_from_bytes

_HEADER = """## Written by `envtrail rules apply --persist`; `envtrail rules remove` takes it away.
## Only rules that load when a path is missing stand here: a bad line would cost the rules of the files behind this one.
## Rules on environment roots and interpreters are loaded by the agent.
"""


class Drift(Struct, frozen=True, kw_only=True):
    """One difference between file, kernel and plan."""

    mark: str
    """`+` planned and not in the kernel, `-` ours in the kernel and no longer planned, `f` file, `?` foreign with our key."""
    rule: str
    meaning: str


def make_plan(config: Config) -> Plan:
    """The plan for this machine now."""
    return plan_rules(survey(search_once(config).environments, config), config)


@contextmanager
def open_control() -> Iterator[AuditControl]:
    """The kernel's control socket.

    Raises:
        CannotRunError: the kernel refuses, with the reason.
    """
    read_kernel_status()
    with AuditControl() as control:
        yield control


def export_text(plan: Plan) -> str:
    """The boot file."""
    lines = [f"# {item.reason}\n{' '.join(item.rule.words())}" for item in plan.rules if item.persistable]
    return _HEADER + "\n".join(lines) + "\n"


def compare(plan: Plan, control: AuditControl, ledger: Ledger, rules_file: Path, config: Config) -> list[Drift]:
    """Every difference between the plan, the kernel and the boot file, and who made it if the trail has recorded it."""
    loaded = [rule_from_bytes(data) for data in control.list_rules()]
    ours = [rule_from_bytes(data) for data in ledger.read()]
    wanted = [item.rule for item in plan.rules]
    pending = "pending until reboot: rules are locked" if control.status().enabled == 2 else "planned, not in the kernel"
    found = [
        Drift(mark="+", rule=rule.render(), meaning=pending + _culprit(rule, config)) for rule in wanted if rule not in loaded
    ]
    found += [
        Drift(mark="-", rule=rule.render(), meaning="ours, no longer planned: the watched path was removed or moved")
        for rule in ours
        if rule in loaded and rule not in wanted
    ]
    found += [
        Drift(mark="?", rule=rule.render(), meaning="foreign, with one of our keys: left unchanged")
        for rule in loaded
        if rule.key in KEYS and rule not in ours and rule not in wanted
    ]
    return found + _compare_file(plan, rules_file)


def _compare_file(plan: Plan, rules_file: Path) -> list[Drift]:
    try:
        lines = [line.strip() for line in rules_file.read_text().splitlines()]
    except OSError:
        return []
    written: list[Rule] = []
    found: list[Drift] = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        try:
            written.append(parse_rule(line))
        except UsageError as fault:
            found.append(Drift(mark="f", rule=line, meaning=f"in `{rules_file}`: {fault.message}"))
    persistable = [item.rule for item in plan.rules if item.persistable]
    found += [
        Drift(mark="f", rule=rule.render(), meaning=f"in `{rules_file}`, not generated")
        for rule in written
        if rule not in persistable
    ]
    found += [
        Drift(mark="f", rule=rule.render(), meaning=f"generated, not in `{rules_file}`")
        for rule in persistable
        if rule not in written
    ]
    return found


def _culprit(rule: Rule, config: Config) -> str:
    """Who removed a rule, if the trail has recorded it."""
    from envtrail.state.embedded import EmbeddedStore
    from envtrail.state.store import Query

    try:
        store = EmbeddedStore(config.data_dir)
    except (EnvtrailError, OSError):
        return ""
    try:
        for event in store.events(Query(kind="config", limit=200)):
            fields = dict(event.values["fields"] or {})
            if fields.get("op") == "remove_rule" and fields.get("key") == rule.key:
                return f"; a rule with its key was removed by auid {event.values['auid']} with {event.values['exe']} (serial {event.values['serial']})"
    finally:
        store.close()
    return ""
