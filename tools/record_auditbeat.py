#!/usr/bin/env python3
"""Record one activity three times under the real kernel: as the audit log, and as two Auditbeats write it (with and without raw records).

    sudo .venv/bin/python tools/record_auditbeat.py tests/data/auditbeat

Auditbeat (Apache-2.0) is built from the Go module proxy, pinned; Go 1.22 or newer builds it in some minutes. Everything happens in a
mount namespace of its own, with its own accounts and /home. A real sshd on loopback logs the person in, who uses a real venv and pip.
Auditbeat gets no rules of its own, as it would delete everybody else's: those of the product are loaded, bounded to the person's login uid.
Only that person's events are kept.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / "tests/support"), str(REPOSITORY / "tools"), str(REPOSITORY / "src")]

import record_demo  # noqa: E402 - beside this file
from audit_lab import running_agent  # noqa: E402
from wheels import make_wheel  # noqa: E402

from envtrail.core import AuditSocket  # noqa: E402

BEATS = "v7.17.28"
CACHE = Path("/var/cache/envtrail-auditbeat")
UID, WHO, NODE = 61120, "alice", "gpu1"
ENVIRONMENT = f"/home/{WHO}/ml-exp"
PIP = f"{ENVIRONMENT}/bin/pip install -q --no-index --find-links ~/wheels"
DAY = (
    f"{PIP} numtools==1.0",
    f"{ENVIRONMENT}/bin/python -m pip install -q --no-index --find-links ~/wheels --upgrade numtools",
    f"{PIP} no-such-package-of-ours",
    f"{ENVIRONMENT}/bin/python ~/train.py --epochs 3 --note 'größer \"one\"'",
    # Four that Auditbeat cannot keep whole, or that need care: an empty argument, a long one, a name with blanks, a set-uid program.
    f"{ENVIRONMENT}/bin/python ~/train.py ''",
    f"{ENVIRONMENT}/bin/python ~/train.py {'x' * 9000}",
    "~/'my long tool'",
    "passwd --status",
    f"{ENVIRONMENT}/bin/pip uninstall -q -y numtools",
)
MAIN = """package main

import (
	"os"

	"github.com/elastic/beats/v7/auditbeat/cmd"
	_ "github.com/elastic/beats/v7/auditbeat/include"
)

func main() {
	if err := cmd.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
"""
SETTINGS = """name: {node}
path.data: {folder}/data
path.logs: {folder}/logs
logging.to_files: false
auditbeat.modules:
- {{module: auditd, socket_type: multicast, resolve_ids: true, include_raw_message: {raw}}}
- {{module: file_integrity, paths: [/home/{who}/wheels]}}
output.file: {{path: {folder}, filename: auditbeat.ndjson, rotate_every_kb: 1000000, permissions: 0600}}
"""


def build() -> Path:
    """The pinned Auditbeat, built once."""
    binary = CACHE / BEATS / "auditbeat"
    if binary.exists():
        return binary
    with tempfile.TemporaryDirectory(prefix="envtrail-auditbeat-") as work:
        told = subprocess.run(
            ["go", "mod", "download", "-json", f"github.com/elastic/beats/v7@{BEATS}"], cwd=work, check=True, capture_output=True
        )
        source = Path(json.loads(told.stdout)["Dir"])
        folder = Path(work)
        # The replacements that the module asks for hold for a main module only: this one takes them over.
        (folder / "go.mod").write_text(re.sub(r"(?m)^module .*$", "module auditbeat", (source / "go.mod").read_text()))
        (folder / "go.sum").write_bytes((source / "go.sum").read_bytes())
        (folder / "main.go").write_text(MAIN)
        subprocess.run(["go", "mod", "edit", "-require", f"github.com/elastic/beats/v7@{BEATS}"], cwd=work, check=True)
        subprocess.run(["nice", "-n", "10", "go", "build", "-mod=mod", "-o", "auditbeat", "."], cwd=work, check=True)
        binary.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / "auditbeat", binary)
    return binary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("recording needs root (mount namespace, audit rules, sshd)")
    out = arguments.out.resolve()
    if arguments.inside:
        record(build(), arguments.inside, out)
        return
    build()
    with tempfile.TemporaryDirectory(prefix="envtrail-auditbeat-", dir="/var/tmp") as work:
        command = [sys.executable, __file__, str(out), "--inside", work]
        subprocess.run(["unshare", "--mount", "--propagation", "private", *command], check=True)


def record(auditbeat: Path, work: Path, out: Path) -> None:
    """Inside the namespace: let the day pass before four listeners, keep what the person did."""
    lay_out(work)
    sshd = record_demo.start_sshd(work)
    log, stop = work / "audit.log", threading.Event()
    listener = threading.Thread(target=listen, args=(log, stop))
    listener.start()
    beats = [start_beat(auditbeat, work / name, raw=name == "raw") for name in ("bare", "raw")]
    try:
        (work / "agent").mkdir()
        with running_agent(work / "agent", UID, roots=[Path("/home/*")], ENVTRAIL_CAPTURE_SOURCE="multicast", ENVTRAIL_NODE=NODE):
            time.sleep(5)
            for line in DAY:
                print(f"{WHO}$ {line}", flush=True)
                record_demo.type_as(work, WHO, line)
                time.sleep(1)
            time.sleep(5)
    finally:
        for beat in beats:
            beat.terminate()
            beat.wait(30)
        sshd.terminate()
        sshd.wait(10)
        stop.set()
        listener.join()
    keep(work, out)


def lay_out(work: Path) -> None:
    """This namespace's own accounts and homes, an environment, two wheels, a script."""
    record_demo.PEOPLE = {WHO: (UID, "127.0.0.11")}
    accounts = work / "etc"
    accounts.mkdir()
    lines = {
        "passwd": f"{WHO}:x:{UID}:{UID}::/home/{WHO}:/bin/bash",
        "group": f"{WHO}:x:{UID}:",
        "shadow": f"{WHO}:*:19000:0:99999:7:::",
    }
    for name, line in lines.items():
        shutil.copy2(Path("/etc") / name, accounts / name)
        with (accounts / name).open("a") as file:
            file.write(line + "\n")
        subprocess.run(["mount", "--bind", accounts / name, Path("/etc") / name], check=True)
    (work / "home").mkdir()
    subprocess.run(["mount", "--bind", work / "home", "/home"], check=True)
    work.chmod(0o755)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "key"], check=True)
    home = Path("/home") / WHO
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(work / "key.pub", home / ".ssh/authorized_keys")
    for version in ("1.0", "1.1"):
        make_wheel(home / "wheels", "numtools", version)
    shutil.copy("/bin/true", home / "my long tool")
    (home / "train.py").write_text("import sys\nprint(sys.argv)\n")
    subprocess.run(["/usr/bin/python3", "-m", "venv", ENVIRONMENT], check=True)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", home], check=True)


