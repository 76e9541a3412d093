"""Who is named, by what, and who is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtrail.agent.containers import read_container_image
from envtrail.interpret.actors import Facts, HubServer, name_actor
from envtrail.interpret.origins import container_of, inner_uid, job_of, manager_uid_of, unit_of
from envtrail.model.operation import Confidence

NAMES = {0: "root", 998: "jenkins", 1000: "jovyan", 1001: "alice", 1002: "bob"}
ID = "0123456789abcdef" * 4
DOCKER = f"/system.slice/docker-{ID}.scope"
GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "77", "GITHUB_REPOSITORY": "x/y", "GITHUB_ACTOR": "carol"}
HUB = HubServer(user="dora", uid=1000, hub_uid=1000)


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
        ({"uid": 1002, "cgroup": "/user.slice/user-1001.slice/user@1001.service/app.slice"}, "bob", "uid", "strong", "human"),
        ({}, None, "none", "none", None),
        # A hub's server: whoever started the hub, and whatever login it inherited.
        ({"uid": 1000, "hub": HUB}, "dora", "jupyterhub", "strong", "human"),
        ({"auid": 1002, "uid": 1000, "hub": HUB}, "dora", "jupyterhub", "strong", "human"),
        ({"uid": 1001, "hub": HubServer(user="alice", uid=1001, hub_uid=0)}, "alice", "jupyterhub", "strong", "human"),
        ({"uid": 1001, "hub": HubServer(user="a.lice@example", uid=1001, hub_uid=0)}, "alice", "jupyterhub", "strong", "human"),
        ({"uid": 1999, "hub": HubServer(user="zoe", uid=1999, hub_uid=0)}, "zoe", "jupyterhub", "strong", "human"),
        # The process's own variables name nobody that the kernel has named already.
        ({"auid": 1001, "uid": 1001, "variables": {"JUPYTERHUB_USER": "eve"}}, "alice", "auid", "certain", "human"),
        ({"auid": 1001, "uid": 1001, "variables": GITHUB}, "alice", "auid", "certain", "human"),
        ({"uid": 1002, "variables": {"JUPYTERHUB_USER": "eve"}}, "bob", "uid", "strong", "human"),
        # CI: a job tells of itself, weakly.
        ({"uid": 998, "variables": GITHUB}, "carol", "ci", "weak", "service"),
        ({"auid": 1002, "uid": 1002, "variables": GITHUB, "is_below_runner": True}, "carol", "ci", "weak", "service"),
        ({"uid": 998, "variables": {"GITLAB_CI": "true", "CI_JOB_ID": "9"}}, None, "ci", "none", "service"),
        # A container's uid is nobody's account here; a login that reached into it is.
        ({"uid": 1001, "cgroup": DOCKER}, None, "container", "weak", "service"),
        ({"uid": 0, "cgroup": DOCKER}, None, "container", "weak", "service"),
        ({"auid": 1001, "uid": 0, "cgroup": DOCKER}, "alice", "auid", "certain", "human"),
        # An agent acts for a person; both are told.
        ({"auid": 1001, "uid": 1001, "agent": "claude"}, "alice", "auid", "certain", "agent"),
        ({"uid": 1000, "hub": HUB, "agent": "jupyter-mcp-server"}, "dora", "jupyterhub", "strong", "agent"),
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


def test_uids_are_mapped_by_the_ranges_that_hold_them() -> None:
    ranges = "         0       1001          1\n         1     100000      65536\n"
    assert [inner_uid(uid, ranges) for uid in (1001, 100000, 100999, 1002, 0)] == [0, 1, 1000, None, None]
    assert (inner_uid(None, ranges), inner_uid(5, None)) == (None, None)


def test_units_and_managers() -> None:
    assert unit_of("/user.slice/user-1001.slice/session-3.scope") == "session-3.scope"
    assert unit_of("/user.slice/user-1001.slice/user@1001.service/app.slice/run-u5.service") == "run-u5.service"
    assert unit_of("/") is None
    assert manager_uid_of("/user.slice/user-1001.slice/user@1001.service/x") == 1001
    assert manager_uid_of("/system.slice/cron.service") is None


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


@given(auid=_NUMBERS, uid=_NUMBERS, cgroup=st.sampled_from([None, DOCKER, "/system.slice/x.service", "/"]), variables=_VARIABLES)
def test_nobody_is_certain_without_a_login_and_no_name_is_without_a_method(
    auid: int | None, uid: int | None, cgroup: str | None, variables: dict[str, str]
) -> None:
    named = name_actor(Facts(auid=auid, uid=uid, cgroup=cgroup, variables=variables, names=NAMES))
    actor = named.actor
    assert actor.confidence is not Confidence.CERTAIN or actor.method == "auid"
    assert actor.name is None or actor.method != "none"
    assert actor.name is not None or named.absent["actor.name"]
    if actor.method not in {"ci", "jupyterhub"}:
        assert (
            actor.name not in {variables.get("JUPYTERHUB_USER"), variables.get("GITHUB_ACTOR")}
            or actor.name in NAMES.values()
            or actor.name is None
        )
