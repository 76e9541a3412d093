"""Who did it, live: through changes of uid, below a hub's server, below an agent, and when somebody lies about it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, become, open_folders, running_agent, wait_until
from wheels import make_wheel

pytestmark = pytest.mark.kernel

AUID, OTHER = 61070, 61071
CONTAINER = "0123456789abcdef" * 4
PRIVATE_ACCOUNTS = ["unshare", "--mount", "/bin/sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"']
"""The agent sees its own accounts; the machine's are not touched."""
ACCOUNTS = Path("/etc/passwd").read_text()


class Lab:
    def __init__(self, home: Path, agent: RunningAgent, passwd: Path) -> None:
        self.home = home
        self.agent = agent
        self.passwd = passwd
        self.count = 0

    def script(self, name: str, text: str) -> str:
        path = self.home / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def install(self, *before: str, uid: int = AUID, **variables: str) -> dict[str, object]:
        """Install a new package, below the given words, in a session of the test user; its operation."""
        self.count += 1
        name = f"person{self.count}"
        wheel = make_wheel(self.home / "wheels", name, "1.0")
        pip = [str(self.home / "env/bin/pip"), "install", "-q", "--no-index", str(wheel)]
        environment = {"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(self.home), **variables}
        done = subprocess.run(
            [*before, *pip], preexec_fn=become(AUID, uid=uid), cwd=self.home, env=environment, check=False, capture_output=True
        )
        assert done.returncode == 0, done.stderr

        def found() -> list[dict[str, object]]:
            return [item for item in self.agent.operations() if name in str(item["argv"])]

        (operation,) = wait_until(found, f"the operation on {name}")  # type: ignore[misc]
        return operation


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("people")
    open_folders(folder)
    home = folder / "home"
    home.mkdir()
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    subprocess.run(["chmod", "-R", "a+rwX", str(home)], check=True)
    passwd = folder / "passwd"
    passwd.write_text(ACCOUNTS + f"lena:x:{AUID}:{AUID}::/:/bin/sh\n")
    through = [*PRIVATE_ACCOUNTS, str(passwd)]
    with running_agent(folder, AUID, roots=[home], through=through, ENVTRAIL_INTERPRET_NAMES_INTERVAL_S="1") as agent:
        time.sleep(1)
        yield Lab(home, agent, passwd)


def actor(operation: dict[str, object]) -> dict[str, object]:
    found = operation["actor"]
    assert isinstance(found, dict)
    return found


def test_a_person_by_login(lab: Lab) -> None:
    who = actor(lab.install())
    assert (who["auid"], who["method"], who["confidence"], who["class"], who["chain"]) == (AUID, "auid", "certain", "human", [])


def test_changes_of_uid_are_a_chain(lab: Lab) -> None:
    who = actor(lab.install("/bin/sh", "-c", f'exec setpriv --reuid {OTHER} --clear-groups "$@"', "sh", uid=0))
    assert (who["auid"], who["uid"], who["method"]) == (AUID, OTHER, "auid")
    assert who["chain"] == ["root", str(OTHER)]


def test_an_agent_acts_for_its_person(lab: Lab) -> None:
    claude = lab.script("claude", '#!/bin/sh\n"$@"\nexit $?\n')
    who = actor(lab.install(claude))
    assert (who["auid"], who["class"], who["program"]) == (AUID, "agent", "claude")


def test_below_a_hub_that_an_admin_started_the_person_is_the_hubs(lab: Lab) -> None:
    # The hub, as root in the admin's session, gives the server its user's uid and name; what the user sets below it says nothing.
    server = lab.script("jupyterhub-singleuser", '#!/bin/sh\nsleep 0.3\nJUPYTERHUB_USER=mallory "$@"\nexit $?\n')
    hub = lab.script(
        "jupyterhub", f'#!/bin/sh\nJUPYTERHUB_USER=dora setpriv --reuid {OTHER} --clear-groups {server} "$@"\nexit $?\n'
    )
    who = actor(lab.install(hub, uid=0))
    assert (who["name"], who["method"], who["confidence"], who["class"]) == ("dora", "jupyterhub", "strong", "human")
    assert (who["auid"], who["uid"]) == (AUID, OTHER)


def test_a_hub_of_another_account_names_nobody(lab: Lab) -> None:
    server = lab.script("jupyterhub-singleuser", '#!/bin/sh\nsleep 0.3\n"$@"\nexit $?\n')
    hub = lab.script("jupyterhub", f'#!/bin/sh\nJUPYTERHUB_USER=mallory {server} "$@"\nexit $?\n')
    who = actor(lab.install("/bin/sh", "-c", f'setpriv --reuid {OTHER} --clear-groups {hub} "$@"; exit $?', "sh", uid=0))
    assert (who["name"], who["method"], who["confidence"], who["claimed"]) == ("lena", "auid", "weak", "mallory")


def test_a_person_who_starts_a_server_of_their_own_is_that_person(lab: Lab) -> None:
    server = lab.script("jupyterhub-singleuser", '#!/bin/sh\nsleep 0.3\n"$@"\nexit $?\n')
    who = actor(lab.install(server, JUPYTERHUB_USER="eve"))
    assert (who["auid"], who["method"], who["confidence"], who["claimed"]) == (AUID, "auid", "weak", "eve")
    assert who["name"] != "eve"


def test_variables_of_ones_own_name_nobody(lab: Lab) -> None:
    who = actor(lab.install(JUPYTERHUB_USER="eve", GITHUB_ACTIONS="true", GITHUB_ACTOR="eve"))
    assert (who["method"], who["confidence"], who["job"]) == ("auid", "certain", None)
    assert who["name"] != "eve"


@pytest.mark.parametrize("program", ["mcp-server-of-files", "notes-mcp-server"])
def test_a_server_of_tools_for_agents_is_known_by_the_pattern_of_its_name(lab: Lab, program: str) -> None:
    who = actor(lab.install(lab.script(program, '#!/bin/sh\n"$@"\nexit $?\n')))
    assert (who["auid"], who["class"], who["program"]) == (AUID, "agent", program)


def test_a_user_namespace_does_not_change_the_person(lab: Lab) -> None:
    who = actor(lab.install("unshare", "--user", "--map-root-user"))
    assert (who["auid"], who["uid"], who["method"]) == (AUID, AUID, "auid")


def test_a_runner_that_an_admin_started_says_whose_job_it_is_and_names_nobody(lab: Lab) -> None:
    # Root in the admin's session starts the runner under a separate account; the job sets other variables than it was given.
    job = lab.script("step.sh", '#!/bin/sh\nsleep 0.3\nGITHUB_ACTOR=mallory GITHUB_RUN_ID=1 "$@"\nexit $?\n')
    given = "GITHUB_ACTIONS=true GITHUB_RUN_ID=77 GITHUB_REPOSITORY=x/y GITHUB_ACTOR=carol"
    worker = lab.script("Runner.Worker", f'#!/bin/sh\n{given} {job} "$@"\nexit $?\n')
    who = actor(lab.install("/bin/sh", "-c", f'setpriv --reuid {OTHER} --clear-groups {worker} "$@"; exit $?', "sh", uid=0))
    assert (who["name"], who["method"], who["confidence"], who["claimed"]) == ("lena", "auid", "weak", "carol")
    assert who["job"] == {"system": "github-actions", "id": "77", "pipeline": "x/y", "person": "carol"}
    assert who["auid"] == AUID


def test_a_runner_of_ones_own_names_nobody_else(lab: Lab) -> None:
    worker = lab.script("Runner.Worker", '#!/bin/sh\nGITHUB_ACTIONS=true GITHUB_ACTOR=eve "$@"\nexit $?\n')
    who = actor(lab.install(worker))
    assert (who["auid"], who["method"], who["confidence"]) == (AUID, "auid", "weak")
    assert who["name"] != "eve"


@pytest.fixture
def container_cgroup() -> Iterator[Path]:
    """A cgroup with a path as docker makes it, in a hierarchy that limits nothing."""
    roots = [root for root in map(Path, ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup")) if (root / "cgroup.procs").exists()]
    if not roots:
        pytest.skip("no hierarchy of cgroups can be written here")
    folder = roots[0] / "docker" / CONTAINER
    docker_was_there = folder.parent.exists()
    folder.mkdir(parents=True)
    yield folder
    wait_until(lambda: not (folder / "cgroup.procs").read_text(), "the end of what ran in the cgroup")
    folder.rmdir()
    if not docker_was_there:
        folder.parent.rmdir()


def test_the_login_of_a_container_engine_is_not_the_person_inside(lab: Lab, container_cgroup: Path) -> None:
    enter = f'echo $$ > {container_cgroup}/cgroup.procs && exec unshare --user --map-user=1000 "$@"'
    who = actor(lab.install("/bin/sh", "-c", enter, "sh", uid=0))
    assert (who["name"], who["method"], who["confidence"]) == (None, "container", "weak")
    assert (who["auid"], who["uid"]) == (AUID, 0)
    container = who["container"]
    assert isinstance(container, dict)
    assert (container["engine"], container["id"], container["uid"]) == ("docker", CONTAINER, 1000)


def test_a_renamed_account_has_the_name_of_each_moment(lab: Lab) -> None:
    before = lab.install()
    lab.passwd.write_text(ACCOUNTS + f"mona:x:{AUID}:{AUID}::/:/bin/sh\n")
    time.sleep(1.2)
    after = lab.install()
    assert (actor(before)["name"], actor(after)["name"]) == ("lena", "mona")
    assert f"lena (uid {AUID}, now mona, " in lab.agent.ask("show", str(before["id"])).stdout
    assert f"mona (uid {AUID}, session" in lab.agent.ask("show", str(after["id"])).stdout


def test_explain_says_how(lab: Lab) -> None:
    operation = lab.install()
    said = lab.agent.ask("explain", str(operation["id"])).stdout
    for words in (
        "tool: pip",
        "the login uid, kept through su and sudo",
        "the prefix of the program that was called",
        "exit code 0",
    ):
        assert words in said
    by_pid = lab.agent.ask("explain", str(operation["pid"])).stdout
    assert "pip is to install in" in by_pid
    assert str(operation["id"]) in by_pid
    assert lab.agent.ask("explain", "4194303").returncode == 1
