"""Who stands above a process: hubs, runners and agents in a real process table, with answers as the world gives them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pyarrow as pa
import pytest

from envtrail.core import Assembler
from envtrail.interpret.actors import Facts, name_actor
from envtrail.interpret.answer import SnapshotAnswer
from envtrail.interpret.emission import Emission, NameWanted, ProcessWanted, SnapshotWanted
from envtrail.interpret.interpreter import Interpreter
from envtrail.interpret.tools import hints
from envtrail.model.observation import NameResolved, Observation, ProcessSeen
from envtrail.model.operation import Actor, Operation
from envtrail.model.run import Run

GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "77", "GITHUB_REPOSITORY": "x/y", "GITHUB_ACTOR": "carol"}
FORGED = GITHUB | {"GITHUB_ACTOR": "eve", "JUPYTERHUB_USER": "eve"}
PIP = ["/v/bin/python3", "/v/bin/pip", "install", "six"]
SERVER = ["/h/bin/python3", "/h/bin/jupyterhub-singleuser"]


class Machine:
    """A machine in which every process is known from records; its answers are those that are set here."""

    def __init__(self, *, excluded_units: Sequence[str] = ()) -> None:
        self.assembler = Assembler(hints=hints(["claude"]), redact=False)
        self.interpreter = Interpreter(node="m", lineage=self.assembler, excluded_units=excluded_units)
        self.now_ms = 1_764_000_000_000
        self.serial = 0
        self.names = {0: "root", 998: "hub", 1001: "alice", 1002: "bob"}
        self.variables: dict[int, dict[str, str]] = {}
        """pid → what it was given at its start, as long as it lives."""
        self.uids: dict[int, tuple[int, int, int | None]] = {1: (0, 0, None)}
        """pid → its parent, uid and auid."""
        self.cgroups: dict[int, str] = {}
        self.asked: list[Emission] = []
        self.done: list[Operation] = []
        self.runs: list[Run] = []

    def exec(self, pid: int, ppid: int, argv: Sequence[str], *, uid: int, auid: int | None = None, **given: str) -> None:
        """A program begins; what it is given can be read from now on."""
        if given:
            self.variables[pid] = given
        self.uids[pid] = (ppid, uid, auid)
        words = " ".join(f'a{at}="{word}"' for at, word in enumerate(argv))
        exe = "/usr/bin/python3" if "python" in argv[0] else argv[0]
        stamp = self._stamp()
        self._push(
            f'type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0 items=0 {self._who(pid)} exe="{exe}" key=(null)',
            f"type=EXECVE {stamp}: argc={len(argv)} {words}",
            f"type=EOE {stamp}: ",
        )

    def exit(self, pid: int) -> None:
        self.variables.pop(pid, None)
        stamp = self._stamp()
        self._push(
            f'type=SYSCALL {stamp}: arch=c000003e syscall=231 a0=0 items=0 {self._who(pid)} exe="/x" key=(null)',
            f"type=EOE {stamp}: ",
        )

    def install(self, pid: int, ppid: int, *, uid: int, auid: int | None = None, **given: str) -> Actor:
        """A pip from start to end; who did it."""
        self.exec(pid, ppid, PIP, uid=uid, auid=auid, **given)
        self.exit(pid)
        return self.done[-1].actor

    def _who(self, pid: int) -> str:
        ppid, uid, auid = self.uids[pid]
        login = 4294967295 if auid is None else auid
        return f'ppid={ppid} pid={pid} auid={login} uid={uid} ses={4294967295 if auid is None else 3} comm="x"'

    def _stamp(self) -> str:
        self.now_ms += 100
        self.serial += 1
        return f"msg=audit({self.now_ms // 1000}.{self.now_ms % 1000:03d}:{self.serial})"

    def _push(self, *lines: str) -> None:
        self.assembler.push(("\n".join(lines) + "\n").encode())
        self.assembler.flush()
        self._settle(self.interpreter.step(pa.record_batch(self.assembler.drain().events()), [], now_ms=self.now_ms))

    def _settle(self, emissions: Sequence[Emission]) -> None:
        while emissions:
            self.done += [item for item in emissions if isinstance(item, Operation)]
            self.runs += [item for item in emissions if isinstance(item, Run)]
            self.asked += [item for item in emissions if isinstance(item, (NameWanted, ProcessWanted))]
            ended = [item for item in emissions if isinstance(item, SnapshotWanted)]
            answers = [answer for item in emissions for answer in self._answer(item)]
            emissions = self.interpreter.step(None, answers, now_ms=self.now_ms)
            for lookup in ended:
                emissions += self.interpreter.settle(SnapshotAnswer(image=lookup.image, prefix=lookup.prefix, changes=[]))

    def _answer(self, lookup: Emission) -> list[Observation]:
        if isinstance(lookup, NameWanted):
            return [NameResolved(time_ms=self.now_ms, uid=lookup.uid, name=self.names.get(lookup.uid))]
        if isinstance(lookup, ProcessWanted) and lookup.pid in self.variables:
            ppid, uid, auid = self.uids[lookup.pid]
            argv = SERVER if "JUPYTERHUB_USER" in self.variables[lookup.pid] and lookup.pid in {20, 21} else ["x"]
            return [
                ProcessSeen(
                    time_ms=self.now_ms, pid=lookup.pid, ppid=ppid, exe=None, argv=argv, cwd=None, uid=uid, auid=auid, session=None,
                    started_ms=None, image=lookup.image, variables=self.variables[lookup.pid], cgroup=self.cgroups.get(lookup.pid, "/"),
                )
            ]  # fmt: skip
        return []


@pytest.fixture
def machine() -> Machine:
    return Machine()


def reported(actor: Actor) -> tuple[str | None, str, str, str | None]:
    return actor.name, actor.method, actor.confidence.value, actor.kind


def test_a_runner_tells_its_job_whose_it_is_and_nobody_follows_it(machine: Machine) -> None:
    machine.exec(10, 1, ["/a/bin/Runner.Worker", "spawnclient"], uid=998)
    machine.exec(20, 10, ["/bin/bash", "-e", "step.sh"], uid=998, **GITHUB)
    actor = machine.install(30, 20, uid=998, **FORGED)
    assert reported(actor) == ("hub", "uid", "weak", "service")
    assert actor.claimed == "carol"
    assert actor.job is not None
    assert (actor.job.id, actor.job.pipeline, actor.job.person) == ("77", "x/y", "carol")
    assert machine.install(31, 20, uid=998).claimed == "carol"
    assert sum(isinstance(lookup, ProcessWanted) and lookup.pid == 20 for lookup in machine.asked) == 1


@pytest.mark.parametrize("parent_uid", [0, 998])
def test_a_service_that_plays_a_runner_names_nobody_else(machine: Machine, parent_uid: int) -> None:
    """The service's own program, called as the runner of a CI system; root or its own process above."""
    machine.exec(5, 1, ["/opt/service"], uid=parent_uid)
    machine.exec(10, 5, ["/var/lib/service/Runner.Worker"], uid=998)
    machine.exec(20, 10, ["/bin/bash"], uid=998, **(GITHUB | {"GITHUB_ACTOR": "bob"}))
    actor = machine.install(30, 20, uid=998, **(GITHUB | {"GITHUB_ACTOR": "bob"}))
    assert (reported(actor), actor.claimed) == (("hub", "uid", "weak", "service"), "bob")


