"""The recorder, the inspector and the agent as their units run them: confined, each by itself, and notifying who started them."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from audit_lab import audit_turn, become, open_folders, run_as, wait_until
from logs import pip_log
from sign_in_lab import PASSWORD, machine_account, pam_service
from unit_lab import UNITS, confined, read_unit
from wheels import make_wheel

from envtrail.inspect.client import ServedInspector, check_account
from envtrail.inspect.protocol import ProbeRights, ReadingRefused, RightsProbed
from envtrail.tasks.owners import settle_folder

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

AUID = 61050
RECORDER, INSPECTOR, AGENT = "envtrail-recorder.service", "envtrail-inspector.service", "envtrail-agent.service"
ACCOUNT = "envtrail-unit-a"
CAP_SETGID, CAP_SETUID, CAP_KILL, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN = 6, 7, 5, 2, 12, 19, 21
CAP_AUDIT_CONTROL, CAP_AUDIT_READ = 30, 37


def rights_of(pid: int) -> tuple[set[int], set[int]]:
    """Uids and capabilities of all of its threads."""
    uids: set[int] = set()
    sets: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
        assert found["NoNewPrivs"] == "1"
        assert found["CapPrm"] == found["CapEff"]
        uids |= set(map(int, found["Uid"].split()))
        sets |= {number for number in range(64) if int(found["CapEff"], 16) >> number & 1}
    return uids, sets


def written_by(pid: int) -> set[str]:
    """Files that a process has open for writing."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        path = os.readlink(link)
        flags = next(
            line for line in Path(f"/proc/{pid}/fdinfo/{link.name}").read_text().splitlines() if line.startswith("flags:")
        )
        if path.startswith("/") and int(flags.split()[1], 8) & (os.O_WRONLY | os.O_RDWR):
            found.add(path)
    return found


