"""Who is named, by what, and who is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtrail.agent.containers import read_container_image
from envtrail.interpret.actors import Facts, HubServer, name_actor
from envtrail.interpret.origins import (
    cgroup_path,
    container_of,
    inner_uid,
    is_in_unit,
    job_of,
    owner_of,
    unit_of,
    user_unit_of,
)
from envtrail.model.operation import Confidence

NAMES = {0: "root", 998: "jenkins", 1000: "jovyan", 1001: "alice", 1002: "bob"}
ID = "0123456789abcdef" * 4
DOCKER = f"/system.slice/docker-{ID}.scope"
GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "77", "GITHUB_REPOSITORY": "x/y", "GITHUB_ACTOR": "carol"}
JENKINS = {"JENKINS_URL": "http://ci", "BUILD_TAG": "j-1", "JOB_NAME": "j", "BUILD_USER_ID": "carol"}
SESSION = "/user.slice/user-1001.slice/session-3.scope"
MANAGER = "/user.slice/user-1001.slice/user@1001.service/app.slice"
HUB_UNIT = "/system.slice/jupyterhub.service"
RUNNER_UNIT = "/system.slice/actions.runner.x.service"
CRON = "/system.slice/cron.service"
PODMAN = f"/machine.slice/libpod-{ID}.scope"
ROOTLESS = f"{MANAGER}/libpod-{ID}.scope"


def server(user: str = "dora", uid: int | None = 1002, **more: bool) -> HubServer:
    return HubServer(user=user, uid=uid, **{"is_given": True, "is_first_word": True, **more})


def fake(user: str = "eve", uid: int | None = 1002, **more: bool) -> HubServer:
    """As a server that root's hub did not start looks, whatever stands above it."""
    return server(user, uid, is_given=False, **more)


SHARED = server(uid=998)


