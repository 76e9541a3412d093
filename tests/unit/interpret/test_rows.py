"""Which events interpretation reads, and what it reads of the same words."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from login_lab import login, user

from envtrail.core import Assembler
from envtrail.interpret import readings
from envtrail.interpret.readings import Readings
from envtrail.interpret.rows import Exec, PathName, Row, interesting_rows
from envtrail.interpret.tools import TOOLS, hints

CWD, TITLE = 'type=CWD msg={at}: cwd="/w"', 'type=PROCTITLE msg={at}: proctitle="x"'
SYSCALL = "type=SYSCALL msg={at}: arch=c000003e syscall={call} success=yes exit=0 a0=0 items=0 ppid=1 pid={pid} auid=1000 uid=1000 ses=3"


def executed(pid: int, serial: int, exe: str = "/v/bin/python3") -> str:
    at = f"audit(1764000000.000:{serial})"
    said = f' tty=(none) comm="x" exe="{exe}" key="e"'
    words = f'type=EXECVE msg={at}: argc=2 a0="{exe}" a1="x.py"'
    path = f'type=PATH msg={at}: item=0 name="{exe}" inode=7 mode=0100755 nametype=NORMAL'
    return "\n".join([SYSCALL.format(at=at, call=59, pid=pid) + said, words, CWD.format(at=at), path, TITLE.format(at=at)])


def ended(pid: int, serial: int) -> str:
    at = f"audit(1764000001.000:{serial})"
    return "\n".join([SYSCALL.format(at=at, call=231, pid=pid) + ' comm="x" exe="/v/bin/python3"', TITLE.format(at=at)])


def batch_of(lines: Sequence[str], assembler: Assembler | None = None) -> pa.RecordBatch:
    assembler = assembler or Assembler(node="here", hints=hints())
    assembler.push(("\n".join(lines) + "\n").encode())
    assembler.flush()
    return pa.record_batch(assembler.drain().events())


def shown(rows: Sequence[Row]) -> list[tuple[str, int | None]]:
    return [(row.kind, row.pid) for row in rows]


def test_only_ends_that_are_waited_for_are_looked_at_one_by_one() -> None:
    assembler = Assembler(node="here", hints=hints())
    begun = batch_of([executed(10, 1), executed(11, 2)], assembler)
    assert shown(interesting_rows(begun, "here", 1, set())) == [("exec", 10), ("exec", 11)]
    batch = batch_of([executed(12, 3), ended(12, 4), ended(11, 5), ended(10, 6)], assembler)
    assert shown(interesting_rows(batch, "here", 1)) == [("exec", 12), ("exit", 12), ("exit", 11), ("exit", 10)]
    assert shown(interesting_rows(batch, "here", 1, {10})) == [("exec", 12), ("exit", 12), ("exit", 10)]


def test_a_number_that_no_process_has_is_waited_for_in_vain() -> None:
    batch = batch_of([executed(12, 3), ended(12, 4)])
    assert len(interesting_rows(batch, "here", 1, {-1, 1 << 70})) == 2


def test_a_row_holds_what_is_read_of_its_kind_and_says_where_it_is() -> None:
    lines = [login(0, 1, ses=3, auid=1000), executed(12, 3), user("USER_START", 1, 2, ses=3, auid=1000), ended(12, 4)]
    begun, end = interesting_rows(batch_of(lines), "here", 7)
    assert (begun.kind, begun.argv, begun.uid, begun.ses) == ("exec", ["/v/bin/python3", "x.py"], 1000, 3)
    assert begun.paths == [PathName(name="/v/bin/python3", nametype="NORMAL", inode=7)]
    assert (end.kind, end.exit_code, end.exe) == ("exit", 0, None)
    assert [(row.node, row.segment, row.pid) for row in (begun, end)] == [("here", 7, 12)] * 2
    assert begun.at < end.at


def test_the_cores_own_batch_gives_the_same_rows_as_one_of_another_library() -> None:
    lines = [executed(12, 3), ended(12, 4), login(5000, 5, ses=3, auid=1000)]
    assembler = Assembler(node="here", hints=hints())
    assembler.push(("\n".join(lines) + "\n").encode())
    assembler.flush()
    own = assembler.drain().events()
    assert interesting_rows(own, "here") == interesting_rows(pa.record_batch(own), "here") != []


def exec_of(*argv: str, cwd: str = "/w", hint: str = "pip", pid: int = 1) -> Exec:
    paths = [PathName(name="/v/bin/pip")]
    return Exec(node="n", time=pid, serial=pid, kind="exec", pid=pid, image=pid, hint=hint, argv=[*argv], cwd=cwd, paths=paths)


def test_the_same_words_are_read_once_and_others_are_others() -> None:
    kept = Readings({tool.name: tool for tool in TOOLS})
    first = kept.of(exec_of("/v/bin/python", "/v/bin/pip", "install", "six"))
    assert kept.of(exec_of("/v/bin/python", "/v/bin/pip", "install", "six", pid=2)) is first
    assert first.intention is not None
    assert first.intention.requested == ["six"]
    other = kept.of(exec_of("/v/bin/python", "/v/bin/pip", "install", "-t", "x", "six"))
    elsewhere = kept.of(exec_of("/v/bin/python", "/v/bin/pip", "install", "-t", "x", "six", cwd="/elsewhere"))
    assert [one.intention and one.intention.prefix for one in (other, elsewhere)] == ["/w/x", "/elsewhere/x"]
    assert kept.of(exec_of("/v/bin/python", "/v/bin/pip", "install", "six", hint="python")).intention is None


def test_what_is_kept_of_words_is_bounded() -> None:
    kept = Readings({tool.name: tool for tool in TOOLS})
    long = exec_of("/v/bin/python", "x" * 5000, hint="python")
    assert kept.of(long) is not kept.of(long)
    assert kept.of(long) == kept.of(long)
    first = exec_of("/v/bin/python", "0.py", hint="python")
    reading = kept.of(first)
    for at in range(readings._MOST_KEPT):
        kept.of(exec_of("/v/bin/python", f"{at + 1}.py", hint="python"))
    assert kept.of(first) is not reading
    assert kept.of(first) == reading