class Unit:
    """One process, as systemd starts it."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str], *, uid: int | None, gid: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = folder / f"{name}.notify"
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))
        path.chmod(0o666)
        self._socket.setblocking(False)
        self.said: list[str] = []
        unit = read_unit(UNITS / name)
        words = [word.replace("/run/envtrail-inspector", f"{folder}/inspector") for word in unit["ExecStart"][0].split()[1:]]
        command = [*confined(unit, uid=uid, gid=gid), sys.executable, "-m", "envtrail", "-v", *words]
        self.log = folder / f"{name}.log"
        variables = {**environment, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        wait_until(self.is_ready, f"that {name} is ready", timeout_s=60)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return any(line.startswith("READY=1\n") for line in self.heard())

    def heard(self) -> list[str]:
        try:
            while True:
                self.said.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return self.said

    def rights(self) -> tuple[set[int], set[int]]:
        return rights_of(self.process.pid)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        code = self.process.wait(30)
        self.heard()
        return code

    def close(self) -> None:
        self._socket.close()


class Machine:
    """The units on one trail."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.trail = folder, folder / "home", folder / "trail"
        account = pwd.getpwnam(ACCOUNT)
        self.uid, self.gid = account.pw_uid, account.pw_gid
        settle_folder(self.trail, account=ACCOUNT, group=ACCOUNT)
        # What RuntimeDirectory= makes.
        (folder / "inspector").mkdir(mode=0o750)
        os.chown(folder / "inspector", 0, self.gid)
        (folder / "run").mkdir(mode=0o755)
        os.chown(folder / "run", self.uid, self.gid)
        log = folder / "audit.log"
        log.write_text(pip_log(["install", "older"], pid=200, serial=20))
        self.environment = {
            **os.environ,
            "ENVTRAIL_DATA_DIR": str(self.trail),
            "ENVTRAIL_SERVICE_SOCKET": str(folder / "run/envtrail.sock"),
            "ENVTRAIL_CAPTURE_AUDIT_LOG": str(log),
            "ENVTRAIL_RULES_ONLY_AUIDS": str(AUID),
            "ENVTRAIL_RULES_ROOTS": "",
            "ENVTRAIL_RULES_VENV_ROOTS": str(self.home),
            "ENVTRAIL_RULES_PYTHONS": "/usr/bin/python3*",
            "ENVTRAIL_INTERPRET_ENVIRONMENTS_INTERVAL_S": "1",
        }
        self.units: list[Unit] = []

    def start(self, name: str) -> Unit:
        uid = self.uid if name == AGENT else None
        self.units.append(Unit(name, self.folder, self.environment, uid=uid, gid=self.gid))
        return self.units[-1]

    def start_all(self) -> tuple[Unit, Unit, Unit]:
        return self.start(RECORDER), self.start(INSPECTOR), self.start(AGENT)

    def give_state(self) -> None:
        """What StateDirectory= of the agent does."""
        for path in (self.trail / "state", *(self.trail / "state").iterdir()):
            os.chown(path, self.uid, self.gid)

    def environments_of(self, uid: int) -> list[str]:
        """What the service shows a user of the machine."""
        code = (
            "import json, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            's.sendall(b\'{"method": "environments"}\\n\');'
            "print([line['prefix'] for line in map(json.loads, s.makefile('rb')) if 'prefix' in line])"
        )
        words = ["/usr/bin/python3", "-c", code, str(self.folder / "run/envtrail.sock")]
        done = subprocess.run(words, preexec_fn=become(uid), capture_output=True, text=True, check=True)
        return list(json.loads(done.stdout.replace("'", '"')))

    def try_as_agent(self, script: str) -> str:
        """The numbers of those lines of a shell script that succeed for the agent's account."""
        lines = "\n".join(f"({line}) >/dev/null 2>&1 && echo {number}" for number, line in enumerate(script.strip().splitlines()))
        words = ["/bin/sh", "-c", lines]
        done = subprocess.run(
            words, user=self.uid, group=self.gid, extra_groups=[], cwd="/", capture_output=True, text=True, check=False
        )
        return "".join(done.stdout.split())

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "envtrail", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def installs(self) -> list[str]:
        found = [json.loads(line) for line in self.ask("log", "--json", "--reverse").stdout.splitlines()]
        return [one["argv"][-1] for one in found if one["tool"] == "pip" and one["ended"]]

    def install(self, version: str) -> None:
        words = [
            str(self.home / "env/bin/pip"),
            "install",
            "-q",
            "--no-index",
            f"--find-links={self.home}/wheels",
            f"member=={version}",
        ]
        assert run_as(AUID, words, cwd=self.home).returncode == 0


@pytest.fixture(scope="module", autouse=True)
def account() -> Iterator[None]:
    """The agent's, with the group that joins it to the recorder."""
    subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", ACCOUNT], check=True)
    yield
    subprocess.run(["userdel", ACCOUNT], check=True)


@contextmanager
def machine_in(folder: Path) -> Iterator[Machine]:
    made = Machine(folder)
    with audit_turn():
        try:
            yield made
        finally:
            for unit in reversed(made.units):
                if unit.process.poll() is None:
                    unit.end()
                unit.close()
            made.ask("rules", "remove")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    open_folders(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(home / "env")], check=True)
    for version in ("1.0", "2.0", "3.0"):
        make_wheel(home / "wheels", "member", version)
    subprocess.run(["chown", "-R", f"{AUID}:{AUID}", str(home)], check=True)
    with machine_in(tmp_path) as made:
        yield made


