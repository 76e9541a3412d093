"""What somebody without rights does to the real agent, while somebody else works: it goes on, says nothing, and names the right person."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, become, open_folders, run_as, running_agent, wait_until
from hostile_lab import CONDA, CONDA_FILES, VENV_FILES
from hostile_process import endless_process, stuck_process
from wheels import make_wheel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(300)]

MALLORY, BOB = 61_101, 61_102
SECRET = "root:$6$never-to-be-seen"
_BUILD = """
import os, sys
home, secret, names = sys.argv[1], sys.argv[2], sys.argv[3].split()
site = "lib/python3.11/site-packages"
for kind, lay in (("link", lambda path: os.symlink(secret, path)), ("pipe", os.mkfifo), ("endless", lambda path: os.symlink("/dev/zero", path)),
                  ("sparse", lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 3 << 30))):
    prefix = f"{home}/{kind}"
    for name in ("x", "y"):
        os.makedirs(f"{prefix}/{site}/{name}-1.0.dist-info")
        open(f"{prefix}/{site}/{name}-1.0.dist-info/METADATA", "w").write(f"Name: {name}\\nVersion: 1.0\\n")
    for path in (f"{prefix}/{name}" for name in names):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        lay(path)
prefix = os.fsencode(f"{home}/bytes") + b"\\xff"
os.makedirs(prefix + b"/lib/python3.11/site-packages/z\\xff-1.dist-info")
os.makedirs(prefix + b"/conda-meta")
open(prefix + b"/lib/python3.11/site-packages/z\\xff-1.dist-info/METADATA", "wb").write(b"Name: z\\xff\\nVersion: 1\\n")
open(prefix + b"/conda-meta/deep.json", "w").write("[" * 200_000)
open(prefix + b"/conda-meta/history", "w").write("==> 2025-13-41 99:99:99 <==\\n+a-1-0\\n")
open(prefix + b"/lib/python3.11/site-packages/a.egg-link", "wb").write(b"/a\\0b\\n")
oracle = f"{home}/oracle"
os.makedirs(f"{oracle}/{site}/x-1.0.dist-info")
open(f"{oracle}/pyvenv.cfg", "w").write("home = /usr/bin\\n")
open(f"{oracle}/{site}/x-1.0.dist-info/METADATA", "w").write("Name: x\\nVersion: 1.0\\n")
up = "../" * (oracle.count("/") + 4)
open(f"{oracle}/{site}/x-1.0.dist-info/RECORD", "w").write(f"{up}{secret[1:]},sha256={'A' * 43},\\n{secret},sha256={'A' * 43},\\n")
"""
_CROWD = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))
held = []
for _ in range(1018):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""
_FLOOD = """
import json, socket, sys, time
entry = {"time_ms": 999999999999999999999, "by": {"name": "bob", "role": "admin", "uid": 0, "method": "link"}, "what": "runs"}
lines = [json.dumps({"method": "decide", "decision": {"do": "looked", "looks": [one] * 15}}).encode() + b"\\n"
         for one in (entry, entry | {"time_ms": int(time.time() * 1000), "item": "x" * 4000})]
until = time.monotonic() + 8
while time.monotonic() < until:
    for line in lines:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(sys.argv[1])
            try:
                one.sendall(line)
                one.recv(4096)
            except OSError:
                pass
"""
_PASS = """
import array, os, socket, sys
one = socket.socket(socket.AF_UNIX)
one.connect(sys.argv[1])
module = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
os.write(module, b"import socket\\n")
try:
    one.sendmsg([b"{}"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [module]))])
except PermissionError:
    pass
