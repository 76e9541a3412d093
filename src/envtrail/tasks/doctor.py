"""What is wrong on this host, why it matters, and the exact command that fixes it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from envtrail.agent.file_changes import roots_of
from envtrail.config import SYSTEM_FILE, Config
from envtrail.core import FileWatch
from envtrail.core.control import AuditControl
from envtrail.errors import EnvtrailError, InputError
from envtrail.inspect.client import ForkedInspector
from envtrail.inspect.protocol import ProbeRights, ReadingRefused, RightsProbed
from envtrail.inspect.rights import NOBODY
from envtrail.inspect.search import search_once
from envtrail.policy.files import load_policy
from envtrail.service.file_access import can_read
from envtrail.service.opening import is_answered
from envtrail.ship.process import running_pid
from envtrail.ship.ship_state import CLUSTER_STATE, read_shipping
from envtrail.state.agent_status import is_recorded, read_status
from envtrail.tasks.checks import CheckResult, Host, Severity
from envtrail.tasks.owners import GROUP
from envtrail.trail.layout import Layout

_FREE_WARNING_FACTOR = 4
_UNSEEN_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "fuse.sshfs", "9p", "lustre", "beegfs", "ceph"})


def read_host(config: Config) -> Host:
    """Read this machine's state; what cannot be read is kept with its reason."""
    status, rules, error = None, None, None
    try:
        with AuditControl() as control:
            status = control.status()
            rules = control.list_rules()
    except OSError as fault:
        error = f"{fault.strerror or fault}"
    mounts = [
        (fields[1], fields[2]) for line in Path("/proc/self/mounts").read_text().splitlines() if len(fields := line.split()) > 2
    ]
    return Host(
        config=config,
        euid=os.geteuid(),
        status=status,
        status_error=error,
        rules=rules,
        mounts=mounts,
        now_ms=int(time.time() * 1000),
    )


def examine(config: Config) -> list[CheckResult]:
    """All problems on this host, worst first."""
    host = read_host(config)
    findings = [finding for check in CHECKS for finding in check(host)]
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.level))


def _check_privilege(host: Host) -> Iterator[CheckResult]:
    if host.euid != 0:
        yield CheckResult(
            level=Severity.UNKNOWN,
            what="not root: the kernel's audit state and rules cannot be read",
            why="rules, capture and losses were not checked",
            command="sudo envtrail doctor",
        )
    elif host.status is None:
        yield CheckResult(
            level=Severity.FAULT,
            what=f"the kernel's audit does not answer ({host.status_error})",
            why="in a container without the host's network namespace, or with audit compiled out, nothing can be captured here",
            command="run Envtrail on the host; here, `envtrail import FILE` and `envtrail demo` work",
        )


def _check_file_watch(host: Host) -> Iterator[CheckResult]:
    """Whether file changes are reported here, according to the kernel itself."""
    if host.euid != 0 or not host.config.capture.file_watch:
        return
    roots = roots_of(search_once(host.config).environments)
    try:
        watch = FileWatch(list(roots))
    except OSError as fault:
        yield CheckResult(
            level=Severity.WARNING,
            what=f"file changes are not reported ({fault.strerror}): fanotify needs CAP_SYS_ADMIN and Linux 5.9",
            why="a change without a package tool is then found by the next snapshot only, without its person",
            command="envtrail up --profile full",
        )
        return
    unwatched = watch.unwatched()
    watch.close()
    for line in unwatched:
        yield CheckResult(
            level=Severity.WARNING,
            what=f"file changes are not reported below {line}",
            why="its file system has no file handles; snapshots show what changed, without the person",
            command="envtrail up --profile full",
        )


def _check_inspector(host: Host) -> Iterator[CheckResult]:
    """Whether what users own is read with their rights and no more, according to a reader itself."""
    uid = NOBODY if host.euid == 0 else host.euid
    with closing(ForkedInspector()) as inspector:
        probed = inspector.ask(ProbeRights(uid=uid))
    if not isinstance(probed, RightsProbed):
        yield CheckResult(
            level=Severity.FAULT,
            what=f"environments are not read: {probed.reason if isinstance(probed, ReadingRefused) else 'no answer'}",
            why="what is in them, and what changes without a record, stays unknown",
            command=None,
        )
        return
    missing = [
        *(["the rights of their owners (CAP_SETUID and CAP_SETGID are missing)"] if probed.uid != uid else []),
        *(["Landlock (Linux 5.13, `lsm=` of the kernel's command line)"] if not probed.has_landlock else []),
        *(["seccomp"] if not probed.has_seccomp else []),
    ]
    if missing:
        yield CheckResult(
            level=Severity.WARNING,
            what=f"what users own is read without {' and '.join(missing)}",
            why="a fault in the reading of their files would then reach further than their own files",
            command=None,
        )


