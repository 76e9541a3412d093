"""What a `pip install` costs under no rules, under `lean` and under the classic eight: time, and bytes that the kernel writes."""

from __future__ import annotations

import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from audit_lab import run_as, running_agent
from report import ROOT, Table

from envtrail.config import load_config
from envtrail.core import AuditSocket
from envtrail.core.control import AuditControl
from envtrail.rules.plan import Plan
from envtrail.rules.rule import Field, Rule
from envtrail.tasks.rules import make_plan

UID = 61009
PACKAGES = ("requests==2.32.3", "rich==13.9.4")


def shelf() -> Path:
    """Real wheels of PACKAGES and what they need, fetched once."""
    folder = ROOT / ".cache/bench-wheels"
    if not folder.exists():
        argv = ["/usr/bin/python3", "-m", "pip", "download", "-q", "-d", str(folder), *PACKAGES]
        subprocess.run([str(ROOT / ".venv/bin/python"), *argv[1:]], check=True)
    return folder


def _moved(rule: Rule, home: Path) -> Rule:
    fields = tuple(Field(item.name, item.operator, item.value.replace("/opt/conda", str(home))) for item in rule.fields)
    return Rule(filter=rule.filter, action=rule.action, syscalls=rule.syscalls, fields=fields, key=rule.key)


@contextmanager
def loaded(plan: Plan | None, home: Path) -> Iterator[None]:
    """The plan's rules in the kernel, /opt/conda being `home`; those on paths that are not there cannot be loaded."""
    with AuditControl() as control:
        added: list[bytes] = []
        for item in plan.rules if plan else []:
            data = _moved(item.rule, home).to_bytes()
            try:
                control.add_rule(data)
            except OSError:
                continue
            added.append(data)
        if added:
            # kauditd sends later what loading them wrote: that is not the install's.
            time.sleep(0.5)
        try:
            yield
        finally:
            for data in added:
                control.delete_rule(data)


def install_once(home: Path, venv: Path) -> tuple[float, float]:
    """Wall and CPU seconds."""
    run_as(UID, [str(venv / "bin/pip"), "uninstall", "-q", "-y", "requests", "rich", "pygments", "urllib3", "idna"], cwd=home)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = run_as(UID, [str(venv / "bin/pip"), "install", "-q", "--no-index", f"--find-links={home}/wheels", *PACKAGES], cwd=home)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _bytes_of_install(plan: Plan, home: Path, venv: Path) -> tuple[int, int]:
    """Bytes and records that the kernel writes for one install."""
    blocks: list[bytes] = []
    going = True

    def read(socket: AuditSocket) -> None:
        while going:
            blocks.append(socket.read(100))

    run_as(UID, [str(venv / "bin/pip"), "uninstall", "-q", "-y", "requests", "rich", "pygments", "urllib3", "idna"], cwd=home)
    with loaded(plan, home), closing(AuditSocket("multicast", receive_buffer_bytes=64 << 20)) as socket:
        reader = threading.Thread(target=read, args=(socket,))
        reader.start()
        pip = [str(venv / "bin/pip"), "install", "-q", "--no-index", f"--find-links={home}/wheels", *PACKAGES]
        run_as(UID, pip, cwd=home)
        time.sleep(0.5)
        going = False
        reader.join()
    records = b"".join(blocks)
    return len(records), records.count(b"\n")


def more_than(spent: list[float], without: list[float]) -> str:
    """The median over the rounds: runs that are far apart in time differ by more than the rules cost."""
    return f"{(statistics.median(a / b for a, b in zip(spent, without, strict=True)) - 1) * 100:+.1f} %"


def measure(work: Path, *, quick: bool) -> Table:
    home = work / "home"
    venv = home / "envs/bench"
    (home / "envs").mkdir(parents=True)
    subprocess.run(["cp", "-r", str(shelf()), str(home / "wheels")], check=True)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(home)], check=True)
    with running_agent(work, UID, roots=[home], profile="none") as agent:
        run_as(UID, ["/usr/bin/python3", "-m", "venv", str(venv)], cwd=home)
        plans: dict[str, Plan | None] = {"no rules": None}
        for profile in ("lean", "classic"):
            config = load_config(environ={**agent.environment, "ENVTRAIL_RULES_PROFILE": profile})
            plans[profile] = make_plan(config)
        install_once(home, venv)
        wall: dict[str, list[float]] = {}
        cpu: dict[str, list[float]] = {}
        names = list(plans)
        for round_number in range(3 if quick else 31):
            for name in names[round_number % 3 :] + names[: round_number % 3]:
                with loaded(plans[name], home):
                    seconds, spent = install_once(home, venv)
                wall.setdefault(name, []).append(seconds)
                cpu.setdefault(name, []).append(spent)
        written = {name: _bytes_of_install(plan, home, venv) for name, plan in plans.items() if plan}
    rows: list[list[str | int | float]] = []
    for name in plans:
        size, records = written.get(name, (0, 0))
        seconds, spent = round(statistics.median(wall[name]), 3), round(statistics.median(cpu[name]), 3)
        slower, more = more_than(wall[name], wall["no rules"]), more_than(cpu[name], cpu["no rules"])
        rows.append([name, seconds, slower, spent, more, size, records])
    ratio = written["classic"][0] / max(written["lean"][0], 1)
    return Table(
        title="One `pip install`",
        what=f"`pip install {' '.join(PACKAGES)}` from local wheels into a venv, the agent reading; medians of alternating runs, of the cost "
        "against the run without rules of the same round; every rule bounded to the test user (the classic ones as well: unbounded they also "
        f"write for everybody else). Classic writes {ratio:.1f} × the bytes of lean.",
        columns=["rules", "wall s", "slower", "CPU s", "more CPU", "bytes written", "records"],
        rows=rows,
    )
