"""`envtrail elastic`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from envtrail.cli.context import Context
from envtrail.cli.elastic import client_of, need_httpx, urls_option
from envtrail.cli.render import emit_json, emit_text, safe, style
from envtrail.cli.signals import set_by_signals
from envtrail.config import Config
from envtrail.errors import CannotRunError, ExitCode
from envtrail.model.finding import Level
from envtrail.model.times import show_ms

if TYPE_CHECKING:
    from envtrail.dashboards.alerts import Alert
    from envtrail.ship.client import SearchClient
    from envtrail.ship.ship_state import Shipping
    from envtrail.ship.templates import SetupStep, Templates
    from envtrail.ship.writer import LineFile

_F = TypeVar("_F", bound=Callable[..., Any])
_COLOURS = {"fine": "green", "made": "green", "updated": "green", "removed": "green"}


def _json(what: str) -> Callable[[_F], _F]:
    return click.option("--json", "as_json", is_flag=True, help=f"JSON lines: {what}.")


_OF_ONE_MACHINE = frozenset({"ship", "write", "status", "refused"})


@click.group("elastic")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Ship the trail to Elasticsearch or OpenSearch, where a fleet's trails are collected."""
    if ctx.invoked_subcommand in _OF_ONE_MACHINE:
        ctx.obj.need_machine(f"`envtrail elastic {ctx.invoked_subcommand}` is run")


@command.command()
@urls_option
@_json("one line for each step")
@click.pass_obj
def setup(context: Context, urls: tuple[str, ...], as_json: bool) -> None:
    """Create the templates and the retention, or update them. Idempotent."""
    config = context.config_with(urls)
    with closing(client_of(config)) as client:
        _show(_templates(client, config).setup(), as_json=as_json)


@command.command()
@urls_option
@_json("one line for each step")
@click.pass_obj
def check(context: Context, urls: tuple[str, ...], as_json: bool) -> None:
    """Check the objects on the cluster. Exit code 1 when one is missing or differs."""
    config = context.config_with(urls)
    with closing(client_of(config)) as client:
        states = _show(_templates(client, config).check(), as_json=as_json)
    if states - {"fine", "impossible", "newer"}:
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


@command.command()
@urls_option
@click.option("--data", "with_data", is_flag=True, help="The documents too.")
@click.option("--yes", is_flag=True, help="Do not prompt.")
@_json("one line for each step")
@click.pass_obj
def teardown(context: Context, urls: tuple[str, ...], with_data: bool, yes: bool, as_json: bool) -> None:
    """Remove what `setup` made. The cluster keeps the documents, unless --data is given."""
    config = context.config_with(urls)
    if with_data:
        from envtrail.documents.base import site_of

        namespace = site_of(config).namespace
    if with_data and not yes:
        click.confirm(f"Delete every document of namespace `{namespace}` on {', '.join(config.elastic.urls)}?", abort=True)
    with closing(client_of(config)) as client:
        _show(_templates(client, config).teardown(with_data=with_data), as_json=as_json)


@command.command()
@urls_option
@click.option("--once", is_flag=True, help="End when everything final was sent, or at a fault that a retry cannot fix.")
@click.option("--parent", type=int, hidden=True, help="End when this process is no longer the parent.")
@click.pass_obj
def ship(context: Context, urls: tuple[str, ...], once: bool, parent: int | None) -> None:
    """Send the trail, and new items, until Ctrl-C. `envtrail up` and the service do it when elastic.urls is set."""
    need_httpx()
    _run(context.config_with(urls), once=once, parent=parent)


