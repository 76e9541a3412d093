"""A policy from a repository: what a sync says, what it leaves behind, and each refusal with its hint."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import msgspec
import pytest
from policy_lab import RULE, Fleet, policy

from envtrail.config import load_config
from envtrail.errors import CannotRunError, ConfigError, EnvtrailError, InputError
from envtrail.model.yaml_documents import MOST_BYTES
from envtrail.policy.git import Commit, PolicySource, moment_of, source_of
from envtrail.policy.sync import Placed, PlacedFile, Synced, read_placed, sync_policy

NAMES = ["10-tags.yaml", "20-rules.yaml"]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # Nothing redirects git.
    return Fleet(tmp_path)


def synced(fleet: Fleet, **words: bool) -> Synced:
    return sync_policy(load_config(environ=fleet.variables), **words)


def refusal(fleet: Fleet, error: type[EnvtrailError] = InputError) -> tuple[str, str | None]:
    """Why it was refused, and the hint; what was in force is left."""
    before = [path.name for path in fleet.path.iterdir()] if fleet.path.is_dir() else None
    with pytest.raises(error) as caught:
        synced(fleet)
    assert before == ([path.name for path in fleet.path.iterdir()] if fleet.path.is_dir() else None)
    return caught.value.message, caught.value.hint


def commit_of(fleet: Fleet, id_: str, author: str = "alice") -> Commit:
    return Commit(id=id_, author=author, time_ms=int(fleet.git("log", "-1", "--format=%at", id_)) * 1000, subject="a change")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_what_a_sync_says_and_what_it_leaves(fleet: Fleet) -> None:
    first = commit_of(fleet, fleet.commit(policy("first")))
    said = Synced(state="updated", path=str(fleet.path), before=None, commit=first, signer=None, files=NAMES)
    assert synced(fleet, dry_run=True) == msgspec.structs.replace(said, state="would update")
    assert not fleet.path.exists()
    assert synced(fleet) == said
    fine = msgspec.structs.replace(said, state="fine", before=first.id)
    assert synced(fleet) == synced(fleet, dry_run=True) == fine
    second = commit_of(fleet, fleet.commit({"20-rules.yaml": RULE.format(name="second", why="w")}, author="bob"), "bob")
    assert synced(fleet) == msgspec.structs.replace(said, before=first.id, commit=second)
    placed = read_placed(fleet.path)
    assert placed == Placed(
        url=fleet.url,
        ref="refs/heads/main",
        commit=second,
        files={
            name: PlacedFile(sha256=digest(fleet.path / name), last=last)
            for name, last in zip(NAMES, (first, second), strict=True)
        },
    )
    assert [placed.author_of(fleet.path / name) for name in (*NAMES, "none.yaml")] == [first, second, None]
    assert fleet.rules() == ["second"]
    assert sorted(os.listdir(fleet.path.parent)) == ["policy.d", "policy.d.git"]
    assert os.readlink(fleet.path).startswith(f"policy.d.git/{second.id[:12]}-")
    for item in (fleet.path.parent / "policy.d.git", fleet.path.resolve(), *fleet.path.iterdir()):
        assert item.stat().st_mode & 0o777 == (0o755 if item.is_dir() else 0o644)


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_what_is_no_longer_the_repositorys_is_its_again(fleet: Fleet, change: str) -> None:
    fleet.commit(policy("central"))
    synced(fleet)
    placed = read_placed(fleet.path)
    assert placed is not None
    file = fleet.path / NAMES[1]
    if change == "changed":
        file.write_text(RULE.format(name="mine", why="w"))
    elif change == "added":
        (fleet.path / "99.yml").write_text("version: 1\n")
    else:
        file.unlink()
    assert placed.author_of(file) == (placed.files[NAMES[1]].last if change == "added" else None)
    assert synced(fleet, dry_run=True).state == "would update"
    assert synced(fleet).state == "updated"
    assert (fleet.rules(), sorted(os.listdir(fleet.path))) == (["central"], [".from-git.json", *NAMES])


def test_what_was_there_before_is_put_aside(fleet: Fleet) -> None:
    fleet.path.mkdir()
    (fleet.path / "mine.yaml").write_text("version: 1\n")
    assert read_placed(fleet.path) is None
    fleet.commit(policy("central"))
    aside = Path(synced(fleet).aside or "")
    assert (aside.parent, aside.name.startswith("policy.d.before-git-")) == (fleet.path.parent, True)
    assert os.listdir(aside) == ["mine.yaml"]
    assert synced(fleet).aside is None


def test_a_folder_that_was_replaced_is_kept_for_a_minute(fleet: Fleet) -> None:
    kept = fleet.path.with_name("policy.d.git")
    for name in ("first", "second"):
        fleet.commit(policy(name))
        synced(fleet)
    folders = sorted(kept.iterdir())
    assert len(folders) == 2
    for folder in folders:
        os.utime(folder, (0, 0))
    (kept / "a file").touch()
    os.utime(kept / "a file", (0, 0))
    before = fleet.path.resolve()
    fleet.commit(policy("third"))
    synced(fleet)
    assert sorted(kept.iterdir()) == sorted([before, fleet.path.resolve()])


def test_a_bad_policy_is_refused_with_its_faults(fleet: Fleet) -> None:
    id_ = fleet.commit({"20-rules.yaml": "version: 1\nrulez: []\n", "30.yml": "version: 1\n"})
    said = synced(fleet)
    assert (said.state, said.before, said.commit.id, said.files) == ("refused", None, id_, ["20-rules.yaml", "30.yml"])
    assert [str(fault).partition(": ")[0] for fault in said.faults] == [f"{fleet.path}/20-rules.yaml:2:8"]
    assert not fleet.path.exists()


def test_a_branch_that_was_replaced_is_taken_by_force_alone(fleet: Fleet) -> None:
    first, second = fleet.commit(policy("first")), fleet.commit(policy("second"))
    synced(fleet)
    fleet.git("reset", "--quiet", "--hard", first)
    fleet.git("push", "--quiet", "--force", "origin", "main")
    assert refusal(fleet) == (
        f"commit {first[:12]} does not continue from {second[:12]}, which is installed: the branch was rewound or replaced",
        "if this is intended: envtrail policy sync --force",
    )
    assert synced(fleet, force=True).state == "updated"
    assert fleet.rules() == ["first"]


def test_the_folder_of_the_repository_that_is_named_has_the_policy(fleet: Fleet) -> None:
    id_ = fleet.commit({"gpu/10.yaml": "version: 1\n", "README.md": "x", "empty/README": "x"})[:12]
    assert refusal(fleet) == (f"commit {id_} has no YAML files", "policy.git_folder")
    fleet.settings = {"ENVTRAIL_POLICY_GIT_FOLDER": "empty"}
    assert refusal(fleet) == (f"`empty` of commit {id_} has no YAML files", "policy.git_folder")
    fleet.settings = {"ENVTRAIL_POLICY_GIT_FOLDER": "none"}
    assert refusal(fleet) == (f"commit {id_} has no folder `none`", "policy.git_folder")
    fleet.settings = {"ENVTRAIL_POLICY_GIT_FOLDER": "gpu"}
    said = synced(fleet)
    assert said.files == ["10.yaml"]
    placed = read_placed(fleet.path)
    assert placed is not None
    assert placed.files["10.yaml"].last == said.commit


@pytest.mark.parametrize("kind", ["link", "large", "name"])
def test_what_is_no_policy_file_is_refused(fleet: Fleet, kind: str) -> None:
    name = "a\x1b.yaml" if kind == "name" else "a.yaml"
    if kind == "link":
        (fleet.work / name).symlink_to("/etc/passwd")
    else:
        (fleet.work / name).write_text("version: 1\n" + "#" * (MOST_BYTES if kind == "large" else 0))
    id_ = fleet.commit(policy("x"))
    assert refusal(fleet) == (
        f"`{name!a}` of commit {id_[:12]} is not a policy file",
        "it must be a regular file of moderate size with a text name",
    )


def test_a_signature_is_required_of_those_who_may_sign(fleet: Fleet) -> None:
    key, other = fleet.key("key"), fleet.key("other")
    fleet.settings = {"ENVTRAIL_POLICY_GIT_SIGNED": "true"}
    fleet.signers.write_text(f"alice@example.org {key.with_suffix('.pub').read_text()}")
    hint = f"`{fleet.signers}` names who may sign (policy.allowed_signers); sign with `git commit -S` and gpg.format=ssh"
    id_ = fleet.commit(policy("unsigned"))
    assert refusal(fleet) == (
        f"commit {id_[:12]} is not signed by an allowed signer: it has no signature of an SSH key",
        hint,
    )
    id_ = fleet.commit(policy("stranger"), key=other)
    message, reported = refusal(fleet)
    assert message.startswith(f"commit {id_[:12]} is not signed by an allowed signer: ")
    assert "it has no signature" not in message
    assert reported == hint
    fleet.commit(policy("signed"), key=key)
    said = synced(fleet)
    assert (said.signer or "").startswith("alice@example.org (SHA256:")
    placed = read_placed(fleet.path)
    assert placed is not None
    assert placed.signer == said.signer


def test_what_cannot_be_reached_leaves_the_policy_in_force(fleet: Fleet) -> None:
    fleet.commit(policy("good"))
    synced(fleet)
    fleet.settings = {"ENVTRAIL_POLICY_GIT_REF": "none"}
    assert refusal(fleet, EnvtrailError) == (
        f"{fleet.url} none: fatal: couldn't find remote ref refs/heads/none",
        "the policy in force stays",
    )
    fleet.settings = {}
    assert synced(fleet).state == "fine"


def test_a_copy_that_a_killed_sync_has_left_is_made_again(fleet: Fleet) -> None:
    fleet.commit(policy("good"))
    copy = fleet.folder / "trail/policy.git"
    copy.mkdir(parents=True)
    (copy / "HEAD").write_text("broken")
    assert synced(fleet).state == "updated"
    for left in ("config.lock", "shallow.lock", "refs/envtrail/tip.lock"):
        (copy / left).touch()
    (copy / "mark").touch()
    fleet.commit(policy("better"))
    assert synced(fleet).state == "updated"
    assert (copy / "mark").exists(), "what can be used is not fetched again"
    assert (fleet.folder / "trail/policy.lock").stat().st_mode & 0o777 == 0o600


def test_one_sync_at_a_time(fleet: Fleet) -> None:
    fleet.commit(policy("good"))
    synced(fleet)
    with (fleet.folder / "trail/policy.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert refusal(fleet, CannotRunError) == ("another sync of the policy is running", "it ends within minutes")


def test_a_place_where_others_may_write_or_that_is_a_file_is_refused(fleet: Fleet) -> None:
    fleet.commit(policy("good"))
    parent = fleet.path.parent
    for mode in (0o775, 0o757):
        parent.chmod(mode)
        assert refusal(fleet) == (
            f"`{parent}` can be written by users other than its owner",
            f"chown root {parent}; chmod go-w {parent}",
        )
    parent.chmod(0o755)
    fleet.path.write_text("version: 1\n")
    assert refusal(fleet) == (f"policy.path: `{fleet.path}` is a file, and a repository has many", "name a folder")


def test_without_git_it_says_so(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.commit(policy("good"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert refusal(fleet, CannotRunError) == ("git is not installed", "apt-get install git, or similar")


def test_the_source_is_that_of_the_settings() -> None:
    def source(**words: object) -> PolicySource:
        flags = {"policy.git": "https://git.example/p.git", "policy.allowed_signers": "/s"}
        return source_of(load_config(environ={}, flags=flags | {f"policy.{name}": value for name, value in words.items()}))

    plain = PolicySource(url="https://git.example/p.git", ref="refs/heads/main", folder="", allowed_signers=None)
    assert source() == plain
    assert source(git_ref="refs/tags/v1", git_folder="a/b", git_signed=True) == PolicySource(
        url=plain.url, ref="refs/tags/v1", folder="a/b", allowed_signers=Path("/s")
    )
    with pytest.raises(ConfigError) as caught:
        source_of(load_config(environ={}, flags={}))
    assert caught.value.message == "no repository is named"
    assert "set policy.git" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("seconds", "time_ms"),
    [("-1", 0), ("0", 0), ("5", 5_000), ("253370764800", 253_370_764_800_000), ("9" * 30, 253_370_764_800_000)],
)
def test_any_number_of_a_commit_is_a_time(seconds: str, time_ms: int) -> None:
    assert moment_of(seconds) == time_ms
