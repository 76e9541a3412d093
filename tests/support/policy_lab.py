"""A repository that holds a fleet's policy, and a machine that takes it from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ports import free_port
from unit_lab import confined_as

from envtrail.policy.files import load_policy

SSHD = shutil.which("sshd", path="/usr/sbin:/sbin")
RULE = "version: 1\nrules:\n  - {{name: {name}, reason: {why}, verdict: require-approval, where: {{tags: [prod]}}}}\n"
TAGS = 'version: 1\ntags: {prod: ["prod*"]}\n'


def policy(name: str, why: str = "asked for first") -> dict[str, str | None]:
    return {"10-tags.yaml": TAGS, "20-rules.yaml": RULE.format(name=name, why=why), "README.md": "not of the policy"}


class Fleet:
    """A repository that is written to, and a machine that takes its policy from it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"
        self.path = folder / "etc/policy.d"
        self.signers = folder / "allowed_signers"
        self.url = f"file://{folder}/central.git"
        self.settings: dict[str, str] = {}
        (folder / "home").mkdir()
        self.path.parent.mkdir(mode=0o755)
        self.git("init", "--quiet", "--bare", "-b", "main", str(folder / "central.git"), within=False)
        self.git("clone", "--quiet", str(folder / "central.git"), str(self.work), within=False)
        self.git("checkout", "--quiet", "-b", "main")

    @property
    def variables(self) -> dict[str, str]:
        """Nobody's own settings of git, and ours by the environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "ENVTRAIL_"))}
        ours = {
            "HOME": str(self.folder / "home"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "ENVTRAIL_DATA_DIR": str(self.folder / "trail"),
            "ENVTRAIL_POLICY_PATH": str(self.path),
            "ENVTRAIL_POLICY_GIT": self.url,
            "ENVTRAIL_POLICY_ALLOWED_SIGNERS": str(self.signers),
        }
        return kept | ours | self.settings

    def git(self, *words: str, within: bool = True, author: str = "alice") -> str:
        identity = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _identity(author).items()}
        command = ["git", *(["-C", str(self.work)] if within else []), *words]
        done = subprocess.run(command, capture_output=True, text=True, env=self.variables | identity, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, files: dict[str, str | None], *, author: str = "alice", key: Path | None = None) -> str:
        """Write, commit and push; null removes a file."""
        for name, text in files.items():
            file = self.work / name
            file.parent.mkdir(exist_ok=True, parents=True)
            if text is None:
                file.unlink()
            else:
                file.write_text(text)
        self.git("add", "-A")
        signed = ["-c", "gpg.format=ssh", "-c", f"user.signingkey={key}"] if key else []
        self.git(*signed, "commit", "--quiet", "-m", "a change", *(["-S"] if key else []), author=author)
        self.git("push", "--quiet", "--force", "origin", "main")
        return self.git("rev-parse", "HEAD")

    def key(self, name: str) -> Path:
        key = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        return key

    def sync(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*confined_as("envtrail-policy.service"), sys.executable, "-m", "envtrail", "policy", "sync", *words]
        return subprocess.run(command, capture_output=True, text=True, env=self.variables, check=False)

    def synced(self, *words: str) -> dict[str, Any]:
        done = self.sync("--json", *words)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def rules(self) -> list[str]:
        return [rule.name for rule in load_policy([self.path]).policy.rules]


def _identity(name: str) -> dict[str, str]:
    return {"NAME": name, "EMAIL": f"{name}@example.org"}


@contextmanager
def ssh_server(folder: Path, host: Path, deploy: Path) -> Iterator[int]:
    """A real sshd on loopback that lets in one key; gives its port."""
    port = free_port()
    (folder / "authorized_keys").write_text(deploy.with_suffix(".pub").read_text())
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host.with_suffix('.pub').read_text()}")
    lines = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": host,
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "AuthorizedKeysFile": folder / "authorized_keys",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with (folder / "sshd.log").open("wb") as log:
        serving = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        yield port
    finally:
        serving.terminate()
        serving.wait()
