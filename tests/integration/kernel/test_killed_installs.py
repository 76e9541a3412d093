"""Installs that are killed anywhere: what the trail says of the environment is what lies on the disk, and nothing is unexplained."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, become, open_folders, running_agent, wait_until
from wheels import make_wheel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

AUID = 61096
POINTS = 20
MEMBERS = 12


class Lab:
    def __init__(self, home: Path, agent: RunningAgent) -> None:
        self.home = home
        self.agent = agent
        self.prefix = home / "env"

    def start(self, version: str, *options: str) -> subprocess.Popen[bytes]:
        """Upgrade or downgrade a dozen packages in one command."""
        wanted = [f"member-{at:02}=={version}" for at in range(MEMBERS)]
        words = [
            str(self.prefix / "bin/pip"),
            "install",
            "-q",
            "--no-index",
            f"--find-links={self.home}/wheels",
            *options,
            *wanted,
        ]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return subprocess.Popen(words, preexec_fn=become(AUID), env=environment, cwd=self.home, stderr=subprocess.DEVNULL)

    def operations(self) -> list[dict[str, object]]:
        return [one for one in self.agent.operations("--env", str(self.prefix)) if one["tool"] == "pip"]

    def reported(self, *words: str) -> Counter[tuple[str, str]]:
        """What the trail says is there: an install that was killed may leave a package twice."""
        shown = json.loads(self.agent.ask("env", "show", str(self.prefix), *words, "--json").stdout)
        return Counter((item["name"], item["version"]) for item in shown["packages"])

    def there(self) -> Counter[tuple[str, str]]:
        """What is there, by a reading of our own."""
        found: Counter[tuple[str, str]] = Counter()
        for metadata in (self.prefix / "lib").glob("python3*/site-packages/[!~]*.dist-info/METADATA"):
            text = metadata.read_text()
            name, version = (re.search(rf"^{field}: (.+)$", text, re.MULTILINE) for field in ("Name", "Version"))
            if name and version:
                found[name[1].lower().replace("_", "-"), version[1]] += 1
        return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("killed")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    for version in ("1.0", "2.0"):
        for at in range(MEMBERS):
            make_wheel(home / "wheels", f"member-{at:02}", version, scripts={f"member{at}": f"member_{at:02}:main"})
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    with running_agent(folder, AUID, roots=[home]) as agent:
        wait_until(lambda: str(home / "env") in agent.ask("env", "list").stdout, "the environment to be known")
        yield Lab(home, agent)


def test_at_twenty_points_the_trail_says_what_the_disk_shows(lab: Lab) -> None:
    started = time.monotonic()
    assert lab.start("1.0").wait() == 0
    took_s = time.monotonic() - started
    wait_until(lambda: len(lab.operations()) == 1, "the first install")
    chance = random.Random(20)
    killed = 0
    for point in range(POINTS):
        process = lab.start("2.0" if point % 2 == 0 else "1.0")
        time.sleep(took_s * chance.uniform(0.3, 1.0))
        process.send_signal(signal.SIGKILL)
        code = process.wait()
        killed += code == -signal.SIGKILL
        wait_until(lambda count=point + 2: len(lab.operations()) == count, f"operation {point + 2}")  # type: ignore[misc]
        last = lab.operations()[-1]
        # After a kill at the worst moment a package has no RECORD, and pip itself refuses to take it out.
        expected = {-signal.SIGKILL: ("killed", 9), 0: ("success", None)}.get(code, ("failure", None))
        assert (last["outcome"], last["signal"]) == expected, point
        assert lab.reported() == lab.there(), point
    assert killed >= POINTS // 2


def test_all_of_it_is_explained_and_the_last_word_is_right(lab: Lab) -> None:
    assert lab.start("2.0", "--ignore-installed").wait() == 0
    wait_until(lambda: lab.operations()[-1]["outcome"] == "success", "the last install")
    assert lab.reported() == lab.there()
    assert {(f"member-{at:02}", "2.0") for at in range(MEMBERS)} <= set(lab.there())
    assert json.loads(lab.agent.ask("status", "--json").stdout)["trail"]["unexplained"] == 0


def test_every_state_on_the_way_can_be_told_again(lab: Lab) -> None:
    """The changes of the operations, one after the other, lead from each state to the next."""
    for operation in lab.operations():
        state = lab.reported("--at", f"{operation['id']}^")
        for change in operation["changes"] or ():  # type: ignore[attr-defined]
            for side, step in (("before", -1), ("after", 1)):
                if change[side]:
                    state[change["name"], change[side]["version"]] += step
        assert +state == lab.reported("--at", str(operation["id"])), operation["id"]