@pytest.mark.parametrize(
    ("facts", "name", "method", "confidence", "kind"),
    [
        ({"auid": 1001, "uid": 1001}, "alice", "auid", "certain", "human"),
        ({"auid": 1001, "uid": 0}, "alice", "auid", "certain", "human"),
        ({"auid": 1001, "uid": 1001, "recorded": {"AUID": "alice-then"}}, "alice-then", "auid", "certain", "human"),
        ({"auid": 1001, "uid": 1001, "recorded": {"AUID": "unset"}}, "alice", "auid", "certain", "human"),
        ({"auid": 1999, "uid": 1999}, None, "auid", "certain", "human"),
        ({"uid": 1002}, "bob", "uid", "strong", "human"),
        ({"uid": 0}, "root", "uid", "weak", None),
        ({"uid": 0, "cgroup": "/system.slice/cron.service"}, "root", "uid", "weak", "service"),
        ({"uid": 998, "cgroup": "/system.slice/jenkins.service"}, "jenkins", "uid", "weak", "service"),
        ({"uid": 1001, "cgroup": "/user.slice/user-1001.slice/user@1001.service/app.slice"}, "alice", "unit", "strong", "human"),
        # A session and a systemd manager keep their person through su and sudo, where PAM set no login uid.
        ({"uid": 1001, "cgroup": SESSION}, "alice", "unit", "strong", "human"),
        ({"uid": 0, "cgroup": SESSION}, "alice", "unit", "weak", "human"),
        ({"uid": 1002, "cgroup": SESSION}, "alice", "unit", "weak", "human"),
        ({"uid": 1002, "cgroup": SESSION, "recorded": {"UID": "bob"}}, "alice", "unit", "weak", "human"),
        ({"uid": 1002, "cgroup": MANAGER}, "alice", "unit", "weak", "human"),
        ({"auid": 1002, "uid": 1002, "cgroup": SESSION}, "bob", "auid", "certain", "human"),
        # cron logs in; a service's account is no person, and neither is root's own job.
        ({"auid": 1001, "uid": 1001, "cgroup": CRON}, "alice", "auid", "certain", "human"),
        ({"auid": 998, "uid": 998, "cgroup": CRON}, "jenkins", "auid", "certain", "service"),
        ({"auid": 0, "uid": 0, "cgroup": CRON}, "root", "auid", "certain", "service"),
        ({"auid": 0, "uid": 0}, "root", "auid", "certain", "human"),
        ({"uid": 1002, "cgroup": CRON}, "bob", "uid", "strong", "service"),
        ({}, None, "none", "none", None),
        # A server that a hub of root started, whatever login the hub inherited.
        ({"uid": 998, "hub": SHARED}, "dora", "jupyterhub", "strong", "human"),
        ({"auid": 1001, "uid": 998, "hub": SHARED}, "dora", "jupyterhub", "strong", "human"),
        ({"uid": 1002, "hub": server("bob")}, "bob", "jupyterhub", "strong", "human"),
        ({"auid": 1001, "uid": 1002, "hub": server("bob")}, "bob", "jupyterhub", "strong", "human"),
        ({"uid": 1002, "hub": server("b.ob@example")}, "bob", "jupyterhub", "strong", "human"),
        ({"uid": 1002, "hub": server("dora", is_shared=True)}, "dora", "jupyterhub", "strong", "human"),
        ({"uid": 1999, "hub": server("zoe", 1999)}, "zoe", "jupyterhub", "strong", "human"),
        ({"auid": 1001, "uid": 1001, "hub": server("alice", 1001)}, "alice", "auid", "certain", "human"),
        # What was read later than at the server's start names the account at most.
        ({"uid": 1002, "hub": server("bob", is_first_word=False)}, "bob", "jupyterhub", "strong", "human"),
        ({"uid": 1002, "hub": server("eve", is_first_word=False)}, "bob", "jupyterhub", "strong", "human"),
        ({"uid": 1002, "hub": server("eve", is_first_word=False, is_shared=True)}, "bob", "uid", "weak", "human"),
        ({"uid": 998, "hub": server("eve", 998, is_first_word=False)}, "jenkins", "uid", "weak", "service"),
        # A server that somebody else could have started: what it says of a person is not believed.
        ({"uid": 998, "hub": fake(uid=998)}, "jenkins", "uid", "weak", "service"),
        ({"uid": 998, "hub": fake(uid=998), "cgroup": HUB_UNIT}, "jenkins", "uid", "weak", "service"),
        ({"uid": 1002, "hub": fake()}, "bob", "uid", "weak", "human"),
        ({"uid": 1002, "hub": fake("bob")}, "bob", "uid", "strong", "human"),
        ({"uid": 1002, "hub": fake(is_shared=True), "cgroup": HUB_UNIT}, "bob", "uid", "weak", "service"),
        ({"uid": 1002, "hub": fake(), "cgroup": CRON}, "bob", "uid", "weak", "service"),
        ({"uid": 1001, "hub": fake(uid=1001), "cgroup": MANAGER}, "alice", "unit", "weak", "human"),
        ({"auid": 1001, "uid": 1001, "hub": fake(uid=1001)}, "alice", "auid", "weak", "human"),
        ({"auid": 1001, "uid": 1002, "hub": fake()}, "alice", "auid", "weak", "human"),
        ({"auid": 1001, "uid": 998, "hub": fake(uid=998)}, "alice", "auid", "weak", "human"),
        ({"uid": 1001, "hub": fake("dora", 1001), "cgroup": DOCKER}, None, "container", "weak", "service"),
        ({"auid": 1001, "uid": 1001, "hub": fake("dora", 1001), "cgroup": DOCKER}, None, "container", "weak", "human"),
        # The process's own variables name nobody.
        ({"auid": 1001, "uid": 1001, "variables": {"JUPYTERHUB_USER": "eve"}}, "alice", "auid", "certain", "human"),
        ({"auid": 1001, "uid": 1001, "variables": GITHUB}, "alice", "auid", "certain", "human"),
        ({"uid": 1002, "variables": {"JUPYTERHUB_USER": "eve"}}, "bob", "uid", "strong", "human"),
        ({"uid": 1002, "variables": GITHUB}, "bob", "uid", "strong", "human"),
        # CI: a job's variables are its account's word; whom they name is claimed.
        ({"uid": 998, "variables": GITHUB}, "jenkins", "uid", "weak", "service"),
        ({"uid": 998, "variables": JENKINS}, "jenkins", "uid", "weak", "service"),
        ({"uid": 998, "variables": {"GITLAB_CI": "true", "CI_JOB_ID": "9"}}, "jenkins", "uid", "weak", "service"),
        ({"uid": 1002, "runner": GITHUB}, "bob", "uid", "weak", "human"),
        ({"uid": 1002, "runner": GITHUB, "cgroup": RUNNER_UNIT}, "bob", "uid", "weak", "service"),
        ({"uid": 998, "runner": GITHUB, "cgroup": RUNNER_UNIT}, "jenkins", "uid", "weak", "service"),
        ({"uid": 998, "runner": {}}, "jenkins", "uid", "weak", "service"),
        ({"auid": 1001, "uid": 998, "runner": GITHUB, "uids": (1001, 0, 998)}, "alice", "auid", "weak", "human"),
        ({"auid": 1001, "uid": 1001, "runner": GITHUB, "uids": (1001,)}, "alice", "auid", "weak", "human"),
        ({"uid": 1001, "runner": GITHUB, "cgroup": MANAGER}, "alice", "unit", "weak", "human"),
        ({"runner": GITHUB}, None, "none", "none", None),
        # A container's uid is nobody's account here; a daemon's containers carry the login of who started the daemon.
        ({"uid": 1001, "cgroup": DOCKER}, None, "container", "weak", "service"),
        ({"uid": 0, "cgroup": DOCKER}, None, "container", "weak", "service"),
        ({"auid": 1001, "uid": 0, "cgroup": DOCKER}, None, "container", "weak", "human"),
        ({"auid": 1001, "uid": 0, "cgroup": "/lxc.payload.web/system.slice/ssh.service"}, None, "container", "weak", "human"),
        ({"auid": 1001, "uid": 0, "cgroup": PODMAN}, "alice", "auid", "strong", "human"),
        ({"auid": 1001, "uid": 101000, "cgroup": ROOTLESS}, "alice", "auid", "strong", "human"),
        ({"uid": 101000, "cgroup": ROOTLESS}, "alice", "unit", "weak", "human"),
        ({"uid": 101000, "cgroup": PODMAN}, None, "container", "weak", "human"),
        ({"uid": 998, "cgroup": DOCKER, "variables": GITHUB}, None, "container", "weak", "service"),
        # A container's name that an account can give to its own cgroup does not hide the account.
        ({"uid": 1001, "cgroup": f"{MANAGER}/docker-{ID}.scope"}, "alice", "unit", "weak", "human"),
        ({"auid": 1001, "uid": 1001, "cgroup": f"{MANAGER}/docker-{ID}.scope"}, "alice", "auid", "strong", "human"),
        ({"uid": 998, "cgroup": f"{HUB_UNIT}/docker-{ID}.scope"}, "jenkins", "uid", "weak", "service"),
        ({"uid": 1002, "cgroup": f"{HUB_UNIT}/docker-{ID}.scope"}, "bob", "uid", "weak", "service"),
        # Nor does the name of another person's manager below a unit.
        ({"uid": 998, "cgroup": f"{HUB_UNIT}/user.slice/user-1001.slice/user@1001.service"}, "jenkins", "uid", "weak", "service"),
        ({"uid": 1002, "cgroup": f"{HUB_UNIT}/user@1001.service"}, "bob", "uid", "strong", "service"),
        # An agent acts for a person; both are named.
        ({"auid": 1001, "uid": 1001, "agent": "claude"}, "alice", "auid", "certain", "agent"),
        ({"uid": 998, "hub": SHARED, "agent": "jupyter-mcp-server"}, "dora", "jupyterhub", "strong", "agent"),
    ],
)
def test_the_first_method_that_can_speak_does(
    facts: dict[str, object], name: str | None, method: str, confidence: str, kind: str | None
) -> None:
    named = name_actor(Facts(names=NAMES, **facts))  # type: ignore[arg-type]
    actor = named.actor
    assert (actor.name, actor.method, actor.confidence.value, actor.kind) == (name, method, confidence, kind)
    assert named.why
    if name is None:
        assert named.absent["actor.name"]
    claims = {"dora", "eve", "carol"} - {name}
    assert actor.claimed is None or actor.claimed in claims


