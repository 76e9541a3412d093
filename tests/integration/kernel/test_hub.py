"""A real JupyterHub with its proxy and a local spawner: root's hub names its people, a service's own account only claims to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, open_folders, running_agent, wait_until
from forms_lab.lab import Lab, ensure_lab
from jupyter_lab import give_kernel
from jupyter_lab.hub import PRIVATE_ACCOUNTS, Hub, running_hub
from wheels import make_wheel

pytestmark = [pytest.mark.kernel, pytest.mark.conda, pytest.mark.timeout(600)]

AUID, SERVICE = 61080, 961
PEOPLE = {"dora": 61081, "eli": 61082}
Document = dict[str, object]


class Place:
    """What a hub's people have done."""

    def __init__(self, folder: Path, agent: RunningAgent, *, is_roots: bool) -> None:
        self.is_roots = is_roots
        self.folder = folder
        self.agent = agent

    def install_of(self, user: str) -> Document:
        """The one operation on the package that this person has installed."""
        (found,) = [one for one in self.agent.operations() if f"of-{user}" in str(one["argv"])]
        return found


def _enter() -> None:
    # As an administrator who has become root: `systemctl` would leave the login unset, which these tests' rules do not hold.
    Path("/proc/self/loginuid").write_text(str(AUID))


def _drive(folder: Path, spawner: str, account: Callable[[str], int], through: list[str]) -> Iterator[Place]:
    open_folders(folder)
    lab = ensure_lab()
    passwd = folder / "passwd"
    lines = [f"{name}:x:{uid}:{uid}::{folder}/homes/{name}:/bin/sh\n" for name, uid in PEOPLE.items()]
    passwd.write_text(Path("/etc/passwd").read_text() + "".join(lines) + f"hub:x:{SERVICE}:{SERVICE}::{folder}/hub:/bin/sh\n")
    for user in PEOPLE:
        _make_home(lab, folder / "homes" / user, user, account(user))
    private = [*PRIVATE_ACCOUNTS, str(passwd)]
    with running_agent(folder, AUID, roots=[folder / "homes"], through=private) as agent:
        with running_hub(lab, folder, spawner=spawner, passwd=passwd, enter=_enter, through=through) as hub:
            for user in PEOPLE:
                hub.start_server(user)
            for user in PEOPLE:
                _install(hub, folder / "homes" / user, user)
            for user in PEOPLE:
                hub.stop_server(user)
        wait_until(lambda: len(agent.operations()) >= len(PEOPLE), "the installs", timeout_s=40)
        yield Place(folder, agent, is_roots=not through)


def _make_home(lab: Lab, home: Path, user: str, uid: int) -> None:
    home.mkdir(parents=True)
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    make_wheel(home / "wheels", f"of-{user}", "1.0")
    give_kernel(lab, home, home / "env", "exp")
    subprocess.run(["chown", "-R", f"{uid}:{uid}", str(home)], check=True)


def _install(hub: Hub, home: Path, user: str) -> None:
    cells = hub.run_cells(
        user, "exp", "import os; print(os.getuid())", f"%pip install --no-index --find-links={home}/wheels of-{user}"
    )
    assert [cell["status"] for cell in cells] == ["ok", "ok"], cells
    assert int(cells[0]["output"]) == os.stat(home).st_uid


def _own_account(user: str) -> int:
    return PEOPLE[user]


def _service(_: str) -> int:
    return SERVICE


AS_SERVICE = ["setpriv", "--reuid", str(SERVICE), "--regid", str(SERVICE), "--clear-groups"]
KINDS = {
    "own accounts": ("jupyterhub.spawner.LocalProcessSpawner", _own_account, []),
    "one account": ("simple", _service, AS_SERVICE),
}


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The default (a hub of root, a server under each person's own account), and a service's account for all."""
    spawner, account, through = KINDS[request.param]
    yield from _drive(tmp_path_factory.mktemp("hub"), spawner, account, through)


@pytest.mark.parametrize("user", PEOPLE)
def test_the_person_is_the_hubs(place: Place, user: str) -> None:
    operation = place.install_of(user)
    actor = operation["actor"]
    assert isinstance(actor, dict)
    account = (place.folder / "homes" / user).stat().st_uid
    named = (user, "jupyterhub", "strong", None) if place.is_roots else (None, "auid", "weak", user)
    assert (actor["name"], actor["method"], actor["confidence"], actor["claimed"]) == named
    assert actor["uid"] == account
    assert actor["class"] == "human"
    assert operation["environment"] == {"prefix": f"{place.folder}/homes/{user}/env", "kind": "venv"}
    assert operation["outcome"] == "success"


def test_nothing_is_the_admins_who_started_the_hub(place: Place) -> None:
    named = sorted(str(one["actor"]["name"] or one["actor"]["claimed"]) for one in place.agent.operations())  # type: ignore[index]
    assert named == sorted(PEOPLE)
