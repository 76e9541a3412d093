"""`envtrail policy sync`: real repositories, real signatures, and a policy that is whole at every moment."""

from __future__ import annotations

import functools
import getpass
import http.server
import os
import random
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from audit_lab import wait_until
from guard_lab import make_keys
from policy_lab import RULE, SSHD, TAGS, Fleet, policy, ssh_server

from envtrail.errors import InputError
from envtrail.model.approval import Grant
from envtrail.model.decided import GrantGiven, PolicyLoaded
from envtrail.policy.files import _files, load_policy
from envtrail.policy.keeper import PolicyKeeper, _stamp
from envtrail.state.state import State


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_a_commit_comes_into_place_once_and_nobody_else_may_change_it(fleet: Fleet) -> None:
    first = fleet.commit(policy("first"))
    reported = fleet.synced()
    assert (reported["state"], reported["before"], reported["commit"]["id"]) == ("updated", None, first)
    assert reported["files"] == ["10-tags.yaml", "20-rules.yaml"]
    assert fleet.rules() == ["first"]
    for item in (fleet.path.resolve(), *fleet.path.iterdir()):
        status = item.stat()
        assert (status.st_uid, oct(status.st_mode & 0o777)) == (os.geteuid(), oct(0o755 if item.is_dir() else 0o644))
    assert fleet.synced()["state"] == "fine"

    second = fleet.commit(policy("second"))
    reported = fleet.synced("--dry-run")
    assert (reported["state"], reported["before"], reported["commit"]["id"]) == ("would update", first, second)
    assert fleet.rules() == ["first"]
    done = fleet.sync()
    assert f"updated: {first[:12]} → {second[:12]} (alice: a change), 2 files" in done.stdout
    assert fleet.rules() == ["second"]
    folders = fleet.path.with_name("policy.d.git")
    assert len(list(folders.iterdir())) == 2, "the one before may still be read"
    for folder in folders.iterdir():
        os.utime(folder, (0, 0))
    fleet.commit(policy("third"))
    fleet.synced()
    assert len(list(folders.iterdir())) == 2, "that of the first is gone"


def test_a_folder_of_the_repository(fleet: Fleet) -> None:
    fleet.commit({f"machines/gpu/{name}": text for name, text in policy("gpu").items()} | policy("all"))
    fleet.settings = {"ENVTRAIL_POLICY_GIT_FOLDER": "machines/gpu"}
    fleet.synced()
    assert fleet.rules() == ["gpu"]
    fleet.settings = {"ENVTRAIL_POLICY_GIT_FOLDER": "machines"}
    done = fleet.sync()
    assert done.returncode == 2
    assert "no YAML files" in done.stderr
    assert fleet.rules() == ["gpu"]


def test_what_stood_there_before_is_put_aside_whole(fleet: Fleet) -> None:
    fleet.path.mkdir()
    (fleet.path / "mine.yaml").write_text(RULE.format(name="mine", why="by hand") + 'tags: {prod: ["p*"]}\n')
    fleet.commit(policy("central"))
    aside = Path(fleet.synced()["aside"])
    assert fleet.rules() == ["central"]
    assert [rule.name for rule in load_policy([aside]).policy.rules] == ["mine"]


def test_what_was_changed_on_the_machine_is_put_back(fleet: Fleet) -> None:
    fleet.commit(policy("central"))
    fleet.synced()
    (fleet.path / "99-mine.yaml").write_text(RULE.format(name="mine", why="smuggled"))
    assert fleet.rules() == ["central", "mine"]
    assert fleet.synced()["state"] == "updated"
    assert fleet.rules() == ["central"]


def test_a_bad_policy_is_refused_with_every_fault_and_the_last_good_one_stays(fleet: Fleet) -> None:
    fleet.commit(policy("good"))
    fleet.synced()
    fleet.commit({"20-rules.yaml": "version: 1\nrulez: []\n", "30-more.yaml": RULE.format(name="x", why="y") + "  - [\n"})
    done = fleet.sync()
    assert done.returncode == 2
    assert f"{fleet.path}/20-rules.yaml:2:" in done.stderr
    assert "30-more.yaml" in done.stderr
    assert fleet.rules() == ["good"]
    (fleet.work / "link.yaml").symlink_to("/etc/passwd")
    fleet.commit({"20-rules.yaml": RULE.format(name="x", why="y"), "30-more.yaml": None})
    done = fleet.sync()
    assert done.returncode == 2
    assert "link.yaml" in done.stderr
    assert fleet.rules() == ["good"]