os.close(module)
"""


class Lab:
    def __init__(self, folder: Path, agent: RunningAgent) -> None:
        self.folder, self.agent = folder, agent
        self.count = 0

    def mallory(self, code: str, *words: str) -> subprocess.CompletedProcess[str]:
        return run_as(MALLORY, ["/usr/bin/python3", "-c", code, *words], cwd=self.folder / "mallory")

    def bob_works(self) -> None:
        """An install of bob's is recorded, and is his."""
        self.count += 1
        name = f"work{self.count}"
        wheel = make_wheel(self.folder / "wheels", name, "1.0")
        pip = str(self.folder / "bob/env/bin/pip")
        done = run_as(BOB, [pip, "install", "-q", "--no-index", str(wheel)], cwd=self.folder / "bob")
        assert done.returncode == 0, done.stderr
        (found,) = wait_until(
            lambda: [one for one in self.agent.operations() if name in str(one["argv"]) and one["ended"]],
            f"the install of {name}",
            timeout_s=40,
        )  # type: ignore[misc]
        assert (found["actor"]["uid"], found["actor"]["confidence"], found["outcome"]) == (BOB, "certain", "success")
        assert [change["name"] for change in found["changes"]] == [name]
        assert self.agent.process.poll() is None
        assert "Traceback" not in self.agent.log.read_text()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("attacks")
    open_folders(folder)
    for name, uid in (("mallory", MALLORY), ("bob", BOB)):
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(folder / name / "env")], check=True)
        subprocess.run(["chown", "-R", f"{uid}:{uid}", str(folder / name)], check=True)
    (folder / "bob").chmod(0o700)
    secret = folder / "secret.json"
    secret.write_text(json.dumps({"name": SECRET, "version": SECRET, "url": SECRET}))
    secret.chmod(0o600)
    with running_agent(folder, [MALLORY, BOB], roots=[folder / "mallory", folder / "bob"]) as agent:
        made = Lab(folder, agent)
        made.bob_works()
        yield made


def test_an_environment_of_traps_stops_nothing_and_nothing_is_read_through_it(lab: Lab) -> None:
    home, secret = lab.folder / "mallory", lab.folder / "secret.json"
    digest = hashlib.sha256(secret.read_bytes()).hexdigest()
    names = " ".join([*VENV_FILES, *CONDA_FILES])
    done = lab.mallory(_BUILD, str(home), str(secret), names)
    assert done.returncode == 0, done.stderr
    assert CONDA
    lab.bob_works()
    wait_until(lambda: "oracle" in lab.agent.ask("env", "list").stdout, "that her environments are known", timeout_s=40)
    for name in ("link", "pipe", "endless", "sparse", "oracle", "bytes\\xff"):
        for words in (("env", "show"), ("env", "show", "--json"), ("env", "verify"), ("env", "verify", "--json")):
            said = lab.agent.ask(words[0], words[1], str(home / name), *words[2:])
            assert said.returncode in {0, 1}, said.stderr
            assert SECRET not in said.stdout + said.stderr
            assert digest not in said.stdout
    kept = b"".join(path.read_bytes() for path in lab.agent.data_dir.rglob("*") if path.is_file())
    assert SECRET.encode() not in kept
    lab.bob_works()


def test_nor_may_she_look_into_his(lab: Lab) -> None:
    site = next((lab.folder / "mallory/env/lib").glob("python3*")) / "site-packages"
    theirs = next((lab.folder / "bob/env/lib").glob("python3*")) / "site-packages"
    stolen = lab.folder / "mallory/stolen"
    code = "import os, sys; os.makedirs(sys.argv[1] + '/lib/' + sys.argv[2]); open(sys.argv[1] + '/pyvenv.cfg', 'w'); "
    code += "os.symlink(sys.argv[3], sys.argv[1] + '/lib/' + sys.argv[2] + '/site-packages')"
    assert lab.mallory(code, str(stolen), site.parent.name, str(theirs)).returncode == 0
    wait_until(lambda: "stolen" in lab.agent.ask("env", "list").stdout, "that it is known", timeout_s=40)
    assert "work1" not in lab.agent.ask("env", "show", str(stolen), "--json").stdout


