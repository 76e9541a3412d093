"""The Git repository of the policy, read with the real `git`: nothing in it is executed, and no password prompt appears.

References:
    git(1), ENVIRONMENT VARIABLES (GIT_ALLOW_PROTOCOL, GIT_TERMINAL_PROMPT); git-verify-commit(1); git-config(1), gpg.ssh.allowedSignersFile
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from msgspec import Struct

from envtrail.config import Config
from envtrail.errors import CannotRunError, ConfigError, EnvtrailError, InputError
from envtrail.model.text import is_safe
from envtrail.model.yaml_documents import MOST_BYTES

_FETCH_S = 120
_ASK_S = 30
_TIP = "refs/envtrail/tip"
_SCHEMES = ("file", "https", "ssh")
_SIGNED = re.compile(r'^Good "git" signature for (?P<signer>.+) with \S+ key (?P<key>SHA256:\S+)$', re.MULTILINE)
_LATEST_S = 253_370_764_800
"""The year 9999: a commit may contain any number, and a displayed time has to be valid."""
_OPTIONS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "transfer.fsckObjects": "true",
    "gc.autoDetach": "false",
    "log.showSignature": "false",
    # Only SSH keys count: any other kind of signature is invalid.
    "gpg.program": "/bin/false",
    "gpg.openpgp.program": "/bin/false",
    "gpg.x509.program": "/bin/false",
}


class PolicySource(Struct, frozen=True, kw_only=True):
    """Origin of the policy."""

    url: str
    ref: str
    """Whole, as `refs/heads/main`."""
    folder: str
    """In the repository; empty: its root."""
    allowed_signers: Path | None
    """File of allowed signers; None: no signature is required."""


class Commit(Struct, frozen=True, kw_only=True):
    """One commit of the repository."""

    id: str
    author: str
    time_ms: int
    """Author date."""
    subject: str = ""


def source_of(config: Config) -> PolicySource:
    """Reads the source from the settings.

    Raises:
        ConfigError: no repository is named.
    """
    url, ref = config.policy.git, config.policy.git_ref
    if not url:
        raise ConfigError("no repository is named", hint='set policy.git, as in `policy.git = "https://git.example/policy.git"`')
    return PolicySource(
        url=url,
        ref=ref if ref.startswith("refs/") else f"refs/heads/{ref}",
        folder=config.policy.git_folder or "",
        allowed_signers=config.policy.allowed_signers if config.policy.git_signed else None,
    )


class Repository:
    """A copy of the repository's history, kept so that little is fetched.

    Args:
        folder: Of the copy.
        lock: Descriptor of a lock, which child processes hold as long as they run.
    """

    def __init__(self, folder: Path, lock: int) -> None:
        self._folder = folder
        self._lock = lock

    def fetch(self, source: PolicySource) -> Commit:
        """The present head of the branch.

        Raises:
            CannotRunError: git is not installed.
            EnvtrailError: the repository cannot be reached, or has no such branch.
        """
        fault = self._fetch(source)
        if fault is not None and self._folder.exists():
            # A killed process may have left a copy that cannot be fetched into.
            shutil.rmtree(self._folder)
            fault = self._fetch(source)
        if fault is not None:
            raise EnvtrailError(
                f"{source.url} {source.ref.removeprefix('refs/heads/')}: {fault}", hint="the policy in force stays"
            )
        words = ("log", "-1", "--format=%H%x00%an%x00%at%x00%s", _TIP)
        return _commit_of(self._run_git(*words))

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether one commit is in the other's history; False for an unknown one."""
        return self._run("merge-base", "--is-ancestor", older, newer).returncode == 0

    def signer(self, commit: str, allowed_signers: Path) -> str:
        """Signer of a commit, and the key.

        Raises:
            InputError: it is not signed by an allowed signer.
        """
        done = self._run("-c", f"gpg.ssh.allowedSignersFile={allowed_signers}", "verify-commit", "--raw", commit)
        output = done.stderr.decode(errors="replace")
        found = _SIGNED.search(output)
        if done.returncode != 0 or found is None:
            why = output.strip().splitlines()[-1] if output.strip() else "it has no signature of an SSH key"
            raise InputError(
                f"commit {commit[:12]} is not signed by an allowed signer: {why}",
                hint=f"`{allowed_signers}` names who may sign (policy.allowed_signers); sign with `git commit -S` and gpg.format=ssh",
            )
        return f"{found['signer']} ({found['key']})"

    def files(self, commit: str, folder: str) -> dict[str, bytes]:
        """The YAML files of a folder of a commit, by name, ordered by name.

        Raises:
            InputError: the folder does not exist, or a file in it cannot be used.
        """
        tree = f"{commit}:{folder}"
        listed = self._run("ls-tree", "-z", "--long", tree)
        if listed.returncode != 0:
            raise InputError(f"commit {commit[:12]} has no folder `{folder}`", hint="policy.git_folder")
        found: dict[str, bytes] = {}
        for entry in sorted(filter(None, listed.stdout.split(b"\0"))):
            described, _, raw = entry.partition(b"\t")
            mode, _, blob, size = described.decode().split()
            name = raw.decode(errors="surrogateescape")
            if not name.endswith((".yaml", ".yml")):
                continue
            if mode not in {"100644", "100755"} or int(size) > MOST_BYTES or not is_safe(name):
                raise InputError(
                    f"`{name!a}` of commit {commit[:12]} is not a policy file",
                    hint="it must be a regular file of moderate size with a text name",
                )
            found[name] = self._run("cat-file", "blob", blob).stdout
        return dict(sorted(found.items()))

    def last_change(self, commit: str, path: str) -> Commit:
        """The commit of a file."""
        return _commit_of(self._run_git("log", "-1", "--format=%H%x00%an%x00%at%x00%s", commit, "--", path))

    def _fetch(self, source: PolicySource) -> str | None:
        """None, or the reason of the failure."""
        if not self._folder.exists():
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            self._run_git("init", "--quiet", "--bare", "--template=", str(self._folder), within=False)
        for left in self._folder.rglob("*.lock"):
            left.unlink()
        words = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force")
        try:
            done = self._run(*words, "--", source.url, f"+{source.ref}:{_TIP}", timeout_s=_FETCH_S)
        except subprocess.TimeoutExpired:
            return f"no answer within {_FETCH_S} s"
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return None if done.returncode == 0 else (lines[0] if lines else f"git ended with {done.returncode}")

    def _run_git(self, *words: str, within: bool = True) -> str:
        done = self._run(*words, within=within)
        if done.returncode != 0:
            raise EnvtrailError(
                f"git {words[0]}: {done.stderr.decode(errors='replace').strip()}", hint=f"is `{self._folder}` whole?"
            )
        return done.stdout.decode(errors="replace")

    def _run(self, *words: str, within: bool = True, timeout_s: float = _ASK_S) -> subprocess.CompletedProcess[bytes]:
        command = ["git"] + ([f"--git-dir={self._folder}"] if within else [])
        for name, value in _OPTIONS.items():
            command += ["-c", f"{name}={value}"]
        try:
            return subprocess.run(
                [*command, *words],
                capture_output=True,
                check=False,
                timeout=timeout_s,
                env=_variables(),
                stdin=subprocess.DEVNULL,
                pass_fds=(self._lock,),
            )
        except FileNotFoundError:
            raise CannotRunError("git is not installed", hint="apt-get install git, or similar") from None


def _variables() -> dict[str, str]:
    """Our environment, without the variables that would redirect git."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in {"GIT_SSH_COMMAND", "GIT_SSL_CAINFO"}
    }
    ours = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": ":".join(_SCHEMES), "LC_ALL": "C"}
    return {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"} | kept | ours


def _commit_of(output: str) -> Commit:
    id_, author, seconds, subject = output.rstrip("\n").split("\0", 3)
    return Commit(id=id_, author=author, time_ms=moment_of(seconds), subject=subject)


def moment_of(seconds: str) -> int:
    """Milliseconds of a commit's time."""
    return max(0, min(int(seconds), _LATEST_S)) * 1000
