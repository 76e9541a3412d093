"""Sigma rules from files: those that can be evaluated here; every other one is rejected by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import duckdb
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule, SigmaExtendedCorrelationCondition
from sigma.exceptions import SigmaError, SigmaRegularExpressionError
from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule

from envtrail.detect.detection import Correlation, Detection, LoadedDetections, Needed, RefusedDetection
from envtrail.detect.duckdb import DuckDb
from envtrail.detect.fields import LogSource, SigmaField, find_field, find_source
from envtrail.detect.prefilter import NeededTexts
from envtrail.detect.tables import make_tables, name_of, select
from envtrail.detect.translate import Dialect, RefusedError, translate
from envtrail.errors import InputError
from envtrail.model.finding import Level
from envtrail.model.text import safe
from envtrail.model.yaml_documents import BAD, Bad, YamlDocument, read_bytes, read_documents

_T = TypeVar("_T")
_SQL_CONFIG = {"threads": "1", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}


def load_detections(paths: Sequence[Path]) -> LoadedDetections:
    """Read files, and the `*.yml` of folders and their subfolders.

    Raises:
        InputError: a path does not exist.
    """
    found = LoadedDetections(detections=[], refused=[])
    rules: list[SigmaRule | SigmaCorrelationRule | SigmaFilter] = []
    places: dict[int, _Place] = {}
    for path in _files(paths):
        for rule, place in _read(path, found.refused):
            rules.append(rule)
            places[id(rule)] = place
    filters = [rule for rule in rules if isinstance(rule, SigmaFilter)]
    compiler = _Compiler(found)
    for rule in rules:
        if isinstance(rule, SigmaRule):
            compiler.add(rule, places[id(rule)], filters)
    for rule in rules:
        if isinstance(rule, SigmaCorrelationRule):
            compiler.add(rule, places[id(rule)])
    compiler.close()
    return found


def read_rules(paths: Sequence[Path]) -> Iterator[tuple[SigmaRule, str]]:
    """The plain rules that are valid, with their paths: for a language other than SQL."""
    for path in _files(paths):
        yield from ((rule, place.path) for rule, place in _read(path, []) if isinstance(rule, SigmaRule))


def source_of(rule: SigmaRule) -> LogSource:
    """The rows that a rule applies to.

    Raises:
        RefusedError: there are none.
    """
    source = find_source(rule.logsource.product, rule.logsource.category, rule.logsource.service)
    if isinstance(source, str):
        raise RefusedError(source)
    return source


def translate_rule(rule: SigmaRule, source: LogSource, dialect: Dialect[_T]) -> _T:
    """A rule's condition in a language.

    Raises:
        RefusedError: it uses something that does not exist.
    """
    return dialect.any_of([translate(item.parsed, source, dialect) for item in rule.detection.parsed_condition])


def _filtered(rule: SigmaRule, filters: Sequence[SigmaFilter]) -> SigmaRule:
    """The rule without what Sigma filters exclude."""
    for item in filters:
        changed = item.apply_on_rule(rule)
        rule = changed if isinstance(changed, SigmaRule) else rule
    return rule


class _Compiler:
    def __init__(self, found: LoadedDetections) -> None:
        self._found = found
        self._database = duckdb.connect(config=_SQL_CONFIG)
        self._by_name: dict[str, Detection] = {}
        self._sources: dict[str, LogSource] = {}

    def close(self) -> None:
        self._database.close()

    def add(self, rule: SigmaRule | SigmaCorrelationRule, place: _Place, filters: Sequence[SigmaFilter] = ()) -> None:
        """Add a rule, or record why not: none keeps the others from being evaluated."""
        try:
            if isinstance(rule, SigmaCorrelationRule):
                self._add_correlation(rule, place)
            else:
                self._add_rule(_filtered(rule, filters), place)
        except RefusedError as why:
            self._refuse(rule, place, str(why), is_fault=False)
        except SigmaError as fault:
            self._refuse(rule, place, str(fault), is_fault=True)
        except Exception as fault:  # noqa: BLE001 - whatever pySigma ends over is in the rule
            self._refuse(rule, place, f"{type(fault).__name__}: {fault}", is_fault=True)

    def _add_rule(self, rule: SigmaRule, place: _Place) -> None:
        source = source_of(rule)
        dialect = DuckDb(fold=self._fold, everything=source.everything, check_regex=self._check_regex)
        condition = translate_rule(rule, source, dialect)
        _check_registers(rule, dialect.columns)
        shown = [field for name in rule.fields if isinstance(field := find_field(source, name), SigmaField)]
        for field in shown:
            dialect.column(field)
        if source.where != "true":
            dialect.columns[source.where] = source.where
            condition = f"({name_of(source.where)} AND {condition})"
        self._try(source.table, condition, dialect.columns)
        named = [field.name for field in shown]
        needed = translate_rule(rule, source, NeededTexts())
        self._keep(rule, place, table=source.table, condition=condition, columns=dialect.columns, fields=named, needed=needed)
        self._sources[self._found.detections[-1].id] = source

    def _add_correlation(self, rule: SigmaCorrelationRule, place: _Place) -> None:
        correlation = self._correlate(rule)
        table = next(item.table for item in self._found.detections if item.id == correlation.rules[0])
        self._keep(rule, place, table=table, condition="", columns={}, fields=[], correlation=correlation)

    def _correlate(self, rule: SigmaCorrelationRule) -> Correlation:
        kind = rule.type.name.lower()
        if kind not in {"event_count", "value_count", "temporal", "temporal_ordered"}:
            raise RefusedError(f"a correlation of the type `{kind}`")
        condition = rule.condition
        if isinstance(condition, SigmaExtendedCorrelationCondition):
            raise RefusedError("a correlation with an extended condition")
        names = [reference.reference for reference in rule.rules or []]
        unknown = [name for name in names if name not in self._by_name]
        if unknown or not names:
            raise RefusedError(f"it counts `{', '.join(unknown)}`, which is not among the rules that can be evaluated")
        bases = [self._by_name[name] for name in names]
        aliases = {alias.alias: {str(ref.reference): name for ref, name in alias.mapping.items()} for alias in rule.aliases}

        def by_rule(name: str) -> dict[str, str]:
            return {
                base.id: self._column(base, aliases.get(name, {}).get(reference, name))
                for base, reference in zip(bases, names, strict=True)
            }

        wanted = condition.fieldref
        return Correlation(
            type=kind,
            rules=[base.id for base in bases],
            group_by={name: by_rule(name) for name in rule.group_by or []},
            span_s=rule.timespan.seconds,
            operator=condition.op.name,
            count=int(condition.count),
            value=by_rule(wanted if isinstance(wanted, str) else wanted[0]) if wanted else {},
            only=not rule.generate,
        )

    def _column(self, base: Detection, name: str) -> str:
        """A field of a counted rule, as one of its columns."""
        field = find_field(self._sources[base.id], name)
        if isinstance(field, str):
            raise RefusedError(field)
        base.columns[name] = field.sql
        base.carried.add(name)
        return name

    def _keep(
        self,
        rule: SigmaRule | SigmaCorrelationRule,
        place: _Place,
        *,
        table: str,
        condition: str,
        columns: dict[str, str],
        fields: list[str],
        needed: Needed | None = None,
        correlation: Correlation | None = None,
    ) -> None:
        detection = Detection(
            id=rule.name or (str(rule.id) if isinstance(rule.id, UUID) else rule.title),
            title=rule.title,
            level=Level(rule.level.name.lower()) if rule.level else Level.MEDIUM,
            table=table,
            condition=condition,
            columns=columns,
            needed=needed,
            description=rule.description or "",
            fields=fields,
            carried=set(fields),
            tags=[f"{tag.namespace}.{tag.name}" for tag in rule.tags],
            falsepositives=[str(item) for item in rule.falsepositives],
            path=place.path,
            uuid=str(rule.id) if rule.id else None,
            correlation=correlation,
        )
        if any(item.id == detection.id for item in self._found.detections):
            self._refuse(rule, place, f"a rule with the id `{detection.id}` was read already", is_fault=True)
            return
        self._found.detections.append(detection)
        self._by_name[detection.id] = detection
        self._by_name[detection.uuid or detection.id] = detection

    def _refuse(self, rule: SigmaRule | SigmaCorrelationRule, place: _Place, reason: str, *, is_fault: bool) -> None:
        self._found.refused.append(place.refused(reason, title=rule.title, is_fault=is_fault))

    def _fold(self, text: str) -> str:
        return str(self._database.execute("SELECT lower(?)", [text]).fetchall()[0][0])

    def _check_regex(self, pattern: str) -> None:
        try:
            self._database.execute("SELECT regexp_matches('', ?)", [pattern]).fetchall()
        except duckdb.Error as fault:
            raise RefusedError(f"the expression `{pattern}`: {str(fault).splitlines()[0]}") from None

    def _try(self, table: str, condition: str, columns: dict[str, str]) -> None:
        """What DuckDB does not accept is rejected now, not at the first batch."""
        if not self._database.execute("SELECT count(*) FROM duckdb_tables()").fetchall()[0][0]:
            make_tables(self._database)
        try:
            self._database.execute(select(table, columns, {"found": condition}))
        except duckdb.Error as fault:
            raise RefusedError(f"DuckDB does not accept it: {str(fault).splitlines()[0]}") from None


class _Place(NamedTuple):
    path: str
    line: int = 1
    column: int = 1

    def refused(self, reason: str, *, title: object = "", is_fault: bool = True) -> RefusedDetection:
        text = " ".join(reason.split())
        return RefusedDetection(
            path=self.path, line=self.line, column=self.column, title=str(title), reason=text, is_fault=is_fault
        )


def _read(path: Path, refused: list[RefusedDetection]) -> Iterator[tuple[Any, _Place]]:
    """The valid rules of a file, each with its place."""
    shown = safe(str(path))
    try:
        read = read_documents(read_bytes(path))
    except OSError as fault:
        refused.append(_Place(shown).refused(f"it cannot be read: {fault.strerror or fault}"))
        return
    for wrong in read.faults:
        said = f"{wrong.message} ({wrong.hint})" if wrong.hint else wrong.message
        refused.append(_Place(shown, *wrong.place).refused(said))
    documents = []
    for item in read.documents:
        if not isinstance(item.values, dict | Bad | None):
            refused.append(_Place(shown, *item.places[""]).refused("a rule is a mapping"))
        elif isinstance(item.values, dict) and not _has_bad(item.values):
            documents.append(item)
    # Without `action` the documents are independent: one that makes pySigma fail does not affect the others.
    is_one = any("action" in item.values for item in documents)
    for group in [documents] if is_one and documents else [[item] for item in documents]:
        yield from _parse(group, _Place(shown, *group[0].places[""]), refused)


def _parse(documents: list[YamlDocument], place: _Place, refused: list[RefusedDetection]) -> Iterator[tuple[Any, _Place]]:
    try:
        collection = SigmaCollection.from_dicts(
            [item.values for item in documents], collect_errors=True, collect_filters=True, resolve_references=False
        )
        rules = [*collection.rules, *collection.filters]
        own_errors = {str(error) for rule in rules for error in rule.errors}
        others = dict.fromkeys(str(error) for error in collection.errors if str(error) not in own_errors)
    except Exception as fault:  # noqa: BLE001 - any failure of pySigma is caused by the rule, and the others are still evaluated
        refused.append(place.refused(f"{type(fault).__name__}: {fault}"))
        return
    refused.extend(place.refused(text) for text in others)
    for rule in rules:
        if rule.errors:
            # pySigma checks expressions with RE2, as DuckDB does: look-around is valid Sigma all the same.
            is_fault = not all(isinstance(error, SigmaRegularExpressionError) for error in rule.errors)
            reason = "; ".join(str(error) for error in rule.errors)
            refused.append(place.refused(reason, title=rule.title, is_fault=is_fault))
        else:
            yield rule, place


def _has_bad(value: Any) -> bool:
    """Whether a part of it was reported as a fault."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is BAD or any(map(_has_bad, parts))


def _check_registers(rule: SigmaRule, columns: dict[str, str]) -> None:
    """`a0` to `a3` of a SYSCALL record are registers, which the typed event does not keep; those of EXECVE are arguments."""
    text = str(rule.detection.to_dict()).upper()
    if "SYSCALL" in text and "EXECVE" not in text and {"a0", "a1", "a2", "a3"} & {name.split()[0] for name in columns}:
        raise RefusedError("`a0` to `a3` of a SYSCALL record are registers, which are not kept (of EXECVE they are arguments)")


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix in {".yml", ".yaml"} and file.is_file())
        elif path.exists():
            yield path
        else:
            raise InputError(f"no rule `{path}`", hint="a file of Sigma rules, or a folder of them")
