"""The web UI over a live agent: what people really typed stays text, what happens is there within a second, decisions reach the trail."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec
import pytest
from audit_lab import RunningAgent, become, open_folders, run_as, running_agent, wait_until
from browser_lab import Tab, chromium
from playwright.sync_api import Browser, expect
from web_lab import Page, serve_page
from wheels import make_wheel

pytestmark = [pytest.mark.kernel, pytest.mark.browser, pytest.mark.timeout(240)]

AUID = 61107
MARK = "owned-by-what-was-typed"
EVIL = f"<script>document.title='{MARK}'</script>"
EVIL_NAME = f"<img src=x onerror=document.title='{MARK}'>"
"""Without a slash: of a file, and of a folder."""


POLICY = """version: 1
rules:
  - name: asked-for-first
    verdict: require-approval
    where: {environments: [env]}
"""


class Lab:
    def __init__(self, agent: RunningAgent, home: Path, served: Page) -> None:
        self.agent, self.home, self.served = agent, home, served


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("page")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    for name in ("env", EVIL_NAME):
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / name)], check=True)
    for version in ("1.0", "2.0", "3.0"):
        make_wheel(home / "wheels", "leaf", version)
    (home / f"{EVIL_NAME}.py").write_text("print('hello')\n")
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    (folder / "policy.d").mkdir()
    (folder / "policy.d" / "10.yaml").write_text(POLICY)
    with running_agent(folder, AUID, roots=[home], ENVTRAIL_POLICY_PATH=str(folder / "policy.d")) as agent:
        wait_until(lambda: agent.ask("env", "list").stdout.count("venv") >= 2, "the environments to be known")
        with serve_page(agent.data_dir, **agent.environment) as served:
            served.enter()
            yield Lab(agent, home, served)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab(browser: Browser, lab: Lab) -> Iterator[Tab]:
    made = Tab(browser, lab.served)
    yield made
    made.close()


def install(lab: Lab, *words: str, env: str = "env") -> None:
    pip = [
        str(lab.home / env / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        f"--find-links={lab.home / 'wheels'}",
    ]
    run_as(AUID, [*pip, *words], cwd=lab.home)


def test_what_was_really_typed_does_nothing_on_any_page_that_shows_it(lab: Lab, tab: Tab) -> None:
    install(lab, EVIL)
    install(lab, "leaf==1.0", env=EVIL_NAME)
    run_as(AUID, [str(lab.home / "env" / "bin" / "python"), f"{EVIL_NAME}.py"], cwd=lab.home)
    found = wait_until(lambda: (made := lab.agent.operations()) and len(made) >= 2 and made, "both operations")
    assert isinstance(found, list)
    ran = wait_until(
        lambda: [json.loads(line) for line in lab.agent.ask("runs", "--json").stdout.splitlines() if EVIL_NAME in line], "the run"
    )
    assert isinstance(ran, list)
    prefix = str(lab.home / EVIL_NAME)
    paths = [
        "/",
        "/operations",
        *(f"/operations/{item['id']}" for item in found),
        "/runs",
        f"/runs/{ran[0]['id']}",
        "/environments",
        f"/environment?prefix={quote(prefix, safe='')}",
        f"/person?name={AUID}",
        "/trail",
    ]
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    for path in paths:
        page = tab.open(path)
        page.wait_for_timeout(300)
        assert MARK in page.locator("#content").inner_text(), path
        assert MARK not in page.title(), path
        assert page.locator("img[onerror]").count() == 0
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))} == {
        urlsplit(lab.served.address).netloc
    }


def test_what_happens_is_on_the_open_page_at_once(lab: Lab, tab: Tab) -> None:
    page = tab.open("/")
    log = page.get_by_role("log")
    before = log.inner_text()
    assert "leaf==2.0" not in before
    install(lab, "leaf==2.0")
    ended = time.monotonic()
    expect(log).to_contain_text("leaf==2.0", timeout=10_000)
    # An operation is judged once its environment was read: that is the agent's time, the web UI's is below a second of it.
    assert time.monotonic() - ended < 5


def test_an_approval_given_on_the_page_is_in_the_trail_with_who_gave_it(lab: Lab, tab: Tab) -> None:
    decision = {
        "do": "ask",
        "prefix": str(lab.home / "env"),
        "action": "install",
        "packages": ["leaf"],
        "sources": [str(lab.home / "wheels")],
        "until_ms": 1 << 47,
        "why": "the new model",
    }
    words = msgspec.json.encode({"method": "decide", "decision": decision}) + b"\n"
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(sys.stdin.buffer.read()); print(s.makefile('rb').readline().decode())"
    )
    python = ["/usr/bin/python3", "-c", code, lab.agent.environment["ENVTRAIL_SERVICE_SOCKET"]]
    reported = subprocess.run(python, input=words, preexec_fn=become(AUID), capture_output=True, check=True).stdout
    page = tab.open(f"/requests/{json.loads(reported)['id']}")
    page.get_by_role("button", name="Approve", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("agreed in the meeting")
    dialog.get_by_role("button", name="Approve", exact=True).click()
    grant = wait_until(lambda: lab.agent.ask("grants", "--json").stdout.strip(), "the grant")
    (approval,) = json.loads(str(grant))["approvals"]
    assert (approval["known_by"], approval["why"]) == ("link", "agreed in the meeting")
    assert "right" in lab.agent.ask("grants", "--verify").stdout
    install(lab, "leaf==3.0")
    covered = wait_until(lambda: [item for item in lab.agent.operations() if item["grant"]], "the operation that it covers")
    assert isinstance(covered, list)
    assert covered[0]["grant"] == json.loads(str(grant))["id"]
    assert any(json.loads(line)["by"]["method"] == "link" for line in lab.agent.ask("access-log", "--json").stdout.splitlines())