@pytest.mark.parametrize(
    ("facts", "claimed"),
    [
        ({"uid": 998, "hub": fake("bob", 998)}, "bob"),
        ({"uid": 1002, "hub": fake("bob")}, None),
        ({"uid": 998, "hub": SHARED}, None),
        ({"uid": 998, "runner": GITHUB}, "carol"),
        ({"auid": 1001, "uid": 998, "runner": {}, "variables": GITHUB}, "carol"),
        ({"uid": 1001, "hub": fake("bob", 1001), "cgroup": DOCKER}, "bob"),
        ({"auid": 1001, "uid": 1001, "variables": GITHUB}, None),
    ],
)
def test_whom_an_account_could_have_named_itself_is_kept_apart(facts: dict[str, object], claimed: str | None) -> None:
    assert name_actor(Facts(names=NAMES, **facts)).actor.claimed == claimed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uids", "chain"),
    [
        ((), []),
        ((1001,), []),
        ((1001, 1001), []),
        ((1001, 0), ["alice", "root"]),
        ((1001, 1001, 0, 0, 1002), ["alice", "root", "bob"]),
        ((1001, 0, 1001), ["alice", "root", "alice"]),
        ((1001, 4242), ["alice", "4242"]),
    ],
)
def test_the_chain_of_su_and_sudo_is_kept(uids: tuple[int, ...], chain: list[str]) -> None:
    assert name_actor(Facts(auid=1001, uid=0, uids=uids, names=NAMES)).actor.chain == chain


