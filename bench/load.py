"""The agent under a steady load of executions: CPU per exec beside auditd and auditd + laurel, and exec → visible."""

from __future__ import annotations

import json
import os
import pwd
import statistics
import subprocess
import time
from pathlib import Path

from audit_lab import become, running_agent
from auditd_lab import running_auditd
from parser import laurel, laurel_config
from report import Table

from envtrail.config import load_config
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.store import Query

# A user with a name: auditd's enrichment looks an unknown one up again and again, and would look twenty times as slow as it is.
UID = pwd.getpwnam("nobody").pw_uid
RATES = (200, 800)
# First match wins and each exec makes one event: what the lean profile holds for a person's exec and its end.
_BOUND = ["-F", "arch=b64", "-F", f"auid={UID}", "-k", "user_command_trace"]
RULES = [
    ["always,exit", *_BOUND[:2], "-S", "execve", "-S", "execveat", *_BOUND[2:]],
    ["always,exit", *_BOUND[:2], "-S", "exit_group", *_BOUND[2:]],
]
_SPAWNER = """
import os, sys, time
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
start = time.perf_counter()
for number in range(int(rate * seconds)):
    pause = start + number / rate - time.perf_counter()
    if pause > 0:
        time.sleep(pause)
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
print(rate * seconds / (time.perf_counter() - start))
"""


def cpu_of(pid: int) -> float:
    """CPU seconds (user + system) of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Resident memory, MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def spawn(rate: int, seconds: float) -> subprocess.Popen[str]:
    argv = ["/usr/bin/python3", "-c", _SPAWNER, str(rate), str(seconds)]
    return subprocess.Popen(argv, preexec_fn=become(UID), stdout=subprocess.PIPE, text=True)


def cpu_per_exec(pids: list[int], rate: int, seconds: float) -> tuple[float, float]:
    """Microseconds of these processes per exec, and the rate that was reached."""
    before = sum(map(cpu_of, pids))
    out, _ = spawn(rate, seconds).communicate()
    time.sleep(1)
    return (sum(map(cpu_of, pids)) - before) / (rate * seconds) * 1e6, float(out)


def latencies(folder: Path, data: Path, rate: int, probes: int) -> list[float]:
    """Milliseconds from the kernel's stamp of an exec to its run in the store, under load."""
    load = spawn(rate, probes * 0.25 + 1)
    time.sleep(0.5)
    found: list[float] = []
    store = EmbeddedStore(data)
    for number in range(probes):
        script = folder / f"probe-{number}.py"
        script.write_text("import time; time.sleep(3)\n")
        script.chmod(0o644)
        process = subprocess.Popen(["/usr/bin/python3", str(script)], preexec_fn=become(UID))
        deadline = time.time() + 5
        while time.time() < deadline:
            run = next((run for run in store.runs(Query(limit=3)) if run.program == str(script)), None)
            if run is not None:
                found.append(time.time() * 1000 - (run.image >> 20))
                break
            time.sleep(0.005)
        process.kill()
        process.wait()
        time.sleep(0.1)
    store.close()
    load.communicate()
    return found


def measure(work: Path, *, quick: bool) -> Table:
    seconds = 3.0 if quick else 15.0
    rows: list[list[str | int | float]] = []
    (work / "agent").mkdir()
    interval = str(load_config(environ={}).interpret.environments_interval_s)
    with running_agent(work / "agent", UID, roots=[], ENVTRAIL_INTERPRET_ENVIRONMENTS_INTERVAL_S=interval) as agent:
        time.sleep(5)
        for rate in RATES:
            spent, reached = cpu_per_exec([agent.process.pid], rate, seconds)
            rows.append(["envtrail agent, stored and interpreted", rate, round(reached), round(spent)])
        visible = sorted(latencies(work, agent.data_dir, RATES[-1], 10 if quick else 60))
        rss = resident(agent.process.pid)
        agent.process.terminate()
        agent.process.wait(20)
        agent.ask("seal")
        written = json.loads(agent.ask("status", "--json").stdout)["trail"]["records_bytes"]
        sealed = sum(path.stat().st_size for path in (agent.data_dir / "segments").rglob("*") if path.is_file())
    for name, plugin in _peers(work).items():
        folder = work / name.replace(" ", "")
        folder.mkdir()
        with running_auditd(folder, *RULES, plugin=plugin) as daemon:
            time.sleep(1)
            children = subprocess.run(
                ["pgrep", "-P", str(daemon.pid)], capture_output=True, text=True, check=False
            ).stdout.split()
            for rate in RATES:
                spent, reached = cpu_per_exec([daemon.pid, *map(int, children)], rate, seconds)
                rows.append([name, rate, round(reached), round(spent)])
    p50, p99 = statistics.median(visible), visible[min(len(visible) - 1, int(len(visible) * 0.99))]
    return Table(
        title="Under load",
        what=f"`/bin/true` by one user at a steady rate for {seconds:.0f} s; CPU of the daemon and its children per exec (an exec makes two events: start and end). "
        f"From the kernel's stamp of an exec to its run in `envtrail runs`, at {RATES[-1]} exec/s, {len(visible)} probes: "
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms. The agent's memory at the end: {rss:.0f} MB. Its {written:,} bytes of records, sealed with their "
        f"typed events: {written / sealed:.0f} × smaller.",
        columns=["daemon", "exec/s wanted", "exec/s reached", "µs CPU per exec"],
        rows=rows,
        not_run=[] if laurel() else ["auditd + laurel"],
    )


def _peers(work: Path) -> dict[str, str | None]:
    peers: dict[str, str | None] = {"auditd": None}
    program = laurel()
    if program:
        peers["auditd + laurel"] = f"exec {program} -c {laurel_config(work)} >{work}/laurel.out 2>&1"
    return peers
