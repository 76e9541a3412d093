"""What a log tells of changes by hand: whose they are, and what is nobody's."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from envtrail.agent.build import open_trail
from envtrail.agent.importing import import_files
from envtrail.agent.world import ImportedWorld
from envtrail.config import Config, load_config
from envtrail.model.operation import Operation
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.store import Query
from envtrail.tasks.rebuild import rebuild_state

GOLDEN = Path(__file__).parents[2] / "golden/tampering"
BASE_MS = 1_764_000_000_000
SITE = "/opt/conda/envs/ml/lib/python3.11/site-packages"
WRITES, READS, CREATES = "241", "80000", "c1"
CALLS = {"openat": 257, "unlink": 87, "mkdir": 83, "rmdir": 84, "rename": 82, "fchmodat": 268, "chown": 92, "utimensat": 280}


def config_of(folder: Path) -> Config:
    return load_config(environ={"ENVTRAIL_DATA_DIR": str(folder / "trail"), "ENVTRAIL_NODE": "here"})


class Log:
    """Records of one machine, a second apart."""

    def __init__(self, node: str | None = None, *, serial: int = 100, since_ms: int = BASE_MS) -> None:
        self.head = f"node={node} " if node else ""
        self.serial, self.at_ms, self.lines = serial, since_ms, list[str]()

    def event(self, call: int, words: str, records: Sequence[str], *, pid: int, comm: str, exe: str, title: str) -> None:
        self.serial, self.at_ms = self.serial + 1, self.at_ms + 1000
        stamp = f"msg=audit({self.at_ms // 1000}.{self.at_ms % 1000:03d}:{self.serial})"
        who = f'ppid=50 pid={pid} auid=1001 uid=1001 gid=1001 euid=1001 ses=3 tty=pts0 comm="{comm}" exe="{exe}" key="k"'
        call_line = f'arch=c000003e syscall={call} {words} items={len(records)} {who}\x1dAUID="alice" UID="alice"'
        told = [
            f"SYSCALL {stamp}: {call_line}",
            *(f"{record.partition(' ')[0]} {stamp}: {record.partition(' ')[2]}" for record in records),
        ]
        told.append(f"PROCTITLE {stamp}: proctitle={title.replace(' ', chr(0)).encode().hex().upper()}")
        self.lines += [f"{self.head}type={line}" for line in told]

    def exec(self, argv: str, *, pid: int = 60, exe: str | None = None) -> Log:
        words = argv.split()
        execve = f"EXECVE argc={len(words)} " + " ".join(f'a{at}="{word}"' for at, word in enumerate(words))
        path = f'PATH item=0 name="{words[0]}" inode=1 mode=0100755 nametype=NORMAL'
        told = ['CWD cwd="/home/alice"', path]
        self.event(
            59, "success=yes exit=0 a0=1", [execve, *told], pid=pid, comm=Path(words[0]).name, exe=exe or words[0], title=argv
        )
        return self

    def change(
        self, path: str, what: str = "NORMAL", *, call: str = "openat", flags: str = WRITES, pid: int = 60, comm: str = "vim", title: str = "vim x",
        success: str = "yes", mode: str = "0100644",
    ) -> Log:  # fmt: skip
        words = f"success={success} exit=3 a0=ffffff9c a1=7f00 a2={flags} a3=0"
        record = f'PATH item=0 name="{path}" inode=9 mode={mode} nametype={what}'
        self.event(CALLS[call], words, ['CWD cwd="/home/alice"', record], pid=pid, comm=comm, exe=f"/usr/bin/{comm}", title=title)
        return self

    def exit(self, *, pid: int = 60) -> Log:
        self.event(231, "a0=0", [], pid=pid, comm="x", exe="/usr/bin/x", title="x")
        return self

    def write(self, path: Path) -> Path:
        path.write_text("\n".join(self.lines) + "\n")
        return path


def operations(folder: Path) -> list[Operation]:
    with closing(EmbeddedStore(folder / "trail")) as store:
        return sorted(store.operations(Query()), key=lambda one: one.started)


def told_by(folder: Path, *logs: Log) -> list[Operation]:
    paths = [log.write(folder / f"{at}.log") for at, log in enumerate(logs)]
    import_files(config_of(folder), paths)
    return operations(folder)


def kinds(found: Sequence[Operation]) -> list[tuple[str, str]]:
    return [(one.kind.value, one.tool) for one in found]


def test_a_rebuild_tells_the_same_byte_for_byte(tmp_path: Path) -> None:
    import_files(config_of(tmp_path), [GOLDEN / "input.log"])
    live = operations(tmp_path)
    rebuild_state(config_of(tmp_path))
    assert operations(tmp_path) == live
    assert [one.kind.value for one in live].count("tamper") == 8
    assert [(one.environment.prefix, one.moved_to) for one in live if one.kind.value == "move"] == [
        ("/opt/conda/envs/ml", "/opt/conda/envs/old")
    ]


def test_a_log_that_was_rotated_in_the_middle_tells_the_same(tmp_path: Path) -> None:
    lines = (GOLDEN / "input.log").read_text().splitlines(keepends=True)
    for number, part in enumerate((lines[: len(lines) // 3], lines[len(lines) // 3 :])):
        (tmp_path / ("audit.log.1" if number == 0 else "audit.log")).write_text("".join(part))
    import_files(config_of(tmp_path), [tmp_path / "audit.log", tmp_path / "audit.log.1"])
    expected = [(one["kind"], one["tool"], one["files"]) for one in json.loads((GOLDEN / "operations.json").read_text())]
    assert [
        (one.kind.value, one.tool, json.loads(json.dumps([{"path": f.path, "what": f.what} for f in one.files])))
        for one in operations(tmp_path)
    ] == expected


def test_evidence_names_records_that_are_there(tmp_path: Path) -> None:
    import_files(config_of(tmp_path), [GOLDEN / "input.log"])
    stamps = {
        (int(s) * 1000 + int(ms), int(serial))
        for s, ms, serial in re.findall(r"audit\((\d+)\.(\d+):(\d+)\)", (GOLDEN / "input.log").read_text())
    }
    told = [(item.time_ms, item.serial) for one in operations(tmp_path) for item in one.evidence]
    assert len(told) > 50
    assert set(told) <= stamps


def test_the_evidence_of_another_machine_has_its_whole_serial_and_its_person_the_name_of_the_record(tmp_path: Path) -> None:
    log = Log("gpu2", serial=5_000_000).exec("vim x").change(f"{SITE}/api.py")
    (tamper,) = told_by(tmp_path, log)
    assert [(item.serial, item.segment) for item in tamper.evidence] == [(5_000_001, 1), (5_000_002, 1)]
    assert (tamper.host, tamper.actor.name, tamper.actor.auid, tamper.argv) == ("gpu2", "alice", 1001, ["vim", "x"])
    assert (tamper.changes, tamper.absent["changes"]) == (None, "not recorded")


def test_an_older_log_that_is_imported_later_has_the_segment_it_lies_in(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    newer = Log(since_ms=BASE_MS + 86_400_000).exec("vim x").change(f"{SITE}/new.py")
    older = Log().exec("/v/bin/python /v/bin/pip install six", pid=70).exit(pid=70).exec("vim x").change(f"{SITE}/old.py")
    import_files(config, [newer.write(tmp_path / "newer.log")])
    with open_trail(config, world=ImportedWorld()) as opened:
        opened.writer.seal(wait=True)
    import_files(config, [older.write(tmp_path / "older.log")])
    found = {one.started: {item.segment for item in one.evidence} for one in operations(tmp_path)}
    assert list(found.values()) == [{2}, {2}, {1}]
    rebuild_state(config)
    assert {one.started: {item.segment for item in one.evidence} for one in operations(tmp_path)} == found


def test_a_change_on_another_machine_is_that_machines_whatever_its_path(tmp_path: Path) -> None:
    here = Log().exec("/opt/conda/envs/ml/bin/python /opt/conda/envs/ml/bin/pip install six")
    there = Log("gpu2").exec("cp a b").change(f"{SITE}/six.py", "CREATE", flags=CREATES, comm="cp", title="cp a b")
    found = told_by(tmp_path, here, there)
    assert [(one.host, one.kind.value) for one in found] == [("here", "install"), ("gpu2", "tamper")]


def test_what_two_processes_did_is_two_and_what_one_did_with_a_pause_is_two(tmp_path: Path) -> None:
    log = Log().exec("vim x").change(f"{SITE}/a.py").change(f"{SITE}/b.py").exec("cp a b", pid=61).change(f"{SITE}/c.py", pid=61)
    log.at_ms += 60_000
    log.change(f"{SITE}/d.py")
    found = told_by(tmp_path, log)
    assert [[Path(file.path).name for file in one.files] for one in found] == [["a.py", "b.py"], ["c.py"], ["d.py"]]


def test_a_removed_package_is_told_by_the_name_of_its_metadata(tmp_path: Path) -> None:
    log = Log().exec("rm -rf x").change(f"{SITE}/six-1.16.0.dist-info", "DELETE", call="unlink", mode="040755", comm="rm")
    (tamper,) = told_by(tmp_path, log)
    assert tamper.changes is not None
    assert [(change.name, change.before and change.before.version, change.after) for change in tamper.changes] == [
        ("six", "1.16.0", None)
    ]


@pytest.mark.parametrize(("call", "expected"), [("fchmodat", ["attributes"]), ("chown", ["attributes"]), ("utimensat", [])])
def test_another_mode_or_owner_is_a_change_and_another_time_is_none(tmp_path: Path, call: str, expected: list[str]) -> None:
    log = Log().exec("python3 x.py").change(f"{SITE}/six.py", call=call, comm="python3", title="python3 x.py")
    assert [file.what for one in told_by(tmp_path, log) for file in one.files] == expected


def test_a_file_that_is_made_and_then_given_its_mode_is_made(tmp_path: Path) -> None:
    log = Log().exec("cp -p a b").change(f"{SITE}/six.py", "CREATE", flags=CREATES, comm="cp", title="cp -p a b")
    (tamper,) = told_by(tmp_path, log.change(f"{SITE}/six.py", call="fchmodat", comm="cp", title="cp -p a b"))
    assert [file.what for file in tamper.files] == ["created"]


PIP = "/opt/conda/envs/ml/bin/python3.11 /opt/conda/envs/ml/bin/pip install six"


@pytest.mark.parametrize(
    "log",
    [
        Log().exec("cat x").change(f"{SITE}/a.py", flags=READS),
        Log().exec("vim x").change(f"{SITE}/a.py", success="no"),
        Log().exec("python3 x.py").change(f"{SITE}/__pycache__/a.cpython-311.pyc.123", "CREATE", flags=CREATES),
        Log().exec("vim x").change("/srv/infra/envs/prod/main.tf"),
        Log().exec("vim x").change("/home/alice/notes.txt"),
        Log().exec("tar x").change("/opt/conda/pkgs/six-1.16.0/lib/python3.11/site-packages/six.py"),
        Log().exec("x").change("/opt/conda/envs/.conda_envs_dir_test", "CREATE", flags=CREATES),
        Log().exec("vim x").change(f"{SITE}/.a.swp", "CREATE", flags=CREATES).change(f"{SITE}/.a.swp", "DELETE", call="unlink"),
        Log().exec("vim x").change("api.py", flags=WRITES.replace("241", "2")).change("/opt/conda/envs/ml/conda-meta/history"),
    ],
    ids=["read", "failed", "bytecode", "other envs", "no environment", "cache", "probe", "came and went", "history"],
)  # fmt: skip
def test_what_changes_no_environment_is_no_tamper(tmp_path: Path, log: Log) -> None:
    assert [one for one in told_by(tmp_path, log) if one.kind.value == "tamper"] == []


def test_what_a_tool_and_what_it_starts_change_is_its_own(tmp_path: Path) -> None:
    log = Log().exec(PIP, exe="/usr/bin/python3.11").change(f"{SITE}/six.py", "CREATE", flags=CREATES)
    log.change(f"{SITE}/six-1.16.0.dist-info", "CREATE", call="mkdir", mode="040755").exit()
    log.at_ms += 3_600_000
    assert kinds(told_by(tmp_path, log.exec("ls"))) == [("install", "pip")]


def test_a_log_that_begins_in_the_middle_of_an_install_accuses_nobody(tmp_path: Path) -> None:
    log = Log().change(f"{SITE}/six.py", "CREATE", flags=CREATES, comm="pip", title=PIP)
    log.change(f"{SITE}/six-1.16.0.dist-info", "CREATE", call="mkdir", mode="040755", comm="pip", title=PIP)
    (install,) = told_by(tmp_path, log)
    assert (install.kind.value, install.tool, install.outcome.value) == ("install", "pip", "unknown")


def test_a_title_that_is_not_the_programs_own_is_not_told_as_its_words(tmp_path: Path) -> None:
    (tamper,) = told_by(tmp_path, Log().change(f"{SITE}/a.py", comm="cp", title="bash -l"))
    assert (tamper.tool, tamper.argv, tamper.absent["argv"]) == ("cp", [], "not recorded")


@pytest.mark.parametrize(("flags", "expected"), [("0100001", 1), ("0100000", 0), ("0102", 1)])
def test_openat2_says_in_a_record_of_its_own_what_for(tmp_path: Path, flags: str, expected: int) -> None:
    log = Log().exec("vim x")
    path = f'PATH item=0 name="{SITE}/a.py" inode=9 mode=0100644 nametype=NORMAL'
    records = ['CWD cwd="/"', path, f"OPENAT2 oflag={flags} mode=00 resolve=0x0"]
    log.event(
        437,
        "success=yes exit=3 a0=ffffff9c a1=7f00 a2=7f01 a3=18",
        records,
        pid=60,
        comm="vim",
        exe="/usr/bin/vim",
        title="vim x",
    )
    assert len(told_by(tmp_path, log)) == expected


@pytest.mark.parametrize("prefix", ["/srv/v", "/opt/conda/envs/ml"])
@pytest.mark.parametrize(("call", "kind"), [("rmdir", "delete"), ("rename", "move")])
def test_an_environment_that_only_a_tools_start_has_shown_goes_with_its_folder(
    tmp_path: Path, prefix: str, call: str, kind: str
) -> None:
    log = Log("web1").exec(f"{prefix}/bin/python {prefix}/bin/pip install six", exe="/usr/bin/python3.11").exit()
    log.change(prefix, "DELETE", call=call, comm="rm", title=f"rm -r {prefix}", pid=70, mode="040755")
    log.change("/home/alice/notes", "DELETE", call=call, comm="rm", title="rm", pid=71, mode="040755")
    found = told_by(tmp_path, log)
    assert [(one.kind.value, one.environment.prefix) for one in found] == [("install", prefix), (kind, prefix)]


def test_a_folder_from_which_no_python_was_started_is_no_environment(tmp_path: Path) -> None:
    log = Log("web1").exec("/srv/v/bin/tool x").exit().change("/srv/v", "DELETE", call="rmdir", comm="rm", pid=70, mode="040755")
    log.exec("/usr/bin/python3 x.py").exit().change("/usr", "DELETE", call="rmdir", comm="rm", pid=70, mode="040755")
    assert told_by(tmp_path, log) == []


def test_nothing_but_its_removal_is_known_of_a_prefix_that_only_a_start_has_shown(tmp_path: Path) -> None:
    log = Log("web1").exec("/srv/v/bin/python /srv/v/bin/pip install six").exit()
    assert kinds(told_by(tmp_path, log.change("/srv/v/data.csv"))) == [("install", "pip")]
