"""The web UI of a fleet, in a real Chromium, over a real cluster to which two machines have shipped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from big_trail import fill
from browser_lab import Tab, chromium, filled_trail
from cluster_lab import Cluster
from playwright.sync_api import expect
from ports import free_port
from search_lab import SearchServer
from web_lab import Page, serve_page

from envtrail.documents.fields import STREAMS
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query
from envtrail.trail.layout import Layout
from envtrail.web.parts import NAVIGATION

pytestmark = [pytest.mark.search, pytest.mark.browser, pytest.mark.timeout(300)]
T0 = 1_795_000_000_000
SIX = Package(ecosystem="pypi", name="six", version="1.17.0")


@dataclass
class Fleet:
    server: SearchServer
    trail: Path
    hosts: list[str]
    """Of the recorded trail, and of a made one."""

    @property
    def store(self) -> tuple[str, str]:
        return "--store", self.server.url

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        variables = os.environ | {"ENVTRAIL_ELASTIC_NAMESPACE": "page"}
        command = [sys.executable, "-m", "envtrail", *self.store, *words]
        return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)


@pytest.fixture(scope="module")
def fleet(server: SearchServer, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    recorded = filled_trail(tmp_path_factory.mktemp("one"))
    made = fill(tmp_path_factory.mktemp("two") / "trail", 300, 300)
    state = State(Layout(made).state)
    with state.transaction():
        for prefix, packages in (("/srv/envs/e1", [SIX]), ("/home/alice/forecast", [])):
            state.put_environment(Environment(prefix=prefix, kind="venv"), seen_ms=T0)
            state.put_snapshot(Snapshot(prefix=prefix, kind="venv", packages=packages), time_ms=T0, reason="baseline")
    state.close()
    hosts = []
    for trail in (recorded, made):
        with closing(EmbeddedStore(trail)) as held:
            hosts.append(next(held.operations(Query(limit=1))).host)
        cluster = Cluster(server, trail, "page", node=hosts[-1])
        cluster.setup()
        cluster.ship()
    for kind in STREAMS:
        cluster.documents(kind)  # refreshed
    return Fleet(server, recorded, hosts)


@pytest.fixture(scope="module")
def served(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    accounts = tmp_path_factory.mktemp("accounts") / "accounts.json"
    variables = {"ENVTRAIL_ELASTIC_NAMESPACE": "page", "ENVTRAIL_WEB_ACCOUNTS": str(accounts)}
    words = ["account", "add", "mia", "--role", "member", "--password-stdin"]
    subprocess.run(
        [sys.executable, "-m", "envtrail", *words],
        input="a good long password\n",
        text=True,
        env=os.environ | variables,
        check=True,
        capture_output=True,
    )
    with serve_page(fleet.trail.parent / "none", *fleet.store, **variables) as page:
        page.enter()
        yield page


@pytest.fixture(scope="module")
def tab(served: Page) -> Iterator[Tab]:
    with chromium() as browser:
        made = Tab(browser, served)
        yield made
        made.close()


def test_every_page_of_a_fleet_stands(tab: Tab) -> None:
    for path, title, _ in NAVIGATION:
        page = tab.open(path)
        expect(page.locator("h1")).to_have_text(title)


def test_a_machine_is_chosen_by_its_name(tab: Tab, fleet: Fleet) -> None:
    for host, other in (fleet.hosts, fleet.hosts[::-1]):
        page = tab.open(f"/operations?since=400d&host={quote(host)}")
        expect(page.get_by_label("Machine")).to_have_value(host)
        expect(page.locator("td", has_text=f"{host}:/").first).to_be_visible()
        expect(page.locator("td", has_text=f"{other}:/")).to_have_count(0)


def test_an_environment_is_that_of_its_machine(tab: Tab, fleet: Fleet) -> None:
    one, two = (f"{host}:/home/alice/forecast" for host in fleet.hosts)
    page = tab.open("/environments")
    for name in (one, two):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    page.get_by_role("link", name=one, exact=True).click()
    expect(page.locator("main")).to_contain_text("six")
    expect(tab.open(f"/environment?prefix={quote(two)}").locator("main")).not_to_contain_text("six")


def test_the_machines_are_on_the_page_of_health(tab: Tab, fleet: Fleet) -> None:
    page = tab.open("/health")
    for host in fleet.hosts:
        expect(page.get_by_role("link", name=host, exact=True)).to_be_visible()
    # The heartbeats were shipped as the fleet was made: on a slow machine they are old by now.
    expect(page.locator("main")).to_contain_text(re.compile("agent not running|silent"))


def test_nothing_is_decided_on_a_fleet(tab: Tab, served: Page, fleet: Fleet) -> None:
    findings = [json.loads(line) for line in fleet.run("findings", "--all", "--json").stdout.splitlines()]
    page = tab.open(f"/findings/{findings[0]['id']}")
    expect(page.locator("main")).to_contain_text(findings[0]["title"])
    assert not page.get_by_role("button", name="Acknowledge").count()


def test_a_member_sees_nothing_of_it(served: Page) -> None:
    member = Page(served.process, served.port, served.link, served.token)
    body = "name=mia&password=a+good+long+password"
    status, headers, _ = member.ask(
        "/login", "POST", body, Content_Type="application/x-www-form-urlencoded", Origin=member.address
    )
    assert status == 303
    member.cookie = headers["set-cookie"].partition(";")[0]
    status, _, text = member.ask("/api/v1/operations")
    assert (status, "who may see everything" in text) == (503, True)
    assert "does not show this page" in member.ask("/operations")[2]


def test_the_api_answers_for_the_fleet(served: Page, fleet: Fleet) -> None:
    def ask(path: str) -> list[dict[str, object]]:
        status, _, text = served.ask(path)
        assert status == 200, text
        found: list[dict[str, object]] = json.loads(text)
        return found

    assert {item["host"] for item in ask("/api/v1/operations?limit=1000")} == set(fleet.hosts)
    assert {item["host"] for item in ask(f"/api/v1/operations?limit=1000&host={fleet.hosts[1]}")} == {fleet.hosts[1]}
    prefix = quote(f"{fleet.hosts[1]}:/srv/envs/e1")
    assert ask(f"/api/v1/snapshot?prefix={prefix}")["packages"][0]["name"] == "six"  # type: ignore[call-overload]
    status, _, text = served.ask(f"/api/v1/snapshot?prefix={quote('/home/alice/forecast')}")
    assert (status, "more than one machine" in text) == (400, True)


def test_environments_of_two_machines_are_compared(fleet: Fleet) -> None:
    one, two = (f"{host}:/home/alice/forecast" for host in fleet.hosts)
    done = fleet.run("env", "diff", one, two, "--json")
    assert done.returncode == 1, done.stderr
    removed = {json.loads(line)["name"] for line in done.stdout.splitlines()}
    with closing(EmbeddedStore(fleet.trail)) as held:
        snapshot = held.snapshot("/home/alice/forecast")
        assert snapshot is not None
        assert removed == {package.name for package in snapshot.packages}
    assert "no difference" in fleet.run("env", "diff", one, f"{fleet.hosts[0]}:forecast").stderr
    assert "more than one environment" in fleet.run("env", "show", "forecast").stderr


def test_who_holds_a_package_is_asked_of_the_whole_fleet(fleet: Fleet) -> None:
    held = [json.loads(line) for line in fleet.run("impact", "six", "--json").stdout.splitlines()]
    assert f"{fleet.hosts[1]}:/srv/envs/e1" in {item["holding"]["prefix"] for item in held}


def test_a_cluster_that_does_not_answer_is_said_and_comes_back(tab: Tab, fleet: Fleet) -> None:
    fleet.server.freeze()
    try:
        asked = threading.Timer(2, fleet.server.thaw)
        asked.start()
        expect(tab.open("/environments").locator("main")).to_contain_text("forecast")
    finally:
        asked.join()


def test_a_cluster_that_is_not_there_is_said_on_the_page(tab: Tab, tmp_path: Path) -> None:
    with serve_page(tmp_path, "--store", f"http://127.0.0.1:{free_port()}") as page:
        page.enter()
        other = Tab(tab.context.browser, page)  # type: ignore[arg-type]
        expect(other.open("/environments").locator("main")).to_contain_text("The trail cannot be read")
        other.close()