def test_a_branch_that_goes_back_is_refused_unless_it_is_meant(fleet: Fleet) -> None:
    first = fleet.commit(policy("first"))
    second = fleet.commit(policy("second"))
    fleet.synced()
    fleet.git("reset", "--quiet", "--hard", first)
    fleet.git("push", "--quiet", "--force", "origin", "main")
    for replaced in (False, True):
        if replaced:  # nor one with another history, where the copy is gone
            fleet.commit(policy("other"))
            subprocess.run(["rm", "-r", str(fleet.folder / "trail/policy.git")], check=True)
        done = fleet.sync()
        assert done.returncode == 2
        assert f"does not continue from {second[:12]}" in done.stderr
        assert "--force" in done.stderr
        assert fleet.rules() == ["second"]
    assert fleet.synced("--force")["state"] == "updated"
    assert fleet.rules() == ["other"]


def test_without_the_repository_the_policy_stays(fleet: Fleet) -> None:
    fleet.commit(policy("good"))
    fleet.synced()
    (fleet.folder / "central.git").rename(fleet.folder / "gone.git")
    done = fleet.sync()
    assert done.returncode == 4
    assert "the policy in force stays" in done.stderr
    assert fleet.rules() == ["good"]
    (fleet.folder / "gone.git").rename(fleet.folder / "central.git")
    fleet.settings = {"ENVTRAIL_POLICY_GIT_REF": "nowhere"}
    assert fleet.sync().returncode == 4
    fleet.settings = {}
    assert fleet.synced()["state"] == "fine"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no repository is named"),
        ("http://git.example/policy.git", "must be an address of git"),
        ("ext::sh -c touch% /tmp/owned", "must be an address of git"),
        ("--upload-pack=touch", "must be an address of git"),
        ("https://token@git.example/policy.git", "holds a secret"),
    ],
)
def test_an_address_that_is_none_is_refused(fleet: Fleet, url: str, said: str) -> None:
    fleet.url = url
    done = fleet.sync()
    assert done.returncode == 2
    assert said in done.stderr