@command.command()
@click.argument("path", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--once", is_flag=True, help="End when everything final was written.")
@click.option("--parent", type=int, hidden=True, help="End when this process is no longer the parent.")
@click.pass_obj
def write(context: Context, path: Path | None, once: bool, parent: int | None) -> None:
    """Write the documents of `ship`, and new ones, to a file of JSON lines until Ctrl-C; for a separate shipper.

    PATH instead of `elastic.file`. Each document is written once, even if this command is killed. `envtrail up` and the service do it when
    elastic.file is set; docs/collectors has configurations of collectors.
    """
    from envtrail.ship.writer import line_file_of

    config = context.config.replaced("PATH", {"elastic.file": str(path.absolute())}) if path else context.config
    _run(config, once=once, parent=parent, file=line_file_of(config))


def _run(config: Config, *, once: bool, parent: int | None, file: LineFile | None = None) -> None:
    from envtrail.ship.process import run

    stop = set_by_signals()
    run(
        config.data_dir,
        config,
        stop,
        file=file,
        once=once,
        parent=parent,
        on_fault=lambda fault: click.echo(f"elastic: {safe(fault)}", err=True),
    )
    # Being stopped is the normal end, except when everything was requested.
    if once and stop.is_set():
        raise click.exceptions.Exit(ExitCode.INTERRUPTED)


@command.command()
@_json("one object for the cluster, one for the file")
@click.pass_obj
def status(context: Context, as_json: bool) -> None:
    """State of the shipping: documents sent or written, waiting, rejected, and the last fault."""
    from envtrail.ship.process import running_pid
    from envtrail.ship.ship_state import CLUSTER_STATE, FILE_STATE, read_shipping
    from envtrail.trail.layout import need_trail

    folder = context.config.data_dir
    need_trail(folder)
    sent, written = read_shipping(folder / CLUSTER_STATE), read_shipping(folder / FILE_STATE)
    if as_json:
        emit_json(shipping for shipping in (sent, written) if shipping is not None)
        return
    if sent is not None or written is None:
        pid = running_pid(folder)
        click.echo(f"shipper     running, pid {pid}" if pid else "shipper     not running: nothing is sent")
        _show_shipping(sent, "sent")
    if written is not None:
        pid = running_pid(folder, file=True)
        click.echo(f"writer      running, pid {pid}" if pid else "writer      not running: nothing is written")
        _show_shipping(written, "written")


def _show_shipping(shipping: Shipping | None, done: str) -> None:
    if shipping is None:
        return
    for count in shipping.counts:
        there = f", {count.there:,} present already" if count.there else ""
        click.echo(f"{count.stream:11} {count.sent:,} {done}{there}")
    click.echo(f"waiting     {shipping.outbox:,} documents; {shipping.changed:,} items that are not final yet")
    if shipping.refused:
        click.echo(style(f"refused     {shipping.refused:,} documents: `envtrail elastic refused` shows why", fg="red"))
    last = show_ms(shipping.success_ms) if shipping.success_ms is not None else "never"
    click.echo(f"last success {last}")
    if shipping.fault is not None and shipping.fault_ms is not None:
        again = f"; next try {show_ms(shipping.next_ms)}" if shipping.next_ms is not None else ""
        click.echo(
            style(
                f"last fault {show_ms(shipping.fault_ms)}, {shipping.failures} in a row{again}: {safe(shipping.fault)}", fg="red"
            )
        )


@command.command()
@click.option("--retry", is_flag=True, help="Offer them once more, after the fault is fixed.")
@click.option("-n", "limit", default=20, show_default=True, type=click.IntRange(1), help="Maximum number to show.")
@_json("one line for each document")
@click.pass_obj
def refused(context: Context, retry: bool, limit: int, as_json: bool) -> None:
    """Documents that the cluster rejected, and why; they are kept here. Exit code 1 when there is none."""
    from envtrail.ship.process import running_pid
    from envtrail.ship.ship_state import CLUSTER_STATE, ShipState, read_refused
    from envtrail.trail.layout import need_trail

    folder = context.config.data_dir
    need_trail(folder)
    path = folder / CLUSTER_STATE
    found = read_refused(path, limit)
    if not found:
        click.echo("nothing was rejected", err=True)
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)
    if retry:
        if pid := running_pid(folder):
            raise CannotRunError(f"the shipper runs (pid {pid})", hint="stop it first; it sends them when it starts")
        with closing(ShipState(path)) as ship_state:
            click.echo(f"{ship_state.retry_refused()} documents wait to be sent again")
        return
    if as_json:
        emit_json(found)
    else:
        emit_text(f"{show_ms(item.time_ms)}  {item.stream:10} {item.id}  {safe(item.reason)}" for item in found)