def test_a_job_that_gave_itself_another_environment_is_not_queried(machine: Machine) -> None:
    machine.exec(10, 1, ["/a/bin/Runner.Worker", "spawnclient"], uid=1002)
    machine.exec(20, 10, ["/bin/bash", "-e", "step.sh"], uid=1002)
    machine.exec(20, 10, ["/bin/bash", "other.sh"], uid=1002, **FORGED)
    actor = machine.install(30, 20, uid=1002, **FORGED)
    assert actor.confidence.value == "weak"
    assert not any(isinstance(lookup, ProcessWanted) and lookup.pid == 20 for lookup in machine.asked)


def test_a_worker_that_the_job_started_is_not_the_runner(machine: Machine) -> None:
    machine.exec(10, 1, ["/a/bin/Runner.Worker", "spawnclient"], uid=1002)
    machine.exec(20, 10, ["/bin/bash", "-e", "step.sh"], uid=1002, **GITHUB)
    machine.exec(25, 20, ["/tmp/Runner.Worker"], uid=1002)
    machine.exec(26, 25, ["/bin/bash"], uid=1002, **FORGED)
    assert machine.install(30, 26, uid=1002, **FORGED).claimed == "carol"


def test_a_runner_in_a_persons_own_login_does_not_name_another(machine: Machine) -> None:
    machine.exec(10, 1, ["/tmp/Runner.Worker"], uid=1001, auid=1001)
    machine.exec(20, 10, ["/bin/bash"], uid=1001, auid=1001, **FORGED)
    assert reported(machine.install(30, 20, uid=1001, auid=1001)) == ("alice", "auid", "weak", "human")


