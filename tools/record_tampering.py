#!/usr/bin/env python3
"""Record a person who installs packages and then changes environments by hand: what the live agent makes of it, and the log for an import.

    sudo .venv/bin/python tools/record_tampering.py tests/golden/tampering

The rules are those of the profile `full`, bounded to the person's login uid; only that person's events are kept. Everything lies in a mount
namespace of its own. What the live agent told and what an import of the log tells are printed one beside the other.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / "tests/support"), str(REPOSITORY / "src")]

from audit_lab import run_as, running_agent  # noqa: E402
from wheels import make_wheel  # noqa: E402

from envtrail.core import AuditSocket  # noqa: E402

UID = 61061
ML, OLD, VENV = Path("/opt/conda/envs/ml"), Path("/opt/conda/envs/old"), Path("/home/alice/venv")
SITE = "lib/python3.11/site-packages"
FROM = "--no-index --find-links /home/alice/wheels"
ACTS = (
    f"{ML}/bin/pip install -q {FROM} leaf",
    f"{ML}/bin/python -c 'import leaf'",
    f"vim -u NONE -es -c '1s/^/# edited/' -c wq {ML}/{SITE}/leaf.py",
    f"""{ML}/bin/python -c 'open("{ML}/{SITE}/leaf.py", "w").write("x = 1")'""",
    f"cp /etc/hostname {ML}/{SITE}/sneaky.py",
    f"sed -i s/x/y/ {ML}/{SITE}/leaf.py",
    f"echo import os > {ML}/{SITE}/evil.pth",
    f"cp /bin/true {ML}/bin/pip3",
    f"cat {ML}/{SITE}/leaf.py",
    f"{ML}/bin/python /home/alice/cell.py",
    f"{ML}/bin/pip uninstall -q -y twig",
    f"{ML}/bin/pip --python {VENV}/bin/python install -q {FROM} twig",
    f"cd {VENV}/{SITE} && rm -rf twig.py twig-2.0.dist-info",
    f"cd {VENV} && echo include-system-site-packages = true >> pyvenv.cfg",
    f"mv {ML} {OLD}",
    f"rm -rf {VENV}",
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    out = arguments.parse_args().folder.absolute()
    if "ENVTRAIL_RECORDING" not in os.environ:
        os.environ["ENVTRAIL_RECORDING"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    with tempfile.TemporaryDirectory(prefix="tampering-") as folder:
        work = Path(folder)
        work.chmod(0o755)
        prepare(work)
        live = record(work)
        out.mkdir(parents=True, exist_ok=True)
        keep(work / "audit.log", out / "input.log")
        compare(live, imported(work, out / "input.log"))


def prepare(work: Path) -> None:
    """Two environments, wheels, and a notebook's cell."""
    for name in ("home", "opt"):
        (work / name).mkdir()
        subprocess.run(["mount", "--bind", work / name, f"/{name}"], check=True)
    for version, name in (("1.0", "leaf"), ("2.0", "twig")):
        make_wheel(Path("/home/alice/wheels"), name, version)
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(ML)], check=True)
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(VENV)], check=True)
    (ML / "conda-meta").mkdir()
    (ML / "conda-meta/history").touch()
    Path("/home/alice/cell.py").write_text(f"from pip._internal.cli.main import main\nmain('install -q {FROM} twig'.split())\n")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", "/opt/conda/envs", "/home/alice"], check=True)


def record(work: Path) -> list[dict[str, object]]:
    """What the live agent tells of the acts; the kernel's records of them go to a file."""
    stop = threading.Event()
    roots = [ML.parent, VENV.parent]
    with running_agent(work, UID, roots=roots, profile="full", ENVTRAIL_CAPTURE_FILE_WATCH="false") as agent:
        time.sleep(4)
        listener = threading.Thread(target=listen, args=(work / "audit.log", stop))
        listener.start()
        for act in ACTS:
            done = run_as(UID, ["/bin/sh", "-c", act], cwd=Path("/home/alice"))
            print(f"{done.returncode} {act}" + (f": {done.stderr}" if done.returncode else ""))
            time.sleep(4)
        time.sleep(4)
        stop.set()
        listener.join()
        return agent.operations()


def listen(log: Path, stop: threading.Event) -> None:
    """The kernel's own records."""
    socket = AuditSocket("multicast")
    with log.open("wb") as file:
        while not stop.is_set():
            file.write(socket.read(200))
    socket.close()


def keep(log: Path, out: Path) -> None:
    """The person's events, as they came."""
    stamp = re.compile(rb"msg=audit\((\d+\.\d+:\d+)\)")
    lines = log.read_bytes().splitlines(keepends=True)
    mine = {found[1] for line in lines if b" auid=%d " % UID in line and (found := stamp.search(line))}
    kept = b"".join(line for line in lines if (found := stamp.search(line)) and found[1] in mine)
    out.write_bytes(kept)
    print(f"{out}: {len(mine)} events, {len(kept)} bytes")


def imported(work: Path, log: Path) -> list[dict[str, object]]:
    """What an import of the log tells."""
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(work / "imported"), "ENVTRAIL_NODE": "testhost"}

    def ask(*words: str) -> str:
        argv = [sys.executable, "-m", "envtrail", *words]
        return subprocess.run(argv, env=environment, check=True, capture_output=True, text=True).stdout

    ask("import", str(log))
    return [json.loads(line) for line in ask("log", "--json", "--reverse").splitlines()]


def compare(live: list[dict[str, object]], later: list[dict[str, object]]) -> None:
    for name, operations in (("live", live), ("imported", later)):
        print(f"--- {name}: {len(operations)}")
        for one in operations:
            files = {file["path"]: file["what"] for file in one["files"]}  # type: ignore[attr-defined,index]
            changes = [(change["name"], bool(change["after"])) for change in one["changes"] or []]  # type: ignore[attr-defined]
            where = one["environment"]["prefix"]  # type: ignore[index]
            print(one["kind"], one["tool"], where, one["outcome"], one["argv"], changes, len(files), list(files.items())[:3])


if __name__ == "__main__":
    main()
