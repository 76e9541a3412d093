"""Rules in and out of the kernel, one by one; what was there before is never touched.

The ledger (`DATA/rules.json`) holds the bytes of every rule that Envtrail added, so that `remove` takes out those and no others, also where
somebody else's rule has one of our keys.
"""

from __future__ import annotations

import errno
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from envtrail.core.control import AuditControl
from envtrail.errors import UsageError
from envtrail.model.bounds import UNDECODABLE
from envtrail.rules.plan import Plan
from envtrail.rules.rule import Rule, rule_from_bytes

_T = TypeVar("_T")


class ApplyReport(Struct, frozen=True, kw_only=True):
    """The result."""

    added: list[str]
    removed: list[str]
    present: int
    """Rules of the plan that are in the kernel now."""
    expected: int
    faults: list[str]
    """Each names its rule and why it is not loaded."""
    locked: bool
    """Rules are locked: what is missing is pending until reboot."""


class Ledger:
    """The rules that Envtrail added, as the kernel lists them; it may hold some that are no longer there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[bytes]:
        """What was added and not taken out again."""
        try:
            return [b64decode(item) for item in msgspec.json.decode(self._path.read_bytes(), type=list[str])]
        except (FileNotFoundError, *UNDECODABLE):
            return []

    def write(self, rules: list[bytes]) -> None:
        """Replace it.

        Raises:
            OSError: it stays as it was.
        """
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(msgspec.json.encode([b64encode(rule).decode() for rule in rules]))
            part.replace(self._path)
        finally:
            part.unlink(missing_ok=True)

    def tidy(self, rules: list[bytes]) -> None:
        """Forget what is no longer in the kernel; no hurry on a full disk."""
        if not rules:
            self._path.unlink(missing_ok=True)
        elif rules != self.read():
            with suppress(OSError):
                self.write(rules)


def apply_rules(plan: Plan, control: AuditControl, ledger: Ledger, *, clean: bool = True) -> ApplyReport:
    """Bring the kernel to the plan: add what is missing, each on its own; take out our own that is no longer planned.

    Args:
        plan: The rules wanted.
        control: The kernel.
        ledger: Which rules are ours.
        clean: Take out our own rules that the plan does not hold.
    """
    locked = control.status().enabled == 2
    before = _rules_of(control)
    mine = [data for data in ledger.read() if rule_from_bytes(data) in before]
    wanted: list[Rule] = []
    missing: list[tuple[Rule, bytes]] = []
    faults: list[str] = []
    added: list[str] = []
    for item in plan.rules:
        try:
            data = item.rule.to_bytes()
        except UsageError as fault:
            faults.append(f"{item.rule.render()}: {fault.message}")
            continue
        wanted.append(item.rule)
        if item.rule not in before:
            missing.append((item.rule, data))
    # The ledger knows before the kernel: neither a crash nor a full disk leaves a rule of ours that we do not know.
    unnoted = _fault_of(ledger.write, [*mine, *(data for _, data in missing)]) if missing and not locked else None
    for rule, data in missing:
        refused = unnoted or _fault_of(control.add_rule, data)
        if refused is None:
            added.append(rule.render())
            mine.append(data)
        elif refused.errno != errno.EEXIST:
            faults.append(f"{rule.render()}: {_explain(refused, locked=locked)}")
    removed: list[str] = []
    if clean:
        for data in [data for data in mine if rule_from_bytes(data) not in wanted]:
            if _delete(control, data):
                removed.append(rule_from_bytes(data).render())
                mine.remove(data)
    ledger.tidy(mine)
    now = _rules_of(control)
    present = sum(rule in now for rule in wanted)
    return ApplyReport(added=added, removed=removed, present=present, expected=len(plan.rules), faults=faults, locked=locked)


def remove_rules(control: AuditControl, ledger: Ledger) -> list[str]:
    """Take out every rule that is ours, and no other."""
    removed = []
    kept = []
    for data in ledger.read():
        if _delete(control, data):
            removed.append(rule_from_bytes(data).render())
        elif rule_from_bytes(data) in _rules_of(control):
            kept.append(data)
    ledger.tidy(kept)
    return removed


def _rules_of(control: AuditControl) -> list[Rule]:
    """The kernel's rules as values: it fills in more bytes (bit masks), which say nothing more."""
    return [rule_from_bytes(data) for data in control.list_rules()]


def _delete(control: AuditControl, data: bytes) -> bool:
    return _fault_of(control.delete_rule, data) is None


def _fault_of(do: Callable[[_T], object], what: _T) -> OSError | None:
    try:
        do(what)
    except OSError as fault:
        return fault
    return None


def _explain(fault: OSError, *, locked: bool) -> str:
    if locked:
        return "rules are locked (-e 2): pending until reboot"
    match fault.errno:
        case errno.ENOENT:
            return "the path does not exist"
        case errno.EINVAL:
            return "this kernel does not take such a rule"
        case errno.ENOSPC | errno.EDQUOT:
            return "no space in the data folder to note that it is ours; it is tried again"
        case errno.EPERM:
            return "not permitted"
        case _:
            return fault.strerror or str(fault)
