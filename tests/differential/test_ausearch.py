"""The same log through `ausearch -i` and through the core: the fields are equal."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from envtrail.core import Assembler

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from make_log import write_log

pytestmark = pytest.mark.auditd

_HEAD = re.compile(r"^type=(\w+) msg=audit\((?P<day>[^ ]+) (?P<time>[^:]+:[^:]+:[^:]+):(?P<serial>\d+)\) : (.*)$")


def interpreted(log: Path) -> dict[int, dict[str, object]]:
    """Serial → fields, as ausearch prints them."""
    out = subprocess.run(
        ["ausearch", "-i", "-if", str(log)],
        capture_output=True,
        text=True,
        check=True,
        env={"TZ": "UTC", "LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    ).stdout
    events: dict[int, dict[str, object]] = {}
    for line in out.splitlines():
        found = _HEAD.match(line)
        if not found:
            continue
        kind, body = found[1], found[5]
        event = events.setdefault(int(found["serial"]), {"paths": []})
        if kind == "EXECVE":
            event["argv"] = [part.strip() for part in re.split(r" ?\ba\d+=", body)[1:]]
        elif kind == "SYSCALL":
            for name in ("pid", "ppid", "auid", "uid", "ses", "comm", "exe", "key", "tty", "success"):
                value = re.search(rf"\b{name}=([^ ]+)", body)
                event[name] = value[1] if value else None
        elif kind == "CWD":
            event["cwd"] = body.removeprefix("cwd=").strip()
        elif kind == "PATH":
            name = re.search(r"name=([^ ]+)", body)
            paths = event["paths"]
            assert isinstance(paths, list)
            paths.append(name[1] if name else None)
    return events


def test_fields_are_equal_on_two_thousand_events(tmp_path: Path) -> None:
    assert shutil.which("ausearch", path="/usr/sbin:/sbin"), "ausearch comes with auditd"
    log = tmp_path / "audit.log"
    write_log(log, 2000)
    theirs = interpreted(log)
    assembler = Assembler(redact=False)
    assembler.push(log.read_bytes())
    assembler.flush()
    ours = pa.record_batch(assembler.drain().events()).to_pylist()
    assert len(ours) == len(theirs) == 2000
    for event in ours:
        other = theirs[event["serial"]]
        assert event["argv"] == other["argv"]
        assert (str(event["pid"]), str(event["ppid"]), str(event["ses"])) == (other["pid"], other["ppid"], other["ses"])
        assert (event["comm"], event["exe"], event["tty"]) == (other["comm"], other["exe"], other["tty"])
        assert event["keys"] == [other["key"]]
        assert ("yes" if event["success"] else "no") == other["success"]
        assert event["cwd"] == other["cwd"]
        assert sorted(path["name"] for path in event["paths"]) == sorted(other["paths"])  # type: ignore[type-var]
        for name in ("auid", "uid"):
            shown = str(other[name])
            assert shown in {str(event[name]), f"unknown({event[name]})"} or not shown[0].isdigit()