@pytest.mark.parametrize(
    ("cgroup", "engine"),
    [
        (DOCKER, "docker"),
        (f"12:cpu:/docker/{ID}\n11:memory:/docker/{ID}", "docker"),
        (f"/user.slice/user-1001.slice/user@1001.service/user.slice/libpod-{ID}.scope/container", "podman"),
        (f"/machine.slice/libpod-{ID}.scope", "podman"),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", "containerd"),
        (f"/kubepods/besteffort/pod12/{ID}", "containerd"),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", "crio"),
        ("/lxc.payload.web/system.slice", "lxc"),
        ("/lxc/web", "lxc"),
        (f"/actions_job/{ID}", "unknown"),
        ("/user.slice/user-1001.slice/session-3.scope", None),
        ("/system.slice/docker.service", None),
        ("", None),
    ],
)
def test_containers_are_known_by_their_cgroup(cgroup: str, engine: str | None) -> None:
    found = container_of(cgroup, uid=101000, uid_map="0 100000 65536\n", image="img")
    assert (found.engine if found else None) == engine
    if found is not None:
        assert (found.uid, found.image) == (1000, "img")
        assert found.id in {ID, "web"}
        assert found.unit == ("user@1001.service" if "user@" in cgroup else None)


def test_a_container_below_a_unit_says_whose_word_it_is() -> None:
    for place, unit in ((MANAGER, "user@1001.service"), (SESSION, "session-3.scope"), (HUB_UNIT, "jupyterhub.service")):
        found = container_of(f"{place}/docker-{ID}.scope", uid=None, uid_map=None, image=None)
        assert found is not None
        assert found.unit == unit


def test_uids_are_mapped_by_the_ranges_that_hold_them() -> None:
    ranges = "         0       1001          1\n         1     100000      65536\n"
    assert [inner_uid(uid, ranges) for uid in (1001, 100000, 100999, 1002, 0)] == [0, 1, 1000, None, None]
    assert (inner_uid(None, ranges), inner_uid(5, None)) == (None, None)


def test_units_and_managers() -> None:
    assert unit_of("/user.slice/user-1001.slice/session-3.scope") == "session-3.scope"
    assert unit_of(f"{MANAGER}/run-u5.service") == "user@1001.service"
    assert user_unit_of(f"{MANAGER}/run-u5.service") == "run-u5.service"
    assert [user_unit_of(path) for path in (MANAGER, SESSION, f"{HUB_UNIT}/x.service", None)] == [None] * 4
    assert unit_of("/") is None
    assert owner_of(f"{MANAGER}/x") == 1001
    assert owner_of(SESSION) == 1001
    assert owner_of("/user.slice/user-1001.slice") is None
    assert owner_of(CRON) is None


@pytest.mark.parametrize(
    "cgroup",
    [
        f"{MANAGER}/nightly.service",
        f"{MANAGER}/system.slice/nightly.service",
        f"{SESSION}/nightly.service",
        f"{HUB_UNIT}/nightly.service",
        f"{HUB_UNIT}/user.slice/user-1001.slice/user@1001.service",
        f"{DOCKER}/system.slice/nightly.service",
        f"/docker/{ID}/nightly.service",
        f"/docker/{ID}/user.slice/user-1001.slice/user@1001.service",
        "/lxc.payload.web/system.slice/nightly.service",
        f"/kubepods/besteffort/pod1/{ID}/nightly.service",
    ],
)
def test_a_unit_that_was_named_below_another_is_none_of_the_machine(cgroup: str) -> None:
    assert unit_of(cgroup) != "nightly.service"
    assert not is_in_unit(cgroup, ["nightly.service"])
    assert owner_of(cgroup) is None or cgroup.startswith("/user.slice/user-1001.slice")
    assert is_in_unit("/system.slice/nightly.service/worker", ["nightly.service"])
    assert is_in_unit("/batch.slice/nightly.service", ["batch.slice"])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (f"0::{SESSION}\n", SESSION),
        ("0::/\n", "/"),
        ("", None),
        # Version 1, and both side by side: the unified hierarchy stays at its root.
        (f"9:name=systemd:{SESSION}\n4:memory:/x\n0::/\n", SESSION),
        (f"9:name=systemd:{CRON}\n0::{SESSION}\n", SESSION),
        (f"9:name=systemd:/\n4:memory:/docker/{ID}\n1:cpu:/\n0::/\n", f"/docker/{ID}"),
        (f"12:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/docker/{ID}\n", f"/docker/{ID}"),
        (f"0::{HUB_UNIT}\n1:name=systemd:/docker/{ID}\n", f"/docker/{ID}"),
        ("4:memory:/a:b\n0::/\n", "/a:b"),
        # A container that a person named in another hierarchy hides nothing.
        (f"4:memory:{MANAGER}/docker-{ID}.scope\n0::{SESSION}\n", SESSION),
    ],
)
def test_the_path_that_says_most_is_kept(text: str, path: str | None) -> None:
    assert cgroup_path(text) == path