def test_over_https_with_an_authority_of_ones_own(fleet: Fleet) -> None:
    fleet.commit(policy("central"))
    fleet.git("--git-dir", str(fleet.folder / "central.git"), "update-server-info", within=False)
    keys = make_keys(fleet.folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(fleet.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            fleet.url = f"https://127.0.0.1:{server.server_port}/central.git"
            done = fleet.sync()
            assert done.returncode == 4
            assert "certificate" in done.stderr
            fleet.settings = {"GIT_SSL_CAINFO": str(keys / "ca.pem")}
            assert fleet.synced()["state"] == "updated"
        finally:
            server.shutdown()
            serving.join()
    assert fleet.rules() == ["central"]


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed")
def test_over_ssh_with_a_deploy_key(fleet: Fleet) -> None:
    """A real sshd on loopback that knows one key; nobody is prompted for anything."""
    fleet.commit(policy("central"))
    deploy, nobodys = fleet.key("deploy"), fleet.key("nobodys")
    with ssh_server(fleet.folder, fleet.key("host"), deploy) as port:
        fleet.url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{fleet.folder}/central.git"
        known = f"-o UserKnownHostsFile={fleet.folder}/known_hosts -o IdentitiesOnly=yes -o BatchMode=yes"
        fleet.settings = {"GIT_SSH_COMMAND": f"ssh -i {nobodys} {known}"}
        wait_until(lambda: "Permission denied" in fleet.sync().stderr, "a refusal of sshd")
        fleet.settings = {"GIT_SSH_COMMAND": f"ssh -i {deploy} {known}"}
        assert fleet.synced()["state"] == "updated"
    assert fleet.rules() == ["central"]


class TestSigned:
    def test_only_who_may_sign_changes_the_policy(self, fleet: Fleet) -> None:
        alice, mallory = fleet.key("alice"), fleet.key("mallory")
        fleet.signers.write_text(f"alice@example.org {alice.with_suffix('.pub').read_text()}")
        fleet.settings = {"ENVTRAIL_POLICY_GIT_SIGNED": "true"}
        fleet.commit(policy("unsigned"))
        for name, key in (("unsigned", None), ("by mallory", mallory)):
            fleet.commit(policy(name.replace(" ", "-"), why=name), key=key) if key else None
            done = fleet.sync()
            assert done.returncode == 2, name
            assert "is not signed by an allowed signer" in done.stderr
            assert not fleet.path.exists()
        fleet.commit(policy("by-alice"), key=alice)
        assert fleet.synced()["signer"].startswith("alice@example.org (SHA256:")
        assert fleet.rules() == ["by-alice"]

    def test_another_kind_of_signature_is_none(self, fleet: Fleet) -> None:
        """A `gpg` that calls everything good must not be called."""
        alice = fleet.key("alice")
        fleet.signers.write_text(f"alice@example.org {alice.with_suffix('.pub').read_text()}")
        fleet.settings = {"ENVTRAIL_POLICY_GIT_SIGNED": "true"}
        fleet.commit(policy("first"), key=alice)
        tree, parent = fleet.git("rev-parse", "HEAD^{tree}"), fleet.git("rev-parse", "HEAD")
        forged = fleet.folder / "forged"
        forged.write_text(
            f"tree {tree}\nparent {parent}\nauthor m <m@m> 1780000000 +0000\ncommitter m <m@m> 1780000000 +0000\n"
            "gpgsig -----BEGIN PGP SIGNATURE-----\n \n Zm9yZ2Vk\n -----END PGP SIGNATURE-----\n\nforged\n"
        )
        commit = fleet.git("hash-object", "-t", "commit", "-w", str(forged))
        fleet.git("push", "--quiet", "origin", f"{commit}:refs/heads/main")
        willing = fleet.folder / "gpg"
        willing.write_text(
            '#!/bin/sh\ncat >/dev/null\necho "[GNUPG:] NEWSIG"\necho "[GNUPG:] GOODSIG 0 alice"\necho "[GNUPG:] TRUST_ULTIMATE"\n'
        )
        willing.chmod(0o755)
        fleet.git("config", "--global", "gpg.program", str(willing))
        believed = subprocess.run(
            ["git", "-C", str(fleet.work), "verify-commit", commit], env=fleet.variables, capture_output=True, check=False
        )
        assert believed.returncode == 0, "git itself believes it"
        done = fleet.sync()
        assert done.returncode == 2
        assert "is not signed by an allowed signer" in done.stderr


def test_the_trail_says_which_commit_is_in_force_and_who_approved_by_git(fleet: Fleet) -> None:
    grant = (
        "version: 1\ngrants:\n  - {name: nightly, user: root, environment: /srv/prod, action: any, until: 2099-06-30, why: T-1}\n"
    )
    by_alice = fleet.commit(policy("first") | {"30-grants.yaml": grant})
    fleet.commit(policy("second"), author="bob")
    fleet.synced()
    state = State(fleet.folder / "state.sqlite")
    keeper = PolicyKeeper(fleet.path, state, "host")
    found = keeper.poll(1_000)
    state.decisions.put(found[0])  # type: ignore[arg-type]
    tip = fleet.git("rev-parse", "HEAD")
    loaded = next(item for item in found if isinstance(item, PolicyLoaded))
    assert (loaded.commit, min(loaded.files)) == (tip, str(fleet.path / "10-tags.yaml"))
    assert keeper.in_force is not None
    assert (keeper.in_force.commit, keeper.in_force.digest) == (tip, loaded.digest)
    given: Grant = next(item.grant for item in found if isinstance(item, GrantGiven))
    assert [(yes.name, yes.method, yes.key) for yes in given.approvals] == [("alice", "git", by_alice)]

    # Another commit with the same policy is recorded, so that the trail says by which commit it judged.
    same = fleet.commit({"README.md": "more words"})
    fleet.synced()
    again = [item for item in keeper.poll(2_000) if isinstance(item, PolicyLoaded)]
    assert [(item.commit, item.digest) for item in again] == [(same, loaded.digest)]
    assert keeper.poll(3_000) == []
    state.close()


@pytest.mark.timeout(240)
def test_a_sync_that_is_killed_at_any_moment_leaves_a_whole_policy(fleet: Fleet) -> None:
    """Every file of a commit names that commit: a policy of two of them would be seen."""
    count = 12

    def version(number: int) -> dict[str, str | None]:
        return {
            f"{at:02}.yaml": RULE.format(name=f"rule-{at}", why=f"v{number}") + TAGS.partition("\n")[2] for at in range(count)
        }

    fleet.commit(version(0))
    started = time.monotonic()
    fleet.synced()
    longest_s = time.monotonic() - started
    looks = 0
    broken: list[str] = []
    done = threading.Event()

    def watch() -> None:
        """As the agent reads it, and as anybody does."""
        nonlocal looks
        state = State(fleet.folder / "state.sqlite")
        keeper = PolicyKeeper(fleet.path, state, "host")
        while not done.is_set():
            said = [item for item in keeper.poll(looks) if not isinstance(item, PolicyLoaded)]
            try:
                read = load_policy([fleet.path]).policy
            except InputError as fault:
                broken.append(fault.message)
                return
            seen = [[rule.reason for rule in rules] for rules in (read.rules, keeper.policy.rules)]
            broken.extend(f"{reasons} {said}" for reasons in seen if len(reasons) != count or len(set(reasons)) != 1 or said)
            looks += 1
        state.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    dice = random.Random(7)
    killed = 0
    try:
        number = 0
        while number < 30 or killed < 10 or looks <= 100:
            number += 1
            fleet.commit(version(number))
            command = [sys.executable, "-m", "envtrail", "policy", "sync"]
            sync = subprocess.Popen(command, env=fleet.variables, start_new_session=True, stderr=subprocess.DEVNULL)
            try:
                sync.wait(dice.uniform(0, longest_s))
            except subprocess.TimeoutExpired:
                # With what it has started, or alone: git then goes on without it.
                os.killpg(sync.pid, signal.SIGKILL) if number % 2 else sync.kill()
                sync.wait()
                killed += 1
            assert not broken
    finally:
        done.set()
        watcher.join()
    assert not broken
    until = time.monotonic() + 30
    while (ended := fleet.sync()).returncode == 3 and time.monotonic() < until:  # a git that goes on holds the lock
        time.sleep(0.2)
    assert ended.returncode == 0, ended.stderr
    assert {rule.reason for rule in load_policy([fleet.path]).policy.rules} == {f"v{number}"}


SWAPS = """
import sys, time
from pathlib import Path
from envtrail.policy.git import Commit
from envtrail.policy.sync import Placed, _place
while True:
    for version in ("a", "b"):
        files = {f"{version}{at}.yaml": version.encode() for at in range(12)}
        _place(Path(sys.argv[1]), files, Placed(url="", ref="", commit=Commit(id=version, author="", time_ms=0)))
        time.sleep(0.02)
"""


def test_readers_see_one_policy_while_it_is_swapped_and_who_swaps_is_killed(tmp_path: Path) -> None:
    """Two policies without a common file: a name of the one that is looked for in the other is missing."""
    path = tmp_path / "etc/policy.d"
    dice = random.Random(7)
    looks, swaps, last = 0, 0, ""
    for number in range(1, 16):
        before = path.resolve()
        swapping = subprocess.Popen([sys.executable, "-c", SWAPS, str(path)])
        try:
            while not path.exists() or path.resolve() == before:
                assert swapping.poll() is None
            until = time.monotonic() + dice.uniform(0.1, 0.4)
            while time.monotonic() < until or swaps < 3 * number or looks < 40 * number:
                assert len(_stamp(path)) == 12
                found = {name.name: file.read_text() for name, file in _files([path])}
                assert len(found) == 12
                (version,) = set(found.values())
                assert all(name.startswith(version) for name in found)
                looks, swaps, last = looks + 1, swaps + (version != last), version
            assert swapping.poll() is None
        finally:
            swapping.kill()
            swapping.wait()
        assert len(_stamp(path)) == 12