def _check_search(host: Host) -> Iterator[CheckResult]:
    for uid, reason in search_once(host.config).failures.items():
        yield CheckResult(
            level=Severity.WARNING,
            what=f"the folders of {'everybody' if uid < 0 else f'uid {uid}'} were not searched for environments: {reason}",
            why="new environments there are not followed before a tool works in them",
            command=None,
        )


def _check_enabled(host: Host) -> Iterator[CheckResult]:
    if host.status is not None and host.status.enabled == 0 and _agent_runs(host):
        yield CheckResult(
            level=Severity.FAULT,
            what="the kernel's audit is switched off",
            why="no record is written while `enabled` is 0",
            command="auditctl -e 1",
        )
    if host.status is not None and host.status.enabled == 2:
        yield CheckResult(
            level=Severity.ADVICE,
            what="audit rules are locked until reboot (-e 2)",
            why="new environments outside the watched roots are followed only after a reboot",
            command="envtrail rules apply --persist",
        )


def _check_agent(host: Host) -> Iterator[CheckResult]:
    if _is_served(host):
        return
    if not _agent_runs(host) and is_recorded(host.config.data_dir, host.now_ms):
        yield CheckResult(
            level=Severity.FAULT,
            what="a recorder runs, and no agent follows it",
            why="current changes are recorded, and shown once an agent runs again",
            command="systemctl start envtrail-agent" if shutil.which("systemctl") else "envtrail agent --recorder",
        )
    elif not _agent_runs(host):
        yield CheckResult(
            level=Severity.FAULT,
            what=f"no agent writes the trail in `{host.config.data_dir}`",
            why="current changes are not recorded",
            command="envtrail service install" if shutil.which("systemctl") else "envtrail up",
        )


def _check_account(host: Host) -> Iterator[CheckResult]:
    """What root wrote for the agent, and closed to the agent's account."""
    uid = max(Layout(host.config.data_dir).agent_uids())
    if host.euid != 0 or uid == 0:
        return
    policy, config = host.config.policy, host.config
    files = sorted(policy.path.glob("*.y*ml")) if policy.path.is_dir() else []
    for path in (SYSTEM_FILE, policy.path, *files, policy.allowed_signers, config.detect.path, config.advisories.path):
        if path is not None and path.exists() and not can_read(path, uid):
            yield CheckResult(
                level=Severity.WARNING,
                what=f"the agent's account (uid {uid}) cannot read `{path}`",
                why="it goes on without, or with what it read last",
                command=f"chgrp {GROUP} {path} && chmod g+rX {path}",
            )


def _check_losses(host: Host) -> Iterator[CheckResult]:
    if host.status is not None and host.status.lost:
        yield CheckResult(
            level=Severity.WARNING,
            what=f"the kernel has lost {host.status.lost} records since boot",
            why=f"its queue of {host.status.backlog_limit} was full",
            command=f"auditctl -b {max(8192, host.status.backlog_limit * 2)}",
        )


def _check_backlog(host: Host) -> Iterator[CheckResult]:
    wanted = host.config.capture.backlog_limit
    if host.status is not None and _agent_runs(host) and 0 < host.status.backlog_limit < wanted:
        yield CheckResult(
            level=Severity.WARNING,
            what=f"the kernel's audit queue holds {host.status.backlog_limit} records",
            why="a burst of executions overflows it",
            command=f"auditctl -b {wanted}",
        )


def _check_rules(host: Host) -> Iterator[CheckResult]:
    status = read_status(host.config.data_dir, host.now_ms)
    if status is None or status.rules is None:
        return
    for fault in status.rules.faults:
        yield CheckResult(
            level=Severity.WARNING,
            what=f"a rule is not loaded: {fault}",
            why="its events are not recorded",
            command="envtrail rules plan",
        )
    if status.rules.loaded < status.rules.expected and not status.rules.faults:
        yield CheckResult(
            level=Severity.FAULT,
            what=f"{status.rules.expected - status.rules.loaded} of {status.rules.expected} rules are not in the kernel",
            why="somebody removed them, or they take effect after a reboot",
            command="envtrail rules diff",
        )


def _check_silencing(host: Host) -> Iterator[CheckResult]:
    never_task = any(int.from_bytes(rule[0:4], "little") & 0x0F == 1 and rule[4:8] == b"\0" * 4 for rule in host.rules or [])
    if never_task:
        yield CheckResult(
            level=Severity.FAULT,
            what="a rule `-a never,task` is loaded",
            why="it disables every system call rule for processes started since",
            command="auditctl -d never,task",
        )


