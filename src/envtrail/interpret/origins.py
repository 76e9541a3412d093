"""Where a process belongs, read from text that the kernel and its parents gave it: a unit, a container, a CI job. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

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
_UNIT_SUFFIXES = (".service", ".scope")
_LINE = re.compile(r"^\d+:[^:]*:(?=/)")
_OWNED = re.compile(r"/user\.slice/user-(\d+)\.slice/(?:user@\1\.service|session-[^/]+\.scope)(?:/|$)")
_MAP_LINE = re.compile(r"^\s*(\d+)\s+(\d+)\s+(\d+)\s*$", re.MULTILINE)


class _Runner(Struct, frozen=True):
    """The variables by which a CI system describes itself to a job."""

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
    for line in cgroup.splitlines():
        path = _LINE.sub("", line)
        above, below = _split(path)
        if found := _engine_and_id(above):
            return Container(id=found[1], engine=found[0], image=image, uid=inner_uid(uid, uid_map))
        if found := _engine_and_id(below):
            return Container(id=found[1], engine=found[0], image=image, uid=inner_uid(uid, uid_map), unit=unit_of(path))
    return None


def _engine_and_id(path: str) -> tuple[str, str] | None:
    return next(((engine, found[1]) for engine, pattern in _CONTAINERS if (found := pattern.search(path))), None)


def _split(path: str) -> tuple[str, str]:
    """A cgroup path parted behind its outermost unit or container.

    The machine's own manager and daemons made the first part. Whoever the unit belongs to, or is root in the container, may have made
    the second, and given it any name (cgroups(7), delegation).
    """
    end = 0
    for name in path.split("/")[1:]:
        end += 1 + len(name)
        if name.endswith(_UNIT_SUFFIXES) or _engine_and_id(path[:end]):
            return path[:end], path[end:]
    return path, ""


def inner_uid(uid: int | None, uid_map: str | None) -> int | None:
    """The uid inside a user namespace; None when the map does not hold it or is not known."""
    if uid is None or uid_map is None:
        return None
    for inside, outside, length in _MAP_LINE.findall(uid_map):
        if int(outside) <= uid < int(outside) + int(length):
            return uid - int(outside) + int(inside)
    return None


def unit_of(cgroup: str | None) -> str | None:
    """The systemd unit or scope that the machine's own manager made: of a user's manager, `user@1001.service`."""
    if not cgroup:
        return None
    name = _split(cgroup)[0].rpartition("/")[2]
    return name if name.endswith(_UNIT_SUFFIXES) else None


def user_unit_of(cgroup: str | None) -> str | None:
    """The innermost unit of a user's own systemd manager: that user named it.

    References:
        sd_pid_get_user_unit(3)
    """
    if owner_of(cgroup) is None:
        return None
    return next((name for name in reversed(_split(cgroup or "")[1].split("/")) if name.endswith(_UNIT_SUFFIXES)), None)


def is_in_unit(cgroup: str | None, units: Collection[str]) -> bool:
    """Whether one of these units or slices, made by the machine's own manager, holds a process."""
    return not frozenset(units).isdisjoint(_split(cgroup or "")[0].split("/"))


def cgroup_path(text: str) -> str | None:
    """The one path of `/proc/PID/cgroup` that says most: a container's in any hierarchy, else the unified one, else systemd's.

    A container of cgroup version 1 leaves the unified hierarchy at its root.

    References:
        cgroups(7): lines of `hierarchy:controllers:path`.
    """
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    paths = {controllers: path for _, controllers, path in lines}
    contained = (path for path in paths.values() if _engine_and_id(_split(path)[0]))
    candidates = (path for path in (paths.get(""), paths.get("name=systemd"), *paths.values()) if path not in {None, "", "/"})
    return next(contained, None) or next(candidates, None) or ("/" if lines else None)


def owner_of(cgroup: str | None) -> int | None:
    """The uid whose login session (`user-1001.slice/session-3.scope`) or systemd manager (`user@1001.service`) a process is in.

    Nobody but root and systemd can put a process there; su and sudo leave it where it was.
    """
    found = _OWNED.match(cgroup) if cgroup else None
    return int(found[1]) if found else None


def job_of(variables: Mapping[str, str]) -> Job | None:
    """The CI job that a process's variables speak of."""
    if not variables:
        return None
    for runner in _RUNNERS:
        if variables.get(runner.mark):
            values = [variables.get(name) or None for name in (runner.id, runner.pipeline, runner.person)]
            return Job(system=runner.system, id=values[0], pipeline=values[1], person=values[2])
    return None
