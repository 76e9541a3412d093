"""The core on the inputs on which the peers lose or garble data."""

from __future__ import annotations

import base64
import json
import time

import pyarrow as pa
import pytest

from envtrail.core import Assembler, event_schema, interesting_rows, merkle_root, redact_argv
from envtrail.model.schema import EVENT_COLUMNS

STAMP = "msg=audit(1764000000.100:{})"


def read(text: str, *, redact: bool = False, **options: object) -> list[dict[str, object]]:
    assembler = Assembler(node="n", redact=redact, **options)  # type: ignore[arg-type]
    assembler.push(text.encode("utf-8", "surrogateescape"))
    assembler.flush()
    return pa.record_batch(assembler.drain().events()).to_pylist()


def execve(serial: int, records: list[str], *, eoe: bool = True) -> str:
    stamp = STAMP.format(serial)
    lines = [
        f'type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0 items=1 ppid=1 pid={serial} auid=1 uid=1 ses=1 comm="x" exe="/x" key=(null)'
    ]
    lines += [f"type=EXECVE {stamp}: {record}" for record in records]
    lines += [
        f'type=CWD {stamp}: cwd="/"',
        f'type=PATH {stamp}: item=0 name="/x" inode=1 mode=0100755 ouid=0 nametype=NORMAL',
        f"type=PROCTITLE {stamp}: proctitle=78",
    ]
    return "\n".join(lines + ([f"type=EOE {stamp}: "] if eoe else [])) + "\n"


def test_the_compiled_schema_is_the_table() -> None:
    schema = pa.schema(event_schema())
    assert len(EVENT_COLUMNS) > 30
    assert [(field.name, str(field.type)) for field in schema] == [(column.name, column.arrow) for column in EVENT_COLUMNS]


def test_a_log_without_eoe_gives_every_event_complete() -> None:
    events = read("".join(execve(serial, ['argc=1 a0="x"'], eoe=False) for serial in range(1, 101)))
    assert len(events) == 100
    assert all(event["complete"] for event in events)


def test_enrichment_does_not_leak_into_the_last_field() -> None:
    text = execve(1, ['argc=1 a0="x"']).replace("key=(null)", 'key=(null)\x1dARCH=x86_64 AUID="alice" UID="alice"')
    text = text.replace("nametype=NORMAL", 'nametype=NORMAL cap_frootid=0\x1dOUID="root"')
    (event,) = read(text)
    assert event["keys"] is None
    assert dict(event["fields"]) == {"AUID": "alice", "UID": "alice"}  # type: ignore[call-overload]


def test_a_bare_separator_at_the_end_of_a_line_is_nothing() -> None:
    text = "".join(line + "\x1d\n" for line in execve(1, ['argc=1 a0="x"']).splitlines())
    (event,) = read(text)
    assert (event["argv"], event["complete"]) == (["x"], True)


def test_node_prefix_is_the_node() -> None:
    text = "".join("node=gpu7 " + line + "\n" for line in execve(1, ['argc=1 a0="x"']).splitlines())
    (event,) = read(text)
    assert event["node"] == "gpu7"


def test_split_arguments_are_joined_also_over_records() -> None:
    parts = ['argc=3 a0="x" a1_len=9 a1[0]="abc"', 'a1[1]="def"', 'a1[2]="ghi" a2=""']
    (event,) = read(execve(1, parts))
    assert (event["argv"], event["complete"]) == (["x", "abcdefghi", ""], True)


def test_a_missing_part_is_marked() -> None:
    (event,) = read(execve(1, ['argc=3 a0="x" a1_len=9 a1[0]="abc"', 'a1[2]="ghi" a2=""']))
    assert (event["complete"], event["missing"]) == (False, ["EXECVE"])


@pytest.mark.parametrize(
    "records",
    [
        "type=DAEMON_START msg=audit(1764000000.100:9): auditd start, ver=3.0.9, auid=4294967295 res=success\n",
        "type=DAEMON_START msg=auditd(1764000000.100:9) auditd start, ver=1.0\n",
    ],
)
def test_old_daemon_records_are_kept(records: str) -> None:
    (event,) = read(records)
    assert (event["kind"], event["type"]) == ("daemon", "DAEMON_START")


def test_a_line_of_half_a_mebibyte_is_one_event() -> None:
    (event,) = read(execve(1, [f'argc=1 a0="{"y" * (512 * 1024)}"']))
    assert len(event["argv"][0]) == 512 * 1024  # type: ignore[index]


