"""The page over ten million events, 200,000 operations and a million runs: answers, a real browser, many open pages."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from audit_lab import running_agent
from big_trail import DAYS, fill, fill_events
from browser_lab import Tab, chromium
from load import UID, cpu_of, spawn
from report import Table
from web_lab import Page, serve_page

OPERATIONS = 200_000
RUNS = 1_000_000
EVENTS = 10_000_000
RATE = 100


def measure(work: Path, *, quick: bool) -> list[Table]:
    share = 50 if quick else 1
    rounds = 3 if quick else 7
    trail = fill(work / "trail", OPERATIONS // share, RUNS // share)
    events = fill_events(work, trail, EVENTS // share)
    what = (
        f"{events:,} events, {OPERATIONS // share:,} operations and {RUNS // share:,} runs over {DAYS} days, 50 people, 200 environments; "
        f"medians of {rounds} alternating rounds"
    )
    with serve_page(trail) as served:
        served.enter()
        served.ask("/?since=400d")
        return [_answers(served, what, rounds), _in_a_browser(served, what, rounds), _open_pages(work, quick=quick)]


def _answers(served: Page, what: str, rounds: int) -> Table:
    paths = {
        "a page without data (requests)": "/requests",
        "Overview, 7 days": "/",
        "Overview, everything": "/?since=400d",
        "Overview, one person, everything": "/?user=user7&since=400d",
        "Overview, one environment, everything": "/?environment=e7&since=400d",
        "Operations": "/operations",
        "Operations of a person, everything": "/operations?user=user7&since=400d",
        "Operations that failed, everything": "/operations?outcome=failure&since=400d",
        "Operations with a package, everything": "/operations?package=six&since=400d",
        "Operations by a word of the command, everything": "/operations?text=package-77&since=400d",
        "Environments": "/environments",
        "One environment": "/environment?prefix=/srv/envs/e7",
        "People, 30 days": "/people",
        "One person": "/person?name=user7",
        "Runs": "/runs",
        "Runs of a person, everything": "/runs?user=user7&since=400d",
        "Runs of a program, everything": "/runs?program=train7.py&since=400d",
        "Runs by a word that none has, 7 days": "/runs?text=nothing-like-it",
        "Trail, 24 hours": "/trail",
        "Trail, by a word, 7 days": "/trail?text=pip&since=7d",
        "Health": "/health",
    }
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for at in range(rounds + 1):
        for name, path in paths.items():
            started = time.perf_counter()
            status = served.ask(path)[0]
            assert status == 200, path
            if at:
                seconds[name].append(time.perf_counter() - started)
    rows: list[list[str | int | float]] = [[name, round(1000 * statistics.median(values))] for name, values in seconds.items()]
    return Table(
        title="The page", what=f"{what}, from the request to the last byte of the answer.", columns=["page", "ms"], rows=rows
    )


def _in_a_browser(served: Page, what: str, rounds: int) -> Table:
    """From the navigation to the data on the screen."""
    shown = {
        "a page without data (requests)": ("/requests", "#content h1"),
        "Overview: figures and tables": ("/", "#content .panels td"),
        "Overview: the charts too": ("/", "#content .nicegui-echart svg path"),
    }
    seconds: dict[tuple[str, str], list[float]] = {}
    with chromium() as browser:
        for _ in range(rounds):
            for name, (path, selector) in shown.items():
                context = browser.new_context(viewport={"width": 1280, "height": 900})
                cookie, _, value = served.cookie.partition("=")
                context.add_cookies([{"name": cookie, "value": value, "url": served.address}])
                page = context.new_page()
                for cache in ("cold", "warm"):
                    started = time.perf_counter()
                    page.goto(served.address + path, wait_until="commit")
                    page.wait_for_selector(selector, state="attached")
                    seconds.setdefault((name, cache), []).append(time.perf_counter() - started)
                    page.goto("about:blank")
                context.close()
    rows: list[list[str | int | float]] = [
        [name, *(round(1000 * statistics.median(seconds[name, cache])) for cache in ("cold", "warm"))] for name in shown
    ]
    return Table(
        title="The page in Chromium",
        what=f"{what}, from the navigation to the data on the screen, without and with what the browser keeps.",
        columns=["page", "cold ms", "warm ms"],
        rows=rows,
    )


def _open_pages(work: Path, *, quick: bool) -> Table:
    """What the agent pays for pages that are open."""
    count, seconds, rounds = (5, 4.0, 1) if quick else (50, 10.0, 3)
    (work / "agent").mkdir()
    spent: dict[int, list[float]] = {0: [], count: []}
    with running_agent(work / "agent", UID, roots=[]) as agent, serve_page(agent.data_dir, **agent.environment) as served:
        served.enter()
        with chromium() as browser:
            for _ in range(rounds):
                for wanted, values in spent.items():
                    tabs = [Tab(browser, served) for _ in range(min(wanted, 1))]
                    pages = [tab.context.new_page() for tab in tabs for _ in range(wanted)]
                    for one in pages:
                        one.goto(served.address)
                    load = spawn(RATE, seconds)
                    before = cpu_of(agent.process.pid)
                    time.sleep(seconds)
                    values.append((cpu_of(agent.process.pid) - before) / seconds * 1000)
                    load.wait()
                    for tab in tabs:
                        tab.close()
    rows: list[list[str | int | float]] = [[pages, round(statistics.median(values), 1)] for pages, values in spent.items()]
    return Table(
        title="Pages that are open",
        what=f"The agent's processor time while a user runs {RATE} programs a second and so many overviews are open in Chromium; medians of "
        f"{rounds} alternating rounds of {seconds:.0f} s. The pages are read by a process of their own.",
        columns=["open pages", "agent, ms of CPU a second"],
        rows=rows,
    )
