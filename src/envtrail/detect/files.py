"""Policy files: read, checked with the place of every fault, and put together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import Struct

from envtrail.detect.judge import check_pattern
from envtrail.detect.policy import VERSION, ApprovalRule, FileGrant, FileSuppression, Policy, Rule, Test, parse_span
from envtrail.errors import InputError, UsageError
from envtrail.model.approval import ACTIONS
from envtrail.model.hours import When, parse_days, parse_hours, parse_zone
from envtrail.model.operation import OperationKind

_MOST_NODES = 100_000
"""Of one file: an alias of an alias of an alias is no policy."""
_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_KINDS = {"conda", "venv", "system", "user", "target", "unknown"}
_CLASSES = {"human", "service", "agent"}
_KEYS = ("version", "rules", "tests", "tags", "approvals", "grants", "suppressions")
_Item = TypeVar("_Item", Rule, Test, ApprovalRule, FileGrant, FileSuppression)


class PolicyFault(Struct, frozen=True, kw_only=True):
    """What is wrong, and where; lines and columns begin at 1."""

    path: str
    line: int
    column: int
    message: str


class Loaded(Struct, frozen=True, kw_only=True):
    """The policy of what is sound, and every fault."""

    policy: Policy
    faults: list[PolicyFault]
    files: dict[str, str]
    """Path → text."""
    origins: dict[str, str] = {}
    """Name of a grant → its file."""


def load_policy(paths: Sequence[Path]) -> Loaded:
    """Read files, and the `*.yaml` of folders, in order of their names.

    Raises:
        InputError: one cannot be read.
    """
    texts: dict[str, str] = {}
    for path, file in _files(paths):
        try:
            texts[str(path)] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise InputError(f"`{path}` cannot be read: {fault}", hint="a policy is UTF-8 text") from None
    return parse_policy(texts)


def parse_policy(texts: Mapping[str, str]) -> Loaded:
    """The policy of files that were read: path → text."""
    found = Loaded(policy=Policy(rules=[], tests=[]), faults=[], files=dict(texts))
    policy = found.policy
    names: dict[tuple[str, str], str] = {}
    files: list[_File] = []
    for path, text in texts.items():
        one = _File(path, text)

        def is_new(key: str, at: int, name: str, one: _File = one, path: str = path) -> bool:
            known = names.setdefault((key, name), f"{path}[{at}]")
            if known != f"{path}[{at}]":
                one.fault(f".{key}[{at}].name", f"`{name}` is in {known.rpartition('[')[0]} already")
            return known == f"{path}[{at}]"

        policy.rules.extend(rule for at, rule in one.items("rules", Rule, _check_rule) if is_new("rules", at, rule.name))
        policy.tests.extend(test for _, test in one.items("tests", Test, _check_test))
        policy.approvals.extend(item for _, item in one.items("approvals", ApprovalRule, _check_approval))
        for at, grant in one.items("grants", FileGrant, _check_grant):
            if is_new("grants", at, grant.name):
                policy.grants.append(grant)
                found.origins[grant.name] = path
        policy.suppressions.extend(
            item
            for at, item in one.items("suppressions", FileSuppression, lambda _: iter(()))
            if is_new("suppressions", at, item.name)
        )
        for tag, patterns in one.tags():
            policy.tags.setdefault(tag, []).extend(patterns)
        files.append(one)
    for one in files:
        one.check_tags(policy.tags)
        found.faults.extend(one.faults)
    return found


class _File:
    """One file as plain values, with the place of each."""

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._places: dict[str, tuple[int, int]] = {"": (1, 1)}
        self._nodes = 0
        self.faults: list[PolicyFault] = []
        self._values: dict[str, Any] = {}
        self._tags_asked: list[tuple[str, str]] = []
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            values = self._plain(node, "") if node is not None else {}
        except yaml.MarkedYAMLError as fault:
            mark = fault.problem_mark
            self._places[""] = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self.fault("", f"no YAML: {fault.problem}")
            return
        except yaml.YAMLError as fault:
            self.fault("", f"no YAML: {fault}")
            return
        if not isinstance(values, dict):
            self.fault("", "a policy is a mapping with `version` and `rules`")
            return
        self._values = values
        if values.get("version") != VERSION:
            self.fault(".version" if "version" in values else "", f"`version` must be {VERSION}, the language of this Envtrail")
        for key in values:
            if key not in _KEYS:
                self.fault(f".{key}", f"`{key}` is unknown here; {', '.join(_KEYS)}")

    def fault(self, path: str, message: str) -> None:
        """Note a fault at the nearest place that is known."""
        while path not in self._places:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        line, column = self._places[path]
        self.faults.append(PolicyFault(path=self._path, line=line, column=column, message=message))

    def items(
        self, key: str, kind: type[_Item], check: Callable[[_Item], Iterator[tuple[str, str]]]
    ) -> Iterator[tuple[int, _Item]]:
        """The sound ones of a list; the faults of the others are noted."""
        listed = self._values.get(key) or []
        if not isinstance(listed, list):
            self.fault(f".{key}", f"`{key}` is a list")
            return
        for at, value in enumerate(listed):
            try:
                item = msgspec.convert(value, kind)
            except msgspec.ValidationError as fault:
                said = str(fault)
                place = _AT.search(said)
                self.fault(f".{key}[{at}]" + (place["path"] if place else ""), _AT.sub("", said))
                continue
            where = getattr(item, "where", None)
            self._tags_asked += [(f".{key}[{at}].where.tags[{n}]", tag) for n, tag in enumerate(where.tags if where else ())]
            faults = list(check(item))
            for path, message in faults:
                self.fault(f".{key}[{at}]{path}", message)
            if not faults:
                yield at, item

    def tags(self) -> Iterator[tuple[str, list[str]]]:
        """Names and what bears them."""
        try:
            yield from msgspec.convert(self._values.get("tags") or {}, dict[str, list[str]]).items()
        except msgspec.ValidationError as fault:
            self.fault(".tags", f"`tags` is a mapping of names to lists of environments: {_AT.sub('', str(fault))}")

    def check_tags(self, known: Mapping[str, list[str]]) -> None:
        """Every tag that a rule asks for is borne by something."""
        for path, tag in self._tags_asked:
            if tag not in known:
                self.fault(path, f"no environment bears the tag `{tag}`: `tags` does not name it")

    def _plain(self, node: yaml.Node, path: str) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise yaml.YAMLError(f"more than {_MOST_NODES:,} values")
        self._places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.MappingNode):
            values: dict[str, Any] = {}
            for key, value in node.value:
                name = str(key.value)
                if name in values:
                    self._places[f"{path}.{name}"] = (key.start_mark.line + 1, key.start_mark.column + 1)
                    self.fault(f"{path}.{name}", f"`{name}` stands here twice")
                values[name] = self._plain(value, f"{path}.{name}")
            return values
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(value, f"{path}[{at}]") for at, value in enumerate(node.value)]
        return yaml.SafeLoader("").construct_object(node)


def _check_rule(rule: Rule) -> Iterator[tuple[str, str]]:
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
    """As what each file is known, and where it is read."""
    for path in paths:
        if path.is_dir():
            # `policy sync` may lead the path elsewhere at any time: all files are of one folder.
            folder = path.resolve()
            yield from sorted((path / file.name, file) for file in folder.iterdir() if file.suffix in {".yaml", ".yml"})
        elif path.exists():
            yield path, path
        else:
            raise InputError(f"there is no policy `{path}`", hint="`policy.path` names the folder, or give files")
