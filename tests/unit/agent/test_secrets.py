"""The corpus of secrets goes through a real import, seals, a rebuild, conda's history and documents of Auditbeat: nothing of it is kept."""

from __future__ import annotations

import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from log_lab import Trail

from envtrail.agent.build import open_trail
from envtrail.agent.processes import read_process
from envtrail.agent.world import ImportedWorld
from envtrail.core import redact_argv, redact_path
from envtrail.environments.baseline import read_conda_history
from envtrail.model.environment import Environment

DATA = Path(__file__).parents[2] / "data"
SECRETS = ("addresses", "assignments", "headers", "options", "programs", "tokens")
_MARKED = re.compile("⟦(.*?)⟧", re.DOTALL)
_LONG_ENOUGH = 6
"""Shorter values may be a part of something else; the tests of the core look at each case exactly."""
BASE_S = 1_764_000_000


class Case(NamedTuple):
    words: list[str]
    is_text: bool
    secrets: list[str]

    @property
    def clean(self) -> list[str]:
        return [_MARKED.sub("", word) for word in self.marked]

    @property
    def marked(self) -> list[str]:
        return self.words

    @property
    def argv(self) -> list[str]:
        return [word.replace("⟦", "").replace("⟧", "") for word in self.words]


def cases(*names: str) -> list[Case]:
    found = []
    for name in names:
        for line in (DATA / "secrets" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                read = json.loads(line)
                words = [read] if isinstance(read, str) else read
                found.append(Case(words, isinstance(read, str), _MARKED.findall("\0".join(words))))
    return found


def secrets_of(some: list[Case]) -> list[str]:
    """The values that can be looked for by themselves."""
    rest = "\n".join(word for case in [*some, *cases("lookalikes")] for word in case.clean)
    values = {value for case in some for value in case.secrets}
    return sorted(value for value in values if len(value) >= _LONG_ENOUGH and value not in rest)


def word(text: str) -> str:
    raw = text.encode()
    plain = raw and all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in raw)
    return f'"{text}"' if plain else raw.hex().upper() or '""'


def exec_lines(serial: int, argv: list[str], title: str, *, cwd: str = "/home/alice") -> str:
    stamp = f"msg=audit({BASE_S + serial}.100:{serial}):"
    who = f'ppid=1 pid={1000 + serial} auid=1001 uid=1001 gid=1001 euid=1001 ses=3 tty=pts0 comm="x" exe="/usr/bin/x" key="k"'
    return (
        f"type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 items=1 {who}\n"
        f"type=EXECVE {stamp} argc={len(argv)} {' '.join(f'a{at}={word(text)}' for at, text in enumerate(argv))}\n"
        f"type=CWD {stamp} cwd={word(cwd)}\n"
        f'type=PATH {stamp} item=0 name="/usr/bin/x" inode=1 mode=0100755 ouid=0 nametype=NORMAL\n'
        f"type=PROCTITLE {stamp} proctitle={title.encode()[:128].hex().upper()}\n"
    )


def sudo_line(serial: int, command: str) -> str:
    return (
        f"type=USER_CMD msg=audit({BASE_S + serial}.100:{serial}): pid=77 uid=1001 auid=1001 ses=3 "
        f'msg=\'cwd="/home/alice" cmd={command.encode().hex().upper()} exe="/usr/bin/sudo" terminal=pts/0 res=success\'\n'
    )


def audit_log(some: list[Case]) -> bytes:
    """Each case as arguments, as the title of the image before an exec, as a title cut short; texts as a command of sudo."""
    lines, serial = [], 100
    for case in some:
        if case.is_text:
            lines.append(sudo_line(serial, case.argv[0]))
        else:
            lines.append(exec_lines(serial, case.argv, "\0".join(case.argv)))
            lines.append(exec_lines(serial + 1, ["python", "train.py"], "\0".join(case.argv)))
            lines.append(exec_lines(serial + 2, case.argv, "bash"))
        serial += 3
    for case in cases("tokens"):
        if "\n" not in case.argv[-1]:
            lines.append(exec_lines(serial, ["x"], "x", cwd=f"/tmp/{case.secrets[0]}"))
            serial += 1
    return "".join(lines).encode()


def documents(some: list[Case]) -> bytes:
    """The same as Auditbeat writes it, made of a real document."""
    lines = gzip.decompress((DATA / "auditbeat" / "bare.ndjson.gz").read_bytes()).splitlines()
    real = next(item for item in map(json.loads, lines) if item.get("process", {}).get("args", [""])[-1] == "numtools==1.0")
    out = []
    for at, case in enumerate(case for case in some if not case.is_text):
        made = json.loads(json.dumps(real))
        made["process"] |= {"args": case.argv, "title": " ".join(case.argv)}
        made["auditd"]["sequence"] = 50_000 + at
        out.append(json.dumps(made))
    return "\n".join(out).encode() + b"\n"