def _check_disk(host: Host) -> Iterator[CheckResult]:
    folder = next((path for path in [host.config.data_dir, *host.config.data_dir.parents] if path.exists()), Path("/"))
    free = shutil.disk_usage(folder).free
    least = host.config.store.min_free_bytes
    if free < least * _FREE_WARNING_FACTOR:
        yield CheckResult(
            level=Severity.FAULT if free < least else Severity.WARNING,
            what=f"{free // 2**20} MiB are free under `{folder}`",
            why=f"below {least // 2**20} MiB the trail stops growing",
            command="envtrail config show store.retention_bytes",
        )


def _check_mounts(host: Host) -> Iterator[CheckResult]:
    unseen = [point for point, kind in host.mounts if kind in _UNSEEN_FILE_SYSTEMS]
    if unseen:
        yield CheckResult(
            level=Severity.ADVICE,
            what="network file systems: " + ", ".join(unseen),
            why="changes made there from another machine are seen by comparison of snapshots only, without a person",
            command=None,
        )


def _check_container(_: Host) -> Iterator[CheckResult]:
    if Path("/run/docker.sock").exists() or Path("/run/containerd/containerd.sock").exists():
        yield CheckResult(
            level=Severity.ADVICE,
            what="containers run on this host",
            why="root inside a container on its own overlay uses other inodes than the watched interpreters",
            command=None,
        )


def _check_policy(host: Host) -> Iterator[CheckResult]:
    path = host.config.policy.path
    if not path.exists():
        return
    try:
        faults = load_policy([path]).faults
    except InputError as fault:
        yield CheckResult(
            level=Severity.WARNING, what=fault.message, why="the last good policy stays in force", command="envtrail policy check"
        )
        return
    if faults:
        yield CheckResult(
            level=Severity.WARNING,
            what=f"the policy has {len(faults)} faults, the first at {faults[0]}",
            why="a policy with a fault is refused; the last good one stays in force",
            command="envtrail policy check",
        )


def _check_detections(host: Host) -> Iterator[CheckResult]:
    if importlib.util.find_spec("sigma") is None:
        wanted = "envtrail[detect]" if sys.version_info >= (3, 11) else "a Python of 3.11 or newer, then envtrail[detect]"
        yield CheckResult(
            level=Severity.ADVICE,
            what="Sigma detections are not evaluated: pySigma is not installed",
            why="the policy is applied; downloads, tampering with audit and similar actions are not detected",
            command=f"pip install '{wanted}'" if wanted.startswith("envtrail") else None,
        )
    path = host.config.notify.path
    if path.exists() and importlib.util.find_spec("apprise") is None:
        yield CheckResult(
            level=Severity.WARNING,
            what=f"`{path}` has channels, and Apprise is not installed",
            why="nobody is notified of findings",
            command="pip install 'envtrail[notify]'",
        )


def _check_shipping(host: Host) -> Iterator[CheckResult]:
    if not host.config.elastic.urls:
        return
    why = "the cluster receives nothing from this machine; waiting documents are kept here"
    if importlib.util.find_spec("httpx") is None:
        command = "pip install 'envtrail[elastic]'"
        yield CheckResult(
            level=Severity.WARNING, what="`elastic.urls` is set, and httpx is not installed", why=why, command=command
        )
        return
    folder = host.config.data_dir
    try:
        shipping = read_shipping(folder / CLUSTER_STATE)
    except EnvtrailError as fault:
        yield CheckResult(level=Severity.UNKNOWN, what=fault.message, why=why, command=None)
        return
    if running_pid(folder) is None:
        command = "systemctl start envtrail-elastic"
        yield CheckResult(level=Severity.WARNING, what="`elastic.urls` is set, and nothing ships", why=why, command=command)
    elif shipping is not None and shipping.fault is not None:
        what = f"shipping fails, {shipping.failures} times in a row: {shipping.fault}"
        yield CheckResult(level=Severity.WARNING, what=what, why=why, command="envtrail elastic check")
    if shipping is not None and shipping.refused:
        yield CheckResult(
            level=Severity.WARNING,
            what=f"the cluster rejected {shipping.refused} documents",
            why="they are kept here, and missing on the cluster",
            command="envtrail elastic refused",
        )


def _is_served(host: Host) -> bool:
    """Whether a service answers this user, who may not read its folder."""
    is_own = host.euid == 0 or host.config.origin("data_dir") != "default"
    return not is_own and is_answered(host.config.service.socket)


def _agent_runs(host: Host) -> bool:
    return read_status(host.config.data_dir, host.now_ms) is not None


CHECKS: tuple[Callable[[Host], Iterator[CheckResult]], ...] = (
    _check_privilege,
    _check_inspector,
    _check_search,
    _check_file_watch,
    _check_enabled,
    _check_agent,
    _check_account,
    _check_silencing,
    _check_rules,
    _check_losses,
    _check_backlog,
    _check_disk,
    _check_mounts,
    _check_container,
    _check_policy,
    _check_detections,
    _check_shipping,
)
