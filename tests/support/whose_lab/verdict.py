"""After a run: is what the trail says of the environments, of a rebuild and of an import the same; and the table of all counts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
from audit_lab import RunningAgent
from msgspec import Struct

from whose_lab.judge import COUNTS, Document, Fault, describe, name_of
from whose_lab.ledger import Step, normalise, read_contents
from whose_lab.places import Slot


class Run(Struct, frozen=True, kw_only=True):
    """One seed's result."""

    seed: int
    steps: int
    changes: int
    operations: int
    findings: int
    """Of level medium or above."""
    faults: list[Fault]


def judge_states(agent: RunningAgent, slots: Sequence[Slot], steps: Sequence[Step]) -> list[Fault]:
    """What the trail says is in each environment now, and whose each package is, beside the disk and the ledger."""
    faults = []
    for slot in slots:
        there = Counter((name, version) for name, items in read_contents(slot.prefix).items() for version, _ in items)
        if not there:
            continue
        shown = agent.ask("env", "show", str(slot.prefix), "--json").stdout
        said = Counter((normalise(one["name"]), one["version"]) for one in (json.loads(shown)["packages"] if shown else []))
        if said != there:
            text = f"{slot.prefix}: lacks {sorted((there - said).elements())}, has too much {sorted((said - there).elements())}"
            faults.append(Fault(count="wrong state", text=f"wrong state: {text}"))
        faults += _judge_blame(agent, slot, steps)
    return faults


def _judge_blame(agent: RunningAgent, slot: Slot, steps: Sequence[Step]) -> list[Fault]:
    faults = []
    rows = [json.loads(line) for line in agent.ask("env", "blame", str(slot.prefix), "--json").stdout.splitlines()]
    last: dict[str, list[Step]] = {}
    for step in steps:
        if step.prefixes[0] == str(slot.prefix):
            for change in step.changes:
                # Who installs the same content anew has not brought it in; the ledger holds no content.
                before = last.get(change.name, []) if change.before == change.after else []
                last[change.name] = [*before, step] if change.after else []
    for row in rows:
        found = last.get(normalise(row["package"]["name"]), [])
        operation = row.get("operation") or {}
        auid = (operation.get("actor") or {}).get("auid")
        if found and auid not in {step.person.auid for step in found}:
            faults.append(
                Fault(
                    count="wrong blame",
                    text=f"wrong blame: {slot.prefix} {row['package']['name']}: {auid}; last changed by step {name_of(found[-1])}",
                )
            )
    return faults


def judge_rebuild(agent: RunningAgent, live: Sequence[Document]) -> list[Fault]:
    """A rebuild of the trail, after the agent has ended."""
    done = agent.ask("rebuild")
    if done.returncode:
        return [Fault(count="rebuild differs", text=f"rebuild differs: it ended with {done.returncode}: {done.stderr}")]
    return _differences("rebuild differs", live, agent.operations())


def judge_import(agent: RunningAgent, live: Sequence[Document], folder: Path) -> list[Fault]:
    """The same records imported without anything that was observed beside them: less, never something else."""
    log = folder / "records.log"
    with log.open("wb") as out:
        for path in sorted((agent.data_dir / "segments").glob("*/records.log.zst")):
            out.write(subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout)
        for path in sorted(agent.data_dir.glob("hot/**/records.log")):
            out.write(path.read_bytes())
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(folder / "imported"), "ENVTRAIL_NODE": "testhost"}
    envtrail = [sys.executable, "-m", "envtrail"]
    done = subprocess.run([*envtrail, "import", str(log)], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return [Fault(count="import differs", text=f"import differs: it ended with {done.returncode}: {done.stderr}")]
    listed = subprocess.run([*envtrail, "log", "--json"], env=environment, capture_output=True, text=True, check=False).stdout
    by_process = {(one.get("pid"), one["tool"]): one for one in live}
    faults = []
    for operation in map(json.loads, listed.splitlines()):
        same = by_process.get((operation.get("pid"), operation["tool"]))
        if same is None:
            faults.append(f"nothing live is like {describe(operation)}")
            continue
        faults += [
            f"{part} is {operation[part]}, live {same[part]}: {describe(operation)}"
            for part in ("kind", "argv", "outcome", "exit_code")
            if operation[part] != same[part] and str(operation[part]) not in {"None", "unknown"} and same[part] != []
        ]
        if operation["actor"]["auid"] != same["actor"]["auid"]:
            faults.append(f"actor: {describe(operation)}; live {describe(same)}")
        known = [(one["name"], bool(one["before"]), bool(one["after"])) for one in same["changes"] or ()]
        known += [(name, None, is_there) for name, _, is_there in known]  # What was there before is not in every log.
        changes = [
            (one["name"], None if one.get("absent") else bool(one["before"]), bool(one["after"]))
            for one in operation["changes"] or ()
        ]
        if extra := [one for one in changes if one not in known]:
            faults.append(f"changes {extra} are not live: {describe(operation)}; live {describe(same)}")
    return [Fault(count="import differs", text=f"import differs: {text}") for text in faults]


def _differences(count: str, live: Sequence[Document], other: Sequence[Document]) -> list[Fault]:
    ours, theirs = ({str(one["id"]): one for one in documents} for documents in (live, other))
    faults = [f"only live: {describe(ours[key])}" for key in ours.keys() - theirs.keys()]
    faults += [f"not live: {describe(theirs[key])}" for key in theirs.keys() - ours.keys()]
    for key in ours.keys() & theirs.keys():
        parts = [part for part in ours[key] if ours[key][part] != theirs[key].get(part)]
        if parts:
            said = {part: (ours[key][part], theirs[key].get(part)) for part in parts}
            faults.append(f"{describe(ours[key])}: {json.dumps(said)[:600]}")
    return [Fault(count=count, text=f"{count}: {text}") for text in faults]


def keep(folder: Path, agent: RunningAgent, live: Sequence[Document], steps: Sequence[Step]) -> None:
    """Keep a run: the trail, sealed, what was said live, and the ledger; `trail.tar.xz` is what a case of `tests/golden` needs of it."""
    agent.ask("seal")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(agent.data_dir, folder / "trail", ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    shutil.copy2(agent.log, folder / "agent.log")
    derived = ("state.sqlite*", "events.parquet", "lock")
    subprocess.run(
        ["tar", "-C", folder, "-cJf", folder / "trail.tar.xz", *(f"--exclude={name}" for name in derived), "trail"], check=True
    )
    (folder / "operations.json").write_text(json.dumps(live, indent=1) + "\n")
    (folder / "ledger.json").write_bytes(msgspec.json.encode(steps, enc_hook=str))
    rows = [
        f"{name_of(step)}\n    {step.plan.command}\n    {step.outcome()} {step.altered} {step.output.strip()[-300:]!r}"
        for step in steps
    ]
    (folder / "ledger.txt").write_text("\n".join(rows) + "\n")


def render_table(runs: Sequence[Run]) -> str:
    """A row for each count, a column for each seed."""
    columns = [[str(run.seed), str(run.steps), str(run.changes), str(run.operations), str(run.findings)] for run in runs]
    names = ["seed", "steps", "changes", "operations", "findings ≥ medium", *COUNTS]
    for column, run in zip(columns, runs, strict=True):
        counted = Counter(fault.count for fault in run.faults)
        column += [str(counted[name]) for name in COUNTS]
    return "\n".join(f"{name:32}" + "".join(f"{column[at]:>7}" for column in columns) for at, name in enumerate(names))