def test_each_unit_has_its_rights_alone_and_the_agent_comes_and_goes(machine: Machine) -> None:
    recorder = machine.start(RECORDER)
    status = next(line for line in recorder.said if line.startswith("READY=1"))
    loaded, _, expected = status.partition(", ")[2].partition(" rules")[0].partition(" of ")
    assert int(loaded) == int(expected) > 0, "ready before its rules are in the kernel"
    inspector, agent = machine.start(INSPECTOR), machine.start(AGENT)
    assert recorder.rights() == (
        {0},
        {CAP_AUDIT_CONTROL, CAP_AUDIT_READ, CAP_NET_ADMIN, CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_ADMIN},
    )
    assert inspector.rights() == ({0}, {CAP_DAC_READ_SEARCH, CAP_SETUID, CAP_SETGID, CAP_KILL})
    assert agent.rights() == ({machine.uid}, set())
    assert machine.installs() == ["older"], "the first start imports what auditd's log still holds"
    machine.install("1.0")
    wait_until(lambda: machine.installs()[1:] == ["member==1.0"], "the first install", timeout_s=60)
    assert {str(Path(path).parent) for path in written_by(agent.process.pid) if path.startswith(str(machine.trail))} == {
        str(machine.trail / "state")
    }
    assert not Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children").read_text()

    agent.end(signal.SIGKILL)
    machine.install("2.0")
    agent = machine.start(AGENT)
    wait_until(lambda: machine.installs()[1:] == ["member==1.0", "member==2.0"], "what was done meanwhile", timeout_s=60)

    assert agent.end() == 0, agent.log.read_text()
    assert agent.said[-1] == "STOPPING=1"
    machine.install("3.0")
    agent = machine.start(AGENT)
    wait_until(lambda: len(machine.installs()) == 4, "what was done after it was stopped", timeout_s=60)
    assert [json.loads(line) for line in machine.ask("gaps", "--json").stdout.splitlines()] == []
    assert "lean" in machine.ask("status").stdout
    for unit in (recorder, inspector, agent):
        wait_until(lambda heard=unit.heard: heard().count("WATCHDOG=1") > 3, "beats")  # type: ignore[misc]
    assert machine.ask("verify").returncode == 0
    of_agent = [path for path in machine.trail.rglob("*") if path.stat().st_uid == machine.uid]
    assert of_agent
    assert all(path.is_relative_to(machine.trail / "state") for path in of_agent)


def test_an_agent_goes_on_with_the_next_inspector(machine: Machine) -> None:
    _, inspector, agent = machine.start_all()
    inspector.end(signal.SIGKILL)
    machine.install("1.0")
    machine.start(INSPECTOR)
    wait_until(lambda: machine.installs()[1:] == ["member==1.0"], "an install whose environment was read late", timeout_s=60)
    assert agent.process.poll() is None


def test_what_root_does_on_the_command_line_leaves_the_agent_its_state(machine: Machine) -> None:
    recorder, _, agent = machine.start_all()
    machine.install("1.0")
    wait_until(lambda: machine.installs()[1:] == ["member==1.0"], "the first install", timeout_s=60)
    for unit in (agent, recorder):
        assert unit.end() == 0, unit.log.read_text()
    log = machine.folder / "more.log"
    log.write_text(pip_log(["install", "imported"], pid=300, serial=30))
    for words in (["seal"], ["import", str(log)], ["rebuild"], ["verify"]):
        done = machine.ask(*words)
        assert done.returncode == 0, done.stderr
    (machine.trail / "state/state.sqlite").unlink()
    assert machine.ask("rebuild").returncode == 0
    machine.start(RECORDER)
    agent = machine.start(AGENT)
    machine.install("2.0")
    wait_until(lambda: "member==2.0" in machine.installs(), "the next install", timeout_s=60)
    assert "imported" in machine.installs()
    assert machine.ask("verify").returncode == 0, "the agent writes what root has made"