@command.command()
@click.option("--for", "program", type=click.Choice(["kibana", "opensearch", "grafana"]), default="kibana", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file instead of standard output.")
def dashboards(program: str, output: Path | None) -> None:
    """Panels of the fleet, for import: Lens for Kibana, visualizations for OpenSearch Dashboards, JSON for Grafana."""
    from envtrail.dashboards import grafana, kibana, opensearch_dashboards

    if program == "grafana":
        text = json.dumps(grafana.dashboard(), indent=1) + "\n"
    else:
        product = kibana if program == "kibana" else opensearch_dashboards
        text = "".join(json.dumps(item) + "\n" for item in product.saved_objects())
    if output is None:
        click.echo(text, nl=False)
        return
    output.write_text(text)
    where = {
        "kibana": "Stack Management → Saved Objects → Import",
        "opensearch": "Dashboards Management → Saved objects → Import",
        "grafana": "Dashboards → New → Import",
    }
    click.echo(f"written to {output}; {where[program]}")


@command.command()
@click.option("--for", "program", type=click.Choice(["elastic", "watcher", "opensearch"]), default="elastic", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file instead of standard output.")
@click.pass_obj
def alerts(context: Context, program: str, output: Path | None) -> None:
    """The detections as alert rules: for Elastic Security, or monitors for OpenSearch Alerting; `watcher`: a machine fell silent.

    A detection that cannot be a query there is reported; it is evaluated on the machines, and arrives as a finding.
    """
    from envtrail.dashboards.alerts import OWN, elastic_rules, opensearch_monitors, watch

    if program == "watcher":
        documents = [watch()]
    else:
        chosen = [*OWN, *_alerts(context)]
        documents = list(elastic_rules(chosen) if program == "elastic" else opensearch_monitors(chosen))
    text = "".join(json.dumps(item) + "\n" for item in documents)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text)
        click.echo(f"{len(documents)} written to {output}", err=True)


@command.command(hidden=True)
@click.option("--file", "of_file", is_flag=True)
@click.pass_obj
def wanted(context: Context, of_file: bool) -> None:
    """Exit code 1 when no server, or no file, is configured; for the service manager."""
    if not (context.config.elastic.file if of_file else context.config.elastic.urls):
        raise click.exceptions.Exit(ExitCode.FOUND_NOTHING)


def _alerts(context: Context) -> Iterator[Alert]:
    """Each detection that can be expressed in Lucene; for the others, why not."""
    from envtrail.cli.sigma import convert_to_lucene, load, read_rules_of
    from envtrail.dashboards.alerts import Alert

    counted = load(context, ()).counted
    for rule in read_rules_of(context):
        if rule.name in counted:
            # A single hit means nothing; what a correlation makes of several arrives as a finding.
            continue
        query, why = convert_to_lucene(rule)
        if query is None:
            click.echo(f"left out: {safe(rule.title)}: {safe(why or '')}", err=True)
        else:
            yield Alert(
                id=str(rule.id),
                title=rule.title,
                description=rule.description or rule.title,
                level=Level(rule.level.name.lower() if rule.level else "medium"),
                query=query,
                tags=[str(tag) for tag in rule.tags],
                false_positives=list(rule.falsepositives or ()),
            )


def _templates(client: SearchClient, config: Config) -> Templates:
    from envtrail.ship.templates import Templates, identify_cluster

    elastic = config.elastic
    return Templates(client, identify_cluster(client), namespace=elastic.namespace, retention_days=elastic.retention_days)


def _show(steps: Iterable[SetupStep], *, as_json: bool) -> set[str]:
    """Print each step as it is done; returns the states."""
    states = set()
    for step in steps:
        states.add(step.state)
        if as_json:
            emit_json([step])
        else:
            hint = f"  ({step.hint})" if step.hint else ""
            click.echo(f"{style(step.state.ljust(10), fg=_COLOURS.get(step.state, 'yellow'))} {step.what}{hint}")
    return states