def test_jobs_of_every_runner_are_read() -> None:
    assert job_of(GITHUB) is not None
    marks = ("GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "BUILDKITE", "CIRCLECI", "TF_BUILD")
    assert len({job.system for mark in marks if (job := job_of({mark: "1"}))}) == len(marks)
    assert job_of({"CI": "true"}) is None


def test_the_image_is_what_the_engine_wrote_down(tmp_path: Path) -> None:
    docker = container_of(DOCKER, uid=0, uid_map=None, image=None)
    podman = container_of(f"/machine.slice/libpod-{ID}.scope", uid=0, uid_map=None, image=None)
    assert docker is not None
    assert podman is not None
    (tmp_path / ID).mkdir()
    (tmp_path / ID / "config.v2.json").write_text(json.dumps({"Config": {"Image": "python:3.12"}, "More": 1}))
    known = tmp_path / "containers.json"
    known.write_text(json.dumps([{"id": ID, "metadata": json.dumps({"image-name": "docker.io/python:3.13"})}]))
    assert read_container_image(docker, docker=tmp_path) == "python:3.12"
    assert read_container_image(podman, podman=(known,)) == "docker.io/python:3.13"
    known.write_text("{")
    assert read_container_image(podman, podman=(known,)) is None
    assert read_container_image(docker, docker=tmp_path / "none") is None


_NUMBERS = st.none() | st.sampled_from([0, 998, 1000, 1001, 1002, 4242])
_VARIABLES = st.dictionaries(st.sampled_from([*GITHUB, "JUPYTERHUB_USER", "GITLAB_CI"]), st.text(max_size=5))


_SERVERS = st.none() | st.builds(
    HubServer, user=st.just("eve"), uid=_NUMBERS, is_given=st.booleans(), is_first_word=st.booleans(), is_shared=st.booleans()
)
_PLACES = st.sampled_from(
    [
        None,
        DOCKER,
        f"{HUB_UNIT}/docker-{ID}.scope",
        f"{MANAGER}/docker-{ID}.scope",
        PODMAN,
        ROOTLESS,
        SESSION,
        MANAGER,
        CRON,
        HUB_UNIT,
        "/",
    ]
)


@given(
    auid=_NUMBERS,
    uid=_NUMBERS,
    cgroup=_PLACES,
    variables=_VARIABLES,
    hub=_SERVERS,
    runner=st.none() | _VARIABLES,
    uids=st.lists(_NUMBERS.filter(bool)),
)
def test_nobody_is_certain_without_a_login_and_no_name_is_without_a_method(
    auid: int | None,
    uid: int | None,
    cgroup: str | None,
    variables: dict[str, str],
    hub: HubServer | None,
    runner: dict[str, str] | None,
    uids: list[int],
) -> None:
    facts = Facts(auid=auid, uid=uid, cgroup=cgroup, variables=variables, hub=hub, runner=runner, uids=tuple(uids), names=NAMES)
    named = name_actor(facts)
    actor = named.actor
    assert actor.confidence is not Confidence.CERTAIN or (actor.method == "auid" and auid is not None and runner is None)
    assert actor.name is None or (actor.method != "none" and actor.confidence is not Confidence.NONE)
    assert actor.name is not None or named.absent["actor.name"]
    assert named.why
    assert (actor.auid, actor.uid) == (auid, uid)
    if actor.method == "jupyterhub":
        assert hub is not None
        assert hub.is_given
        assert actor.name in NAMES.values() or hub.is_first_word
    else:
        assert actor.name is None or actor.name in NAMES.values()
    if actor.method == "container":
        assert actor.name is None
    if actor.claimed is not None:
        assert actor.confidence in {Confidence.WEAK, Confidence.NONE}