def history(some: list[Case]) -> str:
    commands = (" ".join(case.argv) for case in some if not any(re.search(r"\s", word) for word in case.argv))
    return "".join(
        f"==> 2024-01-02 03:04:{at % 60:02d} <==\n# cmd: /opt/conda/bin/{command}\n+defaults::x-{at}-0\n"
        for at, command in enumerate(commands)
    )


def everything_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """The content of each file, unpacked."""
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        raw = path.read_bytes()
        yield path, raw
        if path.suffix == ".zst":
            with pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as stream:
                yield path, stream.read()
        elif path.suffix == ".parquet":
            yield path, json.dumps(pq.read_table(path).to_pylist(), default=str, ensure_ascii=False).encode()
        elif path.suffix == ".sqlite":
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                yield path, "\n".join(database.iterdump()).encode()


def survivors(folder: Path, secrets: list[str]) -> list[str]:
    looked_at = list(everything_below(folder))
    assert {path.name.partition(".")[0] for path, _ in looked_at} >= {"records", "observations", "events", "state"}
    found = []
    for secret in secrets:
        raw = secret.encode()
        forms = {raw, raw.hex().upper().encode(), json.dumps(secret).strip('"').encode()}
        found += [f"{secret} in {path.name}" for path, content in looked_at if any(form in content for form in forms)]
    return sorted(set(found))


def test_no_secret_survives_below_the_data_folder(tmp_path: Path) -> None:
    some = cases(*SECRETS)
    secrets = secrets_of(some)
    assert len(secrets) >= 80, len(secrets)
    trail = Trail(tmp_path / "trail", node="here")
    trail.take_text(audit_log(some))
    (tmp_path / "beat.ndjson").write_bytes(documents(some))
    assert trail.take(tmp_path / "beat.ndjson").events > 200
    prefix = tmp_path / "conda"
    (prefix / "conda-meta").mkdir(parents=True)
    (prefix / "conda-meta/history").write_text(history(some))
    changes = read_conda_history(Environment(prefix=str(prefix), kind="conda"), BASE_S * 1000)
    assert len(changes) > 100
    with open_trail(trail.config, world=ImportedWorld()) as opened:
        opened.pipeline.observe(changes, BASE_S * 1000)
    trail.seal()
    assert survivors(tmp_path / "trail", secrets) == []
    trail.rebuild()
    assert survivors(tmp_path / "trail", secrets) == []
    assert trail.differences() == []


def test_what_looks_like_a_secret_is_kept_in_the_trail(tmp_path: Path) -> None:
    some = cases("lookalikes")
    trail = Trail(tmp_path / "trail", node="here")
    trail.take_text(audit_log(some))
    kept = {tuple(event.values["argv"]) for event in trail.events() if event.values["argv"]}
    missing = [
        case.argv for case in some if not case.is_text and tuple(text.replace("\n", "\\x0a") for text in case.argv) not in kept
    ]
    assert missing == []


@pytest.mark.parametrize("case", cases("options", "headers"), ids=lambda case: case.words[0][:20])
def test_arguments_that_came_in_no_record_are_redacted(case: Case) -> None:
    clean = redact_argv(case.argv)[0]
    assert re.sub("<redacted:[a-z-]+>", "⟦⟧", "\0".join(clean)) == _MARKED.sub("⟦⟧", "\0".join(case.words)) or case.is_text


def test_the_name_of_a_variable_says_that_its_value_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {
        **os.environ,
        "MY_API_TOKEN": "s3cr3tv4lue",
        "PIP_INDEX_URL": "https://bob:hunter2@h.example/simple",
        "HOME": "/root",
    }
    process = subprocess.Popen([sys.executable, "-c", "input()", "--password", "hunter2"], env=environ, stdin=subprocess.PIPE)
    try:
        seen = None
        while seen is None or "--password" not in seen.argv:
            seen = read_process(process.pid, 0, frozenset({"MY_API_TOKEN", "PIP_INDEX_URL", "HOME"}))
    finally:
        process.communicate(b"\n")
    assert seen.variables == {
        "MY_API_TOKEN": "<redacted:env-value>",
        "PIP_INDEX_URL": "https://<redacted:url-credential>@h.example/simple",
        "HOME": "/root",
    }
    assert seen.argv[-1] == "<redacted:option-value>"


def test_a_path_keeps_all_but_its_token() -> None:
    assert redact_path("/tmp/a b/hf_abcdefghijklmnopqrstuvwx0123")[0] == "/tmp/a b/<redacted:token>"
    assert redact_path("/opt/conda/pkgs/secretstorage-3.3.3/info")[1] == {}
