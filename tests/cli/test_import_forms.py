"""One activity, in every form that a log takes on its way, is one history; what is no log is named."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from packing import PACKINGS, tar

from envtrail.cli.main import run
from envtrail.core import record_type_name

DATA = Path(__file__).parents[1] / "data" / "logs"
PLAIN = (DATA / "15_bom.log").read_bytes().removeprefix(b"\xef\xbb\xbf")
LINES = PLAIN.decode().splitlines()
NUMBERS = {record_type_name(number): number for number in range(1300, 1340)}
HEAD = "Nov 14 22:13:20 node7 "


class Cli:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(self.folder / "trail"), "ENVTRAIL_NODE": "node7"}
        command = [sys.executable, "-m", "envtrail", *words]
        return subprocess.run(command, env=environment, input=stdin, capture_output=True, check=False)

    def json(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(*words, "--json").stdout.splitlines()]

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)


class Inside(Cli):
    """The same in this process: there are many forms."""

    def __call__(self, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        assert stdin is None
        out, err = TextIOWrapper(BytesIO(), "utf-8"), TextIOWrapper(BytesIO(), "utf-8")
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setenv("ENVTRAIL_NODE", "node7")
            code = run(["--data-dir", str(self.folder / "trail"), *words])
        return subprocess.CompletedProcess(words, code, *map(_written, (out, err)))


def _written(stream: TextIOWrapper) -> bytes:
    stream.flush()
    content: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return content


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Inside(tmp_path)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    cli = Cli(tmp_path_factory.mktemp("plain"))
    done = cli("import", cli.write("audit.log", PLAIN))
    assert (done.returncode, done.stderr) == (0, b"")
    operations = cli.json("log")
    assert [(one["kind"], one["outcome"], one["host"]) for one in operations] == [("install", "success", "node7")]
    assert operations[0]["argv"][-2:] == ["install", "six==1.16.0"]
    return operations


def numbered(line: str) -> str:
    name, rest = line.removeprefix("type=").split(" msg=", 1)
    return f"type={NUMBERS[name]} {rest}"


def journal(line: str) -> dict[str, str]:
    found = re.fullmatch(r"type=(\w+) msg=audit\((\d+)\.(\d+):(\d+)\):(.*)", line)
    assert found
    name, seconds, ms, serial, body = found.groups()
    return {
        "__CURSOR": "s=1",
        "_TRANSPORT": "audit",
        "_AUDIT_TYPE": str(NUMBERS[name]),
        "_AUDIT_TYPE_NAME": name,
        "_AUDIT_ID": serial,
        "_SOURCE_REALTIME_TIMESTAMP": f"{seconds}{ms}000",
        "_HOSTNAME": "node7",
        "MESSAGE": name + body,
    }


def each(make: Callable[[str], str], end: str = "\n") -> bytes:
    return "".join(make(line) + end for line in LINES).encode()


def document(**fields: Any) -> str:
    return json.dumps(fields)


FOREIGN = (
    f"{HEAD}sudo: alice : TTY=pts/0 ; COMMAND=/bin/echo type=SYSCALL msg=audit(1.0:1): x\n{HEAD}systemd[1]: Started x.\n" * 300
)
FORMS = {
    "CRLF": each(str, "\r\n"),
    "zeros before": b"\0" * 5000 + PLAIN,
    "zeros between": PLAIN.replace(b"\n", b"\n\0\0\0"),
    "UTF-16 LE with a mark": b"\xff\xfe" + PLAIN.decode().encode("utf-16-le"),
    "UTF-16 LE": PLAIN.decode().encode("utf-16-le"),
    "UTF-16 BE": PLAIN.decode().encode("utf-16-be"),
    "ausearch": each(lambda line: f"----\ntime->Tue Nov 14 22:13:20 2023\n{line}"),
    "syslog without a node": each(lambda line: f"{HEAD}audispd: {line}"),
    "syslog of RFC 5424": each(lambda line: f"<13>1 2023-11-14T22:13:20.1Z node7 audisp-syslog - - - {line}"),
    "kernel": each(lambda line: f"{HEAD}kernel: audit: {numbered(line)}"),
    "dmesg": each(lambda line: f"[   12.345678] audit: {numbered(line)}"),
    "a syslog of many programs": (FOREIGN + each(lambda line: f"{HEAD}audispd: {line}", "\n" + FOREIGN).decode()).encode(),
    "journalctl -o json": each(lambda line: document(**journal(line))),
    "journalctl -o export": each(lambda line: "".join(f"{key}={value}\n" for key, value in journal(line).items())),
    "Filebeat": each(
        lambda line: document(message=line, host={"name": "node7"}, event={"module": "auditd", "dataset": "auditd.log"})
    ),
    "Docker": each(lambda line: document(log=line + "\n", stream="stdout", time="2023-11-14T22:13:20Z")),
    "Fluent": each(lambda line: document(**{"@message": line, "hostname": "node7"})),
    "an export of hits": each(lambda line: document(_index="x", _source={"message": line})),
    **{f"packed: {name}": pack(PLAIN) for name, pack in PACKINGS.items()},
    **{path.name: path.read_bytes() for path in sorted(DATA.glob("15*"))},
}


def test_all_cases_are_there() -> None:
    assert len(list(DATA.glob("15*"))) == 4


@pytest.mark.parametrize("form", FORMS)
def test_the_history_is_the_same(form: str, cli: Cli, expected: list[dict[str, Any]]) -> None:
    (report,) = cli.json("import", cli.write("a", FORMS[form]))
    assert (report["records"], report["incomplete"], report["faults"]) == (8, 0, 0)
    assert sum(log["records"] for log in report["logs"]) == 8
    assert cli.json("log") == expected
    assert cli("rebuild").returncode == 0
    assert cli.json("log") == expected


@pytest.mark.parametrize("form", ["json", "export"])
def test_a_real_journal_is_read(form: str, cli: Cli, expected: list[dict[str, Any]]) -> None:
    """As systemd 252 wrote it: `audisp-syslog`'s enriched records, which are binary there, among journald's own entries."""
    (report,) = cli.json("import", str(DATA / f"journal.{form}"))
    assert (report["records"], report["incomplete"], report["faults"]) == (8, 0, 0)
    assert (report["logs"][0]["forms"], report["logs"][0]["without"]) == ({"journal": 8}, {"not_a_record": 4})
    (operation,) = cli.json("log")
    (known,) = expected
    assert operation["actor"]["name"] == "alice"
    assert {key: operation[key] for key in operation if key not in ("actor", "absent")} == {
        key: known[key] for key in known if key not in ("actor", "absent")
    }


@pytest.mark.parametrize("form", ["packed: gzip", "packed: tar.xz", "packed: zip", "15d_xz.log.xz", "UTF-16 LE", "dmesg"])
def test_standard_input_is_as_good_as_a_file(form: str, tmp_path: Path, expected: list[dict[str, Any]]) -> None:
    cli = Cli(tmp_path)
    done = cli("import", "-", stdin=FORMS[form])
    assert done.returncode == 0, done.stderr
    assert cli.json("log") == expected


def test_what_a_file_was_taken_for_is_told(cli: Cli) -> None:
    path = cli.write("messages", FORMS["a syslog of many programs"])
    done = cli("import", path)
    assert done.returncode == 0
    assert done.stderr.decode() == f"{path}: syslog, 8 of {600 * 9 + 8} lines hold records\n"
    (report,) = cli.json("import", path)
    (log,) = report["logs"]
    assert (log["forms"], log["without"], report["faults"]) == ({"syslog": 8}, {"not_a_record": 5400}, 0)
    assert log["examples"][0] == {"line": 1, "kind": "not_a_record", "excerpt": FOREIGN.splitlines()[0]}


def test_lines_that_are_no_records_are_told_with_their_number(cli: Cli) -> None:
    path = cli.write("audit.log", PLAIN + b"foo\ntype=CWD msg=audit(17000\n")
    done = cli("import", path)
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [
        "0 events are incomplete, 2 lines are no records",
        f"{path}: audit log, 8 of 10 lines hold records",
        f"{path}:9: no record: `foo`",
        f"{path}:10: a record without its time and serial: `type=CWD msg=audit(17000`",
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"hello\n", "x: text without audit records"),
        (b"hello\n", "x:1: no record: `hello`"),
        (b"\x1b[31mhello\n", "x:1: no record: `\\x1b[31mhello`"),
        (b"\x7fELF\2\1\1" + bytes(99), "x: a program"),
        (b"", "x: an empty file"),
        (b"LPKSHHRH" + bytes(99), "-o export _TRANSPORT=audit | envtrail import -"),
        (
            b"type=CWD msg=audit(11/14/2023 22:13:20.000:1) : cwd=/\n",
            "hint: `ausearch -i` and `aureport` leave out what is needed",
        ),
        (
            f"{HEAD}audit[2000]: SYSCALL arch=c000003e syscall=59\n".encode(),
            "hint: journalctl leaves out time and serial in its text",
        ),
        (document(**{**journal(LINES[0]), "MESSAGE": None}).encode(), "hint: journalctl leaves out long fields"),
        (document(message="hello").encode(), "x: text without audit records"),
        (PLAIN.replace(b"\n", b"\r"), "x: text with CR line ends"),
        (PLAIN.replace(b"\n", b"\r"), "hint: tr '\\r' '\\n' <"),
        (b"".join(f"{HEAD}auditd: {line}\r".encode() for line in LINES), "x: text with CR line ends"),
    ],
)
def test_what_is_no_log_is_named_and_found_nothing(content: bytes, told: str, cli: Cli) -> None:
    path = cli.write("x", content)
    done = cli("import", path)
    assert done.returncode == 1
    assert told.replace("x:", f"{path}:", 1) in done.stderr.decode() or told in done.stderr.decode()


def test_one_of_several_that_is_no_log_does_not_keep_the_others_out(cli: Cli, expected: list[dict[str, Any]]) -> None:
    wrong, right, empty = cli.write("x.bin", b"\x7fELF\2\1\1" + bytes(99)), cli.write("a.log", PLAIN), cli.write("empty", b"")
    done = cli("import", wrong, right, empty)
    assert (done.returncode, done.stderr.decode().splitlines()) == (2, [f"{wrong}: a program", f"{empty}: an empty file"])
    assert cli.json("log") == expected
    assert cli("import", right, empty).returncode == 0
    assert cli("import", right, "/no/such/file").returncode == 2


def test_a_damaged_archive_leaves_a_gap_with_its_path_and_range(cli: Cli, expected: list[dict[str, Any]]) -> None:
    later = "".join(f"type=USER_ACCT msg=audit(17000000{at}.000:{at + 100}): pid=1 uid=0 res=success\n" for at in range(20, 99))
    path = cli.write("a.tar", tar({"audit.log": PLAIN, "audit.log.1": later.encode()})[:6000])
    done = cli("import", path)
    assert done.returncode == 2
    assert f"{path}/audit.log.1: audit log (tar), " in done.stderr.decode()
    assert "not read to its end (it ends within a file), see `envtrail gaps`" in done.stderr.decode()
    assert cli.json("log") == expected
    (gap,) = cli.json("gaps")
    assert (gap["cause"], gap["host"], gap["since_ms"], gap["until_ms"]) == (
        "damaged",
        "node7",
        1_700_000_068_000,
        1_700_000_100_000,
    )
    assert f"`{path}/audit.log.1`" in gap["detail"]
    assert cli("rebuild").returncode == 0
    assert cli.json("gaps") == [gap]


def test_logs_of_several_machines_that_name_none_are_told_apart_by_host(cli: Cli) -> None:
    ours, theirs = cli.write("ours.log", PLAIN), cli.write("theirs.log", PLAIN.replace(b"17000000", b"17100000"))
    count = len(LINES)
    done = cli("import", ours)
    assert (
        f"{count} records name no machine and were filed under node7 (this machine; --host NAME names another)"
        in done.stdout.decode()
    )
    assert b"under web1 (as requested)" in cli("import", "--host", "web1", theirs).stdout
    assert {row["host"] for row in cli.json("log")} == {"node7", "web1"}
    assert {row["values"]["node"] for row in cli.json("events", "--host", "web1")} == {"web1"}
    assert cli("verify").returncode == 0
    (again,) = cli.json("import", "--host", "web1", theirs)
    assert (again["events"], again["host"], again["unnamed"]) == (0, "web1", count)


@pytest.mark.parametrize("name", ["", "a b", "-x", "a=b", "a\nb"])
def test_a_machine_has_a_name_that_a_record_can_hold(cli: Cli, name: str) -> None:
    done = cli("import", f"--host={name}", cli.write("x.log", PLAIN))
    assert (done.returncode, b"must be a host name" in done.stderr) == (2, True)


def test_a_log_that_names_its_machines_is_filed_under_those(cli: Cli) -> None:
    named = "".join(f"node=db1 {line}\n" for line in LINES).encode()
    (report,) = cli.json("import", "--host", "web1", cli.write("x.log", named))
    assert report["unnamed"] == 0
    assert {row["host"] for row in cli.json("log")} == {"db1"}


def test_json_that_spans_lines_is_named_with_the_way_to_read_it(cli: Cli) -> None:
    pretty = json.dumps([{"message": line} for line in LINES], indent=1).encode()
    done = cli("import", cli.write("pretty.json", pretty))
    assert done.returncode == 1
    assert b"JSON that is not one document a line" in done.stderr
    assert b"hint: one document a line: jq -c ." in done.stderr
    assert b"Auditbeat" not in done.stdout + done.stderr
    (report,) = cli.json("import", cli.write("list.json", json.dumps([{"message": line} for line in LINES]).encode()))
    assert report["operations"] == 1


def test_an_interrupted_import_says_what_is_kept_and_how_it_goes_on(cli: Cli, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(tmp_path / "trail"), "ENVTRAIL_NODE": "node7"}
    command = [sys.executable, "-m", "envtrail", "import", str(fifo)]
    with (
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader,
        fifo.open("wb") as pipe,
    ):
        pipe.write(PLAIN)
        pipe.flush()
        for _ in range(30):
            # One that arrives right before a read begins takes effect after it: Python looks for signals between its steps.
            reader.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                reader.wait(2)
                break
        out, err = reader.communicate(timeout=10)
    assert (reader.returncode, out) == (130, b"")
    assert err.strip() == b"interrupted: what was imported is kept; continue with the same command"


def test_logins_of_which_no_session_can_be_made_are_counted(cli: Cli) -> None:
    """RHEL 5: no `ses`, and the log begins after the LOGIN."""
    said = "(hostname=192.0.2.1, addr=192.0.2.1, terminal=ssh res=success)"
    body = f'user pid=700 uid=0 auid=500 msg=\'PAM: session open acct="mona" : exe="/usr/sbin/sshd" {said}\''
    path = cli.write("audit.log", f"type=USER_START msg=audit(1390000000.084:107): {body}\n".encode())
    done = cli("import", path)
    assert done.returncode == 0
    assert "1 logins name no session, and no LOGIN of their process was read" in done.stdout.decode()
