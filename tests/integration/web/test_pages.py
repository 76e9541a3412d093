"""What people do in the web UI, in a real Chromium: decide, compare, download, watch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import wait_until
from browser_lab import Tab, chromium, filled_trail, pages_of
from playwright.sync_api import Browser, expect
from web_lab import Page, serve_page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled_trail(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def served(trail: Path) -> Iterator[Page]:
    with serve_page(trail) as page:
        page.enter()
        yield page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab(browser: Browser, served: Page) -> Iterator[Tab]:
    made = Tab(browser, served)
    yield made
    made.close()


def reported(trail: Path, *words: str) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", "envtrail", "--data-dir", str(trail), *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def decide(tab: Tab, label: str, why: str, **fields: str) -> None:
    page = tab.page
    page.get_by_role("button", name=label, exact=True).first.click()
    dialog = page.get_by_role("dialog")
    for name, value in fields.items():
        dialog.get_by_label(name.replace("_", " ")).fill(value)
    dialog.get_by_label("Reason").fill(why)
    dialog.get_by_role("button", name=label, exact=True).click()


def test_a_finding_is_acknowledged_assigned_and_muted_with_a_reason(tab: Tab, trail: Path) -> None:
    id_ = reported(trail, "findings", "--all")[1]["id"]
    tab.open(f"/findings/{id_}")
    decide(tab, "Acknowledge", "")
    expect(tab.page.get_by_role("alert")).to_contain_text("a reason is needed")
    tab.page.keyboard.press("Escape")
    decide(tab, "Acknowledge", "looked at it", Assigned_to="carol")

    def finding() -> dict[str, object]:
        return next(item for item in reported(trail, "findings", "--all") if item["id"] == id_)

    wait_until(lambda: finding()["status"] != "open", "the acknowledgement to be in the trail")
    found = finding()
    assert (found["status"], found["status_by"], found["status_why"], found["assignee"]) == (
        "acknowledged",
        "root",
        "looked at it",
        "carol",
    )
    decide(tab, "Mute similar findings", "a known robot", For_days="3")
    wait_until(lambda: bool(reported(trail, "mute", "--list")), "the mute to be in the trail")
    muted = reported(trail, "mute", "--list")
    assert [(item["detection"], item["reason"], item["users"]) for item in muted] == [
        (found["detection"], "a known robot", [found["user"]])
    ]


def test_a_request_is_approved_and_another_denied(tab: Tab, trail: Path) -> None:
    first, second = (str(item["id"]) for item in reported(trail, "requests"))

    def status_of(id_: str) -> object:
        return next(item["status"] for item in reported(trail, "requests") if item["id"] == id_)

    for id_, label in ((first, "Approve"), (second, "Deny")):
        tab.open(f"/requests/{id_}")
        with tab.page.expect_navigation():  # The page shows itself anew, and would interrupt the next one.
            decide(tab, label, "agreed in the meeting")
        wait_until(lambda id_=id_: status_of(id_) != "pending", "the decision to be in the trail")
    states = {str(item["id"]): item["status"] for item in reported(trail, "requests")}
    assert (states[first], states[second]) == ("granted", "denied")
    grant = next(item for item in reported(trail, "grants") if item["request"] == first)
    approval = grant["approvals"][0]  # type: ignore[index]
    assert (approval["name"], approval["known_by"], approval["method"]) == ("root", "link", "service")
    assert approval["signature"] is not None


def test_dragging_the_slider_changes_what_is_compared_and_the_address(tab: Tab, trail: Path) -> None:
    page = tab.open(pages_of(trail)["environment"])
    page.wait_for_timeout(500)
    before = page.get_by_role("status").inner_text()
    box = page.locator(".nicegui-echart svg").first.bounding_box()
    assert box is not None
    address = page.url
    # The slider lies 8 above the lower edge, 32 high; its left end is at the last point but one.
    middle = box["y"] + box["height"] - 24
    # Both handles are narrow and as high as the slider.
    handle = page.evaluate(
        """() => { const paths = [...document.querySelector('.nicegui-echart svg').querySelectorAll('path')];
        const boxes = paths.map(path => path.getBoundingClientRect()).filter(b => b.height > 28 && b.width > 3 && b.width < 10);
        return boxes.length ? Math.min(...boxes.map(b => b.left + b.width / 2)) : null; }"""
    )
    assert handle is not None
    page.mouse.move(handle, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 46, middle, steps=8)
    page.mouse.up()
    expect(page.get_by_role("status")).not_to_have_text(before)
    page.wait_for_timeout(500)
    after = page.get_by_role("status").inner_text()
    assert len(after.splitlines()) > len(before.splitlines())
    assert page.url != address
    assert "from=" in page.url
    tab.open(page.url.removeprefix(tab.served.address))
    page.wait_for_timeout(500)
    assert page.get_by_role("status").inner_text() == after, "the address alone shows the same"


def test_the_bill_that_is_offered_is_the_command_lines_and_valid(tab: Tab, trail: Path, tmp_path: Path) -> None:
    page = tab.open(pages_of(trail)["environment"])
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Bill of materials (CycloneDX)").click()
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert path.name.endswith(".cdx.json")
    prefix = page.locator("#content .text-h6").first.inner_text()
    words = [sys.executable, "-m", "envtrail", "--data-dir", str(trail), "sbom", prefix, "--validate"]
    made = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert json.loads(path.read_text()) == json.loads(made)


def test_a_session_shows_its_processes_as_they_began(tab: Tab, trail: Path) -> None:
    page = tab.open(pages_of(trail)["session"])
    text = page.locator("main pre").first.inner_text()
    moments = [float(line.split(" s ")[0]) for line in text.splitlines() if " s  " in line]
    assert len(moments) > 3
    assert moments == sorted(moments)
    assert "train.py" in text


def test_the_overview_counts_what_the_command_line_counts(tab: Tab, trail: Path) -> None:
    page = tab.open("/?since=400d")
    page.wait_for_timeout(1000)
    cells = page.locator("main .panels table").nth(0).locator("tbody tr").all_inner_texts()
    people = reported(trail, "top", "people", "--since", "400d ago")
    shown = [tuple(row.split("\t")) for row in cells]
    assert shown == [(str(one["user"]), *(str(one[name]) for name in ("operations", "changes", "runs"))) for one in people[:8]]