def listen(log: Path, stop: threading.Event) -> None:
    """The kernel's own records."""
    socket = AuditSocket("multicast")
    with log.open("wb") as file:
        while not stop.is_set():
            file.write(socket.read(200))
    socket.close()


def start_beat(auditbeat: Path, folder: Path, *, raw: bool) -> subprocess.Popen[bytes]:
    folder.mkdir()
    settings = folder / "auditbeat.yml"
    settings.write_text(SETTINGS.format(node=NODE, who=WHO, folder=folder, raw=str(raw).lower()))
    settings.chmod(0o600)
    with (folder / "out").open("wb") as out:
        beat = subprocess.Popen([auditbeat, "-e", "-c", settings, "--path.home", folder], stdout=out, stderr=out)
    time.sleep(3)
    if beat.poll() is not None:
        sys.exit((folder / "out").read_text())
    return beat


def keep(work: Path, out: Path) -> None:
    """The person's events of each recording."""
    stamp = re.compile(rb"msg=audit\((\d+\.\d+:(\d+))\)")
    log = (work / "audit.log").read_bytes().splitlines(keepends=True)
    sessions = {found[1] for line in log if (found := re.search(rb"auid=%d\b.* ses=(\d+)" % UID, line))}
    whose = re.compile(rb"\b(?:auid=%d|ses=(?:%s))\b" % (UID, b"|".join(sessions)))
    mine = {found[2] for line in log if whose.search(line) and (found := stamp.search(line))}
    out.mkdir(parents=True, exist_ok=True)
    write(out / "audit.log.gz", b"".join(line for line in log if (found := stamp.search(line)) and found[2] in mine))
    for name in ("bare", "raw"):
        (file,) = (work / name).glob("auditbeat.ndjson*")
        kept = [line for line in file.read_bytes().splitlines(keepends=True) if sequence(line) in {*mine, b"none"}]
        write(out / f"{name}.ndjson.gz", b"".join(kept))
        print(f"{name}: {len(kept)} documents of {len(mine)} events")


def sequence(line: bytes) -> bytes:
    """Of the event; `none` for a document of another module."""
    return str(json.loads(line).get("auditd", {}).get("sequence", "none")).encode()


def write(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, 9, mtime=0))
    print(f"{path}: {len(data)} bytes, {path.stat().st_size} compressed")


if __name__ == "__main__":
    main()
