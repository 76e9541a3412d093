"""The panels of a fleet, each defined once; `kibana`, `opensearch_dashboards` and `grafana` convert them to the products' formats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from envtrail.documents.fields import stream_name

TITLE = "Envtrail"
DESCRIPTION = "What was done to the Python environments of the fleet"
DATA_VIEW = stream_name("*", "*")
"""One for all panels: it has every field as soon as one stream exists, so that a panel without documents is just empty."""
TIME = "@timestamp"
SINCE = "now-7d"
COLUMNS = 48
"""Number of columns of the grid, the unit of widths."""


class Measure(NamedTuple):
    """A figure of each row."""

    label: str
    kind: str
    """`count`, `sum`, `max`, `cardinality`, or `last`: the value in the newest document, None when it has none."""
    field: str = ""


class Bucket(NamedTuple):
    """What the rows stand for."""

    label: str
    field: str
    size: int = 0
    """Maximum number of values; 0: days of a time field."""
    optional: bool = False
    """Documents may lack it; they make a row too."""


class Panel(NamedTuple):
    """One panel."""

    id: str
    title: str
    kind: str
    """Kind of documents."""
    query: str
    """Lucene; empty: all of them."""
    buckets: tuple[Bucket, ...]
    measures: tuple[Measure, ...]
    """The first of them orders the rows."""
    chart: str = "table"
    """`table`, `bars` (the last bucket is their axis, one before it their colour), `pie`, or `metric` (no bucket)."""
    width: int = COLUMNS // 2
    height: int = 15

    @property
    def lucene(self) -> str:
        """Its documents, among those of all streams."""
        dataset = f'data_stream.dataset:"envtrail.{self.kind}"'
        return f"{dataset} AND {self.query}" if self.query else dataset


class DashboardFilter(NamedTuple):
    """A filter that applies to every panel."""

    id: str
    label: str
    field: str


FILTERS = (
    DashboardFilter("machine", "Machine", "host.name"),
    DashboardFilter("person", "Person", "user.name"),
    DashboardFilter("environment", "Environment", "envtrail.environment.prefix"),
)

_BY_PEOPLE = "NOT envtrail.actor.method:owner"
"""Excludes the changes of a baseline, which have no author."""
_MACHINE = Bucket("Machine", "host.name", 20)
_PERSON = Bucket("Person", "user.name", 10, optional=True)
_ENVIRONMENT = Bucket("Environment", "envtrail.environment.prefix", 20)
_DAY = Bucket("Day", TIME)
_OPERATIONS = Measure("Operations", "count")
_CHANGES = Measure("Changes", "sum", "envtrail.operation.changed")
_MACHINES = Measure("Machines", "cardinality", "host.name")
_PEOPLE = Measure("People", "cardinality", "user.name")
_ENVIRONMENTS = Measure("Environments", "cardinality", "envtrail.environment.prefix")
_LAST = Measure("Last", "max", TIME)


def _figure(id_: str, title: str, kind: str, query: str, measure: Measure) -> Panel:
    return Panel(id_, title, kind, query, (), (measure,), chart="metric", width=COLUMNS // 4, height=6)


PANELS: tuple[Panel, ...] = (
    _figure("machines-heard", "Machines heard of", "heartbeat", "", _MACHINES),
    _figure("operations", "Operations", "operation", _BY_PEOPLE, _OPERATIONS),
    _figure("unexplained", "Unexplained operations", "operation", "envtrail.operation.explained:false", _OPERATIONS),
    _figure(
        "findings-high",
        "Findings, high and critical",
        "finding",
        "envtrail.finding.level:(high OR critical)",
        Measure("Findings", "count"),
    ),
    Panel(
        id="installs",
        title="Package installs by day",
        kind="operation",
        query=f"event.outcome:success AND {_BY_PEOPLE}",
        buckets=(_DAY,),
        measures=(Measure("Packages", "sum", "envtrail.operation.installed"),),
        chart="bars",
    ),
    Panel(
        id="people",
        title="Most active people",
        kind="operation",
        query=_BY_PEOPLE,
        buckets=(_PERSON,),
        measures=(_OPERATIONS, _CHANGES, _ENVIRONMENTS),
    ),
    Panel(
        id="scripts",
        title="Top 10 scripts",
        kind="run",
        query="NOT envtrail.run.kind:system",
        buckets=(Bucket("Program", "envtrail.run.program", 10),),
        measures=(Measure("Runs", "sum", "envtrail.run.count"), _PEOPLE, _LAST),
    ),
    Panel(
        id="off-hours",
        title="Outside office hours",
        kind="operation",
        query=f"envtrail.operation.off_hours:true AND {_BY_PEOPLE}",
        buckets=(_PERSON, _ENVIRONMENT),
        measures=(_OPERATIONS, _CHANGES, _LAST),
    ),
    Panel(
        id="changes-by-machine",
        title="Changes by machine and day",
        kind="operation",
        query=_BY_PEOPLE,
        buckets=(_MACHINE, _DAY),
        measures=(_CHANGES,),
        chart="bars",
    ),
    Panel(
        id="tools",
        title="Tools",
        kind="operation",
        query=_BY_PEOPLE,
        buckets=(Bucket("Tool", "envtrail.operation.tool", 10),),
        measures=(_OPERATIONS,),
        chart="pie",
    ),
    Panel(
        id="environments",
        title="Environments changed",
        kind="operation",
        query=f"envtrail.operation.changed:>0 AND {_BY_PEOPLE}",
        buckets=(_ENVIRONMENT, _MACHINE),
        measures=(_CHANGES, _OPERATIONS, _PEOPLE, _LAST),
    ),
    Panel(
        id="packages",
        title="Packages that changed most",
        kind="change",
        query=_BY_PEOPLE,
        buckets=(Bucket("Package", "package.name", 20),),
        measures=(Measure("Changes", "count"), _ENVIRONMENTS, _MACHINES, _PEOPLE, _LAST),
    ),
    Panel(
        id="findings",
        title="Findings",
        kind="finding",
        query="",
        buckets=(Bucket("Level", "envtrail.finding.level", 5), Bucket("What", "rule.name", 20)),
        measures=(Measure("Findings", "count"), _MACHINES, _LAST),
    ),
    Panel(
        id="gaps",
        title="Gaps in the trails",
        kind="gap",
        query="",
        buckets=(_MACHINE, Bucket("Cause", "envtrail.gap.cause", 10)),
        measures=(Measure("Gaps", "count"), _LAST),
    ),
    Panel(
        id="machines",
        title="Machines",
        kind="heartbeat",
        query="",
        buckets=(_MACHINE._replace(size=100),),
        measures=(
            Measure("Last heard of", "max", TIME),
            Measure("Rules loaded", "last", "envtrail.heartbeat.rules_loaded"),
            Measure("Rules expected", "last", "envtrail.heartbeat.rules_expected"),
            Measure("Lag, ms", "last", "envtrail.heartbeat.lag_ms"),
            Measure("Records lost", "last", "envtrail.heartbeat.lost"),
            Measure("Documents waiting", "last", "envtrail.heartbeat.outbox"),
            Measure("Documents refused", "last", "envtrail.heartbeat.refused"),
        ),
        width=COLUMNS,
    ),
)


def places() -> Iterator[tuple[Panel, int, int]]:
    """Position of each panel: (panel, column, row). Panels of the same height fill a row."""
    x = y = height = 0
    for panel in PANELS:
        if x + panel.width > COLUMNS:
            x, y = 0, y + height
        yield panel, x, y
        x, height = x + panel.width, panel.height


def saved_object(
    kind: str, name: str, attributes: dict[str, Any], references: list[dict[str, str]], versions: dict[str, Any]
) -> dict[str, Any]:
    """A line of a file that Kibana, or OpenSearch Dashboards, imports; `versions`: of its format, as the product writes them."""
    return {"type": kind, "id": f"envtrail-{name}", "attributes": attributes, "references": references} | versions


def reference(name: str, kind: str, id_: str) -> dict[str, str]:
    """A saved object's reference to another one."""
    return {"name": name, "type": kind, "id": f"envtrail-{id_}"}