HUB = ["/h/bin/python3", "/h/bin/jupyterhub"]


def test_a_hub_of_root_names_its_person_whoever_started_it(machine: Machine) -> None:
    machine.exec(10, 1, HUB, uid=0, auid=1001)
    machine.exec(20, 10, SERVER, uid=998, auid=1001, JUPYTERHUB_USER="dora")
    actor = machine.install(30, 20, uid=998, auid=1001, **FORGED)
    assert reported(actor) == ("dora", "jupyterhub", "strong", "human")
    assert (actor.auid, actor.claimed) == (1001, None)


@pytest.mark.parametrize("auid", [None, 1001])
def test_a_hub_of_another_account_than_root_names_nobody(machine: Machine, auid: int | None) -> None:
    machine.exec(10, 1, HUB, uid=998, auid=auid)
    machine.exec(20, 10, SERVER, uid=998, auid=auid, JUPYTERHUB_USER="bob")
    actor = machine.install(30, 20, uid=998, auid=auid, **FORGED)
    assert reported(actor)[:3] == ("alice" if auid else "hub", "auid" if auid else "uid", "weak")
    assert actor.claimed == "bob"


def test_a_server_below_a_server_says_nothing(machine: Machine) -> None:
    machine.exec(10, 1, HUB, uid=0)
    machine.exec(20, 10, SERVER, uid=1002, JUPYTERHUB_USER="bob")
    machine.exec(21, 20, SERVER, uid=1002, **FORGED)
    assert reported(machine.install(30, 21, uid=1002, **FORGED)) == ("bob", "jupyterhub", "strong", "human")


def test_a_server_below_one_that_was_not_seen_says_nothing(machine: Machine) -> None:
    machine.exec(10, 1, HUB, uid=0)
    machine.exec(20, 10, SERVER, uid=998)
    machine.exec(21, 20, SERVER, uid=998, **FORGED)
    actor = machine.install(30, 21, uid=998, **FORGED)
    assert (reported(actor)[:3], actor.claimed) == (("hub", "uid", "weak"), "eve")


def test_a_server_that_executes_itself_again_says_nothing(machine: Machine) -> None:
    machine.exec(10, 1, HUB, uid=0)
    machine.exec(20, 10, SERVER, uid=998)
    machine.exec(20, 10, SERVER, uid=998, **FORGED)
    actor = machine.install(30, 20, uid=998, **FORGED)
    assert (reported(actor)[:3], actor.claimed) == (("hub", "uid", "weak"), "eve")


def test_a_server_that_a_person_started_for_themselves_says_nothing(machine: Machine) -> None:
    machine.exec(10, 1, ["/bin/bash"], uid=1002)
    machine.exec(20, 10, SERVER, uid=1002, JUPYTERHUB_USER="eve")
    actor = machine.install(30, 20, uid=1002)
    assert (reported(actor), actor.claimed) == (("bob", "uid", "weak", "human"), "eve")


