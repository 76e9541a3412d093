"""An environment that was given another place keeps what is known of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from log_lab import Trail

from envtrail.cli.main import run
from envtrail.environments.blame import blame_packages
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.state import State
from envtrail.state.store import Query

OLD, NEW, NEWEST = "/srv/v", "/srv/w", "/srv/x"


class Log:
    """What people did, as the kernel records it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.second = 0

    def run(self, argv: str, *paths: tuple[str, str], call: int = 83, auid: int = 1001) -> Log:
        """A program, and what it did to names: `CREATE` and `DELETE`."""
        words, pid = argv.split(), 100 + self.second
        who = f'ppid=9 pid={pid} auid={auid} uid={auid} ses=3 comm="{Path(words[0]).name}" exe="{words[0]}" key="k"'
        execve = f"argc={len(words)} " + " ".join(f'a{at}="{word}"' for at, word in enumerate(words))
        self._event(f"SYSCALL arch=c000003e syscall=59 success=yes exit=0 items=0 {who}", f"EXECVE {execve}")
        items = [f'PATH item={at} name="{path}" inode=7 mode=040755 nametype={kind}' for at, (kind, path) in enumerate(paths)]
        if items:
            self._event(f"SYSCALL arch=c000003e syscall={call} success=yes exit=0 items=1 {who}", 'CWD cwd="/"', *items)
        self._event(f"SYSCALL arch=c000003e syscall=231 a0=0 items=0 {who}")
        return self

    def _event(self, *records: str) -> None:
        self.second += 10
        stamp = f"msg=audit({1764000000 + self.second}.000:{self.second})"
        self.lines += [f"type={one.partition(' ')[0]} {stamp}: {one.partition(' ')[2]}" for one in [*records, "EOE "]]


def site(prefix: str, name: str) -> str:
    return f"{prefix}/lib/python3.11/site-packages/{name}.dist-info"


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    log = Log()
    log.run(f"/usr/bin/python3 -m venv {OLD}", ("CREATE", f"{OLD}/pyvenv.cfg"))
    log.run(f"{OLD}/bin/python {OLD}/bin/pip install six", ("CREATE", site(OLD, "six-1.16.0")))
    log.run(f"{OLD}/bin/python /home/alice/train.py")
    log.run(f"/usr/bin/mv {OLD} {NEW}", ("DELETE", OLD), ("CREATE", NEW), call=82, auid=1002)
    log.run(f"/usr/bin/mv {NEW} {NEWEST}", ("DELETE", NEW), ("CREATE", NEWEST), call=82, auid=1002)
    log.run(f"{NEWEST}/bin/python {NEWEST}/bin/pip install idna", ("CREATE", site(NEWEST, "idna-3.6")), auid=1003)
    log.run(f"/usr/bin/python3 -m venv {OLD}", ("CREATE", f"{OLD}/pyvenv.cfg"), auid=1004)
    trail = Trail(tmp_path / "trail")
    trail.take_text("\n".join(log.lines).encode() + b"\n")
    return trail


def test_a_move_is_one_operation_and_names_both_places(trail: Trail) -> None:
    moves = [(one["environment"]["prefix"], one["moved_to"]) for one in trail.said().operations if one["kind"] == "move"]
    assert moves == [(OLD, NEW), (NEW, NEWEST)]
    assert [one["kind"] for one in trail.said().operations] == ["create", "install", "move", "move", "install", "create"]


def test_history_runs_and_blame_follow_it(trail: Trail) -> None:
    with closing(EmbeddedStore(trail.config.data_dir)) as store:
        query = Query(environment=NEWEST, oldest_first=True)
        assert [one.kind.value for one in store.operations(query)] == ["create", "install", "move", "move", "install"]
        assert [one.argv[-1] for one in store.runs(query)] == ["/home/alice/train.py"]
        assert [one.kind.value for one in store.operations(Query(environment=OLD, oldest_first=True))] == [
            "create", "install", "move", "create",
        ]  # fmt: skip
        packages = [
            Package(ecosystem="pypi", name=name, version=version) for name, version in (("six", "1.16.0"), ("idna", "3.6"))
        ]
        snapshot = Snapshot(prefix=NEWEST, kind="venv", packages=packages)
        blamed = blame_packages(snapshot, store.operations(Query(environment=NEWEST)), python=None)
    assert [row.operation and row.operation.actor.auid for row in blamed] == [1001, 1003]


def test_its_creator_and_its_last_use_go_along(trail: Trail) -> None:
    with closing(State(trail.config.data_dir / "state/state.sqlite")) as state:
        for prefix in (OLD, NEWEST):
            state.put_environment(Environment(prefix=prefix, kind="venv"), seen_ms=1)
        state._database.execute("UPDATE operations SET user = 'uid' || auid")
    with closing(EmbeddedStore(trail.config.data_dir)) as store:
        found = {one.environment.prefix: (one.creator, one.last_change_by, one.last_use is not None) for one in store.summaries()}
    assert found == {OLD: ("uid1004", "uid1001", True), NEWEST: ("uid1001", "uid1003", True)}


def test_the_commands_show_where_it_went(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENVTRAIL_DATA_DIR", str(trail.config.data_dir))
    assert run(["log", "--env", NEWEST]) == 0
    assert f"Where: {OLD} → {NEW} (venv) on vm" in capsys.readouterr().out
    with closing(State(trail.config.data_dir / "state/state.sqlite")) as state:
        state.put_environment(Environment(prefix=NEWEST, kind="venv"), seen_ms=1)
    assert run(["env", "history", NEWEST]) == 0
    assert capsys.readouterr().out.count("move (mv)") == 2
