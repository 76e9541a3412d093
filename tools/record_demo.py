#!/usr/bin/env python3
"""Record the trail that `envtrail demo` plays: a small team on a shared machine, under the real kernel.

    sudo .venv/bin/python tools/record_demo.py src/envtrail/demo/trail.tar

Everything happens in a mount namespace of its own, with its own /home, /opt and account files, so that the machine it runs on
is left as it was. The people are real accounts in there, log in over a real sshd on loopback, and use real pip, uv, venv and
conda; the agent is the product's own. Rules are bounded to the three people's login uids. Nothing is written by hand.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ENVTRAIL = [str(REPOSITORY / ".venv/bin/envtrail")]
PEOPLE = {"alice": (1001, "127.0.0.11"), "bob": (1002, "127.0.0.12"), "carol": (1003, "127.0.0.13")}
PORT = 22022

# (who, pause before in s, what they type). The pauses are short: a day is told in minutes.
DAY: tuple[tuple[str, float, str], ...] = (
    ("alice", 0, "python3 -m venv ~/forecast"),
    ("alice", 1, "~/forecast/bin/pip install -q requests==2.31.0 six==1.16.0"),
    (
        "alice",
        1,
        "printf 'import six, time\\nprint(six.__version__)\\ntime.sleep(0.5)\\n' > ~/train.py; ~/forecast/bin/python ~/train.py --epochs 3",
    ),
    ("bob", 1, "/opt/conda/bin/conda run -n ml-exp python -c 'import numpy; print(numpy.__version__)'"),
    ("bob", 1, "/opt/conda/envs/ml-exp/bin/pip install -q numpy==2.1.3"),
    ("carol", 1, "/opt/conda/bin/conda install -y -q -n ml-exp six=1.16"),
    ("alice", 1, "/opt/conda/envs/ml-exp/bin/python ~/train.py --epochs 10 || true"),
    ("alice", 1, "~/forecast/bin/pip install -q no-such-package-of-ours || true"),
    (
        "carol",
        1,
        "python3 -m venv ~/report && ~/report/bin/python -m pip install -q --index-url https://carol:s3cr3t-passw0rd@127.0.0.1:1/simple pandas || true",
    ),
    ("carol", 1, "~/report/bin/pip install -q attrs & p=$!; sleep 0.4; kill -9 $p; wait $p || true"),
    ("bob", 1, "~bob/.local/bin/uv venv -q ~/uvenv && VIRTUAL_ENV=~/uvenv ~bob/.local/bin/uv pip install -q rich"),
    ("alice", 1, "~/forecast/bin/pip install -q -U six"),
    ("alice", 1, "~/forecast/bin/pip uninstall -q -y requests"),
    ("bob", 1, "/opt/conda/bin/conda create -y -q -p ~/scratch python=3.10 pip"),
    ("bob", 1, "~/scratch/bin/pip install -q requests"),
    ("carol", 1, "/opt/conda/bin/conda remove -y -q -n ml-exp six || true"),
    ("alice", 1, "~/forecast/bin/python ~/train.py --epochs 3"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("recording needs root (mount namespace, audit rules, sshd)")
    if arguments.inside:
        record(arguments.inside, arguments.out.resolve())
        return
    with tempfile.TemporaryDirectory(prefix="envtrail-demo-", dir="/var/tmp") as work:
        command = [sys.executable, __file__, str(arguments.out.resolve()), "--inside", work]
        subprocess.run(["unshare", "--mount", "--propagation", "private", *command], check=True)


def record(work: Path, out: Path) -> None:
    """Inside the namespace: prepare the machine, let the day pass, keep the trail."""
    lay_out(work)
    data = work / "trail"
    environment = {
        **os.environ,
        "ENVTRAIL_NODE": "gpu1",
        "ENVTRAIL_RULES_ONLY_AUIDS": ":".join(str(uid) for uid, _ in PEOPLE.values()),
        "ENVTRAIL_RULES_VENV_ROOTS": "/home/*",
        "ENVTRAIL_RULES_ROOTS": "/opt/conda",
        "ENVTRAIL_RULES_PYTHONS": "/usr/bin/python3*",
        "ENVTRAIL_SERVICE_SOCKET": str(work / "envtrail.sock"),
        "ENVTRAIL_CAPTURE_AUDIT_LOG": str(work / "no-earlier.log"),
    }
    sshd = start_sshd(work)
    agent = subprocess.Popen([*ENVTRAIL, "--data-dir", str(data), "agent"], env=environment)
    try:
        wait_for(lambda: (data / "state/agent.json").exists(), "the agent")
        time.sleep(5)
        for who, pause_s, line in DAY:
            time.sleep(pause_s)
            print(f"{who}$ {line}", flush=True)
            type_as(work, who, line)
        time.sleep(5)
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(60)
        sshd.terminate()
        sshd.wait(10)
        subprocess.run([*ENVTRAIL, "--data-dir", str(data), "rules", "remove"], env=environment, check=False)
    subprocess.run([*ENVTRAIL, "--data-dir", str(data), "seal"], env=environment, check=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out, "w") as archive:
        archive.add(data / "segments", "segments")
    print(f"{out}: {out.stat().st_size} bytes")


def lay_out(work: Path) -> None:
    """Give this namespace its own accounts, homes and /opt."""
    accounts = work / "etc"
    accounts.mkdir()
    for name in ("passwd", "group", "shadow"):
        shutil.copy2(Path("/etc") / name, accounts / name)
    with (
        (accounts / "passwd").open("a") as passwd,
        (accounts / "group").open("a") as group,
        (accounts / "shadow").open("a") as shadow,
    ):
        for who, (uid, _) in PEOPLE.items():
            passwd.write(f"{who}:x:{uid}:{uid}::/home/{who}:/bin/bash\n")
            group.write(f"{who}:x:{uid}:\n")
            shadow.write(f"{who}:*:19000:0:99999:7:::\n")
    for name in ("passwd", "group", "shadow"):
        subprocess.run(["mount", "--bind", accounts / name, Path("/etc") / name], check=True)
    for name in ("home", "opt"):
        (work / name).mkdir()
        subprocess.run(["mount", "--bind", work / name, f"/{name}"], check=True)
    # Environments that conda has noted for the recorder's own account are not of this story.
    if (noted := Path.home() / ".conda/environments.txt").exists():
        subprocess.run(["mount", "--bind", "/dev/null", noted], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "key"], check=True)
    for who, (uid, _) in PEOPLE.items():
        keys = Path("/home") / who / ".ssh" / "authorized_keys"
        keys.parent.mkdir(parents=True)
        shutil.copy(work / "key.pub", keys)
        if who == "bob":
            (keys.parent.parent / ".local/bin").mkdir(parents=True)
            shutil.copy(REPOSITORY / ".venv/bin/uv", keys.parent.parent / ".local/bin/uv")
        subprocess.run(["chown", "-R", f"{uid}:{uid}", f"/home/{who}"], check=True)
    sys.path.insert(0, str(REPOSITORY / "tests/support"))
    from conda_lab import ensure_root

    ensure_root(Path("/opt/conda"))
    # The team shares the conda root through a common group, here simply by mode.
    subprocess.run(["chmod", "-R", "a+rwX", "/opt/conda"], check=True)


def start_sshd(work: Path) -> subprocess.Popen[bytes]:
    """A real sshd on loopback; PAM sets the login uid."""
    # Environments that conda has noted for the recorder's own account are not of this story.
    if (noted := Path.home() / ".conda/environments.txt").exists():
        subprocess.run(["mount", "--bind", "/dev/null", noted], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "host"], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    (work / "sshd_config").write_text(
        f"Port {PORT}\nListenAddress 127.0.0.1\nHostKey {work}/host\nUsePAM yes\nPasswordAuthentication no\n"
        f"PidFile {work}/sshd.pid\nStrictModes no\nPrintMotd no\n"
        "SetEnv SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\n"
    )
    return subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", work / "sshd_config"])


def type_as(work: Path, who: str, line: str) -> None:
    """One line in a session of its own."""
    _, address = PEOPLE[who]
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    subprocess.run(
        ["ssh", "-q", "-p", str(PORT), "-i", work / "key", "-b", address, *options, f"{who}@127.0.0.1", line],
        check=False,
        stdin=subprocess.DEVNULL,
    )


def wait_for(ready: object, what: str) -> None:
    deadline = time.monotonic() + 60
    while not ready():  # type: ignore[operator]
        if time.monotonic() > deadline:
            sys.exit(f"{what} did not come up within 60 s")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
