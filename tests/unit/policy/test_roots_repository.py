"""The policy's repository is root's, and who reads it is not: git trusts it, and no other user's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from audit_lab import open_folders

from envtrail.policy.keeper import _commit_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="who is not root cannot become somebody else")


def commit_as(uid: int, folder: Path) -> str | None:
    """What an account reads of the repository's last commit."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.environ["HOME"] = "/"
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        os.write(writing, (_commit_of(folder) or "none").encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.wait()
    return None if said == "none" else said


@pytest.mark.parametrize(("owner", "is_read"), [(0, True), (61_050, False)])
def test_another_account_reads_the_commit_of_roots_repository_alone(tmp_path: Path, owner: int, is_read: bool) -> None:
    open_folders(tmp_path)
    folder = tmp_path / "repository/policy.d"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("version: 1\n")
    git = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a policy"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    for path in (folder.parent, *folder.parent.rglob("*")):
        os.chown(path, owner, owner)
    assert commit_as(65534, folder) == (commit if is_read else None)