def test_a_hundred_thousand_arguments_and_two_mebibytes_are_exact() -> None:
    argv = ["", *(f"argument-{number:06d}" for number in range(99_999))]
    words = [f'a{at}="{word}"' for at, word in enumerate(argv)]
    records = [f"argc={len(argv)} " + " ".join(words[:500])] + [
        " ".join(words[start : start + 500]) for start in range(500, len(words), 500)
    ]
    (event,) = read(execve(1, records))
    assert event["argv"] == argv
    assert event["complete"] is True


def test_arguments_that_are_no_text_are_shown_escaped_with_their_bytes() -> None:
    (event,) = read(execve(1, ['argc=2 a0="x" a1=FF005C']))
    assert event["argv"] == ["x", "\\xff\x00\\\\"]
    assert base64.b64decode(str(event["argv_bytes"])) == b"x\0\xff\0\\"


def test_a_login_record_is_part_of_its_event() -> None:
    stamp = STAMP.format(5)
    text = f"type=LOGIN {stamp}: pid=9 uid=0 old-auid=4294967295 auid=1001 tty=(none) old-ses=4294967295 ses=3 res=1\n"
    text += f'type=SYSCALL {stamp}: arch=c000003e syscall=1 success=yes exit=4 ppid=1 pid=9 auid=1001 uid=0 ses=3 comm="sshd" exe="/usr/sbin/sshd" key=(null)\n'
    text += f"type=PROCTITLE {stamp}: proctitle=78\n"
    (event,) = read(text)
    assert (event["kind"], event["type"], event["auid"], event["ses"]) == ("user", "LOGIN", 1001, 3)


def test_unknown_types_are_kept() -> None:
    events = read(f"type=UNKNOWN[1999] {STAMP.format(1)}: a=1\ntype=SOMETHING_NEW {STAMP.format(2)}: a=1\n")
    assert sorted(str(event["type"]) for event in events) == ["SOMETHING_NEW", "UNKNOWN[1999]"]


def test_a_bad_line_is_a_fault_and_the_stream_goes_on() -> None:
    assembler = Assembler(node="n")
    assembler.push(b"what is this\n" + execve(1, ['argc=1 a0="x"']).encode())
    batch = assembler.drain()
    assert [(fault.kind, fault.line, fault.excerpt) for fault in batch.faults] == [("not_a_record", 1, "what is this")]
    assert len(batch) == 1


def test_hints_find_the_tool_behind_the_interpreter() -> None:
    hints = [("pip", ["pip"]), ("python", ["python"])]
    for argv, expected in (
        (["/v/bin/python", "/v/bin/pip3.12", "install"], "pip"),
        (["python3", "-Im", "pip", "install"], "pip"),
        (["python3.11", "-W", "ignore", "-m", "pip"], "pip"),
        (["python3", "-c", "pip"], "python"),
        (["/bin/ls", "pip"], None),
    ):
        words = " ".join(f'a{at}="{word}"' for at, word in enumerate(argv))
        (event,) = read(execve(1, [f"argc={len(argv)} {words}"]), hints=hints)
        assert event["hint"] == expected, argv


def test_secrets_leave_every_record_that_repeats_them() -> None:
    secret = "https://bob:hunter2@pypi.example/simple"
    title = "\0".join(["pip", "install", "-i", secret]).encode().hex().upper()
    text = execve(1, [f'argc=4 a0="pip" a1="install" a2="-i" a3="{secret}"']).replace("proctitle=78", f"proctitle={title}")
    assembler = Assembler(node="n")
    assembler.push(text.encode())
    assembler.flush()
    batch = assembler.drain()
    (event,) = pa.record_batch(batch.events()).to_pylist()
    assert event["argv"][3] == "https://<redacted:url-credential>@pypi.example/simple"
    assert b"hunter2" not in batch.records
    assert b"hunter2".hex().upper().encode() not in batch.records
    assert batch.redactions == {"url-credential": 1}
    assert redact_argv(["x", "--token", "abc"]) == (["x", "--token", "<redacted:option-value>"], {"option-value": 1})


def test_merkle_root_counts_lines() -> None:
    root, lines = merkle_root(b"a\nb\n", b"s")
    assert (len(root), lines) == (32, 2)
    assert merkle_root(b"a\nc\n", b"s")[0] != root


def test_an_event_on_a_silent_machine_leaves_by_the_clock() -> None:
    assembler = Assembler(node="n")
    now = int(time.time() * 1000)
    assembler.tick(now)
    assembler.push(f'type=CWD {STAMP.format(1)}: cwd="/"\n'.encode())
    assembler.tick(now + 500)
    assert len(assembler.drain()) == 0
    assembler.tick(now + 3000)
    assert len(assembler.drain()) == 1