def test_a_thousand_idle_connections_and_a_flood_keep_nobody_out(lab: Lab) -> None:
    path = lab.agent.environment["ENVTRAIL_SERVICE_SOCKET"]
    words = ["/usr/bin/python3", "-c", _CROWD, path]
    with subprocess.Popen(words, preexec_fn=become(MALLORY), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == "held\n"
        assert lab.agent.ask("status").returncode == 0
        lab.bob_works()
        crowd.communicate()
    floods = [
        subprocess.Popen(["/usr/bin/python3", "-c", _FLOOD, path], preexec_fn=become(MALLORY), stderr=subprocess.DEVNULL)
        for _ in range(6)
    ]
    lab.bob_works()
    assert [flood.wait(60) for flood in floods]
    entries = [json.loads(line) for line in lab.agent.ask("access-log", "--json").stdout.splitlines()]
    hers = [one for one in entries if one["item"] == "x" * 4000]
    assert len(hers) < 40 * 15, "her share"
    assert {one["by"]["uid"] for one in hers} <= {MALLORY}, "she reports of herself"
    lab.bob_works()


def test_processes_that_trap_their_reader_neither_stop_nor_grow_it_also_as_it_begins(lab: Lab) -> None:
    place = lab.folder / "mallory/fuse"
    place.mkdir()
    os.chown(place, MALLORY, MALLORY)
    site = next((lab.folder / "mallory/env/lib").glob("python3*")) / "site-packages"
    with endless_process(), stuck_process(str(place), str(site / "hers.py")):
        lab.bob_works()
        lab.agent.kill()
        lab.agent.restart()
        lab.bob_works()
        pages = int(Path(f"/proc/{lab.agent.process.pid}/statm").read_text().split()[1])
        assert pages * os.sysconf("SC_PAGE_SIZE") < 300 << 20


def test_a_descriptor_that_is_passed_to_the_agent_hides_nobody(lab: Lab) -> None:
    site = next((lab.folder / "mallory/env/lib").glob("python3*")) / "site-packages"
    module = site / "pip/__init__.py"
    done = lab.mallory(_PASS, lab.agent.environment["ENVTRAIL_SERVICE_SOCKET"], str(module))
    assert done.returncode == 0, done.stderr
    (found,) = wait_until(lambda: [one for one in lab.agent.operations() if str(module) in str(one["files"])], "the tamper")  # type: ignore[misc]
    assert (found["kind"], found["actor"]["uid"], found["actor"]["auid"]) == ("tamper", MALLORY, MALLORY)


def test_nor_does_one_that_is_passed_to_another_frame_them(lab: Lab) -> None:
    module = next((lab.folder / "mallory/env/lib").glob("python3*")) / "site-packages/pip/__main__.py"
    path = lab.folder / "mallory/s.sock"
    listen = (
        "import os, socket, sys, time; one = socket.socket(socket.AF_UNIX); one.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o777); one.listen(); "
        "print('listens', flush=True); taken = one.accept()[0]; _, held, _, _ = socket.recv_fds(taken, 9, 9); time.sleep(2); [os.close(x) for x in held]"
    )
    (lab.folder / "mallory").chmod(0o777)
    words = ["/usr/bin/python3", "-c", listen, str(path)]
    with subprocess.Popen(words, preexec_fn=become(BOB), stdout=subprocess.PIPE, text=True) as bobs:
        assert bobs.stdout is not None
        assert bobs.stdout.readline() == "listens\n"
        assert lab.mallory(_PASS, str(path), str(module)).returncode == 0
        assert bobs.wait(20) == 0
    (found,) = wait_until(lambda: [one for one in lab.agent.operations() if str(module) in str(one["files"])], "the tamper")  # type: ignore[misc]
    assert (found["pid"], found["actor"]["uid"], found["actor"]["confidence"]) == (bobs.pid, BOB, "weak")
    assert "passed to it open" in lab.agent.ask("explain", str(found["id"])).stdout


def test_what_lies_in_a_folder_of_bytecode_is_seen(lab: Lab) -> None:
    site = next((lab.folder / "mallory/env/lib").glob("python3*")) / "site-packages"
    code = "import os, sys; os.makedirs(sys.argv[1] + '/__pycache__/evil', exist_ok=True); open(sys.argv[1] + '/__pycache__/evil/run.py', 'w').write('x')"
    assert lab.mallory(code, str(site)).returncode == 0
    (found,) = wait_until(lambda: [one for one in lab.agent.operations() if "evil/run.py" in str(one["files"])], "the tamper")  # type: ignore[misc]
    assert found["actor"]["uid"] == MALLORY


def test_the_trail_is_whole_after_all_of_it(lab: Lab) -> None:
    time.sleep(1)
    assert lab.agent.ask("verify").returncode == 0
    command = [sys.executable, "-m", "envtrail", "log", "--json"]
    assert subprocess.run(command, env=lab.agent.environment, capture_output=True, check=False).returncode == 0