def test_the_agents_account_alters_no_evidence_and_ends_nobody(machine: Machine) -> None:
    recorder, inspector, _ = machine.start_all()
    trail = machine.trail
    assert machine.try_as_agent(f"cat {trail}/hot/records.log\ntest -w {trail}/state/state.sqlite") == "01"
    assert (
        machine.try_as_agent(
            f"""
            printf x >> {trail}/hot/records.log
            printf x >> {trail}/hot/observations.jsonl
            mv {trail}/hot {trail}/cold
            mkdir {trail}/hot.next
            rm -rf {trail}/segments
            rm -f {trail}/recorder.sock
            kill -STOP {recorder.process.pid}
            kill -KILL {inspector.process.pid}
            cat /proc/{recorder.process.pid}/environ
            rm -f {machine.folder}/inspector/inspector.sock
            """
        )
        == ""
    )
    assert machine.ask("verify").returncode == 0


def test_nobody_but_the_agent_gets_to_the_recorder_and_the_inspector(machine: Machine) -> None:
    machine.start_all()
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX, getattr(socket, sys.argv[2])); s.settimeout(5); s.connect(sys.argv[1])\n"
        "try: print(socket.recv_fds(s, 100, 3)[:2])\n"
        "except ConnectionResetError: print('refused')"
    )
    for path, kind in (
        (machine.trail / "recorder.sock", "SOCK_SEQPACKET"),
        (machine.folder / "inspector/inspector.sock", "SOCK_STREAM"),
    ):
        words = ["/usr/bin/python3", "-c", code, str(path), kind]
        for uid in (AUID, 65534):
            done = subprocess.run(
                words, user=uid, group=uid, extra_groups=[], cwd="/", capture_output=True, text=True, check=False
            )
            assert "PermissionError" in done.stderr
            # With the group, but as another account.
            done = subprocess.run(
                words, user=uid, group=machine.gid, extra_groups=[], cwd="/", capture_output=True, text=True, check=False
            )
            assert done.stdout in {"(b'', [])\n", "refused\n"}, done.stderr


def test_a_member_sees_the_environments_that_they_can_read_and_no_others(machine: Machine) -> None:
    """The agent itself cannot look into homes: the inspector does, with the member's rights."""
    machine.home.chmod(0o700)
    machine.start_all()
    prefix = str(machine.home / "env")
    wait_until(lambda: prefix in machine.environments_of(AUID), "the environment to be known", timeout_s=60)
    assert prefix not in machine.environments_of(AUID + 1)
    machine.home.chmod(0o755)
    wait_until(lambda: prefix in machine.environments_of(AUID + 1), "what was opened to be shown")


def test_a_recorder_that_is_killed_is_a_gap_and_its_agent_ends(machine: Machine) -> None:
    (machine.trail / "state").rmdir()  # As where systemd alone has made the data folder.
    recorder = machine.start(RECORDER)
    machine.give_state()
    machine.start(INSPECTOR)
    agent = machine.start(AGENT)
    recorder.end(signal.SIGKILL)
    assert agent.process.wait(30) == 3, agent.log.read_text()
    machine.start(RECORDER)
    machine.start(AGENT)
    wait_until(lambda: "restart" in machine.ask("gaps", "--json").stdout, "the gap")
    assert machine.installs() == ["older"], "imported once"


def test_the_inspector_checks_passwords_and_its_workers_are_confined(tmp_path: Path) -> None:
    open_folders(tmp_path)
    machine = Machine(tmp_path)
    unit = machine.start(INSPECTOR)
    try:
        inspector = ServedInspector(tmp_path / "inspector/inspector.sock")
        probed = inspector.ask(ProbeRights(uid=65534))
        assert isinstance(probed, RightsProbed)
        assert (probed.uid, probed.capabilities, probed.has_landlock, probed.has_seccomp) == (65534, 0, True, True)
        name = "envtrail-unit-t"
        with pam_service() as service, machine_account(name, PASSWORD):
            assert check_account(inspector, service, name, PASSWORD) == pwd.getpwnam(name).pw_uid
            assert check_account(inspector, service, name, "wrong") is None
    finally:
        assert unit.end() == -signal.SIGTERM
        unit.close()
    assert isinstance(ServedInspector(tmp_path / "inspector/inspector.sock", wait_s=0).ask(ProbeRights(uid=1)), ReadingRefused)
