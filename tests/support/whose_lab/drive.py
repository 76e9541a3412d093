"""Let people work side by side, in bursts; what each step changed is read from the disk as soon as it has ended."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from whose_lab import conda_acts, environment_acts, hand_acts, tool_acts
from whose_lab.ledger import Contents, Person, Plan, Step, compare, normalise, read_contents
from whose_lab.places import NAMES, WHOLE, Locks, Scene, Slot, World
from whose_lab.shell import LoginShell
from whose_lab.tool_acts import Act

_PAUSES_S = (0, 0, 0, 0.05, 0.5, 1.5)
"""Between two bursts; there is none inside of one."""
_MAKE = {"venv": environment_acts.MAKE, "conda": conda_acts.MAKE}
_CHANGE = {"venv": environment_acts.CHANGE, "conda": (*conda_acts.CHANGE, environment_acts.remove_whole)}
_KNOWN = frozenset(map(normalise, NAMES))


class Worker:
    """One person at work."""

    def __init__(
        self, person: Person, slots: list[Slot], world: World, locks: Locks, seed: int, variables: dict[str, str]
    ) -> None:
        self.person = person
        self.steps: list[Step] = []
        self.fault: Exception | None = None
        self._slots = slots
        self._world = world
        self._locks = locks
        self._chance = random.Random(f"{seed}/{person.name}")
        self._shell = LoginShell(person, variables)
        self._number = 0
        self._burst = 0

    def run(self, count: int) -> None:
        """Make so many steps."""
        try:
            while len(self.steps) < count:
                self._burst += 1
                self._make_burst(count)
                time.sleep(self._chance.choice(_PAUSES_S))
        except Exception as fault:  # noqa: BLE001 - a thread's fault is raised by who waits for it
            self.fault = fault
        finally:
            self._shell.close()

    def _make_burst(self, count: int) -> None:
        chance = self._chance
        slot = chance.choice(self._slots)
        names = tuple(chance.sample(NAMES, chance.choice((1, 1, 2))))
        for _ in range(chance.randint(2, 6)):
            if len(self.steps) >= count:
                return
            is_whole = not slot.is_fixed and (not _is_there(slot) or chance.random() < 0.2)
            done = self._work_on_whole(slot) if is_whole and slot.kind in _MAKE else self._work_on(slot, names)
            if not done:
                return

    def _work_on(self, slot: Slot, names: tuple[str, ...]) -> bool:
        """A step on packages; whether it was made."""
        prefix = slot.prefix
        keys = [(prefix, name) for name in names]
        turn = (prefix, "conda takes turns")
        if not self._locks.take(keys):
            return False
        try:
            if slot.prefix != prefix or not _is_there(slot):
                return False
            before = read_contents(slot.prefix)
            scene = self._scene(slot, names, before)
            own = None if slot.kind == "target" else [normalise(name) for name in names]
            for _ in range(10):
                act = self._chance.choice(self._chance.choice(self._acts(slot)))
                plan = act(scene)
                if plan and act in conda_acts.CONDA:
                    if not self._locks.take([turn]):
                        continue
                    keys.append(turn)
                if plan:
                    places = (prefix, slot.parent) if slot.kind == "user" and slot.parent else (prefix,)
                    self._make(plan, slot, before, places, own)
                    return True
            return False
        finally:
            self._locks.free(keys)

    def _acts(self, slot: Slot) -> Sequence[Sequence[Act]]:
        if slot.kind == "target":
            return [(tool_acts.pip_target,)] * 3 + [(environment_acts.remove_whole,)]
        if slot.kind == "user":
            return [tool_acts.PIP] * 3 + ([hand_acts.HAND] if slot.site != slot.prefix else [])
        groups = [tool_acts.PIP, tool_acts.UV, tool_acts.UV, hand_acts.HAND, hand_acts.HAND]
        if slot.kind == "conda":
            groups += [conda_acts.CONDA] * 2
        return [*groups, hand_acts.NOTHING] if self._chance.random() < 0.3 else groups

    def _work_on_whole(self, slot: Slot) -> bool:
        """A step on a whole environment; whether it was made."""
        prefix = slot.prefix
        beside = prefix.with_name(f"{prefix.name.partition('-at-')[0]}-at-{self.person.name}-{self._number}")
        keys = [(prefix, WHOLE), (beside, WHOLE)]
        if not self._locks.take(keys):
            return False
        try:
            if slot.prefix != prefix:
                return False
            before = read_contents(slot.prefix)
            scene = self._scene(slot, (), before)
            if not _is_there(slot):
                self._make(self._chance.choice(_MAKE[slot.kind])(scene), slot, before, (slot.prefix,), None)
                slot.is_moved = False
                return True
            draw = self._chance.random()
            if draw < 0.25:
                self._make(environment_acts.move_whole(scene, beside), slot, {}, (slot.prefix, beside), [])
                slot.prefix, slot.is_moved = beside, True
            elif draw < 0.4 and slot.kind == "venv":
                self._copy(scene, slot, beside)
            else:
                self._make(self._chance.choice(_CHANGE[slot.kind])(scene), slot, before, (slot.prefix,), None)
                slot.is_moved = slot.is_moved and _is_there(slot)
            return True
        finally:
            self._locks.free(keys)

    def _copy(self, scene: Scene, slot: Slot, beside: Path) -> None:
        """A copy, which takes the slot's place; the original stays and is left alone."""
        copied = Slot(kind=slot.kind, prefix=beside, owner=slot.owner, is_moved=True)
        self._make(environment_acts.copy_whole(scene, beside), copied, {}, (beside, slot.prefix), None)
        slot.prefix, slot.is_moved = beside, True

    def _scene(self, slot: Slot, names: tuple[str, ...], before: Contents) -> Scene:
        self._number += 1
        number = self._number * 2 + self.person.auid % 2
        return Scene(
            chance=self._chance, world=self._world, person=self.person, slot=slot, names=names, state=before, number=number
        )

    def _make(self, plan: Plan | None, slot: Slot, before: Contents, prefixes: tuple[Path, ...], names: list[str] | None) -> None:
        """Type it, wait for its end, and read at once what the disk shows."""
        assert plan is not None
        marks = {path: _mark(path) for path in plan.files}
        ran = self._shell.run(plan.command, simple=plan.simple, kill_after_s=plan.kill_after_s)
        after = read_contents(prefixes[0])
        self.steps.append(
            Step(
                number=len(self.steps),
                burst=self._burst,
                person=self.person,
                prefixes=tuple(map(str, prefixes)),
                plan=plan,
                pid=ran.pid,
                exit_code=ran.exit_code,
                output=ran.output,
                started_ms=ran.started_ms,
                ended_ms=ran.ended_ms,
                changes=compare(before, after, names),
                altered=tuple(path for path in plan.files if _mark(path) != marks[path]),
                holds=_held(read_contents(slot.parent) if slot.parent else {}) | _held(after),
                known=_KNOWN,
            )
        )


def drive(workers: Sequence[Worker], count: int) -> list[Step]:
    """Let everybody work at the same time, `count` steps in all; the ledger in order of time."""
    threads = [threading.Thread(target=worker.run, args=(count // len(workers),)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        if worker.fault:
            raise worker.fault
    return sorted((step for worker in workers for step in worker.steps), key=lambda step: step.started_ms)


def _is_there(slot: Slot) -> bool:
    return slot.kind in {"target", "user"} or (slot.prefix / "bin/python").exists()


def _held(contents: Contents) -> dict[str, str]:
    return {name: "/".join(version for version, _ in items) for name, items in contents.items()}


def _mark(path: str) -> tuple[str, int] | None:
    """A file's digest and mode."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest(), Path(path).stat().st_mode
    except OSError:
        return None
