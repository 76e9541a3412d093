"""Everybody can use the web UI: WCAG A and AA by axe-core, the keyboard alone, the width of a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_lab import Tab, chromium, filled_trail, pages_of
from playwright.sync_api import Browser
from web_lab import Page, serve_page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
NAMES = ["overview", "operations", "operation", "environments", "environment", "people", "person", "runs", "run", "sessions", "session", "findings", "finding", "requests", "request", "trail", "looks", "health", "settings"]  # fmt: skip


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled_trail(tmp_path_factory.mktemp("accessible"))


@pytest.fixture(scope="module")
def served(trail: Path) -> Iterator[Page]:
    with serve_page(trail) as page:
        page.enter()
        yield page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", params=[("en", "light", 1280), ("zh", "dark", 390)], ids=lambda param: "-".join(map(str, param)))
def tab(browser: Browser, served: Page, request: pytest.FixtureRequest) -> Iterator[Tab]:
    language, theme, width = request.param
    made = Tab(browser, served, width=width, language=language, theme=theme)
    yield made
    made.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_breaks_no_rule_and_fits_its_window(tab: Tab, trail: Path, name: str) -> None:
    page = tab.open(pages_of(trail)[name])
    page.wait_for_timeout(400)
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}}).response["violations"]
    assert [(item["id"], [node["html"][:200] for node in item["nodes"][:3]]) for item in found] == []
    assert page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth"), "no sideways scrolling of the page"


def test_the_list_of_pages_is_whole(trail: Path) -> None:
    assert list(pages_of(trail)) == NAMES


def test_the_login_breaks_no_rule(browser: Browser, served: Page) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{served.address}/login")
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}}).response["violations"]
    assert [item["id"] for item in found] == []
    context.close()


def test_the_keyboard_alone_is_enough(browser: Browser, served: Page, trail: Path) -> None:
    tab = Tab(browser, served)
    page = tab.open(pages_of(trail)["operations"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0, "it is shown when it has the focus"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.tagName") == "INPUT"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    seen = set()
    wanted = {"/environments", "/settings"}
    for _ in range(500):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.getAttribute('href')"))
        if wanted <= seen:
            break
    assert wanted <= seen
    first = page.locator("main td a").first
    first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/operations/*")
    assert page.locator("main h1").inner_text() == "Operation"
    tab.close()