def test_two_servers_that_root_started_for_a_person_do_not_make_the_account_anybodys(machine: Machine) -> None:
    """A batch system, cron or at is root's as a hub is, and starts what the person wants."""
    machine.exec(10, 1, ["/usr/sbin/slurmstepd"], uid=0)
    machine.exec(20, 10, SERVER, uid=1002, JUPYTERHUB_USER="dora")
    machine.exec(21, 10, SERVER, uid=1002, JUPYTERHUB_USER="alice")
    actor = machine.install(30, 21, uid=1002)
    assert (reported(actor), actor.claimed) == (("bob", "uid", "weak", "human"), "alice")
    # Nor do they take the account from its person at a hub that root runs.
    machine.exec(40, 1, HUB, uid=0)
    machine.exec(20, 40, SERVER, uid=1002, JUPYTERHUB_USER="b.ob@example.org")
    assert reported(machine.install(31, 20, uid=1002))[:3] == ("bob", "jupyterhub", "strong")


def test_root_in_a_container_is_no_root_that_starts_hubs(machine: Machine) -> None:
    machine.cgroups[20] = f"/docker/{'0123456789abcdef' * 4}"
    machine.exec(10, 1, HUB, uid=0)
    machine.exec(20, 10, SERVER, uid=1002, JUPYTERHUB_USER="eve")
    machine.cgroups[30] = machine.cgroups[20]
    actor = machine.install(30, 20, uid=1002, HOME="/")
    assert (reported(actor)[:3], actor.claimed) == ((None, "container", "weak"), "eve")


def test_what_is_read_when_the_agent_starts_may_have_been_written_over(machine: Machine) -> None:
    machine.exec(10, 1, HUB, uid=0)
    machine.exec(20, 10, SERVER, uid=998)
    seen = ProcessSeen(
        time_ms=machine.now_ms, pid=20, ppid=10, exe=None, argv=SERVER, cwd=None, uid=998, auid=None, session=None,
        started_ms=None, image=machine.assembler.image_of(20), variables={"JUPYTERHUB_USER": "dora"}, cgroup="/",
    )  # fmt: skip
    machine.interpreter.step(None, [seen], now_ms=machine.now_ms)
    later = msgspec.structs.replace(seen, variables={"JUPYTERHUB_USER": "eve"})
    machine.interpreter.step(None, [later], now_ms=machine.now_ms)
    assert reported(machine.install(30, 20, uid=998))[:3] == ("dora", "jupyterhub", "strong")


def test_a_person_who_starts_a_server_as_somebody_else_stays_themselves(machine: Machine) -> None:
    machine.exec(10, 1, ["/usr/bin/sudo", "-u", "bob"], uid=1001, auid=1001)
    machine.exec(20, 10, SERVER, uid=1002, auid=1001, JUPYTERHUB_USER="eve")
    actor = machine.install(30, 20, uid=1002, auid=1001)
    assert (reported(actor), actor.claimed) == (("alice", "auid", "weak", "human"), "eve")
    assert actor.chain == ["alice", "bob"]


def test_an_account_that_serves_several_people_is_none_of_them(machine: Machine) -> None:
    machine.exec(10, 1, HUB, uid=0)
    machine.exec(20, 10, SERVER, uid=1002, JUPYTERHUB_USER="dora")
    machine.exit(20)
    machine.exec(20, 10, SERVER, uid=1002, JUPYTERHUB_USER="carol")
    assert machine.install(30, 20, uid=1002).name == "carol"


@pytest.mark.parametrize(
    ("cgroup", "is_excluded"),
    [
        ("/system.slice/nightly.service", True),
        ("/system.slice/nightly.service/worker", True),
        ("/user.slice/user-1001.slice/user@1001.service/app.slice/nightly.service", False),
        ("/user.slice/user-1001.slice/session-3.scope/nightly.service", False),
        ("/system.slice/web.service/nightly.service", False),
    ],
)
def test_only_a_unit_of_the_machine_is_excluded(cgroup: str, is_excluded: bool) -> None:
    machine = Machine(excluded_units=["nightly.service"])
    machine.cgroups[30] = cgroup
    machine.exec(30, 1, PIP, uid=1001, HOME="/")
    machine.exit(30)
    assert len(machine.done) == (not is_excluded)