def test_a_row_as_json_is_what_arrow_gives_of_its_columns() -> None:
    stamp = "msg=audit(1764000000.123:18446744073709551615):"
    log = (
        f'type=SYSCALL {stamp} arch=c000003e syscall=59 exit=-2 items=1 ppid=1 pid=7 auid=4294967295 comm="a\\" '
        f'exe=2F62696E2FFF0A22 key="k"\x1dAUID="unset"\ntype=EXECVE {stamp} argc=2 a0="x" a1=C3A9\n'
        f"type=PATH {stamp} item=0 name=(null) inode=18446744073709551615 nametype=UNKNOWN\n"
        "type=USER_CMD msg=audit(1764000001.000:2): pid=1 uid=0 msg='op=1 op=2 cmd=6C73 res=success'\n"
    )
    assembler = Assembler(node="n", hints=[("tool", ["x"])])
    assembler.push(log.encode())
    assembler.flush()
    events = pa.record_batch(assembler.drain().events())
    expected = events.to_pylist()[0]
    expected["time"] = events.column("time").cast(pa.int64()).to_pylist()[0]
    expected["fields"] = dict(expected["fields"])
    (row,) = json.loads(interesting_rows(events, {"": events.schema.names}, {}, None))
    assert row == {name: value for name, value in expected.items() if value is not None} | {"at": 0}


@pytest.mark.parametrize("typed", [b"hunter2\r", b"h", b"<redacted:keystrokes>hunter2", b"ls -l\r"])
def test_what_somebody_typed_is_not_kept(typed: bytes) -> None:
    """pam_tty_audit has the kernel and the shell record it, passwords at prompts included; it may stand in the event of a system call."""
    data = typed.hex().upper()
    lines = (
        f'type=TTY msg=audit(1764000000.100:5): tty pid=10 uid=1001 auid=1001 ses=3 major=136 minor=0 comm="bash" data={data}\n'
        f'type=USER_TTY msg=audit(1764000000.200:6): pid=10 uid=0 auid=1001 ses=3 data={data}\x1dUID="root"\n'
        f'type=TTY msg=audit(1764000000.300:7): tty pid=10 uid=1001 auid=1001 ses=3 major=136 minor=0 comm="bash" data={data}\n'
        "type=SYSCALL msg=audit(1764000000.300:7): arch=c000003e syscall=0 success=yes exit=1 a0=0 ppid=9 pid=10 auid=1001 uid=1001 "
        'gid=1001 euid=1001 ses=3 tty=pts0 comm="bash" exe="/bin/bash" key="k"\n'
        f"type=PROCTITLE msg=audit(1764000000.300:7): proctitle={data}\n"
    )
    assembler = Assembler(node="n")
    assembler.push(lines.encode())
    assembler.flush()
    batch = assembler.drain()
    kept = batch.records.decode()
    marker = b"<redacted:keystrokes>".hex().upper()
    assert kept.count(f"data={marker}") + kept.count('data="<redacted:keystrokes>"') == 3
    assert 'comm="bash"' in kept
    assert f"data={data}" not in kept
    again = Assembler(node="n")
    again.push(batch.records)
    again.flush()
    assert again.drain().records == batch.records


def test_what_a_program_wrote_into_its_message_is_not_what_the_kernel_wrote_of_it() -> None:
    """CAP_AUDIT_WRITE, which containers have, lets a program send any text; pid, uid, auid and ses come from the kernel."""
    forged = 'op=login acct="bob" exe="/usr/sbin/sshd"\' pid=1 uid=0 auid=1002 ses=9 msg=\'acct="bob" res=success'
    lines = f"type=USER_LOGIN msg=audit(1764000000.400:8): pid=77 uid=1001 auid=1001 ses=3 msg='{forged}'\n"
    assembler = Assembler(node="n")
    assembler.push(lines.encode())
    assembler.flush()
    (row,) = pa.record_batch(assembler.drain().events()).to_pylist()
    assert (row["pid"], row["uid"], row["auid"], row["ses"]) == (77, 1001, 1001, 3)


@pytest.mark.parametrize(
    "piece",
    [
        "token=",
        "a=token=",
        "--token=",
        "password=x",
        "?token=",
        "&token=a",
        "Authorization:",
        "Cookie:",
        "'token':",
        "http://a:b@",
        "login(key=",
        "a:b@",
    ],
)
def test_no_argument_makes_its_redaction_take_for_ever(piece: str) -> None:
    """Each name was compared with all that follows it: one exec of 100 KB stopped the recorder for 14 s."""
    text = piece * (120_000 // len(piece))
    for argv in (["x", text], ["sh", "-c", text], ["python", "-c", text]):
        began_s = time.process_time()
        redact_argv(argv)
        assert time.process_time() - began_s < 1.5
