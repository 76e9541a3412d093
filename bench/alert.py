"""From an exec to the message that somebody receives, under load: real HTTP and mail receivers on loopback."""

from __future__ import annotations

import re
import statistics
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from audit_lab import become, running_agent, wait_until
from load import UID, resident, spawn
from notify_lab import mail_server, receiver, write_channels
from report import Table

RATE = 1000
_MARK = re.compile(r"alert-probe-(\d+)-")
# A rule for each probe: what is alike is told once, then counted in a digest.
RULE = """title: Probe of the benchmark
name: probe-{number}
logsource: {{product: linux, category: process_creation}}
detection:
  probe: {{CommandLine|contains: alert-probe-{number}-}}
  condition: probe
level: high
"""


def probe(number: int) -> float:
    """Run a program that the rule fits; gives the moment before it."""
    began = time.time()
    subprocess.run(["/bin/true", f"alert-probe-{number}-"], preexec_fn=become(UID), check=True)
    return began


def arrivals(messages: Iterable[tuple[str, float]]) -> dict[int, float]:
    """When each probe's message came first, by its number."""
    found: dict[int, float] = {}
    for text, moment in messages:
        for number in map(int, _MARK.findall(text)):
            found.setdefault(number, moment)
    return found


def measure(work: Path, *, quick: bool) -> Table:
    probes = 20 if quick else 100
    (work / "agent").mkdir()
    (work / "sigma").mkdir()
    rules = "---\n".join(RULE.format(number=number) for number in range(probes))
    (work / "sigma" / "probes.yml").write_text(rules)
    with receiver() as web, mail_server() as mail:
        urls = {"webhook": web.url, "mail (SMTP)": mail.url}
        channels = [{"name": name.split()[0], "url": url, "most_per_digest": 1000} for name, url in urls.items()]
        variables = {
            "ENVTRAIL_NOTIFY_PATH": str(write_channels(work / "notify.toml", *channels)),
            "ENVTRAIL_DETECT_PATH": str(work / "sigma"),
        }
        with running_agent(work / "agent", UID, roots=[], **variables) as agent:
            wait_until(lambda: agent.ask("notify", "status").stdout.startswith("notifier  running"), "the notifier")
            load = spawn(RATE, probes * 0.3 + 3)
            time.sleep(2)
            began = {}
            for number in range(probes):
                began[number] = probe(number)
                time.sleep(0.25)
            reached = float(load.communicate()[0])
            time.sleep(3)
            rss = resident(agent.process.pid)
        came = {
            "webhook": arrivals((str(one["message"]), moment) for one, moment in zip(web.taken, web.times, strict=True)),
            "mail (SMTP)": arrivals((str(one.get_content()), moment) for one, moment in zip(mail.mails, mail.times, strict=True)),
        }
    rows: list[list[str | int | float]] = []
    for name, times in came.items():
        waited = sorted((moment - began[number]) * 1000 for number, moment in times.items())
        p99 = waited[min(len(waited) - 1, int(len(waited) * 0.99))]
        rows.append([name, probes, len(waited), round(statistics.median(waited)), round(p99), round(waited[-1])])
    return Table(
        title="From an exec to the message",
        what=f"A program that a Sigma rule fits, run {probes} times while the same user runs {reached:.0f} programs a second (wanted: {RATE}); the "
        f"whole pack and {probes} rules more are asked of every event, and findings go through Apprise to real receivers on loopback. From before the fork to the "
        f"message in the receiver's hands. The agent's memory at the end: {rss:.0f} MB.",
        columns=["channel", "probes", "received", "p50 ms", "p99 ms", "worst ms"],
        rows=rows,
    )