def test_an_agent_is_named_with_its_person(machine: Machine) -> None:
    machine.exec(10, 1, ["/usr/bin/node", "/usr/bin/claude"], uid=1001, auid=1001)
    actor = machine.install(30, 10, uid=1001, auid=1001)
    assert (reported(actor), actor.program) == (("alice", "auid", "certain", "agent"), "claude")


def test_a_renamed_account_has_the_name_of_the_moment(machine: Machine) -> None:
    before = machine.install(30, 1, uid=1001, auid=1001)
    machine.names[1001] = "mallory"
    soon = machine.install(31, 1, uid=1001, auid=1001)
    machine.now_ms += 301_000
    later = machine.install(32, 1, uid=1001, auid=1001)
    assert [actor.name for actor in (before, soon, later)] == ["alice", "alice", "mallory"]
    assert machine.asked.count(NameWanted(uid=1001)) == 2


def test_a_run_gets_the_name_that_was_not_known_as_it_began(machine: Machine) -> None:
    machine.exec(30, 1, ["/usr/bin/python3", "/home/a/train.py"], uid=1001, auid=1001)
    assert [run.actor.name for run in machine.runs] == [None, "alice"]
    assert "actor.name" not in machine.runs[-1].absent
    machine.exit(30)
    assert (machine.runs[-1].ended is not None, machine.runs[-1].actor.name) == (True, "alice")


def test_what_wraps_a_server_in_its_own_process_is_not_its_spawner(machine: Machine) -> None:
    machine.exec(10, 1, HUB, uid=0)
    machine.exec(20, 10, ["/usr/bin/env", *SERVER], uid=1002)
    machine.exec(20, 10, SERVER, uid=1002, JUPYTERHUB_USER="bob")
    assert reported(machine.install(30, 20, uid=1002)) == ("bob", "jupyterhub", "strong", "human")


def test_a_name_that_was_learnt_long_ago_is_not_used(machine: Machine) -> None:
    machine.install(30, 1, uid=1001, auid=1001)
    machine.names[1001] = "mallory"
    machine.now_ms += 301_000
    machine.exec(31, 1, ["/usr/bin/python3", "/home/a/train.py"], uid=1001, auid=1001)
    assert [run.actor.name for run in machine.runs] == [None, "mallory"]


def test_what_a_job_was_given_holds_in_a_rebuild_too_where_nothing_is_wished_for(machine: Machine) -> None:
    machine.exec(10, 1, ["/a/bin/Runner.Worker", "spawnclient"], uid=1002)
    machine.exec(20, 10, ["/bin/bash", "-e", "step.sh"], uid=1002)
    (image,) = [machine.assembler.image_of(20)]
    assert image is not None
    machine.exec(20, 10, ["/bin/bash", "-e", "other.sh"], uid=1002)
    seen = ProcessSeen(
        time_ms=machine.now_ms, pid=20, ppid=10, exe=None, argv=["bash"], cwd=None, uid=1002, auid=None, session=None,
        started_ms=None, image=image, variables=GITHUB,
    )  # fmt: skip
    machine.interpreter.step(None, [seen], now_ms=machine.now_ms)
    assert machine.install(30, 20, uid=1002, **FORGED).claimed == "carol"


def test_somebody_is_named_once_for_the_same_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[Facts] = []
    monkeypatch.setattr("envtrail.interpret.people.name_actor", lambda facts: (named.append(facts), name_actor(facts))[1])
    machine = Machine()
    for pid in range(100, 110):
        machine.exec(pid, 1, PIP, uid=1001, auid=1001)
        machine.exit(pid)
    assert [done.actor.auid for done in machine.done] == [1001] * 10
    assert len(named) == len({msgspec.json.encode(facts) for facts in named}) < 10
