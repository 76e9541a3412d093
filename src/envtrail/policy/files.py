"""Policy files: read, checked with the place of every fault, and merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from envtrail.errors import InputError, UsageError
from envtrail.model.approval import ACTIONS
from envtrail.model.hours import When, parse_days, parse_hours, parse_zone
from envtrail.model.operation import OperationKind
from envtrail.model.text import is_safe, safe
from envtrail.model.times import to_ms
from envtrail.model.yaml_documents import BAD, Place, faults_of, read_bytes, read_documents
from envtrail.policy.judge import check_pattern
from envtrail.policy.language import VERSION, ApprovalRule, FileGrant, FileSuppression, Policy, PolicyRule, Test, parse_span

_HINT = "`envtrail policy schema` prints the keys of a policy"
_KINDS = {"conda", "venv", "system", "user", "target", "unknown"}
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)
_CLASSES = {"human", "service", "agent"}
_KEYS = ("version", "rules", "tests", "tags", "approvals", "grants", "suppressions")
_Item = TypeVar("_Item", PolicyRule, Test, ApprovalRule, FileGrant, FileSuppression)


class PolicyFault(Struct, frozen=True, kw_only=True):
    """A fault and its place; lines and columns start at 1."""

    path: str
    line: int
    column: int
    message: str
    hint: str = _HINT

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.message}"


class LoadedPolicy(Struct, frozen=True, kw_only=True):
    """The policy without the parts at fault, and every fault."""

    policy: Policy
    faults: list[PolicyFault]
    files: dict[str, str]
    """Path → text."""
    origins: dict[str, str] = {}
    """Name of a grant → its file."""


def load_policy(paths: Sequence[Path]) -> LoadedPolicy:
    """Read files, and the `*.yaml` of folders, ordered by name.

    Raises:
        InputError: a path does not exist, or may not be read.
    """
    texts: dict[str, bytes] = {}
    unread: list[PolicyFault] = []
    for path, file in _files(paths):
        try:
            texts[str(path)] = read_bytes(file)
        except OSError as fault:
            said = f"it cannot be read: {fault.strerror or fault}"
            unread.append(PolicyFault(path=safe(str(path)), line=1, column=1, message=said, hint="fix or remove it"))
    loaded = parse_policy(texts)
    return msgspec.structs.replace(loaded, faults=unread + loaded.faults)


def parse_policy(texts: Mapping[str, bytes | str]) -> LoadedPolicy:
    """The policy of files already read: path → content."""
    found = LoadedPolicy(policy=Policy(rules=[], tests=[]), faults=[], files={})
    policy = found.policy
    names: dict[tuple[str, str], str] = {}
    files: list[_File] = []
    for path, text in texts.items():
        one = _File(path, text)
        found.files[safe(path)] = one.text

        def is_new(key: str, at: int, name: str, one: _File = one, path: str = path) -> bool:
            known = names.setdefault((key, name), f"{path}[{at}]")
            if known != f"{path}[{at}]":
                one.fault(f".{key}[{at}].name", f"`{name}` is in {known.rpartition('[')[0]} already")
            return known == f"{path}[{at}]"

        policy.rules.extend(rule for at, rule in one.items("rules", PolicyRule, _check_rule) if is_new("rules", at, rule.name))
        policy.tests.extend(test for _, test in one.items("tests", Test, _check_test))
        policy.approvals.extend(item for _, item in one.items("approvals", ApprovalRule, _check_approval))
        for at, grant in one.items("grants", FileGrant, _check_grant):
            if is_new("grants", at, grant.name):
                policy.grants.append(grant)
                found.origins[grant.name] = path
        policy.suppressions.extend(
            item
            for at, item in one.items("suppressions", FileSuppression, lambda item: _no_last_day(item.until))
            if is_new("suppressions", at, item.name)
        )
        for tag, patterns in one.tags():
            policy.tags.setdefault(tag, []).extend(patterns)
        files.append(one)
    for one in files:
        one.check_tags(policy.tags)
        found.faults.extend(sorted(one.faults, key=lambda fault: (fault.line, fault.column)))
    return found


class _File:
    """One file as plain values, with the place of each."""

    def __init__(self, path: str, content: bytes | str) -> None:
        self._path = safe(path)
        self.faults: list[PolicyFault] = []
        self._values: dict[str, Any] = {}
        self._tags_used: list[tuple[str, str]] = []
        read = read_documents(content)
        self.text = read.text
        self._places = read.documents[0].places if read.documents else {"": (1, 1)}
        for fault in read.faults:
            self._report(fault.place, fault.message, fault.hint)
        if not is_safe(path):
            self._report((1, 1), "the name of this file is not text", "rename it")
        for more in read.documents[1:]:
            self._report(more.places[""], "a policy is one document", "without `---`, or two files")
        values = read.documents[0].values if read.documents else BAD if read.faults else {}
        if values is BAD:
            return
        values = {} if values is None else values
        if not isinstance(values, dict):
            self.fault("", "a policy is a mapping with `version` and `rules`")
            return
        self._values = values
        if values.get("version") not in (VERSION, BAD):
            self.fault(".version" if "version" in values else "", f"`version` must be {VERSION}, the language of this Envtrail")
        for key in values:
            if key not in _KEYS:
                self.fault(f".{key}", f"`{key}` is unknown; {', '.join(_KEYS)}")

    def fault(self, path: str, message: str) -> None:
        """Note a fault at the nearest known place."""
        while path not in self._places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        self._report(self._places[path], message)

    def _report(self, place: Place, message: str, hint: str = "") -> None:
        line, column = place
        self.faults.append(PolicyFault(path=self._path, line=line, column=column, message=message, hint=hint or _HINT))

    def _is_sound(self, path: str, value: Any, kind: Any) -> bool:
        found = list(faults_of(value, kind, path))
        for place, message in found:
            if message is not None:
                self.fault(place, message)
        return not found

    def items(
        self, key: str, kind: type[_Item], check: Callable[[_Item], Iterator[tuple[str, str]]]
    ) -> Iterator[tuple[int, _Item]]:
        """The valid items of a list; the faults of the others are noted."""
        listed = self._values.get(key) or []
        if listed is BAD:
            return
        if not isinstance(listed, list):
            self.fault(f".{key}", f"`{key}` is a list")
            return
        for at, value in enumerate(listed):
            if not self._is_sound(f".{key}[{at}]", value, kind):
                continue
            item = msgspec.convert(value, kind)
            where = getattr(item, "where", None)
            self._tags_used += [(f".{key}[{at}].where.tags[{n}]", tag) for n, tag in enumerate(where.tags if where else ())]
            faults = list(check(item))
            for path, message in faults:
                self.fault(f".{key}[{at}]{path}", message)
            if not faults:
                yield at, item

    def tags(self) -> Iterator[tuple[str, list[str]]]:
        """Names and the environments that have them."""
        tags = self._values.get("tags") or {}
        kind = dict[str, list[str]]
        if self._is_sound(".tags", tags, kind):
            yield from msgspec.convert(tags, kind).items()

    def check_tags(self, known: Mapping[str, list[str]]) -> None:
        """Check that some environment has every tag that a rule refers to."""
        for path, tag in self._tags_used:
            if tag not in known:
                self.fault(path, f"no environment has the tag `{tag}`: it is not in `tags`")


def _check_rule(rule: PolicyRule) -> Iterator[tuple[str, str]]:
    yield from _unknown(".what.actions", rule.what.actions, {kind.value for kind in OperationKind})
    yield from _unknown(".where.kinds", rule.where.kinds, _KINDS)
    yield from _unknown(".who.classes", rule.who.classes, _CLASSES)
    for at, pattern in enumerate(rule.what.packages):
        yield from _no_pattern(f".what.packages[{at}]", pattern)
    if rule.what.younger_than is not None:
        yield from _no_span(".what.younger_than", rule.what.younger_than)
    for name, when in (("when", rule.when), ("outside", rule.outside)):
        if when is not None:
            yield from ((f".{name}{path}", message) for path, message in _check_when(when))


def _check_when(when: When) -> Iterator[tuple[str, str]]:
    checks: list[tuple[str, Callable[[], object]]] = [
        (".days", lambda: parse_days(when.days)),
        (".zone", lambda: parse_zone(when.zone)),
        *((f".hours[{at}]", lambda word=word: parse_hours(word)) for at, word in enumerate(when.hours)),
    ]
    for path, check in checks:
        try:
            check()
        except ValueError as fault:
            yield path, str(fault)


def _check_test(test: Test) -> Iterator[tuple[str, str]]:
    yield from _unknown(".operation.action", [test.operation.action], {kind.value for kind in OperationKind})
    yield from _unknown(".operation.actor", [test.operation.actor], _CLASSES)
    if test.operation.age is not None:
        yield from _no_span(".operation.age", test.operation.age)
    try:
        to_ms(test.operation.time)
    except (ValueError, OverflowError):
        yield ".operation.time", f"`{test.operation.time}` is not a time like `2026-01-07T12:00:00Z`"
    for at, package in enumerate(test.operation.packages):
        if "==" not in package:
            yield f".operation.packages[{at}]", f"`{package}` has no version: `name==version`, `-name==version` for a removal"


def _check_approval(rule: ApprovalRule) -> Iterator[tuple[str, str]]:
    yield from _unknown(".where.kinds", rule.where.kinds, _KINDS)
    for name, word in (("longest", rule.longest), ("break_glass_for", rule.break_glass_for)):
        yield from _no_span(f".{name}", word)


def _check_grant(grant: FileGrant) -> Iterator[tuple[str, str]]:
    yield from _unknown(".action", [grant.action], set(ACTIONS))
    for at, pattern in enumerate(grant.packages):
        yield from _no_pattern(f".packages[{at}]", pattern)
    yield from _no_last_day(grant.until)


def _no_last_day(day: date) -> Iterator[tuple[str, str]]:
    # The moment after the last day has to be valid too.
    if not _FIRST_DAY <= day <= _LAST_DAY:
        yield ".until", f"{day} is not a day between {_FIRST_DAY} and {_LAST_DAY}"


def _no_span(path: str, word: str) -> Iterator[tuple[str, str]]:
    try:
        parse_span(word)
    except ValueError as fault:
        yield path, str(fault)


def _no_pattern(path: str, pattern: str) -> Iterator[tuple[str, str]]:
    try:
        check_pattern(pattern)
    except UsageError as fault:
        yield path, fault.message


def _unknown(path: str, words: Sequence[str], known: set[str]) -> Iterator[tuple[str, str]]:
    for at, word in enumerate(words):
        if word not in known:
            yield f"{path}[{at}]", f"`{word}` is unknown; {', '.join(sorted(known))}"


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Name under which each file is reported, and the path to read it from."""
    for path in paths:
        try:
            # `policy sync` may change the path's target at any time: all files come from one folder.
            folder = path.resolve()
            if folder.is_dir():
                yield from sorted((path / file.name, file) for file in folder.iterdir() if file.suffix in {".yaml", ".yml"})
                continue
            folder.stat()
        except FileNotFoundError:
            raise InputError(f"no policy `{path}`", hint="`policy.path` names the folder, or give files") from None
        except (OSError, RuntimeError) as fault:
            raise InputError(f"`{path}` cannot be read: {fault}", hint="make it readable for this account") from None
        yield path, path
