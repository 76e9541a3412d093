"""Where a process belongs, read from text that the kernel and its parents gave it: a unit, a container, a CI job. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from envtrail.model.operation import Container, Job

_CONTAINERS = (
    # The id is what the engine's own commands take; both cgroup drivers' spellings, and both cgroup versions.
    ("docker", re.compile(r"(?:/docker/|/docker-)([0-9a-f]{64})(?:\.scope)?")),
    ("podman", re.compile(r"/libpod-(?:payload-|conmon-)?([0-9a-f]{64})(?:\.scope)?")),
    ("containerd", re.compile(r"/(?:cri-containerd-|nerdctl-)([0-9a-f]{64})(?:\.scope)?")),
    ("crio", re.compile(r"/crio-([0-9a-f]{64})(?:\.scope)?")),
    ("lxc", re.compile(r"/lxc(?:\.payload)?[./]([^/]+)")),
    ("containerd", re.compile(r"/kubepods[^:]*/(?:pod[^/]+/)?([0-9a-f]{64})")),
    ("unknown", re.compile(r"/([0-9a-f]{64})(?:\.scope)?(?:/|$)")),
)
_UNIT = re.compile(r"([^/]+\.(?:service|scope))(?=/|$)")
_USER_MANAGER = re.compile(r"/user@(\d+)\.service(?:/|$)")
_USER_SESSION = re.compile(r"/user-(\d+)\.slice/session-[^/]+\.scope(?:/|$)")
_OF_PEOPLE = frozenset({"cron.service", "crond.service", "atd.service", "anacron.service", "ssh.service", "sshd.service"})
"""System services below which people run what they like."""
_MAP_LINE = re.compile(r"^\s*(\d+)\s+(\d+)\s+(\d+)\s*$", re.MULTILINE)


class _Runner(Struct, frozen=True):
    """The variables by which a CI system tells a job of itself."""

    system: str
    mark: str
    """Set in every job of this system."""
    id: str
    pipeline: str
    person: str


_RUNNERS = (
    _Runner("github-actions", "GITHUB_ACTIONS", "GITHUB_RUN_ID", "GITHUB_REPOSITORY", "GITHUB_ACTOR"),
    _Runner("gitlab-ci", "GITLAB_CI", "CI_JOB_ID", "CI_PIPELINE_ID", "GITLAB_USER_LOGIN"),
    _Runner("jenkins", "JENKINS_URL", "BUILD_TAG", "JOB_NAME", "BUILD_USER_ID"),
    _Runner("buildkite", "BUILDKITE", "BUILDKITE_JOB_ID", "BUILDKITE_PIPELINE_SLUG", "BUILDKITE_BUILD_CREATOR"),
    _Runner("circleci", "CIRCLECI", "CIRCLE_WORKFLOW_JOB_ID", "CIRCLE_PIPELINE_ID", "CIRCLE_USERNAME"),
    _Runner("azure-pipelines", "TF_BUILD", "BUILD_BUILDID", "BUILD_DEFINITIONNAME", "BUILD_REQUESTEDFOR"),
)

HUB, HUB_USER = "jupyterhub", "JUPYTERHUB_USER"
HUB_SERVERS = ("jupyterhub-singleuser", "jupyterhub.singleuser", "jupyter-labhub")
"""Programs and modules that a hub's spawner starts for one person."""


def container_of(cgroup: str | None, *, uid: int | None, uid_map: str | None, image: str | None) -> Container | None:
    """The container of a cgroup path; None outside of one.

    Args:
        cgroup: `/proc/PID/cgroup`, whole or the path of the unified hierarchy.
        uid: Of the process, as the host counts.
        uid_map: `/proc/PID/uid_map`: lines of inside, outside, length.
        image: The engine's name for what it runs, where it could be read.
    """
    if not cgroup:
        return None
    for engine, pattern in _CONTAINERS:
        found = pattern.search(cgroup)
        if found:
            return Container(id=found[1], engine=engine, image=image, uid=inner_uid(uid, uid_map))
    return None


def inner_uid(uid: int | None, uid_map: str | None) -> int | None:
    """The uid inside a user namespace; None when the map does not hold it or is not known."""
    if uid is None or uid_map is None:
        return None
    for inside, outside, length in _MAP_LINE.findall(uid_map):
        if int(outside) <= uid < int(outside) + int(length):
            return uid - int(outside) + int(inside)
    return None


def unit_of(cgroup: str | None) -> str | None:
    """The innermost systemd unit or scope of a cgroup path."""
    units = _UNIT.findall(cgroup or "")
    return units[-1] if units else None


def cgroup_path(text: str) -> str | None:
    """The one path of `/proc/PID/cgroup` that says most: a container's in any hierarchy, else the unified one, else systemd's.

    A container of cgroup version 1 leaves the unified hierarchy at its root.

    References:
        cgroups(7): lines of `hierarchy:controllers:path`.
    """
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    paths = {controllers: path for _, controllers, path in lines}
    contained = (path for path in paths.values() if container_of(path, uid=None, uid_map=None, image=None))
    told = (path for path in (paths.get(""), paths.get("name=systemd"), *paths.values()) if path not in {None, "", "/"})
    return next(contained, None) or next(told, None) or ("/" if lines else None)


def owner_of(cgroup: str | None) -> int | None:
    """The uid whose login session (`user-1001.slice/session-3.scope`) or systemd manager (`user@1001.service`) a process is in.

    Nobody but root and systemd can put a process there; su and sudo leave it where it was.
    """
    found = _USER_MANAGER.search(cgroup or "") or _USER_SESSION.search(cgroup or "")
    return int(found[1]) if found else None


def is_of_people(cgroup: str | None) -> bool:
    """Whether a system service holds the process below which people start programs of their own (cron, at, ssh)."""
    return "/system.slice/" in (cgroup or "") and unit_of(cgroup) in _OF_PEOPLE


def is_of_the_system(cgroup: str | None) -> bool:
    """Whether a system service of another kind holds it."""
    return "/system.slice/" in (cgroup or "") and unit_of(cgroup) not in _OF_PEOPLE


def job_of(variables: Mapping[str, str]) -> Job | None:
    """The CI job that a process's variables speak of."""
    for runner in _RUNNERS:
        if variables.get(runner.mark):
            told = [variables.get(name) or None for name in (runner.id, runner.pipeline, runner.person)]
            return Job(system=runner.system, id=told[0], pipeline=told[1], person=told[2])
    return None
